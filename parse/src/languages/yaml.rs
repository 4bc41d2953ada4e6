//! Rules for YAML: the pairs of a mapping are its entries.

use tree_sitter::Node;

use crate::language::{
    Class, Cut, Described, Grammar, Language, Outline, Role, Rule, Shape, Verdict, entry, key_text,
};

use Role::{Comment, Definition, Gathered};

pub(crate) static LANGUAGE: Language = Language {
    name: "yaml",
    extensions: &[
        "yaml",
        "yml",
        "eyaml",
        "mir",
        "reek",
        "rviz",
        "sublime-syntax",
        "syntax",
        "yaml-tmlanguage",
    ],
    file_names: &[
        ".clang-format",
        ".clang-tidy",
        ".clangd",
        ".gemrc",
        ".prettierrc",
        ".yamllint",
        "CITATION.cff",
        "pixi.lock",
        "pubspec.lock",
        "yarn.lock",
    ],
    shebangs: &["ansible-playbook"],
    separator: ".",
    loose: "block",
    cut: Cut::Syntax(Grammar {
        load: || tree_sitter_yaml::LANGUAGE.into(),
        outline: Outline::Definitions,
        rules: &[
            Rule::new("document", Definition(Shape::Section, "document", document)),
            Rule::new(
                "block_mapping_pair",
                Definition(Shape::Section, "entry", pair),
            ),
            Rule::new("flow_pair", Definition(Shape::Section, "entry", pair)),
            Rule::new("block_node", Gathered(Class::Entry)),
            Rule::new("block_mapping", Gathered(Class::Entry)),
            Rule::new("block_sequence", Gathered(Class::Entry)),
            Rule::new("block_sequence_item", Gathered(Class::Entry)),
            Rule::new("flow_node", Gathered(Class::Entry)),
            Rule::new("flow_mapping", Gathered(Class::Entry)),
            Rule::new("flow_sequence", Gathered(Class::Entry)),
            Rule::new("comment", Comment),
        ],
    }),
};

/// One of several documents in a file is like an entry without a key.
fn document<'t>(node: Node<'t>, _: &[u8]) -> Verdict<'t> {
    entry(node, Described::default())
}

fn pair<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let described = Described {
        name: node
            .child_by_field_name("key")
            .map(|key| key_text(key, source)),
        body: node.child_by_field_name("value"),
        ..Described::default()
    };
    entry(node, described)
}
