//! The way of questions through all stages: what is searched for, its vectors, concurrent searches,
//! and one list of hits for each question.
//!
//! `plan` says what is searched for: the question, its parts, other wordings. All of it is embedded
//! in one batch and searched concurrently, and `plan::fuse` makes one list. A stage that fails is
//! reported in `failed` of the result and never hidden.

use std::ops::ControlFlow;

use cs_embed::Reranker;

use crate::Error;
use crate::answer::{self, Answered};
use crate::chat::Chat;
use crate::engine::{Engine, Vectors};
use crate::hit::Hit;
use crate::plan::{Failed, MOST_REQUESTS, Plan, fuse};
use crate::print::Stores;
use crate::profile::Stage;
use crate::request::Request;
use crate::rerank;
use crate::side_by_side::side_by_side;

/// Open stores, and the models that help to ask them, if there are some.
pub(crate) struct Asker {
    pub(crate) engine: Engine,
    pub(crate) chat: Option<Chat>,
    /// What looks at the best hits again.
    pub(crate) reranker: Option<Box<dyn Reranker>>,
}

/// What was found for a question.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// The best first.
    pub(crate) hits: Vec<Hit>,
    /// What was searched for besides the question.
    pub(crate) parts: Vec<String>,
    /// The stages that failed, for which others stood in.
    pub(crate) failed: Vec<Failed>,
}

impl Asker {
    /// Answers a question, whose parts are searched for at the same time.
    ///
    /// # Errors
    /// As for [`Asker::ask_all`].
    pub(crate) fn ask(&self, request: &Request) -> Result<Asked, Error> {
        let mut answers = self.ask_all(&[request], MOST_REQUESTS);
        answers.pop().unwrap_or_else(|| Ok(Asked::default()))
    }

    /// Answers questions side by side, in their order; all that is searched for is embedded
    /// together.
    ///
    /// # Errors
    /// For each question those of [`Engine::vectors`], [`Engine::ranked`] and [`Engine::kept`]; that a
    /// model fails is told in the answer.
    pub(crate) fn ask_all(
        &self,
        requests: &[&Request],
        threads: usize,
    ) -> Vec<Result<Asked, Error>> {
        let plans = side_by_side(requests.to_vec(), threads, |request| {
            Plan::new(request, self.chat.as_ref(), self.engine.profile())
        });
        let wordings: Vec<&Request> = plans.iter().flat_map(|plan| &plan.requests).collect();
        let vectors = self.vectors(&wordings);
        let jobs = wordings.into_iter().zip(vectors).collect();
        let lists = side_by_side(jobs, threads, |(request, vectors)| {
            self.engine.ranked(request, &vectors?)
        });
        let mut lists = lists.into_iter();
        let found = plans.into_iter().map(|plan| {
            let own: Vec<_> = lists.by_ref().take(plan.requests.len()).collect();
            (plan, own.into_iter().collect::<Result<Vec<_>, Error>>())
        });
        side_by_side(found.collect(), threads, |(plan, lists)| {
            self.finish(plan, lists?)
        })
    }

    /// Has the language model answer a question from what was found for it; nothing without a model,
    /// or without a hit. A failure is added to what failed.
    pub(crate) fn answer(
        &self,
        question: &str,
        asked: &mut Asked,
        (stores, tokens): (Stores<'_>, u32),
        show: impl FnMut(&str) -> ControlFlow<()>,
    ) -> Option<Answered> {
        let chat = self.chat.as_ref().filter(|_| !asked.hits.is_empty())?;
        let hits = asked.hits.as_slice();
        let answered = self.engine.profile().time(Stage::Answer, || {
            answer::answer(chat, (question, hits), (stores, tokens), show)
        });
        if let Some(error) = &answered.failed {
            log::warn!("--answer: {error}");
            asked.failed.push(Failed {
                stage: "answer",
                error: error.clone(),
            });
        }
        Some(answered)
    }

    /// Embeds wordings together; if that fails, each alone, so that one spoils no other.
    fn vectors(&self, requests: &[&Request]) -> Vec<Result<Vectors, Error>> {
        match self.engine.vectors(requests) {
            Ok(vectors) => vectors.into_iter().map(Ok).collect(),
            Err(error) if requests.len() == 1 => vec![Err(error)],
            Err(_) => {
                let each = requests.iter().map(|request| {
                    let own = self.engine.vectors(&[request])?;
                    Ok(own.into_iter().next().unwrap_or_default())
                });
                each.collect()
            }
        }
    }

    /// Makes one list of hits of those for a plan's wordings, and reads what is given of it.
    fn finish(&self, plan: Plan, lists: Vec<Vec<Hit>>) -> Result<Asked, Error> {
        let Plan {
            requests,
            mut failed,
        } = plan;
        let mut requests = requests.into_iter();
        let Some(question) = requests.next() else {
            return Ok(Asked::default());
        };
        let profile = self.engine.profile();
        let hits = match lists.len() {
            0 | 1 => lists.into_iter().flatten().collect(),
            _ => profile.time(Stage::Rank, || fuse(lists, question.mode)),
        };
        let (hits, unranked) = match (&self.reranker, question.rerank) {
            (Some(reranker), Some(top)) => {
                let reranker = (reranker.as_ref(), top);
                rerank::page(&self.engine, &question, hits, reranker)?
            }
            _ => (self.engine.kept(&question, hits)?, None),
        };
        failed.extend(unranked);
        Ok(Asked {
            hits,
            parts: requests.map(|request| request.text).collect(),
            failed,
        })
    }
}
