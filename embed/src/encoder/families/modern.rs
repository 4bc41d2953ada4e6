//! ModernBERT (Warner et al., 2024): norms before the parts, rotary positions, gated products,
//! and windows of attention in most layers.

use super::super::classifier::{Bend, Classifier};
use super::super::config::Config;
use super::super::pooling::Pooling;
use super::super::spec::{
    Activation, Architecture, Ends, LayerShape, LayerWeights, Norm, Order, QueryKeyNorm,
};
use super::super::tensors::Tensors;
use super::{Family, default_rope, frequencies, head_dim};
use crate::Error;

/// A ModernBERT encoder.
pub(crate) struct Modern {
    architecture: Architecture,
    vocabulary: usize,
    norm_bias: bool,
    attention_bias: bool,
    feed_forward_bias: bool,
}

/// Opens ModernBERT.
pub(crate) fn open(config: &Config, tensors: &mut Tensors) -> Result<Box<dyn Family>, Error> {
    tensors.find_prefix("embeddings.tok_embeddings.weight")?;
    let hidden = config.size("hidden_size")?;
    let heads = config.size("num_attention_heads")?;
    let head_dim = head_dim(config, hidden, heads)?;
    let architecture = Architecture {
        hidden,
        heads,
        kv_heads: heads,
        head_dim,
        intermediate: config.size("intermediate_size")?,
        gated: true,
        activation: config.activation("hidden_activation", Activation::Gelu)?,
        norm: Norm::Layer,
        epsilon: config.number("norm_eps", 1e-5)? as f32,
        order: Order::Pre,
        causal: false,
        alibi: None,
        query_key_norm: QueryKeyNorm::None,
        layers: layers(config, head_dim)?,
        max_tokens: config.size("max_position_embeddings")?,
    };
    Ok(Box::new(Modern {
        architecture,
        vocabulary: config.size("vocab_size")?,
        norm_bias: config.flag("norm_bias", false),
        attention_bias: config.flag("attention_bias", false),
        feed_forward_bias: config.flag("mlp_bias", false),
    }))
}

/// Reads the classifier of a cross-encoder: a map, a norm and another map.
pub(crate) fn classifier(config: &Config, tensors: &mut Tensors) -> Result<Classifier, Error> {
    let pooling = match config.text("classifier_pooling") {
        None | Some("cls") => Pooling::Cls,
        Some("mean") => Pooling::Mean,
        Some(other) => return Err(config.unsupported("classifier_pooling", other)),
    };
    let hidden = config.size("hidden_size")?;
    tensors.find_prefix("head.dense.weight")?;
    let bias = config.flag("classifier_bias", false);
    let norm = tensors.norm("head.norm", hidden, config.flag("norm_bias", false))?;
    let epsilon = config.number("norm_eps", 1e-5)? as f32;
    Ok(Classifier {
        pooling,
        dense: tensors.dense(&[("head.dense", hidden)], hidden, bias)?,
        bend: Bend::Activation(config.activation("classifier_activation", Activation::Gelu)?),
        norm: Some((norm, epsilon)),
        out: tensors.dense(&[("classifier", 1)], hidden, true)?,
    })
}

/// Reads which layers see everything, and which only a window; each kind has its own base of
/// rotary positions.
fn layers(config: &Config, head_dim: usize) -> Result<Vec<LayerShape>, Error> {
    default_rope(&config.below("rope_scaling"))?;
    let rotary = |kind: &str, old: &str, default| {
        let parameters = config.below("rope_parameters").below(kind);
        default_rope(&parameters)?;
        let theta = parameters.number("rope_theta", config.number(old, default)?)?;
        frequencies(config, theta, head_dim)
    };
    let global = LayerShape {
        window: None,
        rotary: Some(rotary("full_attention", "global_rope_theta", 160_000.0)?),
    };
    let local = LayerShape {
        window: Some(config.size_if_there("local_attention")?.unwrap_or(128) / 2),
        rotary: Some(rotary("sliding_attention", "local_rope_theta", 10_000.0)?),
    };
    let count = config.size("num_hidden_layers")?;
    let Some(types) = config.get("layer_types") else {
        let every = config
            .size_if_there("global_attn_every_n_layers")?
            .unwrap_or(3);
        let layer = |index: usize| {
            if index.is_multiple_of(every) {
                &global
            } else {
                &local
            }
        };
        return Ok((0..count).map(|index| layer(index).clone()).collect());
    };
    let types = types.as_array().map(Vec::as_slice).unwrap_or_default();
    if types.len() != count {
        let cause = format!("`layer_types` names {} layers, not {count}", types.len());
        return Err(config.error(cause));
    }
    types
        .iter()
        .map(|kind| match kind.as_str() {
            Some("full_attention") => Ok(global.clone()),
            Some("sliding_attention") => Ok(local.clone()),
            _ => Err(config.unsupported("layer_types", &kind.to_string())),
        })
        .collect()
}

impl Family for Modern {
    fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    fn ends(&self, tensors: &Tensors) -> Result<Ends, Error> {
        let hidden = self.architecture.hidden;
        let norm = |name: &str| tensors.norm(name, hidden, self.norm_bias);
        Ok(Ends {
            tokens: tensors.table("embeddings.tok_embeddings.weight", self.vocabulary, hidden)?,
            positions: None,
            segments: None,
            norm: Some(norm("embeddings.norm")?),
            last_norm: Some(norm("final_norm")?),
        })
    }

    fn layer(&self, tensors: &Tensors, index: usize) -> Result<LayerWeights, Error> {
        let Architecture {
            hidden,
            intermediate,
            ..
        } = self.architecture;
        let name = |part: &str| format!("layers.{index}.{part}");
        let dense = |part: &str, outputs, inputs, bias| {
            tensors.dense(&[(&name(part), outputs)], inputs, bias)
        };
        let norm = |part: &str| tensors.norm(&name(part), hidden, self.norm_bias);
        let (attention, feed_forward) = (self.attention_bias, self.feed_forward_bias);
        Ok(LayerWeights {
            qkv: dense("attn.Wqkv", 3 * hidden, hidden, attention)?,
            query_key_norms: None,
            out: dense("attn.Wo", hidden, hidden, attention)?,
            // The norm of the embeddings serves the first layer.
            attention_norm: if index == 0 {
                None
            } else {
                Some(norm("attn_norm")?)
            },
            second_attention_norm: None,
            up: dense("mlp.Wi", 2 * intermediate, hidden, feed_forward)?,
            down: dense("mlp.Wo", hidden, intermediate, feed_forward)?,
            feed_forward_norm: norm("mlp_norm")?,
        })
    }
}
