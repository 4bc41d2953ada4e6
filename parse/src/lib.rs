//! The parse stage: walks repositories and writes their code as a stream of chunks.
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
mod left_out;
mod list_languages;
mod pipeline;
mod repos;
mod since;
mod text;
mod walk;

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use clap::Parser;
use clap::builder::NonEmptyStringValueParser;
use cs_common::manifest::{Manifest, ManifestError};
use cs_common::metadata::{Repo, StreamMetadata, Totals};
use cs_common::meter;
use cs_common::progress::Progress;
use cs_common::report::{Figures, MeterArgs};
use cs_common::rows::chunk_schema;
use cs_common::stream::{Format, StreamWriter, refuse_terminal};
use cs_common::tool::{self, LogArgs, Outcome, Scope};
use log::{debug, info, warn};

pub use error::Error;

use file::Settings;
use left_out::Reason;
use pipeline::{Sink, Summary};
use repos::{Root, Take};
use since::Plan;
use walk::{Filter, Listing};

/// Cuts repositories into chunks of code for cs-embed
///
/// Functions, types and sections become chunks of their own; what is too large is cut
/// at statements, what is small is gathered. Left out are files that .gitignore, .ignore or
/// .csignore name, hidden and binary files, and, counted, vendored folders and generated and
/// minified files.
///
/// Exit status: 0 done, 1 done although some file could not be read, 2 failed.
#[derive(Debug, Parser)]
#[command(
    name = "cs-parse",
    version,
    after_help = "Examples:
  cs-parse . | cs-embed | cs-store
  cs-parse . --since .cs | cs-embed | cs-store           only what changed
  cs-parse --each-repo ~/src | cs-embed | cs-store all   every repository below a folder
  git diff --name-only -z main | cs-parse . --files-from - | cs-embed | cs-store
  cs-parse src --to jsonl | jq -r .symbol"
)]
pub struct Args {
    /// Folders or files to parse; each folder is a repository named after itself
    #[arg(value_name = "PATH", default_value = ".")]
    paths: Vec<PathBuf>,

    /// Name of the repository in the stream, unique in a store [default: the folder's name]
    #[arg(long, alias = "repo", value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    repo_name: Option<String>,

    /// Parse every repository in DIR: its folders, or theirs where only those have a `.git`
    #[arg(long, value_name = "DIR", conflicts_with_all = ["paths", "repo_name"])]
    each_repo: Option<PathBuf>,

    /// Write only what changed since DB was written, and what is to be deleted from it
    ///
    /// Files are compared with the manifest that cs-store keeps in DB: by size and modification
    /// time, else by hash. A file that vanished or is left out now becomes a delete, a changed one
    /// a delete and its new chunks. Other settings, or another version of cs-parse, parse all anew.
    ///
    /// DB may be the manifest itself, for a store elsewhere:
    /// --since <(cs-store manifest s3://bucket/index)
    #[arg(long, value_name = "DB")]
    since: Option<PathBuf>,

    /// Parse only the files listed in FILE, or on standard input for `-`
    ///
    /// Paths start at PATH and end with a line feed or, as from `git diff --name-only -z`, with
    /// NUL. A file that is not there becomes a delete. Ignore files are not asked.
    #[arg(long, value_name = "FILE", conflicts_with = "each_repo")]
    files_from: Option<PathBuf>,

    /// Take only files that match a glob as in .gitignore, such as 'src/**/*.rs' (repeatable)
    #[arg(long, value_name = "GLOB", value_parser = NonEmptyStringValueParser::new())]
    include: Vec<String>,

    /// Leave out files and folders that match a glob, such as 'tests/' (repeatable)
    #[arg(long, value_name = "GLOB", value_parser = NonEmptyStringValueParser::new())]
    exclude: Vec<String>,

    /// Take only files of these languages, such as rust,python (see --list-languages)
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = language_name)]
    lang: Vec<&'static str>,

    /// Take hidden files and folders as well
    #[arg(long)]
    hidden: bool,

    /// Take files that .gitignore, .ignore or .csignore leave out
    #[arg(long)]
    no_ignore: bool,

    /// Take dependencies kept in the repository: node_modules, vendor, third_party …
    #[arg(long)]
    vendored: bool,

    /// Take generated and minified files, and lock files
    #[arg(long)]
    generated: bool,

    /// Largest file; a larger one is named in a warning and left out (suffixes K, M, G)
    #[arg(long, alias = "max-file-bytes", value_name = "SIZE", default_value = "4M", value_parser = size)]
    max_file_size: u64,

    /// Largest chunk in bytes; a function of more is cut at statements
    ///
    /// A token of code is about three to four bytes: 1536 fills the 256 to 512 tokens
    /// that common embedding models read.
    #[arg(long, value_name = "N", default_value_t = 1536, value_parser = clap::value_parser!(u32).range(128..))]
    max_chunk_bytes: u32,

    /// Form of the output
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    to: Format,

    /// Parser threads [default: one for each processor]
    #[arg(short = 'j', long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,

    /// Print the languages, how each is told and cut, and end
    #[arg(long)]
    list_languages: bool,

    /// With --list-languages: print one JSON array
    #[arg(long, requires = "list_languages")]
    json: bool,

    /// Write no report row before the seal: equal input gives equal bytes
    #[arg(long)]
    no_report: bool,

    #[command(flatten)]
    figures: MeterArgs,

    #[command(flatten)]
    log: LogArgs,
}

impl AsRef<LogArgs> for Args {
    fn as_ref(&self) -> &LogArgs {
        &self.log
    }
}

/// This program.
const TOOL: &str = "cs-parse";

/// Its version.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Parses repositories and writes the stream to standard output.
///
/// # Errors
/// One of [`Error`]: for paths and options that cannot be used, and [`Error::Stream`] where
/// standard output cannot be written.
pub fn run(args: Args) -> Result<Outcome, Error> {
    if args.list_languages {
        list_languages::print(args.json)?;
        return Ok(Outcome::Done);
    }
    refuse_terminal(args.to)?;
    let figures = Figures::start(&args.figures, TOOL)?;
    let entered = figures.meter.lane("write").enter();
    meter::work("list");
    let mut roots = match &args.each_repo {
        Some(folder) => repos::each_in(folder)?,
        None => repos::from_paths(&args.paths, args.repo_name.as_deref())?,
    };
    if let Some(list) = &args.files_from {
        repos::narrow(&mut roots, list)?;
    }
    let threads = args.threads.map_or_else(default_threads, usize::from);
    let settings = Settings {
        repos: roots.iter().map(|root| root.name.clone()).collect(),
        max_chunk_bytes: usize::try_from(args.max_chunk_bytes).unwrap_or(usize::MAX),
        filter: filter(&args),
        named: roots
            .iter()
            .map(|root| matches!(root.take, Take::Named(_)))
            .collect(),
    };
    let manifest = args.since.as_deref().map(known).transpose()?.flatten();
    let mut listing =
        walk::list(&roots, &settings.filter, threads).map_err(|source| Error::Glob { source })?;
    let fingerprint = settings.fingerprint();
    let plan = since::plan(&mut listing, &roots, manifest.as_ref(), &fingerprint);

    let mut metadata = metadata(&settings, &roots, &plan);
    let scope = if roots.iter().any(|root| !matches!(root.take, Take::All)) {
        Scope::Part
    } else if args.since.is_none() {
        Scope::Whole
    } else if manifest.is_none() {
        Scope::Anew
    } else {
        Scope::Changes
    };
    describe(&mut metadata, &settings, &fingerprint, scope);
    let compared = manifest.filter(|_| scope == Scope::Changes && !listing.incomplete);
    if let (Some(manifest), Some(stage)) = (&compared, metadata.chain.last_mut()) {
        let written = manifest.written_ns.to_string();
        stage.extra.insert(tool::SINCE.to_owned(), written.into());
    }
    drop(compared);
    let schema = metadata.apply(chunk_schema());
    let writer = StreamWriter::stdout(args.to, &schema)?;
    // On a terminal the rows themselves show the progress.
    let progress = (!std::io::stdout().is_terminal()).then(|| Progress::start(metadata.totals));
    let sink = Sink {
        writer,
        progress,
        figures: figures.clone(),
        no_report: args.no_report,
    };
    let ran = pipeline::run(&plan.jobs, &settings, threads, sink);
    drop(entered);
    figures.end();
    let summary = ran?;
    Ok(tell(&summary, &listing, &plan, args.since.is_some()))
}

/// Lists the files that cs-parse takes from a folder without options, in its order.
///
/// # Errors
/// [`Error::Root`] for a folder that cannot be read.
pub fn files_of(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let roots = repos::from_paths(&[folder.to_owned()], None)?;
    let filter = Filter {
        max_file_size: DEFAULT_FILE_SIZE,
        ..Filter::default()
    };
    let listing = walk::list(&roots, &filter, 1).map_err(|source| Error::Glob { source })?;
    let entries = listing.entries.into_iter();
    Ok(entries.map(|entry| entry.file).collect())
}

/// Returns the grammar that a file is parsed with, by its name and first bytes; `None` if it is
/// cut without one.
pub fn grammar_of(path: &Path, bytes: &[u8]) -> Option<tree_sitter::Language> {
    let syntax = detect::detect(path, bytes)?.syntax()?;
    Some(syntax.grammar.clone())
}

/// A chunk's place in its file and what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Span {
    /// The bytes of the file.
    pub bytes: std::ops::Range<usize>,
    /// First and last line, from 1.
    pub lines: (u32, u32),
    /// What it is: function, class, section …
    pub kind: &'static str,
    /// Qualified name.
    pub symbol: Option<String>,
    /// Index of the enclosing chunk.
    pub parent: Option<usize>,
}

/// Cuts a file in memory into chunks of at most `max_chunk_bytes`, as cs-parse does, its
/// language being told by `path` and its first bytes.
pub fn chunks_of(path: &Path, bytes: &[u8], max_chunk_bytes: usize) -> Vec<Span> {
    let language = detect::detect(path, bytes);
    let (pieces, _) = file::cut(bytes, language, max_chunk_bytes, &|| false);
    pieces
        .into_iter()
        .map(|piece| Span {
            bytes: piece.bytes,
            lines: piece.lines,
            kind: piece.kind,
            symbol: piece.symbol,
            parent: piece.parent,
        })
        .collect()
}

/// Reads the manifest of a store that may not be there yet, or one that lies by itself.
fn known(db: &Path) -> Result<Option<Manifest>, Error> {
    if db.to_str().is_some_and(|text| text.contains("://")) {
        return Err(Error::SinceAddress(db.to_owned()));
    }
    let read = match db.exists() && !db.is_dir() {
        true => Manifest::read_copy(db).map(Some),
        false => Manifest::read(db),
    };
    match read {
        Ok(Some(manifest)) => Ok(Some(manifest)),
        Ok(None) => {
            debug!("{}: no manifest, everything is parsed", db.display());
            Ok(None)
        }
        Err(error @ ManifestError::Form { .. }) => {
            warn!("{error}: everything is parsed");
            Ok(None)
        }
        Err(source) => Err(Error::Since { source }),
    }
}

fn filter(args: &Args) -> Filter {
    let exclude = args.exclude.iter().map(|glob| format!("!{glob}"));
    Filter {
        globs: args.include.iter().cloned().chain(exclude).collect(),
        languages: args.lang.clone(),
        hidden: args.hidden,
        no_ignore: args.no_ignore,
        vendored: args.vendored,
        generated: args.generated,
        max_file_size: args.max_file_size,
    }
}

/// Says what was done, as far as it is not plain, and whether anything was lost.
fn tell(summary: &Summary, listing: &Listing, plan: &Plan, since: bool) -> Outcome {
    let mut left_out: BTreeMap<Reason, usize> = listing.left_out.clone();
    for (reason, count) in &summary.left_out {
        *left_out.entry(*reason).or_default() += count;
    }
    let mut parts = vec![format!(
        "{} files, {} chunks",
        summary.files, summary.chunks
    )];
    if since {
        let unchanged = u64::try_from(plan.unchanged).unwrap_or(u64::MAX) + summary.unchanged;
        parts.push(format!(
            "{unchanged} unchanged, {} deleted",
            summary.deleted
        ));
    }
    if summary.by_lines > 0 {
        parts.push(format!("{} cut by lines", summary.by_lines));
    }
    for (reason, count) in &left_out {
        parts.push(format!("{count} {reason} left out"));
    }
    let unread = summary.unread + listing.skipped;
    if unread > 0 {
        parts.push(format!("{unread} not read"));
    }
    let notable = unread > 0 || summary.by_lines > 0 || since;
    let unasked = left_out.keys().any(|reason| *reason != Reason::Binary);
    let text = parts.join("; ");
    match (unread > 0, notable || unasked) {
        (true, _) => warn!("{text}"),
        (false, true) => info!("{text}"),
        (false, false) => debug!("{text}"),
    }
    if unread > 0 {
        Outcome::Told
    } else {
        Outcome::Done
    }
}

/// What `--max-file-size` is by default, in bytes.
const DEFAULT_FILE_SIZE: u64 = 4 << 20;

fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Reads the size of a file, whose chunks' offsets have to fit.
fn size(text: &str) -> Result<u64, String> {
    match tool::size(text)? {
        size if size <= u64::from(u32::MAX) => Ok(size),
        _ => Err("must be less than 4G".to_owned()),
    }
}

/// Finds a language by name.
fn language_name(text: &str) -> Result<&'static str, String> {
    let wanted = text.to_ascii_lowercase();
    language::all()
        .iter()
        .map(|row| row.language.name)
        .find(|name| *name == wanted)
        .ok_or_else(|| "no such language, see --list-languages".to_owned())
}

fn metadata(settings: &Settings, roots: &[Root], plan: &Plan) -> StreamMetadata {
    let files = plan
        .jobs
        .iter()
        .filter(|job| matches!(job, since::Job::File { .. }));
    StreamMetadata {
        repos: settings
            .repos
            .iter()
            .zip(roots)
            .map(|(name, root)| Repo {
                name: name.clone(),
                root: root.folder.to_string_lossy().into_owned(),
            })
            .collect(),
        totals: Some(Totals {
            files: u64::try_from(files.count()).unwrap_or(u64::MAX),
            bytes: plan.jobs.iter().map(since::Job::size).sum(),
        }),
        ..StreamMetadata::default()
    }
}

/// Adds the provenance: what reproduces the stream, and what the store must know of it.
fn describe(metadata: &mut StreamMetadata, settings: &Settings, fingerprint: &str, scope: Scope) {
    let mut stage = tool::stage(TOOL, VERSION);
    stage.extra.extend([
        (
            "max_chunk_bytes".to_owned(),
            settings.max_chunk_bytes.into(),
        ),
        (tool::SETTINGS.to_owned(), fingerprint.into()),
        (tool::SCOPE.to_owned(), scope.as_str().into()),
    ]);
    metadata.chain.push(stage);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_suffixes_and_bounds() {
        for (text, expected) in [
            ("1", Some(1)),
            ("3k", Some(3072)),
            ("4M", Some(4 << 20)),
            ("2G", Some(2 << 30)),
            ("0", None),
            ("4G", None),
            ("9999999999G", None),
            ("M", None),
            ("1T", None),
        ] {
            assert_eq!(size(text).ok(), expected, "{text}");
        }
    }
}
