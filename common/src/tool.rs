//! How every tool of the pipeline behaves as a process: exit status, messages, log, panics.
//!
//! This is the one place that ends a process or prints outside a stream, so that four tools
//! cannot differ in it.

use std::error::Error as StdError;
use std::io::{IsTerminal as _, Write as _};
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::Parser;
use clap::error::ErrorKind;
use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::metadata::Stage;
use crate::pages::{self, Typed};
use crate::{pipe, progress, stream, watch};

pub use crate::watch::GRACE;

/// How a tool ended when it did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything was done: exit status 0.
    Done,
    /// Everything that could be done was, and there is something to tell: exit status 1.
    Told,
}

/// What [`run`] needs to know of a tool's error to end the process rightly.
pub trait ToolError: StdError + 'static {
    /// Returns what the user can do about it, one line without a full stop.
    fn hint(&self) -> Option<String> {
        None
    }

    /// Tells whether standard output's reader is gone, which ends a tool without a word.
    fn stdout_closed(&self) -> bool {
        false
    }
}

/// The logging flags that every tool has.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct LogArgs {
    /// Print errors only
    #[arg(long, short, global = true, help_heading = None, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Print more of what is done; twice for the libraries' messages too
    #[arg(long, short, global = true, help_heading = None, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// Exit status of a tool whose output's reader went away: what a shell reports for SIGPIPE.
const CLOSED: u8 = 141;

/// Exit status of a tool that failed or was misused.
const FAILED: u8 = 2;

/// The tool that runs.
static NAME: OnceLock<&str> = OnceLock::new();

/// Runs a tool: parses its arguments, sets up its messages, and turns its end into a status.
///
/// Statuses are 0 and 1 for [`Outcome`], 2 for a failure or misuse, 141 where the reader of
/// standard output went away. A panic is reported as an internal error with status 2.
pub fn run<A, E>(name: &'static str, body: fn(A) -> Result<Outcome, E>) -> ExitCode
where
    A: Parser + AsRef<LogArgs>,
    E: ToolError,
{
    let _ = NAME.set(name);
    let args = match pages::typed::<A>() {
        Ok(Typed::Work(args)) => args,
        Ok(Typed::Page(text)) => {
            let printed = stream::print(&text);
            let status = printed.map_or_else(|error| failed(name, &error), |()| 0);
            return ExitCode::from(status);
        }
        Err(error) => return usage(name, &error),
    };
    install_logger(name, *args.as_ref());
    watch::tell_signals();
    panic::set_hook(Box::new(move |info| {
        say(name, &format!("internal error: {info}"));
    }));
    match panic::catch_unwind(AssertUnwindSafe(|| body(args))) {
        Ok(Ok(Outcome::Done)) => ExitCode::SUCCESS,
        Ok(Ok(Outcome::Told)) => ExitCode::from(1),
        Ok(Err(error)) => ExitCode::from(failed(name, &error)),
        Err(_) => ExitCode::from(FAILED),
    }
}

/// Tells of a failure what there is to tell, and returns the status for it.
fn failed(name: &str, error: &impl ToolError) -> u8 {
    if error.stdout_closed() {
        return CLOSED;
    }
    say(name, &chain(error));
    if let Some(hint) = error.hint() {
        say(name, &format!("hint: {hint}"));
    }
    FAILED
}

/// Ends the process with an error at once, whatever its other threads are doing: for a stage that
/// knows, in the middle of long work, that the work is for nothing.
pub fn give_up(error: &impl ToolError) -> ! {
    end(failed(self::name(), error))
}

/// Ends the process as one whose output nobody reads.
pub(crate) fn end_unread() -> ! {
    end(CLOSED)
}

fn end(status: u8) -> ! {
    // SAFETY: ends the process without running what other threads may still use. No output is
    // buffered but of a stream that is not to be sealed.
    unsafe { libc::_exit(status.into()) }
}

/// Returns the name of the tool that runs, nothing before [`run`].
pub(crate) fn name() -> &'static str {
    NAME.get().copied().unwrap_or_default()
}

/// In the provenance entry of the stage that parsed: 32 hex digits over all that decides how a
/// file is cut. A store keeps it with each file.
pub const SETTINGS: &str = "settings";

/// In the same entry: how much of its repositories a stream brings, a [`Scope`]'s name.
pub const SCOPE: &str = "scope";

/// In the same entry: what manifest a stream of changes was compared with, by the digits of its
/// `cs.written_ns`. Left out where files may be there that could not be listed.
pub const SINCE: &str = "since";

/// How much of its repositories a stream brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everything: what a store has besides is gone.
    Whole,
    /// Everything, because nothing was known of what a store has, although that was asked for: a
    /// store forgets the rest without being told.
    Anew,
    /// What changed since a store was written.
    Changes,
    /// Some files.
    Part,
}

impl Scope {
    /// Returns the scope's name in a stream's metadata.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Anew => "anew",
            Self::Changes => "changes",
            Self::Part => "part",
        }
    }

    /// Returns what the last stage that says it says of its stream: the one that parsed, or the
    /// export of a store.
    pub fn of(chain: &[Stage]) -> Option<Self> {
        let named = chain.iter().rev().find_map(|stage| stage.extra.get(SCOPE));
        let name = named?.as_str()?;
        let all = [Self::Whole, Self::Anew, Self::Changes, Self::Part];
        all.into_iter().find(|scope| scope.as_str() == name)
    }
}

/// Returns which manifest a stream of changes was compared with, as [`SINCE`] says it.
pub fn since(chain: &[Stage]) -> Option<i64> {
    let said = chain.iter().rev().find_map(|stage| stage.extra.get(SINCE));
    said?.as_str()?.parse().ok()
}

/// Returns the provenance entry of the running process, to be put into a stream's metadata.
///
/// Its arguments are those that have to do with the result: how many threads there were and
/// what was printed have not.
pub fn stage(tool: &str, version: &str) -> Stage {
    Stage {
        tool: tool.to_owned(),
        version: version.to_owned(),
        args: telling(
            std::env::args_os()
                .skip(1)
                .map(|arg| arg.to_string_lossy().into_owned()),
        ),
        extra: serde_json::Map::new(),
    }
}

/// Reads a number of bytes as a user writes it, with an optional suffix of K, M, G or T for powers
/// of 1024.
///
/// # Errors
/// Says what is wrong with it; 0 is no size.
pub fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text.get(digits.len()..).unwrap_or_default() {
        "" => 0,
        "k" | "K" => 10,
        "m" | "M" => 20,
        "g" | "G" => 30,
        "t" | "T" => 40,
        other => return Err(format!("`{other}` is none of K, M, G and T")),
    };
    let number: u64 = digits.parse().map_err(|_| "not a number".to_owned())?;
    match number.checked_mul(1 << shift) {
        Some(0) => Err("must be at least 1".to_owned()),
        Some(size) => Ok(size),
        None => Err("is too large".to_owned()),
    }
}

/// Flags with a value that change how fast a tool is, or what it tells of that, and nothing in the
/// rows that it writes.
const PACE: [&str; 10] = [
    "--threads",
    "--cache",
    "--cache-size",
    "--concurrency",
    "--batch-size",
    "--batch-bytes",
    "--timeout",
    "--retries",
    "--stats",
    "--trace",
];

/// Flags without a value of that sort.
const PLAIN: [&str; 3] = ["--quiet", "--verbose", "--no-report"];

/// Leaves out of arguments as typed what does not change a tool's output.
fn telling(mut args: impl Iterator<Item = String>) -> Vec<String> {
    let mut kept = Vec::new();
    while let Some(arg) = args.next() {
        let is_pace = |name: &str| PACE.contains(&name);
        let is_log = PLAIN.contains(&arg.as_str())
            || (arg.starts_with('-')
                && arg.len() > 1
                && arg.chars().skip(1).all(|flag| matches!(flag, 'q' | 'v')));
        if arg == "-j" || is_pace(&arg) {
            args.next();
        } else if arg == "--" {
            kept.push(arg);
            kept.extend(args);
            break;
        } else if !is_log
            && !arg.starts_with("-j")
            && !arg.split_once('=').is_some_and(|(name, _)| is_pace(name))
        {
            kept.push(arg);
        }
    }
    kept
}

fn usage(name: &str, error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // A reader of the help text who leaves early has read enough.
            let _ = error.print();
            ExitCode::SUCCESS
        }
        _ => {
            let text = error.to_string();
            say(name, text.trim_end().trim_start_matches("error: "));
            ExitCode::from(FAILED)
        }
    }
}

/// Joins an error and its sources, leaving out a source that its parent already quotes.
fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// What clears the line of a terminal at which the cursor stands.
const CLEAR_LINE: &str = "\r\x1b[K";

/// Writes a message to standard error, the tool's name before each line.
///
/// A stage within a pipeline first clears the line at which the last stage may draw its progress on
/// the same terminal: that stage draws it again, below the message.
fn say(name: &str, message: &str) {
    let is_inner = std::io::stderr().is_terminal() && pipe::is_pipe(std::io::stdout());
    let clear = if is_inner { CLEAR_LINE } else { "" };
    let lines = message.lines().filter(|line| !line.trim().is_empty());
    // In one piece, so that other stages' messages do not get into it.
    let text: String = lines
        .map(|line| format!("{clear}{name}: {line}\n"))
        .collect();
    progress::suspend(|| {
        // Without standard error there is nobody left to tell.
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    });
}

/// Warnings so far, those that `--quiet` keeps back as well.
static WARNINGS: AtomicU64 = AtomicU64::new(0);

/// Returns how many warnings this process has had.
pub fn warnings() -> u64 {
    WARNINGS.load(Ordering::Relaxed)
}

fn install_logger(name: &'static str, args: LogArgs) {
    let (own, others) = match (args.quiet, args.verbose) {
        (true, _) => (LevelFilter::Error, LevelFilter::Off),
        (false, 0) => (LevelFilter::Info, LevelFilter::Off),
        (false, 1) => (LevelFilter::Debug, LevelFilter::Error),
        (false, _) => (LevelFilter::Trace, LevelFilter::Info),
    };
    let logger = Logger { name, own, others };
    if log::set_boxed_logger(Box::new(logger)).is_ok() {
        // Warnings are counted even if nobody is told.
        log::set_max_level(own.max(others).max(LevelFilter::Warn));
    }
}

struct Logger {
    name: &'static str,
    own: LevelFilter,
    others: LevelFilter,
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let limit = if metadata.target().starts_with("cs_") {
            self.own
        } else {
            self.others
        };
        metadata.level() <= limit
    }

    fn log(&self, record: &Record<'_>) {
        if record.level() == Level::Warn && record.target().starts_with("cs_") {
            WARNINGS.fetch_add(1, Ordering::Relaxed);
        }
        if !self.enabled(record.metadata()) {
            return;
        }
        let label = match record.level() {
            Level::Error => "error: ",
            Level::Warn => "warning: ",
            Level::Info => "",
            Level::Debug => "debug: ",
            Level::Trace => "trace: ",
        };
        say(self.name, &format!("{label}{}", record.args()));
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Layer(&'static str, #[source] Option<Box<Layer>>);

    #[test]
    fn arguments_that_change_nothing_are_not_told() {
        let typed = "-j2 repo -qv --threads 3 --repo-name x -j 4 --threads=5 --quiet \
                     --cache /c --cache-size=2G --no-report --trace t --stats=s -- -j1";
        let kept = telling(typed.split(' ').map(str::to_owned));
        assert_eq!(kept, ["repo", "--repo-name", "x", "--", "-j1"]);
    }

    #[test]
    fn a_chain_names_every_cause_once() {
        let quoted = Layer("open: no entry", Some(Box::new(Layer("no entry", None))));
        assert_eq!(chain(&quoted), "open: no entry");
        let plain = Layer("open", Some(Box::new(Layer("no entry", None))));
        assert_eq!(chain(&plain), "open: no entry");
    }
}
