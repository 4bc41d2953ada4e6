//! A question as it is to be answered: what was typed, checked.

use cs_store::Filter;
use regex::Regex;

use crate::Error;
use crate::args::{Mode, SearchArgs};
use crate::like::Like;

/// How many hits are given if nobody says how many.
const LIMIT: usize = 10;

/// A question, and how to answer it.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// The question; empty if only similar code is looked for.
    pub(crate) text: String,
    pub(crate) mode: Mode,
    /// Whether nothing is asked for but a symbol, of which the question is the name.
    pub(crate) is_name: bool,
    pub(crate) limit: usize,
    pub(crate) offset: usize,
    pub(crate) min_score: Option<f32>,
    pub(crate) filter: Filter,
    pub(crate) grep: Option<Regex>,
    pub(crate) like: Option<Like>,
    /// Whether it is also worded as code is.
    pub(crate) rewrite: bool,
    /// Whether the questions that it is made of are asked as well.
    pub(crate) decompose: bool,
    /// Words that are searched for besides those of the question.
    pub(crate) further: Vec<String>,
    /// How many of the best hits are looked at again, if any are.
    pub(crate) rerank: Option<usize>,
}

impl Request {
    /// Checks a question and what was said about it.
    ///
    /// # Errors
    /// [`Error::Empty`] for a question without a word, [`Error::Grep`], [`Error::Like`] or
    /// [`Error::Store`] for what cannot be read, [`Error::Value`] for an empty value.
    pub(crate) fn new(text: &str, args: &SearchArgs) -> Result<Self, Error> {
        let named = [
            ("lang", &args.lang),
            ("path", &args.path),
            ("kind", &args.kind),
            ("repo", &args.repo),
            ("project", &args.project),
        ];
        let symbols: Vec<String> = args.symbol.iter().cloned().collect();
        for (flag, values) in named.into_iter().chain([("symbol", &symbols)]) {
            if values.iter().any(|value| value.trim().is_empty()) {
                return Err(Error::Value(flag));
            }
        }
        if args.min_score.is_some_and(|score| !score.is_finite()) {
            return Err(Error::Value("min-score"));
        }
        let lower = |names: &[String]| names.iter().map(|name| name.to_lowercase()).collect();
        let filter = Filter {
            repos: args.repo.clone(),
            projects: args.project.iter().map(|folder| project(folder)).collect(),
            languages: lower(&args.lang),
            kinds: lower(&args.kind),
            paths: args.path.clone(),
            file: None,
            symbol: args.symbol.clone(),
        };
        filter.check()?;
        let grep = args.grep.as_deref().map(Regex::new).transpose();
        let like = args.like.as_deref().map(Like::parse).transpose()?;
        let is_name = text.trim().is_empty() && args.symbol.is_some() && like.is_none();
        let text = match (text.trim(), &args.symbol, &like) {
            ("", Some(symbol), None) => symbol,
            ("", None, None) => return Err(Error::Empty),
            (text, ..) => text,
        };
        let mode = match (&args.like, text) {
            (Some(like), _) if args.mode == Mode::Text => {
                let cause = "similar code is found by vector, not with --mode text";
                return Err(Error::Like(like.clone(), cause.to_owned()));
            }
            // Without words there is nothing to rank by.
            (Some(_), "") => Mode::Dense,
            _ => args.mode,
        };
        Ok(Self {
            text: text.to_owned(),
            mode,
            is_name,
            limit: args.limit.map_or(LIMIT, usize::from),
            offset: usize::from(args.offset),
            min_score: args.min_score,
            filter,
            grep: grep.map_err(|error| Error::Grep(Box::new(error)))?,
            like,
            rewrite: args.rewrite,
            decompose: args.decompose,
            further: Vec::new(),
            rerank: args.rerank.top(),
        })
    }

    /// Returns how many hits are looked at, those that are left out first included.
    pub(crate) fn reach(&self) -> usize {
        self.offset + self.limit
    }

    /// Returns how many hits have to be found: those, or as many as are looked at again.
    pub(crate) fn depth(&self) -> usize {
        self.reach().max(self.rerank.unwrap_or_default())
    }
}

/// Returns a project's folder as it is stored.
fn project(folder: &str) -> String {
    match folder.trim_start_matches("./").trim_end_matches('/') {
        "" => ".".to_owned(),
        folder => folder.to_owned(),
    }
}
