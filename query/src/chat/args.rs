//! Which language model is asked, and how patiently.

use cs_embed::http::{Address, Service, Token};

/// A chat service: what is asked of it, and where its key is.
const CHAT: Service = Service {
    path: "chat/completions",
    key: "CS_LLM_KEY",
};

/// Which language model helps.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "A language model")]
pub(crate) struct ChatArgs {
    /// A chat service, OpenAI-style, for --rewrite, --decompose and --answer: its URL
    ///
    /// --llm http://localhost:11434 --llm-model qwen3 for one on this machine. `/v1/chat/completions`
    /// is added to a host alone, `/chat/completions` to a path that does not end in it. The service is
    /// sent the question, and for --answer the code that was found. A key is read from CS_LLM_KEY;
    /// for api.openai.com, without that, from OPENAI_API_KEY.
    #[arg(long, env = "CS_LLM", value_name = "URL", requires = "llm_model", value_parser = address)]
    pub(crate) llm: Option<Address>,

    /// The model's name there
    #[arg(long, env = "CS_LLM_MODEL", value_name = "NAME")]
    pub(crate) llm_model: Option<String>,

    /// Seconds that the service may take for a request, or be silent while it answers
    #[arg(long, value_name = "SECONDS", default_value_t = 60,
          value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub(crate) llm_timeout: u32,

    /// How often a request is made again that the service was too busy for or that broke off
    ///
    /// After a pause as long as the service asks for (Retry-After, up to five minutes), or one
    /// that doubles from half a second.
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) llm_retries: u32,

    /// Tokens of code that the model is given for --answer, of three bytes each
    #[arg(long, value_name = "N", default_value_t = 6000,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) llm_context: u32,
}

impl ChatArgs {
    /// Returns the key for the service, from the environment.
    pub(super) fn key(&self, address: &Address) -> Option<Token> {
        let token = |name: &str| Token::new(&std::env::var(name).ok()?);
        address.key(token(CHAT.key), token("OPENAI_API_KEY"))
    }
}

/// Reads the address of a chat service.
fn address(text: &str) -> Result<Address, String> {
    Address::parse(text, CHAT)
}
