//! BERT (Devlin et al., 2018), and RoBERTa (Liu et al., 2019), which differs in where positions
//! begin.

use super::super::classifier::{Bend, Classifier};
use super::super::config::Config;
use super::super::pooling::Pooling;
use super::super::spec::{
    Activation, Architecture, Ends, LayerShape, LayerWeights, Norm, Order, QueryKeyNorm,
};
use super::super::tensors::Tensors;
use super::{BERT_NORM, Family, bert_ends, bert_qkv, head_dim};
use crate::Error;

/// A BERT encoder.
pub(crate) struct Bert {
    architecture: Architecture,
    vocabulary: usize,
    segments: usize,
    positions: usize,
    first_position: usize,
}

/// Opens BERT.
pub(crate) fn open(config: &Config, tensors: &mut Tensors) -> Result<Box<dyn Family>, Error> {
    open_from(config, tensors, 0)
}

/// Opens RoBERTa, whose first token has the position after that of padding.
pub(crate) fn open_roberta(
    config: &Config,
    tensors: &mut Tensors,
) -> Result<Box<dyn Family>, Error> {
    let padding = config.number("pad_token_id", 1.0)?;
    open_from(config, tensors, padding as usize + 1)
}

fn open_from(
    config: &Config,
    tensors: &mut Tensors,
    first_position: usize,
) -> Result<Box<dyn Family>, Error> {
    config.only("position_embedding_type", &["absolute"])?;
    let positions = config.size("max_position_embeddings")?;
    if positions <= first_position {
        let cause = format!("`max_position_embeddings` is {positions}, too few for any text");
        return Err(config.error(cause));
    }
    tensors.find_prefix("embeddings.word_embeddings.weight")?;
    Ok(Box::new(Bert {
        architecture: architecture(config, positions - first_position)?,
        vocabulary: config.size("vocab_size")?,
        segments: config.size("type_vocab_size")?,
        positions,
        first_position,
    }))
}

/// Reads what BERT and JinaBERT have in common.
pub(super) fn architecture(config: &Config, max_tokens: usize) -> Result<Architecture, Error> {
    config.only("is_decoder", &["false"])?;
    config.only("add_cross_attention", &["false"])?;
    // Models whose states are narrower than their embeddings (ELECTRA's) need one more map.
    let hidden = config.size("hidden_size")?;
    config.only("embedding_size", &[&hidden.to_string()])?;
    let heads = config.size("num_attention_heads")?;
    let layer = LayerShape {
        window: None,
        rotary: None,
    };
    Ok(Architecture {
        hidden,
        heads,
        kv_heads: heads,
        head_dim: head_dim(config, hidden, heads)?,
        intermediate: config.size("intermediate_size")?,
        gated: false,
        activation: config.activation("hidden_act", Activation::Gelu)?,
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

/// Reads the classifier of a cross-encoder of BERT: its pooler, and a map to one number.
pub(crate) fn classifier(config: &Config, tensors: &mut Tensors) -> Result<Classifier, Error> {
    let hidden = config.size("hidden_size")?;
    tensors.find_prefix("pooler.dense.weight")?;
    let dense = tensors.dense(&[("pooler.dense", hidden)], hidden, true)?;
    tensors.find_prefix("classifier.weight")?;
    Ok(Classifier {
        pooling: Pooling::Cls,
        dense,
        bend: Bend::Tanh,
        norm: None,
        out: tensors.dense(&[("classifier", 1)], hidden, true)?,
    })
}

/// Reads that of RoBERTa, which has the same maps by other names.
pub(crate) fn classifier_of_roberta(
    config: &Config,
    tensors: &mut Tensors,
) -> Result<Classifier, Error> {
    let hidden = config.size("hidden_size")?;
    tensors.find_prefix("classifier.dense.weight")?;
    Ok(Classifier {
        pooling: Pooling::Cls,
        dense: tensors.dense(&[("classifier.dense", hidden)], hidden, true)?,
        bend: Bend::Tanh,
        norm: None,
        out: tensors.dense(&[("classifier.out_proj", 1)], hidden, true)?,
    })
}

impl Family for Bert {
    fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    fn ends(&self, tensors: &Tensors) -> Result<Ends, Error> {
        let hidden = self.architecture.hidden;
        let rows = (self.vocabulary, self.segments);
        let table = "embeddings.position_embeddings.weight";
        let positions = tensors.table(table, self.positions, hidden)?;
        Ok(Ends {
            positions: Some((positions, self.first_position)),
            ..bert_ends(tensors, rows, hidden, BERT_NORM)?
        })
    }

    fn layer(&self, tensors: &Tensors, index: usize) -> Result<LayerWeights, Error> {
        let Architecture {
            hidden,
            intermediate,
            ..
        } = self.architecture;
        let name = |part: &str| format!("encoder.layer.{index}.{part}");
        let dense =
            |part: &str, outputs, inputs| tensors.dense(&[(&name(part), outputs)], inputs, true);
        Ok(LayerWeights {
            qkv: bert_qkv(tensors, index, hidden)?,
            query_key_norms: None,
            out: dense("attention.output.dense", hidden, hidden)?,
            attention_norm: Some(tensors.norm(
                &name("attention.output.LayerNorm"),
                hidden,
                true,
            )?),
            second_attention_norm: None,
            up: dense("intermediate.dense", intermediate, hidden)?,
            down: dense("output.dense", hidden, intermediate)?,
            feed_forward_norm: tensors.norm(&name("output.LayerNorm"), hidden, true)?,
        })
    }
}
