//! Rules for Protocol Buffers.

use tree_sitter::Node;

use crate::language::{
    Class, Cut, Described, Grammar, Language, Outline, Role, Rule, Shape, Verdict, child, text,
};

use Role::{Comment, Definition, Gathered, Transparent};

pub(crate) static LANGUAGE: Language = Language {
    name: "protobuf",
    extensions: &["proto"],
    file_names: &[],
    shebangs: &[],
    separator: ".",
    loose: "block",
    cut: Cut::Syntax(Grammar {
        load: || tree_sitter_proto::LANGUAGE.into(),
        outline: Outline::Definitions,
        rules: &[
            Rule::new("message", Definition(Shape::Container, "struct", message)),
            Rule::new("message_body", Transparent),
            Rule::new("group", Definition(Shape::Container, "struct", message)),
            Rule::new("enum", Definition(Shape::Leaf, "enum", enumeration)),
            Rule::new(
                "service",
                Definition(Shape::Container, "interface", service),
            ),
            Rule::new("rpc", Definition(Shape::Leaf, "method", rpc)),
            Rule::new("syntax", Gathered(Class::Import)),
            Rule::new("edition", Gathered(Class::Import)),
            Rule::new("package", Gathered(Class::Import)),
            Rule::new("import", Gathered(Class::Import)),
            Rule::new("comment", Comment),
        ],
    }),
};

/// Describes what its first child of a kind names, and whose body a brace opens.
fn named<'t>(node: Node<'t>, name: &str, source: &[u8]) -> Verdict<'t> {
    let mut cursor = node.walk();
    let body = node
        .children(&mut cursor)
        .find(|child| child.kind() == "{" || matches!(child.kind(), "message_body" | "enum_body"));
    Verdict::Is(Described {
        name: child(node, name).map(|name| text(name, source)),
        signature_end: body.map(|body| body.start_byte()),
        ..Described::default()
    })
}

fn message<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    named(node, "message_name", source)
}

fn enumeration<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    named(node, "enum_name", source)
}

fn service<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    named(node, "service_name", source)
}

fn rpc<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    named(node, "rpc_name", source)
}
