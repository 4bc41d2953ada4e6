//! A linear map with its weights packed for the kernels.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

#[cfg(target_arch = "x86_64")]
use super::amx;
use super::kernel::{At, BLOCK, MR, NR, TILE_ROWS, Tile};
use super::machine::{Machine, Precision};
use super::numbers::{ROUND, to_bf16};
use super::vectors::{activate, shift};
use crate::encoder::spec::{Activation, Dense};

/// The most rows that are taken at once: whole tiles of each kernel, and few enough that they and
/// a panel of weights stay in a core's second cache.
const ROWS: usize = 96;

/// The same of long rows.
const LONG_ROWS: usize = 48;

/// Rows of more numbers are long.
const LONG: usize = 2048;

/// `y = W x + b`, followed by what can be done to a tile while it is in the cache.
pub(super) struct Linear {
    inputs: usize,
    /// Numbers of a row that [`Linear::run`] writes.
    outputs: usize,
    /// For each panel.
    bias: Vec<[f32; NR]>,
    weights: Weights,
    end: End,
    machine: Machine,
}

/// What follows the product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Nothing.
    Write,
    /// The result is added to what the output holds.
    Add,
    /// An activation.
    Bend(Activation),
    /// The activation of the first half of the outputs, times the second half.
    Gate(Activation),
}

/// Panels of [`NR`] columns, 64 bytes aligned.
enum Weights {
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
struct Line<T>([T; NR / 2]);

/// Rows as a kernel takes them.
#[derive(Default)]
pub(super) struct Operand {
    words: Vec<u32>,
    scales: Vec<f32>,
    offsets: Vec<i32>,
}

impl Linear {
    /// Packs a map for one kind of product.
    pub(super) fn new(dense: &Dense, end: End, precision: Precision, machine: Machine) -> Self {
        let inputs = dense.weight.len() / dense.outputs.max(1);
        let columns = columns(dense.outputs, end);
        let outputs = match end {
            End::Gate(_) => dense.outputs / 2,
            _ => dense.outputs,
        };
        let bias = |column: &Option<usize>| match (column, &dense.bias) {
            (Some(column), Some(bias)) => bias[*column],
            _ => 0.0,
        };
        let panels = Panels {
            dense,
            inputs,
            columns: &columns,
        };
        Self {
            inputs,
            outputs,
            bias: columns
                .chunks_exact(NR)
                .map(|panel| std::array::from_fn(|column| bias(&panel[column])))
                .collect(),
            weights: match precision {
                Precision::F32 => panels.f32(),
                Precision::Bf16 => panels.bf16(),
                Precision::Q8 => panels.q8(),
            },
            end,
            machine,
        }
    }

    /// Returns how many numbers it makes of a row.
    pub(super) fn outputs(&self) -> usize {
        self.outputs
    }

    /// Computes all rows of `x` into rows of `y`, on this thread.
    pub(super) fn run(&self, x: &[f32], y: &mut [f32], operand: &mut Operand) {
        let rows = if self.inputs > LONG { LONG_ROWS } else { ROWS };
        let x = x.chunks(rows * self.inputs);
        for (x, y) in x.zip(y.chunks_mut(rows * self.outputs)) {
            self.run_some(x, y, operand);
        }
    }

    /// The same on all threads.
    pub(super) fn run_on_all(&self, x: &[f32], y: &mut [f32]) {
        let rows = 2 * self.tile_rows();
        let x = x.par_chunks(rows * self.inputs);
        let y = y.par_chunks_mut(rows * self.outputs);
        x.zip(y).for_each_init(Operand::default, |operand, (x, y)| {
            self.run_some(x, y, operand);
        });
    }

    /// Tells whether products are made by matrix tiles.
    #[cfg(target_arch = "x86_64")]
    fn has_tiles(&self) -> bool {
        self.machine.tiles && matches!(self.weights, Weights::Bf16(_))
    }

    /// Returns the most rows of a tile of its kernel.
    fn tile_rows(&self) -> usize {
        #[cfg(target_arch = "x86_64")]
        if self.has_tiles() {
            return amx::MR;
        }
        MR
    }

    fn run_some(&self, x: &[f32], y: &mut [f32], operand: &mut Operand) {
        let rows = x.len() / self.inputs;
        self.machine.vectorize(
            #[inline(always)]
            || match &self.weights {
                Weights::F32(_) => {}
                Weights::Bf16(_) => operand.bf16(x, self.inputs),
                Weights::Q8 { .. } => operand.q8(x, self.inputs),
            },
        );
        #[cfg(target_arch = "x86_64")]
        let _tiles = self.has_tiles().then(amx::Tiles::configure);
        let step = self.tile_rows();
        let mut tile: Tile = [[0.0; NR]; TILE_ROWS];
        for panel in 0..self.bias.len() {
            for top in (0..rows).step_by(step) {
                let count = step.min(rows - top);
                self.product(Place { panel, top, count }, x, operand, &mut tile);
                let y = &mut y[top * self.outputs..];
                self.machine.arch.dispatch(Finish {
                    end: self.end,
                    bias: &self.bias[panel],
                    tile: &mut tile[..count],
                    y,
                    outputs: self.outputs,
                    panel,
                });
            }
        }
    }

    /// Computes one tile.
    fn product(&self, at: Place, x: &[f32], operand: &Operand, tile: &mut Tile) {
        let Place { panel, top, count } = at;
        // Packing made the panels as large as the kernels want them, and chose a precision that
        // the processor has.
        unsafe {
            match &self.weights {
                Weights::F32(weights) => {
                    let a = At::of(x, self.inputs).below(top);
                    let b = At {
                        first: weights[panel * self.inputs * 2..].as_ptr().cast(),
                        stride: NR,
                    };
                    (self.machine.f32)(count, self.inputs, a, b, tile);
                }
                #[cfg(target_arch = "x86_64")]
                Weights::Bf16(weights) => {
                    let depth = bf16_depth(self.inputs);
                    let a = At::of(&operand.words, depth).below(top);
                    let b = At {
                        first: weights[panel * depth * 2..].as_ptr().cast(),
                        stride: NR,
                    };
                    if self.machine.tiles {
                        amx::bf16(count, depth, a, b, tile);
                    } else {
                        super::kernel::bf16(count, depth, a, b, tile);
                    }
                }
                #[cfg(target_arch = "x86_64")]
                Weights::Q8 { numbers, scales } => {
                    use super::kernel::{MR_Q8, Q8Panel, Q8Rows, q8};
                    let blocks = self.inputs.div_ceil(BLOCK);
                    let words = blocks * BLOCK / 4;
                    let b = Q8Panel {
                        numbers: numbers[panel * words * 2..].as_ptr().cast(),
                        scales: scales[panel * blocks * 2..].as_ptr().cast(),
                    };
                    for half in (0..count).step_by(MR_Q8) {
                        let a = Q8Rows {
                            numbers: At::of(&operand.words, words).below(top + half),
                            scales: At::of(&operand.scales, blocks).below(top + half),
                            offsets: At::of(&operand.offsets, blocks).below(top + half),
                        };
                        let rows = MR_Q8.min(count - half);
                        q8(rows, blocks, a, b, &mut tile[half..]);
                    }
                }
                #[cfg(not(target_arch = "x86_64"))]
                _ => unreachable!("such products are made on x86-64 only"),
            }
        }
    }
}

/// What follows the product of a tile: its rows go to where they belong in `y`.
struct Finish<'a> {
    end: End,
    bias: &'a [f32; NR],
    tile: &'a mut [[f32; NR]],
    y: &'a mut [f32],
    /// Numbers of a row of `y`.
    outputs: usize,
    panel: usize,
}

impl WithSimd for Finish<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        for (sums, y) in self.tile.iter_mut().zip(self.y.chunks_mut(self.outputs)) {
            shift(simd, sums, self.bias);
            match self.end {
                End::Write => put(sums, &mut y[self.panel * NR..]),
                End::Add => shift(simd, &mut y[self.panel * NR..], sums),
                End::Bend(activation) => {
                    activate(simd, activation, sums);
                    put(sums, &mut y[self.panel * NR..]);
                }
                End::Gate(activation) => {
                    let (bent, gates) = sums.split_at_mut(NR / 2);
                    activate(simd, activation, bent);
                    bent.iter_mut()
                        .zip(gates)
                        .for_each(|(sum, gate)| *sum *= *gate);
                    if let Some(bent) = bent.first_chunk::<{ NR / 2 }>() {
                        put(bent, &mut y[self.panel * NR / 2..]);
                    }
                }
            }
        }
    }
}

/// Copies numbers to the beginning of `y`, as many as it has room for.
#[inline(always)]
fn put<const N: usize>(numbers: &[f32; N], y: &mut [f32]) {
    // Nearly always there is room for all, and a copy of known length is a few instructions.
    match y.first_chunk_mut::<N>() {
        Some(y) => *y = *numbers,
        None => y.copy_from_slice(&numbers[..y.len()]),
    }
}

/// A tile: its panel, its first row and how many it has.
#[derive(Clone, Copy)]
struct Place {
    panel: usize,
    top: usize,
    count: usize,
}

/// Returns which output each column of the panels is; a panel of [`End::Gate`] has one half of
/// each kind.
fn columns(outputs: usize, end: End) -> Vec<Option<usize>> {
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
fn bf16_depth(inputs: usize) -> usize {
    inputs.next_multiple_of(32) / 2
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
    fn bf16(&mut self, x: &[f32], inputs: usize) {
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
    fn q8(&mut self, x: &[f32], inputs: usize) {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers in [-1, 1) without a pattern.
    fn noise(seed: u32, count: usize) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..count).map(|_| next()).collect()
    }

    /// The same in the plainest way, before what [`End`] asks for.
    fn plain(x: &[f32], dense: &Dense, inputs: usize) -> Vec<Vec<f64>> {
        let dot = |a: &[f32], b: &[f32]| -> f64 {
            a.iter()
                .zip(b)
                .map(|(a, b)| f64::from(*a) * f64::from(*b))
                .sum()
        };
        x.chunks(inputs)
            .map(|x| {
                let rows = dense.weight.chunks(inputs).enumerate();
                rows.map(|(row, w)| {
                    dot(x, w) + dense.bias.as_ref().map_or(0.0, |b| f64::from(b[row]))
                })
                .collect()
            })
            .collect()
    }

    #[test]
    fn products_are_right_in_every_precision_shape_and_instruction_set() {
        let shapes = [
            (1, 8, 1),
            (13, 48, 33),
            (100, 80, 96),
            (49, 2080, 40),
            (33, 70, 64),
        ];
        for machine in Machine::all() {
            for (precision, tolerance) in [
                (Precision::F32, 1e-5),
                (Precision::Bf16, 1e-2),
                (Precision::Q8, 2e-2),
            ] {
                if !machine.has(precision) {
                    continue;
                }
                for (rows, inputs, outputs) in shapes {
                    let dense = Dense {
                        weight: noise(1, outputs * inputs),
                        outputs,
                        bias: (outputs > 1).then(|| noise(2, outputs)),
                    };
                    let x = noise(3, rows * inputs);
                    let expected = plain(&x, &dense, inputs);
                    for end in [End::Write, End::Add, End::Bend(Activation::Relu)] {
                        let linear = Linear::new(&dense, end, precision, machine);
                        let mut y = vec![0.5; rows * outputs];
                        linear.run(&x, &mut y, &mut Operand::default());
                        let mut together = vec![0.5; rows * outputs];
                        linear.run_on_all(&x, &mut together);
                        assert_eq!(y, together);
                        let limit = tolerance * (inputs as f64).sqrt();
                        for (y, expected) in y.iter().zip(expected.iter().flatten()) {
                            let expected = match end {
                                End::Add => 0.5 + expected,
                                End::Bend(_) => expected.max(0.0),
                                _ => *expected,
                            };
                            let error = (f64::from(*y) - expected).abs();
                            assert!(error < limit, "{precision:?} {end:?} {inputs}: {error}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_gate_multiplies_the_halves() {
        let (rows, inputs, outputs) = (5, 24, 2 * 37);
        let dense = Dense {
            weight: noise(4, outputs * inputs),
            outputs,
            bias: None,
        };
        let x = noise(5, rows * inputs);
        let linear = Linear::new(
            &dense,
            End::Gate(Activation::Relu),
            Precision::F32,
            Machine::detect(),
        );
        assert_eq!(linear.outputs(), 37);
        let mut y = vec![f32::NAN; rows * 37];
        linear.run(&x, &mut y, &mut Operand::default());
        for (y, sums) in y.chunks(37).zip(plain(&x, &dense, inputs)) {
            for (column, y) in y.iter().enumerate() {
                let expected = sums[column].max(0.0) * sums[37 + column];
                assert!((f64::from(*y) - expected).abs() < 1e-5);
            }
        }
    }
}
