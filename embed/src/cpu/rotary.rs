//! Cosines and sines of rotary positions, kept for as many positions as were ever asked for.

use std::sync::{Arc, PoisonError, RwLock};

/// The angles of one set of frequencies.
pub(super) struct Rotary {
    frequencies: Arc<[f32]>,
    angles: RwLock<Arc<Angles>>,
}

/// `[positions, 2, frequencies]`: cosines, then sines.
pub(super) struct Angles {
    width: usize,
    numbers: Vec<f32>,
}

impl Rotary {
    pub(super) fn new(frequencies: Arc<[f32]>) -> Self {
        let none = Angles {
            width: frequencies.len(),
            numbers: Vec::new(),
        };
        Self {
            frequencies,
            angles: RwLock::new(Arc::new(none)),
        }
    }

    /// Tells whether its frequencies are these.
    pub(super) fn is_of(&self, frequencies: &[f32]) -> bool {
        *self.frequencies == *frequencies
    }

    /// Returns the angles of at least the first `positions` positions.
    pub(super) fn angles(&self, positions: usize) -> Arc<Angles> {
        let known = self.angles.read().unwrap_or_else(PoisonError::into_inner);
        if known.positions() >= positions {
            return Arc::clone(&known);
        }
        drop(known);
        let more = Arc::new(Angles::new(
            &self.frequencies,
            positions.next_power_of_two(),
        ));
        *self.angles.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&more);
        more
    }
}

impl Angles {
    fn new(frequencies: &[f32], positions: usize) -> Self {
        let mut numbers = Vec::with_capacity(positions * frequencies.len() * 2);
        for position in 0..positions {
            // The angle is rounded to f32 as the models' own code does; its cosine is exact.
            let angles = || {
                let angle = |frequency: &f32| f64::from(position as f32 * frequency);
                frequencies.iter().map(angle)
            };
            numbers.extend(angles().map(|angle| angle.cos() as f32));
            numbers.extend(angles().map(|angle| angle.sin() as f32));
        }
        Self {
            width: frequencies.len(),
            numbers,
        }
    }

    fn positions(&self) -> usize {
        self.numbers.len() / (2 * self.width.max(1))
    }

    /// Returns the cosines and sines of a position.
    pub(super) fn at(&self, position: usize) -> (&[f32], &[f32]) {
        let both = &self.numbers[2 * position * self.width..2 * (position + 1) * self.width];
        both.split_at(self.width)
    }
}
