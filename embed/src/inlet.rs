//! The thread that only reads the stream, so that a stage in long work notices a dead predecessor.
//!
//! A writer that is gone may have sealed the stream. So this thread reads what is left in the pipe
//! to find out (`StreamReader::is_broken`), and ends a broken pipeline, which would otherwise go on
//! for minutes.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use crossbeam_channel::{SendTimeoutError, Sender};
use cs_common::Error;
use cs_common::meter;
use cs_common::stream::StreamReader;
use cs_common::tool::{GRACE, give_up};

/// How often it is looked whether the stage before is still there.
const TICK: Duration = Duration::from_millis(100);

/// How the input ended, once batches no longer come.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ending(Arc<Mutex<Ended>>);

#[derive(Debug, Default)]
struct Ended {
    /// What is wrong with it, for the one who takes it first to tell.
    error: Option<Error>,
    /// Whether its seal was read. A thread that panics says neither.
    is_sealed: bool,
}

impl Ending {
    /// Takes the error, if there is one and nobody has it.
    pub(crate) fn take(&self) -> Option<Error> {
        self.ended().error.take()
    }

    /// Tells whether all of the input was read.
    pub(crate) fn is_sealed(&self) -> bool {
        self.ended().is_sealed
    }

    fn ended(&self) -> std::sync::MutexGuard<'_, Ended> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream, and the thread that takes its batches.
pub(crate) struct Inlet {
    pub(crate) input: StreamReader,
    pub(crate) batches: Sender<RecordBatch>,
    pub(crate) ending: Ending,
}

impl Inlet {
    /// Passes on all batches. Where the input is broken, the others have [`GRACE`] for what they
    /// have of it, and then this one calls `keep` and ends the process with the input's error.
    pub(crate) fn read(mut self, keep: impl Fn()) {
        let mut deadline = None;
        let Err(error) = self.feed(&mut deadline) else {
            return;
        };
        self.ending.ended().error = Some(error);
        drop(self.batches);
        let left = deadline.map_or(GRACE, |deadline| {
            deadline.saturating_duration_since(Instant::now())
        });
        thread::sleep(left);
        if let Some(error) = self.ending.take() {
            keep();
            give_up(&error);
        }
    }

    /// Passes on batches until the seal, or until nobody takes them; `deadline` is set when the
    /// input is known to be broken, although there are batches left.
    fn feed(&mut self, deadline: &mut Option<Instant>) -> Result<(), Error> {
        loop {
            meter::work("read");
            let Some(mut batch) = self.input.next_batch()? else {
                self.ending.ended().is_sealed = true;
                return Ok(());
            };
            meter::idle();
            loop {
                batch = match self.batches.send_timeout(batch, TICK) {
                    Ok(()) => break,
                    Err(SendTimeoutError::Disconnected(_)) => return Ok(()),
                    Err(SendTimeoutError::Timeout(batch)) => batch,
                };
                let now = Instant::now();
                if self.input.is_broken() && *deadline.get_or_insert(now + GRACE) <= now {
                    // Behind what is left in memory stands what is wrong.
                    while self.input.next_batch()?.is_some() {}
                }
            }
        }
    }
}
