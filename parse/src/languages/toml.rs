//! Rules for TOML: tables and large values are its entries.

use tree_sitter::Node;

use crate::language::{
    Class, Cut, Described, Grammar, Language, Outline, Role, Rule, Shape, Verdict, entry, key_text,
};

use Role::{Comment, Definition, Gathered};

pub(crate) static LANGUAGE: Language = Language {
    name: "toml",
    extensions: &["toml"],
    file_names: &[
        "Cargo.lock",
        "Cargo.toml.orig",
        "Gopkg.lock",
        "Pipfile",
        "pdm.lock",
        "poetry.lock",
        "pylock.toml",
        "uv.lock",
    ],
    shebangs: &[],
    separator: ".",
    loose: "block",
    cut: Cut::Syntax(Grammar {
        load: || tree_sitter_toml_ng::LANGUAGE.into(),
        outline: Outline::Definitions,
        rules: &[
            Rule::new("table", Definition(Shape::Section, "table", table)),
            Rule::new(
                "table_array_element",
                Definition(Shape::Section, "table", table),
            ),
            Rule::new("pair", Definition(Shape::Section, "entry", pair)),
            Rule::new("array", Gathered(Class::Entry)),
            Rule::new("inline_table", Gathered(Class::Entry)),
            Rule::new("comment", Comment),
        ],
    }),
};

fn table<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let key = node.named_child(0);
    let described = Described {
        name: key.map(|key| key_text(key, source)),
        // The bracket after the key is the last of the header.
        signature_end: key.map(|key| key.next_sibling().unwrap_or(key).end_byte()),
        ..Described::default()
    };
    entry(node, described)
}

fn pair<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let described = Described {
        name: node.named_child(0).map(|key| key_text(key, source)),
        body: node.named_child(1),
        ..Described::default()
    };
    entry(node, described)
}
