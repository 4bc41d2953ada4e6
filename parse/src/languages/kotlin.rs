//! Rules for Kotlin.

use tree_sitter::Node;

use crate::language::{
    Class, Cut, Described, Grammar, Language, Outline, Role, Rule, Shape, Verdict, child, text,
};

use Role::{Attribute, Comment, Definition, Gathered};

pub(crate) static LANGUAGE: Language = Language {
    name: "kotlin",
    extensions: &["kt", "kts", "ktm"],
    file_names: &[],
    shebangs: &["kotlin", "kotlinc", "kscript"],
    separator: ".",
    loose: "block",
    cut: Cut::Syntax(Grammar {
        load: || tree_sitter_kotlin_ng::LANGUAGE.into(),
        outline: Outline::Definitions,
        rules: &[
            Rule::new(
                "class_declaration",
                Definition(Shape::Container, "class", class),
            ),
            Rule::new(
                "object_declaration",
                Definition(Shape::Container, "class", class),
            ),
            Rule::new(
                "companion_object",
                Definition(Shape::Container, "class", companion),
            ),
            Rule::new(
                "function_declaration",
                Definition(Shape::Leaf, "function", function),
            ),
            Rule::new(
                "secondary_constructor",
                Definition(Shape::Leaf, "method", constructor),
            ),
            Rule::new(
                "property_declaration",
                Definition(Shape::Leaf, "function", property),
            ),
            Rule::new("type_alias", Definition(Shape::Leaf, "type", alias)),
            Rule::new("import", Gathered(Class::Import)),
            Rule::new("package_header", Gathered(Class::Import)),
            Rule::new("file_annotation", Gathered(Class::Import)),
            Rule::new("annotation", Attribute),
            Rule::new("line_comment", Comment),
            Rule::new("block_comment", Comment),
        ],
    }),
};

/// A property of fewer bytes that computes nothing is gathered with its neighbours.
const SMALL_CONSTANT: usize = 256;

/// Returns a name; one that is a sentence without its back quotes.
fn plain(name: Node<'_>, source: &[u8]) -> String {
    text(name, source).trim_matches('`').to_owned()
}

fn name_of(node: Node<'_>, source: &[u8]) -> Option<String> {
    let name = node.child_by_field_name("name")?;
    Some(plain(name, source))
}

fn has_modifier(node: Node<'_>, modifier: &[u8], source: &[u8]) -> bool {
    child(node, "modifiers").is_some_and(|modifiers| {
        let mut cursor = modifiers.walk();
        modifiers
            .named_children(&mut cursor)
            .any(|child| source.get(child.byte_range()) == Some(modifier))
    })
}

/// `class`, `interface` and `enum class` are one node.
fn class<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let mut cursor = node.walk();
    let is_interface = node
        .children(&mut cursor)
        .any(|child| child.kind() == "interface");
    // The body does not tell: an interface on one line has that of an enum.
    let is_enum = has_modifier(node, b"enum", source);
    let kind = if is_enum {
        Some("enum")
    } else {
        is_interface.then_some("interface")
    };
    Verdict::Is(Described {
        kind,
        name: name_of(node, source),
        body: child(node, "class_body").or_else(|| child(node, "enum_class_body")),
        ..Described::default()
    })
}

/// A companion object without a name is called `Companion`.
fn companion<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let name = name_of(node, source).unwrap_or_else(|| "Companion".to_owned());
    Verdict::Is(Described {
        name: Some(name),
        body: child(node, "class_body"),
        ..Described::default()
    })
}

/// Returns the type that an extension is for, without its arguments: it stands right
/// before the name.
fn receiver(name: Node<'_>, source: &[u8]) -> Option<String> {
    let before = name.prev_named_sibling()?;
    let class = match before.kind() {
        "user_type" => before,
        "nullable_type" | "parenthesized_type" => child(before, "user_type")?,
        _ => return None,
    };
    let mut cursor = class.walk();
    let parts = class.named_children(&mut cursor);
    let parts = parts.filter(|part| part.kind() == "identifier");
    let parts: Vec<String> = parts.map(|part| plain(part, source)).collect();
    (!parts.is_empty()).then(|| parts.join("."))
}

/// What an interface or a class only declares belongs to that; an `expect class` declares
/// all that it has, at length.
fn function<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let body = child(node, "function_body");
    let class = node
        .parent()
        .filter(|parent| parent.kind() == "class_body")
        .and_then(|body| body.parent());
    if body.is_none() && class.is_some_and(|class| !has_modifier(class, b"expect", source)) {
        return Verdict::Gathered(Class::Other);
    }
    let name = node.child_by_field_name("name");
    Verdict::Is(Described {
        name: name.map(|name| plain(name, source)),
        qualifier: name.and_then(|name| receiver(name, source)),
        body,
        ..Described::default()
    })
}

fn constructor<'t>(node: Node<'t>, _: &[u8]) -> Verdict<'t> {
    Verdict::Is(Described {
        name: Some("constructor".to_owned()),
        body: child(node, "block"),
        ..Described::default()
    })
}

/// A property that computes is a function; one that only stores is a field, and what a
/// function keeps is a part of that.
fn property<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let mut cursor = node.walk();
    let mut accessors = node
        .named_children(&mut cursor)
        .filter(|child| matches!(child.kind(), "getter" | "setter"));
    let first = accessors.next();
    let mut accessors = first.into_iter().chain(accessors);
    let computes = accessors.any(|accessor| child(accessor, "function_body").is_some());
    let variable = child(node, "variable_declaration");
    let is_small = node.end_byte() - node.start_byte() < SMALL_CONSTANT;
    let is_member = node
        .parent()
        .is_some_and(|parent| matches!(parent.kind(), "source_file" | "class_body"));
    let is_large = is_member && !is_small;
    let Some(variable) = variable.filter(|_| computes || is_large) else {
        return Verdict::Gathered(Class::Constant);
    };
    Verdict::Is(Described {
        kind: (!computes).then_some("constant"),
        name: child(variable, "identifier").map(|name| plain(name, source)),
        qualifier: receiver(variable, source),
        body: first.filter(|_| computes),
        signature_end: (!computes).then(|| variable.end_byte()),
        ..Described::default()
    })
}

fn alias<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let name = node.child_by_field_name("type");
    Verdict::Is(Described {
        name: name.map(|name| plain(name, source)),
        ..Described::default()
    })
}
