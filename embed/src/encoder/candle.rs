//! The engine on candle's tensors, for any of its devices: texts padded to the longest of a
//! batch. It is plain, and what the other engine is checked against.

use std::ops::Range;

use candle_core::{D, DType, Device, Tensor};
use candle_nn::{Linear, Module as _, ops, rotary_emb};

use super::checkpoint::Checkpoint;
use super::pooling::Pooling;
use super::spec::{
    Activation, Architecture, Dense, Ends, LayerShape, LayerWeights, Norm, NormWeights, Order,
    QueryKeyNorm,
};
use super::{Batch, Engine};
use crate::Error;

/// Tokens of one batch, padding included.
const BATCH_TOKENS: usize = 4096;

/// Numbers of attention scores that are in memory at once, if one row of them is not more.
const SCORES: usize = 1 << 22;

/// What is added to the score of a token that must not be seen. It is no infinity, since a row of
/// nothing else would make NaN of padding, and is in the range of 16-bit floats with what ALiBi
/// takes off.
const UNSEEN: f32 = -30_000.0;

/// An encoder on a device.
pub(crate) struct CandleEngine {
    architecture: Architecture,
    ends: Ends,
    norm: Option<NormTensors>,
    last_norm: Option<NormTensors>,
    layers: Vec<Layer>,
    device: Device,
}

struct Layer {
    shape: LayerShape,
    qkv: Linear,
    query_key_norms: Option<(NormTensors, NormTensors)>,
    out: Linear,
    attention_norm: Option<NormTensors>,
    second_attention_norm: Option<NormTensors>,
    up: Linear,
    down: Linear,
    feed_forward_norm: NormTensors,
}

/// A norm, whichever it is.
struct NormTensors {
    kind: Norm,
    scale: Tensor,
    shift: Tensor,
    epsilon: f32,
}

impl NormTensors {
    fn apply(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let x = x.contiguous()?;
        match self.kind {
            Norm::Layer => ops::layer_norm(&x, &self.scale, &self.shift, self.epsilon),
            Norm::Rms => ops::rms_norm(&x, &self.scale, self.epsilon),
        }
    }
}

/// Moves weights to a device.
struct Loader<'a> {
    architecture: &'a Architecture,
    device: &'a Device,
}

impl Loader<'_> {
    fn tensor(&self, values: Vec<f32>, shape: &[usize]) -> candle_core::Result<Tensor> {
        Tensor::from_vec(values, shape, self.device)
    }

    fn linear(&self, dense: Dense) -> candle_core::Result<Linear> {
        let inputs = dense.weight.len() / dense.outputs;
        let weight = self.tensor(dense.weight, &[dense.outputs, inputs])?;
        let bias = dense.bias.map(|bias| self.tensor(bias, &[dense.outputs]));
        Ok(Linear::new(weight, bias.transpose()?))
    }

    fn norm(&self, weights: NormWeights) -> candle_core::Result<NormTensors> {
        let size = weights.scale.len();
        let shift = weights.shift.unwrap_or_else(|| vec![0.0; size]);
        Ok(NormTensors {
            kind: self.architecture.norm,
            scale: self.tensor(weights.scale, &[size])?,
            shift: self.tensor(shift, &[size])?,
            epsilon: self.architecture.epsilon,
        })
    }

    fn norm_if_there(
        &self,
        weights: Option<NormWeights>,
    ) -> candle_core::Result<Option<NormTensors>> {
        weights.map(|weights| self.norm(weights)).transpose()
    }

    fn layer(&self, shape: &LayerShape, weights: LayerWeights) -> candle_core::Result<Layer> {
        let query_key_norms = match weights.query_key_norms {
            Some((query, key)) => Some((self.norm(query)?, self.norm(key)?)),
            None => None,
        };
        Ok(Layer {
            shape: shape.clone(),
            qkv: self.linear(weights.qkv)?,
            query_key_norms,
            out: self.linear(weights.out)?,
            attention_norm: self.norm_if_there(weights.attention_norm)?,
            second_attention_norm: self.norm_if_there(weights.second_attention_norm)?,
            up: self.linear(weights.up)?,
            down: self.linear(weights.down)?,
            feed_forward_norm: self.norm(weights.feed_forward_norm)?,
        })
    }
}

impl CandleEngine {
    /// Loads an encoder onto a device.
    ///
    /// # Errors
    /// [`Error::Model`] for weights that are not as the config says, [`Error::Inference`] if the
    /// device has no room for them.
    pub(crate) fn load(checkpoint: &Checkpoint, device: Device) -> Result<Self, Error> {
        let architecture = checkpoint.architecture().clone();
        let mut ends = checkpoint.ends()?;
        let loader = Loader {
            architecture: &architecture,
            device: &device,
        };
        let norm = loader.norm_if_there(ends.norm.take())?;
        let last_norm = loader.norm_if_there(ends.last_norm.take())?;
        let mut layers = Vec::with_capacity(architecture.layers.len());
        for (index, shape) in architecture.layers.iter().enumerate() {
            layers.push(loader.layer(shape, checkpoint.layer(index)?)?);
        }
        Ok(Self {
            architecture,
            ends,
            norm,
            last_norm,
            layers,
            device,
        })
    }

    /// Returns the states of a batch's tokens, `[texts, longest, hidden]`.
    fn states(&self, batch: &Batch<'_>) -> candle_core::Result<Tensor> {
        let lengths: Vec<usize> = batch.iter().map(|text| text.len()).collect();
        let longest = lengths.iter().copied().max().unwrap_or_default();
        let mut x = self.embeddings(batch, longest)?;
        if let Some(norm) = &self.norm {
            x = norm.apply(&x)?;
        }
        for layer in &self.layers {
            let attend = |x: &Tensor| self.attention(layer, x, &lengths);
            let feed = |x: &Tensor| self.feed_forward(layer, x);
            x = match self.architecture.order {
                Order::Post => {
                    let mut y = normed(&layer.attention_norm, &(&x + attend(&x)?)?)?;
                    if let Some(norm) = &layer.second_attention_norm {
                        y = norm.apply(&(x + y)?)?;
                    }
                    layer.feed_forward_norm.apply(&(&y + feed(&y)?)?)?
                }
                Order::Pre => {
                    let y = (&x + attend(&normed(&layer.attention_norm, &x)?)?)?;
                    (&y + feed(&layer.feed_forward_norm.apply(&y)?)?)?
                }
            };
        }
        normed(&self.last_norm, &x)
    }

    /// Looks tokens up; the states of padding are zeros.
    fn embeddings(&self, batch: &Batch<'_>, longest: usize) -> candle_core::Result<Tensor> {
        let hidden = self.architecture.hidden;
        let mut states = vec![0.0_f32; batch.len() * longest * hidden];
        for (text, states) in batch.iter().zip(states.chunks_exact_mut(longest * hidden)) {
            let rows = text.iter().zip(states.chunks_exact_mut(hidden));
            for (position, (token, state)) in rows.enumerate() {
                self.ends.tokens.add_row(*token as usize, state);
                if let Some((table, first)) = &self.ends.positions {
                    table.add_row(first + position, state);
                }
                for (state, value) in state.iter_mut().zip(self.ends.segment.iter().flatten()) {
                    *state += value;
                }
            }
        }
        Tensor::from_vec(states, (batch.len(), longest, hidden), &self.device)
    }

    fn attention(
        &self,
        layer: &Layer,
        x: &Tensor,
        lengths: &[usize],
    ) -> candle_core::Result<Tensor> {
        let Architecture {
            heads,
            kv_heads,
            head_dim,
            ..
        } = self.architecture;
        let (texts, longest, _) = x.dims3()?;
        let qkv = layer.qkv.forward(x)?;
        let part = |start: usize, count: usize| qkv.narrow(2, start * head_dim, count * head_dim);
        let mut query = part(0, heads)?;
        let mut key = part(heads, kv_heads)?;
        let value = part(heads + kv_heads, kv_heads)?;
        if let (QueryKeyNorm::Whole, Some((of_query, of_key))) =
            (self.architecture.query_key_norm, &layer.query_key_norms)
        {
            query = of_query.apply(&query)?;
            key = of_key.apply(&key)?;
        }
        let part_heads = |x: Tensor, heads: usize| x.reshape((texts, longest, heads, head_dim));
        let mut query = part_heads(query, heads)?;
        let mut key = part_heads(key, kv_heads)?;
        if let (QueryKeyNorm::Head, Some((of_query, of_key))) =
            (self.architecture.query_key_norm, &layer.query_key_norms)
        {
            query = of_query.apply(&query)?;
            key = of_key.apply(&key)?;
        }
        let query = self.rotate(&layer.shape, &query.transpose(1, 2)?.contiguous()?)?;
        let key = self.rotate(&layer.shape, &key.transpose(1, 2)?.contiguous()?)?;
        let value = part_heads(value, kv_heads)?.transpose(1, 2)?.contiguous()?;
        let key = shared(&key, heads / kv_heads)?;
        let value = shared(&value, heads / kv_heads)?;
        let mixed = self.mix(&layer.shape, [&query, &key, &value], lengths)?;
        let mixed = mixed
            .transpose(1, 2)?
            .reshape((texts, longest, heads * head_dim))?;
        layer.out.forward(&mixed)
    }

    /// Mixes values by the scores of queries and keys, all `[texts, heads, longest, head_dim]`.
    fn mix(
        &self,
        shape: &LayerShape,
        [query, key, value]: [&Tensor; 3],
        lengths: &[usize],
    ) -> candle_core::Result<Tensor> {
        let (texts, heads, longest, head_dim) = query.dims4()?;
        let key = key.transpose(2, 3)?.contiguous()?;
        let scale = 1.0 / (head_dim as f64).sqrt();
        let step = (SCORES / (texts * heads * longest)).clamp(1, longest);
        let mut parts = Vec::new();
        for start in (0..longest).step_by(step) {
            let rows = start..longest.min(start + step);
            let query = query.narrow(2, start, rows.len())?.contiguous()?;
            let scores = (query.matmul(&key)? * scale)?;
            let scores = match self.bias(shape, lengths, longest, rows) {
                Some((bias, shape)) => {
                    scores.broadcast_add(&Tensor::from_vec(bias, &shape, &self.device)?)?
                }
                None => scores,
            };
            parts.push(ops::softmax_last_dim(&scores)?.matmul(value)?);
        }
        Tensor::cat(&parts, 2)
    }

    /// Returns what is added to the scores of some rows of queries, `[texts, heads, rows,
    /// longest]` where heads are one if they are alike; nothing if all of that would be zeros.
    fn bias(
        &self,
        shape: &LayerShape,
        lengths: &[usize],
        longest: usize,
        rows: Range<usize>,
    ) -> Option<(Vec<f32>, [usize; 4])> {
        let Architecture { alibi, causal, .. } = &self.architecture;
        let padded = lengths.iter().any(|length| *length < longest);
        if !(padded || *causal || shape.window.is_some() || alibi.is_some()) {
            return None;
        }
        let slopes = alibi.as_deref().unwrap_or(&[0.0]);
        let sizes = [lengths.len(), slopes.len(), rows.len(), longest];
        let mut bias = Vec::with_capacity(sizes.iter().product());
        for length in lengths {
            for slope in slopes {
                for i in rows.clone() {
                    bias.extend((0..longest).map(|j| {
                        let seen = j < *length
                            && (j <= i || !causal)
                            && shape.window.is_none_or(|window| i.abs_diff(j) <= window);
                        let distance = -slope * i.abs_diff(j) as f32;
                        if seen { distance } else { UNSEEN }
                    }));
                }
            }
        }
        Some((bias, sizes))
    }

    /// Turns the first numbers of each head by their position.
    fn rotate(&self, shape: &LayerShape, x: &Tensor) -> candle_core::Result<Tensor> {
        let Some(frequencies) = &shape.rotary else {
            return Ok(x.clone());
        };
        let (_, _, longest, head_dim) = x.dims4()?;
        let pairs = frequencies.len();
        let angles: Vec<f32> = (0..longest)
            .flat_map(|position| frequencies.iter().map(move |f| position as f32 * f))
            .collect();
        let angles = Tensor::from_vec(angles, (longest, pairs), &self.device)?;
        let (cos, sin) = (angles.cos()?, angles.sin()?);
        let turned = x.narrow(D::Minus1, 0, 2 * pairs)?.contiguous()?;
        let turned = rotary_emb::rope(&turned, &cos, &sin)?;
        if 2 * pairs == head_dim {
            return Ok(turned);
        }
        let rest = x.narrow(D::Minus1, 2 * pairs, head_dim - 2 * pairs)?;
        Tensor::cat(&[turned, rest], D::Minus1)
    }

    fn feed_forward(&self, layer: &Layer, x: &Tensor) -> candle_core::Result<Tensor> {
        let intermediate = self.architecture.intermediate;
        let up = layer.up.forward(x)?;
        let bent = if self.architecture.gated {
            let bent = self.bend(&up.narrow(D::Minus1, 0, intermediate)?)?;
            (bent * up.narrow(D::Minus1, intermediate, intermediate)?)?
        } else {
            self.bend(&up)?
        };
        layer.down.forward(&bent)
    }

    fn bend(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        match self.architecture.activation {
            Activation::Gelu => x.gelu_erf(),
            Activation::GeluTanh => x.gelu(),
            Activation::Silu => x.silu(),
            Activation::Relu => x.relu(),
        }
    }
}

fn normed(norm: &Option<NormTensors>, x: &Tensor) -> candle_core::Result<Tensor> {
    match norm {
        Some(norm) => norm.apply(x),
        None => Ok(x.clone()),
    }
}

/// Repeats each head of keys or values for the `group` queries that share it.
fn shared(x: &Tensor, group: usize) -> candle_core::Result<Tensor> {
    if group == 1 {
        return Ok(x.clone());
    }
    let (texts, heads, longest, head_dim) = x.dims4()?;
    x.unsqueeze(2)?
        .expand((texts, heads, group, longest, head_dim))?
        .reshape((texts, heads * group, longest, head_dim))
}

impl Engine for CandleEngine {
    fn run(&self, batch: &Batch<'_>, pooling: Pooling) -> Result<Vec<Vec<f32>>, Error> {
        let mut vectors = Vec::with_capacity(batch.len());
        let mut rest = batch;
        while let Some(first) = rest.first() {
            let count = (BATCH_TOKENS / first.len()).clamp(1, rest.len());
            let (now, later) = rest.split_at(count);
            vectors.extend(self.pooled(now, pooling)?);
            rest = later;
        }
        Ok(vectors)
    }
}

impl CandleEngine {
    fn pooled(&self, batch: &Batch<'_>, pooling: Pooling) -> Result<Vec<Vec<f32>>, Error> {
        let hidden = self.architecture.hidden;
        let states = self.states(batch)?.to_dtype(DType::F32)?;
        let states: Vec<f32> = states.flatten_all()?.to_vec1()?;
        let longest = states.len() / batch.len();
        let texts = batch.iter().zip(states.chunks_exact(longest));
        Ok(texts
            .map(|(text, states)| pooling.pool(&states[..text.len() * hidden], hidden))
            .collect())
    }
}
