//! How well questions with known answers are answered: NDCG, MRR and recall of the first ten hits.
//!
//! Questions run through the same code as a user's. A stage that fails makes the evaluation fail.

mod bootstrap;
mod figures;
mod report;
mod targets;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cs_common::tool::Outcome;

use crate::Error;
use crate::args::SearchArgs;
use crate::asker::Asker;
use crate::batch::{MANY, answer_all};
use crate::questions::Line;

use figures::{Figures, TOP};
use targets::{Target, Targets};

/// Questions that are answered together.
const WINDOW: usize = 256;

/// Questions with their right answers.
pub(crate) struct Set {
    queries: PathBuf,
    lines: Vec<Line>,
    targets: Vec<Vec<Target>>,
    by: Vec<String>,
}

/// What came of a question.
pub(crate) struct Judged {
    id: String,
    figures: Figures,
    /// The values of the fields by which figures are told.
    groups: Vec<String>,
}

impl Set {
    /// Reads questions and answers; a question without an answer is left out, and counted.
    ///
    /// # Errors
    /// [`Error::File`] or [`Error::Line`] for what cannot be read, [`Error::Unjudged`] if nothing
    /// is left, [`Error::By`] for a field that no question has.
    pub(crate) fn read(
        queries: &Path,
        qrels: &Path,
        by: &[String],
        defaults: &SearchArgs,
    ) -> Result<Self, Error> {
        let mut targets = Targets::read(qrels)?;
        let mut set = Self {
            queries: queries.to_owned(),
            lines: Vec::new(),
            targets: Vec::new(),
            by: by.to_vec(),
        };
        let mut without = 0_u64;
        let mut seen = std::collections::HashSet::new();
        for (number, text) in lines(queries)? {
            let fail = |cause: &str| Error::Line {
                path: queries.to_owned(),
                line: number,
                cause: cause.to_owned(),
            };
            let mut line = Line::read(text.as_bytes(), defaults);
            match &mut line.request {
                Err(error) => return Err(fail(error)),
                Ok(request) => request.limit = request.limit.max(TOP),
            }
            let id = line
                .id
                .as_ref()
                .ok_or_else(|| fail("the question has no `id`"))?;
            let id = named(id);
            if !seen.insert(id.clone()) {
                return Err(fail(&format!("the id {id} was there before")));
            }
            match targets.take(&id) {
                Some(targets) => {
                    set.lines.push(line);
                    set.targets.push(targets);
                }
                None => without += 1,
            }
        }
        if set.lines.is_empty() {
            return Err(Error::Unjudged(queries.to_owned(), qrels.to_owned()));
        }
        for field in by {
            if !set
                .lines
                .iter()
                .any(|line| line.other.contains_key(field) || field == "repo")
            {
                return Err(Error::By(field.clone()));
            }
        }
        if without > 0 {
            log::warn!("{without} questions have no answer, and are left out");
        }
        let left = targets.left();
        if left > 0 {
            log::warn!("{left} questions that answers are for are not asked");
        }
        Ok(set)
    }
}

/// Answers the questions and prints the figures.
///
/// # Errors
/// [`Error::Line`] for a question that fails, and those of writing.
pub(crate) fn run(
    mut asker: Asker,
    set: Set,
    threads: usize,
    json: bool,
) -> Result<Outcome, Error> {
    if set.lines.len() > MANY {
        asker.engine.keep_columns()?;
    }
    let mut judged = Vec::with_capacity(set.lines.len());
    for (lines, targets) in set.lines.chunks(WINDOW).zip(set.targets.chunks(WINDOW)) {
        let answers = answer_all(&asker, lines, threads);
        for ((line, answer), targets) in lines.iter().zip(answers).zip(targets) {
            let id = line.id.as_ref().map(named).unwrap_or_default();
            let fail = |cause: String| Error::Question {
                path: set.queries.clone(),
                id: id.clone(),
                cause,
            };
            let asked = answer.map_err(fail)?;
            // The figures would be those of another way of asking.
            if let Some(failed) = asked.failed.into_iter().next() {
                return Err(fail(format!("--{}: {}", failed.stage, failed.error)));
            }
            judged.push(Judged {
                id,
                figures: Figures::of(&asked.hits, targets),
                groups: set.by.iter().map(|field| group(line, field)).collect(),
            });
        }
    }
    let text = report::report(&judged, &set.by, json)?;
    cs_common::stream::print(&text)?;
    Ok(Outcome::Done)
}

/// Returns what a question has in a field; nothing is a group, too.
fn group(line: &Line, field: &str) -> String {
    if let Some(value) = line.other.get(field) {
        return named(value);
    }
    let request = line.request.as_ref().ok();
    let repos = request.map(|request| request.filter.repos.join(","));
    repos.filter(|_| field == "repo").unwrap_or_default()
}

/// Returns a name as text, whether it is written as text or as a number.
fn named(value: &serde_json::Value) -> String {
    match value.as_str() {
        Some(text) => text.to_owned(),
        None => value.to_string(),
    }
}

/// Reads the lines of a file that are not blank, with their numbers from 1.
fn lines(path: &Path) -> Result<Vec<(usize, String)>, Error> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::File {
        path: path.to_owned(),
        source,
    })?;
    let lines = (1..)
        .zip(text.lines())
        .filter(|(_, line)| !line.trim().is_empty());
    Ok(lines
        .map(|(number, line)| (number, line.to_owned()))
        .collect())
}

/// Parts judged questions by one of their groups.
fn parted(judged: &[Judged], by: usize) -> BTreeMap<&str, Vec<Figures>> {
    let mut parts: BTreeMap<&str, Vec<Figures>> = BTreeMap::new();
    for one in judged {
        parts.entry(&one.groups[by]).or_default().push(one.figures);
    }
    parts
}
