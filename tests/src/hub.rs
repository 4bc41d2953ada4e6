//! A model hub on loopback: what the public one answers to a download, and its bad days.
//!
//! Small files come from the hub itself, larger ones from a second server to which it redirects,
//! as the public hub does with what git-lfs holds.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::json;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

/// The model that the hub has.
pub const MODEL: &str = "team/tiny";

/// A name that the model had before: the hub redirects to the other one.
pub const OLD: &str = "team/old";

/// The commit that its branch `main` and its tag `v1` are at.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Files of at least this many bytes come from the second server.
const LARGE: usize = 4096;

/// What the next `GET` of a file meets instead of a proper answer.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// The connection ends after this many bytes of the body.
    Cut(usize),
    /// Another status, with `Retry-After` in seconds if it is said.
    Status(u16, Option<u32>),
    /// The first byte of the body is another one.
    Wrong,
    /// A range is not looked at: all of the file comes.
    NoRange,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    /// Whether it came to the second server.
    pub elsewhere: bool,
    /// `GET` or `HEAD`.
    pub method: String,
    /// Path and what follows it.
    pub path: String,
    /// The header `Range`.
    pub range: Option<String>,
    /// The header `Authorization`.
    pub authorization: Option<String>,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<String, Vec<u8>>,
    token: Option<String>,
    faults: Vec<(String, Fault)>,
    requests: Vec<Request>,
    elsewhere: String,
}

/// A running hub; it ends with the test's process.
#[derive(Clone, Debug)]
pub struct Hub {
    /// Its URL.
    pub endpoint: String,
    state: Arc<Mutex<State>>,
}

impl Hub {
    /// Starts a hub that has [`MODEL`] with these files.
    ///
    /// # Panics
    /// If loopback has no free port.
    pub fn start(files: BTreeMap<String, Vec<u8>>) -> Self {
        Self::serve(files, None)
    }

    /// Starts a hub that speaks TLS, with `cert.pem` and `key.pem` of a folder.
    ///
    /// # Panics
    /// If they are no such files, or loopback has no free port.
    pub fn start_tls(files: BTreeMap<String, Vec<u8>>, folder: &Path) -> Self {
        let certificate =
            CertificateDer::from_pem_file(folder.join("cert.pem")).expect("a certificate");
        let key = PrivateKeyDer::from_pem_file(folder.join("key.pem")).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .expect("a pair");
        Self::serve(files, Some(Arc::new(config)))
    }

    fn serve(files: BTreeMap<String, Vec<u8>>, tls: Option<Arc<ServerConfig>>) -> Self {
        let state = Arc::new(Mutex::new(State {
            files,
            ..State::default()
        }));
        let elsewhere = listen(&state, true, tls.clone());
        let endpoint = listen(&state, false, tls);
        let hub = Self { endpoint, state };
        hub.with(|state| state.elsewhere = elsewhere);
        hub
    }

    fn with<T>(&self, body: impl FnOnce(&mut State) -> T) -> T {
        body(&mut self.state.lock().expect("no server thread panicked"))
    }

    /// Gives the model only to those who bring a token.
    pub fn demand(&self, token: &str) {
        self.with(|state| state.token = Some(token.to_owned()));
    }

    /// Lets the next `GET` of a file meet a fault; several are met one after the other.
    pub fn fault(&self, file: &str, fault: Fault) {
        self.with(|state| state.faults.push((file.to_owned(), fault)));
    }

    /// Puts a file there.
    pub fn put(&self, file: &str, bytes: impl Into<Vec<u8>>) {
        self.with(|state| state.files.insert(file.to_owned(), bytes.into()));
    }

    /// Takes a file away.
    pub fn remove(&self, file: &str) {
        self.with(|state| state.files.remove(file));
    }

    /// Returns all requests so far, and forgets them.
    pub fn requests(&self) -> Vec<Request> {
        self.with(|state| std::mem::take(&mut state.requests))
    }

    /// Returns the shell commands that make a stage ask this hub.
    pub fn env(&self) -> String {
        format!(
            "unset HF_HUB_OFFLINE; export HF_ENDPOINT={}; ",
            self.endpoint
        )
    }
}

fn listen(state: &Arc<Mutex<State>>, elsewhere: bool, tls: Option<Arc<ServerConfig>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its address").port();
    let scheme = if tls.is_some() { "https" } else { "http" };
    let state = Arc::clone(state);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (state, tls) = (Arc::clone(&state), tls.clone());
            thread::spawn(move || {
                // A client that goes away in the middle is none of the server's failures.
                let _ = match tls.and_then(|config| ServerConnection::new(config).ok()) {
                    None => serve(stream, &state, elsewhere),
                    Some(tls) => serve(StreamOwned::new(tls, stream), &state, elsewhere),
                };
            });
        }
    });
    format!("{scheme}://127.0.0.1:{port}")
}

/// An answer; of the body only `send` is sent.
struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    send: usize,
}

impl Answer {
    fn new(status: u16, body: Vec<u8>) -> Self {
        let send = body.len();
        Self {
            status,
            headers: Vec::new(),
            body,
            send,
        }
    }

    fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }
}

/// Answers the one request of a connection.
fn serve(
    mut stream: impl Read + Write,
    state: &Mutex<State>,
    elsewhere: bool,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(&mut stream).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    let mut words = first.split(' ').map(str::to_owned);
    let mut request = Request {
        elsewhere,
        method: words.next().unwrap_or_default(),
        path: words.next().unwrap_or_default(),
        range: None,
        authorization: None,
    };
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(": ") else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "range" => request.range = Some(value.to_owned()),
            "authorization" => request.authorization = Some(value.to_owned()),
            _ => {}
        }
    }
    let answer = {
        let mut state = state.lock().expect("no server thread panicked");
        state.requests.push(request.clone());
        answer(&mut state, &request)
    };
    let mut head = format!(
        "HTTP/1.1 {} -\r\ncontent-length: {}\r\nconnection: close\r\n",
        answer.status,
        answer.body.len()
    );
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(head.as_bytes())?;
    stream.write_all(b"\r\n")?;
    if request.method != "HEAD" {
        stream.write_all(&answer.body[..answer.send])?;
    }
    stream.flush()
}

fn answer(state: &mut State, request: &Request) -> Answer {
    let path = request.path.split('?').next().unwrap_or_default();
    if request.elsewhere {
        let file = path.trim_start_matches("/stored/").to_owned();
        return file_answer(state, request, &file);
    }
    if path.contains(OLD) {
        return Answer::new(307, Vec::new()).with("location", path.replace(OLD, MODEL));
    }
    let known = match &state.token {
        Some(token) => request.authorization == Some(format!("Bearer {token}")),
        None => true,
    };
    let of_model = |prefix: &str| {
        let rest = path.strip_prefix(prefix)?.strip_prefix(MODEL)?;
        rest.strip_prefix('/').map(str::to_owned)
    };
    let (api, resolve) = (of_model("/api/models/"), of_model("/"));
    if !known || (api.is_none() && resolve.is_none()) {
        // The public hub tells strangers of a name that it does not have what it tells of a secret one.
        let status = if request.authorization.is_some() {
            404
        } else {
            401
        };
        return Answer::new(status, b"{}".to_vec())
            .with("x-error-code", "RepoNotFound")
            .with("x-error-message", "Repository not found");
    }
    if let Some(revision) = api.and_then(|rest| Some(rest.strip_prefix("revision/")?.to_owned())) {
        if !["main", "v1", "refs%2Fpr%2F1", COMMIT].contains(&revision.as_str()) {
            return Answer::new(404, b"{}".to_vec()).with("x-error-code", "RevisionNotFound");
        }
        let files = state.files.keys().map(|path| json!({ "rfilename": path }));
        let text = json!({"id": MODEL, "sha": COMMIT, "siblings": files.collect::<Vec<_>>()});
        let fault = take_fault(state, request, "api");
        return faulty(Answer::new(200, text.to_string().into_bytes()), fault);
    }
    let prefix = format!("resolve/{COMMIT}/");
    let file = resolve.and_then(|rest| Some(rest.strip_prefix(&prefix)?.to_owned()));
    let Some((file, bytes)) = file.and_then(|f| Some((f.clone(), state.files.get(&f)?))) else {
        return Answer::new(404, Vec::new()).with("x-error-code", "EntryNotFound");
    };
    if bytes.len() < LARGE {
        return file_answer(state, request, &file).with("x-repo-commit", COMMIT);
    }
    Answer::new(302, Vec::new())
        .with("x-repo-commit", COMMIT)
        .with(
            "x-linked-etag",
            format!("\"{}\"", hex(&Sha256::digest(bytes))),
        )
        .with("x-linked-size", bytes.len())
        .with("etag", "\"another-one\"")
        .with(
            "location",
            format!("{}/stored/{file}?Signature=secret", state.elsewhere),
        )
}

/// Answers with a file's bytes, or with those of a range to its end.
fn file_answer(state: &mut State, request: &Request, file: &str) -> Answer {
    let fault = take_fault(state, request, file);
    let Some(bytes) = state.files.get(file) else {
        return Answer::new(404, Vec::new());
    };
    let mut git = Sha1::new_with_prefix(format!("blob {}\0", bytes.len()));
    git.update(bytes);
    let etag = format!("W/\"{}\"", hex(&git.finalize()));
    let from = request.range.as_deref().and_then(|range| {
        let from = range.strip_prefix("bytes=")?.strip_suffix('-')?;
        from.parse::<usize>().ok()
    });
    let total = bytes.len();
    let whole = match from.filter(|_| !matches!(fault, Some(Fault::NoRange))) {
        None => Answer::new(200, bytes.clone()),
        Some(from) if from < total => Answer::new(206, bytes[from..].to_vec()).with(
            "content-range",
            format!("bytes {from}-{}/{total}", total - 1),
        ),
        Some(_) => Answer::new(416, Vec::new()).with("content-range", format!("bytes */{total}")),
    };
    faulty(whole.with("etag", etag), fault)
}

fn take_fault(state: &mut State, request: &Request, file: &str) -> Option<Fault> {
    if request.method != "GET" {
        return None;
    }
    let at = state.faults.iter().position(|(name, _)| name == file)?;
    Some(state.faults.remove(at).1)
}

fn faulty(mut answer: Answer, fault: Option<Fault>) -> Answer {
    match fault {
        Some(Fault::Cut(bytes)) => answer.send = bytes.min(answer.body.len()),
        Some(Fault::Wrong) => {
            if let Some(first) = answer.body.first_mut() {
                *first ^= 1;
            }
        }
        Some(Fault::Status(status, after)) => {
            answer = Answer::new(status, Vec::new());
            if let Some(seconds) = after {
                answer = answer.with("retry-after", seconds);
            }
        }
        Some(Fault::NoRange) | None => {}
    }
    answer
}

/// Returns a digest in lower-case hexadecimal digits.
fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the hash that the public hub would give for a file, by its size: SHA-256, or git's.
pub fn etag(bytes: &[u8]) -> String {
    if bytes.len() >= LARGE {
        return hex(&Sha256::digest(bytes));
    }
    let mut git = Sha1::new_with_prefix(format!("blob {}\0", bytes.len()));
    git.update(bytes);
    hex(&git.finalize())
}
