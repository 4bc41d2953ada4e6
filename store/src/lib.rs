//! The storing stage: takes a stream of embedded chunks into a local database, whole files at once.
//!
//! It is also how a store is read: [`Store`] is what `cs-query` searches.

mod check;
mod error;
mod export;
mod files;
mod filter;
mod folder;
mod forget;
mod index;
mod info;
mod ledger;
mod mark;
mod model;
mod records;
mod search;
mod select;
mod step;
mod table;
mod vectors;
mod write;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Parser, Subcommand};
use cs_common::tool::{LogArgs, Outcome};
use tokio::runtime::Runtime;

pub use error::Error;
pub use filter::Filter;
pub use mark::Incomplete;
pub use search::{Findings, Found, Search, Store};

use export::ExportArgs;
use folder::Folder;
use info::Info;
use ledger::Ledger;
use select::FileArgs;
use table::Chunks;

/// Where a store is if nobody says otherwise.
const DEFAULT_DB: &str = ".cs";

/// The longest time that old versions can be kept, in seconds: a year.
const MAX_KEEP: u64 = 365 * 24 * 3600;

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

    /// Check that what is stored is whole and sound
    ///
    /// Names every fault by repository and path. Exit status: 0 no fault, 1 faults, 2 the store
    /// could not be read. That a store is incomplete is told, and no fault.
    Check {
        /// The store's folder
        #[arg(env = "CS_DB", default_value = DEFAULT_DB)]
        db: PathBuf,

        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },

    /// Tidy up: join small pieces, bring indexes up to date, remove old versions
    ///
    /// Each run does this as far as it pays.
    Optimize {
        /// The store's folder
        #[arg(env = "CS_DB", default_value = DEFAULT_DB)]
        db: PathBuf,

        /// How long what was replaced stays on disk, for those who are reading it
        #[arg(long, value_name = "SECONDS", default_value_t = index::VERSION_LIFE.as_secs(),
              value_parser = clap::value_parser!(u64).range(..=MAX_KEEP))]
        keep: u64,
    },

    /// Write what is stored as a stream again
    ///
    /// With another model: cs-store export A --no-vectors | cs-embed --model other | cs-store B
    Export {
        /// The store's folder
        #[arg(env = "CS_DB", default_value = DEFAULT_DB)]
        db: PathBuf,

        #[command(flatten)]
        args: ExportArgs,
    },

    /// Remove all that is stored of some files
    ///
    /// The next cs-parse --since brings files back that are still there: name them in .csignore to
    /// keep them out. Their text leaves the disk with the old versions: cs-store optimize --keep 0.
    #[command(group = clap::ArgGroup::new("named").args(["repo", "path"]).required(true).multiple(true))]
    Forget {
        /// The store's folder
        #[arg(env = "CS_DB", default_value = DEFAULT_DB)]
        db: PathBuf,

        #[command(flatten)]
        files: FileArgs,
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
        Some(Command::Check { db, json }) => check::check(&db, json),
        Some(Command::Optimize { db, keep }) => optimize(&db, Duration::from_secs(keep)),
        Some(Command::Export { db, args }) => export::export(&db, args),
        Some(Command::Forget { db, files }) => forget::forget(&db, files),
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

fn optimize(db: &Path, keep: Duration) -> Result<Outcome, Error> {
    let folder = Folder::open(db)?;
    let _lock = folder.lock()?;
    let before = folder.size();
    runtime(folder.path())?.block_on(async {
        let chunks = Chunks::open(&folder).await?;
        let mut ledger = Ledger::open(&chunks).await?;
        index::optimize(&chunks, keep).await?;
        // The same rows, in another version of the table.
        ledger.finish(chunks.version().await?)
    })?;
    let (before, after) = (info::mib(before), info::mib(folder.size()));
    let kept = match keep.as_secs() {
        0 => String::new(),
        seconds => format!("; what was replaced in the last {seconds} s is kept"),
    };
    log::info!(
        "{}: {before:.1} MiB before, {after:.1} MiB now{kept}",
        db.display()
    );
    Ok(Outcome::Done)
}

/// Makes the runtime that the database needs.
pub(crate) fn runtime(path: &Path) -> Result<Runtime, Error> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Error::folder(path))
}
