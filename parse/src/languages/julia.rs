//! Rules for Julia, whose grammar names almost no fields.

use tree_sitter::Node;

use crate::language::{
    Class, Cut, Described, Grammar, Language, Outline, Prepared, Role, Rule, Shape, Verdict, child,
    text,
};

use Role::{Comment, Definition, Gathered, Transparent, Wrapper};

pub(crate) static LANGUAGE: Language = Language {
    name: "julia",
    extensions: &["jl"],
    file_names: &[],
    shebangs: &["julia"],
    separator: ".",
    loose: "block",
    cut: Cut::Prepared(
        Grammar {
            load: || tree_sitter_julia::LANGUAGE.into(),
            outline: Outline::Definitions,
            rules: &[
                Rule::new(
                    "function_definition",
                    Definition(Shape::Leaf, "function", definition),
                ),
                Rule::new(
                    "macro_definition",
                    Definition(Shape::Leaf, "macro", definition),
                ),
                Rule::new(
                    "assignment",
                    Definition(Shape::Leaf, "function", definition),
                ),
                Rule::new(
                    "struct_definition",
                    Definition(Shape::Leaf, "struct", definition),
                ),
                Rule::new(
                    "abstract_definition",
                    Definition(Shape::Leaf, "interface", definition),
                ),
                Rule::new(
                    "primitive_definition",
                    Definition(Shape::Leaf, "type", definition),
                ),
                Rule::new(
                    "module_definition",
                    Definition(Shape::Container, "module", definition),
                ),
                Rule::new(
                    "const_statement",
                    Definition(Shape::Leaf, "function", definition),
                ),
                Rule::new(
                    "if_statement",
                    Definition(Shape::Leaf, "block", conditional),
                ),
                Rule::new(
                    "macrocall_expression",
                    Definition(Shape::Leaf, "function", macro_call),
                ),
                Rule::new("call_expression", Definition(Shape::Leaf, "function", call)),
                Rule::new(
                    "string_literal",
                    Definition(Shape::Leaf, "constant", docstring),
                ),
                Rule::new("global_statement", Wrapper),
                Rule::new("macro_argument_list", Transparent),
                Rule::new("compound_statement", Transparent),
                Rule::new("elseif_clause", Transparent),
                Rule::new("else_clause", Transparent),
                Rule::new("using_statement", Gathered(Class::Import)),
                Rule::new("import_statement", Gathered(Class::Import)),
                Rule::new("export_statement", Gathered(Class::Import)),
                Rule::new("public_statement", Gathered(Class::Import)),
                Rule::new("line_comment", Comment),
                Rule::new("block_comment", Comment),
            ],
        },
        without_const_fields,
    ),
};

/// A method of at most this many bytes is joined to the one of the same name before it.
const SMALL_METHOD: usize = 200;

/// How many nodes are followed from a head to the name in it, and out of macros.
const MAX_FOLLOWED: usize = 8;

/// Blanks the `const` of struct fields, which the grammar knows only before an assignment:
/// after it, it takes all that follows for a part of the struct.
fn without_const_fields(source: &[u8]) -> Prepared {
    let mut blanked: Option<Vec<u8>> = None;
    let mut start = 0;
    for line in source.split_inclusive(|byte| *byte == b'\n') {
        let word = start + line.len() - line.trim_ascii_start().len();
        if is_const_field(line.trim_ascii()) {
            let blanked = blanked.get_or_insert_with(|| source.to_vec());
            if let Some(word) = blanked.get_mut(word..word + CONST.len()) {
                word.fill(b' ');
            }
        }
        start += line.len();
    }
    blanked.map_or(Prepared::AsItIs, Prepared::Instead)
}

const CONST: &[u8] = b"const ";

/// Tells whether a line is a field such as `const a::Int`.
fn is_const_field(line: &[u8]) -> bool {
    let Some(field) = line.strip_prefix(CONST) else {
        return false;
    };
    let code = field.split(|byte| *byte == b'#').next().unwrap_or(field);
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_' || *byte > 127;
    let length = code.iter().take_while(|byte| is_name(byte)).count();
    let after = code.get(length..).unwrap_or_default().trim_ascii();
    length > 0 && !code.contains(&b'=') && (after.is_empty() || after.starts_with(b"::"))
}

fn definition<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    match described(node, source) {
        Some(described) => Verdict::Is(described),
        None if matches!(node.kind(), "assignment" | "const_statement") => {
            Verdict::Gathered(Class::Constant)
        }
        None => Verdict::Gathered(Class::Other),
    }
}

/// Describes a definition that stands without a macro.
fn described<'t>(node: Node<'t>, source: &[u8]) -> Option<Described<'t>> {
    match node.kind() {
        "function_definition" => function(node, child(node, "signature")?.named_child(0)?, source),
        "macro_definition" => {
            let macro_rule = function(node, child(node, "signature")?.named_child(0)?, source)?;
            Some(Described {
                kind: Some("macro"),
                name: macro_rule.name.map(|name| format!("@{name}")),
                ..macro_rule
            })
        }
        "assignment" => assignment(node, source),
        "const_statement" => constant(node, source),
        "struct_definition" => typed(node, "struct", source),
        "abstract_definition" => typed(node, "interface", source),
        "primitive_definition" => typed(node, "type", source),
        "module_definition" => {
            let name = node.child_by_field_name("name")?;
            Some(Described {
                kind: Some("module"),
                shape: Some(Shape::Container),
                name: Some(text(name, source)),
                body: Some(node),
                signature_end: Some(name.end_byte()),
                ..Described::default()
            })
        }
        _ => None,
    }
}

/// The name that a definition gives, and the module that it says it is of.
#[derive(Default)]
struct Name {
    qualifier: Option<String>,
    name: String,
    /// Whether it is the type of what is called, as in `(p::P)(x) = …`.
    of_callable: bool,
}

/// Finds the name in `f`, `Base.f`, `Base.:+`, `P{T}`, `P{T} <: Q` or `(p::P)`.
fn name_of(node: Node<'_>, source: &[u8]) -> Option<Name> {
    let mut found = Name::default();
    let mut node = node;
    for _ in 0..MAX_FOLLOWED {
        let last = node.named_child_count().checked_sub(1);
        let inner = match node.kind() {
            "parenthesized_expression"
            | "parametrized_type_expression"
            | "quote_expression"
            | "binary_expression"
            | "type_head" => node.named_child(0),
            "typed_expression" | "unary_typed_expression" => {
                found.of_callable = true;
                last.and_then(|last| node.named_child(u32::try_from(last).ok()?))
            }
            "field_expression" => {
                let value = node.child_by_field_name("value");
                found.qualifier = value.map(|value| text(value, source));
                last.and_then(|last| node.named_child(u32::try_from(last).ok()?))
            }
            _ => break,
        };
        node = inner?;
    }
    found.name = text(node, source);
    Some(found)
}

/// Returns the call in `f(x)::T where T`, or what else stands in its place.
fn head_of(node: Node<'_>) -> Option<Node<'_>> {
    let mut node = node;
    for _ in 0..MAX_FOLLOWED {
        match node.kind() {
            "where_expression" | "typed_expression" => node = node.named_child(0)?,
            _ => break,
        }
    }
    Some(node)
}

/// Describes a function by the head that stands before its body.
fn function<'t>(node: Node<'t>, whole: Node<'t>, source: &[u8]) -> Option<Described<'t>> {
    let head = head_of(whole)?;
    let name = match head.kind() {
        "call_expression" => name_of(head.named_child(0)?, source)?,
        "identifier" | "field_expression" => name_of(head, source)?,
        // `a ⊕ b = …`
        "binary_expression" => Name {
            name: text(child(head, "operator")?, source),
            ..Name::default()
        },
        _ => return None,
    };
    let is_small = node.end_byte() - node.start_byte() <= SMALL_METHOD;
    let qualifier = name.qualifier.as_deref().unwrap_or_default();
    Some(Described {
        kind: Some(if name.of_callable || name.qualifier.is_some() {
            "method"
        } else {
            "function"
        }),
        clause_of: (is_small && !is_documented(node)).then(|| format!("{qualifier}.{}", name.name)),
        name: Some(name.name),
        qualifier: name.qualifier,
        body: Some(node),
        signature_end: Some(whole.end_byte()),
        ..Described::default()
    })
}

/// Tells whether a string before a definition documents it.
fn is_documented(node: Node<'_>) -> bool {
    let before = outermost(node).prev_named_sibling();
    before.is_some_and(|before| before.kind() == "string_literal")
}

/// `f(x) = …` and `f = x -> …` are functions; a constant is gathered unless documented.
fn assignment<'t>(node: Node<'t>, source: &[u8]) -> Option<Described<'t>> {
    let target = node.named_child(0)?;
    let head = head_of(target)?;
    if matches!(head.kind(), "call_expression" | "binary_expression") {
        return function(node, target, source);
    }
    let value = node.named_child(2)?;
    let parameters = match value.kind() {
        "arrow_function_expression" => value.named_child(0),
        "function_definition" => child(value, "signature"),
        _ => None,
    };
    let (kind, signature_end) = match parameters {
        Some(parameters) => ("function", parameters.end_byte()),
        None if is_documented(node) => ("constant", value.end_byte()),
        None => return None,
    };
    (head.kind() == "identifier").then(|| Described {
        kind: Some(kind),
        name: Some(text(head, source)),
        body: Some(node),
        signature_end: Some(signature_end),
        ..Described::default()
    })
}

/// `const A = B{C}` and `const A{T} = …` give a type another name.
fn constant<'t>(node: Node<'t>, source: &[u8]) -> Option<Described<'t>> {
    let binding = child(node, "assignment")?;
    let is_type = |at| {
        let part = binding.named_child(at);
        part.is_some_and(|part| part.kind() == "parametrized_type_expression")
    };
    if is_type(0) || is_type(2) {
        return Some(Described {
            kind: Some("type"),
            name: Some(name_of(binding.named_child(0)?, source)?.name),
            body: Some(node),
            signature_end: Some(node.end_byte()),
            ..Described::default()
        });
    }
    assignment(binding, source)
}

fn typed<'t>(node: Node<'t>, kind: &'static str, source: &[u8]) -> Option<Described<'t>> {
    let head = child(node, "type_head")?;
    Some(Described {
        kind: Some(kind),
        name: Some(name_of(head, source)?.name),
        body: Some(node),
        signature_end: Some(head.end_byte()),
        ..Described::default()
    })
}

/// `if VERSION < v"1.9"` around definitions; any other condition is a statement.
fn conditional<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let is_outside = outermost(node).parent().is_some_and(is_outside);
    let mut cursor = node.walk();
    let holds_definitions = is_outside
        && node.named_children(&mut cursor).any(|inner| {
            let inner = undecorated(inner).unwrap_or(inner);
            described(inner, source).is_some()
        });
    if holds_definitions {
        Verdict::Open
    } else {
        Verdict::Gathered(Class::Other)
    }
}

/// Tells whether definitions in a node are those of a file or a module.
fn is_outside(node: Node<'_>) -> bool {
    node.is_error() || matches!(node.kind(), "source_file" | "module_definition")
}

/// Returns a definition with the macros before it.
fn outermost(node: Node<'_>) -> Node<'_> {
    let mut node = node;
    for _ in 0..2 * MAX_FOLLOWED {
        match node.parent() {
            Some(parent)
                if matches!(
                    parent.kind(),
                    "macro_argument_list" | "macrocall_expression" | "const_statement"
                ) =>
            {
                node = parent;
            }
            _ => break,
        }
    }
    node
}

fn macro_arguments(node: Node<'_>) -> Option<Node<'_>> {
    child(node, "macro_argument_list").or_else(|| child(node, "argument_list"))
}

/// Returns what stands behind the macros of `@inline @generated function …`.
fn undecorated(node: Node<'_>) -> Option<Node<'_>> {
    let mut node = node;
    for _ in 0..MAX_FOLLOWED {
        if node.kind() != "macrocall_expression" {
            return Some(node);
        }
        let arguments = child(node, "macro_argument_list")?;
        let mut cursor = arguments.walk();
        let inner = arguments.named_children(&mut cursor).find(|argument| {
            let kind = argument.kind();
            let is_block = matches!(kind, "if_statement" | "compound_statement" | "assignment");
            is_block
                || kind == "macrocall_expression"
                || kind == "const_statement"
                || kind.ends_with("_definition")
        });
        node = inner?;
    }
    None
}

/// A macro before a definition belongs to it; some macros define by themselves.
fn macro_call<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let word = child(node, "macro_identifier").and_then(|word| source.get(word.byte_range()));
    let known = match word.unwrap_or_default() {
        b"@enum" | b"@enumx" => enumeration(node, source),
        b"@testset" | b"@testitem" | b"@safetestset" => return test(node, source),
        b"@doc" => return documented(node, source),
        _ => None,
    };
    let inner = undecorated(node);
    match known.or_else(|| described(inner?, source)) {
        Some(described) => Verdict::Is(described),
        None => inner.map_or(Verdict::Gathered(Class::Other), |block| {
            // `@static if …` and `@eval begin … end`
            match block.kind() {
                "if_statement" | "compound_statement" => conditional(block, source),
                _ => Verdict::Gathered(Class::Other),
            }
        }),
    }
}

fn enumeration<'t>(node: Node<'t>, source: &[u8]) -> Option<Described<'t>> {
    let first = macro_arguments(node)?.named_child(0)?;
    Some(Described {
        kind: Some("enum"),
        name: Some(text(head_of(first)?, source)),
        signature_end: Some(first.end_byte()),
        ..Described::default()
    })
}

fn test<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let arguments = child(node, "macro_argument_list");
    let title = arguments.and_then(|arguments| child(arguments, "string_literal"));
    let body = arguments.and_then(|arguments| {
        child(arguments, "compound_statement").or_else(|| child(arguments, "for_statement"))
    });
    let (Some(title), Some(body)) = (title, body) else {
        return Verdict::Gathered(Class::Other);
    };
    let mut cursor = body.walk();
    let holds_tests = body.named_children(&mut cursor).any(|inner| {
        let word = child(inner, "macro_identifier");
        word.is_some_and(|word| source.get(word.byte_range()) == Some(b"@testset"))
    });
    let group = holds_tests && body.kind() == "compound_statement";
    Verdict::Is(Described {
        kind: Some(if group { "block" } else { "function" }),
        shape: group.then_some(Shape::Group),
        name: Some(text(title, source).trim_matches('"').to_owned()),
        signature_end: Some(title.end_byte()),
        ..Described::default()
    })
}

fn documentation(node: Node<'_>, source: &[u8]) -> Option<String> {
    crate::text::docstring(source.get(node.byte_range())?)
}

/// `@doc raw"…"` documents what follows it, on its own line or on the next.
fn documented<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let arguments = child(node, "macro_argument_list");
    let literal = arguments.and_then(|arguments| arguments.named_child(0));
    let doc = literal
        .filter(|literal| literal.kind().ends_with("string_literal"))
        .and_then(|literal| documentation(literal, source));
    if arguments.is_some_and(|arguments| arguments.named_child_count() == 1) {
        return Verdict::Attribute(doc);
    }
    match undecorated(node).and_then(|inner| described(inner, source)) {
        Some(described) => Verdict::Is(Described { doc, ..described }),
        None => Verdict::Gathered(Class::Other),
    }
}

/// A string before a definition documents it; elsewhere it is a value.
fn docstring<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let is_statement = node.parent().is_some_and(|parent| {
        is_outside(parent)
            || matches!(
                parent.kind(),
                "struct_definition" | "if_statement" | "compound_statement" | "else_clause"
            )
    });
    if is_statement && node.next_named_sibling().is_some() {
        Verdict::Attribute(documentation(node, source))
    } else {
        Verdict::Gathered(Class::Other)
    }
}

fn call<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let called = node
        .named_child(0)
        .and_then(|called| source.get(called.byte_range()));
    Verdict::Gathered(if called == Some(b"include") {
        Class::Import
    } else {
        Class::Other
    })
}
