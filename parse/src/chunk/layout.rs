//! Lays a file's tiles: which definitions get chunks of their own, with what name,
//! inside what.

use std::ops::Range;

use tree_sitter::{Node, Tree};

use super::collect::{Atom, Found, Scan, What};
use super::gather::{self, TINY};
use super::windows::trimmed_len;
use super::{Tile, headings, trim};
use crate::language::{Class, Described, Outline, Role, Shape, Syntax, child};
use crate::text;

/// How deep definitions are followed into definitions.
const MAX_NESTING: usize = 40;

/// A group's opening of at most this many bytes is joined to its first member.
const BARE_HEADER: usize = 80;

/// A function inside a function that is cut gets a chunk of its own from this share of
/// a chunk's size on; smaller ones are read better in their place.
const NESTED_SHARE: usize = 4;

/// Lays the tiles of a parsed file.
pub(super) fn tiles(
    source: &[u8],
    body: Range<usize>,
    syntax: &Syntax,
    tree: &Tree,
    limit: usize,
) -> Vec<Tile> {
    let scan = Scan {
        source,
        syntax,
        limit,
        smallest: 0,
    };
    if syntax.outline == Outline::Headings {
        return headings::tiles(scan, body, tree);
    }
    let mut layout = Layout {
        scan,
        tiles: Vec::new(),
    };
    let atoms = scan.file(tree.root_node());
    layout.members(&atoms, body, &Scope::default());
    layout.tiles
}

/// What surrounds the entries that are being laid.
#[derive(Clone, Default)]
struct Scope {
    /// The tile that encloses them.
    parent: Option<usize>,
    /// Qualified symbol of what encloses them.
    symbol: Option<String>,
    /// Whether functions in it are methods.
    is_type: bool,
    /// The tile whose pieces the loose entries are.
    pieces_of: Option<usize>,
    depth: usize,
}

struct Layout<'a> {
    scan: Scan<'a>,
    tiles: Vec<Tile>,
}

impl<'a> Layout<'a> {
    /// Lays entries that fill `span`.
    fn members(&mut self, atoms: &[Atom<'_>], span: Range<usize>, scope: &Scope) {
        let mut index = 0;
        let mut start = span.start;
        if atoms.is_empty() {
            self.loose(atoms, span, scope);
            return;
        }
        // The tile that a tiny end may be joined to.
        let mut joinable = None;
        while let Some(atom) = atoms.get(index) {
            if let What::Definition(found) = &atom.what {
                let end = atoms.get(index + 1).map_or(span.end, |next| next.start);
                let before = self.tiles.len();
                self.definition(found, start..end, scope);
                joinable = (self.tiles.len() == before + 1).then_some(before);
                start = end;
                index += 1;
                continue;
            }
            let rest = atoms.get(index..).unwrap_or_default();
            let run = rest
                .iter()
                .take_while(|atom| matches!(atom.what, What::Loose(..)))
                .count();
            let follower = atoms.get(index + run);
            let end = follower.map_or(span.end, |next| next.start);
            let size = trimmed_len(self.scan.source, start..end);
            let is_tiny = size < TINY;
            match (follower, joinable) {
                // Too little to be found by: it goes with the definition that follows.
                (Some(next), _) if is_tiny && self.has_room(next, start) => {}
                (None, Some(tile)) if is_tiny && self.extend(tile, end) => start = end,
                _ => {
                    self.loose(rest.get(..run).unwrap_or_default(), start..end, scope);
                    joinable = None;
                    start = end;
                }
            }
            index += run;
        }
    }

    /// Tells whether an entry has room for what stands before it: if both fit, or if it
    /// is cut anyway.
    fn has_room(&self, next: &Atom<'_>, start: usize) -> bool {
        self.fits(start..next.end) || !self.fits(next.start..next.end)
    }

    fn fits(&self, span: Range<usize>) -> bool {
        trimmed_len(self.scan.source, span) <= self.scan.limit
    }

    /// Makes a tile end later, if it stays within the limit.
    fn extend(&mut self, tile: usize, end: usize) -> bool {
        let limit = self.scan.limit;
        let source = self.scan.source;
        match self.tiles.get_mut(tile) {
            Some(tile) if gather::takes(source, tile.start..tile.end, end, limit) => {
                tile.end = end;
                true
            }
            _ => false,
        }
    }

    /// Lays loose entries: pieces of the definition around them, or gathered.
    fn loose(&mut self, run: &[Atom<'_>], span: Range<usize>, scope: &Scope) {
        if let Some(owner) = scope.pieces_of {
            self.pieces(run, span, owner);
            return;
        }
        if run.is_empty() {
            self.tiles.push(self.gathered(span, "block", scope));
            return;
        }
        for group in gather::groups(self.scan.source, run, span, self.scan.limit) {
            let kind = match group.class {
                Some(Class::Import) => "import",
                Some(Class::Constant) => "constant",
                _ => "block",
            };
            let mut tile = self.gathered(group.span, kind, scope);
            let entries = run.get(group.entries).unwrap_or_default();
            if kind == "constant"
                && let Some(name) = self.only_name(entries)
            {
                tile.symbol = Some(self.qualify(scope, &Described::default(), &name));
                tile.name = Some(name);
            }
            self.tiles.push(tile);
        }
    }

    fn gathered(&self, span: Range<usize>, kind: &'static str, scope: &Scope) -> Tile {
        Tile {
            start: span.start,
            end: span.end,
            kind: if kind == "block" {
                self.scan.syntax.language.loose
            } else {
                kind
            },
            symbol: scope.symbol.clone(),
            parent: scope.parent,
            ..Tile::default()
        }
    }

    /// Returns the name of the constant, where the entries are a single one.
    fn only_name(&self, entries: &[Atom<'_>]) -> Option<String> {
        let mut constants = entries
            .iter()
            .filter(|atom| !matches!(atom.what, What::Loose(Class::Comment, _)));
        match (constants.next()?, constants.next()) {
            (
                Atom {
                    what: What::Loose(Class::Constant, Some(node)),
                    ..
                },
                None,
            ) => binding_name(*node, self.scan.source),
            _ => None,
        }
    }

    /// Lays more pieces of a definition that was cut.
    fn pieces(&mut self, run: &[Atom<'_>], span: Range<usize>, owner: usize) {
        for part in gather::pack(self.scan.source, run, span, self.scan.limit) {
            let Some(first) = self.tiles.get(owner) else {
                return;
            };
            let piece = Tile {
                start: part.start,
                end: part.end,
                doc: None,
                parent: Some(owner),
                of_type: None,
                lists_members: false,
                ..first.clone()
            };
            self.tiles.push(piece);
        }
    }

    /// Lays a definition that fills `span`, documentation and closing tokens included.
    fn definition(&mut self, found: &Found<'_>, span: Range<usize>, scope: &Scope) {
        let fits = self.fits(span.clone());
        let tile = self.describe(found, span.clone(), scope);
        let is_whole = matches!(found.shape, Shape::Leaf | Shape::Section) && fits;
        if is_whole || scope.depth >= MAX_NESTING {
            self.tiles.push(tile);
            return;
        }
        let mut scan = self.scan;
        if found.shape == Shape::Leaf {
            scan.smallest = scan.limit / NESTED_SHARE;
            // More places to cut give pieces of more equal size.
            scan.limit /= 2;
        }
        let mut atoms = documentation(found);
        atoms.extend(scan.inside(found));
        // What hangs over into the next entry is told there.
        atoms.retain(|atom| atom.start < span.end);
        let is_definition = |atom: &Atom<'_>| matches!(atom.what, What::Definition(_));
        let first = atoms.iter().position(is_definition);
        if first.is_none() && fits {
            self.tiles.push(tile);
            return;
        }
        let (header, members) = atoms.split_at(first.unwrap_or(atoms.len()));
        let header_end = members.first().map_or(span.end, |member| member.start);
        let mut inner = Scope {
            parent: scope.parent,
            symbol: tile.symbol.clone(),
            is_type: is_type(tile.kind),
            pieces_of: None,
            depth: scope.depth + 1,
        };
        let is_opening = matches!(found.shape, Shape::Group | Shape::Section);
        if is_opening && self.is_bare(members, span.start) {
            self.members(members, span, &inner);
            return;
        }
        inner.parent = Some(self.tiles.len());
        if found.shape == Shape::Leaf {
            inner.pieces_of = inner.parent;
        }
        let mut tile = tile;
        tile.lists_members = !matches!(found.shape, Shape::Leaf | Shape::Section);
        self.header(tile, header, span.start..header_end);
        if !members.is_empty() {
            self.members(members, header_end..span.end, &inner);
        }
    }

    /// Tells whether a group's opening is worth no chunk of its own.
    fn is_bare(&self, members: &[Atom<'_>], start: usize) -> bool {
        members
            .first()
            .is_some_and(|first| trimmed_len(self.scan.source, start..first.start) <= BARE_HEADER)
    }

    /// Lays the first part of a definition, in pieces where it is too large.
    fn header(&mut self, tile: Tile, run: &[Atom<'_>], span: Range<usize>) {
        let owner = self.tiles.len();
        let parts = gather::pack(self.scan.source, run, span, self.scan.limit);
        for (index, part) in parts.into_iter().enumerate() {
            let mut piece = Tile {
                start: part.start,
                end: part.end,
                ..tile.clone()
            };
            if index > 0 {
                piece.doc = None;
                piece.of_type = None;
                piece.is_definition = false;
                piece.lists_members = false;
                piece.parent = Some(owner);
            }
            self.tiles.push(piece);
        }
    }

    /// Names a definition's tile.
    fn describe(&self, found: &Found<'_>, span: Range<usize>, scope: &Scope) -> Tile {
        let source = self.scan.source;
        let described = &found.described;
        let qualifier = described.qualifier.as_deref();
        let symbol = described
            .name
            .as_deref()
            .map(|name| self.qualify(scope, described, name));
        // A description that says function itself means it.
        let is_open = found.kind == "function" && described.kind.is_none();
        let kind = if is_open && (scope.is_type || qualifier.is_some()) {
            "method"
        } else {
            found.kind
        };
        let of_type = qualifier.map(|qualifier| {
            let bare = Described {
                namespace: described.namespace.clone(),
                ..Described::default()
            };
            self.qualify(scope, &bare, qualifier)
        });

        let comments = found.comments.iter();
        let comments = comments.filter_map(|span| source.get(span.clone()));
        Tile {
            start: span.start,
            end: span.end,
            kind,
            name: described.name.clone(),
            symbol: symbol.or_else(|| scope.symbol.clone()),
            signature: self.signature(found),
            doc: described.doc.clone().or_else(|| text::doc(comments)),
            parent: scope.parent,
            of_type,
            is_definition: true,
            lists_members: false,
        }
    }

    /// Writes a name behind what it is in.
    fn qualify(&self, scope: &Scope, described: &Described<'_>, name: &str) -> String {
        let around = scope.symbol.as_ref().or(described.namespace.as_ref());
        let parts: Vec<&str> = [around, described.qualifier.as_ref()]
            .into_iter()
            .flatten()
            .map(String::as_str)
            .collect();
        if parts.is_empty() {
            return name.to_owned();
        }
        let separator = self.scan.syntax.language.separator;
        let joint = described.joint.unwrap_or(separator);
        format!("{}{joint}{name}", parts.join(separator))
    }

    /// Returns the declaration, from after decorators to before the body.
    fn signature(&self, found: &Found<'_>) -> Option<String> {
        let described = &found.described;
        let end = described
            .signature_end
            .or_else(|| described.body.map(|body| body.start_byte()))
            .unwrap_or(found.inner.end_byte());
        let start = self.after_attributes(found.outer);
        let span = trim(self.scan.source, start..end.max(start))?;
        text::signature(self.scan.source.get(span)?)
    }

    /// Returns where the declaration begins behind its attributes, which may stand among
    /// modifiers, in a node of their own.
    fn after_attributes(&self, node: Node<'_>) -> usize {
        let is_attribute =
            |node: Node<'_>| matches!(self.scan.syntax.role(node), Some(Role::Attribute));
        let mut cursor = node.walk();
        let declaration = node.children(&mut cursor).find_map(|child| {
            if !child.child(0).is_some_and(is_attribute) {
                return (!is_attribute(child)).then_some(child);
            }
            let mut cursor = child.walk();
            child
                .children(&mut cursor)
                .find(|modifier| !is_attribute(*modifier))
        });
        declaration.map_or(node.start_byte(), |child| child.start_byte())
    }
}

/// Lists the comments before a definition, as places where it may be cut.
fn documentation<'t>(found: &Found<'t>) -> Vec<Atom<'t>> {
    let entry = |span: &Range<usize>| Atom {
        start: span.start,
        end: span.end,
        what: What::Loose(Class::Comment, None),
    };
    found.comments.iter().map(entry).collect()
}

fn is_type(kind: &str) -> bool {
    matches!(
        kind,
        "class" | "impl" | "trait" | "interface" | "struct" | "enum" | "union"
    )
}

/// How many nodes are followed from a declaration to the name that it binds.
const MAX_BINDING: usize = 6;

/// Finds the name that a declaration of one constant binds.
fn binding_name(node: Node<'_>, source: &[u8]) -> Option<String> {
    let mut node = node;
    for _ in 0..MAX_BINDING {
        let field = [
            "name",
            "left",
            "lhs",
            "pattern",
            "declarator",
            "declaration",
        ]
        .into_iter()
        .find_map(|field| node.child_by_field_name(field));
        // Grammars that tell it by no field.
        let part = || match node.kind() {
            "assignment" | "typed_expression" => node.named_child(0),
            "variable_declaration" => child(node, "identifier"),
            _ => None,
        };
        let parts = || {
            ["variable_declarator", "variable_declaration"]
                .into_iter()
                .find_map(|kind| child(node, kind))
        };
        node = field
            .or_else(parts)
            .or_else(part)
            .or_else(|| only_child(node))?;
        if node.named_child_count() == 0 {
            let name = source.get(node.byte_range())?;
            let is_name = name.iter().all(|byte| {
                byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || *byte > 127
            });
            return (is_name && !name.is_empty())
                .then(|| String::from_utf8_lossy(name).into_owned());
        }
    }
    None
}

/// Returns the named child that is not the type; `const ( a = 1; b = 2 )` binds several
/// names, so none.
fn only_child(node: Node<'_>) -> Option<Node<'_>> {
    let mut cursor = node.walk();
    let mut children = node
        .named_children(&mut cursor)
        .filter(|child| !matches!(child.kind(), "annotation" | "type"));
    match (children.next(), children.next()) {
        (only, None) => only,
        _ => None,
    }
}
