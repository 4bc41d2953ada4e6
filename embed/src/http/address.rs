//! The address that texts are sent to, as a user types it and as a store keeps it.

use std::fmt;

use ureq::http::Uri;

use super::Token;

/// The only service that `OPENAI_API_KEY` is for.
const OPENAI: &str = "api.openai.com";

/// What a service is for: how its addresses end, and where its key is.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    /// What follows `/v1/`.
    pub path: &'static str,
    /// The variable of the environment with the key.
    pub key: &'static str,
}

/// The address of a service, without anything that is secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Address(String);

impl Address {
    /// Completes what names a service: a host, its `/v1`, or the whole address.
    ///
    /// # Errors
    /// Says what is wrong without repeating it: there may be a key in it.
    pub fn parse(text: &str, service: Service) -> Result<Self, String> {
        let Service { path: own, key } = service;
        let uri: Uri = text.trim().parse().map_err(|_| "is no URL".to_owned())?;
        let scheme = uri.scheme_str().unwrap_or_default();
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        if !matches!(scheme, "http" | "https") || authority.is_empty() {
            return Err("is no URL: http://localhost:8080/v1, say".to_owned());
        }
        if authority.contains('@') || uri.query().is_some() {
            return Err(format!(
                "has a user, a password or a query in it: a key belongs into {key}"
            ));
        }
        let path = match uri.path().trim_end_matches('/') {
            "" => format!("/v1/{own}"),
            path if path.ends_with(&format!("/{own}")) => path.to_owned(),
            path => format!("{path}/{own}"),
        };
        let authority = authority.to_ascii_lowercase();
        Ok(Self(format!("{scheme}://{authority}{path}")))
    }

    /// Returns the URL that texts are sent to.
    pub fn url(&self) -> &str {
        &self.0
    }

    /// Returns the host's name.
    fn host(&self) -> String {
        let uri: Option<Uri> = self.0.parse().ok();
        let host = uri.as_ref().and_then(Uri::host).unwrap_or_default();
        host.to_ascii_lowercase()
    }

    /// Returns the key for it: the user's own one, or for OpenAI alone that of OpenAI; warns if it
    /// can be read on its way.
    pub fn key(&self, own: Option<Token>, openai: Option<Token>) -> Option<Token> {
        let key = own.or(openai.filter(|_| self.host() == OPENAI));
        if key.is_some() && !self.is_private() {
            log::warn!(
                "{}: the key goes over the network unencrypted, for https hides it",
                self.0
            );
        }
        key
    }

    /// Tells whether what is sent stays on this machine.
    pub fn is_local(&self) -> bool {
        let host = self.host();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let is_loopback = |address: std::net::IpAddr| address.is_loopback();
        host == "localhost" || bare.parse().is_ok_and(is_loopback)
    }

    /// Tells whether what is sent cannot be read on its way.
    fn is_private(&self) -> bool {
        self.0.starts_with("https://") || self.is_local()
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMBEDDINGS: Service = Service {
        path: "embeddings",
        key: "CS_API_KEY",
    };

    #[test]
    fn an_address_is_completed() {
        for (text, url) in [
            (
                "http://localhost:8080",
                "http://localhost:8080/v1/embeddings",
            ),
            (
                "HTTPS://Api.Example/v1/",
                "https://api.example/v1/embeddings",
            ),
            (
                "https://h/openai/v1/embeddings",
                "https://h/openai/v1/embeddings",
            ),
            ("http://[::1]:80/api", "http://[::1]:80/api/embeddings"),
        ] {
            let address = Address::parse(text, EMBEDDINGS).unwrap();
            assert_eq!(address.url(), url, "{text}");
            assert_eq!(Address::parse(address.url(), EMBEDDINGS), Ok(address));
        }
    }

    #[test]
    fn each_service_has_an_end_of_its_own() {
        const RERANK: Service = Service {
            path: "rerank",
            key: "CS_RERANK_KEY",
        };
        for (text, url) in [
            ("http://localhost:80", "http://localhost:80/v1/rerank"),
            ("https://h/v2/", "https://h/v2/rerank"),
            ("http://h:1/rerank", "http://h:1/rerank"),
        ] {
            assert_eq!(Address::parse(text, RERANK).unwrap().url(), url, "{text}");
        }
    }

    #[test]
    fn secrets_are_refused_and_not_repeated() {
        for text in [
            "https://user:secret@host/v1",
            "https://secret@host/v1",
            "https://host/v1?key=secret",
        ] {
            let cause = Address::parse(text, EMBEDDINGS).unwrap_err();
            assert!(cause.contains("CS_API_KEY"), "{cause}");
            assert!(!cause.contains("secret"), "{cause}");
        }
        for text in ["", "host", "localhost:8080", "ftp://host", "/v1", "http://"] {
            assert!(Address::parse(text, EMBEDDINGS).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_local_is_told() {
        for (text, local, private) in [
            ("http://127.0.0.1:1", true, true),
            ("http://[::1]:1", true, true),
            ("http://localhost", true, true),
            ("http://localhost.example", false, false),
            ("http://10.0.0.1", false, false),
            ("https://api.example", false, true),
        ] {
            let address = Address::parse(text, EMBEDDINGS).unwrap();
            assert_eq!(address.is_local(), local, "{text}");
            assert_eq!(address.is_private(), private, "{text}");
        }
    }
}
