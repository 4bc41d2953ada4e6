//! What is said of a service: by flags, and by the environment, where keys are.

use std::ffi::OsString;

use cs_common::metadata;
use cs_common::tool;

use crate::Error;
use crate::http::{Address, Service, Token};

/// How a service is asked for vectors.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
#[command(next_help_heading = "A service that embeds")]
pub struct EndpointArgs {
    /// Have the model run by a service, OpenAI-style: its URL; --model is the model's name there
    ///
    /// --endpoint https://api.openai.com --model text-embedding-3-small, or --endpoint
    /// http://localhost:8080 for one on this machine. `/v1/embeddings` is added to a host alone,
    /// `/embeddings` to a path that does not end in it. A key is read from CS_API_KEY; for
    /// api.openai.com, without that, from OPENAI_API_KEY.
    #[arg(long, value_name = "URL", requires = "model", value_parser = address,
          conflicts_with_all = ["revision", "device", "cuda", "threads", "pooling", "max_tokens",
                                "dtype", "quantize"])]
    pub endpoint: Option<Address>,

    /// Requests that are under way at once
    #[arg(long, value_name = "N", default_value_t = Self::default().concurrency, requires = "endpoint",
          value_parser = clap::value_parser!(u16).range(1..=256))]
    pub concurrency: u16,

    /// Texts of a request, at most; it is halved if the service refuses so many
    #[arg(long, value_name = "N", default_value_t = Self::default().batch_size, requires = "endpoint",
          value_parser = clap::value_parser!(u16).range(1..=2048))]
    pub batch_size: u16,

    /// Bytes of a request's texts, at most (suffixes K, M, G); a text that is larger goes alone
    #[arg(long, value_name = "SIZE", default_value = "256K", requires = "endpoint",
          value_parser = tool::size)]
    pub batch_bytes: u64,

    /// Seconds that a request may take before it counts as failed
    #[arg(long, value_name = "SECONDS", default_value_t = Self::default().timeout, requires = "endpoint",
          value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub timeout: u32,

    /// How often a request is made again that the service was too busy for or that broke off
    ///
    /// After a pause as long as the service asks for (Retry-After, up to five minutes), or one
    /// that doubles from half a second to a minute.
    #[arg(long, value_name = "N", default_value_t = Self::default().retries, requires = "endpoint")]
    pub retries: u32,
}

impl Default for EndpointArgs {
    fn default() -> Self {
        Self {
            endpoint: None,
            concurrency: 4,
            batch_size: 32,
            batch_bytes: 256 << 10,
            timeout: 60,
            retries: 6,
        }
    }
}

/// Reads the address of a service that embeds.
///
/// # Errors
/// As for [`Address::parse`].
pub(super) fn address(text: &str) -> Result<Address, String> {
    let service = Service {
        path: "embeddings",
        key: "CS_API_KEY",
    };
    Address::parse(text, service)
}

/// What to do where a service wants to know who asks.
pub(super) const KEY_HINT: &str =
    "the service wants a key: set CS_API_KEY, and for questions CS_ENDPOINT to the service's URL";

/// What the environment says about services.
#[derive(Clone, Debug, Default)]
pub struct EndpointEnv {
    /// `CS_ENDPOINT`: where questions may be sent.
    endpoint: Option<String>,
    /// `CS_API_KEY`.
    key: Option<Token>,
    /// `OPENAI_API_KEY`.
    openai_key: Option<Token>,
    /// `CS_RERANK_KEY`.
    rerank_key: Option<Token>,
}

impl EndpointEnv {
    /// Reads the process's environment.
    pub fn read() -> Self {
        Self::from_vars(|name| std::env::var_os(name))
    }

    fn from_vars(var: impl Fn(&str) -> Option<OsString>) -> Self {
        let text = |name: &str| var(name)?.into_string().ok();
        Self {
            endpoint: text("CS_ENDPOINT").filter(|url| !url.trim().is_empty()),
            key: text("CS_API_KEY").and_then(|key| Token::new(&key)),
            openai_key: text("OPENAI_API_KEY").and_then(|key| Token::new(&key)),
            rerank_key: text("CS_RERANK_KEY").and_then(|key| Token::new(&key)),
        }
    }

    /// Returns the key for a service that the user has named.
    pub(super) fn key_for(&self, address: &Address) -> Option<Token> {
        address.key(self.key.clone(), self.openai_key.clone())
    }

    /// Returns the key for a reranker that the user has named.
    pub(crate) fn rerank_key_for(&self, address: &Address) -> Option<Token> {
        let own = self.rerank_key.clone().or_else(|| self.key.clone());
        address.key(own, None)
    }

    /// Returns where questions to a store go, and what the environment has for that place.
    ///
    /// A store may be anybody's: what it names gets no key, and beyond this machine no question,
    /// unless the user has named the service as well.
    ///
    /// # Errors
    /// [`Error::Endpoint`].
    pub(super) fn address_for(
        &self,
        stored: &metadata::Endpoint,
    ) -> Result<(Address, Self), Error> {
        let read = |url: &str, name: &str| {
            address(url).map_err(|cause| Error::endpoint(name, format!("the address {cause}")))
        };
        if let Some(own) = &self.endpoint {
            return Ok((read(own, "CS_ENDPOINT")?, self.clone()));
        }
        let address = read(&stored.url, "the store's model")?;
        if address.is_local() {
            return Ok((address, Self::default()));
        }
        Err(Error::Endpoint {
            cause: format!(
                "the store's vectors are of the service {}, to which the question would have to be sent",
                stored.url
            ),
            hint: Some(format!(
                "export CS_ENDPOINT={} lets it (and CS_API_KEY, if it wants a key); --mode text searches by words alone",
                stored.url
            )),
            source: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(vars: &[(&str, &str)]) -> EndpointEnv {
        EndpointEnv::from_vars(|name| {
            let found = vars.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).into())
        })
    }

    fn address(url: &str) -> Address {
        super::address(url).unwrap()
    }

    #[test]
    fn a_key_is_for_whom_it_is_named() {
        let both = env(&[("CS_API_KEY", " own \n"), ("OPENAI_API_KEY", "theirs")]);
        let theirs = env(&[("OPENAI_API_KEY", "theirs"), ("CS_API_KEY", "")]);
        let openai = address("https://api.openai.com");
        for url in ["https://host", "https://api.openai.com.example"] {
            assert_eq!(both.key_for(&address(url)), Token::new("own"), "{url}");
            assert_eq!(theirs.key_for(&address(url)), None, "{url}");
        }
        assert_eq!(both.key_for(&openai), Token::new("own"));
        assert_eq!(theirs.key_for(&openai), Token::new("theirs"));
        assert!(!format!("{both:?}").contains("own"));
    }

    #[test]
    fn a_reranker_has_a_key_of_its_own_or_that_of_services() {
        let host = address("https://host");
        let own = env(&[("CS_RERANK_KEY", "own"), ("CS_API_KEY", "other")]);
        assert_eq!(own.rerank_key_for(&host), Token::new("own"));
        assert_eq!(own.key_for(&host), Token::new("other"));
        let other = env(&[("CS_API_KEY", "other"), ("OPENAI_API_KEY", "theirs")]);
        assert_eq!(other.rerank_key_for(&host), Token::new("other"));
        let theirs = env(&[("OPENAI_API_KEY", "theirs"), ("CS_RERANK_KEY", " ")]);
        let openai = address("https://api.openai.com");
        assert_eq!(theirs.rerank_key_for(&openai), None);
    }

    #[test]
    fn a_store_alone_leads_no_question_away_and_gets_no_key() {
        let stored = |url: &str| metadata::Endpoint {
            url: url.to_owned(),
            dim: 4,
        };
        let away = stored("https://host/v1/embeddings");
        let here = stored("http://127.0.0.1:9/v1/embeddings");
        let silent = env(&[("CS_API_KEY", "own")]);
        let message = silent.address_for(&away).err().unwrap().to_string();
        assert!(message.contains(&away.url), "{message}");
        let (local, without) = silent.address_for(&here).unwrap();
        assert_eq!(local.url(), here.url);
        assert_eq!(without.key_for(&local), None);
        let named = env(&[("CS_API_KEY", "own"), ("CS_ENDPOINT", "https://other/v1")]);
        for stored in [&away, &here] {
            let (other, with) = named.address_for(stored).unwrap();
            assert_eq!(other.url(), "https://other/v1/embeddings");
            assert_eq!(with.key_for(&other), Token::new("own"));
        }
        let broken = env(&[("CS_ENDPOINT", "https://u:secret@other/v1")]);
        let message = broken.address_for(&away).err().unwrap().to_string();
        assert!(message.contains("CS_ENDPOINT") && !message.contains("secret"));
    }
}
