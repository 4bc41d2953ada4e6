//! The parse stage: walks a repository and writes its code as a stream of chunks.
//!
//! [`run`] is the whole program: [`Args`] as typed become a checked plan, the files are
//! listed, parsed in parallel, and their chunks written in the order of their paths.
//! The same input and settings give the same bytes, whatever the number of threads.

mod chunk;
mod detect;
mod error;
mod file;
mod language;
mod languages;
mod pipeline;
mod text;
mod walk;

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use clap::Parser;
use cs_common::metadata::{Repo, StreamMetadata, Totals};
use cs_common::progress::Progress;
use cs_common::rows::chunk_schema;
use cs_common::stream::{Format, StreamWriter, refuse_terminal};
use cs_common::tool::{self, LogArgs, Outcome};
use log::{debug, warn};

pub use error::Error;

use file::Settings;
use pipeline::Sink;
use walk::Listing;

/// Cuts a repository into chunks of code for cs-embed
///
/// Functions, types and sections become chunks of their own; what is too large is cut
/// at statements, what is small is gathered. Files that .gitignore names, hidden files and
/// binary files are left out.
///
/// Exit status: 0 done, 1 done although some file could not be read, 2 failed.
#[derive(Debug, Parser)]
#[command(
    name = "cs-parse",
    version,
    after_help = "Examples:\n  cs-parse . | cs-embed | cs-store\n  cs-parse src --to jsonl | jq -r .symbol"
)]
pub struct Args {
    /// Folder or file to parse
    #[arg(default_value = ".")]
    path: PathBuf,

    /// Name of the repository in the stream, unique in a store [default: the folder's name]
    #[arg(long, value_name = "NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    repo: Option<String>,

    /// Form of the output
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    to: Format,

    /// Largest chunk in bytes; a function of more is cut at statements
    ///
    /// A token of code is about three to four bytes: 1536 fills the 256 to 512 tokens
    /// that common embedding models read.
    #[arg(long, value_name = "N", default_value_t = 1536, value_parser = clap::value_parser!(u32).range(128..))]
    max_chunk_bytes: u32,

    /// Largest file in bytes; a larger one is named in a warning and left out
    #[arg(long, value_name = "N", default_value_t = 4 << 20, value_parser = clap::value_parser!(u32).range(1..))]
    max_file_bytes: u32,

    /// Parser threads [default: one for each processor]
    #[arg(short = 'j', long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,

    #[command(flatten)]
    log: LogArgs,
}

impl AsRef<LogArgs> for Args {
    fn as_ref(&self) -> &LogArgs {
        &self.log
    }
}

/// Parses a repository and writes the stream to standard output.
///
/// # Errors
/// [`Error::Root`] or [`Error::NotAFile`] for a path that cannot be parsed,
/// [`Error::Threads`], and [`Error::Stream`] where standard output cannot be written.
pub fn run(args: Args) -> Result<Outcome, Error> {
    refuse_terminal(args.to)?;
    let listing = walk::list(&args.path, u64::from(args.max_file_bytes))?;
    let settings = Settings {
        repo: args.repo.clone().unwrap_or_else(|| name_of(&listing.root)),
        max_chunk_bytes: usize::try_from(args.max_chunk_bytes).unwrap_or(usize::MAX),
        max_file_bytes: u64::from(args.max_file_bytes),
    };
    let metadata = metadata(&settings, &listing);
    let schema = metadata.apply(chunk_schema());
    let writer = StreamWriter::stdout(args.to, &schema)?;
    // On a terminal the rows themselves show the progress.
    let progress = (!std::io::stdout().is_terminal()).then(|| Progress::start(metadata.totals));
    let threads = args.threads.map_or_else(default_threads, usize::from);
    let summary = pipeline::run(
        &listing.entries,
        &settings,
        threads,
        Sink { writer, progress },
    )?;
    let unread = summary.unread + listing.skipped;
    debug!(
        "{} chunks of {} files, {} bytes",
        summary.chunks, summary.files, summary.bytes
    );
    if unread > 0 {
        warn!("{unread} files left out");
        return Ok(Outcome::Told);
    }
    Ok(Outcome::Done)
}

fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Names a repository after its folder.
fn name_of(root: &Path) -> String {
    root.file_name().map_or_else(
        || "root".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    )
}

fn metadata(settings: &Settings, listing: &Listing) -> StreamMetadata {
    let mut stage = tool::stage("cs-parse", env!("CARGO_PKG_VERSION"));
    let grammars = language::fingerprint();
    stage.extra.extend([
        (
            "max_chunk_bytes".to_owned(),
            settings.max_chunk_bytes.into(),
        ),
        ("max_file_bytes".to_owned(), settings.max_file_bytes.into()),
        ("grammars".to_owned(), grammars.into()),
    ]);
    StreamMetadata {
        chain: vec![stage],
        repos: vec![Repo {
            name: settings.repo.clone(),
            root: listing.root.to_string_lossy().into_owned(),
        }],
        totals: Some(Totals {
            files: u64::try_from(listing.entries.len()).unwrap_or(u64::MAX),
            bytes: listing.entries.iter().map(|entry| entry.size).sum(),
        }),
        ..StreamMetadata::default()
    }
}
