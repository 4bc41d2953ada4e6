//! What the hub is asked: the files of a revision, and of each file its size and hash.

use serde::Deserialize;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::{HubEnv, MAIN, Name};
use crate::Error;
use crate::fixed::hex;
use crate::http::{self, Client, Failure};

/// A hub that is asked about one model.
pub(super) struct Hub<'a> {
    pub(super) client: Client,
    endpoint: &'a str,
    name: &'a Name,
}

/// A revision of a model.
#[derive(Debug, Deserialize)]
pub(super) struct Revision {
    /// The commit, 40 hex digits.
    #[serde(rename = "sha")]
    pub(super) commit: String,
    siblings: Vec<Sibling>,
}

#[derive(Debug, Deserialize)]
struct Sibling {
    #[serde(rename = "rfilename")]
    path: String,
}

impl Revision {
    /// Returns the paths of its files, those left out that would lead out of a folder.
    pub(super) fn files(&self) -> Vec<&str> {
        let is_step = |step: &str| !matches!(step, "" | "." | "..") && !step.contains(['\\', '\0']);
        let paths = self.siblings.iter().map(|file| file.path.as_str());
        paths.filter(|path| path.split('/').all(is_step)).collect()
    }
}

/// A file on the hub.
#[derive(Clone, Debug)]
pub(super) struct Remote {
    /// Its path in the model's folder.
    pub(super) path: String,
    pub(super) url: String,
    /// Bytes.
    pub(super) size: u64,
    /// Its hash in hex digits, which names it in the cache.
    pub(super) etag: String,
}

impl<'a> Hub<'a> {
    pub(super) fn new(env: &'a HubEnv, name: &'a Name) -> Self {
        Self {
            client: Client::new(&env.endpoint, env.token()),
            endpoint: &env.endpoint,
            name,
        }
    }

    /// Asks which commit the revision is at, and for its files.
    ///
    /// # Errors
    /// [`Error::Hub`].
    pub(super) fn revision(&self) -> Result<Revision, Error> {
        let Name { repo, revision } = self.name;
        let revision = escaped(revision, false);
        let url = format!("{}/api/models/{repo}/revision/{revision}", self.endpoint);
        let text = self.client.text(&url).map_err(|f| self.refused(f))?;
        let found: Revision = serde_json::from_str(&text).map_err(|error| {
            self.answer(&url, format!("the answer describes no model: {error}"))
        })?;
        if !is_hex(&found.commit, 40) {
            let cause = format!("`{}` is no commit", found.commit);
            return Err(self.answer(&url, cause));
        }
        Ok(found)
    }

    /// Asks for the size and the hash of a file.
    ///
    /// # Errors
    /// [`Error::Hub`], also if the hub tells no hash that a file could be checked by.
    pub(super) fn describe(&self, commit: &str, path: &str) -> Result<Remote, Error> {
        let repo = &self.name.repo;
        let escaped = escaped(path, true);
        let url = format!("{}/{repo}/resolve/{commit}/{escaped}", self.endpoint);
        // Large files lie elsewhere, whose headers are not the hub's.
        let headers = self.client.head(&url, "x-linked-etag");
        let headers = headers.map_err(|failure| self.refused(failure))?;
        let either =
            |linked, plain| http::text(&headers, linked).or_else(|| http::text(&headers, plain));
        let etag = either("x-linked-etag", "etag").unwrap_or_default();
        let etag = etag.trim_start_matches("W/").trim_matches('"');
        if !is_hex(etag, 40) && !is_hex(etag, 64) {
            let cause = format!("no hash to check the file by: its ETag is `{etag}`");
            return Err(self.answer(&url, cause));
        }
        let size = either("x-linked-size", "content-length").and_then(|size| size.parse().ok());
        let Some(size) = size else {
            return Err(self.answer(&url, "no size".to_owned()));
        };
        if let Some(other) = http::text(&headers, "x-repo-commit").filter(|c| *c != commit) {
            let cause = format!("the answer is for the commit {other}");
            return Err(self.answer(&url, cause));
        }
        let etag = etag.to_ascii_lowercase();
        let path = path.to_owned();
        Ok(Remote {
            path,
            url,
            size,
            etag,
        })
    }

    fn answer(&self, url: &str, cause: String) -> Error {
        let url = url.to_owned();
        self.refused(Failure::Answer { url, cause })
    }

    /// Says why the hub did not give something, and what may help.
    pub(super) fn refused(&self, failure: Failure) -> Error {
        let Name { repo, revision } = self.name;
        let endpoint = self.endpoint;
        let (status, code) = match &failure {
            // Where large files lie nobody knows of tokens or of models.
            Failure::Status {
                url, status, code, ..
            } if url.starts_with(endpoint) => (*status, code.as_deref().unwrap_or_default()),
            _ => (0, ""),
        };
        // The hub says 401 for a name that it does not have to those whom it does not know.
        let (cause, hint) = match (status, self.client.has_token()) {
            (404, _) if code == "RevisionNotFound" => (
                format!("the hub at {endpoint} has no revision {revision} of it"),
                format!("leave --revision out for {MAIN}, or name a branch, a tag or a commit"),
            ),
            (401 | 403, false) => (
                format!("the hub at {endpoint} gives it to nobody without a token"),
                "if the name is right, the model is private or has terms to accept: set HF_TOKEN"
                    .to_owned(),
            ),
            (401 | 403, true) => (
                format!("the hub at {endpoint} does not give it for this token"),
                format!(
                    "look at the token in HF_TOKEN or its file, and accept the model's terms at {endpoint}/{repo}"
                ),
            ),
            (404, _) if code != "EntryNotFound" => (
                format!("the hub at {endpoint} has no such model"),
                "names are ORG/NAME, upper and lower case told apart".to_owned(),
            ),
            (429, false) => (
                "the hub has had too many requests".to_owned(),
                "try again later, or set HF_TOKEN: the hub allows more to those whom it knows"
                    .to_owned(),
            ),
            _ => (
                "could not be downloaded".to_owned(),
                "the same command goes on where this one ended; HF_ENDPOINT names another hub"
                    .to_owned(),
            ),
        };
        Error::Hub {
            id: self.name.to_string(),
            cause,
            hint: Some(hint),
            source: Some(Box::new(failure)),
        }
    }
}

/// The hash of a file as the hub has it.
pub(super) enum Hasher {
    /// 64 digits: SHA-256 of the bytes.
    Sha256(Sha256),
    /// 40 digits: what git names a file by, SHA-1 of a header and the bytes.
    Git(Sha1),
}

impl Hasher {
    /// Begins to check a file.
    pub(super) fn new(remote: &Remote) -> Self {
        if remote.etag.len() == 64 {
            return Self::Sha256(Sha256::new());
        }
        Self::Git(Sha1::new_with_prefix(format!("blob {}\0", remote.size)))
    }

    /// Takes the next bytes.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Git(hasher) => hasher.update(bytes),
        }
    }

    /// Returns the hash in lower-case hex digits.
    pub(super) fn finish(self) -> String {
        match self {
            Self::Sha256(hasher) => hex(&hasher.finalize()),
            Self::Git(hasher) => hex(&hasher.finalize()),
        }
    }
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Escapes what has a meaning in a URL's path.
fn escaped(text: &str, keep_slash: bool) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
        if plain || (keep_slash && byte == b'/') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(etag_digits: usize, bytes: &[u8]) -> String {
        let mut hasher = Hasher::new(&Remote {
            path: String::new(),
            url: String::new(),
            size: bytes.len() as u64,
            etag: "0".repeat(etag_digits),
        });
        hasher.update(bytes);
        hasher.finish()
    }

    #[test]
    fn hashes_are_those_of_git_and_sha256sum() {
        // printf 'hello\n' | git hash-object --stdin; printf 'hello\n' | sha256sum
        assert_eq!(
            hash(40, b"hello\n"),
            "ce013625030ba8dba906f756967f9e9ca394464a"
        );
        assert_eq!(
            hash(64, b"hello\n"),
            "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
        );
    }

    #[test]
    fn paths_in_urls_are_escaped_and_those_that_lead_out_left_away() {
        assert_eq!(escaped("refs/pr/1", false), "refs%2Fpr%2F1");
        assert_eq!(escaped("1_P/a b#?.json", true), "1_P/a%20b%23%3F.json");
        let file = |path: &str| Sibling {
            path: path.to_owned(),
        };
        let revision = Revision {
            commit: String::new(),
            siblings: vec![file("a/b"), file("../b"), file("/etc/b"), file("a/../b")],
        };
        assert_eq!(revision.files(), ["a/b"]);
    }
}
