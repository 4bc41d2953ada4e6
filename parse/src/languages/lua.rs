//! Rules for Lua.

use tree_sitter::Node;

use crate::language::{
    Class, Cut, Described, Grammar, Language, Outline, Role, Rule, Shape, Verdict, text,
};

use Role::{Comment, Definition, Wrapper};

pub(crate) static LANGUAGE: Language = Language {
    name: "lua",
    extensions: &["lua", "nse", "p8", "rockspec", "wlua"],
    file_names: &[".luacheckrc"],
    shebangs: &["lua", "luajit"],
    separator: ".",
    loose: "block",
    cut: Cut::Syntax(Grammar {
        load: || tree_sitter_lua::LANGUAGE.into(),
        outline: Outline::Definitions,
        rules: &[
            Rule::new(
                "function_declaration",
                Definition(Shape::Leaf, "function", declaration),
            ),
            Rule::new("variable_declaration", Wrapper),
            Rule::new(
                "assignment_statement",
                Definition(Shape::Leaf, "function", assignment),
            ),
            Rule::new("field", Definition(Shape::Leaf, "function", field)),
            Rule::new("function_call", Definition(Shape::Leaf, "function", call)),
            Rule::new("arguments", Definition(Shape::Leaf, "block", of_suite)),
            Rule::new(
                "function_definition",
                Definition(Shape::Leaf, "block", of_suite),
            ),
            Rule::new("block", Definition(Shape::Leaf, "block", of_suite)),
            Rule::new("comment", Comment),
        ],
    }),
};

fn declaration<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    match node.child_by_field_name("name") {
        Some(name) => function(node, name, source),
        None => Verdict::Gathered(Class::Other),
    }
}

/// Describes a function for whatever it is bound to: `f`, `a.b.f` or `a:f`.
fn function<'t>(node: Node<'t>, target: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let name = target
        .child_by_field_name("field")
        .or_else(|| target.child_by_field_name("method"));
    let table = target.child_by_field_name("table");
    Verdict::Is(Described {
        name: Some(text(name.unwrap_or(target), source)),
        qualifier: table.map(|table| text(table, source)),
        body: node.child_by_field_name("body"),
        signature_end: node
            .child_by_field_name("parameters")
            .map(|parameters| parameters.end_byte()),
        ..Described::default()
    })
}

/// `f = function() end` is a function, `local m = require "m"` an import, all else a
/// constant where it is declared.
fn assignment<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let mut cursor = node.walk();
    let mut lists = node.named_children(&mut cursor);
    let (Some(targets), Some(values)) = (lists.next(), lists.next()) else {
        return Verdict::Gathered(Class::Other);
    };
    let is_single = targets.named_child_count() == 1 || targets.kind() != "variable_list";
    match (targets.named_child(0), values.named_child(0)) {
        (Some(target), Some(value))
            if is_single
                && value.kind() == "function_definition"
                && target.kind() != "bracket_index_expression" =>
        {
            function(value, target, source)
        }
        (_, Some(value)) if is_require(value, source) => Verdict::Gathered(Class::Import),
        (Some(target), _) if target.kind() == "identifier" => Verdict::Gathered(Class::Constant),
        _ => Verdict::Gathered(Class::Other),
    }
}

/// Tells whether a value is `require "m"`, or something of that.
fn is_require(value: Node<'_>, source: &[u8]) -> bool {
    let call = value.child_by_field_name("table").unwrap_or(value);
    call.child_by_field_name("name")
        .is_some_and(|name| source.get(name.byte_range()) == Some(b"require"))
}

/// A field of a table that holds a function.
fn field<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let value = node.child_by_field_name("value");
    let value = value.filter(|value| value.kind() == "function_definition");
    match (value, node.child_by_field_name("name")) {
        (Some(value), Some(name)) => {
            let name = name.child_by_field_name("content").unwrap_or(name);
            function(value, name, source)
        }
        _ => Verdict::Gathered(Class::Other),
    }
}

/// `describe("…", function() … end)` holds tests, `it("…", function() … end)` is one.
fn call<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let called = node.child_by_field_name("name");
    let called = called.and_then(|name| source.get(name.byte_range()));
    let (kind, shape) = match called {
        Some(b"describe" | b"context" | b"insulate" | b"expose") => ("block", Shape::Group),
        Some(b"it" | b"test" | b"specify" | b"pending") => ("function", Shape::Leaf),
        _ => return Verdict::Gathered(Class::Other),
    };
    let arguments = node.child_by_field_name("arguments");
    let part = |at| arguments.and_then(|arguments: Node<'t>| arguments.named_child(at));
    match (part(0), part(1)) {
        (Some(title), Some(body))
            if title.kind() == "string" && body.kind() == "function_definition" =>
        {
            let words = title.child_by_field_name("content").unwrap_or(title);
            Verdict::Is(Described {
                kind: Some(kind),
                shape: Some(shape),
                name: Some(text(words, source)),
                joint: Some(" "),
                signature_end: Some(title.end_byte()),
                ..Described::default()
            })
        }
        _ => Verdict::Gathered(Class::Other),
    }
}

/// What stands between a `describe` and its tests is opened for them.
fn of_suite<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    // A block in a function in the arguments.
    let mut above = node;
    for _ in 0..3 {
        match above.parent() {
            Some(parent) if above.kind() != "function_call" => above = parent,
            _ => break,
        }
    }
    match call(above, source) {
        Verdict::Is(described) if described.shape == Some(Shape::Group) => Verdict::Open,
        _ => Verdict::Gathered(Class::Other),
    }
}
