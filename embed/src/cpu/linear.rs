//! A linear map with its weights packed for the kernels.
//!
//! Weights are packed once, into panels of 32 columns. A tile gets its bias, activation, gate and
//! residual sum while it is in the cache.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

#[cfg(target_arch = "x86_64")]
use super::amx;
use super::kernel::{At, BLOCK, MR, NR, TILE_ROWS, Tile, holds};
use super::machine::{Machine, Precision};
use super::pack::{Operand, Weights, bf16_depth, columns};
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

impl Linear {
    /// Packs a map for one kind of product, which `machine` must have.
    pub(super) fn new(dense: &Dense, end: End, precision: Precision, machine: Machine) -> Self {
        debug_assert!(machine.has(precision));
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
        Self {
            inputs,
            outputs,
            bias: columns
                .chunks_exact(NR)
                .map(|panel| std::array::from_fn(|column| bias(&panel[column])))
                .collect(),
            weights: Weights::pack(dense, &columns, precision),
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

    /// Computes one tile of the product with `x`, or with `operand`, which was made from it.
    fn product(&self, at: Place, x: &[f32], operand: &Operand, tile: &mut Tile) {
        let Place { panel, top, count } = at;
        // SAFETY: `PrecisionArgs::choose` takes only products that the processor has. `run_some`,
        // the only caller, takes at most `tile_rows()` of the rows of `x` that follow `top`. It has
        // filled `operand` from `x` in the form of the weights. For matrix tiles it holds `Tiles`
        // on this thread, and `Operand::bf16` adds the rows that fill up a register. `pack` made
        // each panel as large as its kernel reads it. Lines have no padding, so a panel is one
        // array of numbers. All slices are borrowed during the calls, and `tile` is another array.
        unsafe {
            match &self.weights {
                Weights::F32(weights) => {
                    debug_assert!(holds(x, self.inputs, top + count, self.inputs));
                    debug_assert!((panel + 1) * self.inputs * 2 <= weights.len());
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
                    debug_assert!((panel + 1) * depth * 2 <= weights.len());
                    let a = At::of(&operand.words, depth).below(top);
                    let b = At {
                        first: weights[panel * depth * 2..].as_ptr().cast(),
                        stride: NR,
                    };
                    if self.machine.tiles {
                        let filled = count.next_multiple_of(amx::REGISTER);
                        debug_assert!(holds(&operand.words, depth, top + filled, depth));
                        amx::bf16(count, depth, a, b, tile);
                    } else {
                        debug_assert!(holds(&operand.words, depth, top + count, depth));
                        super::kernel::bf16(count, depth, a, b, tile);
                    }
                }
                #[cfg(target_arch = "x86_64")]
                Weights::Q8 { numbers, scales } => {
                    use super::kernel::{MR_Q8, Q8Panel, Q8Rows, q8};
                    let blocks = self.inputs.div_ceil(BLOCK);
                    let words = blocks * BLOCK / 4;
                    debug_assert!((panel + 1) * words * 2 <= numbers.len());
                    debug_assert!((panel + 1) * blocks * 2 <= scales.len());
                    debug_assert!(holds(&operand.words, words, top + count, words));
                    debug_assert!(holds(&operand.scales, blocks, top + count, blocks));
                    debug_assert!(holds(&operand.offsets, blocks, top + count, blocks));
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
