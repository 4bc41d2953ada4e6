//! Where the time of questions goes.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

/// What is done for a question, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Opening the stores.
    Open,
    /// Finding the questions that one is made of.
    Decompose,
    /// Wording a question anew.
    Rewrite,
    /// Making the question's vectors, the opening of models included.
    Embed,
    /// Searching by vector; at the same time as by words.
    Dense,
    /// Searching by words.
    Text,
    /// Reading what hits are ranked by, and ranking them.
    Rank,
    /// The second look at the best hits, the opening of its model included.
    Rerank,
    /// Reading what is given of the hits that are left.
    Read,
    /// Having a model answer.
    Answer,
}

const STAGES: [(Stage, &str); 10] = [
    (Stage::Open, "open"),
    (Stage::Decompose, "decompose"),
    (Stage::Rewrite, "rewrite"),
    (Stage::Embed, "embed"),
    (Stage::Dense, "dense"),
    (Stage::Text, "text"),
    (Stage::Rank, "rank"),
    (Stage::Rerank, "rerank"),
    (Stage::Read, "read"),
    (Stage::Answer, "answer"),
];

/// The times of stages, added up over all questions.
#[derive(Debug)]
pub(crate) struct Profile {
    started: Instant,
    times: Mutex<[Duration; STAGES.len()]>,
}

/// What is told of it.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// From the start to the answer. Stages that run at the same time are more together.
    total_ms: f64,
    stages: Vec<StageTime>,
}

#[derive(Debug, Serialize)]
struct StageTime {
    stage: &'static str,
    ms: f64,
    /// Of the total.
    share: f64,
}

impl Profile {
    pub(crate) fn start() -> Self {
        Self {
            started: Instant::now(),
            times: Mutex::default(),
        }
    }

    /// Adds to the time of a stage.
    pub(crate) fn add(&self, stage: Stage, took: Duration) {
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        times[stage as usize] += took;
    }

    /// Does the work of a stage.
    pub(crate) fn time<T>(&self, stage: Stage, work: impl FnOnce() -> T) -> T {
        let started = Instant::now();
        let done = work();
        self.add(stage, started.elapsed());
        done
    }

    /// Returns the times until now.
    pub(crate) fn report(&self) -> Report {
        let ms = |time: Duration| (time.as_secs_f64() * 1e6).round() / 1e3;
        let total = self.started.elapsed();
        let times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        let stages = STAGES.iter().map(|(stage, name)| {
            let took = times[*stage as usize];
            let share = took.as_secs_f64() / total.as_secs_f64().max(f64::MIN_POSITIVE);
            StageTime {
                stage: name,
                ms: ms(took),
                share: (share * 1e3).round() / 1e3,
            }
        });
        Report {
            total_ms: ms(total),
            stages: stages.collect(),
        }
    }
}

impl Report {
    /// Writes it to standard error, as a table.
    pub(crate) fn tell(&self) {
        // Whoever closed it does not want to know.
        let _ = writeln!(io::stderr(), "{}", self.table());
    }

    fn table(&self) -> String {
        let mut text = format!("{:<10}{:>12}{:>8}\n", "stage", "ms", "share");
        // What was not asked for took no time.
        let asked = self.stages.iter().filter(|stage| stage.ms > 0.0);
        for StageTime { stage, ms, share } in asked {
            let _ = writeln!(text, "{stage:<10}{ms:>12.1}{:>7.0}%", share * 100.0);
        }
        let _ = write!(text, "{:<10}{:>12.1}", "total", self.total_ms);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_add_up() {
        let profile = Profile::start();
        profile.add(Stage::Read, Duration::from_millis(2));
        profile.add(Stage::Read, Duration::from_millis(3));
        profile.time(Stage::Open, || std::thread::sleep(Duration::from_millis(5)));
        let report = profile.report();
        let names: Vec<&str> = report.stages.iter().map(|stage| stage.stage).collect();
        let expected = "open decompose rewrite embed dense text rank rerank read answer";
        assert_eq!(names.join(" "), expected);
        assert_eq!((report.stages[8].ms, report.stages[1].ms), (5.0, 0.0));
        assert!(report.stages[0].ms >= 5.0 && report.total_ms >= report.stages[0].ms);
        assert!(!report.table().contains("embed"));
        assert!(report.table().ends_with(&format!("{:.1}", report.total_ms)));
    }
}
