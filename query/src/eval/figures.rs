//! The figures of a question, as BEIR and TREC have them, with answers that are right or wrong.

use super::targets::Target;
use crate::hit::Hit;

/// How many hits count.
pub(super) const TOP: usize = 10;

/// How well a question was answered, each from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Figures {
    /// Normalised discounted cumulative gain.
    pub(super) ndcg: f64,
    /// One through the rank of the first right hit.
    pub(super) mrr: f64,
    /// The share of the answers that were found.
    pub(super) recall: f64,
}

impl Figures {
    /// Looks for answers among the first hits; a hit is one answer at most, and an answer counts
    /// once.
    pub(super) fn of(hits: &[Hit], targets: &[Target]) -> Self {
        let mut open: Vec<&Target> = targets.iter().collect();
        let mut figures = Self::default();
        let mut found = 0_usize;
        let gain = |rank: usize| 1.0 / (rank as f64 + 1.0).log2();
        for (rank, hit) in (1..=TOP).zip(hits) {
            let Some(at) = open.iter().position(|target| target.fits(hit)) else {
                continue;
            };
            open.swap_remove(at);
            figures.ndcg += gain(rank);
            found += 1;
            if found == 1 {
                figures.mrr = 1.0 / rank as f64;
            }
        }
        let ideal: f64 = (1..=targets.len().min(TOP)).map(gain).sum();
        figures.ndcg /= ideal;
        figures.recall = found as f64 / targets.len() as f64;
        figures
    }

    /// Returns the three figures with their names.
    pub(super) fn named(&self) -> [(&'static str, f64); 3] {
        [
            ("ndcg@10", self.ndcg),
            ("mrr@10", self.mrr),
            ("recall@10", self.recall),
        ]
    }

    /// Returns the means of figures.
    pub(super) fn mean(all: &[Self]) -> Self {
        let count = all.len().max(1) as f64;
        let mean = |of: fn(&Self) -> f64| all.iter().map(of).sum::<f64>() / count;
        Self {
            ndcg: mean(|one| one.ndcg),
            mrr: mean(|one| one.mrr),
            recall: mean(|one| one.recall),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::Place;

    #[test]
    fn figures_are_those_of_the_books() {
        let hits: Vec<Hit> = ["x", "a", "a", "b"]
            .iter()
            .map(|path| Hit {
                place: Place {
                    path: (*path).to_owned(),
                    ..Place::default()
                },
                ..Hit::default()
            })
            .collect();
        let target = |path: &str| -> Target {
            serde_json::from_str(&format!(r#"{{"path": "{path}"}}"#)).unwrap()
        };
        let figures = Figures::of(&hits, &[target("a"), target("b"), target("c")]);
        let gain = |rank: f64| 1.0 / (rank + 1.0).log2();
        let ideal = gain(1.0) + gain(2.0) + gain(3.0);
        assert!((figures.ndcg - (gain(2.0) + gain(4.0)) / ideal).abs() < 1e-12);
        assert!((figures.mrr - 0.5).abs() < 1e-12);
        assert!((figures.recall - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!(Figures::of(&[], &[target("a")]), Figures::default());
    }
}
