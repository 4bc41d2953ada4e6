//! What a stage did with its time: worked, waited for input, or waited for output.
//!
//! A stage has one clock, the [`Meter`], and a [`Lane`] for each thread. A thread works, waits for
//! input, waits for output, or waits for another thread of its stage. At each change of a lane, the
//! time since the last change is added to one sum: busy if any lane worked, else input if any
//! waited for it, else output. So the three sums add up to the whole, and no time counts twice.
//!
//! A thread enters its lane once. The reading and writing of pipes finds the lane there, so readers
//! and writers do not pass it on. A task that moves between threads, such as a commit of
//! `cs-store`, has a separate lane (`task`).

mod lane;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::Error;
use crate::trace::{Event, Trace};

pub(crate) use lane::{Doing, reading, waiting, writing};
pub use lane::{Entered, Lane, batch, idle, task, work};

use lane::Span;

/// A stage's clock.
#[derive(Clone, Debug)]
pub struct Meter {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    started: Instant,
    started_unix: Duration,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    state: Mutex<State>,
    trace: Option<Trace>,
}

/// How many lanes do what, and for how long it was so.
#[derive(Debug)]
struct State {
    /// Lanes that work, wait for input, wait for output.
    lanes: [u32; 3],
    /// The time of each, by the one that counted.
    times: [Duration; 3],
    since: Instant,
    /// The lanes that there were so far; those of one name are one in a trace.
    names: Vec<String>,
}

impl State {
    /// Adds the time since the last change to what the stage did in it.
    ///
    /// One lane that works is work. With nobody working, input comes before output: had there been
    /// some, there would have been work. Where all wait for each other, one is about to go on.
    fn advance(&mut self, now: Instant) {
        let at = match self.lanes {
            [0, 0, 0] => 0,
            [0, 0, _] => 2,
            [0, _, _] => 1,
            _ => 0,
        };
        self.times[at] += now.saturating_duration_since(self.since);
        self.since = now;
    }
}

/// What a stage did with its time so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// When it began, since 1970.
    pub started_unix: Duration,
    /// Since then.
    pub wall: Duration,
    /// When a thread of it worked.
    pub busy: Duration,
    /// When none did, and one waited for input.
    pub wait_in: Duration,
    /// When none did, and one waited for its output to be taken.
    pub wait_out: Duration,
    /// Bytes read from standard input.
    pub bytes_in: u64,
    /// Bytes written to standard output.
    pub bytes_out: u64,
}

impl Meter {
    /// Starts the clock.
    pub(crate) fn start(trace: Option<Trace>) -> Self {
        let now = Instant::now();
        let unix = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            shared: Arc::new(Shared {
                started: now,
                started_unix: unix.unwrap_or_default(),
                bytes_in: AtomicU64::new(0),
                bytes_out: AtomicU64::new(0),
                state: Mutex::new(State {
                    lanes: [0; 3],
                    times: [Duration::ZERO; 3],
                    since: now,
                    names: Vec::new(),
                }),
                trace,
            }),
        }
    }

    /// Adds a lane, which is idle at first.
    pub fn lane(&self, name: &str) -> Lane {
        Lane::new(self.clone(), self.id(name))
    }

    /// Returns the number of a lane in a trace, from 1.
    fn id(&self, name: &str) -> usize {
        let Some(trace) = &self.shared.trace else {
            return 0;
        };
        let mut state = self.lock();
        let known = state.names.iter().position(|known| known == name);
        let at = known.unwrap_or_else(|| {
            state.names.push(name.to_owned());
            state.names.len() - 1
        });
        if known.is_none() {
            trace.name_thread(at + 1, name);
        }
        at + 1
    }

    /// Returns the times so far.
    pub fn times(&self) -> Times {
        let now = Instant::now();
        let mut state = self.lock();
        state.advance(now);
        let [busy, wait_in, wait_out] = state.times;
        Times {
            started_unix: self.shared.started_unix,
            wall: now.saturating_duration_since(self.shared.started),
            busy,
            wait_in,
            wait_out,
            bytes_in: self.shared.bytes_in.load(Ordering::Relaxed),
            bytes_out: self.shared.bytes_out.load(Ordering::Relaxed),
        }
    }

    /// Ends the trace, if there is one: nothing that is done later is in it.
    ///
    /// # Errors
    /// [`Error::File`] if some of it could not be written.
    pub fn end_trace(&self) -> Result<(), Error> {
        self.shared.trace.as_ref().map_or(Ok(()), Trace::end)
    }

    fn change(&self, from: Doing, to: Doing) -> Instant {
        let now = Instant::now();
        if from != to {
            let mut state = self.lock();
            // The clock of another thread may be ahead by what it took to get here.
            let now = now.max(state.since);
            state.advance(now);
            for (doing, by) in [(from, -1), (to, 1)] {
                if doing != Doing::Idle {
                    let lanes = &mut state.lanes[doing as usize];
                    *lanes = lanes.saturating_add_signed(by);
                }
            }
        }
        now
    }

    fn trace(&self, lane: usize, doing: Doing, span: Span, end: Instant) {
        let took = end.saturating_duration_since(span.began);
        if let Some(trace) = self.shared.trace.as_ref().filter(|_| !took.is_zero()) {
            let began = span.began.saturating_duration_since(self.shared.started);
            trace.add(&Event {
                lane,
                doing,
                name: span.name,
                rows: span.rows,
                began: self.shared.started_unix + began,
                took,
            });
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Its numbers are whole whatever the thread that held it did.
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const STEP: Duration = Duration::from_millis(30);

    #[test]
    fn a_stage_is_busy_as_long_as_one_lane_works() {
        let meter = Meter::start(None);
        let mut model = meter.lane("model");
        let mut reader = meter.lane("reader");
        model.work("embed");
        reader.set(Doing::WaitIn);
        thread::sleep(STEP);
        let before = meter.times();
        assert!(
            before.busy >= STEP && before.wait_in.is_zero(),
            "{before:?}"
        );
        model.idle();
        thread::sleep(STEP);
        let after = meter.times();
        assert!(after.wait_in >= STEP, "{after:?}");
        // No moment counts twice.
        assert!(
            after.busy + after.wait_in + after.wait_out <= after.wall,
            "{after:?}"
        );
    }

    #[test]
    fn input_that_lacks_comes_before_output_that_nobody_takes() {
        let meter = Meter::start(None);
        let mut writer = meter.lane("writer");
        writer.set(Doing::WaitOut);
        thread::sleep(STEP);
        let mut reader = meter.lane("reader");
        reader.set(Doing::WaitIn);
        let before = meter.times();
        thread::sleep(STEP);
        let after = meter.times();
        assert!(before.wait_out >= STEP, "{before:?}");
        assert!(after.wait_in >= before.wait_in + STEP, "{after:?}");
        assert_eq!(after.wait_out, before.wait_out);
    }

    #[test]
    fn pipes_tell_the_lane_of_their_thread() {
        let meter = Meter::start(None);
        let entered = meter.lane("main").enter();
        work("read");
        let read = reading(|| {
            thread::sleep(STEP);
            Ok(7)
        });
        assert_eq!(read.unwrap(), 7);
        drop(entered);
        // A thread without a lane counts for nothing.
        reading(|| Ok(9)).unwrap();
        let times = meter.times();
        assert!(times.wait_in >= STEP, "{times:?}");
        assert_eq!((times.bytes_in, times.bytes_out), (7, 0));
    }
}
