//! NomicBERT (Nussbaum et al., 2024): BERT's order of norms with rotary positions and gated
//! products. Its tensors have two sets of names, the hub's and those of transformers 5.

use super::super::config::Config;
use super::super::spec::{
    Activation, Architecture, Ends, LayerShape, LayerWeights, Norm, Order, QueryKeyNorm,
};
use super::super::tensors::Tensors;
use super::{Family, bert_ends, frequencies, head_dim, rope_theta};
use crate::Error;

/// The hub's keys, which are those of GPT-2, and transformers' for the same.
const KEYS: &[(&str, &str)] = &[
    ("n_embd", "hidden_size"),
    ("n_head", "num_attention_heads"),
    ("n_inner", "intermediate_size"),
    ("n_layer", "num_hidden_layers"),
    ("n_positions", "max_position_embeddings"),
    ("activation_function", "hidden_act"),
    ("layer_norm_epsilon", "layer_norm_eps"),
    ("rotary_emb_base", "rope_theta"),
];

/// A NomicBERT encoder.
pub(crate) struct Nomic {
    architecture: Architecture,
    vocabulary: usize,
    segments: usize,
    names: &'static Names,
    biases: Biases,
}

/// Which linear maps have a bias.
struct Biases {
    attention: bool,
    up: bool,
    down: bool,
}

/// Names of tensors; those of a layer stand behind its number.
struct Names {
    norm: &'static str,
    layers: &'static str,
    /// One tensor or three.
    qkv: &'static [&'static str],
    out: &'static str,
    attention_norm: &'static str,
    /// The part that is bent, and the other one.
    up: [&'static str; 2],
    /// The only part, where products are not gated.
    plain_up: &'static str,
    down: &'static str,
    feed_forward_norm: &'static str,
}

static HUB: Names = Names {
    norm: "emb_ln",
    layers: "encoder.layers",
    qkv: &["attn.Wqkv"],
    out: "attn.out_proj",
    attention_norm: "norm1",
    up: ["mlp.fc12", "mlp.fc11"],
    plain_up: "mlp.fc1",
    down: "mlp.fc2",
    feed_forward_norm: "norm2",
};

static TRANSFORMERS: Names = Names {
    norm: "embeddings.LayerNorm",
    layers: "layers",
    qkv: &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    out: "self_attn.o_proj",
    attention_norm: "post_attention_layernorm",
    up: ["mlp.gate_proj", "mlp.up_proj"],
    plain_up: "mlp.up_proj",
    down: "mlp.down_proj",
    feed_forward_norm: "post_mlp_layernorm",
};

/// Opens NomicBERT.
pub(crate) fn open(config: &Config, tensors: &mut Tensors) -> Result<Box<dyn Family>, Error> {
    let config = config.clone().renamed(KEYS);
    config.only("prenorm", &["false"])?;
    config.only("parallel_block", &["false"])?;
    config.only("use_rms_norm", &["false"])?;
    config.only("causal", &["false"])?;
    config.only("rotary_emb_fraction", &["1", "1.0"])?;
    config.only("rotary_emb_interleaved", &["false"])?;
    config.only("rotary_emb_scale_base", &[])?;
    config.only("num_experts", &["0", "1"])?;
    tensors.find_prefix("embeddings.word_embeddings.weight")?;
    let names = if tensors.has("emb_ln.weight") {
        &HUB
    } else {
        &TRANSFORMERS
    };
    let hub = std::ptr::eq(names, &HUB);
    Ok(Box::new(Nomic {
        architecture: architecture(&config)?,
        vocabulary: config.size("vocab_size")?,
        segments: config.size("type_vocab_size")?,
        names,
        biases: Biases {
            attention: config.flag("qkv_proj_bias", hub),
            up: config.flag("mlp_fc1_bias", hub),
            down: config.flag("mlp_fc2_bias", hub),
        },
    }))
}

fn architecture(config: &Config) -> Result<Architecture, Error> {
    let hidden = config.size("hidden_size")?;
    let heads = config.size("num_attention_heads")?;
    let head_dim = match config.size_if_there("head_dim")? {
        Some(size) => size,
        None => head_dim(config, hidden, heads)?,
    };
    let mut max_tokens = config.size("max_position_embeddings")?;
    // Frequencies are scaled by the length of a text that is longer than those in training only.
    if config.get("rotary_scaling_factor").is_some() {
        max_tokens = max_tokens.min(config.size("max_trained_positions")?);
    }
    let layer = LayerShape {
        window: None,
        rotary: Some(frequencies(config, rope_theta(config, 1000.0)?, head_dim)?),
    };
    Ok(Architecture {
        hidden,
        heads,
        kv_heads: heads,
        head_dim,
        intermediate: config.size("intermediate_size")?,
        // The hub's `gelu` is BERT's product; transformers' class is always gated.
        gated: config.get("n_embd").is_none() || config.text("hidden_act") != Some("gelu"),
        activation: config.activation("hidden_act", Activation::Silu)?,
        norm: Norm::Layer,
        epsilon: config.number("layer_norm_eps", 1e-12)? as f32,
        order: Order::Post,
        causal: false,
        alibi: None,
        query_key_norm: QueryKeyNorm::None,
        layers: vec![layer; config.size("num_hidden_layers")?],
        max_tokens,
    })
}

impl Family for Nomic {
    fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    fn ends(&self, tensors: &Tensors) -> Result<Ends, Error> {
        let rows = (self.vocabulary, self.segments);
        bert_ends(tensors, rows, self.architecture.hidden, self.names.norm)
    }

    fn layer(&self, tensors: &Tensors, index: usize) -> Result<LayerWeights, Error> {
        let shape = &self.architecture;
        let (hidden, intermediate) = (shape.hidden, shape.intermediate);
        let heads = shape.heads * shape.head_dim;
        let names = self.names;
        let name = |part: &str| format!("{}.{index}.{part}", names.layers);
        let stacked = |parts: &[&str], rows, bias| {
            let parts: Vec<String> = parts.iter().map(|part| name(part)).collect();
            let parts: Vec<(&str, usize)> =
                parts.iter().map(|part| (part.as_str(), rows)).collect();
            tensors.dense(&parts, hidden, bias)
        };
        let up: &[&str] = if shape.gated {
            &names.up
        } else {
            &[names.plain_up]
        };
        let biases = &self.biases;
        let down = name(names.down);
        Ok(LayerWeights {
            qkv: stacked(names.qkv, 3 * heads / names.qkv.len(), biases.attention)?,
            query_key_norms: None,
            out: tensors.dense(&[(&name(names.out), hidden)], heads, biases.attention)?,
            attention_norm: Some(tensors.norm(&name(names.attention_norm), hidden, true)?),
            second_attention_norm: None,
            up: stacked(up, intermediate, biases.up)?,
            down: tensors.dense(&[(&down, hidden)], intermediate, biases.down)?,
            feed_forward_norm: tensors.norm(&name(names.feed_forward_norm), hidden, true)?,
        })
    }
}
