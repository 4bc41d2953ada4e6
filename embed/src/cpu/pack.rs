//! Weights and rows in the forms that the kernels take.

use super::kernel::{BLOCK, NR};
use super::linear::End;
use super::machine::Precision;
use super::numbers::{ROUND, to_bf16};
use crate::encoder::spec::Dense;

/// Panels of [`NR`] columns, 64 bytes aligned.
pub(super) enum Weights {
    F32(Vec<Line<f32>>),
    Bf16(Vec<Line<u32>>),
    Q8 {
        numbers: Vec<Line<u32>>,
        scales: Vec<Line<f32>>,
    },
}

/// Half a row of a panel: as much as a cache line holds.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(super) struct Line<T>([T; NR / 2]);

/// Rows as a kernel takes them.
#[derive(Default)]
pub(super) struct Operand {
    /// Pairs of bf16 numbers, or eight-bit numbers four at a time.
    pub(super) words: Vec<u32>,
    /// Of eight-bit numbers: a scale for each block.
    pub(super) scales: Vec<f32>,
    /// Of eight-bit numbers: -128 times the sum of each block.
    pub(super) offsets: Vec<i32>,
}

/// Returns which output each column of the panels is; a panel of [`End::Gate`] has one half of
/// each kind.
pub(super) fn columns(outputs: usize, end: End) -> Vec<Option<usize>> {
    let place = |column: usize| match end {
        End::Gate(_) => {
            let (panel, within) = (column / NR, column % NR);
            let (half, index) = (within / (NR / 2), panel * (NR / 2) + within % (NR / 2));
            (index < outputs / 2).then_some(half * (outputs / 2) + index)
        }
        _ => (column < outputs).then_some(column),
    };
    let count = match end {
        End::Gate(_) => (outputs / 2).div_ceil(NR / 2),
        _ => outputs.div_ceil(NR),
    };
    (0..count * NR).map(place).collect()
}

/// Pairs of bf16 numbers in a row of `inputs`, filled up to what a matrix tile takes.
pub(super) fn bf16_depth(inputs: usize) -> usize {
    inputs.next_multiple_of(32) / 2
}

impl Weights {
    /// Packs the rows of a map that `columns` name, panel by panel.
    pub(super) fn pack(dense: &Dense, columns: &[Option<usize>], precision: Precision) -> Self {
        let panels = Panels {
            dense,
            inputs: dense.weight.len() / dense.outputs.max(1),
            columns,
        };
        match precision {
            Precision::F32 => panels.f32(),
            Precision::Bf16 => panels.bf16(),
            Precision::Q8 => panels.q8(),
        }
    }
}

/// Weights on their way into panels.
struct Panels<'a> {
    dense: &'a Dense,
    inputs: usize,
    columns: &'a [Option<usize>],
}

impl Panels<'_> {
    /// Returns the weights of a column; none for one that only fills a panel up.
    fn column(&self, column: Option<usize>) -> &[f32] {
        column.map_or(&[], |column| {
            &self.dense.weight[column * self.inputs..(column + 1) * self.inputs]
        })
    }

    fn f32(&self) -> Weights {
        let mut lines = Vec::with_capacity(self.columns.len() * self.inputs * 2 / NR);
        for panel in self.columns.chunks_exact(NR) {
            let columns: Vec<&[f32]> = panel.iter().map(|column| self.column(*column)).collect();
            for depth in 0..self.inputs {
                for half in columns.chunks_exact(NR / 2) {
                    lines.push(Line(std::array::from_fn(|column| {
                        half[column].get(depth).copied().unwrap_or_default()
                    })));
                }
            }
        }
        Weights::F32(lines)
    }

    fn bf16(&self) -> Weights {
        let depth = bf16_depth(self.inputs);
        let mut lines = Vec::with_capacity(self.columns.len() * depth * 2 / NR);
        for panel in self.columns.chunks_exact(NR) {
            let columns: Vec<&[f32]> = panel.iter().map(|column| self.column(*column)).collect();
            for pair in 0..depth {
                for half in columns.chunks_exact(NR / 2) {
                    lines.push(Line(std::array::from_fn(|column| {
                        let bits = |depth| {
                            u32::from(to_bf16(
                                half[column].get(depth).copied().unwrap_or_default(),
                            ))
                        };
                        bits(2 * pair) | bits(2 * pair + 1) << 16
                    })));
                }
            }
        }
        Weights::Bf16(lines)
    }

    fn q8(&self) -> Weights {
        let blocks = self.inputs.div_ceil(BLOCK);
        let mut numbers = Vec::with_capacity(self.columns.len() * blocks * BLOCK / 2 / NR);
        let mut all_scales = Vec::with_capacity(self.columns.len() * blocks * 2 / NR);
        for panel in self.columns.chunks_exact(NR) {
            let columns: Vec<Operand> = panel
                .iter()
                .map(|column| {
                    let mut operand = Operand::default();
                    let weights = self.column(*column);
                    if weights.is_empty() {
                        operand.q8(&vec![0.0; self.inputs], self.inputs);
                    } else {
                        operand.q8(weights, self.inputs);
                    }
                    operand
                })
                .collect();
            for block in 0..blocks {
                for half in columns.chunks_exact(NR / 2) {
                    all_scales.push(Line(std::array::from_fn(|column| {
                        half[column].scales[block]
                    })));
                }
            }
            for word in 0..blocks * BLOCK / 4 {
                for half in columns.chunks_exact(NR / 2) {
                    // With the highest bit turned, a number has 128 added and no sign.
                    numbers.push(Line(std::array::from_fn(|column| {
                        half[column].words[word] ^ 0x8080_8080
                    })));
                }
            }
        }
        Weights::Q8 {
            numbers,
            scales: all_scales,
        }
    }
}

impl Operand {
    /// Takes rows of `inputs` numbers as bf16, filled up with zeros to what a matrix tile takes.
    #[inline(always)]
    pub(super) fn bf16(&mut self, x: &[f32], inputs: usize) {
        let depth = bf16_depth(inputs);
        self.words.clear();
        let rows = (x.len() / inputs).next_multiple_of(16);
        self.words.resize(rows * depth, 0);
        for (row, words) in x
            .chunks_exact(inputs)
            .zip(self.words.chunks_exact_mut(depth))
        {
            let (pairs, rest) = row.as_chunks::<2>();
            for (word, [low, high]) in words.iter_mut().zip(pairs) {
                *word = u32::from(to_bf16(*low)) | u32::from(to_bf16(*high)) << 16;
            }
            if let [last] = rest {
                words[pairs.len()] = u32::from(to_bf16(*last));
            }
        }
    }

    /// Takes rows of `inputs` numbers in blocks of eight-bit ones, the last filled up with zeros.
    #[inline(always)]
    pub(super) fn q8(&mut self, x: &[f32], inputs: usize) {
        let blocks = inputs.div_ceil(BLOCK);
        self.words.clear();
        self.scales.clear();
        self.offsets.clear();
        self.words.reserve(x.len() / inputs * blocks * BLOCK / 4);
        for row in x.chunks_exact(inputs) {
            for block in row.chunks(BLOCK) {
                let mut numbers = [0.0; BLOCK];
                numbers[..block.len()].copy_from_slice(block);
                let mut most = 0.0_f32;
                for x in &numbers {
                    most = if x.abs() > most { x.abs() } else { most };
                }
                let factor = if most > 0.0 { 127.0 / most } else { 0.0 };
                let mut eight = [0_u8; BLOCK];
                let mut sum = 0;
                for (eight, x) in eight.iter_mut().zip(&numbers) {
                    // Rounded numbers are within ±127; what NaN becomes is of no matter, as it
                    // stays in the states.
                    let bits = (x * factor + ROUND).to_bits();
                    *eight = bits as u8;
                    sum = i32::wrapping_add(sum, bits.wrapping_sub(ROUND.to_bits()).cast_signed());
                }
                self.offsets.push(sum.wrapping_mul(-128));
                self.scales.push(most / 127.0);
                let words = eight.as_chunks::<4>().0.iter();
                self.words
                    .extend(words.map(|four| u32::from_le_bytes(*four)));
            }
        }
    }
}
