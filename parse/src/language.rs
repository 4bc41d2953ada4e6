//! The table of languages: which files are of a language, and which syntax nodes of its
//! grammar become chunks.
//!
//! The chunker in [`crate::chunk`] knows no language. Everything it needs stands here
//! as data, one row a language, with a small function only where a name or a body
//! cannot be had from a field of the node.

use std::sync::LazyLock;

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
    /// The grammar and its rules.
    pub(crate) grammar: Grammar,
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
    /// Headings of several levels; the grammar's definitions are the headings.
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
    /// Belongs to what follows it.
    Attribute,
}

/// How a definition relates to the definitions inside it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One chunk; cut only where it is too large.
    Leaf,
    /// A header chunk, and a chunk for each member.
    Container,
    /// A container whose header, when it holds nothing but the declaration, is joined
    /// to the first member: `impl Foo {` alone would be found by anything.
    QuietContainer,
}

/// What is gathered, by the kind that the gathered chunk gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Class {
    Import,
    Constant,
    /// A comment that belongs to nothing; it takes the class of its neighbours.
    Comment,
    Other,
}

/// Decides what a node that may be a definition is.
pub(crate) type Describe = for<'t> fn(Node<'t>, &[u8]) -> Verdict<'t>;

/// The answer of a [`Describe`].
pub(crate) enum Verdict<'t> {
    Is(Described<'t>),
    Gathered(Class),
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
    /// The node that holds the members or statements.
    pub(crate) body: Option<Node<'t>>,
    /// Where the declaration ends, when that is not where the body begins.
    pub(crate) signature_end: Option<usize>,
    /// Documentation found inside, such as a docstring.
    pub(crate) doc: Option<String>,
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

/// The longest name kept, in bytes; broken syntax can make a "name" of anything.
const MAX_NAME: usize = 200;

/// Returns a node's text with white space collapsed, at most 200 bytes of it.
pub(crate) fn text(node: Node<'_>, source: &[u8]) -> String {
    let bytes = source.get(node.byte_range()).unwrap_or_default();
    crate::text::collapse(bytes, MAX_NAME)
}

pub(crate) static TABLE: &[Language] = &[
    Language {
        name: "rust",
        extensions: &["rs"],
        file_names: &[],
        shebangs: &["rust-script"],
        separator: "::",
        loose: "block",
        grammar: languages::rust::GRAMMAR,
    },
    Language {
        name: "python",
        extensions: &["py", "pyi", "pyw"],
        file_names: &["SConstruct", "SConscript", "wscript"],
        shebangs: &["python", "pypy"],
        separator: ".",
        loose: "block",
        grammar: languages::python::GRAMMAR,
    },
    Language {
        name: "javascript",
        extensions: &["js", "mjs", "cjs", "jsx"],
        file_names: &["Jakefile"],
        shebangs: &["node", "nodejs"],
        separator: ".",
        loose: "block",
        grammar: languages::javascript::JAVASCRIPT,
    },
    Language {
        name: "typescript",
        extensions: &["ts", "mts", "cts"],
        file_names: &[],
        shebangs: &["deno", "ts-node", "tsx"],
        separator: ".",
        loose: "block",
        grammar: languages::javascript::TYPESCRIPT,
    },
    Language {
        name: "tsx",
        extensions: &["tsx"],
        file_names: &[],
        shebangs: &[],
        separator: ".",
        loose: "block",
        grammar: languages::javascript::TSX,
    },
    Language {
        name: "go",
        extensions: &["go"],
        file_names: &[],
        shebangs: &[],
        separator: ".",
        loose: "block",
        grammar: languages::go::GRAMMAR,
    },
    Language {
        name: "java",
        extensions: &["java"],
        file_names: &[],
        shebangs: &[],
        separator: ".",
        loose: "block",
        grammar: languages::java::GRAMMAR,
    },
    Language {
        name: "c",
        extensions: &["c", "h"],
        file_names: &[],
        shebangs: &[],
        separator: ".",
        loose: "block",
        grammar: languages::c::C,
    },
    Language {
        name: "cpp",
        extensions: &[
            "cc", "cpp", "cxx", "c++", "hh", "hpp", "hxx", "h++", "ipp", "inl", "tpp", "cu", "cuh",
        ],
        file_names: &[],
        shebangs: &[],
        separator: "::",
        loose: "block",
        grammar: languages::c::CPP,
    },
    Language {
        name: "markdown",
        extensions: &["md", "markdown", "mdown", "mkd"],
        file_names: &[],
        shebangs: &[],
        separator: " > ",
        loose: "text",
        grammar: languages::markdown::GRAMMAR,
    },
];

/// A language of the table, loaded: its grammar, and its rules by node kind.
pub(crate) struct Loaded {
    pub(crate) language: &'static Language,
    pub(crate) grammar: tree_sitter::Language,
    roles: Vec<Option<&'static Role>>,
}

impl Loaded {
    /// Returns the role of a node, `None` where its kind has no rule.
    pub(crate) fn role(&self, node: Node<'_>) -> Option<&'static Role> {
        self.roles
            .get(usize::from(node.kind_id()))
            .copied()
            .flatten()
    }
}

static LOADED: LazyLock<Vec<Loaded>> = LazyLock::new(|| TABLE.iter().map(load).collect());

fn load(language: &'static Language) -> Loaded {
    let grammar = (language.grammar.load)();
    let mut roles = vec![None; grammar.node_kind_count()];
    // Several ids may share a name (aliases), so the ids are walked, not the rules.
    for (id, role) in roles.iter_mut().enumerate() {
        let Ok(id) = u16::try_from(id) else { break };
        if !grammar.node_kind_is_named(id) {
            continue;
        }
        let kind = grammar.node_kind_for_id(id);
        *role = language
            .grammar
            .rules
            .iter()
            .find(|rule| Some(rule.node) == kind)
            .map(|rule| &rule.role);
    }
    Loaded {
        language,
        grammar,
        roles,
    }
}

/// Returns every language of the table, loaded, in the table's order.
pub(crate) fn loaded() -> &'static [Loaded] {
    &LOADED
}

/// Returns 32 hex digits that change whenever a grammar does.
///
/// A grammar crate's version cannot be asked for; its node kinds and tables can.
pub(crate) fn fingerprint() -> String {
    let mut hasher = blake3::Hasher::new();
    for loaded in loaded() {
        let grammar = &loaded.grammar;
        hasher.update(loaded.language.name.as_bytes());
        hasher.update(&grammar.abi_version().to_le_bytes());
        hasher.update(&grammar.parse_state_count().to_le_bytes());
        for id in 0..u16::try_from(grammar.node_kind_count()).unwrap_or(u16::MAX) {
            let kind = grammar.node_kind_for_id(id).unwrap_or_default();
            hasher.update(kind.as_bytes());
            hasher.update(&[0]);
        }
    }
    cs_common::document::hex32(hasher.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_grammar_loads_and_every_rule_names_a_node_of_it() {
        for loaded in loaded() {
            let name = loaded.language.name;
            let mut parser = tree_sitter::Parser::new();
            assert!(parser.set_language(&loaded.grammar).is_ok(), "{name}");
            for rule in loaded.language.grammar.rules {
                let id = loaded.grammar.id_for_node_kind(rule.node, true);
                assert_ne!(id, 0, "{name} has no node {}", rule.node);
            }
        }
    }
}
