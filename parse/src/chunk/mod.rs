//! Cuts one file into chunks along its syntax.
//!
//! The file is tiled: tiles follow each other without gap or overlap, and a chunk is a tile without
//! the white space at its ends. So every non-blank byte is in one chunk whatever the syntax tree
//! looks like, and broken code costs names, never text. A tile is a definition with its
//! documentation, a piece of a definition that is too large, or gathered neighbours.
//!
//! [`collect`] turns a node into entries, and [`layout`] lays entries out as tiles. `gather` packs
//! small neighbours. `headings` cuts documents, and `notebook` cuts cells. [`windows`] cuts where
//! there is no syntax. This file trims tiles to chunks and lists members.
//!
//! The parser's budget counts its own steps, which are the same on every machine. A limit of 20
//! seconds covers the few scanners whose steps grow. Nesting is followed to fixed depths. A scanner
//! that never returns cannot be stopped inside the process. Therefore `scripts/check/fuzz` fuzzes the
//! grammars, YAML has a check of its source (`Cut::Prepared`), and every source ends with a line
//! feed, which Kotlin's scanner needs.

#[cfg(test)]
mod check;
mod collect;
mod gather;
mod headings;
mod layout;
mod notebook;
mod windows;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tree_sitter::{ParseOptions, Parser, Tree};

use crate::language::{Prepared, Syntax};
pub(crate) use notebook::by_cells;

/// One chunk of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Piece {
    /// The bytes of the file that the chunk is.
    pub(crate) bytes: Range<usize>,
    /// First and last line, counted from 1.
    pub(crate) lines: (u32, u32),
    pub(crate) kind: &'static str,
    pub(crate) name: Option<String>,
    pub(crate) symbol: Option<String>,
    pub(crate) signature: Option<String>,
    pub(crate) doc: Option<String>,
    /// Index of the enclosing piece.
    pub(crate) parent: Option<usize>,
    /// Of a container: its members' signatures, one a line.
    pub(crate) members: Option<String>,
    /// What it says, where that is not what its bytes are.
    pub(crate) text: Option<String>,
    /// Its language, where that is not the file's.
    pub(crate) language: Option<&'static str>,
}

/// Why a file was not cut as its language is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Uncut {
    /// The parser gave up, by its budget or because it was told to.
    GaveUp,
    /// It is nested deeper than the grammar can bear.
    TooDeep,
    /// A notebook is broken JSON, or has no list of cells.
    NoCells,
}

/// A span of the file that becomes a chunk once its ends are trimmed.
#[derive(Debug, Clone, Default)]
struct Tile {
    start: usize,
    end: usize,
    kind: &'static str,
    name: Option<String>,
    symbol: Option<String>,
    signature: Option<String>,
    doc: Option<String>,
    /// Index of the enclosing tile.
    parent: Option<usize>,
    /// The symbol of the type that the tile belongs to, where that does not stand
    /// around it: a Go method, or one of C++ that is defined outside of its class.
    of_type: Option<String>,
    /// Whether it is a definition, or the first part of one.
    is_definition: bool,
    /// Whether its chunk lists the members that have it for a parent.
    lists_members: bool,
}

/// Cuts a file into chunks of at most `limit` bytes along its syntax.
///
pub(crate) fn by_syntax(
    source: &[u8],
    syntax: &Syntax,
    parser: &mut Parser,
    limit: usize,
    stop: &dyn Fn() -> bool,
) -> Result<Vec<Piece>, Uncut> {
    // The scanners of some grammars (Kotlin's, behind an `@`) look for the end of a line
    // and never stop where the file ends without one.
    let ended;
    let source = if source.ends_with(b"\n") {
        source
    } else {
        ended = [source, b"\n"].concat();
        &ended
    };
    let body = body_of(source);
    let prepared = match syntax.prepare(source) {
        Prepared::AsItIs => Cow::Borrowed(source),
        Prepared::Instead(text) => Cow::Owned(text),
        Prepared::TooDeep => return Err(Uncut::TooDeep),
    };
    let parsed = parse(&prepared, &syntax.grammar, parser, stop)?;
    let tiles = layout::tiles(source, body, syntax, &parsed.tree, limit);
    drop(parsed);
    Ok(pieces(source, tiles, limit))
}

/// Cuts a file into windows of whole lines of at most `limit` bytes.
pub(crate) fn by_lines(source: &[u8], limit: usize) -> Vec<Piece> {
    let body = body_of(source);
    let tile = Tile {
        start: body.start,
        end: body.end,
        kind: "text",
        ..Tile::default()
    };
    let mut pieces = pieces(source, vec![tile], limit);
    // Windows of a text are siblings: the first is not what the others are part of.
    for piece in &mut pieces {
        piece.parent = None;
    }
    pieces
}

/// Leaves out a byte order mark, which is no text.
fn body_of(source: &[u8]) -> Range<usize> {
    let mark = "\u{feff}".len();
    let start = if source.starts_with("\u{feff}".as_bytes()) {
        mark
    } else {
        0
    };
    start..source.len()
}

/// Parser steps allowed for any file, in units of the parser's progress report.
const BUDGET_BASE: u64 = 5_000;

/// Bytes of a file for which one more unit is allowed; ordinary code takes one in a few
/// hundred bytes, a table of small numbers one in sixty.
const BYTES_PER_UNIT: u64 = 32;

/// The most units for any file: a unit leaves 4 to 7 KB of tree, so that is 140 MB. Ordinary
/// code takes nine units a KB and reaches it at 2.2 MB.
const BUDGET_MOST: u64 = 20_000;

/// Units from which a file is parsed while no other such file is: its tree has some 40 MB, and
/// there may be many threads.
const LARGE: u64 = 6_000;

static ONE_LARGE: Mutex<()> = Mutex::new(());

/// A syntax tree.
struct Parsed {
    tree: Tree,
    /// Held as long as a large tree is there.
    _turn: Option<MutexGuard<'static, ()>>,
}

/// How long a parser may take for its steps. The budget ends it long before, except in the
/// scanners of a few grammars whose steps grow with what is open: 30,000 nested HTML tags.
const PARSER_TIME: Duration = Duration::from_secs(20);

/// Parses a file within a budget of parser steps, which unlike time gives the same
/// result on every machine.
fn parse(
    source: &[u8],
    grammar: &tree_sitter::Language,
    parser: &mut Parser,
    stop: &dyn Fn() -> bool,
) -> Result<Parsed, Uncut> {
    parser.set_language(grammar).map_err(|_| Uncut::GaveUp)?;
    let bytes = u64::try_from(source.len()).unwrap_or(u64::MAX);
    let budget = BUDGET_MOST.min(BUDGET_BASE + bytes / BYTES_PER_UNIT);
    let mut units = 0;
    let mut turn = None;
    let started = Instant::now();
    let mut progress = |_: &tree_sitter::ParseState| {
        units += 1;
        if units == LARGE {
            turn = Some(ONE_LARGE.lock().unwrap_or_else(PoisonError::into_inner));
        }
        if units >= budget || started.elapsed() > PARSER_TIME || stop() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    let options = ParseOptions::new().progress_callback(&mut progress);
    let tree = parser.parse_with_options(
        &mut |offset, _| source.get(offset..).unwrap_or_default(),
        None,
        Some(options),
    );
    if tree.is_none() {
        // An abandoned parse would otherwise be taken up again with the next file.
        parser.reset();
    }
    match tree {
        Some(tree) => Ok(Parsed { tree, _turn: turn }),
        None => Err(Uncut::GaveUp),
    }
}

/// Trims tiles, cuts what is still too large, and numbers lines.
fn pieces(source: &[u8], mut tiles: Vec<Tile>, limit: usize) -> Vec<Piece> {
    link_to_types(&mut tiles);
    let members = members_of(&tiles);
    let lines = Lines::new(source);
    let mut pieces: Vec<Piece> = Vec::with_capacity(tiles.len());
    // Where the chunk of each tile begins in `pieces`; a blank tile has none.
    let mut firsts: Vec<Option<usize>> = Vec::with_capacity(tiles.len());
    let mut parents = Vec::with_capacity(tiles.len());
    for tile in tiles {
        let mut first = None;
        for span in windows::cut(source, tile.start..tile.end, limit) {
            let Some(bytes) = trim(source, span) else {
                continue;
            };
            let is_first = first.is_none();
            let own = *first.get_or_insert(pieces.len());
            parents.push(if is_first {
                Parent::Tile(tile.parent)
            } else {
                Parent::Piece(own)
            });
            pieces.push(Piece {
                lines: (lines.number(bytes.start), lines.number(bytes.end - 1)),
                bytes,
                kind: tile.kind,
                name: tile.name.clone(),
                symbol: tile.symbol.clone(),
                signature: tile.signature.clone(),
                doc: if is_first { tile.doc.clone() } else { None },
                ..Piece::default()
            });
        }
        firsts.push(first);
    }
    for (piece, parent) in pieces.iter_mut().zip(parents) {
        piece.parent = match parent {
            Parent::Tile(tile) => tile.and_then(|tile| firsts.get(tile).copied().flatten()),
            Parent::Piece(first) => Some(first),
        };
    }
    for (tile, members) in members {
        if let Some(piece) = firsts
            .get(tile)
            .copied()
            .flatten()
            .and_then(|first| pieces.get_mut(first))
        {
            let room = limit.saturating_sub(piece.bytes.len());
            piece.members = outline(&members, room);
        }
    }
    pieces
}

/// Lists the signatures of each container's members, by the container's tile.
fn members_of(tiles: &[Tile]) -> BTreeMap<usize, Vec<String>> {
    let mut members: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for tile in tiles.iter().filter(|tile| tile.is_definition) {
        let container = tile
            .parent
            .filter(|parent| tiles.get(*parent).is_some_and(|tile| tile.lists_members));
        if let (Some(container), Some(signature)) = (container, &tile.signature) {
            members
                .entry(container)
                .or_default()
                .push(signature.clone());
        }
    }
    members
}

/// Writes as many signatures as there is room for, and how many more there are.
fn outline(signatures: &[String], room: usize) -> Option<String> {
    let mut outline = String::new();
    for (index, signature) in signatures.iter().enumerate() {
        let rest = format!("\n    … {} more", signatures.len() - index);
        let line = "\n    ".len() + signature.len();
        let reserve = if index + 1 < signatures.len() {
            rest.len()
        } else {
            0
        };
        if outline.len() + line + reserve > room {
            if outline.len() + rest.len() <= room {
                outline.push_str(&rest);
            }
            break;
        }
        outline.push_str("\n    ");
        outline.push_str(signature);
    }
    (!outline.is_empty()).then_some(outline)
}

enum Parent {
    Tile(Option<usize>),
    Piece(usize),
}

/// Gives a method whose container has no chunk the chunk of its type, if the file has it.
fn link_to_types(tiles: &mut [Tile]) {
    let types: std::collections::HashMap<String, usize> = tiles
        .iter()
        .enumerate()
        .rev()
        .filter(|(_, tile)| {
            matches!(
                tile.kind,
                "struct" | "enum" | "union" | "class" | "trait" | "interface" | "type"
            )
        })
        .filter_map(|(index, tile)| Some((tile.symbol.clone()?, index)))
        .collect();
    for tile in tiles {
        if let Some(index) = tile.of_type.as_ref().and_then(|name| types.get(name)) {
            tile.parent = Some(*index);
        }
    }
}

/// Trims blank lines off both ends and white space off the last; the first line keeps
/// its indentation. `None` if nothing is left.
fn trim(source: &[u8], span: Range<usize>) -> Option<Range<usize>> {
    let bytes = source.get(span.clone())?;
    let lead = bytes.iter().position(|byte| !byte.is_ascii_whitespace())?;
    let last = bytes.iter().rposition(|byte| !byte.is_ascii_whitespace())?;
    let first = span.start + lead;
    let line = line_start(source, first);
    let start = if line >= span.start && starts_line(source, first) {
        line
    } else {
        first
    };
    Some(start..span.start + last + 1)
}

/// Returns where the line of `at` begins, looking back over white space only.
fn line_start(source: &[u8], at: usize) -> usize {
    let before = source.get(..at).unwrap_or_default();
    let blank = before
        .iter()
        .rev()
        .take_while(|byte| byte.is_ascii_whitespace() && **byte != b'\n')
        .count();
    at - blank
}

/// Tells whether only white space stands between the start of the line and `at`.
fn starts_line(source: &[u8], at: usize) -> bool {
    let start = line_start(source, at);
    start == body_of(source).start || source.get(start - 1) == Some(&b'\n')
}

/// The starts of a file's lines.
struct Lines(Vec<usize>);

impl Lines {
    fn new(source: &[u8]) -> Self {
        let ends = source
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'\n');
        Lines(ends.map(|(at, _)| at).collect())
    }

    /// Returns the line of a byte, counted from 1.
    fn number(&self, at: usize) -> u32 {
        let before = self.0.partition_point(|&end| end < at);
        u32::try_from(before).map_or(u32::MAX, |line| line.saturating_add(1))
    }
}

#[cfg(test)]
mod tests;
