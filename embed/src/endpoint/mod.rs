//! Models that a service runs: texts go to an address as OpenAI's, vectors come back.
//!
//! A window is split into requests, and a few threads take one after the other. Vectors have the
//! order of the texts. `ask` handles everything that may happen to one request. `http::Patience`
//! decides whether and when it is repeated. A pause that the service asks for (`Retry-After`) holds
//! for all threads. A rejected request is halved until it succeeds or one bad text is isolated.
//! Everything else is an error: a vector is never made up, left out, or taken for another text's. A
//! stage that fails does not wait for requests under way.
//!
//! A first request, before the stream begins, shows how many numbers a vector has. The store keeps
//! that number, so a question needs one request only.
//!
//! What a store names is not trusted. `EndpointEnv::address_for` is the one place that decides
//! whether a question goes there, and with which key. A redirect of a request with texts is
//! followed within the same origin only.

mod args;
mod wire;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use cs_common::metadata::{self, Model, UNKNOWN};

pub use args::{EndpointArgs, EndpointEnv};

use crate::folder::RecipeArgs;
use crate::http::{Address, Client, Failure, Limits, Patience};
use crate::{Embedder, Error, ModelSpec, Prepared};

/// Batches of a window for each request that is under way: the more, the less the last ones are
/// waited for.
const BATCHES: usize = 4;

/// Bytes of an answer for each vector, at most: more than 8,192 numbers take.
const VECTOR_BYTES: u64 = 256 << 10;

/// What is embedded to see whether the service answers, and with how many numbers.
const PROBE: &str = "fn main() {}";

/// A model that a service runs.
pub(crate) struct EndpointModel {
    model: Model,
    service: Arc<Service>,
}

/// A service and how it is asked.
struct Service {
    client: Client,
    url: String,
    name: String,
    args: EndpointArgs,
    /// Numbers of each vector that comes, once that is known.
    dim: OnceLock<usize>,
    /// Texts of a request at most; fewer than were asked for, after the service refused more.
    texts: AtomicUsize,
    /// Whether it has answered: if nobody does later, it is being started again.
    answered: AtomicBool,
    /// When the service wants to hear again from any of us.
    resume: Mutex<Option<Instant>>,
    /// Whether some request failed for good, so that no other need be made.
    failed: AtomicBool,
}

/// Opens a model that a service runs, and asks it for a first vector.
///
/// # Errors
/// [`Error::Endpoint`] if it does not give one, or if something is asked that a service cannot be
/// told.
pub(crate) fn open(spec: &ModelSpec, address: &Address) -> Result<EndpointModel, Error> {
    heed(spec, address)?;
    let service = Service::new(&spec.id, address, &spec.endpoint, &spec.env.endpoint);
    service.ask(0, &[PROBE.to_owned()])?;
    let dim = service.dim.get().copied().unwrap_or_default();
    let kept = spec.dims.unwrap_or(dim);
    if kept == 0 || kept > dim {
        return Err(Error::Dims {
            id: spec.id.clone(),
            wanted: kept,
            found: dim,
        });
    }
    let recipe = &spec.recipe;
    Ok(EndpointModel {
        model: Model {
            id: spec.id.clone(),
            sha256: String::new(),
            dim: kept,
            dtype: UNKNOWN.to_owned(),
            pooling: UNKNOWN.to_owned(),
            normalized: recipe.normalize.unwrap_or_default(),
            max_tokens: None,
            query_prefix: recipe.query_prefix.clone().unwrap_or_default(),
            document_prefix: recipe.document_prefix.clone().unwrap_or_default(),
            endpoint: Some(metadata::Endpoint {
                url: address.url().to_owned(),
                dim,
            }),
        },
        service: Arc::new(service),
    })
}

/// Opens the model of a store through the service that made its vectors, or the one that the
/// environment names in its place.
///
/// # Errors
/// [`Error::Endpoint`] if the environment does not say that the service may be asked.
pub(crate) fn open_for(
    model: &Model,
    stored: &metadata::Endpoint,
    env: &EndpointEnv,
) -> Result<EndpointModel, Error> {
    let (address, env) = env.address_for(stored)?;
    let service = Service::new(&model.id, &address, &EndpointArgs::default(), &env);
    let _ = service.dim.set(stored.dim);
    Ok(EndpointModel {
        model: model.clone(),
        service: Arc::new(service),
    })
}

/// Refuses what is said about a model that is run here.
fn heed(spec: &ModelSpec, address: &Address) -> Result<(), Error> {
    let heeded = RecipeArgs {
        pooling: None,
        max_tokens: None,
        ..spec.recipe.clone()
    };
    let defaults = ModelSpec::default();
    if spec.revision.is_some()
        || spec.recipe != heeded
        || spec.device != defaults.device
        || spec.precision != defaults.precision
    {
        let cause = "runs the model as it likes: of what is said about encoders, only prefixes, --normalize and --dims go with --endpoint";
        return Err(Error::endpoint(address.url(), cause));
    }
    Ok(())
}

impl Embedder for EndpointModel {
    fn model(&self) -> &Model {
        &self.model
    }

    fn window(&self) -> usize {
        let args = &self.service.args;
        BATCHES * usize::from(args.concurrency) * usize::from(args.batch_size)
    }

    fn cache_key(&self) -> Result<Option<String>, Error> {
        // The address and the name are in the model: more is not known of its weights.
        Ok(Some(String::new()))
    }

    fn prepare(&self, texts: Vec<String>) -> Result<Prepared, Error> {
        Ok(Prepared::Texts(texts))
    }

    fn run(&self, texts: Prepared) -> Result<Vec<Vec<f32>>, Error> {
        let Prepared::Texts(texts) = texts else {
            // Ids are another model's: this one has no tokenizer.
            return Err(Error::endpoint(&self.service.url, "takes texts, not ids"));
        };
        let mut vectors = Service::run(&self.service, texts)?;
        crate::dims::shorten(&mut vectors, &self.model);
        Ok(vectors)
    }
}

impl Service {
    fn new(name: &str, address: &Address, args: &EndpointArgs, env: &EndpointEnv) -> Self {
        let url = address.url();
        Self {
            client: Client::new(url, env.key_for(address)),
            url: url.to_owned(),
            name: name.to_owned(),
            args: args.clone(),
            dim: OnceLock::new(),
            texts: AtomicUsize::new(usize::from(args.batch_size)),
            answered: AtomicBool::new(false),
            resume: Mutex::default(),
            failed: AtomicBool::new(false),
        }
    }

    /// Returns the vectors of texts, asked for by several threads.
    ///
    /// The threads are not waited for after a failure: a request may be long in failing.
    fn run(service: &Arc<Self>, texts: Vec<String>) -> Result<Vec<Vec<f32>>, Error> {
        let texts = Arc::new(texts);
        let batches = Arc::new(service.batches(&texts));
        let next = Arc::new(AtomicUsize::new(0));
        let (sender, made) = channel();
        for _ in 0..usize::from(service.args.concurrency).min(batches.len()) {
            let (service, texts) = (Arc::clone(service), Arc::clone(&texts));
            let (batches, next) = (Arc::clone(&batches), Arc::clone(&next));
            let sender = sender.clone();
            thread::spawn(move || {
                while let Some(batch) = batches.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let answer = service.ask(batch.start, &texts[batch.clone()]);
                    if answer.is_err() {
                        // The other threads' requests need not be made again either.
                        service.failed.store(true, Ordering::Relaxed);
                    }
                    let is_taken = sender.send((batch.start, answer)).is_ok();
                    if !is_taken || service.failed.load(Ordering::Relaxed) {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let mut vectors = vec![Vec::new(); texts.len()];
        for (start, answer) in made {
            for (vector, made) in vectors[start..].iter_mut().zip(answer?) {
                *vector = made;
            }
        }
        Ok(vectors)
    }

    /// Parts texts by number and by bytes; one that is larger than a request goes alone.
    fn batches(&self, texts: &[String]) -> Vec<std::ops::Range<usize>> {
        let most = self.texts.load(Ordering::Relaxed);
        let mut batches = Vec::new();
        let (mut start, mut bytes) = (0, 0);
        for (at, text) in texts.iter().enumerate() {
            let is_full = at - start == most || bytes + text.len() as u64 > self.args.batch_bytes;
            if at > start && is_full {
                batches.push(start..at);
                (start, bytes) = (at, 0);
            }
            bytes += text.len() as u64;
        }
        if start < texts.len() {
            batches.push(start..texts.len());
        }
        batches
    }

    /// Returns the vectors of the texts of one request, the first of which is the `first` of all.
    ///
    /// A service refuses a request of too many texts, and one with a text that it cannot take; by
    /// halving both are found out.
    fn ask(&self, first: usize, texts: &[String]) -> Result<Vec<Vec<f32>>, Error> {
        match self.ask_patiently(texts) {
            Ok(vectors) => self.checked(first, vectors),
            Err(failure) if texts.len() > 1 && failure.is_of_content() => {
                let half = texts.len() / 2;
                let (left, right) = texts.split_at(half);
                let mut vectors = self.ask(first, left)?;
                vectors.extend(self.ask(first + half, right)?);
                log::debug!("{failure}; {half} texts at once are taken");
                self.texts.fetch_min(half, Ordering::Relaxed);
                Ok(vectors)
            }
            Err(failure) => Err(self.refused(first, texts, failure)),
        }
    }

    /// Asks until there is an answer, or no use in asking.
    fn ask_patiently(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, Failure> {
        let json = wire::request(&self.name, texts);
        let limits = Limits {
            timeout: Duration::from_secs(u64::from(self.args.timeout)),
            bytes: (1 << 20) + texts.len() as u64 * VECTOR_BYTES,
        };
        let mut patience = Patience::new(self.args.retries);
        loop {
            self.wait_for_others();
            let answer = self.client.post(&self.url, &json, limits);
            let answer = answer.and_then(|json| wire::answer(&self.url, json, texts.len()));
            let failure = match answer {
                Ok(vectors) => {
                    self.answered.store(true, Ordering::Relaxed);
                    return Ok(vectors);
                }
                Err(failure) if self.failed.load(Ordering::Relaxed) => return Err(failure),
                Err(failure) => failure,
            };
            let is_restart = failure.is_absence() && self.answered.load(Ordering::Relaxed);
            let pause = match is_restart {
                true => patience.pause_anyway(&failure),
                false => patience.pause(&failure),
            };
            let Some(pause) = pause else {
                return Err(failure);
            };
            if failure.asks_for_a_pause() {
                let mut resume = self.resume.lock().unwrap_or_else(PoisonError::into_inner);
                *resume = (*resume).max(Some(Instant::now() + pause));
            } else {
                thread::sleep(pause);
            }
        }
    }

    /// Waits for as long as the service has asked any request to.
    fn wait_for_others(&self) {
        loop {
            let resume = *self.resume.lock().unwrap_or_else(PoisonError::into_inner);
            let left = resume.map_or(Duration::ZERO, |at| {
                at.saturating_duration_since(Instant::now())
            });
            if left.is_zero() {
                return;
            }
            thread::sleep(left);
        }
    }

    /// Checks that all vectors have the numbers that the first one had.
    fn checked(&self, first: usize, vectors: Vec<Vec<f32>>) -> Result<Vec<Vec<f32>>, Error> {
        for (at, vector) in vectors.iter().enumerate() {
            let dim = *self.dim.get_or_init(|| vector.len());
            if vector.len() != dim || dim == 0 {
                let found = vector.len();
                let cause = format!("{} gives a vector of {found} numbers, not {dim}", self.url);
                return Err(Error::Text {
                    at: first + at,
                    cause,
                    hint: "the service runs another model now: embed again into another store",
                });
            }
        }
        Ok(vectors)
    }

    /// Says why there are no vectors, and what may help.
    fn refused(&self, first: usize, texts: &[String], failure: Failure) -> Error {
        if failure.is_of_content() && self.answered.load(Ordering::Relaxed) {
            let cause = format!("{failure}, for a text of {} bytes", texts[0].len());
            return Error::Text {
                at: first,
                cause,
                hint: "let the service cut long texts, or make smaller chunks: cs-parse --max-chunk-bytes 800",
            };
        }
        let hint = match &failure {
            Failure::Status {
                status: 401 | 403, ..
            } if self.client.has_token() => "look at the key in CS_API_KEY".to_owned(),
            Failure::Status {
                status: 401 | 403, ..
            } => args::KEY_HINT.to_owned(),
            Failure::Status { status: 404, .. } => {
                format!(
                    "is the address right, and does the service have the model {}?",
                    self.name
                )
            }
            Failure::Status { status: 429, .. } => {
                "the service wants fewer requests: --concurrency 1, or --retries 20".to_owned()
            }
            _ if failure.is_absence() => "is the service running, and the address right?".to_owned(),
            _ => "--timeout and --retries say how patient cs-embed is; with --cache no vector is paid for twice"
                .to_owned(),
        };
        Error::Endpoint {
            cause: failure.to_string(),
            hint: Some(hint),
            source: Some(Box::new(failure)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_bounded_by_texts_and_by_bytes() {
        let address = args::address("http://localhost:1").unwrap();
        let args = EndpointArgs {
            batch_size: 3,
            batch_bytes: 10,
            ..EndpointArgs::default()
        };
        let service = Service::new("m", &address, &args, &EndpointEnv::default());
        let batches = |lengths: &[usize]| {
            let texts: Vec<String> = lengths.iter().map(|length| "x".repeat(*length)).collect();
            service.batches(&texts)
        };
        assert!(batches(&[]).is_empty());
        assert_eq!(batches(&[1; 7]), [0..3, 3..6, 6..7]);
        assert_eq!(batches(&[5, 5, 1]), [0..2, 2..3]);
        assert_eq!(batches(&[99, 99, 1]), [0..1, 1..2, 2..3]);
        assert_eq!(
            batches(&[0, 10, 0]),
            std::iter::once(0..3).collect::<Vec<_>>()
        );
    }
}
