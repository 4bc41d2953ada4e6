//! JinaBERT v2 (Günther et al., 2023): BERT with symmetric ALiBi and gated products, and its
//! variant for code, which normalises queries and keys.

use super::super::config::Config;
use super::super::spec::{
    Activation, Architecture, Dense, Ends, LayerWeights, NormWeights, QueryKeyNorm,
};
use super::super::tensors::Tensors;
use super::{BERT_NORM, Family, bert, bert_ends, bert_qkv};
use crate::Error;

/// A JinaBERT encoder.
pub(crate) struct Jina {
    architecture: Architecture,
    vocabulary: usize,
    segments: usize,
    /// Whether it is the variant for code, whose tensors have other names.
    code: bool,
}

/// Opens JinaBERT v2.
pub(crate) fn open(config: &Config, tensors: &mut Tensors) -> Result<Box<dyn Family>, Error> {
    tensors.find_prefix("embeddings.word_embeddings.weight")?;
    // The variants' configs are alike, down to `model_type` and `architectures`.
    let code = tensors.has("encoder.layer.0.attention.self.layer_norm_q.weight");
    config.only("feed_forward_type", &["geglu", "reglu"])?;
    let max_tokens = config.size("max_position_embeddings")?;
    let architecture = bert::architecture(config, max_tokens)?;
    Ok(Box::new(Jina {
        vocabulary: config.size("vocab_size")?,
        segments: config.size("type_vocab_size")?,
        architecture: Architecture {
            gated: true,
            activation: config.activation("feed_forward_type", Activation::Gelu)?,
            alibi: Some(slopes(architecture.heads)),
            query_key_norm: if code {
                QueryKeyNorm::Whole
            } else {
                QueryKeyNorm::None
            },
            ..architecture
        },
        code,
    }))
}

/// Returns ALiBi's slope of each head: `2^(-8 i / n)` for a power of two `n`; for other numbers
/// of heads those of the power below, then every second one of the power above.
fn slopes(heads: usize) -> Vec<f32> {
    let of_power =
        |power: usize| (1..=power).map(move |i| (-8.0 * i as f64 / power as f64).exp2() as f32);
    let above = heads.next_power_of_two();
    if above == heads {
        return of_power(heads).collect();
    }
    let below = above / 2;
    let between = of_power(above).step_by(2).take(heads - below);
    of_power(below).chain(between).collect()
}

impl Jina {
    /// Reads the first product; the variant for code has the half that is bent behind the other.
    fn up(&self, tensors: &Tensors, name: &str) -> Result<Dense, Error> {
        let Architecture {
            hidden,
            intermediate,
            ..
        } = self.architecture;
        let mut up = tensors.dense(&[(name, 2 * intermediate)], hidden, false)?;
        if self.code {
            up.weight.rotate_left(intermediate * hidden);
        }
        Ok(up)
    }

    fn query_key_norms(
        &self,
        tensors: &Tensors,
        name: impl Fn(&str) -> String,
    ) -> Result<Option<(NormWeights, NormWeights)>, Error> {
        if !self.code {
            return Ok(None);
        }
        let norm = |part: &str| {
            let name = name(&format!("attention.self.{part}"));
            tensors.norm(&name, self.architecture.hidden, true)
        };
        Ok(Some((norm("layer_norm_q")?, norm("layer_norm_k")?)))
    }
}

impl Family for Jina {
    fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    fn ends(&self, tensors: &Tensors) -> Result<Ends, Error> {
        let rows = (self.vocabulary, self.segments);
        bert_ends(tensors, rows, self.architecture.hidden, BERT_NORM)
    }

    fn layer(&self, tensors: &Tensors, index: usize) -> Result<LayerWeights, Error> {
        let Architecture {
            hidden,
            intermediate,
            ..
        } = self.architecture;
        let name = |part: &str| format!("encoder.layer.{index}.{part}");
        let dense = |part: &str, inputs| tensors.dense(&[(&name(part), hidden)], inputs, true);
        let norm = |part: &str| tensors.norm(&name(part), hidden, true);
        let (up, down, last) = if self.code {
            ("mlp.up_gated_layer", "mlp.down_layer", "layer_norm_2")
        } else {
            ("mlp.gated_layers", "mlp.wo", "mlp.layernorm")
        };
        Ok(LayerWeights {
            qkv: bert_qkv(tensors, index, hidden)?,
            query_key_norms: self.query_key_norms(tensors, name)?,
            out: dense("attention.output.dense", hidden)?,
            attention_norm: Some(norm("attention.output.LayerNorm")?),
            second_attention_norm: if self.code {
                Some(norm("layer_norm_1")?)
            } else {
                None
            },
            up: self.up(tensors, &name(up))?,
            down: dense(down, intermediate)?,
            feed_forward_norm: norm(last)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::slopes;

    #[test]
    fn slopes_are_those_of_the_paper() {
        assert_eq!(slopes(4), [0.25, 0.0625, 0.015625, 0.00390625]);
        assert_eq!(slopes(3), [0.0625, 0.00390625, 0.25]);
        let twelve = slopes(12);
        assert_eq!(twelve.len(), 12);
        assert_eq!(twelve[7], 1.0 / 256.0);
        assert!((twelve[8] - 0.5_f32.sqrt()).abs() < 1e-7);
    }
}
