//! Turns one file into the rows of its chunks: reading, hashing, decoding.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::time::UNIX_EPOCH;

use blake3::Hasher;
use cs_common::document::{content_hash, hex32};
use log::debug;
use tree_sitter::Parser;

use crate::chunk::{self, Piece};
use crate::detect::detect;
use crate::language::Loaded;
use crate::walk::{self, Entry};

/// What the chunks depend on, apart from the files.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Name of the repository in the stream.
    pub(crate) repo: String,
    /// Largest chunk in bytes.
    pub(crate) max_chunk_bytes: usize,
    /// Largest file in bytes.
    pub(crate) max_file_bytes: u64,
}

/// A parsed file, ready to be written.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) language: Option<&'static str>,
    pub(crate) hash: String,
    pub(crate) size: u64,
    pub(crate) mtime_ns: Option<i64>,
    pub(crate) chunks: Vec<ParsedChunk>,
}

/// A chunk with its text and identity.
#[derive(Debug)]
pub(crate) struct ParsedChunk {
    pub(crate) piece: Piece,
    pub(crate) id: String,
    pub(crate) content_hash: String,
    pub(crate) content: String,
}

/// Why a listed file has no chunks.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unread {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("grew beyond --max-file-bytes {0} while it was read")]
    Grew(u64),
    /// Binary after all; nothing to tell anyone.
    #[error("binary, left out")]
    Binary,
}

/// Reads and cuts a file; `stop` makes it give up early.
pub(crate) fn parse(
    entry: &Entry,
    settings: &Settings,
    stop: &dyn Fn() -> bool,
) -> Result<Parsed, Unread> {
    let (bytes, mtime_ns) = read(&entry.file, settings.max_file_bytes)?;
    if walk::is_binary(&bytes) {
        return Err(Unread::Binary);
    }
    let language = detect(&entry.file, &bytes);
    let pieces = cut(
        &entry.path,
        &bytes,
        language,
        settings.max_chunk_bytes,
        stop,
    );
    Ok(Parsed {
        language: language.map(|row| row.language.name),
        hash: hex32(blake3::hash(&bytes)),
        size: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
        mtime_ns,
        chunks: pieces
            .into_iter()
            .map(|piece| identify(piece, &bytes, entry, settings))
            .collect(),
    })
}

/// Reads a file and its modification time, in nanoseconds since 1970.
fn read(path: &Path, max_bytes: u64) -> Result<(Vec<u8>, Option<i64>), Unread> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    let mtime_ns =
        metadata
            .modified()
            .ok()
            .and_then(|time| match time.duration_since(UNIX_EPOCH) {
                Ok(after) => i64::try_from(after.as_nanos()).ok(),
                Err(before) => i64::try_from(before.duration().as_nanos())
                    .ok()
                    .map(|nanoseconds| -nanoseconds),
            });
    let size = usize::try_from(metadata.len().min(max_bytes)).unwrap_or(0);
    let mut bytes = Vec::with_capacity(size.saturating_add(1));
    file.take(max_bytes.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > max_bytes {
        return Err(Unread::Grew(max_bytes));
    }
    Ok((bytes, mtime_ns))
}

thread_local! {
    /// This thread's parser, made once; it is given the language of each file.
    static PARSER: RefCell<Parser> = RefCell::new(Parser::new());
}

fn cut(
    path: &str,
    bytes: &[u8],
    language: Option<&'static Loaded>,
    limit: usize,
    stop: &dyn Fn() -> bool,
) -> Vec<Piece> {
    let Some(syntax) = language.and_then(Loaded::syntax) else {
        return chunk::by_lines(bytes, limit);
    };
    let by_syntax = PARSER.with_borrow_mut(|parser| {
        parser.set_language(&syntax.grammar).ok()?;
        chunk::by_syntax(bytes, syntax, parser, limit, stop)
    });
    by_syntax.unwrap_or_else(|| {
        debug!("{path}: beyond the parser's budget, cut by lines");
        chunk::by_lines(bytes, limit)
    })
}

fn identify(piece: Piece, bytes: &[u8], entry: &Entry, settings: &Settings) -> ParsedChunk {
    let raw = bytes.get(piece.bytes.clone()).unwrap_or_default();
    let mut content = String::from_utf8_lossy(raw).into_owned();
    if let Some(members) = &piece.members {
        content.push_str(members);
    }
    let mut hasher = Hasher::new();
    // A length before each part keeps two different lists from hashing the same bytes.
    let mut part = |bytes: &[u8]| {
        hasher.update(&bytes.len().to_le_bytes());
        hasher.update(bytes);
    };
    part(settings.repo.as_bytes());
    part(entry.path.as_bytes());
    part(piece.kind.as_bytes());
    part(&piece.bytes.start.to_le_bytes());
    part(&piece.bytes.end.to_le_bytes());
    part(content.as_bytes());
    ParsedChunk {
        id: hex32(hasher.finalize()),
        content_hash: content_hash(&entry.path, piece.symbol.as_deref(), &content),
        piece,
        content,
    }
}
