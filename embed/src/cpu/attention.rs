//! Attention within one text of a packed batch, with the exact softmax.
//!
//! Twelve queries at a time meet all keys that they may see, and their scores stay in the cache. So
//! memory grows with a text's length and not with its square. Texts follow one another and never
//! meet: there is no padding, and no mask of it.

use std::ops::Range;

use super::kernel::{At, MR, NR, TILE_ROWS, Tile, holds};
use super::machine::Machine;
use super::numbers::max;
use super::vectors::Weigh;

/// What stays the same for all texts in a layer.
#[derive(Clone, Copy)]
pub(super) struct Shape<'a> {
    /// Heads of the queries.
    pub(super) heads: usize,
    /// Heads of keys and values, each for as many heads of the queries.
    pub(super) kv_heads: usize,
    /// Numbers of a head.
    pub(super) dim: usize,
    /// A token sees those at most this far from it.
    pub(super) window: Option<usize>,
    /// Whether a token sees only itself and those before it.
    pub(super) causal: bool,
    /// The slope of ALiBi for each head.
    pub(super) slopes: Option<&'a [f32]>,
}

/// Memory that is used again from text to text.
#[derive(Default)]
pub(super) struct Scratch {
    /// Keys of a head in panels: [`NR`] tokens wide, a row for each number.
    keys: Vec<f32>,
    /// Values of a head in panels: [`NR`] numbers wide, a row for each token.
    values: Vec<f32>,
    /// Scores of up to [`MR`] queries.
    scores: Vec<f32>,
}

impl Shape<'_> {
    /// Returns the numbers of a token's queries, keys and values.
    pub(super) fn stride(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.dim
    }

    /// Returns the tokens that one of `tokens` sees.
    fn seen(&self, token: usize, tokens: usize) -> Range<usize> {
        let reach = self.window.unwrap_or(tokens);
        let end = if self.causal {
            token + 1
        } else {
            (token + reach + 1).min(tokens)
        };
        token.saturating_sub(reach)..end
    }
}

/// Computes what the tokens from `first` on take from all that they see, a row of all heads each.
///
/// `text` has a row of [`Shape::stride`] numbers for each token of one text: queries, keys and
/// values, the heads in their order. `out` has as many rows as tokens are wanted.
pub(super) fn attend(
    machine: Machine,
    shape: &Shape<'_>,
    text: &[f32],
    first: usize,
    out: &mut [f32],
    scratch: &mut Scratch,
) {
    let tokens = text.len() / shape.stride();
    assert!(first + out.len() / (shape.heads * shape.dim) <= tokens);
    let group = shape.heads / shape.kv_heads;
    for head in 0..shape.heads {
        if head % group == 0 {
            let kv_head = head / group;
            machine.vectorize(
                #[inline(always)]
                || scratch.pack(shape, text, kv_head),
            );
        }
        let head = Head {
            machine,
            shape,
            text,
            tokens,
            head,
        };
        let mut top = first;
        for out in out.chunks_mut(MR * shape.heads * shape.dim) {
            head.attend(top, out, scratch);
            top += MR;
        }
    }
}

impl Scratch {
    /// Copies a head's keys and values into panels.
    #[inline(always)]
    fn pack(&mut self, shape: &Shape<'_>, text: &[f32], kv_head: usize) {
        let (dim, stride) = (shape.dim, shape.stride());
        let tokens = text.len() / stride;
        let key = (shape.heads + kv_head) * dim;
        let value = key + shape.kv_heads * dim;
        self.keys.clear();
        self.keys.resize(tokens.next_multiple_of(NR) * dim, 0.0);
        let panels = text.chunks(NR * stride);
        for (panel, rows) in self.keys.chunks_exact_mut(NR * dim).zip(panels) {
            for (token, row) in rows.chunks_exact(stride).enumerate() {
                for (number, x) in row[key..key + dim].iter().enumerate() {
                    panel[number * NR + token] = *x;
                }
            }
        }
        self.values.clear();
        self.values.resize(tokens * dim.next_multiple_of(NR), 0.0);
        for (index, panel) in self.values.chunks_exact_mut(tokens * NR).enumerate() {
            let left = index * NR;
            let width = NR.min(dim - left);
            for (row, to) in text.chunks_exact(stride).zip(panel.chunks_exact_mut(NR)) {
                to[..width].copy_from_slice(&row[value + left..value + left + width]);
            }
        }
    }
}

/// One head of the queries.
struct Head<'a> {
    machine: Machine,
    shape: &'a Shape<'a>,
    text: &'a [f32],
    tokens: usize,
    head: usize,
}

impl Head<'_> {
    /// Computes up to [`MR`] tokens from `top` on.
    fn attend(&self, top: usize, out: &mut [f32], scratch: &mut Scratch) {
        let shape = self.shape;
        let (dim, width) = (shape.dim, shape.heads * shape.dim);
        let rows = out.len() / width;
        let bottom = shape.seen(top + rows - 1, self.tokens);
        // The panels of keys that any of them sees.
        let panels = shape.seen(top, self.tokens).start / NR..bottom.end.div_ceil(NR);
        let keys = panels.start * NR..panels.end * NR;
        scratch.scores.clear();
        scratch.scores.resize(rows * keys.len(), 0.0);

        let mut tile: Tile = [[0.0; NR]; TILE_ROWS];
        let queries = &self.text[self.head * dim..];
        debug_assert!(rows <= MR && holds(queries, shape.stride(), top + rows, dim));
        let queries = At::of(queries, shape.stride()).below(top);
        for (index, panel) in panels.enumerate() {
            let panel = &scratch.keys[panel * NR * dim..];
            debug_assert!(holds(panel, NR, dim, NR));
            let panel = At::of(panel, NR);
            // SAFETY: `detect` has found what this kernel needs. `out` has at most `MR` rows, and
            // `text` has a row of `stride()` numbers for each, as `CpuEngine::attend` cuts both
            // for the same tokens. A head's query is `dim` numbers of such a row. `pack` made a
            // panel of `dim` rows of `NR` for every `NR` tokens, and `seen` ends at the last token.
            // `text` and `scratch.keys` are borrowed during the call, and `tile` is another array.
            unsafe { (self.machine.f32)(rows, dim, queries, panel, &mut tile) };
            for (sums, scores) in tile.iter().zip(scratch.scores.chunks_mut(keys.len())) {
                scores[index * NR..(index + 1) * NR].copy_from_slice(sums);
            }
        }
        let mut factors = [0.0; MR];
        self.machine.vectorize(
            #[inline(always)]
            || {
                let scores = scratch.scores.chunks_mut(keys.len());
                for ((row, scores), factor) in scores.enumerate().zip(&mut factors) {
                    *factor = self.weigh(top + row, keys.start, scores);
                }
            },
        );
        let depth = keys.end.min(self.tokens) - keys.start;
        for left in (0..dim).step_by(NR) {
            let weights = At::of(&scratch.scores, keys.len());
            let first = (left / NR * self.tokens + keys.start) * NR;
            let values = &scratch.values[first..];
            debug_assert!(holds(values, NR, depth, NR));
            debug_assert!(holds(&scratch.scores, keys.len(), rows, depth));
            let values = At::of(values, NR);
            // SAFETY: `detect` has found what this kernel needs, and `rows` is at most `MR`. There
            // are `rows` rows of `keys.len()` scores, which is no less than `depth`. `pack` made a
            // panel of a row of `NR` for each token, and `depth` of them follow `keys.start`.
            // `scratch` is borrowed during the call, and `tile` is another array.
            unsafe { (self.machine.f32)(rows, depth, weights, values, &mut tile) };
            let place = self.head * dim + left;
            let count = NR.min(dim - left);
            for ((out, sums), factor) in out.chunks_mut(width).zip(&tile).zip(&factors) {
                for (out, sum) in out[place..place + count].iter_mut().zip(sums) {
                    *out = sum * factor;
                }
            }
        }
    }

    /// Turns a token's scores for the keys from `first` on into weights, and returns what their
    /// sum has to be multiplied by to be 1.
    #[inline(always)]
    fn weigh(&self, token: usize, first: usize, scores: &mut [f32]) -> f32 {
        let seen = self.shape.seen(token, self.tokens);
        let scale = 1.0 / (self.shape.dim as f32).sqrt();
        let (before, rest) = scores.split_at_mut(seen.start - first);
        let (scores, after) = rest.split_at_mut(seen.len());
        before.fill(0.0);
        after.fill(0.0);
        let scale = match self.shape.slopes {
            None => scale,
            Some(slopes) => {
                let slope = slopes[self.head];
                for (key, score) in scores.iter_mut().enumerate() {
                    let distance = token.abs_diff(seen.start + key) as f32;
                    *score = *score * scale - slope * distance;
                }
                1.0
            }
        };
        // The scale is above zero, so that the greatest is the same before and after it.
        let most = max(scores) * scale;
        1.0 / self.machine.arch.dispatch(Weigh {
            scores,
            scale,
            most,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One token's result of one head, in the plainest way.
    fn plain(shape: &Shape<'_>, text: &[f32], token: usize, head: usize) -> Vec<f64> {
        let (dim, stride) = (shape.dim, shape.stride());
        let tokens = text.len() / stride;
        let at = |token: usize, place: usize| -> Vec<f64> {
            let start = token * stride + place * dim;
            text[start..start + dim]
                .iter()
                .map(|x| f64::from(*x))
                .collect()
        };
        let kv = head / (shape.heads / shape.kv_heads);
        let query = at(token, head);
        let mut sums = vec![0.0; dim];
        let mut total = 0.0;
        for other in 0..tokens {
            let distance = token.abs_diff(other);
            if shape.causal && other > token || shape.window.is_some_and(|w| distance > w) {
                continue;
            }
            let key = at(other, shape.heads + kv);
            let dot: f64 = query.iter().zip(&key).map(|(q, k)| q * k).sum();
            let slope = shape.slopes.map_or(0.0, |slopes| f64::from(slopes[head]));
            let weight = (dot / (dim as f64).sqrt() - slope * distance as f64).exp();
            total += weight;
            let value = at(other, shape.heads + shape.kv_heads + kv);
            sums.iter_mut()
                .zip(&value)
                .for_each(|(sum, v)| *sum += weight * v);
        }
        sums.iter().map(|sum| sum / total).collect()
    }

    #[test]
    fn attention_is_right_for_every_shape_and_instruction_set() {
        let slopes = [0.5, 0.25, 0.125, 0.0625];
        for machine in Machine::all() {
            for (dim, tokens, kv_heads, window, causal, has_slopes) in [
                (16, 1, 4, None, false, false),
                (32, 31, 4, None, false, true),
                (48, 100, 2, Some(5), false, false),
                (8, 70, 1, None, true, false),
                (80, 65, 4, Some(0), false, false),
                (16, 150, 4, Some(64), true, true),
            ] {
                let shape = Shape {
                    heads: 4,
                    kv_heads,
                    dim,
                    window,
                    causal,
                    slopes: has_slopes.then_some(&slopes[..]),
                };
                let number = |i: usize| ((i * 7919 + i / 3) % 1000) as f32 / 250.0 - 2.0;
                let text: Vec<f32> = (0..tokens * shape.stride()).map(number).collect();
                let width = 4 * dim;
                let mut out = vec![f32::NAN; tokens * width];
                let mut scratch = Scratch::default();
                attend(machine, &shape, &text, 0, &mut out, &mut scratch);
                let from = tokens / 2;
                let mut half = vec![f32::NAN; (tokens - from) * width];
                attend(machine, &shape, &text, from, &mut half, &mut scratch);
                for token in 0..tokens {
                    for head in 0..4 {
                        let place = token * width + head * dim;
                        let expected = plain(&shape, &text, token, head);
                        for (number, expected) in expected.iter().enumerate() {
                            let mut found = vec![out[place + number]];
                            if token >= from {
                                found.push(half[place - from * width + number]);
                            }
                            for found in found {
                                let error = (f64::from(found) - expected).abs();
                                assert!(error < 1e-5, "{dim} {tokens} {token}: {error}");
                            }
                        }
                    }
                }
            }
        }
    }
}
