//! The HTTP client: trusted servers, time limits, retries, and where the token goes.
//!
//! All requests of the stage go through it. It is blocking, because a stage has nothing else to do
//! meanwhile. Proxies are taken from `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`. The
//! client follows redirects itself, because the token may go to one origin only.

mod address;
mod patience;
mod post;
mod tls;

use std::fmt;
use std::io::{self, Read as _};
use std::time::{Duration, SystemTime};

use ureq::http::{HeaderMap, Method, Request, Response, Uri, request};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{Connector as _, DefaultConnector};
use ureq::{Agent, Body};

pub use address::{Address, Service};
pub use patience::Patience;
pub use post::{Limits, Lines};
use tls::TlsConnector;

const CONNECT: Duration = Duration::from_secs(20);

/// How long a server may be silent, before its answer or in the middle of it.
const SILENCE: Duration = Duration::from_secs(60);

const REDIRECTS: usize = 10;

/// The largest answer that is held in memory.
const MAX_TEXT: u64 = 32 << 20;

/// Connections that are kept for the next request.
const IDLE: usize = 64;

/// A secret that says who asks. It is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Returns the token in a text, if there is more than blanks in it.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty()).then(|| Self(text.to_owned()))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Why a request brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// There was no answer, or it was cut.
    #[error("{url}: {source}")]
    Transport {
        /// Who was asked, without what follows the path.
        url: String,
        /// What happened to the connection.
        #[source]
        source: Box<ureq::Error>,
    },

    /// The answer was no success.
    #[error("{url}: HTTP status {status}{}", told(message))]
    Status {
        /// Who was asked.
        url: String,
        /// The status of HTTP.
        status: u16,
        /// The server's own words, if it has some.
        message: Option<String>,
        /// Its word for the case.
        code: Option<String>,
        /// When it wants to hear again.
        retry_after: Option<Duration>,
    },

    /// The answer is not what was asked for.
    #[error("{url}: {cause}")]
    Answer {
        /// Who was asked.
        url: String,
        /// What is wrong with the answer.
        cause: String,
    },

    /// The answer is broken, as one that a proxy has cut.
    #[error("{url}: {cause}")]
    Broken {
        /// Who was asked.
        url: String,
        /// What is wrong with the answer.
        cause: String,
    },
}

fn told(message: &Option<String>) -> String {
    message
        .as_ref()
        .map_or_else(String::new, |message| format!(" ({message})"))
}

impl Failure {
    /// Tells whether the same request may succeed a moment later.
    fn passes(&self) -> bool {
        use io::ErrorKind::{
            BrokenPipe, ConnectionAborted, ConnectionReset, TimedOut, UnexpectedEof, WouldBlock,
        };
        match self {
            Self::Status { status, .. } => matches!(status, 408 | 416 | 429 | 500 | 502..=504),
            Self::Transport { source, .. } => match source.as_ref() {
                ureq::Error::Timeout(_) => true,
                ureq::Error::Io(error) => matches!(
                    error.kind(),
                    BrokenPipe
                        | ConnectionAborted
                        | ConnectionReset
                        | TimedOut
                        | UnexpectedEof
                        | WouldBlock
                ),
                _ => false,
            },
            Self::Broken { .. } => true,
            Self::Answer { .. } => false,
        }
    }

    /// Tells whether nobody answers at all, as while a server starts again.
    pub fn is_absence(&self) -> bool {
        match self {
            Self::Transport { source, .. } => match source.as_ref() {
                ureq::Error::Io(error) => error.kind() == io::ErrorKind::ConnectionRefused,
                ureq::Error::ConnectionFailed | ureq::Error::HostNotFound => true,
                _ => false,
            },
            _ => false,
        }
    }

    /// Tells whether the server does not take what it was sent, because of what it is or how much.
    pub(crate) fn is_of_content(&self) -> bool {
        matches!(self, Self::Status { status, .. } if matches!(status, 400 | 413 | 422))
    }

    /// Tells whether the server says when it wants to hear again.
    pub(crate) fn asks_for_a_pause(&self) -> bool {
        self.retry_after().is_some()
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// A client with a token for one server.
pub struct Client {
    agent: Agent,
    /// The token, and the only origin that it is for.
    token: Option<(Token, Origin)>,
}

impl Client {
    /// Makes a client that sends `token` to the server of the URL `server` and to no other.
    pub fn new(server: &str, token: Option<Token>) -> Self {
        let config = Agent::config_builder()
            .user_agent(concat!("cs-embed/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .http_status_as_error(false)
            // Followed here, so that each step is asked whether the token may go along.
            .max_redirects(0)
            .max_idle_connections(IDLE)
            .max_idle_connections_per_host(IDLE)
            .max_redirects_will_error(false)
            .build();
        let connector = DefaultConnector::new().chain(TlsConnector::default());
        Self {
            agent: Agent::with_parts(config, connector, DefaultResolver::default()),
            token: token.zip(Origin::of(server)),
        }
    }

    /// Tells whether requests to its server carry a token.
    pub(crate) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Asks for the headers of the first answer that has the header `until`, or of the last one
    /// after all redirects.
    ///
    /// # Errors
    /// [`Failure`], after as many tries as [`Patience`] has.
    pub(crate) fn head(&self, url: &str, until: &str) -> Result<HeaderMap, Failure> {
        let ask = || self.send(&Method::HEAD, url, 0, Some(until));
        Ok(patiently(ask)?.into_parts().0.headers)
    }

    /// Asks for a text of at most 32 MiB.
    ///
    /// # Errors
    /// [`Failure`], after as many tries as [`Patience`] has.
    pub(crate) fn text(&self, url: &str) -> Result<String, Failure> {
        patiently(|| {
            let mut text = String::new();
            let mut response = self.send(&Method::GET, url, 0, None)?;
            let mut body = response.body_mut().as_reader().take(MAX_TEXT);
            body.read_to_string(&mut text)
                .map_err(|error| transport(url, error.into()))?;
            Ok(text)
        })
    }

    /// Asks once for a body from the byte `from` on.
    ///
    /// The answer has status 206 if it begins there, 200 if the server sends all of it.
    ///
    /// # Errors
    /// [`Failure`].
    pub(crate) fn get(&self, url: &str, from: u64) -> Result<Response<Body>, Failure> {
        self.send(&Method::GET, url, from, None)
    }

    fn send(
        &self,
        method: &Method,
        url: &str,
        from: u64,
        until: Option<&str>,
    ) -> Result<Response<Body>, Failure> {
        let mut url = url.to_owned();
        for _ in 0..REDIRECTS {
            let mut request = self.request(method, &url);
            if from > 0 {
                request = request.header("range", format!("bytes={from}-"));
            }
            let response = request
                .body(())
                .map_err(ureq::Error::from)
                .and_then(|request| self.agent.run(request))
                .map_err(|error| transport(&url, error))?;
            let headers = response.headers();
            let code = response.status();
            let is_answer = code.is_success() || code.is_redirection();
            if is_answer && until.is_some_and(|name| headers.contains_key(name)) {
                return Ok(response);
            }
            if let (true, Some(location)) = (
                response.status().is_redirection(),
                text(headers, "location"),
            ) {
                url = absolute(&url, location);
            } else if code.is_success() {
                return Ok(response);
            } else {
                return Err(status(url, &response));
            }
        }
        let cause = format!("more than {REDIRECTS} redirects");
        Err(Failure::Answer { url, cause })
    }

    /// Begins a request, with the token if it is for this URL's server.
    fn request(&self, method: &Method, url: &str) -> request::Builder {
        // Without it a server may compress, and tell the length of that.
        let request = Request::builder()
            .method(method.clone())
            .uri(url)
            .header("accept-encoding", "identity");
        match &self.token {
            Some((Token(token), origin)) if Origin::of(url).as_ref() == Some(origin) => {
                request.header("authorization", format!("Bearer {token}"))
            }
            _ => request,
        }
    }
}

/// Makes a request until it succeeds, or does not.
fn patiently<T>(request: impl Fn() -> Result<T, Failure>) -> Result<T, Failure> {
    let mut patience = Patience::default();
    loop {
        match request() {
            Err(failure) if patience.wait(&failure) => {}
            other => return other,
        }
    }
}

/// Returns a header's value, where it is text.
pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Says that a connection to `url` failed.
pub(crate) fn transport(url: &str, source: ureq::Error) -> Failure {
    Failure::Transport {
        url: plain(url),
        source: Box::new(source),
    }
}

fn status(url: String, response: &Response<Body>) -> Failure {
    let headers = response.headers();
    let owned = |name| text(headers, name).map(str::to_owned);
    Failure::Status {
        url: plain(&url),
        status: response.status().as_u16(),
        message: owned("x-error-message"),
        code: owned("x-error-code"),
        retry_after: text(headers, "retry-after")
            .and_then(|value| patience::retry_after(value, SystemTime::now())),
    }
}

/// Leaves out of a URL what follows its path: signed addresses carry secrets there.
fn plain(url: &str) -> String {
    url.split('?').next().unwrap_or_default().to_owned()
}

/// Returns where a redirect leads to.
fn absolute(from: &str, location: &str) -> String {
    if location.contains("://") {
        return location.to_owned();
    }
    let path = from.find("://").map_or(0, |at| at + 3);
    let end = from[path..].find('/').map_or(from.len(), |at| path + at);
    if let Some(rest) = location.strip_prefix("//") {
        return format!("{}//{rest}", &from[..path - 2]);
    }
    if location.starts_with('/') {
        return format!("{}{location}", &from[..end]);
    }
    let folder = plain(from).rfind('/').filter(|at| *at >= end);
    format!("{}/{location}", &from[..folder.unwrap_or(end)])
}

/// Scheme, host and port of a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Origin(String, String, u16);

impl Origin {
    fn of(url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let scheme = uri.scheme_str()?.to_ascii_lowercase();
        let port = uri
            .port_u16()
            .unwrap_or(if scheme == "https" { 443 } else { 80 });
        Some(Self(scheme, uri.host()?.to_ascii_lowercase(), port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_for_one_scheme_host_and_port() {
        let origin = Origin::of("https://Hub.example/prefix");
        assert!(origin.is_some());
        for (url, same) in [
            ("https://hub.example:443/a?b", true),
            ("https://hub.example:444/a", false),
            ("http://hub.example/a", false),
            ("https://hub.example.org/a", false),
            ("https://hub.example@other.example/a", false),
            ("//hub.example/a", false),
        ] {
            assert_eq!(Origin::of(url) == origin, same, "{url}");
        }
        let token = Token::new(" hf_secret\n");
        assert!(token.is_some() && !format!("{token:?}").contains("secret"));
        assert_eq!(Token::new(" \n"), None);
    }

    #[test]
    fn a_redirect_leads_where_it_says() {
        let from = "https://hub.example:8443/org/name/resolve/main/a.json?x=/y";
        for (location, target) in [
            ("http://cdn.example/b", "http://cdn.example/b"),
            ("/new/b?c=d", "https://hub.example:8443/new/b?c=d"),
            ("b", "https://hub.example:8443/org/name/resolve/main/b"),
            ("//cdn.example/b", "https://cdn.example/b"),
        ] {
            assert_eq!(absolute(from, location), target);
        }
        assert_eq!(
            absolute("https://hub.example", "b"),
            "https://hub.example/b"
        );
    }

    #[test]
    fn what_cannot_pass_is_not_tried_again() {
        let status = |status| Failure::Status {
            url: String::new(),
            status,
            message: None,
            code: None,
            retry_after: None,
        };
        let io = |kind: io::ErrorKind| transport("", io::Error::from(kind).into());
        assert!(status(429).passes() && status(503).passes());
        assert!(!status(401).passes() && !status(404).passes());
        assert!(io(io::ErrorKind::ConnectionReset).passes());
        assert!(!io(io::ErrorKind::ConnectionRefused).passes());
        assert!(!transport("", ureq::Error::HostNotFound).passes());
    }
}
