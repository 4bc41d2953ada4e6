//! What all layers need to know of one batch, on its device: ids, which tokens see which, turns.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{D, DType, Device, Tensor};

use super::Lane;
use crate::encoder::pooling::Pooling;
use crate::encoder::spec::Architecture;
use crate::encoder::{Batch, Text};

/// What is added to the score of a token that must not be seen, because it is padding or too far.
///
/// It is no infinity: a row of nothing else would make NaN of padding. Added twice, with what
/// ALiBi takes off, it is still in the range of 16-bit floats.
const UNSEEN: f64 = -15_000.0;

/// Cosines and sines of positions, each `[longest, pairs]`.
pub(super) type Turn = (Tensor, Tensor);

/// One batch, padded.
pub(super) struct Frame {
    pub(super) texts: usize,
    /// Tokens of its longest text.
    pub(super) longest: usize,
    /// `[texts * longest]`, padding has the id 0.
    pub(super) ids: Tensor,
    /// `[texts * longest]`; nothing if all tokens are of the first segment, as padding is.
    pub(super) segments: Option<Tensor>,
    /// Tokens of each text.
    lengths: Vec<usize>,
    /// `[texts, 1, 1, longest]`: [`UNSEEN`] for padding; nothing if there is none.
    padding: Option<Tensor>,
    /// Cosines and sines for each layer, `[longest, pairs]`.
    turns: Vec<Option<Turn>>,
    device: Device,
    dtype: DType,
}

impl Frame {
    /// Brings a batch to a lane's device.
    pub(super) fn new(batch: &Batch<'_>, lane: &Lane) -> candle_core::Result<Self> {
        let (device, dtype) = (&lane.device, lane.dtype);
        let lengths: Vec<usize> = batch.iter().map(|text| text.len()).collect();
        let longest = lengths.iter().copied().max().unwrap_or_default();
        let count = lengths.len() * longest;
        let padded = |of: for<'t> fn(&Text<'t>) -> &'t [u32]| {
            let mut all = vec![0_u32; count];
            for (text, row) in batch.iter().zip(all.chunks_exact_mut(longest)) {
                let own = of(text);
                row[..own.len()].copy_from_slice(own);
            }
            Tensor::from_vec(all, count, device)
        };
        let is_parted = batch.iter().any(|text| !text.segments.is_empty());
        let segments = is_parted.then(|| padded(|text| text.segments));
        let mut frame = Self {
            texts: lengths.len(),
            longest,
            ids: padded(|text| text.ids)?,
            segments: segments.transpose()?,
            padding: None,
            turns: Vec::new(),
            lengths,
            device: device.clone(),
            dtype,
        };
        if frame.lengths.iter().any(|length| *length < longest) {
            let of_real = |is_real| if is_real { 0.0 } else { UNSEEN as f32 };
            let shape = (frame.texts, 1, 1, longest);
            frame.padding = Some(frame.by_token(of_real)?.reshape(shape)?.to_dtype(dtype)?);
        }
        frame.turns = frame.turns_of(lane)?;
        Ok(frame)
    }

    /// Returns a number for each token, `[texts, longest]`, by whether it is one of a text.
    fn by_token(&self, number: impl Fn(bool) -> f32) -> candle_core::Result<Tensor> {
        let rows = self.lengths.iter();
        let numbers = rows.flat_map(|length| (0..self.longest).map(move |at| at < *length));
        let numbers: Vec<f32> = numbers.map(number).collect();
        Tensor::from_vec(numbers, (self.texts, self.longest), &self.device)
    }

    /// Computes the turns of positions, once for all layers that have the same.
    fn turns_of(&self, lane: &Lane) -> candle_core::Result<Vec<Option<Turn>>> {
        let mut known: Vec<(Arc<[f32]>, Turn)> = Vec::new();
        let mut turns = Vec::with_capacity(lane.weights.layers.len());
        for layer in &lane.weights.layers {
            let Some(frequencies) = &layer.rotary else {
                turns.push(None);
                continue;
            };
            let same = known.iter().find(|(of, _)| of == frequencies);
            let turn = match same {
                Some((_, turn)) => turn.clone(),
                None => {
                    let turn = self.turn(frequencies)?;
                    known.push((Arc::clone(frequencies), turn.clone()));
                    turn
                }
            };
            turns.push(Some(turn));
        }
        Ok(turns)
    }

    fn turn(&self, frequencies: &[f32]) -> candle_core::Result<Turn> {
        let angles: Vec<f32> = (0..self.longest)
            .flat_map(|position| frequencies.iter().map(move |f| position as f32 * f))
            .collect();
        let angles = Tensor::from_vec(angles, (self.longest, frequencies.len()), &self.device)?;
        Ok((
            angles.cos()?.to_dtype(self.dtype)?,
            angles.sin()?.to_dtype(self.dtype)?,
        ))
    }

    /// Returns the turns of a layer, if it has any.
    pub(super) fn rotary(&self, layer: usize) -> Option<&Turn> {
        self.turns[layer].as_ref()
    }

    /// Lowers the scores, `[texts, heads, rows, longest]`, of tokens that some rows of queries do
    /// not see, or see from afar.
    pub(super) fn hide(
        &self,
        scores: Tensor,
        architecture: &Architecture,
        window: Option<usize>,
        rows: Range<usize>,
    ) -> candle_core::Result<Tensor> {
        let scores = match &self.padding {
            Some(padding) => scores.broadcast_add(padding)?,
            None => scores,
        };
        match self.bias(architecture, window, rows)? {
            Some(bias) => scores.broadcast_add(&bias),
            None => Ok(scores),
        }
    }

    /// Returns what distance and order add to scores, `[heads or 1, rows, longest]`.
    fn bias(
        &self,
        architecture: &Architecture,
        window: Option<usize>,
        rows: Range<usize>,
    ) -> candle_core::Result<Option<Tensor>> {
        let Architecture { alibi, causal, .. } = architecture;
        if !causal && window.is_none() && alibi.is_none() {
            return Ok(None);
        }
        let line = |range: Range<usize>| {
            Tensor::arange(range.start as f32, range.end as f32, &self.device)
        };
        let (queries, keys) = (
            line(rows)?.unsqueeze(1)?,
            line(0..self.longest)?.unsqueeze(0)?,
        );
        // How far a key is behind its query, `[rows, longest]`.
        let behind = queries.broadcast_sub(&keys)?;
        let distance = behind.abs()?;
        let unseen = |mask: Tensor| mask.to_dtype(DType::F32)? * UNSEEN;
        let mut bias = match alibi {
            Some(slopes) => {
                let slopes = Tensor::new(slopes.as_slice(), &self.device)?;
                let slopes = slopes.reshape((slopes.dim(0)?, 1, 1))?.neg()?;
                slopes.broadcast_mul(&distance.unsqueeze(0)?)?
            }
            None => distance.zeros_like()?.unsqueeze(0)?,
        };
        // Either one hides a key, and both do not hide it more.
        let mut hidden = match causal {
            true => Some(behind.lt(0.0_f32)?),
            false => None,
        };
        if let Some(window) = window {
            let far = distance.gt(window as f32)?;
            hidden = Some(match hidden {
                Some(later) => later.maximum(&far)?,
                None => far,
            });
        }
        if let Some(hidden) = hidden {
            bias = bias.broadcast_add(&unseen(hidden)?.unsqueeze(0)?)?;
        }
        Ok(Some(bias.to_dtype(self.dtype)?))
    }

    /// Pools the states of each text's tokens, `[texts, longest, hidden]`, to `[texts, hidden]`.
    pub(super) fn pool(&self, states: &Tensor, pooling: Pooling) -> candle_core::Result<Tensor> {
        let hidden = states.dim(D::Minus1)?;
        match pooling {
            Pooling::Cls => states.narrow(1, 0, 1)?.reshape((self.texts, hidden)),
            Pooling::Last => {
                let last = self.lengths.iter().enumerate();
                let last = last.map(|(text, length)| (text * self.longest + length - 1) as u32);
                let last = Tensor::from_iter(last, &self.device)?;
                let flat = states.reshape((self.texts * self.longest, hidden))?;
                flat.index_select(&last, 0)
            }
            Pooling::Mean => {
                let lengths = self.lengths.iter().map(|length| *length as f32);
                let lengths = Tensor::from_iter(lengths, &self.device)?.unsqueeze(1)?;
                let real = self.by_token(|is_real| f32::from(u8::from(is_real)))?;
                let sum = real.unsqueeze(1)?.matmul(states)?.squeeze(1)?;
                sum.broadcast_div(&lengths)
            }
            Pooling::Max => {
                let lowest = self.by_token(|is_real| if is_real { 0.0 } else { f32::MIN })?;
                states.broadcast_add(&lowest.unsqueeze(2)?)?.max(1)
            }
        }
    }
}
