//! Lays the tiles of a document that headings divide: a section is a heading with what
//! stands under it, up to the next heading.
//!
//! Headings do not enclose their text in the syntax tree (an underlined one never does),
//! so sections are made here from the order and level of the headings.

use std::ops::Range;

use tree_sitter::{Node, Tree};

use super::Tile;
use super::collect::{Atom, Found, Scan, What};
use super::gather;
use crate::text;

/// Lays the tiles of a parsed document.
pub(super) fn tiles(scan: Scan<'_>, body: Range<usize>, tree: &Tree) -> Vec<Tile> {
    let atoms = scan.file(tree.root_node());
    let mut document = Document {
        scan,
        open: Vec::new(),
        tiles: Vec::new(),
    };
    let is_heading = |atom: &Atom<'_>| matches!(atom.what, What::Definition(_));
    let mut rest = atoms.as_slice();
    let mut start = body.start;
    loop {
        let under = rest.iter().skip(1).position(is_heading);
        let length = under.map_or(rest.len(), |at| at + 1);
        let (section, after) = rest.split_at(length);
        let end = after.first().map_or(body.end, |next| next.start);
        match section.first().map(|first| &first.what) {
            Some(What::Definition(found)) => {
                // A heading right above a deeper one is read with it.
                let next = after.first().and_then(heading);
                let joins = section.len() == 1
                    && next.is_some_and(|next| level(next.inner) > level(found.inner));
                document.section(found, section, start..end, joins);
                if !joins {
                    start = end;
                }
            }
            _ => {
                document.gathered(section, start..end);
                start = end;
            }
        }
        if after.is_empty() {
            return document.tiles;
        }
        rest = after;
    }
}

fn heading<'a, 't>(atom: &'a Atom<'t>) -> Option<&'a Found<'t>> {
    match &atom.what {
        What::Definition(found) => Some(found),
        What::Loose(..) => None,
    }
}

/// Returns a heading's level, 1 for the highest, from its marker or underline.
fn level(heading: Node<'_>) -> u32 {
    let mut cursor = heading.walk();
    heading
        .named_children(&mut cursor)
        .find_map(|child| match child.kind() {
            "setext_h1_underline" => Some(1),
            "setext_h2_underline" => Some(2),
            kind => kind
                .strip_prefix("atx_h")
                .and_then(|rest| rest.strip_suffix("_marker"))
                .and_then(|level| level.parse().ok()),
        })
        .unwrap_or(1)
}

struct Document<'a> {
    scan: Scan<'a>,
    /// The sections around the current place, the highest first.
    open: Vec<Section>,
    tiles: Vec<Tile>,
}

struct Section {
    level: u32,
    title: Option<String>,
    tile: Option<usize>,
}

impl Document<'_> {
    fn section(&mut self, found: &Found<'_>, run: &[Atom<'_>], span: Range<usize>, joins: bool) {
        let level = level(found.inner);
        self.open.retain(|section| section.level < level);
        let parent = self.open.iter().rev().find_map(|section| section.tile);
        let first = self.tiles.len();
        self.open.push(Section {
            level,
            title: found.described.name.clone(),
            tile: (!joins).then_some(first),
        });
        if joins {
            return;
        }
        let titles: Vec<&str> = self
            .open
            .iter()
            .filter_map(|section| section.title.as_deref())
            .collect();
        let symbol = titles.join(self.scan.syntax.language.separator);
        let source = self.scan.source;
        let signature = source.get(found.inner.byte_range());
        let tile = Tile {
            kind: found.kind,
            name: found.described.name.clone(),
            symbol: (!symbol.is_empty()).then_some(symbol),
            signature: signature.map(|bytes| text::collapse(bytes, text::MAX_SIGNATURE)),
            ..Tile::default()
        };
        let parts = gather::pack(source, run, span, self.scan.limit);
        for (index, part) in parts.into_iter().enumerate() {
            self.tiles.push(Tile {
                start: part.start,
                end: part.end,
                parent: if index == 0 { parent } else { Some(first) },
                ..tile.clone()
            });
        }
    }

    /// Lays what stands above the first heading.
    fn gathered(&mut self, run: &[Atom<'_>], span: Range<usize>) {
        for part in gather::pack(self.scan.source, run, span, self.scan.limit) {
            self.tiles.push(Tile {
                start: part.start,
                end: part.end,
                kind: self.scan.syntax.language.loose,
                ..Tile::default()
            });
        }
    }
}
