//! Rules for the configuration language of Terraform and its kin.

use tree_sitter::Node;

use crate::language::{
    Class, Cut, Described, Grammar, Language, Outline, Role, Rule, Shape, Verdict, child, entry,
    key_text, text,
};

use Role::{Comment, Definition, Gathered, Transparent};

pub(crate) static LANGUAGE: Language = Language {
    name: "terraform",
    extensions: &["tf", "hcl", "nomad", "tfvars", "tofu"],
    file_names: &[],
    shebangs: &[],
    separator: ".",
    loose: "block",
    cut: Cut::Syntax(Grammar {
        load: || tree_sitter_hcl::LANGUAGE.into(),
        outline: Outline::Definitions,
        rules: &[
            Rule::new("body", Transparent),
            Rule::new("block", Definition(Shape::Section, "block", block)),
            Rule::new("attribute", Definition(Shape::Section, "entry", attribute)),
            Rule::new("object_elem", Definition(Shape::Section, "entry", element)),
            Rule::new("expression", Gathered(Class::Entry)),
            Rule::new("collection_value", Gathered(Class::Entry)),
            Rule::new("object", Gathered(Class::Entry)),
            Rule::new("tuple", Gathered(Class::Entry)),
            Rule::new("comment", Comment),
        ],
    }),
};

/// A block is named by its type and labels: `resource.aws_instance.search`. One with a
/// label is referred to, so it is a definition however small it is.
fn block<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let mut cursor = node.walk();
    let names: Vec<String> = node
        .named_children(&mut cursor)
        .take_while(|child| child.kind() != "block_start")
        .map(|child| key_text(child, source))
        .collect();
    let described = Described {
        name: (!names.is_empty()).then(|| names.join(".")),
        body: child(node, "body"),
        signature_end: child(node, "block_start").map(|start| start.start_byte()),
        ..Described::default()
    };
    if names.len() > 1 {
        Verdict::Is(described)
    } else {
        entry(node, described)
    }
}

fn attribute<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let described = Described {
        name: child(node, "identifier").map(|key| text(key, source)),
        body: child(node, "expression"),
        ..Described::default()
    };
    entry(node, described)
}

/// A pair of an object, `key = value`.
fn element<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let described = Described {
        name: node
            .child_by_field_name("key")
            .map(|key| key_text(key, source)),
        body: node.child_by_field_name("val"),
        ..Described::default()
    };
    entry(node, described)
}
