//! Sending JSON to a service, and reading what it answers: at once, or as it comes.

use std::io::{BufRead, BufReader, Read as _};
use std::time::Duration;

use serde_json::Value;
use ureq::Body;
use ureq::http::{Method, Response};

use super::{Client, Failure, Origin, REDIRECTS, Token, absolute, plain, status, text, transport};

/// Bytes of an answer that says what failed which are looked at.
const MAX_COMPLAINT: u64 = 64 << 10;

/// Characters of a server's own words that are told.
const TOLD: usize = 300;

/// How long a request may take, and how large its answer may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For all of it; of an answer that is read as it comes, for each silence.
    pub timeout: Duration,
    /// Of the answer.
    pub bytes: u64,
}

impl Client {
    /// Sends JSON once and returns what comes back.
    ///
    /// A redirect is followed within the same origin only: what is sent is for this server.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn post(&self, url: &str, json: &[u8], limits: Limits) -> Result<Vec<u8>, Failure> {
        let (url, mut response) = self.answer(url, json, limits.timeout, Some(limits.timeout))?;
        read(&url, &mut response, limits.bytes)
    }

    /// Sends JSON once and returns the lines of the answer as they come.
    ///
    /// # Errors
    /// [`Failure`]; reading a line fails as reading from the connection does, and beyond
    /// `limits.bytes` as the end of it.
    pub fn post_for_lines(&self, url: &str, json: &[u8], limits: Limits) -> Result<Lines, Failure> {
        let (url, response) = self.answer(url, json, limits.timeout, None)?;
        let body = response.into_body().into_reader().take(limits.bytes);
        Ok(Lines {
            url,
            body: Box::new(BufReader::new(body)),
        })
    }

    /// Sends JSON; returns who answered, and the answer, of which only the head was read.
    fn answer(
        &self,
        url: &str,
        json: &[u8],
        silence: Duration,
        whole: Option<Duration>,
    ) -> Result<(String, Response<Body>), Failure> {
        let mut url = url.to_owned();
        for _ in 0..REDIRECTS {
            let request = self
                .request(&Method::POST, &url)
                .header("content-type", "application/json")
                .body(json)
                .map_err(|error| transport(&url, error.into()))?;
            let request = self
                .agent
                .configure_request(request)
                .timeout_global(whole)
                .timeout_recv_response(Some(silence))
                .timeout_per_read(Some(silence))
                .build();
            let response = self
                .agent
                .run(request)
                .map_err(|error| transport(&url, error))?;
            let code = response.status();
            if code.is_success() {
                return Ok((url, response));
            }
            if !code.is_redirection() {
                return Err(self.complaint(url, response));
            }
            let target = text(response.headers(), "location").map(|to| absolute(&url, to));
            let target = target.unwrap_or_default();
            if !matches!(code.as_u16(), 307 | 308) || Origin::of(&target) != Origin::of(&url) {
                let cause = format!("redirects to {}: name that address", plain(&target));
                return Err(Failure::Answer { url, cause });
            }
            url = target;
        }
        let cause = format!("more than {REDIRECTS} redirects");
        Err(Failure::Answer { url, cause })
    }

    /// Says what a server of JSON complains about, in its words.
    fn complaint(&self, url: String, mut response: Response<Body>) -> Failure {
        let mut body = Vec::new();
        // What cannot be read of it adds nothing to the status.
        let _ = response
            .body_mut()
            .as_reader()
            .take(MAX_COMPLAINT)
            .read_to_end(&mut body);
        let mut failure = status(url, &response);
        if let Failure::Status { message, code, .. } = &mut failure {
            let json: Value = serde_json::from_slice(&body).unwrap_or_default();
            let error = &json["error"];
            let words = [&error["message"], error, &json["message"], &json["detail"]];
            let told = words.into_iter().find_map(Value::as_str);
            *message = told.map(|told| self.harmless(told)).or(message.take());
            *code = error["code"].as_str().map(str::to_owned).or(code.take());
        }
        failure
    }

    /// Makes a server's words fit to be printed: short, in one line, without the token.
    pub fn harmless(&self, told: &str) -> String {
        let told = match &self.token {
            Some((Token(token), _)) => told.replace(token.as_str(), "…"),
            None => told.to_owned(),
        };
        let plain = told.chars().map(|c| if c.is_control() { ' ' } else { c });
        plain.take(TOLD).collect()
    }
}

/// The lines of an answer.
pub struct Lines {
    url: String,
    body: Box<dyn BufRead>,
}

impl Lines {
    /// Waits for a line and returns it without its end; `None` at the end of the answer.
    ///
    /// # Errors
    /// [`Failure::Transport`] if the connection ends too early or is silent for too long,
    /// [`Failure::Broken`] for what is not UTF-8.
    pub fn next_line(&mut self) -> Result<Option<String>, Failure> {
        let mut line = Vec::new();
        let read = self.body.read_until(b'\n', &mut line);
        if read.map_err(|error| transport(&self.url, error.into()))? == 0 {
            return Ok(None);
        }
        while line.last().is_some_and(|end| b"\r\n".contains(end)) {
            line.pop();
        }
        let line = String::from_utf8(line).map_err(|_| Failure::Broken {
            url: plain(&self.url),
            cause: "the answer is not UTF-8".to_owned(),
        })?;
        Ok(Some(line))
    }
}

/// Reads an answer of at most `limit` bytes.
fn read(url: &str, response: &mut Response<Body>, limit: u64) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let body = response.body_mut().as_reader();
    body.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| transport(url, error.into()))?;
    if bytes.len() as u64 > limit {
        let (url, cause) = (plain(url), format!("answers with more than {limit} bytes"));
        return Err(Failure::Answer { url, cause });
    }
    Ok(bytes)
}
