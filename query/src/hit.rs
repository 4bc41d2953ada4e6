//! A hit: a chunk, where it stands among the others, and why.

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch};

use crate::place::Place;
use crate::rerank::SecondLook;

/// A chunk that answers a question.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Hit {
    /// Which of the stores it is in.
    pub(crate) store: usize,
    /// Where its row is there.
    pub(crate) row: u64,
    /// How well it fits; what the number means depends on the mode.
    pub(crate) score: f32,
    pub(crate) place: Place,
    /// Its text, once it has been read.
    pub(crate) content: String,
    /// Cosine similarity, if it was found by vector.
    pub(crate) dense: Option<f32>,
    /// BM25 score, if it was found by words.
    pub(crate) text: Option<f32>,
    /// What was added to the score or taken from it, in the order in which that was done.
    pub(crate) reasons: Vec<Reason>,
    /// What a second look changed, if there was one.
    pub(crate) second_look: Option<SecondLook>,
}

/// A step in the making of a score.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub(crate) struct Reason {
    /// What was found.
    pub(crate) rule: &'static str,
    /// What it added to the score; negative if it took away.
    pub(crate) adds: f32,
}

/// Returns the texts of a column, empty ones where there are none.
pub(crate) fn texts(batch: &RecordBatch, name: &str) -> Vec<String> {
    let array = batch
        .column_by_name(name)
        .and_then(|array| array.as_string_opt::<i32>());
    let text = |row: usize| {
        let array = array.filter(|array| array.is_valid(row))?;
        Some(array.value(row).to_owned())
    };
    (0..batch.num_rows())
        .map(|row| text(row).unwrap_or_default())
        .collect()
}
