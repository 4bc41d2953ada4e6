//! Lays the tiles of a document that headings divide: a section is a heading with what
//! stands under it, up to the next heading.
//!
//! Headings do not enclose their text in the syntax tree (an underlined one never does),
//! so sections are made here from the order and level of the headings.

use std::ops::Range;

use tree_sitter::Tree;

use super::Tile;
use super::collect::{Atom, Found, Scan, What};
use super::gather::{self, TINY};
use super::windows::trimmed_len;
use crate::language::Level;
use crate::text;

/// Lays the tiles of a parsed document.
pub(super) fn tiles(scan: Scan<'_>, body: Range<usize>, tree: &Tree) -> Vec<Tile> {
    let atoms = scan.file(tree.root_node());
    let mut document = Document {
        scan,
        open: Vec::new(),
        tiles: Vec::new(),
    };
    let mut rest = sections(&atoms);
    let mut start = body.start;
    while let Some(section) = rest.next() {
        let next = rest.as_slice().first();
        let end = next.and_then(|next| next.run.first());
        let end = end.map_or(body.end, |next| next.start);
        // A heading right above a deeper one is read with it, as is what little stands above
        // the first.
        let is_bare = match section.heading {
            Some(_) => section.run.len() == 1,
            None => trimmed_len(scan.source, start..end) < TINY,
        };
        let joins = is_bare && next.is_some_and(|next| next.level > section.level);
        document.section(&section, start..end, joins);
        if !joins {
            start = end;
        }
    }
    document.tiles
}

/// Entries up to the next heading.
struct Section<'a, 't> {
    /// The heading they begin with; what stands above the first has none.
    heading: Option<&'a Found<'t>>,
    /// 1 is the highest, 0 stands for none.
    level: usize,
    run: &'a [Atom<'t>],
}

/// Divides entries at the headings; there is always at least one section.
fn sections<'a, 't>(atoms: &'a [Atom<'t>]) -> std::vec::IntoIter<Section<'a, 't>> {
    let mut styles = Vec::new();
    let mut sections = Vec::new();
    let mut rest = atoms;
    loop {
        let under = rest.iter().skip(1).position(|atom| heading(atom).is_some());
        let (run, after) = rest.split_at(under.map_or(rest.len(), |at| at + 1));
        let (heading, level) = run.first().and_then(heading).unzip();
        sections.push(Section {
            heading,
            level: level.map_or(0, |level| number(level, &mut styles)),
            run,
        });
        if after.is_empty() {
            return sections.into_iter();
        }
        rest = after;
    }
}

fn heading<'a, 't>(atom: &'a Atom<'t>) -> Option<(&'a Found<'t>, Level)> {
    match &atom.what {
        What::Definition(found) => Some((found, found.described.level?)),
        What::Loose(..) => None,
    }
}

/// Returns a level as a number, given the styles that appeared so far.
fn number(level: Level, styles: &mut Vec<usize>) -> usize {
    let style = match level {
        Level::Number(number) => return number,
        Level::Style(style) => style,
    };
    let known = styles.iter().position(|known| *known == style);
    let at = known.unwrap_or_else(|| {
        styles.push(style);
        styles.len() - 1
    });
    at + 1
}

struct Document<'a> {
    scan: Scan<'a>,
    /// The sections around the current place, the highest first.
    open: Vec<Open>,
    tiles: Vec<Tile>,
}

struct Open {
    level: usize,
    title: Option<String>,
    tile: Option<usize>,
}

impl Document<'_> {
    fn section(&mut self, section: &Section<'_, '_>, span: Range<usize>, joins: bool) {
        let Some(found) = section.heading else {
            if joins {
                return;
            }
            let tile = Tile {
                kind: self.scan.syntax.language.loose,
                ..Tile::default()
            };
            self.parts(&tile, section.run, span, None);
            return;
        };
        self.open.retain(|open| open.level < section.level);
        let parent = self.open.iter().rev().find_map(|open| open.tile);
        let first = self.tiles.len();
        self.open.push(Open {
            level: section.level,
            title: found.described.name.clone(),
            tile: (!joins).then_some(first),
        });
        if joins {
            return;
        }
        let titles: Vec<&str> = self
            .open
            .iter()
            .filter_map(|open| open.title.as_deref())
            .collect();
        let symbol = titles.join(self.scan.syntax.language.separator);
        let source = self.scan.source;
        let comments = found.comments.iter();
        let comments = comments.filter_map(|span| source.get(span.clone()));
        // A heading's markup tells nothing that its title does not.
        let signature = match source.get(found.inner.byte_range()) {
            Some(bytes) if found.kind != "section" => {
                Some(text::collapse(bytes, text::MAX_SIGNATURE))
            }
            _ => found.described.name.clone(),
        };
        let tile = Tile {
            kind: found.kind,
            name: found.described.name.clone(),
            symbol: (!symbol.is_empty()).then_some(symbol),
            signature,
            doc: text::doc(comments),
            parent,
            ..Tile::default()
        };
        self.parts(&tile, section.run, span, Some(first));
    }

    /// Lays the entries of a section; those that have their own kind are apart. All but
    /// the first belong to `owner`.
    fn parts(&mut self, tile: &Tile, run: &[Atom<'_>], span: Range<usize>, owner: Option<usize>) {
        let mut rest = run;
        let mut start = span.start;
        loop {
            let own = rest.first().and_then(block);
            let length = match own {
                Some(_) => 1,
                None => {
                    let next = rest.iter().position(|atom| block(atom).is_some());
                    next.unwrap_or(rest.len())
                }
            };
            let (part, after) = rest.split_at(length);
            let end = after.first().map_or(span.end, |next| next.start);
            for part in gather::pack(self.scan.source, part, start..end, self.scan.limit) {
                let parent = owner.filter(|owner| *owner < self.tiles.len());
                self.tiles.push(Tile {
                    start: part.start,
                    end: part.end,
                    kind: own.map_or(tile.kind, |block| block.kind),
                    parent: parent.or(tile.parent),
                    doc: tile.doc.clone().filter(|_| parent.is_none()),
                    ..tile.clone()
                });
            }
            if after.is_empty() {
                return;
            }
            rest = after;
            start = end;
        }
    }
}

/// Returns a definition that is no heading.
fn block<'a, 't>(atom: &'a Atom<'t>) -> Option<&'a Found<'t>> {
    match &atom.what {
        What::Definition(found) if found.described.level.is_none() => Some(found),
        _ => None,
    }
}
