//! A service that embeds and reranks, on loopback: what `/v1/embeddings` and `/rerank` answer, and
//! its bad days.
//!
//! Its vectors and scores are made of the texts, so that a test sees whose they are.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::posted::Posted;

/// Dimensions of its vectors.
pub const DIM: usize = 8;

/// What a request meets instead of a proper answer.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Nothing: the answer is a proper one.
    Fine,
    /// The answer comes after this time.
    Slow(Duration),
    /// Another status, with headers and a body.
    Status(u16, Vec<(&'static str, String)>, String),
    /// The connection ends after this many bytes of the body.
    Cut(usize),
    /// The same, and no length was told before.
    CutUnseen(usize),
    /// One vector or score fewer than texts.
    Fewer,
    /// The last vector has one number less.
    Shorter,
    /// The vectors or scores come in the reverse order, each with its index.
    Reversed,
    /// Another body, with status 200.
    Body(String),
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    /// The path.
    pub path: String,
    /// The header `Authorization`.
    pub authorization: Option<String>,
    /// The model's name.
    pub model: String,
    /// The texts.
    pub texts: Vec<String>,
    /// All that was sent.
    pub body: Value,
    /// When it came.
    pub at: Instant,
}

#[derive(Default)]
struct State {
    faults: Vec<Fault>,
    /// Met by every request, after the faults.
    always: Option<Fault>,
    /// Texts of a request at most.
    most: Option<usize>,
    /// What must be in no text.
    unwanted: Option<String>,
    /// What a request must have.
    field: Option<&'static str>,
    requests: Vec<Request>,
    running: usize,
    most_running: usize,
}

impl State {
    /// Says why it does not take texts, if it does not.
    fn refusal(&self, request: &Request) -> Option<(u16, &'static str)> {
        let texts = &request.texts;
        if self
            .field
            .is_some_and(|field| request.body[field].is_null())
        {
            return Some((422, "missing field"));
        }
        if self.most.is_some_and(|most| texts.len() > most) {
            return Some((413, "batch too large"));
        }
        let unwanted = self.unwanted.as_ref()?;
        let has = texts.iter().any(|text| text.contains(unwanted));
        has.then_some((400, "input is too long"))
    }
}

/// A running service; it ends with the test's process.
#[derive(Clone)]
pub struct Service {
    /// Its URL, a host alone.
    pub url: String,
    state: Arc<Mutex<State>>,
}

impl Service {
    /// Starts a service.
    ///
    /// # Panics
    /// If loopback has no free port.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let service = Self {
            url: format!("http://127.0.0.1:{port}"),
            state: Arc::default(),
        };
        let own = service.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let service = own.clone();
                thread::spawn(move || {
                    // A client that goes away in the middle is none of the service's failures.
                    let _ = service.serve(stream);
                });
            }
        });
        service
    }

    fn with<T>(&self, body: impl FnOnce(&mut State) -> T) -> T {
        body(&mut self.state.lock().expect("no server thread panicked"))
    }

    /// Lets the next requests meet faults, one each; the first request only asks whether the
    /// service is there.
    pub fn faults(&self, faults: impl IntoIterator<Item = Fault>) {
        self.with(|state| state.faults.extend(faults));
    }

    /// Lets every request meet a fault.
    pub fn always(&self, fault: Fault) {
        self.with(|state| state.always = Some(fault));
    }

    /// Refuses requests of more texts.
    pub fn most(&self, texts: usize) {
        self.with(|state| state.most = Some(texts));
    }

    /// Refuses requests with a text that holds this.
    pub fn refuse(&self, part: &str) {
        self.with(|state| state.unwanted = Some(part.to_owned()));
    }

    /// Refuses requests without a field.
    pub fn want(&self, field: &'static str) {
        self.with(|state| state.field = Some(field));
    }

    /// Returns all requests so far, and forgets them.
    pub fn requests(&self) -> Vec<Request> {
        self.with(|state| std::mem::take(&mut state.requests))
    }

    /// Returns how many requests were under way at once.
    pub fn most_running(&self) -> usize {
        self.with(|state| state.most_running)
    }

    /// Answers the one request of a connection.
    fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let (request, fault) = self.take(&stream)?;
        let refused = self.with(|state| state.refusal(&request));
        let mut vectors = request.made();
        let (mut status, mut headers, mut send) = (200, Vec::new(), usize::MAX);
        let mut body = None;
        let mut tells_length = true;
        match fault {
            None | Some(Fault::Fine) => {}
            Some(Fault::Slow(time)) => thread::sleep(time),
            Some(Fault::Status(code, lines, text)) => {
                (status, headers, body) = (code, lines, Some(text));
            }
            Some(Fault::Cut(bytes)) => send = bytes,
            Some(Fault::CutUnseen(bytes)) => (send, tells_length) = (bytes, false),
            Some(Fault::Fewer) => drop(vectors.pop()),
            Some(Fault::Shorter) => {
                if let Some(Value::Array(numbers)) = vectors.last_mut().map(|v| &mut v["embedding"])
                {
                    numbers.pop();
                }
            }
            Some(Fault::Reversed) => vectors.reverse(),
            Some(Fault::Body(text)) => body = Some(text),
        }
        if let Some((code, cause)) = refused {
            status = code;
            body = Some(json!({"error": {"message": cause}}).to_string());
        }
        let whole = request.answer(vectors);
        let body = body.unwrap_or_else(|| whole.to_string());
        let mut head = format!("HTTP/1.1 {status} -\r\nconnection: close\r\n");
        if tells_length {
            head.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        self.with(|state| state.running -= 1);
        stream.write_all(head.as_bytes())?;
        stream.write_all(b"\r\n")?;
        stream.write_all(&body.as_bytes()[..send.min(body.len())])?;
        stream.flush()
    }

    /// Reads a request and what is to go wrong with it.
    fn take(&self, stream: &TcpStream) -> std::io::Result<(Request, Option<Fault>)> {
        let Posted {
            path,
            authorization,
            body,
        } = Posted::read(stream)?;
        let texts = ["input", "documents", "texts"].into_iter();
        let texts = texts.filter_map(|name| body[name].as_array()).next();
        let texts = texts.cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let request = Request {
            path,
            authorization,
            model: text(&body["model"]),
            texts: texts.iter().map(text).collect(),
            body,
            at: Instant::now(),
        };
        let fault = self.with(|state| {
            state.requests.push(request.clone());
            state.running += 1;
            state.most_running = state.most_running.max(state.running);
            match state.faults.is_empty() {
                true => state.always.clone(),
                false => Some(state.faults.remove(0)),
            }
        });
        Ok((request, fault))
    }
}

impl Request {
    /// Returns what is made of the texts, one by one; scores come from the highest to the lowest.
    fn made(&self) -> Vec<Value> {
        let texts = self.texts.iter().enumerate();
        let Some(query) = self.body["query"].as_str() else {
            return texts
                .map(|(at, text)| {
                    json!({"object": "embedding", "index": at, "embedding": vector(text)})
                })
                .collect();
        };
        let mut scores: Vec<_> = texts.map(|(at, text)| (score(query, text), at)).collect();
        scores.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        let name = match self.body["texts"].is_null() {
            true => "relevance_score",
            false => "score",
        };
        let scores = scores.into_iter();
        scores
            .map(|(score, at)| json!({"index": at, name: score}))
            .collect()
    }

    /// Puts what was made into the shape that was asked for.
    fn answer(&self, made: Vec<Value>) -> Value {
        if self.body["query"].is_null() {
            return json!({"object": "list", "model": self.model, "data": made});
        }
        match self.body["texts"].is_null() {
            true => json!({"id": "1", "results": made, "meta": {}}),
            false => Value::Array(made),
        }
    }
}

/// Returns how well a text answers a question: a number from 0 to 1 that a sum of both gives.
pub fn score(query: &str, text: &str) -> f64 {
    let sum = Sha256::digest(format!("{query}\n{text}"));
    f64::from(u16::from_be_bytes([sum[0], sum[1]])) / 65536.0
}

/// Returns the vector of a text: numbers that a sum of its bytes gives.
pub fn vector(text: &str) -> Vec<f64> {
    let sum = Sha256::digest(text);
    let numbers = sum
        .iter()
        .take(DIM)
        .map(|byte| f64::from(*byte) / 64.0 - 2.0);
    numbers.collect()
}
