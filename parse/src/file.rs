//! Turns one file into the rows of its chunks: reading, hashing, decoding.

use std::cell::RefCell;
use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::path::Path;
use std::time::{Duration, SystemTime};

use blake3::Hasher;
use cs_common::document::{content_hash, hex32};
use tree_sitter::Parser;

use crate::chunk::{self, Piece, Uncut};
use crate::detect::detect;
use crate::language::{Cut, Loaded};
use crate::left_out::{self, Reason};
use crate::since::Stored;
use crate::walk::{self, Entry, Filter};

/// What the chunks depend on, apart from the files.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Names of the repositories in the stream, by root.
    pub(crate) repos: Vec<String>,
    /// Largest chunk in bytes.
    pub(crate) max_chunk_bytes: usize,
    /// Which files are wanted, as far as their text tells.
    pub(crate) filter: Filter,
    /// Roots whose files were named, and are taken whatever they hold.
    pub(crate) named: Vec<bool>,
}

impl Settings {
    /// Returns 32 hex digits over all that decides how a file is cut.
    pub(crate) fn fingerprint(&self) -> String {
        let mut hasher = Hasher::new();
        hasher.update(env!("CS_PARSE_RULES").as_bytes());
        hasher.update(&self.max_chunk_bytes.to_le_bytes());
        hex32(hasher.finalize())
    }
}

/// What became of a file that was read.
#[derive(Debug)]
pub(crate) enum Outcome {
    Parsed(Parsed),
    /// It is what the store has.
    Unchanged,
    LeftOut(Reason),
}

/// A parsed file, ready to be written.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) language: Option<&'static str>,
    pub(crate) hash: String,
    pub(crate) size: u64,
    pub(crate) mtime_ns: Option<i64>,
    pub(crate) chunks: Vec<ParsedChunk>,
    /// Why a file of a language with a grammar was cut by lines, if it was.
    pub(crate) by_lines: Option<&'static str>,
}

/// A chunk with its text and identity.
#[derive(Debug)]
pub(crate) struct ParsedChunk {
    pub(crate) piece: Piece,
    pub(crate) id: String,
    pub(crate) content_hash: String,
    pub(crate) content: String,
}

/// Why a listed file could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unread {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("grew beyond --max-file-size {0} while it was read")]
    Grew(u64),
}

/// Reads and cuts a file; `stop` makes it give up early.
pub(crate) fn parse(
    entry: &Entry,
    stored: Option<&Stored>,
    settings: &Settings,
    stop: &dyn Fn() -> bool,
) -> Result<Outcome, Unread> {
    let (bytes, mtime_ns) = read(&entry.file, settings.filter.max_file_size)?;
    if is_binary(&bytes) {
        return Ok(Outcome::LeftOut(Reason::Binary));
    }
    let language = detect(&entry.file, &bytes);
    let name = language.map(|row| row.language.name);
    let named = settings.named.get(entry.root).copied().unwrap_or_default();
    if !settings.filter.wants(name) {
        return Ok(Outcome::LeftOut(Reason::OtherLanguage));
    }
    if !settings.filter.generated
        && !named
        && let Some(reason) = left_out::by_text(&bytes, name)
    {
        return Ok(Outcome::LeftOut(reason));
    }
    let hash = hex32(blake3::hash(&bytes));
    if stored.is_some_and(|stored| stored.hash.as_deref() == Some(&hash)) {
        return Ok(Outcome::Unchanged);
    }
    let (pieces, by_lines) = cut(&bytes, language, settings.max_chunk_bytes, stop);
    let repo = settings.repos.get(entry.root).map_or("", String::as_str);
    Ok(Outcome::Parsed(Parsed {
        language: name,
        hash,
        size: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
        mtime_ns,
        chunks: pieces
            .into_iter()
            .map(|piece| identify(piece, &bytes, repo, &entry.path))
            .collect(),
        by_lines,
    }))
}

/// How much of a file is looked at to tell text from binary data.
const SNIFF: usize = 8 * 1024;

/// Tells whether bytes from the start of a file are binary data: a NUL character is no text,
/// and a PDF, which Illustrator's files are too, may hold the first one late.
fn is_binary(bytes: &[u8]) -> bool {
    let head = bytes.get(..bytes.len().min(SNIFF)).unwrap_or_default();
    head.starts_with(b"%PDF-") || head.contains(&0)
}

/// Tells whether a file is binary data; one that cannot be read is none.
pub(crate) fn starts_binary(path: &Path) -> bool {
    let mut head = Vec::with_capacity(SNIFF);
    File::open(path)
        .and_then(|mut file| read_up_to(&mut file, SNIFF, &mut head))
        .is_ok_and(|()| is_binary(&head))
}

/// How often a file is read again that changes meanwhile.
const READS: usize = 3;

/// Reads a file and its modification time, in nanoseconds since 1970.
///
/// The time is `None` where it does not tell this state of the file from a later one.
fn read(path: &Path, max_bytes: u64) -> Result<(Vec<u8>, Option<i64>), Unread> {
    let mut bytes = Vec::new();
    for _ in 0..READS {
        let mut file = File::open(path)?;
        let before = file.metadata()?;
        let settled = settle(&before);
        let size = usize::try_from(before.len().min(max_bytes)).unwrap_or(0);
        bytes.clear();
        bytes.reserve_exact(size.saturating_add(1));
        // What is no text is of no use, however long it is.
        read_up_to(&mut file, SNIFF, &mut bytes)?;
        if is_binary(&bytes) {
            return Ok((bytes, None));
        }
        let rest = max_bytes.saturating_add(1);
        let rest = rest.saturating_sub(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        file.by_ref().take(rest).read_to_end(&mut bytes)?;
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > max_bytes {
            return Err(Unread::Grew(max_bytes));
        }
        let after = file.metadata()?;
        let mtime_ns = walk::mtime_ns(&before);
        if before.len() == after.len() && mtime_ns == walk::mtime_ns(&after) {
            return Ok((bytes, mtime_ns.filter(|_| settled)));
        }
    }
    Ok((bytes, None))
}

fn read_up_to(file: &mut File, limit: usize, bytes: &mut Vec<u8>) -> io::Result<()> {
    let limit = u64::try_from(limit).unwrap_or(u64::MAX);
    file.take(limit).read_to_end(bytes).map(drop)
}

/// A tick of a file system's clock that counts finer than in seconds, with a margin: Linux
/// takes times from its timer, which ticks a hundred times a second or more often.
const TICK: Duration = Duration::from_millis(20);

/// The same for a clock that counts in seconds.
const COARSE_TICK: Duration = Duration::from_secs(2);

/// Waits until a change to the file would change its modification time, too.
///
/// A file written within the clock's last tick could change once more without a trace in its
/// time. Returns false for a time that lies in the future, which cannot be waited for.
fn settle(metadata: &Metadata) -> bool {
    let Ok(mtime) = metadata.modified() else {
        return false;
    };
    let whole_seconds = walk::mtime_ns(metadata).is_some_and(|time| time % 1_000_000_000 == 0);
    let tick = if whole_seconds { COARSE_TICK } else { TICK };
    match SystemTime::now().duration_since(mtime) {
        Ok(age) => {
            if age < tick {
                std::thread::sleep(tick - age);
            }
            true
        }
        Err(_) => false,
    }
}

thread_local! {
    /// This thread's parser, made once; it is given the language of each file.
    static PARSER: RefCell<Parser> = RefCell::new(Parser::new());
}

/// Bytes of a file above which its syntax is not asked: a tree takes some ten times the
/// memory of its text, and such files are data.
const SYNTAX_BYTES: usize = 8 << 20;

/// Cuts a file, and says why it was cut by lines although its language has a grammar.
pub(crate) fn cut(
    bytes: &[u8],
    language: Option<&'static Loaded>,
    limit: usize,
    stop: &dyn Fn() -> bool,
) -> (Vec<Piece>, Option<&'static str>) {
    let by_lines = |cause| (chunk::by_lines(bytes, limit), cause);
    let Some(language) = language.filter(|row| !matches!(row.language.cut, Cut::Lines)) else {
        return by_lines(None);
    };
    if bytes.len() > SYNTAX_BYTES {
        return by_lines(Some("too large to be parsed, cut by lines"));
    }
    let pieces = PARSER.with_borrow_mut(|parser| match language.syntax() {
        Some(syntax) => chunk::by_syntax(bytes, syntax, parser, limit, stop),
        None => chunk::by_cells(bytes, parser, limit, stop),
    });
    match pieces {
        Ok(pieces) => (pieces, None),
        Err(Uncut::GaveUp) => by_lines(Some("takes the parser too long, cut by lines")),
        Err(Uncut::TooDeep) => by_lines(Some("is nested too deep, cut by lines")),
        Err(Uncut::NoCells) => by_lines(Some("is no notebook with cells, cut by lines")),
    }
}

fn identify(mut piece: Piece, bytes: &[u8], repo: &str, path: &str) -> ParsedChunk {
    let mut content = piece.text.take().unwrap_or_else(|| {
        let raw = bytes.get(piece.bytes.clone()).unwrap_or_default();
        String::from_utf8_lossy(raw).into_owned()
    });
    if let Some(members) = &piece.members {
        content.push_str(members);
    }
    let content_hash = content_hash(path, piece.symbol.as_deref(), &content);
    let mut hasher = Hasher::new();
    // A length before each part keeps two different lists from hashing the same bytes.
    let mut part = |bytes: &[u8]| {
        hasher.update(&bytes.len().to_le_bytes());
        hasher.update(bytes);
    };
    part(repo.as_bytes());
    part(path.as_bytes());
    part(piece.kind.as_bytes());
    part(&piece.bytes.start.to_le_bytes());
    part(&piece.bytes.end.to_le_bytes());
    part(content_hash.as_bytes());
    ParsedChunk {
        id: hex32(hasher.finalize()),
        content_hash,
        piece,
        content,
    }
}
