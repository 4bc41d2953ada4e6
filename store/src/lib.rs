//! The storing stage: takes a stream of embedded chunks into a local database, whole files at once.
//!
//! It is also how a store is read: [`Store`] is what `cs-query` searches.

mod error;
mod folder;
mod index;
mod info;
mod ledger;
mod search;
mod step;
mod table;
mod write;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};
use cs_common::tool::{LogArgs, Outcome};
use tokio::runtime::Runtime;

pub use error::Error;
pub use search::{Hit, Store};

use folder::Folder;
use info::Info;
use table::Chunks;

/// Where a store is if nobody says otherwise.
const DEFAULT_DB: &str = ".cs";

/// Stores a stream of embedded chunks: cs-parse REPO | cs-embed | cs-store [DB]
///
/// What is stored of a file is replaced by what the stream brings of it, whole files at once:
/// whoever reads the store meanwhile sees the old chunks of a file or the new ones.
#[derive(Debug, Parser)]
#[command(name = "cs-store", version, args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,

    /// The store's folder, made if it is not there
    #[arg(env = "CS_DB", default_value = DEFAULT_DB)]
    db: PathBuf,

    /// Forget the files of the stream's repositories that the stream does not bring
    ///
    /// For a stream of whole repositories: what was deleted since the last run goes from the
    /// store as well. Nothing is forgotten if the stream ends without its end marker.
    #[arg(long)]
    prune: bool,

    #[command(flatten)]
    log: LogArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Tell what a store holds (a store in a folder named `info` is `./info`)
    Info {
        /// The store's folder
        #[arg(env = "CS_DB", default_value = DEFAULT_DB)]
        db: PathBuf,

        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
}

impl AsRef<LogArgs> for Args {
    fn as_ref(&self) -> &LogArgs {
        &self.log
    }
}

/// Runs the tool.
///
/// # Errors
/// As [`Error`] says; what was committed before a failure stays.
pub fn run(args: Args) -> Result<Outcome, Error> {
    match args.command {
        Some(Command::Info { db, json }) => info(&db, json),
        None => write::store(&args.db, args.prune),
    }
}

fn info(db: &Path, json: bool) -> Result<Outcome, Error> {
    let folder = Folder::open(db)?;
    let info = runtime(folder.path())?.block_on(async {
        let chunks = Chunks::open(&folder).await?;
        Info::gather(&chunks).await
    })?;
    let mut text = Vec::new();
    let written = if json {
        serde_json::to_writer(&mut text, &info)
            .map_err(Into::into)
            .and_then(|()| writeln!(text))
    } else {
        info.print(&mut text)
    };
    written
        .map_err(cs_common::Error::from_output)
        .and_then(|()| cs_common::stream::print(&text))?;
    Ok(Outcome::Done)
}

/// Makes the runtime that the database needs.
pub(crate) fn runtime(path: &Path) -> Result<Runtime, Error> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Error::folder(path))
}
