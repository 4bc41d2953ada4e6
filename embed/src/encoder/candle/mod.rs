//! The engine on candle's tensors, for any of its devices: texts padded to the longest of a batch.
//! It is plain, cards run it, and the engine for processors is checked against it.
//!
//! Only token ids go to a device and only pooled vectors come back. The next batch starts before
//! the previous one is read, so a card never waits for the host. `frame` computes masks, distances
//! and rotations on the card from a few numbers for each text. The tests run all of it on the
//! processor, in 16 bits as well. Only two things are compiled for cards alone: opening one
//! (`device.rs`) and asking for its free memory.

mod batches;
mod frame;
mod weights;

use std::thread;

use candle_core::{D, DType, Device, Tensor};
use candle_nn::{Module as _, ops, rotary_emb};

use super::checkpoint::Checkpoint;
use super::pooling::Pooling;
use super::spec::{Activation, Architecture, Order, QueryKeyNorm};
use super::{Batch, Engine};
use crate::{DeviceName, Error};
use batches::{Queue, Room};
use frame::Frame;
use weights::{Layer, NormTensors, Weights};

/// Tokens of one batch on a processor, padding included.
const TOKENS: usize = 4096;

/// Numbers of attention scores that are in memory at once, if one row of them is not more.
const SCORES: usize = 1 << 22;

/// The same on a card.
#[cfg(feature = "cuda")]
const CARD_SCORES: usize = 1 << 27;

/// An encoder on one or more devices of a kind, each with all of its weights.
pub(crate) struct CandleEngine {
    lanes: Vec<Lane>,
}

/// An encoder on one device.
struct Lane {
    name: String,
    architecture: Architecture,
    weights: Weights,
    device: Device,
    /// What states are computed in.
    dtype: DType,
    /// Numbers of attention scores that are in memory at once.
    scores: usize,
    room: Room,
}

impl CandleEngine {
    /// Loads an encoder onto devices.
    ///
    /// # Errors
    /// [`Error::Model`] for weights that are not as the config says, [`Error::Device`] if a device
    /// has no room for them or does not know such numbers.
    pub(crate) fn load(
        checkpoint: &Checkpoint,
        devices: &DeviceName,
        dtype: DType,
    ) -> Result<Self, Error> {
        let opened = devices.open()?.into_iter();
        let lanes = opened.map(|(name, device)| Lane::load(checkpoint, name, device, dtype));
        Ok(Self {
            lanes: lanes.collect::<Result<_, _>>()?,
        })
    }
}

impl Engine for CandleEngine {
    fn run(&self, batch: &Batch<'_>, pooling: Pooling) -> Result<Vec<Vec<f32>>, Error> {
        let queue = Queue::new(batch);
        let run = |lane: &Lane| {
            let start = |texts: &Batch<'_>| lane.pooled(texts, pooling);
            let made = lane
                .room
                .drain(&queue, start, |pooled: Tensor| pooled.to_vec2::<f32>());
            // The other cards need not go on.
            made.inspect_err(|_| queue.close())
                .map_err(|error| lane.named(error))
        };
        let made: Vec<_> = thread::scope(|scope| {
            let running: Vec<_> = self
                .lanes
                .iter()
                .map(|lane| scope.spawn(|| run(lane)))
                .collect();
            let joined = running.into_iter().map(|lane| lane.join());
            joined
                .map(|made| made.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        });
        let mut vectors = vec![Vec::new(); batch.len()];
        for made in made {
            for (at, made) in made? {
                for (vector, made) in vectors[at..].iter_mut().zip(made) {
                    *vector = made;
                }
            }
        }
        Ok(vectors)
    }
}

impl Lane {
    fn load(
        checkpoint: &Checkpoint,
        name: String,
        device: Device,
        dtype: DType,
    ) -> Result<Self, Error> {
        let architecture = checkpoint.architecture().clone();
        let fail = |error| refused(&name, error);
        check_numbers(&name, &device, dtype)?;
        let weights = Weights::load(checkpoint, &device, dtype).map_err(|error| match error {
            Error::Inference(error) => fail(error),
            other => other,
        })?;
        let (tokens, scores) = room_of(&device, &architecture, dtype).map_err(fail)?;
        Ok(Self {
            name,
            architecture,
            weights,
            device,
            dtype,
            scores,
            room: Room::new(tokens),
        })
    }

    /// Says which device an error is of.
    fn named(&self, error: Error) -> Error {
        match error {
            Error::Inference(error) if !self.device.is_cpu() => refused(&self.name, error),
            other => other,
        }
    }

    /// Returns the pooled states of a batch's texts, `[texts, hidden]`, in f32.
    fn pooled(&self, batch: &Batch<'_>, pooling: Pooling) -> candle_core::Result<Tensor> {
        let frame = Frame::new(batch, self)?;
        let states = self.states(&frame)?.to_dtype(DType::F32)?;
        frame.pool(&states, pooling)
    }

    /// Returns the states of a batch's tokens, `[texts, longest, hidden]`.
    fn states(&self, frame: &Frame) -> candle_core::Result<Tensor> {
        let mut x = self.embeddings(frame)?;
        if let Some(norm) = &self.weights.norm {
            x = norm.apply(&x)?;
        }
        for (index, layer) in self.weights.layers.iter().enumerate() {
            let attend = |x: &Tensor| self.attention(layer, x, frame, index);
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
        normed(&self.weights.last_norm, &x)
    }

    /// Looks tokens and positions up.
    fn embeddings(&self, frame: &Frame) -> candle_core::Result<Tensor> {
        let shape = (frame.texts, frame.longest, self.architecture.hidden);
        let mut x = self
            .weights
            .tokens
            .index_select(&frame.ids, 0)?
            .reshape(shape)?;
        if let Some((table, first)) = &self.weights.positions {
            x = x.broadcast_add(&table.narrow(0, *first, frame.longest)?)?;
        }
        if let Some(table) = &self.weights.segments {
            x = match &frame.segments {
                Some(segments) => (x + table.index_select(segments, 0)?.reshape(shape)?)?,
                None => x.broadcast_add(&table.narrow(0, 0, 1)?)?,
            };
        }
        Ok(x)
    }

    fn attention(
        &self,
        layer: &Layer,
        x: &Tensor,
        frame: &Frame,
        index: usize,
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
        let rotary = frame.rotary(index);
        let query = rotate(rotary, &query.transpose(1, 2)?.contiguous()?)?;
        let key = rotate(rotary, &key.transpose(1, 2)?.contiguous()?)?;
        let value = part_heads(value, kv_heads)?.transpose(1, 2)?.contiguous()?;
        let key = shared(&key, heads / kv_heads)?;
        let value = shared(&value, heads / kv_heads)?;
        let mixed = self.mix(layer.window, [&query, &key, &value], frame)?;
        let mixed = mixed
            .transpose(1, 2)?
            .reshape((texts, longest, heads * head_dim))?;
        layer.out.forward(&mixed)
    }

    /// Mixes values by the scores of queries and keys, all `[texts, heads, longest, head_dim]`.
    fn mix(
        &self,
        window: Option<usize>,
        [query, key, value]: [&Tensor; 3],
        frame: &Frame,
    ) -> candle_core::Result<Tensor> {
        let (texts, heads, longest, head_dim) = query.dims4()?;
        let key = key.transpose(2, 3)?.contiguous()?;
        // Before the product, which could leave the range of f16 otherwise.
        let query = (query * (1.0 / (head_dim as f64).sqrt()))?;
        let step = (self.scores / (texts * heads * longest)).clamp(1, longest);
        let mut parts = Vec::new();
        for start in (0..longest).step_by(step) {
            let rows = start..longest.min(start + step);
            let query = query.narrow(2, start, rows.len())?.contiguous()?;
            let scores = query.matmul(&key)?;
            let scores = frame.hide(scores, &self.architecture, window, rows)?;
            parts.push(shares(&scores)?.matmul(value)?);
        }
        Tensor::cat(&parts, 2)
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

/// Makes shares of 1 of each row of scores.
///
/// candle's processor adds numbers of 16 bits up in 16 bits, where those of hundreds of tokens are
/// lost; its cards add up in f32.
fn shares(scores: &Tensor) -> candle_core::Result<Tensor> {
    if !scores.device().is_cpu() {
        return ops::softmax_last_dim(scores);
    }
    ops::softmax_last_dim(&scores.to_dtype(DType::F32)?)?.to_dtype(scores.dtype())
}

/// Turns the first numbers of each head by their position.
fn rotate(rotary: Option<&frame::Turn>, x: &Tensor) -> candle_core::Result<Tensor> {
    let Some((cos, sin)) = rotary else {
        return Ok(x.clone());
    };
    let (head_dim, turned) = (x.dim(D::Minus1)?, 2 * cos.dim(D::Minus1)?);
    let first = x.narrow(D::Minus1, 0, turned)?.contiguous()?;
    let first = rotary_emb::rope(&first, cos, sin)?;
    if turned == head_dim {
        return Ok(first);
    }
    let rest = x.narrow(D::Minus1, turned, head_dim - turned)?;
    Tensor::cat(&[first, rest], D::Minus1)
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

/// Says that a device did not do what it was asked to.
fn refused(name: &str, error: candle_core::Error) -> Error {
    let hint = match batches::is_out_of_memory(&error) {
        true => "a smaller model, --dtype f16, or fewer other programs on the card",
        false => {
            "nvidia-smi tells how the card is; --device cpu, or the other cards alone, go without it"
        }
    };
    Error::Device {
        device: name.to_owned(),
        cause: error.to_string(),
        hint,
    }
}

/// Refuses numbers that a card has no kernels for.
#[cfg(feature = "cuda")]
fn check_numbers(name: &str, device: &Device, dtype: DType) -> Result<(), Error> {
    let Device::Cuda(card) = device else {
        return Ok(());
    };
    let context = card.cuda_stream().context().clone();
    let (major, minor) = context.compute_capability().unwrap_or_default();
    // Said when the kernels are compiled; without it candle asks a card of that machine.
    let built = option_env!("CUDA_COMPUTE_CAP").and_then(|cap| cap.parse().ok());
    if dtype == DType::BF16 && major >= 8 && built.is_some_and(|cap: u32| cap < 80) {
        return Err(Error::Device {
            device: name.to_owned(),
            cause: "this cs-embed was built for cards without bf16 too, and has none".to_owned(),
            hint: "--dtype f16, or a build by scripts/check/gpu-check --cap 80",
        });
    }
    if dtype == DType::BF16 && major < 8 {
        return Err(Error::Device {
            device: name.to_owned(),
            cause: format!("has no bf16: its compute capability is {major}.{minor}, below 8.0"),
            hint: "--dtype f16 is as fast",
        });
    }
    Ok(())
}

#[cfg(not(feature = "cuda"))]
fn check_numbers(_name: &str, _device: &Device, _dtype: DType) -> Result<(), Error> {
    Ok(())
}

/// Returns how many tokens, padding included, a device has room for beside the weights, and how
/// many scores.
#[cfg(feature = "cuda")]
fn room_of(
    device: &Device,
    architecture: &Architecture,
    dtype: DType,
) -> candle_core::Result<(usize, usize)> {
    let Device::Cuda(card) = device else {
        return Ok((TOKENS, SCORES));
    };
    device.synchronize()?;
    let (free, _) = card
        .cuda_stream()
        .context()
        .mem_get_info()
        .map_err(candle_core::Error::wrap)?;
    let scores = CARD_SCORES.min(free / 16 / dtype.size_in_bytes());
    Ok((batches::tokens(free, architecture, dtype), scores))
}

#[cfg(not(feature = "cuda"))]
fn room_of(
    _device: &Device,
    _architecture: &Architecture,
    _dtype: DType,
) -> candle_core::Result<(usize, usize)> {
    Ok((TOKENS, SCORES))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::encoder::Text;

    #[test]
    fn a_device_that_runs_out_of_memory_gives_the_same_vectors() {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/encoders/bert");
        let checkpoint = Checkpoint::open(&data).unwrap();
        let lane = Lane::load(&checkpoint, "cpu".to_owned(), Device::Cpu, DType::F32).unwrap();
        let texts: Vec<Vec<u32>> = (1..=60)
            .rev()
            .map(|length| (1..=length).collect())
            .collect();
        let batch: Vec<Text<'_>> = texts.iter().map(|ids| Text::single(ids)).collect();
        let run = |room: &Room, capacity: usize| {
            let start = |texts: &Batch<'_>| {
                if texts.len() * texts[0].len() > capacity {
                    let cause = r#"DriverError(CUDA_ERROR_OUT_OF_MEMORY, "out of memory")"#;
                    return Err(candle_core::Error::Msg(cause.to_owned()));
                }
                lane.pooled(texts, Pooling::Mean)
            };
            let read = |pooled: Tensor| pooled.to_vec2::<f32>();
            let mut made = room.drain(&Queue::new(&batch), start, read).unwrap();
            made.sort_by_key(|(at, _)| *at);
            let vectors: Vec<Vec<f32>> = made.into_iter().flat_map(|(_, part)| part).collect();
            vectors
        };
        let expected = run(&Room::new(TOKENS), usize::MAX);
        assert_eq!(expected.len(), texts.len());
        for capacity in [60, 200, 1000] {
            let found = run(&Room::new(TOKENS), capacity);
            for (found, expected) in found.iter().zip(&expected) {
                let near = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-5;
                assert!(found.iter().zip(expected).all(near), "{capacity}");
            }
            assert_eq!(found.len(), texts.len());
        }
    }

    #[test]
    fn a_card_of_more_memory_takes_more_tokens() {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/encoders/bert");
        let checkpoint = Checkpoint::open(&data).unwrap();
        let tokens = |free, dtype| batches::tokens(free, checkpoint.architecture(), dtype);
        let megabytes = 100 << 20;
        assert!(tokens(2 * megabytes, DType::F32) > tokens(megabytes, DType::F32));
        assert!(tokens(megabytes, DType::F16) > tokens(megabytes, DType::F32));
        assert_eq!(tokens(0, DType::F32), 1 << 12);
        assert_eq!(tokens(1 << 45, DType::F16), 1 << 17);
    }
}
