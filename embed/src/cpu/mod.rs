//! The engine for processors: whole texts packed one after the other, without padding.
//!
//! A batch is cut into parts of a few hundred tokens, and a thread takes a part through all layers
//! by itself. The states of a part stay in that core's second-level cache, and threads do not wait
//! for each other. All threads read the weights, packed once, from the shared cache. If there are
//! fewer parts than threads (a single long text), all threads share the rows of each part.
//!
//! `linear` and `kernel` compute products. Everything else is plain Rust over slices, inlined into
//! functions that are compiled for each set of vector instructions (`Machine::vectorize`).

#[cfg(target_arch = "x86_64")]
mod amx;
mod attention;
mod kernel;
mod linear;
mod machine;
mod numbers;
mod pack;
mod rotary;
mod vectors;

use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use crate::Error;
use crate::encoder::spec::{Architecture, Ends, LayerWeights, NormWeights, Order, QueryKeyNorm};
use crate::encoder::{Batch, Checkpoint, Engine, Pooling, Text};
use attention::Shape;
use linear::{End, Linear};
pub(crate) use machine::{Machine, Precision};
use numbers::rotate;
pub(crate) use numbers::{normalize, sum_of_products};
use pack::Operand;
use rotary::Rotary;
pub(crate) use vectors::activate;

/// Tokens of a part: enough rows for each panel of weights, few enough for a core's second cache.
const PART_TOKENS: usize = 256;

/// Rows of a part that a thread takes at once when all threads share it.
const SHARED_ROWS: usize = 96;

/// An encoder with its weights packed for this processor.
pub(crate) struct CpuEngine {
    architecture: Architecture,
    ends: Ends,
    layers: Vec<Layer>,
    machine: Machine,
    /// Memory of threads that are not running now.
    idle: Mutex<Vec<Workspace>>,
}

struct Layer {
    qkv: Linear,
    query_key_norms: Option<(NormWeights, NormWeights)>,
    out: Linear,
    attention_norm: Option<NormWeights>,
    second_attention_norm: Option<NormWeights>,
    up: Linear,
    down: Linear,
    feed_forward_norm: NormWeights,
    window: Option<usize>,
    rotary: Option<Arc<Rotary>>,
}

/// The states of a part on their way through the layers.
#[derive(Default)]
struct Workspace {
    /// `[tokens, hidden]`: what runs through all layers.
    states: Vec<f32>,
    /// `[tokens, hidden]`: the same normalised, with [`Order::Pre`]; as they were before the
    /// attention part, with a second norm after it.
    normed: Vec<f32>,
    /// `[tokens, (heads + 2 kv_heads) head_dim]`.
    qkv: Vec<f32>,
    /// `[tokens, heads head_dim]`.
    heads: Vec<f32>,
    /// `[tokens, intermediate]`.
    inner: Vec<f32>,
    operand: Operand,
    attention: attention::Scratch,
}

/// Texts that run through the layers together.
struct Part<'a> {
    texts: &'a Batch<'a>,
    tokens: usize,
    /// Whether all threads share it.
    is_shared: bool,
}

impl CpuEngine {
    /// Packs the weights of an encoder, a layer at a time, for products that `machine` has.
    ///
    /// # Errors
    /// Those of [`Checkpoint::layer`].
    pub(crate) fn load(
        checkpoint: &Checkpoint,
        precision: Precision,
        machine: Machine,
    ) -> Result<Self, Error> {
        let architecture = checkpoint.architecture().clone();
        let mut rotaries: Vec<Arc<Rotary>> = Vec::new();
        let mut layers = Vec::with_capacity(architecture.layers.len());
        for (index, shape) in architecture.layers.iter().enumerate() {
            let rotary = shape.rotary.as_ref().map(|frequencies| {
                let known = rotaries.iter().find(|known| known.is_of(frequencies));
                known.cloned().unwrap_or_else(|| {
                    let new = Arc::new(Rotary::new(Arc::clone(frequencies)));
                    rotaries.push(Arc::clone(&new));
                    new
                })
            });
            layers.push(Layer::new(
                &architecture,
                checkpoint.layer(index)?,
                Packing { precision, machine },
                (shape.window, rotary),
            ));
        }
        Ok(Self {
            ends: checkpoint.ends()?,
            architecture,
            layers,
            machine,
            idle: Mutex::default(),
        })
    }

    /// Runs a part and pools the states of each of its texts.
    fn pooled(&self, part: &Part<'_>, pooling: Pooling) -> Vec<Vec<f32>> {
        let mut work = self.lock_idle().pop().unwrap_or_default();
        self.run_part(part, &mut work);
        let hidden = self.architecture.hidden;
        let mut rest = work.states.as_slice();
        let pool = |text: &Text<'_>| {
            let (states, later) = rest.split_at(text.len() * hidden);
            rest = later;
            pooling.pool(states, hidden)
        };
        let vectors = part.texts.iter().map(pool).collect();
        self.lock_idle().push(work);
        vectors
    }

    fn lock_idle(&self) -> std::sync::MutexGuard<'_, Vec<Workspace>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves the last states in the workspace.
    fn run_part(&self, part: &Part<'_>, work: &mut Workspace) {
        self.machine.vectorize(
            #[inline(always)]
            || self.look_up(part, &mut work.states),
        );
        for layer in &self.layers {
            self.attention(layer, part, work);
            self.feed_forward(layer, part, work);
        }
        if let Some(norm) = &self.ends.last_norm {
            self.normalize(&mut work.states, norm);
        }
    }

    /// Fills `states` with what tokens and positions say.
    #[inline(always)]
    fn look_up(&self, part: &Part<'_>, states: &mut Vec<f32>) {
        let hidden = self.architecture.hidden;
        states.clear();
        states.resize(part.tokens * hidden, 0.0);
        let tokens = part.texts.iter().flat_map(|text| {
            let token = |position| (position, text.ids[position], text.segment(position));
            (0..text.len()).map(token)
        });
        for ((position, id, segment), state) in tokens.zip(states.chunks_exact_mut(hidden)) {
            self.ends.tokens.add_row(id as usize, state);
            if let Some((table, first)) = &self.ends.positions {
                table.add_row(first + position, state);
            }
            if let Some(table) = &self.ends.segments {
                table.add_row(segment, state);
            }
            if let Some(norm) = &self.ends.norm {
                normalize(
                    state,
                    self.architecture.norm,
                    self.architecture.epsilon,
                    norm,
                );
            }
        }
    }

    fn attention(&self, layer: &Layer, part: &Part<'_>, work: &mut Workspace) {
        let architecture = &self.architecture;
        let shape = Shape {
            heads: architecture.heads,
            kv_heads: architecture.kv_heads,
            dim: architecture.head_dim,
            window: layer.window,
            causal: architecture.causal,
            slopes: architecture.alibi.as_deref(),
        };
        let states = self.before(layer.attention_norm.as_ref(), work);
        resize(&mut work.qkv, part.tokens * shape.stride());
        let states = if states { &work.normed } else { &work.states };
        part.product(&layer.qkv, states, &mut work.qkv, &mut work.operand);
        self.machine.vectorize(
            #[inline(always)]
            || self.turn(layer, part, &shape, &mut work.qkv),
        );
        let width = shape.heads * shape.dim;
        resize(&mut work.heads, part.tokens * width);
        self.attend(part, &shape, work);
        if layer.second_attention_norm.is_some() {
            work.normed.clone_from(&work.states);
        }
        part.product(&layer.out, &work.heads, &mut work.states, &mut work.operand);
        self.after(layer.attention_norm.as_ref(), work);
        if let Some(norm) = &layer.second_attention_norm {
            let before = work.normed.iter();
            work.states
                .iter_mut()
                .zip(before)
                .for_each(|(x, y)| *x += y);
            self.after(Some(norm), work);
        }
    }

    fn feed_forward(&self, layer: &Layer, part: &Part<'_>, work: &mut Workspace) {
        let is_normed = self.before(Some(&layer.feed_forward_norm), work);
        resize(&mut work.inner, part.tokens * layer.up.outputs());
        let states = if is_normed {
            &work.normed
        } else {
            &work.states
        };
        part.product(&layer.up, states, &mut work.inner, &mut work.operand);
        part.product(
            &layer.down,
            &work.inner,
            &mut work.states,
            &mut work.operand,
        );
        self.after(Some(&layer.feed_forward_norm), work);
    }

    /// With [`Order::Pre`] leaves the normalised states in `normed`, and tells whether it did.
    fn before(&self, norm: Option<&NormWeights>, work: &mut Workspace) -> bool {
        let (Order::Pre, Some(norm)) = (self.architecture.order, norm) else {
            return false;
        };
        work.normed.clone_from(&work.states);
        self.normalize(&mut work.normed, norm);
        true
    }

    /// With [`Order::Post`] normalises the states.
    fn after(&self, norm: Option<&NormWeights>, work: &mut Workspace) {
        if let (Order::Post, Some(norm)) = (self.architecture.order, norm) {
            self.normalize(&mut work.states, norm);
        }
    }

    fn normalize(&self, states: &mut [f32], norm: &NormWeights) {
        let Architecture {
            hidden,
            norm: kind,
            epsilon,
            ..
        } = self.architecture;
        self.machine.vectorize(
            #[inline(always)]
            || {
                for state in states.chunks_exact_mut(hidden) {
                    normalize(state, kind, epsilon, norm);
                }
            },
        );
    }

    /// Normalises queries and keys and turns them by their positions.
    #[inline(always)]
    fn turn(&self, layer: &Layer, part: &Part<'_>, shape: &Shape<'_>, qkv: &mut [f32]) {
        if layer.query_key_norms.is_none() && layer.rotary.is_none() {
            return;
        }
        let longest = part.texts.iter().map(|text| text.len()).max();
        let angles = layer
            .rotary
            .as_ref()
            .map(|rotary| rotary.angles(longest.unwrap_or(0)));
        let Architecture { norm, epsilon, .. } = self.architecture;
        let positions = part.texts.iter().flat_map(|text| 0..text.len());
        for (position, row) in positions.zip(qkv.chunks_exact_mut(shape.stride())) {
            let (queries, rest) = row.split_at_mut(shape.heads * shape.dim);
            let keys = &mut rest[..shape.kv_heads * shape.dim];
            if let Some((query_norm, key_norm)) = &layer.query_key_norms {
                let width = |all: usize| match self.architecture.query_key_norm {
                    QueryKeyNorm::Whole => all,
                    QueryKeyNorm::Head | QueryKeyNorm::None => shape.dim,
                };
                for (part, weights) in [(&mut *queries, query_norm), (&mut *keys, key_norm)] {
                    for vector in part.chunks_exact_mut(width(part.len())) {
                        normalize(vector, norm, epsilon, weights);
                    }
                }
            }
            if let Some(angles) = &angles {
                let (cosines, sines) = angles.at(position);
                for head in queries.chunks_exact_mut(shape.dim) {
                    rotate(head, cosines, sines);
                }
                for head in keys.chunks_exact_mut(shape.dim) {
                    rotate(head, cosines, sines);
                }
            }
        }
    }

    fn attend(&self, part: &Part<'_>, shape: &Shape<'_>, work: &mut Workspace) {
        let width = shape.heads * shape.dim;
        let mut qkv = work.qkv.as_slice();
        let mut out = work.heads.as_mut_slice();
        for text in part.texts {
            let (rows, later) = qkv.split_at(text.len() * shape.stride());
            let (to, rest) = out.split_at_mut(text.len() * width);
            (qkv, out) = (later, rest);
            if part.is_shared {
                let blocks = to.par_chunks_mut(SHARED_ROWS * width).enumerate();
                blocks.for_each_init(attention::Scratch::default, |scratch, (block, to)| {
                    attention::attend(self.machine, shape, rows, block * SHARED_ROWS, to, scratch);
                });
            } else {
                attention::attend(self.machine, shape, rows, 0, to, &mut work.attention);
            }
        }
    }
}

impl Engine for CpuEngine {
    fn run(&self, batch: &Batch<'_>, pooling: Pooling) -> Result<Vec<Vec<f32>>, Error> {
        let parts = parts(batch);
        let is_shared = parts.len() < rayon::current_num_threads();
        let run = |texts| self.pooled(&Part::new(texts, is_shared), pooling);
        let vectors: Vec<Vec<Vec<f32>>> = if is_shared {
            parts.into_iter().map(run).collect()
        } else {
            // One at a time to whoever is free: parts differ in their work.
            parts.into_par_iter().with_max_len(1).map(run).collect()
        };
        Ok(vectors.into_iter().flatten().collect())
    }
}

impl<'a> Part<'a> {
    fn new(texts: &'a Batch<'a>, is_shared: bool) -> Self {
        Self {
            texts,
            tokens: texts.iter().map(|text| text.len()).sum(),
            is_shared,
        }
    }

    fn product(&self, linear: &Linear, x: &[f32], y: &mut [f32], operand: &mut Operand) {
        if self.is_shared {
            linear.run_on_all(x, y);
        } else {
            linear.run(x, y, operand);
        }
    }
}

/// Makes room for numbers that are all written before they are read.
fn resize(numbers: &mut Vec<f32>, length: usize) {
    numbers.resize(length, 0.0);
}

/// Cuts texts into parts of whole texts and about [`PART_TOKENS`] tokens.
fn parts<'a>(texts: &'a Batch<'a>) -> Vec<&'a Batch<'a>> {
    let mut parts = Vec::new();
    let (mut start, mut tokens) = (0, 0);
    for (index, text) in texts.iter().enumerate() {
        if tokens > 0 && tokens + text.len() > PART_TOKENS {
            parts.push(&texts[start..index]);
            (start, tokens) = (index, 0);
        }
        tokens += text.len();
    }
    if start < texts.len() {
        parts.push(&texts[start..]);
    }
    parts
}

/// How weights are packed.
#[derive(Clone, Copy)]
struct Packing {
    precision: Precision,
    machine: Machine,
}

impl Layer {
    fn new(
        architecture: &Architecture,
        weights: LayerWeights,
        packing: Packing,
        (window, rotary): (Option<usize>, Option<Arc<Rotary>>),
    ) -> Self {
        let Packing { precision, machine } = packing;
        let bend = if architecture.gated {
            End::Gate(architecture.activation)
        } else {
            End::Bend(architecture.activation)
        };
        let pack = |dense, end| Linear::new(dense, end, precision, machine);
        Self {
            qkv: pack(&weights.qkv, End::Write),
            query_key_norms: weights.query_key_norms,
            out: pack(&weights.out, End::Add),
            attention_norm: weights.attention_norm,
            second_attention_norm: weights.second_attention_norm,
            up: pack(&weights.up, bend),
            down: pack(&weights.down, End::Add),
            feed_forward_norm: weights.feed_forward_norm,
            window,
            rotary,
        }
    }
}
