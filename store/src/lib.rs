//! The storing stage: takes a stream of embedded chunks into a local database, whole files at once.
//!
//! It is also how a store is read: [`Store`] is what `cs-query` searches.

mod check;
mod durable;
mod error;
mod export;
mod files;
mod filter;
mod folder;
mod forget;
mod index;
mod info;
mod intake;
mod kept;
mod ledger;
mod lock;
mod mark;
mod model;
mod queue;
mod rebuild;
mod records;
mod runs;
mod search;
mod select;
mod step;
mod step_rows;
mod summary;
mod table;
mod upkeep;
mod vectors;
mod write;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Parser, Subcommand};
use cs_common::report::MeterArgs;
use cs_common::stream::{Format, refuse_terminal};
use cs_common::tool::{LogArgs, Outcome};
use tokio::runtime::Runtime;

pub use error::Error;
pub use filter::Filter;
pub use folder::Location;
pub use mark::Incomplete;
pub use search::{Findings, Found, Search, Store};

use export::ExportArgs;
use folder::Folder;
use info::Info;
use ledger::Ledger;
use select::FileArgs;
use step::Limits;
use table::Chunks;
use write::{Options, Visible};

/// Where a store is if nobody says otherwise.
const DEFAULT_DB: &str = ".cs";

/// The longest time that old versions can be kept, in seconds: a year.
const MAX_KEEP: u64 = 365 * 24 * 3600;

/// Stores a stream of embedded chunks: cs-parse REPO | cs-embed | cs-store [DB]
///
/// What is stored of a file is replaced by what the stream brings of it, whole files at once:
/// whoever reads the store meanwhile sees the old chunks of a file or the new ones.
#[derive(Debug, Parser)]
#[command(
    name = "cs-store",
    version,
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  cs-parse . | cs-embed | cs-store
  cs-parse . --since .cs | cs-embed | cs-store           only what changed
  cs-parse . | cs-embed --model org/name | cs-store --rebuild
  cs-store info                                          what is in .cs
  cs-store check all.cs                                  whether it is whole and sound
  cs-store export all.cs --repo cs | cs-store cs.cs      a part as a store of its own"
)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    db: Place,

    /// Forget the files of the stream's repositories that the stream does not bring
    ///
    /// For a stream of whole repositories: what was deleted since the last run goes from the
    /// store as well. Nothing is forgotten if the stream ends without its end marker.
    #[arg(long)]
    prune: bool,

    /// All or nothing: readers see what the stream brings when it has ended with its end marker
    ///
    /// Otherwise the store stays as it was. Without it whole files are stored as they come, and a
    /// run that is broken off leaves a store that says that it is incomplete.
    #[arg(long, conflicts_with = "rebuild")]
    atomic: bool,

    /// Make the store anew: readers see the old contents until all of the new ones are there
    ///
    /// The stream's files are all that is stored in the end, whatever was stored before, and of
    /// whatever model. Both lie on disk until the old ones have been out of use for ten minutes.
    #[arg(long, conflicts_with = "prune")]
    rebuild: bool,

    /// Commit at least every N chunks: what a crash costs at most
    #[arg(long, value_name = "N", default_value_t = Limits::default().rows as u64,
          value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    step_rows: u64,

    /// Commit at least every so many seconds, as long as files come
    #[arg(long, value_name = "SECONDS", default_value_t = Limits::default().age.as_secs(),
          value_parser = clap::value_parser!(u64).range(1..=MAX_KEEP))]
    step_seconds: u64,

    /// Take another writer of an object store for dead after so long without a sign of life
    ///
    /// All writers of a store have to be given the same time.
    #[arg(long, value_name = "SECONDS", default_value_t = lock::LEASE.as_secs(),
          value_parser = clap::value_parser!(u64).range(5..=3600))]
    lease: u64,

    #[command(flatten)]
    figures: MeterArgs,

    #[command(flatten)]
    log: LogArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Tell what a store holds (a store in a folder named `info` is `./info`)
    Info {
        #[command(flatten)]
        db: Place,

        /// Tell of the last 200 runs instead: what each brought, and what it took
        #[arg(long)]
        runs: bool,

        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },

    /// Check that what is stored is whole and sound
    ///
    /// Names every fault by repository and path. Exit status: 0 no fault, 1 faults, 2 the store
    /// could not be read. That a store is incomplete is told, and no fault.
    Check {
        #[command(flatten)]
        db: Place,

        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },

    /// Tidy up: join small pieces, bring indexes up to date, remove old versions
    ///
    /// Each run does this as far as it pays.
    Optimize {
        #[command(flatten)]
        db: Place,

        /// How long what was replaced stays on disk, for those who are reading it
        #[arg(long, value_name = "SECONDS", default_value_t = index::VERSION_LIFE.as_secs(),
              value_parser = clap::value_parser!(u64).range(..=MAX_KEEP))]
        keep: u64,
    },

    /// Write what is stored as a stream again
    ///
    /// With another model: cs-store export A --no-vectors | cs-embed --model other | cs-store B
    Export {
        #[command(flatten)]
        db: Place,

        #[command(flatten)]
        args: ExportArgs,
    },

    /// Write the manifest: which files are stored, in which state
    ///
    /// For cs-parse, of a store that it cannot read itself:
    /// cs-parse . --since <(cs-store manifest s3://bucket/index) | cs-embed | cs-store s3://bucket/index
    Manifest {
        #[command(flatten)]
        db: Place,
    },

    /// Remove all that is stored of some files
    ///
    /// The next cs-parse --since brings files back that are still there: name them in .csignore to
    /// keep them out. Their text leaves the disk with the old versions: cs-store optimize --keep 0.
    #[command(group = clap::ArgGroup::new("named").args(["repo", "path"]).required(true).multiple(true))]
    Forget {
        #[command(flatten)]
        db: Place,

        #[command(flatten)]
        files: FileArgs,
    },
}

/// Where the store is.
#[derive(Clone, Debug, clap::Args)]
struct Place {
    /// The store: a folder, made if it is not there, or an address such as s3://bucket/prefix
    #[arg(env = "CS_DB", default_value = DEFAULT_DB)]
    db: PathBuf,

    #[command(flatten)]
    storage: StorageArgs,
}

impl Place {
    fn location(self) -> Location {
        self.storage.location(self.db)
    }
}

/// What an object store has to be told.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct StorageArgs {
    /// Tell an object store something, such as region=eu-west-1 (repeatable)
    ///
    /// Keys and secrets are better left in the environment, as in AWS_ACCESS_KEY_ID. Another
    /// server than the provider's: endpoint=http://127.0.0.1:9000 with allow_http=true.
    #[arg(long = "storage-option", value_name = "KEY=VALUE", value_parser = key_and_value)]
    storage_options: Vec<(String, String)>,
}

impl StorageArgs {
    /// Returns the address of a store that is reached with these options.
    pub fn location(&self, path: PathBuf) -> Location {
        Location {
            path,
            options: self.storage_options.iter().cloned().collect(),
        }
    }
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("is not KEY=VALUE, such as region=eu-west-1".to_owned()),
    }
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
        Some(Command::Info { db, runs, json }) => match runs {
            true => runs::tell(&db.location(), json),
            false => info(&db.location(), json),
        },
        Some(Command::Check { db, json }) => check::check(&db.location(), json),
        Some(Command::Optimize { db, keep }) => optimize(&db.location(), Duration::from_secs(keep)),
        Some(Command::Export { db, args }) => export::export(&db.location(), args),
        Some(Command::Manifest { db }) => manifest(&db.location()),
        Some(Command::Forget { db, files }) => forget::forget(&db.location(), files),
        None => {
            let options = Options {
                prune: args.prune,
                visible: match (args.atomic, args.rebuild) {
                    (true, _) => Visible::AtSeal,
                    (_, true) => Visible::Instead,
                    _ => Visible::Stepwise,
                },
                limits: Limits {
                    rows: usize::try_from(args.step_rows).unwrap_or(usize::MAX),
                    age: Duration::from_secs(args.step_seconds),
                },
                lease: Duration::from_secs(args.lease),
            };
            write::store(&args.db.location(), options, &args.figures)
        }
    }
}

fn info(at: &Location, json: bool) -> Result<Outcome, Error> {
    let info = runtime(&at.path)?.block_on(async {
        let folder = Folder::open(at).await?;
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

fn manifest(at: &Location) -> Result<Outcome, Error> {
    refuse_terminal(Format::Arrow)?;
    let files = runtime(&at.path)?.block_on(async {
        let folder = Folder::open(at).await?;
        Chunks::open(&folder).await?.files().await
    })?;
    let mut bytes = Vec::new();
    files
        .write_to(&mut bytes)
        .map_err(cs_common::Error::from_output)
        .and_then(|()| cs_common::stream::print(&bytes))?;
    Ok(Outcome::Done)
}

fn optimize(at: &Location, keep: Duration) -> Result<Outcome, Error> {
    let (before, after) = runtime(&at.path)?.block_on(async {
        let folder = Folder::open(at).await?;
        let before = folder.size().await?;
        let chunks = Chunks::open_to_write(&folder).await?;
        let mut ledger = Ledger::open(&chunks).await?;
        let mut right = lock::maintenance(&folder, lock::LEASE).await?;
        let done = tidy(&chunks, &mut ledger, keep).await;
        right.end().await;
        done?;
        Ok::<_, Error>((before, folder.size().await?))
    })?;
    let (before, after) = (info::mib(before), info::mib(after));
    let kept = match keep.as_secs() {
        0 => String::new(),
        seconds => format!("; what was replaced in the last {seconds} s is kept"),
    };
    log::info!(
        "{}: {before:.1} MiB before, {after:.1} MiB now{kept}",
        at.path.display()
    );
    Ok(Outcome::Done)
}

async fn tidy(chunks: &Chunks, ledger: &mut Ledger, keep: Duration) -> Result<(), Error> {
    index::optimize(chunks).await?;
    // The same rows, in another version of the table.
    ledger.finish(chunks).await?;
    index::prune(chunks, keep).await
}

/// How many threads the database computes with: it keeps two cores free otherwise, which leaves
/// one thread on a machine with few.
const DATABASE_THREADS: &str = "LANCE_CPU_THREADS";

/// Gives the database all cores, unless somebody has said how many. To be called before it is used.
///
/// # Safety
/// As for [`set_default`].
pub unsafe fn set_threads() {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    // SAFETY: the caller keeps what this one asks for as well.
    unsafe { set_default(DATABASE_THREADS, &cores.to_string()) };
}

/// Sets a variable of the environment for the database, which takes some of its settings from there
/// only, unless somebody has set it.
///
/// # Safety
/// No other thread may run, as it could read the environment meanwhile.
pub unsafe fn set_default(name: &str, value: &str) {
    if std::env::var_os(name).is_none() {
        // SAFETY: the caller says that there is one thread.
        unsafe { std::env::set_var(name, value) };
    }
}

/// Makes the runtime that the database needs.
pub(crate) fn runtime(path: &Path) -> Result<Runtime, Error> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Error::folder(path))
}
