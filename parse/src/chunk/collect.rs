//! Lists what stands in a syntax node: definitions, and what is loose between them.
//!
//! Comments and attributes are joined to what follows them, tokens and closing brackets
//! to what precedes them, and a loose node that is too large for a chunk is replaced by
//! its children, so that the list can be cut anywhere.

use std::ops::Range;

use tree_sitter::{Node, Point};

use super::gather::TINY;
use super::{line_start, starts_line};
use crate::language::{Class, Described, Role, Shape, Syntax, Verdict};
use crate::text;

/// How deep nodes are opened. What lies deeper is cut by lines, so that no input can
/// exhaust the stack.
const MAX_DEPTH: usize = 200;

/// One entry of the list, from its documentation to its last byte.
pub(super) struct Atom<'t> {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) what: What<'t>,
}

pub(super) enum What<'t> {
    Definition(Box<Found<'t>>),
    /// The node is kept while the entry is a single one.
    Loose(Class, Option<Node<'t>>),
}

/// A definition in the tree.
pub(super) struct Found<'t> {
    /// The node with all wrappers, such as an `export`.
    pub(super) outer: Node<'t>,
    /// The node that has the rule.
    pub(super) inner: Node<'t>,
    pub(super) kind: &'static str,
    pub(super) shape: Shape,
    pub(super) described: Described<'t>,
    /// The comments before it.
    pub(super) comments: Vec<Range<usize>>,
    /// The nodes of its further clauses.
    pub(super) clauses: Vec<Node<'t>>,
}

impl Found<'_> {
    /// What is the same however many wrappers or names the definition has.
    fn identity(&self) -> usize {
        self.described.body.unwrap_or(self.inner).id()
    }

    fn length(&self) -> usize {
        self.end() - self.outer.start_byte()
    }

    fn end(&self) -> usize {
        let end = self.outer.end_byte();
        self.described.end.map_or(end, |further| further.max(end))
    }

    /// Tells whether it says too little to be found by: `typedef int a;`, `impl A for B {}`.
    fn is_slight(&self) -> bool {
        self.length() < TINY && matches!(self.kind, "type" | "macro" | "impl" | "module")
    }
}

/// What to collect, and from where.
#[derive(Clone, Copy)]
pub(super) struct Scan<'a> {
    pub(super) source: &'a [u8],
    pub(super) syntax: &'a Syntax,
    /// A loose node of more bytes is opened.
    pub(super) limit: usize,
    /// A definition of fewer bytes is loose.
    pub(super) smallest: usize,
}

impl<'a> Scan<'a> {
    /// Lists what stands in the whole tree.
    pub(super) fn file<'t>(self, root: Node<'t>) -> Vec<Atom<'t>> {
        let mut collector = Collector::new(self, None);
        collector.children(root, 0);
        collector.finish()
    }

    /// Lists what stands in a definition, its own body opened.
    pub(super) fn inside<'t>(self, found: &Found<'t>) -> Vec<Atom<'t>> {
        let mut collector = Collector::new(self, Some(found.identity()));
        collector.children(found.outer, 0);
        for clause in &found.clauses {
            collector.clause(*clause);
        }
        collector.finish()
    }
}

struct Collector<'a, 't> {
    scan: Scan<'a>,
    /// The definition that is being opened: finding it again is no new definition.
    own: Option<usize>,
    atoms: Vec<Atom<'t>>,
    /// The class of the large node whose children are being listed, if one is.
    inherited: Option<Class>,
    pending: Pending,
    /// Where the last node seen ends, an entry or not.
    last_end: usize,
    /// Where a definition ends that goes on behind its node.
    part_until: usize,
}

/// What waits for the entry that it belongs to.
#[derive(Default)]
struct Pending {
    span: Option<Range<usize>>,
    comments: Vec<Range<usize>>,
    /// Documentation that an attribute holds.
    doc: Option<String>,
    /// Whether the comments may document what stands before them.
    is_either: bool,
    /// Attributes and openings belong to what follows even over a blank line.
    binds: bool,
}

/// What a node is once its rule was asked.
enum Sort<'t> {
    Definition(Box<Found<'t>>),
    /// The children stand for the node; loose ones get the class, if there is one.
    Open(Option<Class>),
    /// With whether it may document what stands before it.
    Comment(bool),
    /// With the documentation that it holds.
    Attribute(Option<String>),
    Closing,
    Loose(Class),
}

impl<'a, 't> Collector<'a, 't> {
    fn new(scan: Scan<'a>, own: Option<usize>) -> Self {
        Collector {
            scan,
            own,
            atoms: Vec::new(),
            inherited: None,
            pending: Pending::default(),
            last_end: 0,
            part_until: 0,
        }
    }

    fn finish(mut self) -> Vec<Atom<'t>> {
        self.release();
        self.atoms
    }

    fn children(&mut self, node: Node<'t>, depth: usize) {
        let mut cursor = node.walk();
        if !cursor.goto_first_child() {
            return;
        }
        loop {
            let child = cursor.node();
            if child.is_named() && !self.is_punctuation(child) {
                self.child(child, depth);
            } else if child.end_byte() > child.start_byte() {
                // A comment before a closing bracket belongs to nothing after it.
                if !self.pending.binds {
                    self.release();
                }
                self.last_end = child.end_byte();
            }
            if !cursor.goto_next_sibling() {
                break;
            }
        }
    }

    /// Tells whether a named node is a token without a word, such as an empty statement.
    fn is_punctuation(&self, node: Node<'t>) -> bool {
        node.end_byte() - node.start_byte() <= MAX_PUNCTUATION
            && !matches!(
                self.scan.syntax.role(node),
                Some(Role::Comment | Role::CommentEither)
            )
            && self
                .scan
                .source
                .get(node.byte_range())
                .is_some_and(|bytes| bytes.iter().all(u8::is_ascii_punctuation))
    }

    fn child(&mut self, node: Node<'t>, depth: usize) {
        if node.start_byte() == node.end_byte() {
            return;
        }
        if node.start_byte() < self.part_until {
            if node.end_byte() > self.part_until && depth < MAX_DEPTH {
                self.children(node, depth + 1);
            }
            return;
        }
        match self.sort(node, depth) {
            Sort::Comment(is_either) => self.comment(node, is_either),
            Sort::Attribute(doc) => {
                self.release_if_apart(node.start_byte());
                self.wait(node.byte_range());
                self.pending.doc = doc.or(self.pending.doc.take());
                self.pending.binds = true;
            }
            Sort::Closing => {
                self.release();
                match self.atoms.last_mut() {
                    Some(last) => last.end = node.end_byte(),
                    None => self.push(node, What::Loose(Class::Other, Some(node))),
                }
            }
            Sort::Open(class) => {
                self.release_if_apart(node.start_byte());
                let start = node.start_byte();
                let opening = self.scan.source.get(start);
                let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"_#@$".contains(byte);
                if opening.is_some_and(is_word) && Some(node.id()) != self.own {
                    // The word that the node begins with belongs to its first entry; a
                    // bracket, or the `do` of a body, belongs to what stands before it.
                    self.wait(start..start);
                    self.pending.binds = true;
                }
                let outer = self.inherited;
                self.inherited = class.or(outer);
                self.children(node, depth + 1);
                self.inherited = outer;
            }
            Sort::Loose(class) => {
                let inherited = self.inherited.filter(|_| class == Class::Other);
                self.push(node, What::Loose(inherited.unwrap_or(class), Some(node)));
                self.overhang(node, depth);
            }
            Sort::Definition(found) => {
                self.push(node, What::Definition(found));
                self.overhang(node, depth);
            }
        }
        self.last_end = self.last_end.max(node.end_byte());
    }

    /// Lists what the grammar puts at the end of an entry although it belongs to what
    /// follows: in a language without brackets, the comments before the next block.
    fn overhang(&mut self, node: Node<'t>, depth: usize) {
        let (start, end) = (node.start_position(), node.end_position());
        if start.row == end.row || depth >= MAX_DEPTH {
            return;
        }
        let mut cursor = node.walk();
        let mut over = Vec::new();
        for _ in 0..MAX_DEPTH {
            if !cursor.goto_last_child() {
                return;
            }
            let mut next = self.next_text(cursor.node().end_byte());
            while self.hangs_over(cursor.node(), start, next) {
                over.push(cursor.node());
                next = Some(cursor.node().start_byte());
                if !cursor.goto_previous_sibling() {
                    break;
                }
            }
            if let (Some(first), Some(entry)) = (over.last(), self.atoms.last_mut()) {
                entry.end = line_start(self.scan.source, first.start_byte());
                break;
            }
        }
        for node in over.into_iter().rev() {
            self.child(node, depth + 1);
        }
    }

    /// Tells whether a node at the end of one that begins at `outer` belongs to what
    /// follows at `next`.
    fn hangs_over(&self, node: Node<'t>, outer: Point, next: Option<usize>) -> bool {
        let start = node.start_position();
        if start.row == outer.row
            || start.column > outer.column
            || !starts_line(self.scan.source, node.start_byte())
        {
            return false;
        }
        match self.sort_by_role(node) {
            Sort::Comment(_) => {
                next.is_some_and(|next| !self.has_blank_line(node.end_byte()..next))
            }
            Sort::Open(_) => true,
            _ => false,
        }
    }

    /// Returns where the first text from `at` on begins.
    fn next_text(&self, at: usize) -> Option<usize> {
        let rest = self.scan.source.get(at..)?;
        let blank = rest.iter().position(|byte| !byte.is_ascii_whitespace())?;
        Some(at + blank)
    }

    fn sort(&self, node: Node<'t>, depth: usize) -> Sort<'t> {
        // Inside of what must be cut anyway, more places to cut give more equal parts.
        let share = match self.inherited {
            None | Some(Class::Entry) => 1,
            Some(_) => 2,
        };
        let large = node.end_byte() - node.start_byte() > self.scan.limit / share;
        let can_open = depth < MAX_DEPTH && node.child_count() > 0;
        let sort = if node.is_error() {
            Sort::Open(None)
        } else {
            self.sort_by_role(node)
        };
        match sort {
            Sort::Definition(found) if Some(found.identity()) == self.own => {
                if can_open {
                    Sort::Open(None)
                } else {
                    Sort::Loose(Class::Other)
                }
            }
            Sort::Definition(found) if found.length() < self.scan.smallest || found.is_slight() => {
                Sort::Loose(Class::Other)
            }
            // Only a node whose children are wanted as entries is opened at any size.
            Sort::Loose(class) if can_open && (large || Some(node.id()) == self.own) => {
                let class = self
                    .inherited
                    .filter(|_| class == Class::Other)
                    .unwrap_or(class);
                Sort::Open(Some(class))
            }
            Sort::Open(_) if !can_open => Sort::Loose(Class::Other),
            sort => sort,
        }
    }

    fn sort_by_role(&self, node: Node<'t>) -> Sort<'t> {
        match self.scan.syntax.role(node) {
            None => Sort::Loose(Class::Other),
            Some(Role::Comment) => Sort::Comment(false),
            Some(Role::CommentEither) => Sort::Comment(true),
            Some(Role::Attribute) => Sort::Attribute(None),
            Some(Role::Closing) => Sort::Closing,
            Some(Role::Transparent) => Sort::Open(None),
            Some(Role::Gathered(class)) => Sort::Loose(*class),
            Some(Role::Definition(..) | Role::Wrapper) => self.look_through(node),
        }
    }

    /// Follows wrappers to the definition inside them, if there is one.
    fn look_through(&self, outer: Node<'t>) -> Sort<'t> {
        let mut node = outer;
        for _ in 0..MAX_WRAPPERS {
            match self.scan.syntax.role(node) {
                Some(Role::Definition(shape, kind, describe)) => {
                    return match describe(node, self.scan.source) {
                        Verdict::Is(described) => Sort::Definition(Box::new(Found {
                            outer,
                            inner: node,
                            kind: described.kind.unwrap_or(kind),
                            shape: described.shape.unwrap_or(*shape),
                            described,
                            comments: Vec::new(),
                            clauses: Vec::new(),
                        })),
                        Verdict::Gathered(class) => Sort::Loose(class),
                        Verdict::Open => Sort::Open(None),
                        Verdict::Attribute(doc) => Sort::Attribute(doc),
                    };
                }
                Some(Role::Gathered(class)) => return Sort::Loose(*class),
                Some(Role::Wrapper) => {}
                _ => break,
            }
            let mut cursor = node.walk();
            let inner = node.named_children(&mut cursor).find(|child| {
                matches!(
                    self.scan.syntax.role(*child),
                    Some(Role::Definition(..) | Role::Wrapper | Role::Gathered(_))
                )
            });
            match inner {
                Some(inner) => node = inner,
                None => break,
            }
        }
        Sort::Loose(Class::Other)
    }

    fn comment(&mut self, node: Node<'t>, is_either: bool) {
        let span = node.byte_range();
        let trails = self.pending.span.is_none()
            && self.last_end > 0
            && !self.contains_newline(self.last_end..span.start);
        if trails && let Some(last) = self.atoms.last_mut() {
            last.end = last.end.max(span.end);
            return;
        }
        self.release_if_apart(span.start);
        self.pending.comments.push(span.clone());
        self.pending.is_either = is_either;
        self.wait(span);
    }

    fn contains_newline(&self, span: Range<usize>) -> bool {
        // A line comment of some grammars holds its own line end.
        let from = span.start.saturating_sub(1);
        self.scan
            .source
            .get(from..span.end)
            .is_none_or(|bytes| bytes.contains(&b'\n'))
    }

    fn wait(&mut self, span: Range<usize>) {
        match &mut self.pending.span {
            Some(waiting) => waiting.end = waiting.end.max(span.end),
            waiting => *waiting = Some(span),
        }
    }

    /// Makes an entry of what waits, if a blank line separates it from what follows.
    fn release_if_apart(&mut self, next: usize) {
        let Some(span) = &self.pending.span else {
            return;
        };
        if !self.pending.binds && self.has_blank_line(span.end..next) {
            self.release();
        }
    }

    fn has_blank_line(&self, gap: Range<usize>) -> bool {
        let from = gap.start.saturating_sub(1);
        let bytes = self.scan.source.get(from..gap.end).unwrap_or_default();
        bytes.iter().filter(|byte| **byte == b'\n').count() > 1
    }

    fn release(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        if pending.is_either && self.documents_last(&pending) {
            return;
        }
        if let Some(span) = pending.span.filter(|span| !span.is_empty()) {
            self.atoms.push(Atom {
                start: with_indentation(self.scan.source, span.start),
                end: span.end,
                what: What::Loose(Class::Comment, None),
            });
        }
    }

    /// Joins comments to the definition that they directly follow, if they do.
    fn documents_last(&mut self, pending: &Pending) -> bool {
        let (Some(span), Some(last)) = (&pending.span, self.atoms.last()) else {
            return false;
        };
        if self.has_blank_line(last.end..span.start) {
            return false;
        }
        let Some(Atom {
            end,
            what: What::Definition(last),
            ..
        }) = self.atoms.last_mut()
        else {
            return false;
        };
        *end = span.end;
        if last.comments.is_empty() && last.described.doc.is_none() {
            let source = self.scan.source;
            let comments = pending.comments.iter();
            let comments = comments.filter_map(|span| source.get(span.clone()));
            last.described.doc = text::doc(comments);
        }
        true
    }

    fn push(&mut self, node: Node<'t>, mut what: What<'t>) {
        self.release_if_apart(node.start_byte());
        let pending = std::mem::take(&mut self.pending);
        let start = pending
            .span
            .map_or(node.start_byte(), |span| span.start.min(node.start_byte()));
        let mut end = node.end_byte();
        match &mut what {
            What::Definition(found) => {
                end = found.end();
                self.part_until = self.part_until.max(found.described.end.unwrap_or(0));
                if self.continues(node, found) {
                    return;
                }
                found.comments = pending.comments;
                found.described.doc = found.described.doc.take().or(pending.doc);
            }
            What::Loose(class, _) => {
                if let Some(last) = self.atoms.last_mut()
                    && let What::Loose(before, kept) = &mut last.what
                    && *before == *class
                    && end - last.start <= self.scan.limit
                    && !starts_line(self.scan.source, start)
                {
                    last.end = end;
                    *kept = None;
                    return;
                }
            }
        }
        let start = with_indentation(self.scan.source, start);
        self.atoms.push(Atom { start, end, what });
    }

    /// Joins a definition to the last entry, if it is a further clause of that one.
    fn continues(&mut self, node: Node<'t>, found: &Found<'t>) -> bool {
        let limit = self.scan.limit;
        let Some(Atom { start, end, what }) = self.atoms.last_mut() else {
            return false;
        };
        let What::Definition(last) = what else {
            return false;
        };
        let same = found.described.clause_of.is_some()
            && found.described.clause_of == last.described.clause_of;
        // A signature is nothing without its first equation, however large that is.
        let is_signature = last.described.body.is_none() && last.clauses.is_empty();
        if !same || !(is_signature || node.end_byte() - *start <= limit) {
            return false;
        }
        *end = node.end_byte();
        last.clauses.push(node);
        true
    }

    /// Lists a further clause of the definition that is being opened.
    fn clause(&mut self, node: Node<'t>) {
        if node.end_byte() - node.start_byte() > self.scan.limit {
            self.children(node, 0);
        } else {
            self.push(node, What::Loose(Class::Other, Some(node)));
        }
        self.last_end = self.last_end.max(node.end_byte());
    }
}

/// Returns where the line begins that starts at `at`, or `at` inside of a line.
fn with_indentation(source: &[u8], at: usize) -> usize {
    if starts_line(source, at) {
        line_start(source, at)
    } else {
        at
    }
}

/// The longest token without a word in it, in bytes.
const MAX_PUNCTUATION: usize = 4;

/// How many wrappers are followed: `export default`, a decorator, a statement.
const MAX_WRAPPERS: usize = 6;
