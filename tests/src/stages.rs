//! A pipeline as processes of its own, any of which can be killed at a moment, or all of them be
//! interrupted as by Ctrl-C.

use std::fmt;
use std::fs::{self, File};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::{Home, bin_folder};

/// How long a pipeline may take before it counts as hanging: long enough for a machine that is busy
/// with other work, where all of this took more than two minutes.
const PATIENCE: Duration = Duration::from_secs(600);

/// How often it is looked whether a process is still there.
const TICK: Duration = Duration::from_micros(500);

/// The number of the signal that cannot be caught.
const SIGKILL: i32 = 9;

/// Processes, each of which reads what the one before it writes.
#[derive(Debug)]
pub struct Stages {
    command: String,
    started: Instant,
    stages: Vec<Stage>,
}

#[derive(Debug)]
struct Stage {
    child: Child,
    stderr: PathBuf,
    ended: Option<(ExitStatus, Duration)>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By itself, with this status.
    Status(i32),
    /// By SIGKILL.
    Killed,
    /// By another signal.
    Signal(i32),
}

/// Who gets a signal.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// All processes, as a terminal interrupts them.
    Group,
    /// One of them.
    Stage(usize),
}

/// What a pipeline left behind.
#[derive(Debug)]
pub struct Ended {
    command: String,
    /// How each process ended, and when.
    pub ends: Vec<(End, Duration)>,
    /// What all of them said.
    pub stderr: String,
}

impl Home {
    /// Starts a pipeline, each stage a program of ours and its arguments, parted by blanks.
    ///
    /// # Panics
    /// If a process cannot be started.
    pub fn start(&self, stages: &[&str]) -> Stages {
        let started = Instant::now();
        let mut input = Stdio::null();
        let mut running = Vec::new();
        for (number, stage) in stages.iter().enumerate() {
            let mut words = stage.split_whitespace();
            let program = words.next().expect("a program");
            let mut command = self.command(&bin_folder().join(program));
            let leader = running.first().map_or(0, |stage: &Stage| stage.child.id());
            command.process_group(i32::try_from(leader).expect("a process id"));
            let stderr = self.path().join(format!("stderr.{number}"));
            command
                .args(words)
                .stdin(input)
                .stderr(File::create(&stderr).expect("a file for stderr"));
            if number + 1 < stages.len() {
                command.stdout(Stdio::piped());
            } else {
                command.stdout(Stdio::null());
            }
            let mut child = command.spawn().expect("the process");
            input = child.stdout.take().map_or(Stdio::null(), Stdio::from);
            running.push(Stage {
                child,
                stderr,
                ended: None,
            });
        }
        Stages {
            command: stages.join(" | "),
            started,
            stages: running,
        }
    }
}

impl Stages {
    /// Waits for all processes.
    ///
    /// # Panics
    /// If one hangs.
    pub fn wait(self) -> Ended {
        self.kill_after(Duration::MAX, &[])
    }

    /// Kills some of the processes after a time, and waits for all.
    ///
    /// # Panics
    /// If one hangs.
    pub fn kill_after(mut self, moment: Duration, victims: &[usize]) -> Ended {
        let mut victims = Some(victims);
        loop {
            let now = self.started.elapsed();
            if now >= moment
                && let Some(victims) = victims.take()
            {
                for victim in victims {
                    // It may have ended by itself meanwhile, which its status tells.
                    let _ = self.stages[*victim].child.kill();
                }
            }
            if self.look(now) {
                return self.ended();
            }
            if now > PATIENCE {
                for stage in &mut self.stages {
                    let _ = stage.child.kill();
                }
                let command = self.command.clone();
                panic!("still running after {now:?}: {command}\n{}", self.said());
            }
            sleep(TICK);
        }
    }

    /// Waits until something is the case, for which it looks again and again.
    ///
    /// # Panics
    /// If all processes have ended before, or one hangs.
    pub fn until(&mut self, mut is_time: impl FnMut(&Self) -> bool) {
        while !is_time(self) {
            let now = self.started.elapsed();
            let is_over = self.look(now) || now > PATIENCE;
            assert!(!is_over, "too late: {}\n{}", self.command, self.said());
            sleep(TICK);
        }
    }

    /// Returns the processor time that a process has taken.
    ///
    /// # Panics
    /// If the system does not tell.
    pub fn cpu(&self, number: usize) -> Duration {
        let id = self.stages[number].child.id();
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).expect("/proc");
        let (_, fields) = stat.rsplit_once(')').expect("a process's state");
        let ticks = fields.split_whitespace().skip(11).take(2);
        let ticks: u64 = ticks.map(|field| field.parse::<u64>().unwrap_or(0)).sum();
        // A hundred a second wherever Linux runs.
        Duration::from_millis(ticks * 10)
    }

    /// Sends a signal, such as `TERM`, and waits for all processes. What is told of when they ended
    /// counts from the signal.
    ///
    /// # Panics
    /// If the signal cannot be sent, or one hangs.
    pub fn signal(mut self, signal: &str, target: Target) -> Ended {
        let id = match target {
            Target::Group => format!("-{}", self.stages[0].child.id()),
            Target::Stage(number) => self.stages[number].child.id().to_string(),
        };
        self.look(Duration::ZERO);
        let sent = Command::new("kill")
            .args([&format!("-{signal}"), "--", &id])
            .status();
        assert!(sent.expect("kill").success(), "{}", self.command);
        self.started = Instant::now();
        self.wait()
    }

    /// Notes who has ended; tells whether all have.
    fn look(&mut self, now: Duration) -> bool {
        for stage in &mut self.stages {
            if stage.ended.is_none() {
                let status = stage.child.try_wait().expect("a child's status");
                stage.ended = status.map(|status| (status, now));
            }
        }
        self.stages.iter().all(|stage| stage.ended.is_some())
    }

    /// Returns what all processes have said so far.
    pub fn said(&self) -> String {
        let texts = self.stages.iter().map(|stage| {
            let text = fs::read(&stage.stderr).unwrap_or_default();
            String::from_utf8_lossy(&text).into_owned()
        });
        texts.collect()
    }

    fn ended(self) -> Ended {
        let ends = self.stages.iter().filter_map(|stage| stage.ended);
        let ends = ends.map(|(status, at)| {
            let end = match (status.code(), status.signal()) {
                (Some(code), _) => End::Status(code),
                (None, Some(SIGKILL)) => End::Killed,
                (None, Some(signal)) => End::Signal(signal),
                (None, None) => panic!("neither a status nor a signal: {}", self.command),
            };
            (end, at)
        });
        Ended {
            ends: ends.collect(),
            stderr: self.said(),
            command: self.command.clone(),
        }
    }
}

impl Ended {
    /// Expects that all processes ended with status 0.
    ///
    /// # Panics
    /// If one did not.
    #[track_caller]
    pub fn done(self) -> Self {
        let is_done = self.ends.iter().all(|(end, _)| *end == End::Status(0));
        assert!(is_done, "{self}");
        self
    }

    /// Returns how many were killed.
    pub fn killed(&self) -> usize {
        let killed = self.ends.iter().filter(|(end, _)| *end == End::Killed);
        killed.count()
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "command: {}", self.command)?;
        writeln!(f, "ends: {:?}", self.ends)?;
        write!(f, "stderr: {}", self.stderr)
    }
}
