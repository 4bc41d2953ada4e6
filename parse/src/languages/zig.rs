//! Rules for Zig, whose types are values that a declaration names.

use tree_sitter::Node;

use crate::language::{
    Class, Cut, Described, Grammar, Language, Outline, Role, Rule, Shape, Verdict, child, text,
    with_body,
};

use Role::{Comment, Definition, Gathered, Transparent};

pub(crate) static LANGUAGE: Language = Language {
    name: "zig",
    extensions: &["zig", "zon"],
    file_names: &[],
    shebangs: &["zig"],
    separator: ".",
    loose: "block",
    cut: Cut::Syntax(Grammar {
        load: || tree_sitter_zig::LANGUAGE.into(),
        outline: Outline::Definitions,
        rules: &[
            Rule::new(
                "function_declaration",
                Definition(Shape::Leaf, "function", function),
            ),
            Rule::new(
                "test_declaration",
                Definition(Shape::Leaf, "function", test),
            ),
            Rule::new(
                "variable_declaration",
                Definition(Shape::Leaf, "constant", variable),
            ),
            Rule::new("using_namespace_declaration", Gathered(Class::Import)),
            Rule::new("struct_declaration", Transparent),
            Rule::new("enum_declaration", Transparent),
            Rule::new("union_declaration", Transparent),
            Rule::new("opaque_declaration", Transparent),
            Rule::new("block", Transparent),
            Rule::new("return_expression", Transparent),
            Rule::new("comment", Comment),
        ],
    }),
};

/// A constant of fewer bytes is gathered with its neighbours.
const SMALL_CONSTANT: usize = 256;

/// How deep `a.b.c` is followed to `a`.
const MAX_PATH: usize = 16;

/// Returns the kind of the chunk of a type that holds declarations.
fn container(value: Node<'_>) -> Option<&'static str> {
    match value.kind() {
        "struct_declaration" | "opaque_declaration" => Some("struct"),
        "enum_declaration" => Some("enum"),
        "union_declaration" => Some("union"),
        _ => None,
    }
}

/// A function that returns the type that it spells out is that type, with parameters.
fn function<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let returned = node
        .child_by_field_name("body")
        .and_then(|body| returned_type(body));
    match (returned, with_body(node, source)) {
        (Some((statement, kind)), Verdict::Is(described)) => Verdict::Is(Described {
            kind: Some(kind),
            shape: Some(Shape::Container),
            signature_end: described.body.map(|body| body.start_byte()),
            // The body is what is opened to find the members.
            body: Some(statement),
            ..described
        }),
        (_, verdict) => verdict,
    }
}

/// Finds the statement `return struct { … };` of a function's body.
fn returned_type(body: Node<'_>) -> Option<(Node<'_>, &'static str)> {
    let mut cursor = body.walk();
    body.named_children(&mut cursor).find_map(|statement| {
        let kind = child(statement, "return_expression")?
            .named_child(0)
            .and_then(container)?;
        Some((statement, kind))
    })
}

/// A test is named for its text; one of a declaration must not pass for that itself.
fn test<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let title = node.named_child(0).and_then(|title| match title.kind() {
        "string" => child(title, "string_content").map(|title| text(title, source)),
        "identifier" => Some(format!("test {}", text(title, source))),
        _ => None,
    });
    Verdict::Is(Described {
        // Said here, since a test in a type is no method.
        kind: Some("function"),
        name: title,
        body: child(node, "block"),
        ..Described::default()
    })
}

/// `const A = struct { … };` defines a type, `const a = @import("a.zig");` imports, and
/// what a function keeps is no constant.
fn variable<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let count = node.named_child_count();
    let name = child(node, "identifier");
    let value = u32::try_from(count)
        .ok()
        .and_then(|count| node.named_child(count.checked_sub(1)?))
        .filter(|value| Some(*value) != name);
    let (Some(name), Some(value)) = (name, value) else {
        return Verdict::Gathered(Class::Constant);
    };
    let described = Described {
        name: Some(text(name, source)),
        ..Described::default()
    };
    if let Some(kind) = container(value) {
        let mut cursor = value.walk();
        let opening = value
            .children(&mut cursor)
            .find(|token| token.kind() == "{");
        return Verdict::Is(Described {
            kind: Some(kind),
            shape: Some(Shape::Container),
            signature_end: opening.map(|opening| opening.start_byte()),
            body: Some(value),
            ..described
        });
    }
    let kind = match value.kind() {
        "error_set_declaration" => "enum",
        "binary_expression" if child(value, "error_set_declaration").is_some() => "enum",
        "function_signature" => "type",
        "pointer_type" if child(value, "function_signature").is_some() => "type",
        _ if node.parent().is_some_and(|parent| parent.kind() == "block") => {
            return Verdict::Gathered(Class::Other);
        }
        _ if is_import(name, value, source) => return Verdict::Gathered(Class::Import),
        _ if node.end_byte() - node.start_byte() < SMALL_CONSTANT => {
            return Verdict::Gathered(Class::Constant);
        }
        _ => "constant",
    };
    Verdict::Is(Described {
        kind: Some(kind),
        body: (kind != "type").then_some(value),
        ..described
    })
}

/// Tells whether a value is `@import(…)` or something of that, or is `a.b.name` and so
/// keeps the name that it has elsewhere.
fn is_import(name: Node<'_>, value: Node<'_>, source: &[u8]) -> bool {
    let member = value.child_by_field_name("member");
    let name = source.get(name.byte_range());
    let keeps_name = member.is_some_and(|member| source.get(member.byte_range()) == name);
    let mut root = value;
    for _ in 0..MAX_PATH {
        match root.child_by_field_name("object") {
            Some(object) if root.kind() == "field_expression" => root = object,
            _ => break,
        }
    }
    match root.kind() {
        "identifier" => keeps_name,
        "builtin_function" => child(root, "builtin_identifier")
            .and_then(|builtin| source.get(builtin.byte_range()))
            .is_some_and(|builtin| matches!(builtin, b"@import" | b"@cImport")),
        _ => false,
    }
}
