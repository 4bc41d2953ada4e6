//! Rules for Rust.

use tree_sitter::Node;

use crate::language::{
    Class, Cut, Described, Grammar, Language, Outline, Role, Rule, Shape, Verdict, named, text,
    with_body,
};

use Role::{Attribute, Comment, Definition, Gathered, Transparent, Wrapper};

pub(crate) static LANGUAGE: Language = Language {
    name: "rust",
    extensions: &["rs"],
    file_names: &[],
    shebangs: &["rust-script"],
    separator: "::",
    loose: "block",
    cut: Cut::Syntax(Grammar {
        load: || tree_sitter_rust::LANGUAGE.into(),
        outline: Outline::Definitions,
        rules: &[
            Rule::new("function_item", Definition(Shape::Leaf, "function", named)),
            Rule::new("struct_item", Definition(Shape::Leaf, "struct", structure)),
            Rule::new("union_item", Definition(Shape::Leaf, "union", named)),
            Rule::new("enum_item", Definition(Shape::Leaf, "enum", named)),
            Rule::new("type_item", Definition(Shape::Leaf, "type", alias)),
            Rule::new(
                "macro_definition",
                Definition(Shape::Leaf, "macro", macro_rules),
            ),
            Rule::new("trait_item", Definition(Shape::Container, "trait", named)),
            Rule::new(
                "impl_item",
                Definition(Shape::Container, "impl", implementation),
            ),
            Rule::new("mod_item", Definition(Shape::Container, "module", module)),
            Rule::new("foreign_mod_item", Transparent),
            Rule::new("declaration_list", Transparent),
            Rule::new("expression_statement", Wrapper),
            Rule::new("use_declaration", Gathered(Class::Import)),
            Rule::new("extern_crate_declaration", Gathered(Class::Import)),
            Rule::new("const_item", Gathered(Class::Constant)),
            Rule::new("static_item", Gathered(Class::Constant)),
            Rule::new("attribute_item", Attribute),
            Rule::new("inner_attribute_item", Gathered(Class::Comment)),
            Rule::new("line_comment", Comment),
            Rule::new("block_comment", Comment),
        ],
    }),
};

/// A tuple struct's fields belong to its declaration.
fn structure<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let mut described = Described::from_fields(node, source);
    if described
        .body
        .is_some_and(|body| body.kind() == "ordered_field_declaration_list")
    {
        described.signature_end = Some(node.end_byte());
    }
    Verdict::Is(described)
}

/// The `type Item = u8;` of an impl belongs to the impl.
fn alias<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let container = node.parent().and_then(|list| list.parent());
    if container.is_some_and(|container| container.kind() == "impl_item") {
        Verdict::Gathered(Class::Other)
    } else {
        named(node, source)
    }
}

fn module<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    match with_body(node, source) {
        Verdict::Gathered(_) => Verdict::Gathered(Class::Import),
        module => module,
    }
}

fn macro_rules<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let name = node.child_by_field_name("name");
    Verdict::Is(Described {
        name: name.map(|name| text(name, source)),
        signature_end: name.map(|name| name.end_byte()),
        ..Described::default()
    })
}

/// An impl is named for its type, so that a method is `Type::method`.
fn implementation<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    Verdict::Is(Described {
        name: node
            .child_by_field_name("type")
            .map(|name| type_name(name, source)),
        body: node.child_by_field_name("body"),
        ..Described::default()
    })
}

fn type_name(node: Node<'_>, source: &[u8]) -> String {
    let inner = match node.kind() {
        "generic_type" | "reference_type" | "pointer_type" => node.child_by_field_name("type"),
        "scoped_type_identifier" => node.child_by_field_name("name"),
        _ => None,
    };
    // Nesting such as `&&&T` is shallow in code that compiles; the text serves for the rest.
    match inner {
        Some(inner) if inner.kind() == "type_identifier" => text(inner, source),
        Some(inner) => match inner.child_by_field_name("name") {
            Some(name) => text(name, source),
            None => match inner.child_by_field_name("type") {
                Some(name) => text(name, source),
                None => text(inner, source),
            },
        },
        None => text(node, source),
    }
}
