//! The Model Context Protocol on standard input and output, which coding agents speak: what they
//! ask of a store, as tools (<https://modelcontextprotocol.io/specification>).
//!
//! A call is a line of `--batch` under another name. Answers are text, packed as context for a
//! language model, because an agent pays for each token.

mod tools;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use cs_common::tool::Outcome;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation,
    JsonObject, ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig,
};
use rmcp::service::{RequestContext, ServerInitializeError};
use rmcp::{ErrorData, RoleServer, ServerHandler, ServiceExt as _};

use crate::Error;
use crate::args::SearchArgs;
use crate::asker::Asker;

/// How long after looking for what other processes stored it is not looked for again.
const LOOK: Duration = Duration::from_secs(1);

/// What an agent is told of the tools as a whole.
const INSTRUCTIONS: &str = "Semantic search in indexed code. Ask `search` before reading files; \
    paths are as they can be opened.";

/// Serves until the input ends.
///
/// # Errors
/// [`Error::Protocol`] if the other side does not speak the protocol.
pub(crate) fn run(asker: Asker, defaults: SearchArgs, here: &Path) -> Result<Outcome, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::Input)?;
    // It outlives the runtime below: the database has one of its own, which no task may end.
    let shared = Arc::new(Shared {
        asker: RwLock::new(asker),
        looked: Mutex::new(Instant::now()),
        defaults,
        here: here.to_owned(),
    });
    let (server, warm) = (Server(Arc::clone(&shared)), Arc::clone(&shared));
    let served = runtime.block_on(async {
        let session = match server.serve(rmcp::transport::io::stdio_pipes()).await {
            // Whoever asked for nothing got all of it.
            Err(ServerInitializeError::ConnectionClosed(_)) => return Ok(()),
            session => session.map_err(|error| Error::Protocol(error.to_string()))?,
        };
        // The first question need not wait for it.
        tokio::task::spawn_blocking(move || warm.keep_columns());
        let ended = session.waiting().await;
        ended
            .map(|_| ())
            .map_err(|error| Error::Protocol(error.to_string()))
    });
    // A question that is under way is asked by nobody any more.
    runtime.shutdown_background();
    served.map(|()| Outcome::Done)
}

/// The server, of which there is a copy for each task.
#[derive(Clone)]
struct Server(Arc<Shared>);

struct Shared {
    asker: RwLock<Asker>,
    /// When it was last looked for what other processes stored.
    looked: Mutex<Instant>,
    defaults: SearchArgs,
    here: PathBuf,
}

/// Why a tool has no answer.
#[derive(Debug)]
enum Refusal {
    /// The arguments are wrong: the agent is to call it in another way.
    Arguments(String),
    /// The store could not be asked.
    Failed(String),
}

impl Shared {
    fn keep_columns(&self) {
        let mut asker = self.asker.write().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = asker.engine.keep_columns() {
            log::warn!("{error}");
        }
    }

    /// Goes on to what was stored since, now and then.
    fn refresh(&self) -> Result<(), Error> {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if looked.elapsed() < LOOK {
            return Ok(());
        }
        let mut asker = self.asker.write().unwrap_or_else(PoisonError::into_inner);
        asker.engine.refresh()?;
        asker.engine.keep_columns()?;
        *looked = Instant::now();
        Ok(())
    }

    fn call(&self, name: &str, arguments: JsonObject) -> Result<String, Refusal> {
        self.refresh()
            .map_err(|error| Refusal::Failed(crate::questions::said(&error)))?;
        let asker = self.asker.read().unwrap_or_else(PoisonError::into_inner);
        tools::call(&asker, name, arguments, (&self.defaults, &self.here))
    }
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().build();
        let mut config = ServerConfig::new(capabilities);
        config.server_info = Implementation::new("cs-query", env!("CARGO_PKG_VERSION"));
        config.instructions = Some(INSTRUCTIONS.to_owned());
        config
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(tools::list()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let shared = Arc::clone(&self.0);
        let arguments = request.arguments.unwrap_or_default();
        // The database waits for itself, which no task of this runtime may.
        let called = tokio::task::spawn_blocking(move || shared.call(&request.name, arguments));
        let called = called
            .await
            .map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
        match called {
            Ok(text) => Ok(CallToolResult::success(vec![ContentBlock::text(text)]).into()),
            Err(Refusal::Arguments(cause)) => Err(ErrorData::invalid_params(cause, None)),
            Err(Refusal::Failed(cause)) => {
                Ok(CallToolResult::error(vec![ContentBlock::text(cause)]).into())
            }
        }
    }
}
