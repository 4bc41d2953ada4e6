//! Rules for Scala, in the notation of version 2 and of version 3.

use tree_sitter::Node;

use crate::language::{
    Class, Cut, Described, Grammar, Language, Outline, Role, Rule, Shape, Verdict, child, text,
    with_body,
};

use Role::{Attribute, Comment, Definition, Gathered};

pub(crate) static LANGUAGE: Language = Language {
    name: "scala",
    extensions: &["scala", "sc", "sbt", "kojo", "mill"],
    file_names: &[],
    shebangs: &["scala", "scala-cli", "amm"],
    separator: ".",
    loose: "block",
    cut: Cut::Syntax(Grammar {
        load: || tree_sitter_scala::LANGUAGE.into(),
        outline: Outline::Definitions,
        rules: &[
            Rule::new(
                "class_definition",
                Definition(Shape::Container, "class", named),
            ),
            Rule::new(
                "object_definition",
                Definition(Shape::Container, "class", named),
            ),
            Rule::new(
                "trait_definition",
                Definition(Shape::Container, "trait", named),
            ),
            Rule::new(
                "enum_definition",
                Definition(Shape::Container, "enum", named),
            ),
            Rule::new(
                "package_object",
                Definition(Shape::Container, "module", named),
            ),
            Rule::new(
                "package_clause",
                Definition(Shape::Container, "module", package),
            ),
            Rule::new(
                "given_definition",
                Definition(Shape::Container, "impl", given),
            ),
            Rule::new(
                "extension_definition",
                Definition(Shape::Container, "impl", extension),
            ),
            Rule::new(
                "function_definition",
                Definition(Shape::Leaf, "function", named),
            ),
            Rule::new("type_definition", Definition(Shape::Leaf, "type", named)),
            Rule::new("val_definition", Definition(Shape::Leaf, "constant", value)),
            Rule::new("var_definition", Definition(Shape::Leaf, "constant", value)),
            Rule::new("call_expression", Definition(Shape::Leaf, "function", test)),
            Rule::new("val_declaration", Gathered(Class::Constant)),
            Rule::new("var_declaration", Gathered(Class::Constant)),
            Rule::new("import_declaration", Gathered(Class::Import)),
            Rule::new("export_declaration", Gathered(Class::Import)),
            Rule::new("annotation", Attribute),
            Rule::new("comment", Comment),
            Rule::new("block_comment", Comment),
        ],
    }),
};

/// A value of fewer bytes is gathered with its neighbours.
const SMALL_CONSTANT: usize = 256;

/// Returns a name; one that is a keyword or a sentence without its back quotes.
fn plain(name: Node<'_>, source: &[u8]) -> String {
    text(name, source).trim_matches('`').to_owned()
}

fn named<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let name = node.child_by_field_name("name");
    Verdict::Is(Described {
        name: name.map(|name| plain(name, source)),
        body: node.child_by_field_name("body"),
        ..Described::default()
    })
}

/// A package without braces has the rest of the file for its body.
fn package<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    match with_body(node, source) {
        Verdict::Gathered(_) => Verdict::Gathered(Class::Import),
        package => package,
    }
}

/// A large value is a chunk of its own, a small one is gathered with its neighbours, and
/// what a function keeps is a part of that.
fn constant<'t>(node: Node<'t>, name: Option<Node<'t>>, source: &[u8]) -> Verdict<'t> {
    let is_small = node.end_byte() - node.start_byte() < SMALL_CONSTANT;
    let is_member = node.parent().is_some_and(|parent| {
        parent.kind() == "compilation_unit" || parent.kind().ends_with("_body")
    });
    let Some(name) = name.filter(|_| is_member && !is_small) else {
        return Verdict::Gathered(Class::Constant);
    };
    let fields = ["value", "body"].into_iter();
    Verdict::Is(Described {
        kind: Some("constant"),
        shape: Some(Shape::Leaf),
        name: Some(plain(name, source)),
        body: fields
            .filter_map(|field| node.child_by_field_name(field))
            .next(),
        ..Described::default()
    })
}

fn value<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let pattern = node.child_by_field_name("pattern");
    let name = pattern.filter(|pattern| pattern.kind() == "identifier");
    constant(node, name, source)
}

/// A given with members is an instance, which may have no name but its type.
fn given<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let fields = ["name", "return_type"].into_iter();
    let name = fields
        .filter_map(|field| node.child_by_field_name(field))
        .next();
    let body = node
        .child_by_field_name("body")
        .filter(|body| body.kind().ends_with("template_body"));
    if body.is_none() {
        return constant(node, name, source);
    }
    Verdict::Is(Described {
        name: name.map(|name| plain(name, source)),
        body,
        ..Described::default()
    })
}

/// An extension of one method is that method; one of several holds them.
fn extension<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let mut cursor = node.walk();
    let mut members = node
        .children_by_field_name("body", &mut cursor)
        .filter(|member| {
            matches!(
                member.kind(),
                "function_definition" | "function_declaration"
            )
        });
    let class = node
        .child_by_field_name("parameters")
        .and_then(|parameters| child(parameters, "parameter"))
        .and_then(|parameter| parameter.child_by_field_name("type"))
        .map(|class| class.child_by_field_name("type").unwrap_or(class))
        .map(|class| text(class, source));
    let first = members.next();
    match (first, members.next()) {
        (Some(only), None) => match with_body(only, source) {
            Verdict::Is(described) => Verdict::Is(Described {
                kind: Some("method"),
                shape: Some(Shape::Leaf),
                qualifier: class,
                ..described
            }),
            other => other,
        },
        _ => Verdict::Is(Described {
            name: class,
            body: first,
            ..Described::default()
        }),
    }
}

/// `test("…") { … }` of most test libraries; no other call defines anything.
fn test<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let body = node
        .child_by_field_name("arguments")
        .filter(|body| body.kind() == "block");
    let called = node
        .child_by_field_name("function")
        .filter(|called| body.is_some() && called.kind() == "call_expression");
    let is_test = |called: &Node<'_>| {
        let name = called.child_by_field_name("function");
        let name = name.and_then(|name| source.get(name.byte_range()));
        matches!(
            name,
            Some(b"test" | b"testAsync" | b"it" | b"describe" | b"property")
        )
    };
    let title = called
        .filter(is_test)
        .and_then(|called| called.child_by_field_name("arguments"))
        .and_then(|arguments| child(arguments, "string"));
    let Some(title) = title else {
        return Verdict::Gathered(Class::Other);
    };
    Verdict::Is(Described {
        name: Some(text(title, source).trim_matches('"').to_owned()),
        body,
        ..Described::default()
    })
}
