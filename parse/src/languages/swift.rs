//! Rules for Swift.

use tree_sitter::Node;

use crate::language::{
    Class, Cut, Described, Grammar, Language, Outline, Role, Rule, Shape, Verdict, child, named,
    text, with_body,
};

use Role::{Attribute, Comment, Definition, Gathered};

pub(crate) static LANGUAGE: Language = Language {
    name: "swift",
    extensions: &["swift"],
    file_names: &[],
    shebangs: &["swift"],
    separator: ".",
    loose: "block",
    cut: Cut::Syntax(Grammar {
        load: || tree_sitter_swift::LANGUAGE.into(),
        outline: Outline::Definitions,
        rules: &[
            Rule::new(
                "class_declaration",
                Definition(Shape::Container, "class", type_or_extension),
            ),
            Rule::new(
                "protocol_declaration",
                Definition(Shape::Container, "interface", named),
            ),
            Rule::new(
                "function_declaration",
                Definition(Shape::Leaf, "function", with_body),
            ),
            Rule::new(
                "init_declaration",
                Definition(Shape::Leaf, "method", with_body),
            ),
            Rule::new(
                "deinit_declaration",
                Definition(Shape::Leaf, "method", deinit),
            ),
            Rule::new(
                "subscript_declaration",
                Definition(Shape::Leaf, "method", subscript),
            ),
            Rule::new(
                "property_declaration",
                Definition(Shape::Leaf, "function", property),
            ),
            Rule::new(
                "typealias_declaration",
                Definition(Shape::Leaf, "type", named),
            ),
            Rule::new(
                "macro_declaration",
                Definition(Shape::Leaf, "macro", macro_declaration),
            ),
            Rule::new("import_declaration", Gathered(Class::Import)),
            Rule::new("directive", Gathered(Class::Comment)),
            Rule::new("attribute", Attribute),
            Rule::new("comment", Comment),
            Rule::new("multiline_comment", Comment),
        ],
    }),
};

/// Classes, actors, structs, enums and extensions are one node, told apart by a keyword.
fn type_or_extension<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let keyword = node.child_by_field_name("declaration_kind");
    let kind = match keyword.map(|keyword| keyword.kind()) {
        Some("struct") => "struct",
        Some("enum") => "enum",
        Some("extension") => "impl",
        _ => "class",
    };
    let name = node.child_by_field_name("name");
    Verdict::Is(Described {
        kind: Some(kind),
        name: name.map(|name| type_name(name, source)),
        body: node.child_by_field_name("body"),
        ..Described::default()
    })
}

/// How many parts of a nested type's name are kept.
const MAX_PARTS: usize = 8;

/// Returns the `Outer.Inner` of `Outer<Item>.Inner`.
fn type_name(node: Node<'_>, source: &[u8]) -> String {
    let mut cursor = node.walk();
    let parts: Vec<String> = node
        .named_children(&mut cursor)
        .filter(|part| part.kind() == "type_identifier")
        .take(MAX_PARTS)
        .map(|part| text(part, source))
        .collect();
    if parts.is_empty() {
        text(node, source)
    } else {
        parts.join(".")
    }
}

fn deinit<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let described = Described::from_fields(node, source);
    Verdict::Is(Described {
        name: Some("deinit".to_owned()),
        ..described
    })
}

/// A protocol only requires its subscripts.
fn subscript<'t>(node: Node<'t>, _: &[u8]) -> Verdict<'t> {
    let is_required = node
        .parent()
        .is_some_and(|container| container.kind() == "protocol_body");
    match child(node, "computed_property").filter(|_| !is_required) {
        Some(body) => Verdict::Is(Described {
            name: Some("subscript".to_owned()),
            body: Some(body),
            ..Described::default()
        }),
        None => Verdict::Gathered(Class::Other),
    }
}

/// A property that computes is a function; one that stores is a field or a constant.
fn property<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let Some(body) = node.child_by_field_name("computed_value") else {
        return Verdict::Gathered(Class::Constant);
    };
    Verdict::Is(Described {
        body: Some(body),
        ..Described::from_fields(node, source)
    })
}

fn macro_declaration<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let name = child(node, "simple_identifier");
    Verdict::Is(Described {
        name: name.map(|name| text(name, source)),
        body: node.child_by_field_name("definition"),
        ..Described::default()
    })
}
