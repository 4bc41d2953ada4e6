//! Rerankers that a service runs: a question and its texts go to an address, scores come back.
//!
//! A person waits for the answer, so a question has one time limit for all of it, and not a number
//! of tries. Pauses that the service asks for and further tries happen within that time. The
//! service's refusal of the first shape of requests shows that it uses the other one.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::Reranker;
use super::wire::{self, Shape};
use crate::http::{Address, Client, Failure, Limits, Patience};
use crate::{Error, ModelSpec};

/// Bytes of an answer beside those for texts that come back although they were not asked for.
const ANSWER_BYTES: u64 = 1 << 20;

/// A reranker behind an address.
pub(super) struct Service {
    client: Client,
    url: String,
    name: String,
    /// The time of a question.
    timeout: Duration,
    /// How it wants to be asked, once it has answered.
    shape: OnceLock<Shape>,
    /// Texts of a request at most: fewer after it refused more.
    texts: AtomicUsize,
}

impl Service {
    /// Takes the address of a service and the model's name there.
    pub(super) fn new(spec: &ModelSpec, address: &Address) -> Self {
        let url = address.url();
        Self {
            client: Client::new(url, spec.env.endpoint.rerank_key_for(address)),
            url: url.to_owned(),
            name: spec.id.clone(),
            timeout: Duration::from_secs(u64::from(spec.endpoint.timeout)),
            shape: OnceLock::new(),
            texts: AtomicUsize::new(usize::MAX),
        }
    }

    /// Asks for the scores of the texts of one request.
    ///
    /// Where it is not known how the service wants to be asked and it refuses the usual way, the
    /// other one is tried.
    fn ask(&self, query: &str, texts: &[String], until: Instant) -> Result<Vec<f64>, Failure> {
        if let Some(shape) = self.shape.get() {
            return self.ask_patiently(*shape, query, texts, until);
        }
        let (shape, answer) = match self.ask_patiently(Shape::Documents, query, texts, until) {
            Err(refusal) if refusal.is_of_content() => {
                let other = self.ask_patiently(Shape::Texts, query, texts, until);
                (Shape::Texts, other.map_err(|_| refusal))
            }
            answer => (Shape::Documents, answer),
        };
        if answer.is_ok() {
            // Another thread may have found out before.
            let _ = self.shape.set(shape);
        }
        answer
    }

    /// Asks until there is an answer, or no use in asking, or the time is over.
    fn ask_patiently(
        &self,
        shape: Shape,
        query: &str,
        texts: &[String],
        until: Instant,
    ) -> Result<Vec<f64>, Failure> {
        let json = wire::request(shape, &self.name, query, texts);
        // The time bounds the tries.
        let mut patience = Patience::new(u32::MAX);
        loop {
            let limits = Limits {
                // No time at all would be none to connect in.
                timeout: left(until).max(Duration::from_millis(1)),
                bytes: ANSWER_BYTES + 2 * json.len() as u64,
            };
            let answer = self.client.post(&self.url, &json, limits);
            let answer = answer.and_then(|json| wire::answer(&self.url, &json, texts.len()));
            let failure = match answer {
                Ok(scores) => return Ok(scores),
                Err(failure) => failure,
            };
            match patience.pause_within(&failure, left(until)) {
                Some(pause) => std::thread::sleep(pause),
                None => return Err(failure),
            }
        }
    }

    /// Says why there are no scores, and what may help.
    fn refused(&self, failure: Failure) -> Error {
        let hint = match &failure {
            Failure::Status {
                status: 401 | 403, ..
            } if self.client.has_token() => "look at the key in CS_RERANK_KEY, or CS_API_KEY",
            Failure::Status {
                status: 401 | 403, ..
            } => "the service wants a key: set CS_RERANK_KEY, or CS_API_KEY",
            Failure::Status { status: 404, .. } => {
                "is the address right, and does the service have the model?"
            }
            _ if failure.is_absence() => "is the service running, and the address right?",
            Failure::Answer { .. } => "is the address that of a service that reranks?",
            _ => {
                "--rerank-timeout says how long a question may wait, --rerank-top how much is sent"
            }
        };
        Error::Endpoint {
            cause: failure.to_string(),
            hint: Some(hint.to_owned()),
            source: Some(Box::new(failure)),
        }
    }
}

impl Reranker for Service {
    fn id(&self) -> &str {
        &self.name
    }

    fn scores(&self, question: &str, texts: &[String]) -> Result<Vec<f64>, Error> {
        let until = Instant::now() + self.timeout;
        let mut scores = Vec::with_capacity(texts.len());
        while scores.len() < texts.len() {
            let rest = &texts[scores.len()..];
            let count = rest.len().min(self.texts.load(Ordering::Relaxed));
            match self.ask(question, &rest[..count], until) {
                Ok(made) => scores.extend(made),
                Err(failure) if count > 1 && failure.is_of_content() => {
                    log::debug!("{failure}; fewer than {count} texts at once are tried");
                    self.texts.fetch_min(count / 2, Ordering::Relaxed);
                }
                Err(failure) => return Err(self.refused(failure)),
            }
        }
        Ok(scores)
    }
}

fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}
