//! What a transformer encoder is made of: the one description that every family is turned into,
//! and that every engine runs.
//!
//! A family (BERT, ModernBERT, Qwen3, …) reads its own `config.json` and its own tensor names and
//! ends here; an engine never asks which family it runs.

use std::sync::Arc;

use super::tensors::Table;

/// The shape of an encoder and what it computes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Architecture {
    /// Numbers of a token's state.
    pub(crate) hidden: usize,
    /// Attention heads of the queries.
    pub(crate) heads: usize,
    /// Attention heads of keys and values; a divisor of `heads`.
    pub(crate) kv_heads: usize,
    /// Numbers of one head; scores are divided by its root.
    pub(crate) head_dim: usize,
    /// Numbers between the two products of the feed-forward part.
    pub(crate) intermediate: usize,
    /// Whether the first product is twice as wide: `activation(first half) * second half`.
    pub(crate) gated: bool,
    /// What bends the feed-forward part.
    pub(crate) activation: Activation,
    /// How states, queries and keys are normalised.
    pub(crate) norm: Norm,
    /// What is added under the root of a norm.
    pub(crate) epsilon: f32,
    /// Where the norms stand.
    pub(crate) order: Order,
    /// Whether a token sees only itself and those before it.
    pub(crate) causal: bool,
    /// The slope of each query head's ALiBi (Press et al., 2022), symmetric: scores lose
    /// `slope * |i - j|`.
    pub(crate) alibi: Option<Vec<f32>>,
    /// The norm of queries and keys before they meet.
    pub(crate) query_key_norm: QueryKeyNorm,
    /// One for each layer.
    pub(crate) layers: Vec<LayerShape>,
    /// The most tokens of a text, special ones included.
    pub(crate) max_tokens: usize,
}

/// What may differ from layer to layer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LayerShape {
    /// A token sees those at most this far from it on either side; `None`: all.
    pub(crate) window: Option<usize>,
    /// Inverse frequencies of rotary positions (Su et al., 2021), one for each pair `(i, i + n)`
    /// of a head's first `2 n` numbers. An angle is the product of position and frequency rounded
    /// to `f32`, as models were trained: at position 10,000 the rounding is visible.
    pub(crate) rotary: Option<Arc<[f32]>>,
}

/// How a vector is normalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Norm {
    /// Mean to 0, variance to 1 (Ba et al., 2016).
    Layer,
    /// Root of the mean square to 1 (Zhang and Sennrich, 2019).
    Rms,
}

/// Where the norms of a layer stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// `x = norm(x + part(x))`, as in BERT.
    Post,
    /// `x = x + part(norm(x))`, and one more norm after the last layer.
    Pre,
}

/// Over what queries and keys are normalised, each with weights of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QueryKeyNorm {
    /// They are not.
    None,
    /// Over each head, all heads sharing `head_dim` weights.
    Head,
    /// Over all heads together, before they are parted.
    Whole,
}

/// The function between the products of the feed-forward part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activation {
    /// `x * Phi(x)`, by the error function.
    Gelu,
    /// The same by the hyperbolic tangent (`gelu_new`, `gelu_pytorch_tanh`).
    GeluTanh,
    /// `x * sigmoid(x)`.
    Silu,
    /// `max(x, 0)`.
    Relu,
}

/// A linear map, `y = W x + b`.
#[derive(Clone, Debug)]
pub(crate) struct Dense {
    /// `W`, a row for each number of the output.
    pub(crate) weight: Vec<f32>,
    /// Rows of `W`.
    pub(crate) outputs: usize,
    /// `b`, one for each row.
    pub(crate) bias: Option<Vec<f32>>,
}

/// The learned part of a norm.
#[derive(Clone, Debug)]
pub(crate) struct NormWeights {
    /// What the normalised numbers are multiplied by.
    pub(crate) scale: Vec<f32>,
    /// What is added then.
    pub(crate) shift: Option<Vec<f32>>,
}

/// The weights of one layer.
#[derive(Clone, Debug)]
pub(crate) struct LayerWeights {
    /// Rows for the queries' heads, then the keys', then the values'.
    pub(crate) qkv: Dense,
    /// With [`QueryKeyNorm`]: those of queries and keys.
    pub(crate) query_key_norms: Option<(NormWeights, NormWeights)>,
    /// From the heads back to the state.
    pub(crate) out: Dense,
    /// The norm of the attention part, see [`Order`]; `None` where a family leaves it out.
    pub(crate) attention_norm: Option<NormWeights>,
    /// With [`Order::Post`], a second sum and norm after those of the attention part, as
    /// JinaBERT's code model has: `y = norm(x + part(x))`, then `second(x + y)`.
    pub(crate) second_attention_norm: Option<NormWeights>,
    /// The first product of the feed-forward part: `intermediate` rows, or with
    /// [`Architecture::gated`] twice as many, those that are bent first.
    pub(crate) up: Dense,
    /// The second product.
    pub(crate) down: Dense,
    /// The norm of the feed-forward part.
    pub(crate) feed_forward_norm: NormWeights,
}

/// Everything that is looked up or added before the first layer, and the norm after the last.
pub(crate) struct Ends {
    /// A row for each token.
    pub(crate) tokens: Table,
    /// A row for each position, and the row of the first one.
    pub(crate) positions: Option<(Table, usize)>,
    /// A row for each segment: that of a token's own is added to it.
    pub(crate) segments: Option<Table>,
    /// The norm of their sum.
    pub(crate) norm: Option<NormWeights>,
    /// The norm after the last layer, with [`Order::Pre`].
    pub(crate) last_norm: Option<NormWeights>,
}
