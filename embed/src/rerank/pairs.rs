//! Token ids of pairs: a question and a text as the tokenizer's post-processor puts them together,
//! cut to the model's limit as transformers cuts them ("longest first").
//!
//! The post-processor and the rule of the tokenizer frame and cut the pair, so neither is repeated
//! here. The ids of both texts come from the code for single texts.

use rayon::prelude::*;
use tokenizers::models::bpe::BPE;
use tokenizers::{Encoding, Tokenizer, TruncationParams};

use crate::Error;
use crate::encoder::Text;
use crate::tokens::{BYTES_A_TOKEN, Pieces};

/// A tokenizer for pairs.
pub(super) struct Pairs {
    /// What makes ids of either text.
    pieces: Pieces,
    /// The post-processor and the rule for what is too long: the token that is too much is taken
    /// from the longer one of the two. It has no vocabulary.
    frame: Tokenizer,
    /// The most ids of a pair, special ones included.
    max_tokens: usize,
    /// Whether the model has segments.
    has_segments: bool,
}

/// The tokens of a question and a text.
pub(super) struct Pair {
    ids: Vec<u32>,
    segments: Vec<u32>,
}

impl Pair {
    /// Returns them as engines take them.
    pub(super) fn text(&self) -> Text<'_> {
        Text {
            ids: &self.ids,
            segments: &self.segments,
        }
    }
}

impl Pairs {
    /// Sets a tokenizer up for at most `max_tokens` ids a pair.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if it cannot be set up so.
    pub(super) fn new(
        tokenizer: Tokenizer,
        max_tokens: usize,
        has_segments: bool,
    ) -> Result<Self, Error> {
        let mut frame = Tokenizer::new(BPE::default());
        frame.with_post_processor(tokenizer.get_post_processor().cloned());
        let truncation = TruncationParams {
            max_length: max_tokens,
            ..TruncationParams::default()
        };
        frame
            .with_truncation(Some(truncation))
            .map_err(Error::Tokenizer)?;
        Ok(Self {
            pieces: Pieces::new(tokenizer)?,
            frame,
            max_tokens,
            has_segments,
        })
    }

    /// Returns the tokens of a question with each of some texts.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the tokenizer fails.
    pub(super) fn encode_all(&self, question: &str, texts: &[String]) -> Result<Vec<Pair>, Error> {
        let question = self.ids(question)?;
        let pair = |text: &String| self.pair(question.clone(), self.ids(text)?);
        texts.par_iter().map(pair).collect()
    }

    /// Returns the ids of a text: no more than a pair may have, as more would be cut anyway.
    fn ids(&self, text: &str) -> Result<Vec<u32>, Error> {
        let bytes = self.max_tokens.saturating_mul(BYTES_A_TOKEN);
        let mut ids = Vec::new();
        let text = &text[..text.floor_char_boundary(bytes)];
        self.pieces.append(text, self.max_tokens, &mut ids)?;
        Ok(ids)
    }

    fn pair(&self, question: Vec<u32>, text: Vec<u32>) -> Result<Pair, Error> {
        let (question, text) = (encoding(question), encoding(text));
        let made = self.frame.post_process(question, Some(text), true);
        let made = made.map_err(Error::Tokenizer)?;
        Ok(Pair {
            ids: made.get_ids().to_vec(),
            segments: match self.has_segments {
                true => made.get_type_ids().to_vec(),
                false => Vec::new(),
            },
        })
    }
}

/// Makes of ids what post-processors take; they look at nothing else.
fn encoding(ids: Vec<u32>) -> Encoding {
    let count = ids.len();
    Encoding::new(
        ids,
        vec![0; count],
        vec![String::new(); count],
        vec![None; count],
        vec![(0, 0); count],
        vec![0; count],
        vec![1; count],
        Vec::new(),
        Default::default(),
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Reference {
        rows: Vec<Row>,
    }

    #[derive(Deserialize)]
    struct Row {
        question: String,
        document: String,
        ids: Vec<u32>,
        types: Option<Vec<u32>>,
    }

    /// The pairs that are too long among them are cut in every way there is.
    #[test]
    fn ids_and_types_of_pairs_are_those_of_transformers() {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/rerankers");
        let mut seen = 0;
        for family in ["bert", "xlm-roberta", "modernbert"] {
            let folder = data.join(family);
            let tokenizer = Tokenizer::from_file(folder.join("tokenizer.json")).unwrap();
            let pairs = Pairs::new(tokenizer, 64, true).unwrap();
            let json = std::fs::read(folder.join("reference.json")).unwrap();
            let reference: Reference = serde_json::from_slice(&json).unwrap();
            for row in reference.rows {
                let made = pairs.encode_all(&row.question, &[row.document]).unwrap();
                assert_eq!(made[0].ids, row.ids, "{family}: {:?}", row.question);
                if let Some(types) = row.types {
                    assert_eq!(made[0].segments, types, "{family}: {:?}", row.question);
                }
                seen += 1;
            }
        }
        assert_eq!(seen, 42);
    }
}
