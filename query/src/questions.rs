//! Questions as JSON objects, for batches and measurements: what is asked, and how.

use clap::ValueEnum as _;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::Error;
use crate::args::{Mode, SearchArgs};
use crate::request::Request;

/// Bytes that a line may have.
pub(crate) const MAX_LINE: usize = 1 << 20;

/// A line with a question.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// What the asker names it.
    pub(crate) id: Option<Value>,
    /// The question, if the line could be read.
    pub(crate) text: Option<String>,
    /// Fields that say nothing of the search.
    pub(crate) other: Map<String, Value>,
    /// What is to be done.
    pub(crate) request: Result<Request, String>,
}

/// The fields of an object that have a meaning; the others are kept.
#[derive(Debug, Deserialize)]
struct Fields {
    id: Option<Value>,
    #[serde(alias = "text", alias = "query")]
    question: Option<String>,
    mode: Option<String>,
    #[serde(alias = "n")]
    limit: Option<u16>,
    offset: Option<u16>,
    min_score: Option<f32>,
    lang: Option<Values>,
    path: Option<Values>,
    kind: Option<Values>,
    repo: Option<Values>,
    project: Option<Values>,
    symbol: Option<String>,
    grep: Option<String>,
    like: Option<String>,
    rewrite: Option<bool>,
    decompose: Option<bool>,
    rerank: Option<bool>,
    rerank_top: Option<u16>,
    #[serde(flatten)]
    other: Map<String, Value>,
}

/// A list, or the only value of one.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Values {
    One(String),
    Many(Vec<String>),
}

impl Line {
    /// Reads a line: an object if it begins with `{`, else the question itself.
    ///
    /// What an object says of the search goes before `defaults`.
    pub(crate) fn read(line: &[u8], defaults: &SearchArgs) -> Self {
        let failed = |error: String| Self {
            id: None,
            text: None,
            other: Map::new(),
            request: Err(error),
        };
        if line.len() > MAX_LINE {
            return failed(format!("the line has more than {MAX_LINE} bytes"));
        }
        let Ok(text) = std::str::from_utf8(line) else {
            return failed("the line is not UTF-8".to_owned());
        };
        if !text.trim_start().starts_with('{') {
            return Self {
                id: None,
                text: Some(text.trim().to_owned()),
                other: Map::new(),
                request: Request::new(text, defaults).map_err(|error| said(&error)),
            };
        }
        match serde_json::from_str::<Fields>(text) {
            Ok(fields) => fields.line(defaults),
            Err(error) => failed(format!("not a question as JSON: {error}")),
        }
    }

    /// Refuses fields that have no meaning for a search: they may be misspelt.
    pub(crate) fn strict(mut self) -> Self {
        if let Some(name) = self.other.keys().next() {
            self.request = Err(format!("the question has an unknown field `{name}`"));
        }
        self
    }
}

impl Fields {
    fn line(self, defaults: &SearchArgs) -> Line {
        let text = self.question.clone();
        let (id, other) = (self.id.clone(), self.other.clone());
        let question = text.as_deref().unwrap_or_default();
        let request = self
            .search(defaults)
            .and_then(|args| Request::new(question, &args).map_err(|error| said(&error)));
        Line {
            id,
            text,
            other,
            request,
        }
    }

    fn search(self, defaults: &SearchArgs) -> Result<SearchArgs, String> {
        let mode = match &self.mode {
            None => defaults.mode,
            Some(name) => Mode::from_str(name, false)
                .map_err(|_| format!("mode {name:?} is none of hybrid, dense, text"))?,
        };
        if self.limit == Some(0) {
            return Err("limit is 0".to_owned());
        }
        let or = |own: Option<Values>, default: &[String]| match own {
            None => default.to_vec(),
            Some(Values::One(value)) => vec![value],
            Some(Values::Many(values)) => values,
        };
        Ok(SearchArgs {
            mode,
            limit: self.limit.or(defaults.limit),
            offset: self.offset.unwrap_or(defaults.offset),
            min_score: self.min_score.or(defaults.min_score),
            lang: or(self.lang, &defaults.lang),
            path: or(self.path, &defaults.path),
            kind: or(self.kind, &defaults.kind),
            repo: or(self.repo, &defaults.repo),
            project: or(self.project, &defaults.project),
            symbol: self.symbol.or_else(|| defaults.symbol.clone()),
            grep: self.grep.or_else(|| defaults.grep.clone()),
            like: self.like.or_else(|| defaults.like.clone()),
            rewrite: self.rewrite.unwrap_or(defaults.rewrite),
            decompose: self.decompose.unwrap_or(defaults.decompose),
            rerank: defaults.rerank.with(self.rerank, self.rerank_top)?,
        })
    }
}

/// Returns an error with its causes in one line.
pub(crate) fn said(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::Args;

    fn defaults() -> SearchArgs {
        Args::parse_from(["cs-query", "x", "-n", "7", "--lang", "rust"]).search
    }

    #[test]
    fn a_line_is_a_question_or_an_object() {
        let line = Line::read(b" open the door ", &defaults());
        let request = line.request.unwrap();
        assert_eq!((request.text.as_str(), request.limit), ("open the door", 7));
        let object = br#"{"id": 3, "query": "q", "n": 2, "lang": "go", "kind": ["class", "Enum"], "color": 1}"#;
        let line = Line::read(object, &defaults());
        assert_eq!(line.id, Some(3.into()));
        let request = line.request.clone().unwrap();
        assert_eq!(request.filter.languages, ["go"]);
        assert_eq!(request.filter.kinds, ["class", "enum"]);
        assert_eq!(request.limit, 2);
        let error = line.strict().request.unwrap_err();
        assert!(error.contains("`color`"), "{error}");
    }

    #[test]
    fn what_is_wrong_with_a_line_is_said() {
        for (line, says) in [
            (&b""[..], "empty"),
            (b"{\"question\": \"\"}", "empty"),
            (b"{}", "empty"),
            (b"{\"question\": 3}", "JSON"),
            (b"{\"question\"", "JSON"),
            (b"\xff", "UTF-8"),
            (b"{\"question\": \"a\", \"mode\": \"fast\"}", "fast"),
            (b"{\"question\": \"a\", \"limit\": 0}", "limit"),
            (b"{\"question\": \"a\", \"grep\": \"(\"}", "--grep"),
            (b"{\"question\": \"a\", \"path\": \"a[z-b]\"}", "a[z-b]"),
            (b"{\"question\": \"a\", \"like\": \"x\"}", "--like x"),
            (b"{\"question\": \"a\", \"rerank\": true}", "no --rerank"),
        ] {
            let error = Line::read(line, &defaults()).strict().request.unwrap_err();
            assert!(error.contains(says), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
        let long = vec![b'a'; MAX_LINE + 1];
        assert!(Line::read(&long, &defaults()).request.is_err());
    }
}
