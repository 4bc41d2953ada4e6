//! One ranking out of two: nearest by meaning, and best by words.
//!
//! Reciprocal rank fusion (Cormack, Clarke and Büttcher, 2009) with a weight for each side: on
//! questions in sentences the dense side is the better one by far, and equal weights lose to it;
//! for a bare symbol the words are.

use std::collections::HashMap;

use cs_store::Hit;

/// Damps the difference between the first ranks; the value of the source.
const K: f64 = 60.0;

/// What the two sides of a fused ranking weigh.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Weights {
    pub(crate) dense: f64,
    pub(crate) text: f64,
}

impl Weights {
    /// Returns the weights for a question: one word with the look of a name is asked by words.
    pub(crate) fn for_question(question: &str) -> Self {
        if is_symbol(question) {
            Self {
                dense: 0.3,
                text: 0.7,
            }
        } else {
            Self {
                dense: 0.6,
                text: 0.4,
            }
        }
    }
}

/// Tells whether a question is a bare or qualified name.
fn is_symbol(question: &str) -> bool {
    let name = |c: char| c.is_alphanumeric() || "_:.$#<>()".contains(c);
    let question = question.trim();
    !question.is_empty() && question.chars().all(name)
}

/// Fuses two rankings; a hit's score is 1 where it is first in both.
pub(crate) fn fuse(dense: Vec<Hit>, text: Vec<Hit>, weights: Weights) -> Vec<Hit> {
    let mut fused: Vec<Hit> = Vec::with_capacity(dense.len() + text.len());
    let mut scores: Vec<f64> = Vec::with_capacity(fused.capacity());
    let mut places: HashMap<(String, Option<String>, Option<u32>), usize> = HashMap::new();
    for (hits, weight) in [(dense, weights.dense), (text, weights.text)] {
        for (rank, hit) in hits.into_iter().enumerate() {
            let share = weight * (K + 1.0) / (K + 1.0 + rank as f64);
            let key = (
                format!("{}\0{}", hit.repo, hit.path),
                hit.chunk_id.clone(),
                hit.start_line,
            );
            match places.get(&key) {
                Some(place) => scores[*place] += share,
                None => {
                    places.insert(key, fused.len());
                    fused.push(hit);
                    scores.push(share);
                }
            }
        }
    }
    for (hit, score) in fused.iter_mut().zip(scores) {
        hit.score = score as f32;
    }
    // Stable: of equal ones the dense side's come first.
    fused.sort_by(|a, b| b.score.total_cmp(&a.score));
    fused
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hits(ids: &[&str]) -> Vec<Hit> {
        let hit = |id: &&str| Hit {
            chunk_id: Some((*id).to_owned()),
            ..Hit::default()
        };
        ids.iter().map(hit).collect()
    }

    #[test]
    fn what_both_sides_found_comes_first_and_once() {
        let weights = Weights {
            dense: 0.5,
            text: 0.5,
        };
        let fused = fuse(hits(&["a", "b", "c"]), hits(&["c", "d"]), weights);
        let ids: Vec<_> = fused
            .iter()
            .filter_map(|hit| hit.chunk_id.as_deref())
            .collect();
        assert_eq!(ids, ["c", "a", "b", "d"]);
        let both = fuse(hits(&["a"]), hits(&["a"]), weights);
        assert!((both[0].score - 1.0).abs() < 1e-6);
    }

    #[test]
    fn names_are_told_from_sentences() {
        for (question, symbol) in [
            ("retry_upload", true),
            ("Index::open", true),
            ("foo.bar()", true),
            ("where are uploads retried?", false),
            ("retry upload", false),
            ("", false),
        ] {
            assert_eq!(is_symbol(question), symbol, "{question}");
        }
    }
}
