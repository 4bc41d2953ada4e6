//! One ranking out of what two searches found.
//!
//! The base of a score is what the two searches say, each scaled to the range from 0 to 1 and
//! weighted by the kind of question. Then come other properties of the rows: other hits in the
//! file, names of files and folders, definitions of names in the question; and factors for what is
//! seldom meant. Last, the further hits of a file are put back, so that no file floods the list. A
//! score is a sum of named steps, which `--explain` prints. scripts/bench/results/ranking.md has the
//! effect of each step.
//!
//! The ranking reads kind, name and path of a row, never its text: 200 texts would cost more than
//! the search.

mod paths;
mod question;
mod weights;
mod words;

use std::collections::{HashMap, HashSet};

use crate::args::Mode;
use crate::hit::{Hit, Reason};
use crate::place::Place;

pub(crate) use question::{Kind, Question};
pub(crate) use words::is_stop_word;

use weights::{AGAIN, FILE_HITS, MOST_AGAIN, Weights};

/// A chunk that a search found.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    /// Which of the stores it is in.
    pub(crate) store: usize,
    /// Where its row is there.
    pub(crate) row: u64,
    /// Cosine similarity, if it was found by vector.
    pub(crate) dense: Option<f32>,
    /// BM25 score, if it was found by words.
    pub(crate) text: Option<f32>,
    pub(crate) place: Place,
}

impl Candidate {
    pub(crate) fn new(store: usize, row: u64) -> Self {
        Self {
            store,
            row,
            dense: None,
            text: None,
            place: Place::default(),
        }
    }

    fn into_hit(self, score: Score) -> Hit {
        Hit {
            store: self.store,
            row: self.row,
            score: score.sum,
            place: self.place,
            content: String::new(),
            dense: self.dense,
            text: self.text,
            reasons: score.reasons,
            second_look: None,
        }
    }

    /// Tells apart the files of candidates.
    fn file(&self) -> (usize, &str, &str) {
        (self.store, &self.place.repo, &self.place.path)
    }
}

/// A score, and how it was made.
#[derive(Clone, Debug, Default)]
struct Score {
    sum: f32,
    reasons: Vec<Reason>,
}

impl Score {
    fn add(&mut self, rule: &'static str, adds: f32) {
        if adds != 0.0 {
            self.sum += adds;
            self.reasons.push(Reason { rule, adds });
        }
    }

    fn multiply(&mut self, rule: &'static str, factor: f32) {
        self.add(rule, self.sum * (factor - 1.0));
    }
}

/// Puts candidates in order, the best first.
pub(crate) fn order(question: &Question, mode: Mode, candidates: Vec<Candidate>) -> Vec<Hit> {
    let scores = match mode {
        Mode::Dense => alone("cosine", candidates.iter().map(|candidate| candidate.dense)),
        Mode::Text => alone("bm25", candidates.iter().map(|candidate| candidate.text)),
        Mode::Hybrid => hybrid(question, &candidates),
    };
    let mut hits: Vec<Hit> = candidates
        .into_iter()
        .zip(scores)
        .map(|(candidate, score)| candidate.into_hit(score))
        .collect();
    arrange(&mut hits, mode);
    hits
}

/// Puts scored hits in order, the best first; in a hybrid search a file's further hits further down.
pub(crate) fn arrange(hits: &mut [Hit], mode: Mode) {
    sort(hits);
    if mode == Mode::Hybrid {
        put_back(hits);
        sort(hits);
    }
}

/// Returns a hit's score as it was before it was put back behind its file's other hits.
pub(crate) fn for_itself(hit: &Hit) -> f32 {
    let again = hit
        .reasons
        .iter()
        .filter(|reason| reason.rule == AGAIN_RULE);
    hit.score - again.map(|reason| reason.adds).sum::<f32>()
}

/// Scores what one side found as that side does.
fn alone(rule: &'static str, scores: impl Iterator<Item = Option<f32>>) -> Vec<Score> {
    scores
        .map(|found| {
            let mut score = Score::default();
            score.add(rule, found.unwrap_or_default());
            score
        })
        .collect()
}

/// Scores by all that is known.
fn hybrid(question: &Question, candidates: &[Candidate]) -> Vec<Score> {
    let weights = Weights::of(question.kind());
    let mut scores = fused(&weights, candidates);
    add_file_hits(&weights, candidates, &mut scores);
    let asked: HashSet<&str> = question.stems().iter().map(String::as_str).collect();
    let mut files = HashMap::new();
    for (candidate, score) in candidates.iter().zip(&mut scores) {
        let path = files
            .entry(candidate.file())
            .or_insert_with(|| paths::Match::of(&candidate.place.path, question, &asked));
        score.add("file name", weights.file_name * path.name_share);
        score.add(
            "whole file name",
            weights.whole_file_name * f32::from(u8::from(path.is_whole_name)),
        );
        score.add("folders", weights.folders * path.folder_share);
        score.add(
            "named file",
            weights.named_file * f32::from(u8::from(path.is_named)),
        );
        score.add("path", weights.path * path.end_share);
        if defines(&candidate.place, question.names()) {
            score.add("definition", weights.definition);
        }
        let is_test = path.is_test || is_in_tests(&candidate.place);
        if is_test && !question.is_about_tests() {
            score.multiply("test", weights.test);
        }
        if is_loose(&candidate.place) {
            score.multiply("loose text", weights.loose);
        }
    }
    scores
}

/// Returns what the two searches say: 1 for what is first in both.
fn fused(weights: &Weights, candidates: &[Candidate]) -> Vec<Score> {
    let bounds = |of: fn(&Candidate) -> Option<f32>| {
        let found = candidates.iter().filter_map(of);
        let (low, high) = found.fold((f32::MAX, f32::MIN), |(low, high), score| {
            (low.min(score), high.max(score))
        });
        (low, high)
    };
    // A cosine has no zero of its own: the last of those that were found is taken for it.
    let (low, high) = bounds(|candidate| candidate.dense);
    let (_, most) = bounds(|candidate| candidate.text);
    let share = |score: f32, low: f32, high: f32| match high > low {
        true => (score - low) / (high - low),
        false => 1.0,
    };
    candidates
        .iter()
        .map(|candidate| {
            let mut score = Score::default();
            if let Some(cosine) = candidate.dense {
                score.add("meaning", weights.dense * share(cosine, low, high));
            }
            if let Some(bm25) = candidate.text {
                score.add("words", (1.0 - weights.dense) * share(bm25, 0.0, most));
            }
            score
        })
        .collect()
}

/// Adds what the best hits of a file say together, as a share of the best file's.
fn add_file_hits(weights: &Weights, candidates: &[Candidate], scores: &mut [Score]) {
    let mut files: HashMap<_, Vec<f32>> = HashMap::new();
    for (candidate, score) in candidates.iter().zip(scores.iter()) {
        files.entry(candidate.file()).or_default().push(score.sum);
    }
    let sums: HashMap<_, f32> = files
        .into_iter()
        .map(|(file, mut scores)| {
            scores.sort_by(|a, b| b.total_cmp(a));
            (file, scores.into_iter().take(FILE_HITS).sum())
        })
        .collect();
    let most = sums.values().copied().fold(0.0, f32::max);
    if most > 0.0 {
        for (candidate, score) in candidates.iter().zip(scores) {
            let sum = sums.get(&candidate.file()).copied().unwrap_or_default();
            score.add("file", weights.file_hits * sum / most);
        }
    }
}

/// Tells whether a chunk defines one of the names.
fn defines(place: &Place, names: &[String]) -> bool {
    let Some(name) = place.name.as_deref() else {
        return false;
    };
    let is_definition = !matches!(
        place.kind.as_deref(),
        None | Some("import" | "block" | "text" | "section" | "entry" | "document" | "cell")
    );
    is_definition && names.iter().any(|asked| asked == name)
}

/// Tells whether a chunk is in a module of tests, as Rust has them beside the code.
fn is_in_tests(place: &Place) -> bool {
    let symbol = place.symbol.as_deref().unwrap_or_default();
    let mut parts = symbol.split([':', '.', '#']).rev().skip(1);
    parts.any(|part| matches!(part, "test" | "tests"))
}

/// Tells whether a chunk is text around definitions, which is seldom what is looked for.
fn is_loose(place: &Place) -> bool {
    matches!(
        place.kind.as_deref(),
        Some("import" | "text" | "section" | "entry" | "block" | "document")
    )
}

/// What a file's further hits lose.
const AGAIN_RULE: &str = "file again";

/// Puts back the further hits of a file, each more than the one before it.
fn put_back(hits: &mut [Hit]) {
    let mut seen: HashMap<(usize, String, String), i32> = HashMap::new();
    for hit in hits {
        let file = (hit.store, hit.place.repo.clone(), hit.place.path.clone());
        let before = seen.entry(file).or_default();
        if *before > 0 && !hit.place.path.is_empty() {
            let adds = hit.score * (AGAIN.powi((*before).min(MOST_AGAIN)) - 1.0);
            hit.score += adds;
            hit.reasons.push(Reason {
                rule: AGAIN_RULE,
                adds,
            });
        }
        *before += 1;
    }
}

/// Sorts hits by score; equal ones by where they are, so that each run gives the same order.
fn sort(hits: &mut [Hit]) {
    hits.sort_by(|a, b| {
        let place = |hit: &Hit| (hit.store, hit.place.start_line, hit.row);
        let file = |hit: &Hit| (hit.place.repo.clone(), hit.place.path.clone());
        b.score
            .total_cmp(&a.score)
            .then_with(|| file(a).cmp(&file(b)))
            .then_with(|| place(a).cmp(&place(b)))
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes a candidate of a path, a kind, a name, and what the searches say.
    fn candidate(path: &str, (kind, name): (&str, &str), found: (f32, f32)) -> Candidate {
        let some = |score: f32| (score > 0.0).then_some(score);
        Candidate {
            dense: some(found.0),
            text: some(found.1),
            place: Place {
                path: path.to_owned(),
                kind: Some(kind.to_owned()),
                name: Some(name.to_owned()),
                ..Place::default()
            },
            ..Candidate::new(0, 0)
        }
    }

    fn ranked(question: &str, candidates: Vec<Candidate>) -> Vec<(String, String)> {
        let hits = order(&Question::new(question), Mode::Hybrid, candidates);
        for hit in &hits {
            let sum: f32 = hit.reasons.iter().map(|reason| reason.adds).sum();
            assert!((sum - hit.score).abs() < 1e-5, "{hit:?}");
        }
        let name = |hit: Hit| (hit.place.path, hit.place.name.unwrap_or_default());
        hits.into_iter().map(name).collect()
    }

    #[test]
    fn a_definition_comes_before_what_uses_it() {
        let found = ranked(
            "open_door",
            vec![
                candidate("use.rs", ("function", "main"), (0.5, 9.0)),
                candidate("tests/door.rs", ("function", "open_door"), (0.6, 9.0)),
                candidate("house.rs", ("function", "open_door"), (0.5, 8.0)),
                candidate("lib.rs", ("import", "open_door"), (0.5, 9.0)),
            ],
        );
        assert_eq!(found[0].0, "house.rs", "{found:?}");
        assert_eq!(found[3].0, "tests/door.rs", "{found:?}");
    }

    #[test]
    fn tests_stay_where_they_are_if_they_are_asked_for() {
        let candidates = || {
            vec![
                candidate("src/a.rs", ("function", "a"), (0.5, 1.0)),
                candidate("tests/a.rs", ("function", "b"), (0.6, 1.2)),
                candidate("src/b.rs", ("function", "c"), (0.1, 0.2)),
            ]
        };
        assert_eq!(ranked("retry of uploads", candidates())[0].0, "src/a.rs");
        assert_eq!(ranked("tests of uploads", candidates())[0].0, "tests/a.rs");
    }

    #[test]
    fn modules_of_tests_are_tests() {
        let mut inside = candidate("a.rs", ("function", "retry"), (0.6, 2.0));
        for (symbol, expected) in [
            ("tests::retry", true),
            ("net::test::retry", true),
            ("tests", false),
            ("latest::retry", false),
        ] {
            inside.place.symbol = Some(symbol.to_owned());
            assert_eq!(is_in_tests(&inside.place), expected, "{symbol}");
        }
    }

    #[test]
    fn a_file_does_not_flood_the_list() {
        let mut candidates: Vec<Candidate> = (0..9)
            .map(|n| {
                candidate(
                    "a.rs",
                    ("function", &format!("f{n}")),
                    (0.9 - n as f32 / 100.0, 5.0),
                )
            })
            .collect();
        candidates.push(candidate("b.rs", ("function", "g"), (0.5, 2.0)));
        candidates.push(candidate("c.rs", ("function", "h"), (0.4, 1.0)));
        let found = ranked("how does it work", candidates);
        assert_eq!(found[0], ("a.rs".to_owned(), "f0".to_owned()));
        assert!(found[..4].iter().any(|hit| hit.0 == "b.rs"), "{found:?}");
        // What follows of the file keeps its order.
        let rest: Vec<&str> = found
            .iter()
            .filter(|hit| hit.0 == "a.rs")
            .map(|hit| hit.1.as_str())
            .collect();
        assert!(rest.is_sorted(), "{rest:?}");
    }

    #[test]
    fn one_side_alone_is_not_ranked() {
        let candidates = vec![
            candidate("tests/a.rs", ("function", "a"), (0.9, 0.0)),
            candidate("a.rs", ("function", "a"), (0.8, 0.0)),
        ];
        let hits = order(&Question::new("a"), Mode::Dense, candidates);
        assert_eq!(
            (hits[0].score, hits[0].place.path.as_str()),
            (0.9, "tests/a.rs")
        );
        assert!(order(&Question::new("a"), Mode::Hybrid, Vec::new()).is_empty());
    }
}
