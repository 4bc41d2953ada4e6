//! What is searched for to answer a question: the question itself, and with `--decompose` those
//! that it is made of, with `--rewrite` other wordings; by rules, or as a language model has it.

mod decompose;
mod fuse;
mod rewrite;

use cs_embed::http::Failure;

use crate::chat::{Chat, Message, listed};
use crate::profile::{Profile, Stage};
use crate::rank::{Kind, Question};
use crate::request::Request;

pub(crate) use fuse::fuse;

/// Wordings of a question at most, itself included.
pub(crate) const MOST_REQUESTS: usize = 1 + decompose::MOST + REWRITTEN;

/// Wordings that are taken of a model that rewrites.
const REWRITTEN: usize = 3;

/// Characters of a wording that a model gives, at most.
const LONGEST: usize = 1000;

/// What a model is told of rewriting.
const REWRITE: &str = "You turn a question about a code base into queries for a search engine over its \
    code. Give up to 3 queries, each in the words that the code itself, its names and its comments \
    would have, without guessing file names. Answer with a JSON array of strings and nothing else.";

/// What a model is told of decomposing.
const DECOMPOSE: &str = "You part a question about a code base. If it asks for several things, give each \
    as a question of its own that can be understood alone, at most 4; if it asks for one thing, give \
    it unchanged. Answer with a JSON array of strings and nothing else.";

/// A stage that failed, in spite of which there is an answer.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Failed {
    /// Its name, as in the profile.
    pub(crate) stage: &'static str,
    /// What went wrong.
    pub(crate) error: String,
}

/// What is searched for.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The question, then its parts and other wordings.
    pub(crate) requests: Vec<Request>,
    pub(crate) failed: Vec<Failed>,
}

impl Plan {
    /// Plans how a question is answered. A model that cannot be asked is replaced by the rules.
    pub(crate) fn new(request: &Request, chat: Option<&Chat>, profile: &Profile) -> Self {
        let mut plan = Self {
            requests: vec![request.clone()],
            failed: Vec::new(),
        };
        let kind = Question::new(&request.text).kind();
        // Names, paths and code are looked for as they are.
        if !matches!(kind, Kind::Words | Kind::Mixed) || request.like.is_some() {
            return plan;
        }
        if request.decompose {
            profile.time(Stage::Decompose, || plan.decompose(chat));
        }
        if request.rewrite {
            profile.time(Stage::Rewrite, || plan.rewrite(chat));
        }
        plan
    }

    fn decompose(&mut self, chat: Option<&Chat>) {
        let text = self.requests[0].text.clone();
        let by_model = self.wordings(chat, "decompose", DECOMPOSE, &text);
        let parts = by_model.unwrap_or_else(|| decompose::parts(&text));
        // A single part is the question again.
        if parts.len() > 1 {
            self.add(parts, decompose::MOST);
        }
    }

    fn rewrite(&mut self, chat: Option<&Chat>) {
        let text = self.requests[0].text.clone();
        if let Some(wordings) = self.wordings(chat, "rewrite", REWRITE, &text) {
            return self.add(wordings, REWRITTEN);
        }
        for request in &mut self.requests {
            let words = Question::new(&request.text).search_words();
            request.further = rewrite::further_words(&words);
        }
    }

    /// Returns what a model makes of a question; nothing without a model, or if it fails.
    fn wordings(
        &mut self,
        chat: Option<&Chat>,
        stage: &'static str,
        task: &str,
        text: &str,
    ) -> Option<Vec<String>> {
        let chat = chat?;
        let messages = [Message::system(task), Message::user(text)];
        let said = chat.ask(&messages).and_then(|said| {
            let wordings = listed(&said);
            match wordings.is_empty() {
                true => Err(Failure::Answer {
                    url: chat.url.clone(),
                    cause: "the model gave no query".to_owned(),
                }),
                false => Ok(wordings),
            }
        });
        match said {
            Ok(wordings) => Some(wordings),
            Err(failure) => {
                let error = failure.to_string();
                log::warn!("--{stage}: {error}; the rules are taken instead");
                self.failed.push(Failed { stage, error });
                None
            }
        }
    }

    /// Adds wordings that are not there yet.
    fn add(&mut self, wordings: Vec<String>, most: usize) {
        for text in wordings.into_iter().take(most) {
            let text: String = text.chars().take(LONGEST).collect();
            if self.requests.iter().any(|known| known.text == text) {
                continue;
            }
            let question = self.requests[0].clone();
            self.requests.push(Request { text, ..question });
        }
    }
}
