//! The built-in model, which is part of the binary and used where it lies there.
//!
//! Its files are those of a model2vec folder: `embeddings`, a row of eight-bit numbers for each
//! token, and `weights`, the factor of each row. The build script makes the tokenizer's tables.

use std::path::Path;

use tokenizers::Tokenizer;

use super::folder::{self, Parts};
use super::{Memory, StaticModel};
use crate::Error;
use crate::tokens::Pieces;
use crate::wordpiece::WordPiece;

include!(concat!(env!("OUT_DIR"), "/builtin.rs"));

/// The model's name, in arguments and in streams.
pub(crate) const ID: &str = "builtin";

static WEIGHTS: &[u8] = include_bytes!("../../model/model.safetensors");
static TOKENIZER: &[u8] = include_bytes!("../../model/tokenizer.json");

/// Bytes of the model's files.
pub(crate) const BYTES: u64 = (WEIGHTS.len() + TOKENIZER.len()) as u64;

impl StaticModel {
    /// Takes the model out of the binary, with a limit of tokens if one is asked for.
    ///
    /// # Errors
    /// [`Error::Model`] if the binary was built with other files than it should have.
    pub(crate) fn builtin(max_tokens: Option<usize>) -> Result<Self, Error> {
        let path = Path::new("the built-in model");
        let wordpiece = wordpiece();
        let unknown = Some(wordpiece.unknown);
        // A limit of tokens is one of characters as well, which takes the whole vocabulary.
        let characters = match max_tokens {
            None => usize::MAX,
            Some(limit) => {
                let tokenizer = Tokenizer::from_bytes(TOKENIZER);
                let tokenizer = tokenizer.map_err(|error| Error::model(path, error))?;
                folder::characters(&tokenizer, limit)
            }
        };
        let parts = Parts {
            path,
            memory: Memory::Binary(WEIGHTS),
            embeddings: "embeddings",
            id: ID,
            sha256: SHA256.to_owned(),
            pieces: Pieces::compiled(wordpiece, TOKENIZER),
            unknown,
            last_id: LAST_ID,
            characters,
            max_tokens,
            normalized: true,
        };
        parts.model()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Embedder as _;

    fn cosine(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    #[test]
    fn every_text_has_a_vector_of_length_one() {
        let model = StaticModel::builtin(None).unwrap();
        let texts = ["", " ", "\n", "fn main() {}", "größe 漢字 🦀", "\u{0}"];
        for (text, vector) in texts.iter().zip(model.embed(&texts).unwrap()) {
            assert_eq!(vector.len(), model.model().dim);
            assert!((cosine(&vector, &vector) - 1.0).abs() < 1e-5, "{text:?}");
        }
    }

    #[test]
    fn what_means_alike_lies_nearer() {
        let model = StaticModel::builtin(None).unwrap();
        let texts = [
            "read a file from disk",
            "fn load(path: &Path) -> io::Result<String> { fs::read_to_string(path) }",
            "fn sum(numbers: &[i32]) -> i32 { numbers.iter().sum() }",
        ];
        let v = model.embed(&texts).unwrap();
        assert!(cosine(&v[0], &v[1]) > cosine(&v[0], &v[2]) + 0.05);
    }
}
