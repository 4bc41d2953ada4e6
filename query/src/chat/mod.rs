//! A language model behind a chat service as OpenAI's (`/v1/chat/completions`), which vLLM,
//! llama.cpp, Ollama and others serve as well.
//!
//! What passes by itself is waited for, as with services that embed. What has begun to be shown is
//! not asked for a second time.

mod args;
mod events;
mod wire;

use std::ops::ControlFlow;
use std::time::Duration;

use cs_embed::http::{Client, Failure, Limits, Patience};

pub(crate) use args::ChatArgs;
pub(crate) use wire::{Message, listed};

/// Bytes of an answer, its framing included.
const MOST: u64 = 4 << 20;

/// A language model that can be asked.
pub(crate) struct Chat {
    client: Client,
    /// The service's address.
    pub(crate) url: String,
    /// The model's name there.
    pub(crate) model: String,
    timeout: Duration,
    retries: u32,
}

impl Chat {
    /// Returns the model that the arguments name, if they name one; asks nothing yet.
    pub(crate) fn new(args: &ChatArgs) -> Option<Self> {
        let (address, model) = (args.llm.as_ref()?, args.llm_model.as_ref()?);
        Some(Self {
            client: Client::new(address.url(), args.key(address)),
            url: address.url().to_owned(),
            model: model.clone(),
            timeout: Duration::from_secs(args.llm_timeout.into()),
            retries: args.llm_retries,
        })
    }

    /// Returns what the model says, once it has said all of it.
    ///
    /// # Errors
    /// [`Failure`], after as many tries as the user allows.
    pub(crate) fn ask(&self, messages: &[Message]) -> Result<String, Failure> {
        let request = wire::request(&self.model, messages, false);
        let mut patience = Patience::new(self.retries);
        loop {
            let answer = self.client.post(&self.url, &request, self.limits());
            match answer.and_then(|json| wire::whole(&self.url, &json)) {
                Ok(said) => return Ok(said.text),
                Err(failure) if patience.wait(&failure) => {}
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Hands over what the model says as it comes, until it ends or `hear` has enough.
    ///
    /// # Errors
    /// [`Failure`], after as many tries as the user allows; of an answer that has begun, at once.
    pub(crate) fn hear(
        &self,
        messages: &[Message],
        mut hear: impl FnMut(&str) -> ControlFlow<()>,
    ) -> Result<End, Failure> {
        let request = wire::request(&self.model, messages, true);
        let mut patience = Patience::new(self.retries);
        let mut has_begun = false;
        loop {
            let lines = self
                .client
                .post_for_lines(&self.url, &request, self.limits());
            let heard = lines.and_then(|lines| {
                events::read(&self.url, lines, |text| {
                    has_begun = true;
                    hear(text)
                })
            });
            match heard {
                Ok(end) => return Ok(end),
                Err(failure) if !has_begun && patience.wait(&failure) => {}
                Err(failure) => return Err(failure),
            }
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            timeout: self.timeout,
            bytes: MOST,
        }
    }
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The model had no more to say.
    Whole,
    /// The service allows no more tokens.
    Cut,
    /// Whoever heard it had enough.
    Left,
}
