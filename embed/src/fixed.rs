//! The built-in model: one vector a token, their weighted sum normalised. It is part of the binary.
//!
//! Its files are laid out as model2vec's: `embeddings`, a row of eight-bit numbers for each
//! token, and `weights`, the factor of each row. `scripts/train-builtin` makes them.

use cs_common::metadata::Model;
use rayon::prelude::*;
use safetensors::{Dtype, SafeTensors};
use sha2::{Digest as _, Sha256};
use std::path::Path;
use tokenizers::Tokenizer;

use crate::tokens::Encoder;
use crate::{Embedder, Error};

/// The model's name, in arguments and in streams.
pub(crate) const ID: &str = "builtin";

static WEIGHTS: &[u8] = include_bytes!("../model/model.safetensors");
static TOKENIZER: &[u8] = include_bytes!("../model/tokenizer.json");

/// The built-in static model.
pub(crate) struct StaticModel {
    encoder: Encoder,
    arch: pulp::Arch,
    rows: &'static [u8],
    weights: Vec<f32>,
    model: Model,
}

impl StaticModel {
    /// Takes the model out of the binary; the rows are used where they lie.
    ///
    /// # Errors
    /// [`Error::Model`] if the binary was built with other files than the script makes.
    pub(crate) fn load() -> Result<Self, Error> {
        let path = Path::new("the built-in model");
        let wrong = |cause: &str| Error::model(path, cause);
        let tensors = SafeTensors::deserialize(WEIGHTS).map_err(|e| Error::model(path, e))?;
        let embeddings = tensors
            .tensor("embeddings")
            .map_err(|e| Error::model(path, e))?;
        let weights = tensors
            .tensor("weights")
            .map_err(|e| Error::model(path, e))?;
        let (Dtype::I8, [tokens, dim]) = (embeddings.dtype(), embeddings.shape()) else {
            return Err(wrong("its embeddings are no rows of eight-bit numbers"));
        };
        if weights.dtype() != Dtype::F32 || weights.shape() != [*tokens] {
            return Err(wrong("it has not one weight a token"));
        }
        let tokenizer =
            Tokenizer::from_bytes(TOKENIZER).map_err(|error| Error::model(path, error))?;
        let encoder = Encoder::new(tokenizer, None)?;
        if encoder.vocabulary() != *tokens {
            return Err(wrong("its tokenizer has another vocabulary"));
        }
        Ok(Self {
            encoder,
            arch: pulp::Arch::new(),
            weights: weights
                .data()
                .chunks_exact(size_of::<f32>())
                .map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
                .collect(),
            rows: embeddings.data(),
            model: Model {
                id: ID.to_owned(),
                sha256: hex(&Sha256::digest(WEIGHTS)),
                dim: *dim,
                dtype: "int8".to_owned(),
                pooling: "weighted-mean".to_owned(),
                normalized: true,
                max_tokens: None,
                query_prefix: String::new(),
                document_prefix: String::new(),
            },
        })
    }

    fn pool(&self, ids: &[u32]) -> Vec<f32> {
        let mut sum = vec![0.0_f32; self.model.dim];
        self.arch.dispatch(|| self.add(ids, &mut sum));
        let norm = sum.iter().map(|value| value * value).sum::<f32>().sqrt();
        if norm > 0.0 {
            sum.iter_mut().for_each(|value| *value /= norm);
        }
        sum
    }

    /// Adds up the weighted rows of tokens; compiled for each set of vector instructions, as long
    /// as it is inlined where it is dispatched.
    #[inline(always)]
    fn add(&self, ids: &[u32], sum: &mut [f32]) {
        for id in ids {
            let id = *id as usize;
            let row = &self.rows[id * sum.len()..(id + 1) * sum.len()];
            let weight = self.weights[id];
            for (total, value) in sum.iter_mut().zip(row) {
                *total += weight * f32::from(*value as i8);
            }
        }
    }

    /// Returns the ids of a text; of one without any token, that of an unknown token.
    fn ids(&self, text: &str) -> Result<Vec<u32>, Error> {
        let ids = self.encoder.encode(text)?;
        if !ids.is_empty() {
            return Ok(ids);
        }
        let unknown = self.encoder.id("[UNK]");
        Ok(unknown.into_iter().collect())
    }
}

impl Embedder for StaticModel {
    fn model(&self) -> &Model {
        &self.model
    }

    fn window(&self) -> usize {
        1024
    }

    fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, Error> {
        texts
            .par_iter()
            .map(|text| self.ids(text).map(|ids| self.pool(&ids)))
            .collect()
    }
}

/// Returns a digest in lower-case hexadecimal digits.
pub(crate) fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cosine(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    #[test]
    fn every_text_has_a_vector_of_length_one() {
        let model = StaticModel::load().unwrap();
        let texts = ["", " ", "\n", "fn main() {}", "größe 漢字 🦀", "\u{0}"];
        for (text, vector) in texts.iter().zip(model.embed(&texts).unwrap()) {
            assert_eq!(vector.len(), model.model().dim);
            assert!((cosine(&vector, &vector) - 1.0).abs() < 1e-5, "{text:?}");
        }
    }

    #[test]
    fn what_means_alike_lies_nearer() {
        let model = StaticModel::load().unwrap();
        let texts = [
            "read a file from disk",
            "fn load(path: &Path) -> io::Result<String> { fs::read_to_string(path) }",
            "fn sum(numbers: &[i32]) -> i32 { numbers.iter().sum() }",
        ];
        let v = model.embed(&texts).unwrap();
        assert!(cosine(&v[0], &v[1]) > cosine(&v[0], &v[2]) + 0.05);
    }
}
