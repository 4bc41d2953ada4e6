//! Rules for R, whose definitions are assignments and calls to the grammar.

use tree_sitter::Node;

use crate::language::{
    Class, Cut, Described, Grammar, Language, Outline, Role, Rule, Shape, Verdict, text,
};

use Role::{Comment, Definition, Transparent};

pub(crate) static LANGUAGE: Language = Language {
    name: "r",
    extensions: &["r", "rsx"],
    file_names: &[".Rprofile", "Rprofile.site"],
    shebangs: &["Rscript", "r"],
    separator: "$",
    loose: "block",
    cut: Cut::Syntax(Grammar {
        load: || tree_sitter_r::LANGUAGE.into(),
        outline: Outline::Definitions,
        rules: &[
            Rule::new(
                "binary_operator",
                Definition(Shape::Leaf, "function", assignment),
            ),
            Rule::new("call", Definition(Shape::Leaf, "function", call)),
            Rule::new("string", Definition(Shape::Leaf, "constant", data_set)),
            Rule::new("argument", Definition(Shape::Leaf, "method", argument)),
            Rule::new(
                "if_statement",
                Definition(Shape::Leaf, "block", conditional),
            ),
            Rule::new("arguments", Transparent),
            Rule::new("braced_expression", Transparent),
            Rule::new("comment", Comment),
        ],
    }),
};

/// How many arguments of a call are looked at.
const MAX_ARGUMENTS: usize = 32;

/// Returns the word that a call begins with, `test_that` in `testthat::test_that(…)`.
fn word<'s>(call: Node<'_>, source: &'s [u8]) -> &'s [u8] {
    let called = call
        .child_by_field_name("function")
        .filter(|_| call.kind() == "call")
        .and_then(|called| match called.kind() {
            "namespace_operator" => called.child_by_field_name("rhs"),
            _ => Some(called),
        });
    called
        .and_then(|called| source.get(called.byte_range()))
        .unwrap_or_default()
}

/// Returns a call's arguments, in their order.
fn arguments(call: Node<'_>) -> Vec<Node<'_>> {
    let Some(list) = call.child_by_field_name("arguments") else {
        return Vec::new();
    };
    let mut cursor = list.walk();
    list.named_children(&mut cursor)
        .filter(|argument| argument.kind() == "argument")
        .take(MAX_ARGUMENTS)
        .collect()
}

/// Returns the value of an argument that is given by its name or by its place.
fn value<'t>(call: Node<'t>, name: &[u8], place: usize, source: &[u8]) -> Option<Node<'t>> {
    let arguments = arguments(call);
    let named = arguments.iter().find(|argument| {
        let found = argument.child_by_field_name("name");
        found.is_some_and(|found| source.get(found.byte_range()) == Some(name))
    });
    let placed = arguments
        .get(place)
        .filter(|argument| argument.child_by_field_name("name").is_none());
    named.or(placed)?.child_by_field_name("value")
}

/// Returns a name without the quotes that it may have.
fn unquoted(node: Node<'_>, source: &[u8]) -> String {
    let text = text(node, source);
    let is_quoted = text.len() > 1 && text.starts_with(['"', '\'', '`']);
    if is_quoted {
        text.trim_matches(['"', '\'', '`']).to_owned()
    } else {
        text
    }
}

fn literal(node: Option<Node<'_>>, source: &[u8]) -> Option<String> {
    let node = node.filter(|node| node.kind() == "string")?;
    Some(unquoted(node, source))
}

/// Describes a function for the name that it is given.
fn function<'t>(function: Node<'t>, name: String, source: &[u8]) -> Described<'t> {
    let body = function.child_by_field_name("body");
    Described {
        name: Some(name),
        body,
        signature_end: function
            .child_by_field_name("parameters")
            .map(|parameters| parameters.end_byte()),
        doc: body.and_then(|body| docstring(body, source)),
        ..Described::default()
    }
}

/// A string before the first statement documents the method of a reference class.
fn docstring(body: Node<'_>, source: &[u8]) -> Option<String> {
    let first = body
        .named_child(0)
        .filter(|first| body.named_child_count() > 1 && first.kind() == "string")?;
    crate::text::docstring(source.get(first.byte_range())?)
}

/// `f <- function(x) …` is a function, `C <- R6Class(…)` a class, all else a constant,
/// which is gathered unless documented.
fn assignment<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let operator = node
        .child_by_field_name("operator")
        .and_then(|operator| source.get(operator.byte_range()))
        .unwrap_or_default();
    let (Some(target), Some(value)) = (
        node.child_by_field_name("lhs")
            .filter(|_| matches!(operator, b"<-" | b"=" | b"<<-")),
        node.child_by_field_name("rhs"),
    ) else {
        return Verdict::Gathered(Class::Other);
    };
    if value.kind() == "function_definition" {
        return assigned(value, target, source);
    }
    let is_name = matches!(target.kind(), "identifier" | "string");
    match defining_call(value, source) {
        Some(described) if is_name => Verdict::Is(Described {
            name: described.name.or_else(|| Some(unquoted(target, source))),
            ..described
        }),
        _ if is_name && is_documented(node, source) => Verdict::Is(Described {
            kind: Some("constant"),
            name: Some(unquoted(target, source)),
            ..Described::default()
        }),
        _ if is_name => Verdict::Gathered(Class::Constant),
        _ => Verdict::Gathered(Class::Other),
    }
}

/// Tells whether the comment before a node is documentation.
fn is_documented(node: Node<'_>, source: &[u8]) -> bool {
    let before = node.prev_named_sibling();
    let before = before.filter(|before| before.kind() == "comment");
    let comment = before.and_then(|before| source.get(before.byte_range()));
    comment.is_some_and(|comment| comment.starts_with(b"#'"))
}

/// A string behind documentation names a set of data that a package brings.
fn data_set<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let name = unquoted(node, source);
    if name.starts_with('_') || !is_documented(node, source) {
        return Verdict::Gathered(Class::Other);
    }
    Verdict::Is(Described {
        name: Some(name),
        ..Described::default()
    })
}

/// Describes a function for whatever it is assigned to: `f`, `a$f` or `method(f, A)`.
fn assigned<'t>(value: Node<'t>, target: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let (owner, name) = match target.kind() {
        "identifier" | "string" => (None, Some(target)),
        "extract_operator" => (
            target.child_by_field_name("lhs"),
            target.child_by_field_name("rhs"),
        ),
        "call" if word(target, source) == b"method" => (
            self::value(target, b"class", 1, source),
            self::value(target, b"generic", 0, source),
        ),
        _ => (None, None),
    };
    match name {
        Some(name) => Verdict::Is(Described {
            qualifier: owner.map(|owner| first_class(owner, source)),
            ..function(value, unquoted(name, source), source)
        }),
        None => Verdict::Gathered(Class::Other),
    }
}

/// Returns the first class in `"A"`, `signature("A", "B")` or `list(A, B)`.
fn first_class(node: Node<'_>, source: &[u8]) -> String {
    let is_list = matches!(word(node, source), b"signature" | b"c" | b"list");
    let first = arguments(node).into_iter().next().filter(|_| is_list);
    let first = first.and_then(|first| first.child_by_field_name("value"));
    unquoted(first.unwrap_or(node), source)
}

/// Describes a call that defines something; the name may be left to the assignment.
fn defining_call<'t>(node: Node<'t>, source: &[u8]) -> Option<Described<'t>> {
    let word = word(node, source);
    match word {
        b"R6Class" | b"setRefClass" | b"ggproto" => class(node, Shape::Container, source),
        b"setClass" | b"setClassUnion" | b"new_class" => class(node, Shape::Leaf, source),
        b"setGeneric" => generic(node, b"def", source),
        b"new_generic" => generic(node, b"fun", source),
        b"setMethod" | b"setReplaceMethod" => {
            let name = literal(value(node, b"f", 0, source), source)?;
            let name = match word {
                b"setMethod" => name,
                _ => format!("{name}<-"),
            };
            let class = value(node, b"signature", 1, source)?;
            Some(method(node, name, first_class(class, source), source))
        }
        b"setValidity" => {
            let class = literal(value(node, b"Class", 0, source), source)?;
            Some(method(node, "validity".to_owned(), class, source))
        }
        b"setAs" => {
            let class = literal(value(node, b"from", 0, source), source)?;
            Some(method(node, "coerce".to_owned(), class, source))
        }
        _ => None,
    }
}

/// A class keeps its methods in lists such as `public = list(…)`.
fn class<'t>(node: Node<'t>, shape: Shape, source: &[u8]) -> Option<Described<'t>> {
    let list = node.child_by_field_name("arguments")?;
    let head = arguments(node)
        .into_iter()
        .take_while(|argument| {
            let value = argument.child_by_field_name("value");
            value.is_some_and(|value| !matches!(value.kind(), "call" | "function_definition"))
        })
        .last();
    Some(Described {
        kind: Some("class"),
        shape: Some(shape),
        name: ["Class", "classname", "name", "`_class`"]
            .into_iter()
            .find_map(|name| literal(value(node, name.as_bytes(), 0, source), source)),
        body: Some(list),
        signature_end: Some(head.map_or(list.start_byte(), |head| head.end_byte())),
        ..Described::default()
    })
}

fn generic<'t>(node: Node<'t>, key: &[u8], source: &[u8]) -> Option<Described<'t>> {
    let name = literal(value(node, b"name", 0, source), source)?;
    let place = if key == b"def" { 1 } else { 2 };
    let definition = value(node, key, place, source);
    Some(match definition {
        Some(definition) if definition.kind() == "function_definition" => {
            function(definition, name, source)
        }
        _ => Described {
            name: Some(name),
            signature_end: Some(node.end_byte()),
            ..Described::default()
        },
    })
}

/// Describes a method by the function among a call's arguments.
fn method<'t>(node: Node<'t>, name: String, class: String, source: &[u8]) -> Described<'t> {
    let definition = arguments(node)
        .into_iter()
        .filter_map(|argument| argument.child_by_field_name("value"))
        .find(|value| value.kind() == "function_definition");
    let described = match definition {
        Some(definition) => function(definition, name, source),
        None => Described {
            name: Some(name),
            ..Described::default()
        },
    };
    Described {
        qualifier: Some(class),
        ..described
    }
}

fn call<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    if let Some(described) = defining_call(node, source) {
        return match described.name {
            Some(_) => Verdict::Is(described),
            None => inner_class(node, described),
        };
    }
    match word(node, source) {
        b"test_that" | b"it" => test(node, "function", Shape::Leaf, source),
        b"describe" => test(node, "block", Shape::Group, source),
        b"library"
        | b"require"
        | b"requireNamespace"
        | b"loadNamespace"
        | b"source"
        | b"use"
        | b"suppressPackageStartupMessages" => Verdict::Gathered(Class::Import),
        b"local" => Verdict::Open,
        b"list" if is_section(node, source) => Verdict::Open,
        _ => match methods(node, source) {
            Some(described) => Verdict::Is(described),
            None => Verdict::Gathered(Class::Other),
        },
    }
}

/// A class whose call has no name is one only where an assignment names it.
fn inner_class<'t>(node: Node<'t>, described: Described<'t>) -> Verdict<'t> {
    let parent = node.parent();
    if parent.is_some_and(|parent| parent.kind() == "binary_operator") {
        Verdict::Is(described)
    } else {
        Verdict::Gathered(Class::Other)
    }
}

/// `Account$methods(deposit = function(x) …)` adds to a reference class.
fn methods<'t>(node: Node<'t>, source: &[u8]) -> Option<Described<'t>> {
    if !adds_methods(node, source) || arguments(node).is_empty() {
        return None;
    }
    let called = node.child_by_field_name("function")?;
    Some(Described {
        kind: Some("impl"),
        shape: Some(Shape::Container),
        name: Some(text(called.child_by_field_name("lhs")?, source)),
        body: node.child_by_field_name("arguments"),
        signature_end: Some(called.end_byte()),
        ..Described::default()
    })
}

fn adds_methods(call: Node<'_>, source: &[u8]) -> bool {
    let called = call
        .child_by_field_name("function")
        .filter(|called| called.kind() == "extract_operator");
    called
        .and_then(|called| called.child_by_field_name("rhs"))
        .is_some_and(|name| source.get(name.byte_range()) == Some(b"methods"))
}

/// Tells whether functions among a call's arguments are the methods of a class.
fn holds_methods(call: Node<'_>, source: &[u8]) -> bool {
    matches!(
        word(call, source),
        b"R6Class" | b"setRefClass" | b"ggproto" | b"new_class" | b"setClass"
    ) || adds_methods(call, source)
}

/// Returns the call that an argument is given to.
fn call_of(argument: Node<'_>) -> Option<Node<'_>> {
    argument.parent()?.parent()
}

/// Tells whether a `list(…)` is one of a class's lists.
fn is_section(list: Node<'_>, source: &[u8]) -> bool {
    let argument = list.parent().filter(|parent| parent.kind() == "argument");
    argument
        .and_then(call_of)
        .is_some_and(|call| holds_methods(call, source))
}

/// What a class is given: lists of members, and members.
fn argument<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let (Some(value), Some(call)) = (node.child_by_field_name("value"), call_of(node)) else {
        return Verdict::Gathered(Class::Other);
    };
    if value.kind() == "braced_expression" {
        return Verdict::Open;
    }
    let is_in_list = word(call, source) == b"list" && is_section(call, source);
    if !is_in_list && !holds_methods(call, source) {
        return Verdict::Gathered(Class::Other);
    }
    match (value.kind(), node.child_by_field_name("name")) {
        ("function_definition", Some(name)) => {
            Verdict::Is(function(value, unquoted(name, source), source))
        }
        ("call", _) if word(value, source) == b"list" && !is_in_list => Verdict::Open,
        (_, Some(_)) if is_in_list => Verdict::Gathered(Class::Constant),
        _ => Verdict::Gathered(Class::Other),
    }
}

/// `test_that("…", { … })` and the `describe("…", { … })` around it.
fn test<'t>(node: Node<'t>, kind: &'static str, shape: Shape, source: &[u8]) -> Verdict<'t> {
    let title = value(node, b"desc", 0, source).filter(|title| title.kind() == "string");
    let is_block = arguments(node).iter().any(|argument| {
        let value = argument.child_by_field_name("value");
        value.is_some_and(|value| value.kind() == "braced_expression")
    });
    match title.filter(|_| is_block) {
        Some(title) => Verdict::Is(Described {
            kind: Some(kind),
            shape: Some(shape),
            name: Some(unquoted(title, source)),
            signature_end: Some(title.end_byte()),
            ..Described::default()
        }),
        None => Verdict::Gathered(Class::Other),
    }
}

/// `if (…) { … }` around definitions; any other condition is a statement.
fn conditional<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let is_outside = node
        .parent()
        .is_some_and(|parent| parent.kind() == "program");
    let holds_definitions = node
        .child_by_field_name("consequence")
        .filter(|_| is_outside)
        .is_some_and(|block| {
            let mut cursor = block.walk();
            block.named_children(&mut cursor).any(|inner| {
                inner.kind() == "binary_operator"
                    && matches!(assignment(inner, source), Verdict::Is(_))
            })
        });
    if holds_definitions {
        Verdict::Open
    } else {
        Verdict::Gathered(Class::Other)
    }
}
