//! Reranking: a model that reads question and chunk together puts the best hits of a search in
//! order again, here or at a service.
//!
//! It follows the search and changes nothing in it. All hits of all stores are in one order by
//! then. Reranking reads the texts of the best ones and sorts them by the reranker's scores. Equal
//! scores keep their order. It is the last step before the page is cut out, so every form of output
//! has its order.
//!
//! A failure is part of the answer (`Asked::failed`): the hits keep the search's order, and all
//! output reports it. Only `--eval` fails, because figures of a mixture would mean nothing. The
//! reranker gets path, symbol and content once each. The document repeats path and symbol for the
//! benefit of a mean over words.

use cs_embed::http::{Address, Service};
use cs_embed::{EndpointArgs, Environment, ModelSpec, Reranker, open_reranker};
use serde::Serialize;

use crate::Error;
use crate::engine::Engine;
use crate::hit::{Hit, Reason};
use crate::plan::Failed;
use crate::profile::Stage;
use crate::questions::said;
use crate::request::Request;

/// Hits that are looked at again if nobody says how many: a small cross-encoder reads as many within
/// a few seconds on two cores.
const TOP: u16 = 50;

/// The most hits that may be looked at again.
const MOST: u16 = 1000;

/// What is said of the second look.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "A second look at the best hits")]
pub(crate) struct RerankArgs {
    /// Put the best hits in order by a cross-encoder: a folder, or ORG/NAME on the hub
    ///
    /// Such as --rerank cross-encoder/ms-marco-MiniLM-L6-v2, a BERT, (XLM-)RoBERTa or ModernBERT
    /// with one label. A hit's score is then what the model says of it, its logit; the hits that it
    /// was not asked about follow, each as far below the last one as the search had them apart.
    /// --min-score is about these scores. If the model fails, the hits are given in the order of
    /// the search, with a warning and the status 1.
    #[arg(long, value_name = "MODEL")]
    rerank: Option<String>,

    /// How many of the best hits are looked at again [default: 50]
    #[arg(long, value_name = "N", requires = "rerank",
          value_parser = clap::value_parser!(u16).range(1..=i64::from(MOST)))]
    rerank_top: Option<u16>,

    /// Have the model run by a service: its URL; --rerank is the model's name there
    ///
    /// --rerank-endpoint https://api.cohere.com/v2 --rerank rerank-v3.5, or --rerank-endpoint
    /// http://localhost:8080/rerank for text-embeddings-inference on this machine. `/v1/rerank` is
    /// added to a host alone, `/rerank` to a path that does not end in it. A key is read from
    /// CS_RERANK_KEY, or without that from CS_API_KEY. The question and the chunks go there.
    #[arg(long, value_name = "URL", requires = "rerank", value_parser = address)]
    rerank_endpoint: Option<Address>,

    /// Seconds that the service may take for a question, with pauses that it asks for
    #[arg(long, value_name = "SECONDS", default_value_t = 30, requires = "rerank_endpoint",
          value_parser = clap::value_parser!(u32).range(1..=3600))]
    rerank_timeout: u32,
}

impl RerankArgs {
    /// Returns how many hits are looked at again, if any are.
    pub(crate) fn top(&self) -> Option<usize> {
        let top = self.rerank_top.unwrap_or(TOP);
        self.rerank.is_some().then_some(usize::from(top))
    }

    /// Takes in what a line of `--batch` says: whether its hits are looked at again, and how many.
    ///
    /// # Errors
    /// Says what cannot be done.
    pub(crate) fn with(&self, wanted: Option<bool>, top: Option<u16>) -> Result<Self, String> {
        let mut own = self.clone();
        if wanted == Some(false) {
            own.rerank = None;
            return Ok(own);
        }
        if (wanted.is_some() || top.is_some()) && self.rerank.is_none() {
            return Err("rerank is asked for, and no --rerank names a model".to_owned());
        }
        if top.is_some_and(|top| top == 0 || top > MOST) {
            return Err(format!("rerank_top is no number from 1 to {MOST}"));
        }
        own.rerank_top = top.or(self.rerank_top);
        Ok(own)
    }

    /// Opens the model, if one is named.
    ///
    /// # Errors
    /// [`Error::Rerank`].
    pub(crate) fn open(&self) -> Result<Option<Box<dyn Reranker>>, Error> {
        let Some(id) = &self.rerank else {
            return Ok(None);
        };
        let spec = ModelSpec {
            id: id.clone(),
            endpoint: EndpointArgs {
                endpoint: self.rerank_endpoint.clone(),
                timeout: self.rerank_timeout,
                ..EndpointArgs::default()
            },
            env: Environment::read(),
            ..ModelSpec::default()
        };
        open_reranker(&spec).map(Some).map_err(Error::Rerank)
    }
}

/// Reads the address of a service that reranks.
///
/// # Errors
/// As for [`Address::parse`].
fn address(text: &str) -> Result<Address, String> {
    let service = Service {
        path: "rerank",
        key: "CS_RERANK_KEY",
    };
    Address::parse(text, service)
}

/// What the second look made of a hit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct SecondLook {
    /// What the reranker says; nothing of a hit that it was not asked about.
    #[serde(rename = "rerank")]
    pub(crate) score: Option<f32>,
    /// The score of the search.
    pub(crate) before: f32,
}

/// Returns the page of hits that a request wants, of all that a search found in their order, after
/// a second look at the first `top` of them; and why there was none, if the reranker failed.
///
/// # Errors
/// Those of reading a store.
pub(crate) fn page(
    engine: &Engine,
    request: &Request,
    hits: Vec<Hit>,
    (reranker, top): (&dyn Reranker, usize),
) -> Result<(Vec<Hit>, Option<Failed>), Error> {
    let deep = Request {
        limit: request.depth(),
        offset: 0,
        ..request.clone()
    };
    let mut hits = engine.kept(&deep, hits)?;
    // Where only similar code is looked for, the code is the question.
    let example = match request.text.is_empty() {
        true => engine.example(request)?,
        false => None,
    };
    let question = example.as_deref().unwrap_or(&request.text);
    let texts: Vec<String> = hits.iter().take(top).map(document).collect();
    let scores = engine.profile().time(Stage::Rerank, || {
        reranker.scores(question, &texts).map_err(Error::Rerank)
    });
    let failed = match scores {
        Ok(scores) => {
            hits = reordered(hits, &scores);
            if let Some(least) = request.min_score {
                hits.retain(|hit| hit.score >= least);
            }
            None
        }
        Err(error) => Some(warned(&error)),
    };
    hits.truncate(request.reach());
    hits.drain(..request.offset.min(hits.len()));
    Ok((hits, failed))
}

/// Returns what a reranker reads of a hit: its path, its symbol and its text.
///
/// What is embedded has path and symbol twice, so that they weigh more in a mean over words; a
/// reranker weighs by itself, and its tokens are few.
fn document(hit: &Hit) -> String {
    let place = &hit.place;
    let symbol = place.symbol.as_deref().filter(|symbol| !symbol.is_empty());
    let head = [Some(place.path.as_str()), symbol, Some(&hit.content)];
    let head: Vec<&str> = head.into_iter().flatten().collect();
    head.join("\n")
}

/// Puts the first hits in the order of their scores, of equal ones as they were, and leaves the
/// others behind them, scored so that no score is above one before it.
fn reordered(hits: Vec<Hit>, scores: &[f64]) -> Vec<Hit> {
    let mut hits = hits.into_iter();
    let mut seen: Vec<(f64, Hit)> = scores.iter().copied().zip(hits.by_ref()).collect();
    seen.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    let least = seen.last().map_or(0.0, |(score, _)| *score as f32);
    let seen = seen.into_iter().map(|(score, hit)| {
        let score = score as f32;
        rescored(hit, score, Some(score))
    });
    let mut rest = hits.peekable();
    let first = rest.peek().map_or(0.0, |hit| hit.score);
    let rest = rest.map(|hit| {
        let below = first - hit.score;
        rescored(hit, least - below, None)
    });
    seen.chain(rest).collect()
}

fn rescored(mut hit: Hit, score: f32, own: Option<f32>) -> Hit {
    let before = hit.score;
    hit.second_look = Some(SecondLook { score: own, before });
    hit.reasons.push(Reason {
        rule: match own {
            Some(_) => "reranker",
            None => "below the reranked",
        },
        adds: score - before,
    });
    hit.score = score;
    hit
}

/// Warns that hits were not put in order again, and returns why.
fn warned(error: &Error) -> Failed {
    log::warn!("{error}; the hits are in the order of the search");
    if let Some(hint) = cs_common::tool::ToolError::hint(error) {
        log::warn!("hint: {hint}");
    }
    let error = said(error);
    let cause = error.strip_prefix("--rerank: ").unwrap_or(&error);
    Failed {
        stage: "rerank",
        error: cause.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hit(row: u64, score: f32) -> Hit {
        Hit {
            row,
            score,
            reasons: vec![Reason {
                rule: "cosine",
                adds: score,
            }],
            ..Hit::default()
        }
    }

    #[test]
    fn the_best_are_reordered_and_the_rest_stays_below() {
        let hits: Vec<Hit> = (0..6).map(|at| hit(at, 1.0 - 0.1 * at as f32)).collect();
        let made = reordered(hits, &[-7.5, 20.0, -7.5, 20.000_001]);
        let rows: Vec<u64> = made.iter().map(|hit| hit.row).collect();
        assert_eq!(rows, [3, 1, 0, 2, 4, 5]);
        assert!(made.is_sorted_by(|a, b| a.score >= b.score));
        for hit in &made {
            let sum: f32 = hit.reasons.iter().map(|reason| reason.adds).sum();
            assert!((sum - hit.score).abs() < 1e-5, "{hit:?}");
            let look = hit.second_look.unwrap();
            assert_eq!(look.before, 1.0 - 0.1 * hit.row as f32);
            assert_eq!(look.score.is_some(), hit.row < 4);
        }
        assert_eq!(made[4].score, -7.5);
        assert!((made[5].score - -7.6).abs() < 1e-5);
        assert!(reordered(Vec::new(), &[]).is_empty());
    }

    #[test]
    fn a_line_says_whether_and_how_many() {
        let none = RerankArgs {
            rerank: None,
            rerank_top: None,
            rerank_endpoint: None,
            rerank_timeout: 30,
        };
        assert_eq!(none.top(), None);
        assert!(none.with(Some(true), None).is_err() && none.with(None, Some(3)).is_err());
        assert_eq!(none.with(Some(false), None).unwrap().top(), None);
        let some = RerankArgs {
            rerank: Some("m".to_owned()),
            ..none
        };
        assert_eq!(some.top(), Some(50));
        assert_eq!(some.with(None, Some(7)).unwrap().top(), Some(7));
        assert_eq!(some.with(Some(false), None).unwrap().top(), None);
        assert!(some.with(None, Some(0)).is_err() && some.with(None, Some(1001)).is_err());
    }
}
