//! Rules for CMake.

use tree_sitter::Node;

use crate::language::{
    Class, Cut, Described, Grammar, Language, Outline, Role, Rule, Shape, Verdict, child, text,
};

use Role::{Attribute, Comment, Definition, Transparent};

pub(crate) static LANGUAGE: Language = Language {
    name: "cmake",
    extensions: &["cmake"],
    file_names: &["CMakeLists.txt"],
    shebangs: &["cmake"],
    separator: "::",
    loose: "block",
    cut: Cut::Syntax(Grammar {
        load: || tree_sitter_cmake::LANGUAGE.into(),
        outline: Outline::Definitions,
        rules: &[
            Rule::new(
                "function_def",
                Definition(Shape::Leaf, "function", function),
            ),
            Rule::new("macro_def", Definition(Shape::Leaf, "macro", function)),
            Rule::new("normal_command", Definition(Shape::Leaf, "block", command)),
            Rule::new("if_condition", Definition(Shape::Leaf, "block", condition)),
            Rule::new("if_command", Attribute),
            Rule::new("elseif_command", Attribute),
            Rule::new("else_command", Attribute),
            Rule::new("body", Transparent),
            Rule::new("line_comment", Comment),
            Rule::new("bracket_comment", Comment),
        ],
    }),
};

/// A function is named by the first argument of what opens it: `function(name …)`.
fn function<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let opening = node.named_child(0);
    let name = opening
        .and_then(|opening| child(opening, "argument_list"))
        .and_then(|arguments| arguments.named_child(0));
    Verdict::Is(Described {
        name: name.map(|name| text(name, source)),
        body: child(node, "body"),
        signature_end: opening.map(|opening| opening.end_byte()),
        ..Described::default()
    })
}

fn command<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let name = child(node, "identifier").map(|name| text(name, source).to_ascii_lowercase());
    Verdict::Gathered(match name.as_deref() {
        Some("include" | "find_package" | "cmake_minimum_required" | "project") => Class::Import,
        Some("set" | "option") => Class::Constant,
        _ => Class::Other,
    })
}

/// A condition around definitions is looked into; any other stays in one piece.
fn condition<'t>(node: Node<'t>, _: &[u8]) -> Verdict<'t> {
    let mut cursor = node.walk();
    let holds_definitions = node.named_children(&mut cursor).any(|part| {
        let mut cursor = part.walk();
        part.kind() == "body"
            && part
                .named_children(&mut cursor)
                .any(|child| matches!(child.kind(), "function_def" | "macro_def"))
    });
    if holds_definitions {
        Verdict::Open
    } else {
        Verdict::Gathered(Class::Other)
    }
}
