//! Memory of messages that nobody looks at any more, for those that come next.
//!
//! A message is a megabyte or more, which an allocator gives back to the system, to ask for it again
//! at once; the system clears it each time, and that took longer than reading the message.

use std::sync::{Arc, Mutex, PoisonError};

use arrow_buffer::Buffer;
use bytes::Bytes;

/// Memory is asked for in multiples of so many bytes, so that one message's has room for another.
const STEP: usize = 256 << 10;

/// Bytes that are kept for messages to come.
const KEPT: usize = 32 << 20;

/// The memory that is kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spare(Arc<Mutex<Shelf>>);

#[derive(Debug, Default)]
struct Shelf {
    free: Vec<Vec<u8>>,
    /// Whether no message is to come.
    closed: bool,
}

impl Spare {
    /// Returns an empty vector with room for some bytes.
    pub(crate) fn take(&self, bytes: usize) -> Vec<u8> {
        self.with(|shelf| {
            let fitting = shelf.free.iter().position(|free| free.capacity() >= bytes);
            fitting.map(|at| shelf.free.swap_remove(at))
        })
        .unwrap_or_else(|| Vec::with_capacity(bytes.next_multiple_of(STEP)))
    }

    /// Makes a buffer of a message, whose memory comes back when the last array of it is gone.
    pub(crate) fn lend(&self, message: Vec<u8>) -> Buffer {
        let spare = self.clone();
        Buffer::from(Bytes::from_owner(Lent { message, spare }))
    }

    /// Keeps nothing from now on.
    pub(crate) fn close(&self) {
        self.with(|shelf| {
            shelf.closed = true;
            shelf.free = Vec::new();
        });
    }

    fn give_back(&self, mut message: Vec<u8>) {
        message.clear();
        self.with(|shelf| {
            let kept: usize = shelf.free.iter().map(Vec::capacity).sum();
            if !shelf.closed && kept + message.capacity() <= KEPT {
                shelf.free.push(message);
            }
        });
    }

    fn with<T>(&self, work: impl FnOnce(&mut Shelf) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A message that is being looked at.
struct Lent {
    message: Vec<u8>,
    spare: Spare,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.message
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.spare.give_back(std::mem::take(&mut self.message));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_comes_back_when_nobody_looks_at_it_and_is_bounded() {
        let spare = Spare::default();
        let mut message = spare.take(100);
        message.extend_from_slice(b"first");
        let at = message.as_ptr();
        let buffer = spare.lend(message);
        let part = buffer.slice(2);
        drop(buffer);
        let other = spare.take(100);
        assert_ne!(other.as_ptr(), at, "it is still looked at");
        assert_eq!(part.as_slice(), b"rst");
        drop(part);
        let again = spare.take(STEP);
        assert_eq!((again.as_ptr(), again.len()), (at, 0));

        let many: Vec<Buffer> = (0..3)
            .map(|_| spare.lend(Vec::with_capacity(KEPT / 2)))
            .collect();
        drop(many);
        assert_eq!(spare.with(|shelf| shelf.free.len()), 2);
        spare.close();
        drop(spare.lend(again));
        assert_eq!(spare.with(|shelf| shelf.free.len()), 0);
    }
}
