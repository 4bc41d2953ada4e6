//! Static models: one vector a token, their weighted mean, normalised if the model says so.
//!
//! They follow model2vec's `StaticModel.encode` (0.10): a text is cut, its ids are looked up,
//! those of unknown tokens dropped, and rows times weights are averaged. Two things differ: a
//! text without any known token has the row of the unknown token where model2vec returns zeros,
//! which no store takes; and vectors of a model in f16 are not rounded to f16.

mod builtin;
mod folder;
mod numbers;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cs_common::metadata::Model;
use memmap2::Mmap;
use rayon::prelude::*;

use crate::tokens::Pieces;
use crate::{Embedder, Error, Prepared};
use numbers::Numbers;

pub(crate) use builtin::{BYTES, ID};
pub(crate) use folder::Layout;

/// A table of token vectors, with the tokenizer whose ids are looked up in it.
pub(crate) struct StaticModel {
    pieces: Pieces,
    arch: pulp::Arch,
    /// The vectors, one after the other.
    rows: Numbers,
    /// A factor for each id.
    weights: Option<Numbers>,
    /// The row of each id, where it is not the id.
    mapping: Option<Vec<u32>>,
    /// The id that tells that a word is in no vocabulary.
    unknown: Option<u32>,
    /// Characters of a text that are looked at.
    characters: usize,
    /// Tokens that were looked up since somebody asked.
    tokens: AtomicU64,
    model: Model,
}

/// Where a model's numbers lie.
#[derive(Clone)]
pub(crate) enum Memory {
    /// In the binary.
    Binary(&'static [u8]),
    /// In a file that is mapped.
    File(Arc<Mmap>),
}

impl Memory {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Binary(bytes) => bytes,
            Self::File(map) => map,
        }
    }
}

impl StaticModel {
    /// Returns the mean of the rows of ids that are known.
    fn pool(&self, ids: &[u32]) -> Vec<f32> {
        let mut sum = vec![0.0_f32; self.model.dim];
        self.arch.dispatch(Sum {
            model: self,
            ids,
            sum: &mut sum,
        });
        let length = if self.model.normalized {
            sum.iter().map(|value| value * value).sum::<f32>().sqrt()
        } else {
            ids.len() as f32
        };
        if length > 0.0 {
            sum.iter_mut().for_each(|value| *value /= length);
        }
        sum
    }

    /// Makes `ids` the known ids of a text; of one without any, that of an unknown token.
    fn look_up(&self, text: &str, ids: &mut Vec<u32>) -> Result<(), Error> {
        ids.clear();
        let limit = self.model.max_tokens.unwrap_or(usize::MAX);
        self.pieces
            .append(start(text, self.characters), limit, ids)?;
        if let Some(unknown) = self.unknown {
            ids.retain(|id| *id != unknown);
            if ids.is_empty() {
                ids.push(unknown);
            }
        }
        Ok(())
    }
}

/// Returns the first characters of a text.
fn start(text: &str, characters: usize) -> &str {
    // A character is a byte at least.
    if text.len() <= characters {
        return text;
    }
    let end = text.char_indices().nth(characters);
    end.map_or(text, |(end, _)| &text[..end])
}

/// Adds the weighted rows of ids up; compiled for each set of vector instructions, as long as all
/// of it is inlined where it is dispatched.
struct Sum<'a> {
    model: &'a StaticModel,
    ids: &'a [u32],
    sum: &'a mut [f32],
}

impl pulp::NullaryFnOnce for Sum<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        self.model.rows.visit(self);
    }
}

impl numbers::Visitor for Sum<'_> {
    #[inline(always)]
    fn visit<N: numbers::Number>(self, rows: &[u8]) {
        let width = self.sum.len() * N::BYTES;
        for id in self.ids {
            let id = *id as usize;
            let row = match &self.model.mapping {
                Some(mapping) => mapping[id] as usize,
                None => id,
            };
            let weight = match &self.model.weights {
                Some(weights) => weights.get(id),
                None => 1.0,
            };
            let row = rows[row * width..(row + 1) * width].chunks_exact(N::BYTES);
            for (total, value) in self.sum.iter_mut().zip(row) {
                *total += weight * N::read(value);
            }
        }
    }
}

impl Embedder for StaticModel {
    fn model(&self) -> &Model {
        &self.model
    }

    fn window(&self) -> usize {
        1024
    }

    fn cache_key(&self) -> Result<Option<String>, Error> {
        // A look-up of some rows is all that this model does.
        Ok(None)
    }

    fn prepare(&self, texts: Vec<String>) -> Result<Prepared, Error> {
        Ok(Prepared::Texts(texts))
    }

    fn run(&self, texts: Prepared) -> Result<Vec<Vec<f32>>, Error> {
        match texts {
            Prepared::Texts(texts) => texts
                .par_iter()
                .map_init(Vec::new, |ids, text| {
                    self.look_up(text, ids)?;
                    self.tokens.fetch_add(ids.len() as u64, Ordering::Relaxed);
                    Ok(self.pool(ids))
                })
                .collect(),
            Prepared::Ids(ids) => Ok(ids.par_iter().map(|ids| self.pool(ids)).collect()),
        }
    }

    fn take_tokens(&self) -> u64 {
        self.tokens.swap(0, Ordering::Relaxed)
    }
}

/// Returns a digest in lower-case hexadecimal digits.
pub(crate) fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
