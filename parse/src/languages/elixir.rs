//! Rules for Elixir, whose definitions are calls to the grammar.

use tree_sitter::Node;

use crate::language::{
    Class, Cut, Described, Grammar, Language, Outline, Role, Rule, Shape, Verdict, child,
};
use crate::text;

use Role::{Comment, Definition};

pub(crate) static LANGUAGE: Language = Language {
    name: "elixir",
    extensions: &["ex", "exs"],
    file_names: &["mix.lock"],
    shebangs: &["elixir"],
    separator: ".",
    loose: "block",
    cut: Cut::Syntax(Grammar {
        load: || tree_sitter_elixir::LANGUAGE.into(),
        outline: Outline::Definitions,
        rules: &[
            Rule::new("call", Definition(Shape::Leaf, "function", call)),
            Rule::new("unary_operator", Definition(Shape::Leaf, "type", attribute)),
            Rule::new("comment", Comment),
        ],
    }),
};

/// A clause of more bytes, such as one of a `handle_call`, is a chunk of its own.
const SMALL_CLAUSE: usize = 200;

/// Returns the word that a call begins with, such as `def`.
fn word<'s>(call: Node<'_>, source: &'s [u8]) -> &'s [u8] {
    let target = call.child_by_field_name("target");
    let target = target.filter(|target| target.kind() == "identifier");
    target
        .and_then(|target| source.get(target.byte_range()))
        .unwrap_or_default()
}

fn first_argument(call: Node<'_>) -> Option<Node<'_>> {
    child(call, "arguments")?.named_child(0)
}

fn name_of(node: Node<'_>, source: &[u8]) -> String {
    crate::language::text(node, source)
}

fn call<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    match word(node, source) {
        b"def" | b"defp" | b"defn" | b"defnp" | b"defdelegate" => function(node, source),
        b"defmacro" | b"defmacrop" | b"defguard" | b"defguardp" => match function(node, source) {
            Verdict::Is(described) => Verdict::Is(Described {
                kind: Some("macro"),
                ..described
            }),
            other => other,
        },
        b"defmodule" => container(node, "module", source),
        b"defprotocol" => container(node, "interface", source),
        b"defimpl" => container(node, "impl", source),
        b"defstruct" | b"defexception" | b"schema" | b"embedded_schema" => Verdict::Is(Described {
            kind: Some("struct"),
            body: child(node, "do_block"),
            ..Described::default()
        }),
        b"test" | b"property" => test(node, "function", Shape::Leaf, source),
        b"describe" => test(node, "block", Shape::Group, source),
        b"use" | b"alias" | b"import" | b"require" => Verdict::Gathered(Class::Import),
        _ => Verdict::Gathered(Class::Other),
    }
}

fn container<'t>(node: Node<'t>, kind: &'static str, source: &[u8]) -> Verdict<'t> {
    let (Some(name), Some(body)) = (first_argument(node), child(node, "do_block")) else {
        return Verdict::Gathered(Class::Other);
    };
    let mut name = name_of(name, source);
    // The module of `defimpl A, for: B` is `A.B`.
    if kind == "impl"
        && let Some(target) = keyword(node, b"for:", source)
    {
        name = format!("{name}.{}", name_of(target, source));
    }
    Verdict::Is(Described {
        kind: Some(kind),
        shape: Some(Shape::Container),
        name: Some(name),
        body: Some(body),
        doc: module_doc(body, source),
        ..Described::default()
    })
}

/// Returns the value of a keyword among a call's arguments.
fn keyword<'t>(call: Node<'t>, key: &[u8], source: &[u8]) -> Option<Node<'t>> {
    let keywords = child(child(call, "arguments")?, "keywords")?;
    let mut cursor = keywords.walk();
    let pair = keywords.named_children(&mut cursor).find(|pair| {
        let found = pair.child_by_field_name("key");
        let found = found.and_then(|found| source.get(found.byte_range()));
        found.is_some_and(|found| found.trim_ascii() == key)
    })?;
    pair.child_by_field_name("value")
}

/// How many entries of a module are searched for its documentation.
const MAX_BEFORE_DOC: usize = 8;

fn module_doc(body: Node<'_>, source: &[u8]) -> Option<String> {
    let mut cursor = body.walk();
    let mut entries = body.named_children(&mut cursor).take(MAX_BEFORE_DOC);
    let doc = entries.find_map(|entry| {
        let operand = entry.child_by_field_name("operand")?;
        (word(operand, source) == b"moduledoc").then_some(operand)
    })?;
    documentation(doc, source)
}

/// Returns the text of `doc "…"`, `None` of `doc false`.
fn documentation(call: Node<'_>, source: &[u8]) -> Option<String> {
    let literal = first_argument(call)?;
    if matches!(literal.kind(), "string" | "sigil") {
        text::docstring(source.get(literal.byte_range())?)
    } else {
        None
    }
}

/// The head and the body of a `def`.
struct Parts<'t> {
    /// With its guard.
    head: Node<'t>,
    body: Option<Node<'t>>,
}

fn parts<'t>(node: Node<'t>, source: &[u8]) -> Option<Parts<'t>> {
    Some(Parts {
        head: first_argument(node)?,
        body: child(node, "do_block").or_else(|| keyword(node, b"do:", source)),
    })
}

fn function<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let Some(Parts { head, body }) = parts(node, source) else {
        return Verdict::Gathered(Class::Other);
    };
    if body.is_none() && is_in_protocol(node, source) {
        return Verdict::Gathered(Class::Other);
    }
    let mut called = head;
    let operator = |node: Node<'_>| {
        let operator = node.child_by_field_name("operator")?;
        Some(name_of(operator, source))
    };
    if operator(called).as_deref() == Some("when") {
        called = called.child_by_field_name("left").unwrap_or(called);
    }
    let arguments = child(called, "arguments").map_or(0, |arguments| arguments.named_child_count());
    let name = match operator(called) {
        Some(operator) => operator,
        None => name_of(
            called.child_by_field_name("target").unwrap_or(called),
            source,
        ),
    };
    let is_small = node.end_byte() - node.start_byte() <= SMALL_CLAUSE;
    let joins = is_small || body.is_none() || follows_head(node, source);
    Verdict::Is(Described {
        clause_of: joins.then(|| format!("{name}/{arguments}")),
        name: Some(name),
        body,
        signature_end: Some(head.end_byte()),
        ..Described::default()
    })
}

/// The functions of a protocol are declared only.
fn is_in_protocol(node: Node<'_>, source: &[u8]) -> bool {
    let container = node.parent().and_then(|block| block.parent());
    container.is_some_and(|container| word(container, source) == b"defprotocol")
}

/// Tells whether a `def` without a body, which has the defaults, stands before a clause.
fn follows_head(node: Node<'_>, source: &[u8]) -> bool {
    let before = node.prev_named_sibling();
    before
        .filter(|before| word(*before, source) == word(node, source))
        .and_then(|before| parts(before, source))
        .is_some_and(|parts| parts.body.is_none())
}

/// `test "…" do` and the `describe "…" do` around it.
fn test<'t>(node: Node<'t>, kind: &'static str, shape: Shape, source: &[u8]) -> Verdict<'t> {
    let title = first_argument(node).filter(|title| title.kind() == "string");
    match (title, child(node, "do_block")) {
        (Some(title), Some(body)) => Verdict::Is(Described {
            kind: Some(kind),
            shape: Some(shape),
            name: Some(name_of(title, source).trim_matches('"').to_owned()),
            body: Some(body),
            ..Described::default()
        }),
        _ => Verdict::Gathered(Class::Other),
    }
}

/// `@doc`, `@type` and what else stands behind an `@`.
fn attribute<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let operand = node
        .child_by_field_name("operand")
        .filter(|_| source.get(node.start_byte()) == Some(&b'@'));
    let Some(operand) = operand else {
        return Verdict::Gathered(Class::Other);
    };
    match word(operand, source) {
        b"doc" | b"typedoc" => Verdict::Attribute(documentation(operand, source)),
        b"spec" | b"impl" | b"deprecated" | b"dialyzer" | b"tag" => Verdict::Attribute(None),
        b"type" | b"typep" | b"opaque" => Verdict::Is(Described {
            name: first_argument(operand).map(|definition| {
                let name = definition.child_by_field_name("left").unwrap_or(definition);
                name_of(name.child_by_field_name("target").unwrap_or(name), source)
            }),
            ..Described::default()
        }),
        b"behaviour" => Verdict::Gathered(Class::Import),
        b"moduledoc" | b"callback" | b"macrocallback" | b"" => Verdict::Gathered(Class::Other),
        _ => Verdict::Gathered(Class::Constant),
    }
}
