//! How texts become batches that a device has room for, and what happens if it runs out of memory.
//!
//! Each card has a thread and a stream, and takes the next texts from one queue. A card that is out
//! of memory gets batches of half the size from then on.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

#[cfg(any(feature = "cuda", test))]
use candle_core::DType;

use crate::Error;
use crate::encoder::Batch;
#[cfg(any(feature = "cuda", test))]
use crate::encoder::spec::Architecture;

/// Texts that are still to be run, the longest first; several devices take from it.
pub(super) struct Queue<'a> {
    texts: &'a Batch<'a>,
    next: Mutex<usize>,
}

impl<'a> Queue<'a> {
    pub(super) fn new(texts: &'a Batch<'a>) -> Self {
        Self {
            texts,
            next: Mutex::new(0),
        }
    }

    /// Returns the next texts that have at most so many tokens, padding included, or one.
    fn take(&self, tokens: usize) -> Option<Part<'a>> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let at = *next;
        let rest = self.texts.get(at..)?;
        let count = (tokens / rest.first()?.len()).clamp(1, rest.len());
        *next = at + count;
        let texts = &rest[..count];
        Some(Part { at, texts })
    }

    /// Gives out no more texts.
    pub(super) fn close(&self) {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        *next = self.texts.len();
    }
}

/// Some of a queue's texts.
struct Part<'a> {
    /// Which of all texts is the first one.
    at: usize,
    texts: &'a Batch<'a>,
}

/// How many tokens a device takes at once, padding included; fewer after it ran out of memory.
pub(super) struct Room {
    tokens: AtomicUsize,
}

impl Room {
    pub(super) fn new(tokens: usize) -> Self {
        Self {
            tokens: AtomicUsize::new(tokens),
        }
    }

    /// Runs batches until a queue is empty, and returns what was made, each with the place of its
    /// first text.
    ///
    /// A batch is read with `finish` only after the next one was given to `start`. Where the
    /// device runs out of memory, the batch that was waiting is read first; then the batch is
    /// halved, and later ones are as small.
    ///
    /// # Errors
    /// [`Error::Text`] for a text for which there is no room alone, [`Error::Inference`] for all
    /// else.
    pub(super) fn drain<S, T>(
        &self,
        queue: &Queue<'_>,
        start: impl Fn(&Batch<'_>) -> candle_core::Result<S>,
        finish: impl Fn(S) -> candle_core::Result<Vec<T>>,
    ) -> Result<Vec<(usize, Vec<T>)>, Error> {
        let mut made = Vec::new();
        let mut split: Vec<Part<'_>> = Vec::new();
        let mut waiting: Option<(Part<'_>, S)> = None;
        loop {
            let tokens = self.tokens.load(Ordering::Relaxed);
            let part = split.pop().or_else(|| queue.take(tokens));
            let started = part.map(|part| (start(part.texts), part));
            let was_alone = waiting.is_none();
            if let Some((part, state)) = waiting.take() {
                // Kernels run later than they are started: here, too, memory may be short.
                match finish(state) {
                    Ok(vectors) => made.push((part.at, vectors)),
                    Err(error) => self.halve(part, error, &mut split)?,
                }
            }
            match started {
                None if was_alone => return Ok(made),
                None => {}
                Some((Ok(state), part)) => waiting = Some((part, state)),
                Some((Err(error), part)) if !was_alone && is_out_of_memory(&error) => {
                    split.push(part);
                }
                Some((Err(error), part)) => self.halve(part, error, &mut split)?,
            }
        }
    }

    /// Parts a batch for which the device has no room.
    fn halve<'a>(
        &self,
        part: Part<'a>,
        error: candle_core::Error,
        split: &mut Vec<Part<'a>>,
    ) -> Result<(), Error> {
        if !is_out_of_memory(&error) {
            return Err(error.into());
        }
        let (count, longest) = (part.texts.len(), part.texts[0].len());
        if count == 1 {
            return Err(Error::Text {
                at: part.at,
                cause: format!("has {longest} tokens, for which the device has no memory: {error}"),
                hint: "--max-tokens cuts texts, --dtype f16 halves what they take",
            });
        }
        let half = count / 2;
        self.tokens.fetch_min(half * longest, Ordering::Relaxed);
        log::info!("the device is out of memory for {count} texts at once: {half} are tried");
        let (first, second) = part.texts.split_at(half);
        split.push(Part {
            at: part.at + half,
            texts: second,
        });
        split.push(Part {
            at: part.at,
            texts: first,
        });
        Ok(())
    }
}

/// Tells whether an error is for want of memory on the device.
pub(super) fn is_out_of_memory(error: &candle_core::Error) -> bool {
    // Their types are there in a build for cards only; these are the names that CUDA's and
    // cuBLAS's own headers give them.
    let text = error.to_string();
    ["CUDA_ERROR_OUT_OF_MEMORY", "CUBLAS_STATUS_ALLOC_FAILED"]
        .iter()
        .any(|name| text.contains(name))
}

/// Returns how many tokens fit into half of the memory that is free.
#[cfg(any(feature = "cuda", test))]
pub(super) fn tokens(free: usize, architecture: &Architecture, dtype: DType) -> usize {
    let Architecture {
        hidden,
        heads,
        kv_heads,
        head_dim,
        intermediate,
        gated,
        ..
    } = architecture;
    // What is alive at the widest places of a layer, generously: states and what they are added
    // to, queries, keys and values before and after they are turned, the inner states.
    let heads = 3 * (heads + 2 * kv_heads) * head_dim;
    let inner = 3 * intermediate * (1 + usize::from(*gated));
    let bytes = (6 * hidden + heads.max(inner)) * dtype.size_in_bytes() + 4 * hidden;
    (free / 2 / bytes).clamp(LEAST, MOST)
}

/// The fewest and the most tokens of a batch on a card: fewer leave it idle, and it is as fast
/// with these as with more.
#[cfg(any(feature = "cuda", test))]
const LEAST: usize = 1 << 12;
#[cfg(any(feature = "cuda", test))]
const MOST: usize = 1 << 17;

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;
    use crate::encoder::Text;

    fn out_of_memory() -> candle_core::Error {
        candle_core::Error::Msg(r#"DriverError(CUDA_ERROR_OUT_OF_MEMORY, "out of memory")"#.into())
    }

    /// Texts whose first token is their place.
    fn texts(lengths: &[usize]) -> Vec<Vec<u32>> {
        let text = |(at, length): (usize, &usize)| vec![at as u32; *length];
        lengths.iter().enumerate().map(text).collect()
    }

    /// Runs texts on a device that holds so many tokens, and returns the sizes of the batches that
    /// were started, those that failed as well.
    fn run(room: &Room, lengths: &[usize], capacity: usize) -> Result<Vec<usize>, Error> {
        let texts = texts(lengths);
        let batch: Vec<Text<'_>> = texts.iter().map(|ids| Text::single(ids)).collect();
        let queue = Queue::new(&batch);
        let held = Cell::new(0);
        let started = RefCell::new(Vec::new());
        let start = |texts: &Batch<'_>| {
            started.borrow_mut().push(texts.len());
            let tokens = texts.len() * texts[0].len();
            if held.get() + tokens > capacity {
                return Err(out_of_memory());
            }
            held.set(held.get() + tokens);
            let ids: Vec<u32> = texts.iter().map(|text| text.ids[0]).collect();
            Ok((tokens, ids))
        };
        let finish = |(tokens, ids)| {
            held.set(held.get() - tokens);
            Ok(ids)
        };
        let mut found = vec![None; texts.len()];
        for (at, ids) in room.drain(&queue, start, finish)? {
            for (found, id) in found[at..].iter_mut().zip(ids) {
                assert_eq!(found.replace(id), None);
            }
        }
        let due: Vec<Option<u32>> = (0..texts.len() as u32).map(Some).collect();
        assert_eq!(found, due);
        Ok(started.into_inner())
    }

    #[test]
    fn a_batch_without_room_is_halved_and_later_ones_are_as_small() {
        let room = Room::new(80);
        let started = run(&room, &[10; 20], 1000).unwrap();
        assert_eq!(started, [8, 8, 4]);
        // 8 texts do not fit, 4 do, beside 4 that wait to be read.
        let started = run(&room, &[10; 20], 79).unwrap();
        assert_eq!(started[0], 8);
        assert!(started[1..].iter().all(|count| *count == 4), "{started:?}");
        assert_eq!(run(&room, &[10; 8], 1000).unwrap(), [4, 4]);
    }

    #[test]
    fn a_batch_that_had_to_share_the_memory_is_tried_alone_first() {
        let room = Room::new(40);
        let started = run(&room, &[10; 12], 40).unwrap();
        assert_eq!(
            started,
            [4, 4, 4, 4, 4],
            "each but the first is started twice"
        );
        assert_eq!(
            run(&room, &[10; 4], 40).unwrap(),
            [4],
            "no batch was halved"
        );
    }

    #[test]
    fn every_capacity_gives_every_text_once() {
        let lengths: Vec<usize> = (1..=40).rev().collect();
        for capacity in 40..400 {
            run(&Room::new(200), &lengths, capacity).unwrap();
        }
    }

    #[test]
    fn a_text_that_is_too_long_alone_is_named() {
        let error = run(&Room::new(400), &[50, 30, 30, 30], 40).unwrap_err();
        let Error::Text { at, cause, .. } = error else {
            panic!("{error}");
        };
        assert_eq!(at, 0);
        assert!(cause.starts_with("has 50 tokens"), "{cause}");
    }

    #[test]
    fn another_failure_is_no_want_of_memory() {
        let texts = texts(&[3, 2]);
        let batch: Vec<Text<'_>> = texts.iter().map(|ids| Text::single(ids)).collect();
        let lost = || candle_core::Error::Msg("DriverError(CUDA_ERROR_ILLEGAL_ADDRESS)".into());
        let queue = Queue::new(&batch);
        let start = |_: &Batch<'_>| Err::<(), _>(lost());
        let error = Room::new(9)
            .drain(&queue, start, |()| Ok(vec![0]))
            .unwrap_err();
        assert!(matches!(error, Error::Inference(_)), "{error}");
        queue.close();
        assert!(queue.take(9).is_none());
    }
}
