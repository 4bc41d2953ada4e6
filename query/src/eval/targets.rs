//! What the right answers to a question are.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::{lines, named};
use crate::Error;
use crate::hit::Hit;

/// A right answer: a chunk by its id, or a file, or lines of it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Target {
    /// An id of a chunk or a document, or a path.
    #[serde(alias = "chunk_id")]
    doc: Option<String>,
    path: Option<String>,
    repo: Option<String>,
    start_line: Option<u32>,
    end_line: Option<u32>,
    score: Option<f32>,
}

#[derive(Deserialize)]
struct Record {
    query: Option<Value>,
    #[serde(flatten)]
    target: Target,
}

/// The right answers to all questions.
pub(super) struct Targets(HashMap<String, Vec<Target>>);

impl Targets {
    /// Reads a file of answers; those with a score of 0 or less are wrong ones.
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let mut targets: HashMap<String, Vec<Target>> = HashMap::new();
        for (line, text) in lines(path)? {
            let fail = |cause: String| Error::Line {
                path: path.to_owned(),
                line,
                cause,
            };
            let record: Record = serde_json::from_str(&text)
                .map_err(|error| fail(format!("not an answer as JSON: {error}")))?;
            let query = record
                .query
                .ok_or_else(|| fail("the answer names no `query`".to_owned()))?;
            let target = record.target;
            if target.doc.is_none() && target.path.is_none() {
                return Err(fail("the answer has neither `doc` nor `path`".to_owned()));
            }
            if target.score.is_none_or(|score| score > 0.0) {
                targets.entry(named(&query)).or_default().push(target);
            }
        }
        Ok(Self(targets))
    }

    /// Takes out the answers to a question.
    pub(super) fn take(&mut self, query: &str) -> Option<Vec<Target>> {
        self.0.remove(query)
    }

    /// Returns to how many questions answers are left.
    pub(super) fn left(&self) -> usize {
        self.0.len()
    }
}

impl Target {
    /// Tells whether a hit is this answer: one of two paths may begin further up than the other.
    pub(super) fn fits(&self, hit: &Hit) -> bool {
        let place = &hit.place;
        if self.repo.as_ref().is_some_and(|repo| *repo != place.repo) {
            return false;
        }
        if let Some(doc) = &self.doc {
            return place.chunk_id.as_ref() == Some(doc)
                || (!place.path.is_empty() && place.path == *doc);
        }
        let Some(path) = &self.path else {
            return false;
        };
        let ends = |long: &str, short: &str| {
            long.strip_suffix(short)
                .is_some_and(|above| above.is_empty() || above.ends_with('/'))
        };
        if place.path.is_empty() || !(ends(&place.path, path) || ends(path, &place.path)) {
            return false;
        }
        let start = self.start_line.or(self.end_line).unwrap_or(0);
        let end = self.end_line.or(self.start_line).unwrap_or(u32::MAX);
        match (place.start_line, place.end_line) {
            (Some(first), Some(last)) => first <= end && start <= last,
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::Place;

    fn target(json: &str) -> Target {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn answers_are_chunks_files_and_lines() {
        let hit = Hit {
            place: Place {
                repo: "r".to_owned(),
                path: "src/a.rs".to_owned(),
                chunk_id: Some("c7".to_owned()),
                start_line: Some(10),
                end_line: Some(20),
                ..Place::default()
            },
            ..Hit::default()
        };
        for (json, fits) in [
            (r#"{"doc": "c7"}"#, true),
            (r#"{"chunk_id": "c7"}"#, true),
            (r#"{"doc": "src/a.rs"}"#, true),
            (r#"{"doc": "c8"}"#, false),
            (r#"{"path": "src/a.rs"}"#, true),
            (r#"{"path": "r/src/a.rs"}"#, true),
            (r#"{"path": "a.rs"}"#, true),
            (r#"{"path": ".rs"}"#, false),
            (r#"{"path": "src/a.rs", "repo": "s"}"#, false),
            (
                r#"{"path": "src/a.rs", "start_line": 20, "end_line": 30}"#,
                true,
            ),
            (
                r#"{"path": "src/a.rs", "start_line": 21, "end_line": 30}"#,
                false,
            ),
            (r#"{"path": "src/a.rs", "start_line": 9}"#, false),
        ] {
            assert_eq!(target(json).fits(&hit), fits, "{json}");
        }
    }
}
