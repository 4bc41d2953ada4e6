//! Qwen3 (Qwen team, 2025) as Qwen3-Embedding uses it: a decoder without its last map, whose last
//! token has seen all of the text.

use super::super::config::Config;
use super::super::spec::{
    Activation, Architecture, Ends, LayerShape, LayerWeights, Norm, Order, QueryKeyNorm,
};
use super::super::tensors::Tensors;
use super::{Family, frequencies, rope_theta};
use crate::Error;

/// A Qwen3 encoder.
pub(crate) struct Qwen {
    architecture: Architecture,
    vocabulary: usize,
    attention_bias: bool,
}

/// Opens Qwen3.
pub(crate) fn open(config: &Config, tensors: &mut Tensors) -> Result<Box<dyn Family>, Error> {
    config.only("use_sliding_window", &["false"])?;
    config.only("is_causal", &["true"])?;
    tensors.find_prefix("embed_tokens.weight")?;
    let heads = config.size("num_attention_heads")?;
    let kv_heads = config
        .size_if_there("num_key_value_heads")?
        .unwrap_or(heads);
    if !heads.is_multiple_of(kv_heads) {
        let cause = format!("{heads} attention heads cannot share {kv_heads} of keys and values");
        return Err(config.error(cause));
    }
    let head_dim = config.size_if_there("head_dim")?.unwrap_or(128);
    let theta = rope_theta(config, 10_000.0)?;
    let layer = LayerShape {
        window: None,
        rotary: Some(frequencies(config, theta, head_dim)?),
    };
    Ok(Box::new(Qwen {
        vocabulary: config.size("vocab_size")?,
        attention_bias: config.flag("attention_bias", false),
        architecture: Architecture {
            hidden: config.size("hidden_size")?,
            heads,
            kv_heads,
            head_dim,
            intermediate: config.size("intermediate_size")?,
            gated: true,
            activation: config.activation("hidden_act", Activation::Silu)?,
            norm: Norm::Rms,
            epsilon: config.number("rms_norm_eps", 1e-6)? as f32,
            order: Order::Pre,
            causal: true,
            alibi: None,
            query_key_norm: QueryKeyNorm::Head,
            layers: vec![layer; config.size("num_hidden_layers")?],
            max_tokens: config.size("max_position_embeddings")?,
        },
    }))
}

impl Family for Qwen {
    fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    fn ends(&self, tensors: &Tensors) -> Result<Ends, Error> {
        let hidden = self.architecture.hidden;
        Ok(Ends {
            tokens: tensors.table("embed_tokens.weight", self.vocabulary, hidden)?,
            positions: None,
            segments: None,
            norm: None,
            last_norm: Some(tensors.norm("norm", hidden, false)?),
        })
    }

    fn layer(&self, tensors: &Tensors, index: usize) -> Result<LayerWeights, Error> {
        let shape = &self.architecture;
        let (hidden, intermediate) = (shape.hidden, shape.intermediate);
        let heads = shape.heads * shape.head_dim;
        let kv = shape.kv_heads * shape.head_dim;
        let name = |part: &str| format!("layers.{index}.{part}");
        let [query, key, value] =
            ["q", "k", "v"].map(|part| name(&format!("self_attn.{part}_proj")));
        let [gate, up] = ["gate", "up"].map(|part| name(&format!("mlp.{part}_proj")));
        let norm = |part: &str, size| tensors.norm(&name(part), size, false);
        let bias = self.attention_bias;
        Ok(LayerWeights {
            qkv: tensors.dense(&[(&query, heads), (&key, kv), (&value, kv)], hidden, bias)?,
            query_key_norms: Some((
                norm("self_attn.q_norm", shape.head_dim)?,
                norm("self_attn.k_norm", shape.head_dim)?,
            )),
            out: tensors.dense(&[(&name("self_attn.o_proj"), hidden)], heads, bias)?,
            attention_norm: Some(norm("input_layernorm", hidden)?),
            second_attention_norm: None,
            up: tensors.dense(&[(&gate, intermediate), (&up, intermediate)], hidden, false)?,
            down: tensors.dense(&[(&name("mlp.down_proj"), hidden)], intermediate, false)?,
            feed_forward_norm: norm("post_attention_layernorm", hidden)?,
        })
    }
}
