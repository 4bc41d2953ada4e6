//! The constants of the ranking, found on the development sets (scripts/bench/results/ranking.md).
//!
//! Change them with `scripts/eval/eval-query.py`, which runs the real binary, and only if the gain holds
//! for languages that were not used to choose them.

use super::Kind;

/// Hits of a file that count for each of them.
pub(super) const FILE_HITS: usize = 8;

/// The factor for a file's second hit, its square for the third, and so on.
pub(super) const AGAIN: f32 = 0.3;

/// Further hits of a file from which the factor stays, so that many keep their order.
pub(super) const MOST_AGAIN: i32 = 5;

/// What each step of a score adds at most, or its factor.
pub(super) struct Weights {
    /// The share of the search by vector; the rest is that of the search by words.
    pub(super) dense: f32,
    /// For the file whose hits say the most together.
    pub(super) file_hits: f32,
    /// For a file's name of which all words are asked for.
    pub(super) file_name: f32,
    /// Besides, if none of them is missing.
    pub(super) whole_file_name: f32,
    /// For folders that have all words of the question.
    pub(super) folders: f32,
    /// For a file that is named as what is asked for.
    pub(super) named_file: f32,
    /// For a path that ends as the one that is asked for.
    pub(super) path: f32,
    /// For the definition of a name that is asked for.
    pub(super) definition: f32,
    /// The factor for tests, unless they are asked for.
    pub(super) test: f32,
    /// The factor for what stands around definitions.
    pub(super) loose: f32,
}

impl Weights {
    /// Returns the weights for a kind of question.
    pub(super) fn of(kind: Kind) -> Self {
        let dense = match kind {
            Kind::Symbol | Kind::Path => 0.3,
            Kind::Mixed => 0.5,
            Kind::Words | Kind::Code => 0.6,
        };
        Self {
            dense,
            file_hits: 0.4,
            file_name: 0.1,
            whole_file_name: 0.2,
            folders: 0.2,
            named_file: 0.4,
            path: match kind {
                Kind::Path => 1.0,
                _ => 0.0,
            },
            definition: 0.3,
            test: 0.3,
            loose: 0.85,
        }
    }
}
