//! A thread's part in a stage's times: what it does at a time, and what a trace shows of it.

use std::cell::RefCell;
use std::io;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::Meter;

/// The shortest wait that a trace shows; a shorter one is part of the work around it.
const SHORT: Duration = Duration::from_micros(200);

/// How long small pieces of one kind of work are drawn as one in a trace.
const PIECES: Duration = Duration::from_millis(20);

/// What a lane does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doing {
    /// It works.
    Work,
    /// It waits for bytes of the stage before.
    WaitIn,
    /// It waits for the stage behind to take bytes.
    WaitOut,
    /// It waits for another thread of its own stage.
    Idle,
}

/// A piece of work, as a trace shows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) name: &'static str,
    pub(super) began: Instant,
    pub(super) rows: usize,
    /// Whether it is many small pieces.
    pieces: bool,
}

/// What one thread of a stage, or one task, does at a time.
#[derive(Debug)]
pub struct Lane {
    meter: Meter,
    id: usize,
    doing: Doing,
    changed: Instant,
    span: Option<Span>,
}

impl Lane {
    pub(super) fn new(meter: Meter, id: usize) -> Self {
        Self {
            meter,
            id,
            doing: Doing::Idle,
            changed: Instant::now(),
            span: None,
        }
    }

    /// Begins work at a batch of some rows.
    pub fn batch(&mut self, name: &'static str, rows: usize) {
        let began = self.set(Doing::Work);
        self.show(Span {
            name,
            began,
            rows,
            pieces: false,
        });
    }

    /// Begins or goes on with one of many small pieces of work.
    pub(super) fn work(&mut self, name: &'static str) {
        let now = self.set(Doing::Work);
        let is_same = |span: &Span| {
            span.pieces && span.name == name && now.duration_since(span.began) < PIECES
        };
        if !self.span.as_ref().is_some_and(is_same) {
            self.show(Span {
                name,
                began: now,
                rows: 0,
                pieces: true,
            });
        }
    }

    /// Waits for another thread from now on.
    pub(super) fn idle(&mut self) {
        self.set(Doing::Idle);
    }

    /// Makes this lane the one of the thread, for what reads and writes the pipes there.
    pub fn enter(self) -> Entered {
        LANE.set(Some(self));
        Entered(PhantomData)
    }

    /// Changes what the lane does, and parts its work where it did nothing for long.
    pub(super) fn set(&mut self, doing: Doing) -> Instant {
        let was = std::mem::replace(&mut self.doing, doing);
        let now = self.meter.change(was, doing);
        let began = std::mem::replace(&mut self.changed, now);
        if was == Doing::Work || now.duration_since(began) < SHORT {
            return now;
        }
        if let Some(span) = self.span.take() {
            self.meter.trace(self.id, Doing::Work, span, began);
            self.span = Some(Span {
                began: now,
                rows: 0,
                ..span
            });
        }
        let name = match was {
            Doing::WaitIn => "wait for input",
            Doing::WaitOut => "wait for output",
            Doing::Work | Doing::Idle => return now,
        };
        let wait = Span {
            name,
            began,
            rows: 0,
            pieces: false,
        };
        self.meter.trace(self.id, was, wait, now);
        now
    }

    /// Begins a span, which ends the one before it.
    fn show(&mut self, span: Span) {
        if let Some(before) = self.span.replace(span) {
            self.meter.trace(self.id, Doing::Work, before, span.began);
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let now = self.meter.change(self.doing, Doing::Idle);
        let end = match self.doing {
            Doing::Idle => self.changed,
            _ => now,
        };
        if let Some(span) = self.span.take() {
            self.meter.trace(self.id, Doing::Work, span, end);
        }
    }
}

thread_local! {
    static LANE: RefCell<Option<Lane>> = const { RefCell::new(None) };
}

/// The time for which a thread has a lane.
#[derive(Debug)]
pub struct Entered(PhantomData<*const ()>);

impl Drop for Entered {
    fn drop(&mut self) {
        LANE.set(None);
    }
}

/// Begins work at a batch of some rows, on the lane of this thread.
pub fn batch(name: &'static str, rows: usize) {
    on_lane(|lane| lane.batch(name, rows));
}

/// Begins or goes on with one of many small pieces of work, on the lane of this thread.
pub fn work(name: &'static str) {
    on_lane(|lane| lane.work(name));
}

/// Returns a lane beside that of this thread, for a task at a batch of some rows that is about to
/// begin; its end is that of the work. `None` if nobody measures this thread.
pub fn task(name: &'static str, rows: usize) -> Option<Lane> {
    let meter = LANE.with_borrow(|lane| lane.as_ref().map(|lane| lane.meter.clone()))?;
    let mut lane = meter.lane(name);
    lane.batch(name, rows);
    Some(lane)
}

/// Says that this thread waits for another one of its stage from now on.
pub fn idle() {
    on_lane(Lane::idle);
}

/// Reads, which is waiting for input, and counts the bytes.
pub(crate) fn reading(read: impl FnOnce() -> io::Result<usize>) -> io::Result<usize> {
    let done = waiting(Doing::WaitIn, read);
    on_lane(|lane| add(&lane.meter.shared.bytes_in, &done));
    done
}

/// Writes, which is waiting for output, and counts the bytes.
pub(crate) fn writing(write: impl FnOnce() -> io::Result<usize>) -> io::Result<usize> {
    let done = waiting(Doing::WaitOut, write);
    on_lane(|lane| add(&lane.meter.shared.bytes_out, &done));
    done
}

/// Runs what waits; the lane is back at what it did before when that returns.
pub(crate) fn waiting<T>(doing: Doing, body: impl FnOnce() -> T) -> T {
    let mut was = Doing::Idle;
    on_lane(|lane| {
        was = lane.doing;
        lane.set(doing);
    });
    let done = body();
    on_lane(|lane| {
        lane.set(was);
    });
    done
}

fn add(bytes: &AtomicU64, done: &io::Result<usize>) {
    if let Ok(count) = done {
        bytes.fetch_add(*count as u64, Ordering::Relaxed);
    }
}

fn on_lane(body: impl FnOnce(&mut Lane)) {
    LANE.with_borrow_mut(|lane| {
        if let Some(lane) = lane {
            body(lane);
        }
    });
}
