//! Rules for Dart.

use tree_sitter::Node;

use crate::language::{
    Class, Cut, Described, Grammar, Language, Outline, Role, Rule, Shape, Verdict, child, named,
    text,
};

use Role::{Attribute, Comment, Definition, Gathered, Wrapper};

pub(crate) static LANGUAGE: Language = Language {
    name: "dart",
    extensions: &["dart"],
    file_names: &[],
    shebangs: &["dart"],
    separator: ".",
    loose: "block",
    cut: Cut::Syntax(Grammar {
        load: || tree_sitter_dart::LANGUAGE.into(),
        outline: Outline::Definitions,
        rules: &[
            Rule::new(
                "class_declaration",
                Definition(Shape::Container, "class", class),
            ),
            Rule::new(
                "mixin_declaration",
                Definition(Shape::Container, "trait", named),
            ),
            Rule::new(
                "extension_declaration",
                Definition(Shape::Container, "impl", extension),
            ),
            Rule::new(
                "extension_type_declaration",
                Definition(Shape::Container, "class", extension_type),
            ),
            Rule::new(
                "enum_declaration",
                Definition(Shape::Container, "enum", named),
            ),
            Rule::new("type_alias", Definition(Shape::Leaf, "type", alias)),
            Rule::new(
                "function_declaration",
                Definition(Shape::Leaf, "function", function),
            ),
            Rule::new(
                "getter_declaration",
                Definition(Shape::Leaf, "function", function),
            ),
            Rule::new(
                "setter_declaration",
                Definition(Shape::Leaf, "function", function),
            ),
            Rule::new(
                "local_function_declaration",
                Definition(Shape::Leaf, "function", function),
            ),
            Rule::new(
                "method_declaration",
                Definition(Shape::Leaf, "method", function),
            ),
            Rule::new(
                "declaration",
                Definition(Shape::Leaf, "method", declaration),
            ),
            Rule::new("member_declaration", Wrapper),
            Rule::new("top_level_variable_declaration", Gathered(Class::Constant)),
            Rule::new("external_variable_declaration", Gathered(Class::Constant)),
            Rule::new("library_name", Gathered(Class::Import)),
            Rule::new("import_or_export", Gathered(Class::Import)),
            Rule::new("part_directive", Gathered(Class::Import)),
            Rule::new("part_of_directive", Gathered(Class::Import)),
            Rule::new("script_tag", Gathered(Class::Comment)),
            Rule::new("annotation", Attribute),
            Rule::new("comment", Comment),
            Rule::new("documentation_comment", Comment),
        ],
    }),
};

/// An `interface class` is an interface; `class A = B with C;` has no body.
fn class<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let described = Described::from_fields(node, source);
    let applied = || {
        let name = child(child(node, "mixin_application_class")?, "identifier")?;
        Some(text(name, source))
    };
    let mut cursor = node.walk();
    let is_interface = node
        .children(&mut cursor)
        .any(|modifier| modifier.kind() == "interface");
    Verdict::Is(Described {
        kind: is_interface.then_some("interface"),
        name: described.name.or_else(applied),
        body: described.body,
        ..Described::default()
    })
}

/// An extension without a name goes by the type that it extends.
fn extension<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let name = node
        .child_by_field_name("name")
        .or_else(|| node.child_by_field_name("class"));
    Verdict::Is(Described {
        name: name.map(|name| text(name, source)),
        body: node.child_by_field_name("body"),
        ..Described::default()
    })
}

/// The name of an extension type may hold that of its constructor: `Id._(int value)`.
fn extension_type<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let name = node.child_by_field_name("name");
    let name = name.map(|name| child(name, "identifier").unwrap_or(name));
    Verdict::Is(Described {
        name: name.map(|name| text(name, source)),
        body: node.child_by_field_name("body"),
        ..Described::default()
    })
}

fn alias<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    Verdict::Is(Described {
        name: child(node, "type_identifier").map(|name| text(name, source)),
        ..Described::default()
    })
}

fn function<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let signature = signature(node);
    Verdict::Is(Described {
        name: signature.and_then(|signature| signature_name(signature, source)),
        body: child(node, "function_body"),
        signature_end: signature.map(|signature| signature.end_byte()),
        ..Described::default()
    })
}

/// Fields, abstract methods and constructors without a body are one node; a constructor
/// that only takes its fields is read best beside them.
fn declaration<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let Some(signature) = signature(node) else {
        return Verdict::Gathered(Class::Constant);
    };
    let body = child(node, "initializers").or_else(|| child(node, "redirection"));
    if body.is_none() && signature.kind() != "redirecting_factory_constructor_signature" {
        return Verdict::Gathered(Class::Other);
    }
    Verdict::Is(Described {
        name: signature_name(signature, source),
        body,
        signature_end: Some(signature.end_byte()),
        ..Described::default()
    })
}

/// Finds the node that holds the name and the parameters.
fn signature(node: Node<'_>) -> Option<Node<'_>> {
    let outer = signature_in(node)?;
    Some(signature_in(outer).unwrap_or(outer))
}

fn signature_in(node: Node<'_>) -> Option<Node<'_>> {
    let mut cursor = node.walk();
    node.named_children(&mut cursor)
        .find(|part| part.kind().ends_with("_signature"))
}

/// Returns the `named` of a constructor `Type.named`, and `operator ==` of an operator.
fn signature_name(node: Node<'_>, source: &[u8]) -> Option<String> {
    if let Some(operator) = node.child_by_field_name("operator") {
        return Some(format!("operator {}", text(operator, source)));
    }
    let mut cursor = node.walk();
    let name = node.children_by_field_name("name", &mut cursor).last()?;
    Some(text(name, source))
}
