//! One list of hits out of those for several wordings of a question.

use std::collections::HashMap;

use crate::args::Mode;
use crate::hit::{Hit, Reason};
use crate::rank;

/// The share of the question's own list; the others have the rest together.
const OWN: f32 = 0.5;

/// Puts lists together, the first that of the question itself: a hit's score is the sum of its
/// scores in the lists, each as a share of the list's best, so that 1 is for what is first in all.
/// What a file's further hits lost in a list is taken back, and taken off once, of all.
///
/// Scores tell more than places, which is what reciprocal rank fusion goes by: measured, that loses
/// what the ranking knew (scripts/bench/results/ranking.md). Each reason names the list
/// (`question`, `part 1`, …).
pub(crate) fn fuse(lists: Vec<Vec<Hit>>, mode: Mode) -> Vec<Hit> {
    let others = lists.len().saturating_sub(1).max(1) as f32;
    let mut places: HashMap<(usize, u64), usize> = HashMap::new();
    let mut fused: Vec<Hit> = Vec::new();
    for (list, hits) in lists.into_iter().enumerate() {
        let (rule, weight) = match list {
            0 => ("question", OWN),
            list => (PARTS[(list - 1).min(PARTS.len() - 1)], (1.0 - OWN) / others),
        };
        let best = hits.iter().map(rank::for_itself).fold(0.0, f32::max);
        for hit in hits {
            let adds = weight * rank::for_itself(&hit) / best.max(f32::MIN_POSITIVE);
            let at = *places.entry((hit.store, hit.row)).or_insert_with(|| {
                fused.push(Hit {
                    score: 0.0,
                    reasons: Vec::new(),
                    ..hit
                });
                fused.len() - 1
            });
            fused[at].score += adds;
            fused[at].reasons.push(Reason { rule, adds });
        }
    }
    rank::arrange(&mut fused, mode);
    fused
}

/// The names of the lists but the first.
const PARTS: [&str; 7] = [
    "part 1", "part 2", "part 3", "part 4", "part 5", "part 6", "part 7",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn list(hits: &[(u64, f32)]) -> Vec<Hit> {
        let hit = |(row, score): &(u64, f32)| Hit {
            row: *row,
            score: *score,
            ..Hit::default()
        };
        hits.iter().map(hit).collect()
    }

    #[test]
    fn what_several_lists_have_comes_first() {
        let lists = vec![
            list(&[(1, 2.0), (2, 1.0), (3, 0.5)]),
            list(&[(3, 9.0), (4, 1.0)]),
            list(&[(3, 0.2), (5, 0.1)]),
        ];
        let fused = fuse(lists, Mode::Hybrid);
        let rows: Vec<u64> = fused.iter().map(|hit| hit.row).collect();
        assert_eq!(rows, [3, 1, 2, 5, 4]);
        for hit in &fused {
            let sum: f32 = hit.reasons.iter().map(|reason| reason.adds).sum();
            assert!((sum - hit.score).abs() < 1e-6);
        }
        assert_eq!(fused[0].reasons.len(), 3);
        let same = || list(&[(7, 3.0)]);
        let all = fuse(vec![same(), same(), same()], Mode::Text);
        assert!((all[0].score - 1.0).abs() < 1e-6, "{all:?}");
    }
}
