//! An encoder's weights as tensors on a device.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use candle_nn::{Linear, ops};
use half::{bf16, f16};

use crate::Error;
use crate::encoder::checkpoint::Checkpoint;
use crate::encoder::spec::{Dense, LayerShape, LayerWeights, Norm, NormWeights};
use crate::encoder::tensors::Table;

/// Everything that is learned.
pub(super) struct Weights {
    /// `[tokens, hidden]`.
    pub(super) tokens: Tensor,
    /// `[positions, hidden]`, and the row of the first one.
    pub(super) positions: Option<(Tensor, usize)>,
    /// `[segments, hidden]`.
    pub(super) segments: Option<Tensor>,
    pub(super) norm: Option<NormTensors>,
    pub(super) last_norm: Option<NormTensors>,
    pub(super) layers: Vec<Layer>,
}

pub(super) struct Layer {
    pub(super) window: Option<usize>,
    pub(super) rotary: Option<Arc<[f32]>>,
    pub(super) qkv: Linear,
    pub(super) query_key_norms: Option<(NormTensors, NormTensors)>,
    pub(super) out: Linear,
    pub(super) attention_norm: Option<NormTensors>,
    pub(super) second_attention_norm: Option<NormTensors>,
    pub(super) up: Linear,
    pub(super) down: Linear,
    pub(super) feed_forward_norm: NormTensors,
}

/// A norm, whichever it is.
pub(super) struct NormTensors {
    kind: Norm,
    scale: Tensor,
    shift: Tensor,
    epsilon: f32,
}

impl NormTensors {
    pub(super) fn apply(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let x = x.contiguous()?;
        match self.kind {
            Norm::Layer => ops::layer_norm(&x, &self.scale, &self.shift, self.epsilon),
            Norm::Rms => ops::rms_norm(&x, &self.scale, self.epsilon),
        }
    }
}

impl Weights {
    /// Brings an encoder's weights to a device, a layer at a time.
    ///
    /// # Errors
    /// [`Error::Model`] for weights that are not as the config says, [`Error::Inference`] if the
    /// device has no room for them.
    pub(super) fn load(
        checkpoint: &Checkpoint,
        device: &Device,
        dtype: DType,
    ) -> Result<Self, Error> {
        let architecture = checkpoint.architecture();
        let loader = Loader {
            norm: (architecture.norm, architecture.epsilon),
            device,
            dtype,
        };
        let ends = checkpoint.ends()?;
        let hidden = architecture.hidden;
        let positions = match &ends.positions {
            Some((table, first)) => Some((loader.table(table, hidden)?, *first)),
            None => None,
        };
        let segments = ends.segments.as_ref();
        let segments = segments.map(|table| loader.table(table, hidden));
        let mut layers = Vec::with_capacity(architecture.layers.len());
        for (index, shape) in architecture.layers.iter().enumerate() {
            layers.push(loader.layer(shape, checkpoint.layer(index)?)?);
        }
        Ok(Self {
            tokens: loader.table(&ends.tokens, hidden)?,
            positions,
            segments: segments.transpose()?,
            norm: loader.norm_if_there(ends.norm)?,
            last_norm: loader.norm_if_there(ends.last_norm)?,
            layers,
        })
    }
}

/// Moves weights to a device.
struct Loader<'a> {
    norm: (Norm, f32),
    device: &'a Device,
    dtype: DType,
}

impl Loader<'_> {
    fn tensor(&self, values: Vec<f32>, shape: &[usize]) -> candle_core::Result<Tensor> {
        Tensor::from_vec(values, shape, self.device)?.to_dtype(self.dtype)
    }

    /// Brings a table over in the numbers that it will have: a large one would not fit in others.
    fn table(&self, table: &Table, hidden: usize) -> candle_core::Result<Tensor> {
        let shape = (table.rows(), hidden);
        match self.dtype {
            DType::F16 => Tensor::from_vec(rows(table, hidden, f16::from_f32), shape, self.device),
            DType::BF16 => {
                Tensor::from_vec(rows(table, hidden, bf16::from_f32), shape, self.device)
            }
            _ => Tensor::from_vec(rows(table, hidden, |value| value), shape, self.device),
        }
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
        let (kind, epsilon) = self.norm;
        Ok(NormTensors {
            kind,
            scale: self.tensor(weights.scale, &[size])?,
            shift: self.tensor(shift, &[size])?,
            epsilon,
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
            window: shape.window,
            rotary: shape.rotary.clone(),
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

/// Reads all rows of a table.
fn rows<T>(table: &Table, hidden: usize, convert: impl Fn(f32) -> T) -> Vec<T> {
    let mut values = Vec::with_capacity(table.rows() * hidden);
    let mut row = vec![0.0; hidden];
    for index in 0..table.rows() {
        row.fill(0.0);
        table.add_row(index, &mut row);
        values.extend(row.iter().map(|value| convert(*value)));
    }
    values
}
