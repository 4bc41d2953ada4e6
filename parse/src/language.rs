//! The table of languages: which files are of a language, and which syntax nodes of its grammar
//! become chunks.
//!
//! The chunker in [`crate::chunk`] knows no language. Everything it needs is here as data, one row
//! a language. A row has the signs of a language, its grammar, and a rule for each kind of node
//! that matters: a definition, a container, a comment, an attribute, something to gather. A small
//! function is only used where a name or a body is no field of the node.
//!
//! Rules are data and not tree-sitter queries. The captures of a query have no nesting, and
//! documentation, wrappers, clauses and names without a field need code anyway. One walk over the
//! few nodes with rules also costs less than a query over all nodes.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{LazyLock, OnceLock};

use tree_sitter::Node;

use crate::languages;

/// One row of the language table.
pub(crate) struct Language {
    /// Lower-case name, as it appears in the `language` column.
    pub(crate) name: &'static str,
    /// File name endings without the dot, lower case.
    pub(crate) extensions: &'static [&'static str],
    /// Whole file names that tell the language.
    pub(crate) file_names: &'static [&'static str],
    /// Interpreter names of a `#!` line, without a version.
    pub(crate) shebangs: &'static [&'static str],
    /// What separates the parts of a qualified symbol.
    pub(crate) separator: &'static str,
    /// The kind of a chunk that gathers what is no definition.
    pub(crate) loose: &'static str,
    /// How its files are cut.
    pub(crate) cut: Cut,
}

impl Language {
    /// Makes a row of a language without a grammar here, whose files are cut at blank lines.
    pub(crate) const fn plain(
        name: &'static str,
        extensions: &'static [&'static str],
        file_names: &'static [&'static str],
        shebangs: &'static [&'static str],
    ) -> Self {
        Language {
            name,
            extensions,
            file_names,
            shebangs,
            separator: ".",
            loose: "text",
            cut: Cut::Lines,
        }
    }

    /// Returns the grammar, `None` where the language has none here.
    pub(crate) fn grammar(&self) -> Option<&Grammar> {
        match &self.cut {
            Cut::Syntax(grammar) | Cut::Prepared(grammar, _) => Some(grammar),
            Cut::Notebook | Cut::Lines => None,
        }
    }
}

/// How the files of a language are cut.
pub(crate) enum Cut {
    /// Along the syntax tree.
    Syntax(Grammar),
    /// By the cells of a Jupyter notebook.
    Notebook,
    /// Along the syntax tree, after a look at the source for what the grammar cannot bear.
    Prepared(Grammar, fn(&[u8]) -> Prepared),
    /// At blank lines, into windows.
    Lines,
}

/// What is given to a parser for a source.
pub(crate) enum Prepared {
    AsItIs,
    /// This text of the same length, in which spaces replace words that are correct but break
    /// the grammar.
    Instead(Vec<u8>),
    /// Nothing: the grammar's scanner would run over the end of its stack.
    TooDeep,
}

/// A tree-sitter grammar with the rules that turn its nodes into chunks.
pub(crate) struct Grammar {
    pub(crate) load: fn() -> tree_sitter::Language,
    pub(crate) outline: Outline,
    pub(crate) rules: &'static [Rule],
}

/// What divides a file of a language.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outline {
    /// Definitions, which may hold others.
    Definitions,
    /// Headings of several levels; the grammar's definitions are the headings, and those
    /// without a level are chunks of their own under them.
    Headings,
}

/// What one node kind of a grammar means to the chunker.
pub(crate) struct Rule {
    pub(crate) node: &'static str,
    pub(crate) role: Role,
}

impl Rule {
    pub(crate) const fn new(node: &'static str, role: Role) -> Self {
        Rule { node, role }
    }
}

/// The part a node plays.
pub(crate) enum Role {
    /// May be a chunk of its own; `Describe` decides.
    Definition(Shape, &'static str, Describe),
    /// Looked through: it is what its first child with a rule is.
    Wrapper,
    /// Its children stand among the node's own siblings.
    Transparent,
    /// Gathered with its neighbours.
    Gathered(Class),
    /// Belongs to what follows it directly, and documents it.
    Comment,
    /// A comment that belongs to the definition directly before it, if a blank line
    /// separates it from what follows.
    CommentEither,
    /// Belongs to what follows it.
    Attribute,
    /// Belongs to what precedes it, such as an end tag.
    Closing,
}

/// How a definition relates to the definitions inside it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One chunk; cut only where it is too large.
    Leaf,
    /// A chunk of the header and the members' signatures, and a chunk for each member.
    Container,
    /// An entry of a data file: one chunk where it fits; what is too large is cut at the
    /// entries inside it, which are named by it.
    Section,
    /// Definitions that share a keyword, such as `type ( … )`: the opening is joined to
    /// the first of them.
    Group,
}

/// What is gathered, by the kind that the gathered chunk gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Class {
    Import,
    Constant,
    /// A comment that belongs to nothing; it takes the class of its neighbours.
    Comment,
    /// An entry of a data file, which stays whole where it fits.
    Entry,
    Other,
}

/// Decides what a node that may be a definition is.
pub(crate) type Describe = for<'t> fn(Node<'t>, &[u8]) -> Verdict<'t>;

/// The answer of a [`Describe`].
#[expect(
    clippy::large_enum_variant,
    reason = "lives for one call, and is taken apart into an entry that has its own box"
)]
pub(crate) enum Verdict<'t> {
    Is(Described<'t>),
    Gathered(Class),
    /// Its children stand for it, as those of [`Role::Transparent`] do.
    Open,
    /// Belongs to what follows it, as [`Role::Attribute`] does, and may document it.
    Attribute(Option<String>),
}

/// What a grammar tells about one definition.
#[derive(Default)]
pub(crate) struct Described<'t> {
    /// Replaces the rule's kind.
    pub(crate) kind: Option<&'static str>,
    /// Replaces the rule's shape.
    pub(crate) shape: Option<Shape>,
    pub(crate) name: Option<String>,
    /// Symbol parts written before the name, such as the `Foo` of `Foo::bar`.
    pub(crate) qualifier: Option<String>,
    /// The namespace that it is in, where no definition around it tells.
    pub(crate) namespace: Option<String>,
    /// Stands before the name in the symbol, in place of the language's separator.
    pub(crate) joint: Option<&'static str>,
    /// The node that holds the members or statements.
    pub(crate) body: Option<Node<'t>>,
    /// Where the declaration ends, when that is not where the body begins.
    pub(crate) signature_end: Option<usize>,
    /// Where it ends, when that is not where its node does: what begins before is part
    /// of it.
    pub(crate) end: Option<usize>,
    /// Documentation found inside, such as a docstring.
    pub(crate) doc: Option<String>,
    /// What it is a part of: definitions with the same answer that follow each other,
    /// such as a signature and its equations, are one.
    pub(crate) clause_of: Option<String>,
    /// How high it stands, where it is a heading.
    pub(crate) level: Option<Level>,
}

/// How high a heading stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// 1 is the highest.
    Number(usize),
    /// Each style that appears stands below those that appeared before it.
    Style(usize),
}

impl<'t> Described<'t> {
    /// Reads the `name` and `body` fields that most grammars share.
    pub(crate) fn from_fields(node: Node<'t>, source: &[u8]) -> Self {
        Described {
            name: node
                .child_by_field_name("name")
                .map(|name| text(name, source)),
            body: node.child_by_field_name("body"),
            ..Described::default()
        }
    }
}

/// Describes a node that is a definition whatever it holds.
pub(crate) fn named<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    Verdict::Is(Described::from_fields(node, source))
}

/// Describes a node that is a definition only with a body; a bare declaration is gathered.
pub(crate) fn with_body<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let described = Described::from_fields(node, source);
    if described.body.is_some() {
        Verdict::Is(described)
    } else {
        Verdict::Gathered(Class::Other)
    }
}

/// An entry of a data file of fewer bytes is gathered with its neighbours.
const SMALL_ENTRY: usize = 200;

/// Describes an entry of a data file, which is a definition unless it is small.
pub(crate) fn entry<'t>(node: Node<'t>, described: Described<'t>) -> Verdict<'t> {
    if node.end_byte() - node.start_byte() < SMALL_ENTRY {
        return Verdict::Gathered(Class::Entry);
    }
    Verdict::Is(described)
}

/// Describes an entry that has its key and its value in fields of these names.
pub(crate) fn pair<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let described = Described {
        name: node
            .child_by_field_name("key")
            .map(|key| key_text(key, source)),
        body: node.child_by_field_name("value"),
        ..Described::default()
    };
    entry(node, described)
}

/// Returns the text of a key, without the quotes around it.
pub(crate) fn key_text(key: Node<'_>, source: &[u8]) -> String {
    let key = text(key, source);
    let bare = ['"', '\'']
        .into_iter()
        .find_map(|quote| key.strip_prefix(quote)?.strip_suffix(quote));
    bare.unwrap_or(&key).to_owned()
}

/// The longest name kept, in bytes; broken syntax can make a "name" of anything.
pub(crate) const MAX_NAME: usize = 200;

/// Returns a node's text with white space collapsed, at most 200 bytes of it.
pub(crate) fn text(node: Node<'_>, source: &[u8]) -> String {
    span_text(node.byte_range(), source)
}

/// Returns the text of a span as [`text`] does that of a node.
pub(crate) fn span_text(span: Range<usize>, source: &[u8]) -> String {
    let bytes = source.get(span).unwrap_or_default();
    crate::text::collapse(bytes, MAX_NAME)
}

/// Returns the first named child of a kind.
pub(crate) fn child<'t>(node: Node<'t>, kind: &str) -> Option<Node<'t>> {
    let mut cursor = node.walk();
    node.named_children(&mut cursor)
        .find(|child| child.kind() == kind)
}

/// A language of the table, with its grammar once that is needed.
pub(crate) struct Loaded {
    pub(crate) language: &'static Language,
    syntax: OnceLock<Option<Syntax>>,
}

/// A loaded grammar, and the rules by node kind.
pub(crate) struct Syntax {
    pub(crate) language: &'static Language,
    pub(crate) grammar: tree_sitter::Language,
    pub(crate) outline: Outline,
    roles: Vec<Option<&'static Role>>,
}

impl Loaded {
    /// Returns the grammar, loaded; `None` where the language has none here.
    pub(crate) fn syntax(&self) -> Option<&Syntax> {
        let load = || {
            let grammar = self.language.grammar()?;
            Some(Syntax::load(self.language, grammar))
        };
        self.syntax.get_or_init(load).as_ref()
    }
}

impl Syntax {
    fn load(language: &'static Language, rules: &'static Grammar) -> Self {
        let grammar = (rules.load)();
        let by_name: HashMap<&str, &Role> = rules
            .rules
            .iter()
            .map(|rule| (rule.node, &rule.role))
            .collect();
        // Several ids may share a name (aliases), so the ids are walked, not the rules.
        let ids = 0..u16::try_from(grammar.node_kind_count()).unwrap_or(u16::MAX);
        let role = |id| {
            let kind = grammar.node_kind_for_id(id)?;
            let named = grammar.node_kind_is_named(id);
            by_name.get(kind).copied().filter(|_| named)
        };
        let roles = ids.map(role).collect();
        Syntax {
            language,
            grammar,
            outline: rules.outline,
            roles,
        }
    }

    /// Returns what is to be parsed for a source.
    pub(crate) fn prepare(&self, source: &[u8]) -> Prepared {
        match self.language.cut {
            Cut::Prepared(_, prepare) => prepare(source),
            Cut::Syntax(_) | Cut::Notebook | Cut::Lines => Prepared::AsItIs,
        }
    }

    /// Returns the role of a node, `None` where its kind has no rule.
    pub(crate) fn role(&self, node: Node<'_>) -> Option<&'static Role> {
        self.roles
            .get(usize::from(node.kind_id()))
            .copied()
            .flatten()
    }
}

/// Returns every language of the table.
pub(crate) fn all() -> &'static [Loaded] {
    static ALL: LazyLock<Vec<Loaded>> = LazyLock::new(|| {
        let rows = languages::TABLE.iter().chain(languages::PLAIN).copied();
        rows.map(|language| Loaded {
            language,
            syntax: OnceLock::new(),
        })
        .collect()
    });
    &ALL
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_grammar_loads_and_every_rule_names_a_node_of_it() {
        for loaded in all() {
            let name = loaded.language.name;
            let (Some(syntax), Some(rules)) = (loaded.syntax(), loaded.language.grammar()) else {
                continue;
            };
            let mut parser = tree_sitter::Parser::new();
            assert!(parser.set_language(&syntax.grammar).is_ok(), "{name}");
            for rule in rules.rules {
                let id = syntax.grammar.id_for_node_kind(rule.node, true);
                assert_ne!(id, 0, "{name} has no node {}", rule.node);
            }
        }
    }
}
