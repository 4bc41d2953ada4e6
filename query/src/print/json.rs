//! Hits as a JSON object for each question; query/README.md describes its fields.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Value;

use super::Stores;
use crate::answer::Answered;
use crate::args::Mode;
use crate::asker::Asked;
use crate::hit::{Hit, Reason};
use crate::plan::Failed;
use crate::profile::Report;
use crate::request::Request;
use crate::rerank::SecondLook;

/// What is told of a question.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Its hits.
    Hits(Box<Request>, Asked),
    /// Why there are none.
    Failed {
        /// The question, if it could be read.
        question: Option<String>,
        /// What went wrong.
        error: String,
    },
}

/// What is told beside the answer.
#[derive(Debug, Default)]
pub(crate) struct Told<'a> {
    /// What the asker named the question.
    pub(crate) id: Option<&'a Value>,
    /// Why each hit stands where it does.
    pub(crate) explain: bool,
    /// What a model says of it.
    pub(crate) answer: Option<Answered>,
    /// Where the time went.
    pub(crate) profile: Option<Report>,
}

#[derive(Serialize)]
struct Record<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a Value>,
    question: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<Mode>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    parts: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    hits: Option<Vec<HitRecord<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<Answered>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    failed: &'a [Failed],
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<Report>,
}

/// A hit; a field that is unknown is null.
#[derive(Serialize)]
struct HitRecord<'a> {
    rank: usize,
    score: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    db: Option<String>,
    repo: &'a str,
    root: Option<&'a str>,
    path: &'a str,
    start_line: Option<u32>,
    end_line: Option<u32>,
    project: Option<&'a str>,
    language: Option<&'a str>,
    kind: Option<&'a str>,
    name: Option<&'a str>,
    symbol: Option<&'a str>,
    signature: Option<&'a str>,
    doc: Option<&'a str>,
    chunk_id: Option<&'a str>,
    parent_id: Option<&'a str>,
    content: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    explain: Option<Explain<'a>>,
}

/// Why a hit stands where it does.
#[derive(Serialize)]
struct Explain<'a> {
    cosine: Option<f32>,
    bm25: Option<f32>,
    #[serde(flatten)]
    second_look: Option<SecondLook>,
    score: &'a [Reason],
}

/// Writes the answer to a question on a line.
pub(crate) fn json(
    answer: &Answer,
    told: Told<'_>,
    stores: Stores<'_>,
    out: &mut impl Write,
) -> io::Result<()> {
    let record = match answer {
        Answer::Hits(request, asked) => Record {
            id: told.id,
            question: Some(&request.text),
            mode: Some(request.mode),
            parts: &asked.parts,
            hits: Some(
                (request.offset + 1..)
                    .zip(&asked.hits)
                    .map(|(rank, hit)| hit_record(rank, hit, stores, told.explain))
                    .collect(),
            ),
            answer: told.answer,
            failed: &asked.failed,
            error: None,
            profile: told.profile,
        },
        Answer::Failed { question, error } => Record {
            id: told.id,
            question: question.as_deref(),
            mode: None,
            parts: &[],
            hits: None,
            answer: None,
            failed: &[],
            error: Some(error),
            profile: told.profile,
        },
    };
    serde_json::to_writer(&mut *out, &record)?;
    out.write_all(b"\n")
}

fn hit_record<'a>(rank: usize, hit: &'a Hit, stores: Stores<'a>, explain: bool) -> HitRecord<'a> {
    let place = &hit.place;
    let db = stores
        .stores
        .get(hit.store)
        .filter(|_| stores.stores.len() > 1);
    let root = stores.stores.get(hit.store).and_then(|store| {
        let repo = store.repos.iter().find(|repo| repo.name == place.repo)?;
        Some(repo.root.as_str())
    });
    HitRecord {
        rank,
        score: hit.score,
        db: db.map(|store| store.path.display().to_string()),
        repo: &place.repo,
        root,
        path: &place.path,
        start_line: place.start_line,
        end_line: place.end_line,
        project: place.project.as_deref(),
        language: place.language.as_deref(),
        kind: place.kind.as_deref(),
        name: place.name.as_deref(),
        symbol: place.symbol.as_deref(),
        signature: place.signature.as_deref(),
        doc: place.doc.as_deref(),
        chunk_id: place.chunk_id.as_deref(),
        parent_id: place.parent_id.as_deref(),
        content: &hit.content,
        explain: explain.then_some(Explain {
            cosine: hit.dense,
            bm25: hit.text,
            second_look: hit.second_look,
            score: &hit.reasons,
        }),
    }
}
