//! Rules for PHP, in files that may be HTML outside of its tags.

use tree_sitter::Node;

use crate::language::{
    Class, Cut, Described, Grammar, Language, Outline, Role, Rule, Shape, Verdict, child, named,
    text, with_body,
};

use Role::{Attribute, Comment, Definition, Gathered, Wrapper};

pub(crate) static LANGUAGE: Language = Language {
    name: "php",
    extensions: &[
        "php", "aw", "ctp", "php3", "php4", "php5", "phps", "phpt", "phtml",
    ],
    file_names: &[".php_cs", ".php_cs.dist", "Phakefile"],
    shebangs: &["php"],
    separator: "::",
    loose: "block",
    cut: Cut::Syntax(Grammar {
        load: || tree_sitter_php::LANGUAGE_PHP.into(),
        outline: Outline::Definitions,
        rules: &[
            Rule::new(
                "namespace_definition",
                Definition(Shape::Container, "module", namespace),
            ),
            Rule::new(
                "class_declaration",
                Definition(Shape::Container, "class", in_namespace),
            ),
            Rule::new(
                "interface_declaration",
                Definition(Shape::Container, "interface", in_namespace),
            ),
            Rule::new(
                "trait_declaration",
                Definition(Shape::Container, "trait", in_namespace),
            ),
            Rule::new(
                "enum_declaration",
                Definition(Shape::Container, "enum", in_namespace),
            ),
            Rule::new(
                "object_creation_expression",
                Definition(Shape::Container, "class", creation),
            ),
            Rule::new(
                "anonymous_class",
                Definition(Shape::Container, "class", anonymous),
            ),
            Rule::new(
                "function_definition",
                Definition(Shape::Leaf, "function", in_namespace),
            ),
            Rule::new(
                "method_declaration",
                Definition(Shape::Leaf, "method", method),
            ),
            Rule::new(
                "property_declaration",
                Definition(Shape::Leaf, "method", property),
            ),
            Rule::new(
                "expression_statement",
                Definition(Shape::Leaf, "function", statement),
            ),
            Rule::new(
                "if_statement",
                Definition(Shape::Group, "block", conditional),
            ),
            Rule::new("return_statement", Wrapper),
            Rule::new("const_declaration", Gathered(Class::Constant)),
            Rule::new("enum_case", Gathered(Class::Constant)),
            Rule::new("namespace_use_declaration", Gathered(Class::Import)),
            Rule::new("use_declaration", Gathered(Class::Import)),
            Rule::new("declare_statement", Gathered(Class::Import)),
            Rule::new("php_tag", Gathered(Class::Comment)),
            Rule::new("attribute_list", Attribute),
            Rule::new("comment", Comment),
        ],
    }),
};

/// `namespace A;` encloses nothing in the tree.
fn namespace<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    match with_body(node, source) {
        Verdict::Gathered(_) => Verdict::Gathered(Class::Import),
        namespace => namespace,
    }
}

/// How many nodes are climbed to the file: a condition, a body.
const MAX_CLIMB: usize = 4;

/// How many entries of a file are searched for its namespace.
const MAX_BEFORE_NAMESPACE: usize = 16;

/// A class or a function is `Namespace\Name`.
fn in_namespace<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    Verdict::Is(Described {
        namespace: namespace_of(node, source),
        joint: Some("\\"),
        ..Described::from_fields(node, source)
    })
}

fn namespace_of(node: Node<'_>, source: &[u8]) -> Option<String> {
    let mut above = node.parent()?;
    for _ in 0..MAX_CLIMB {
        if above.kind() == "program" {
            break;
        }
        above = above.parent()?;
    }
    let mut cursor = above.walk();
    let mut entries = above.named_children(&mut cursor).take(MAX_BEFORE_NAMESPACE);
    let namespace = entries.find(|entry| entry.kind() == "namespace_definition")?;
    if namespace.child_by_field_name("body").is_some() {
        return None;
    }
    namespace
        .child_by_field_name("name")
        .map(|name| text(name, source))
}

/// An abstract method is part of what a class does; those of an interface stay together.
fn method<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    if child(node, "abstract_modifier").is_some() {
        named(node, source)
    } else {
        with_body(node, source)
    }
}

/// Looks into `new class { … }`.
fn creation<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    match child(node, "anonymous_class") {
        Some(class) => anonymous(class, source),
        None => Verdict::Gathered(Class::Other),
    }
}

/// A class without a name is called after what it extends, as PHP itself does.
fn anonymous<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let base = child(node, "base_clause").or_else(|| child(node, "class_interface_clause"));
    let base = base.and_then(|clause| clause.named_child(0));
    let base = base.map_or_else(|| "class".to_owned(), |base| text(base, source));
    Verdict::Is(Described {
        name: Some(format!("{base}@anonymous")),
        body: node.child_by_field_name("body"),
        ..Described::default()
    })
}

/// A property that computes is a method; one that only stores is a field.
fn property<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let name =
        child(node, "property_element").and_then(|element| element.child_by_field_name("name"));
    match child(node, "property_hook_list") {
        Some(hooks) => Verdict::Is(Described {
            name: name.map(|name| text(name, source)),
            body: Some(hooks),
            ..Described::default()
        }),
        None => Verdict::Gathered(Class::Constant),
    }
}

/// `$f = function () { … };` is a function, `require` an import, all else that is
/// assigned or defined a constant.
fn statement<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let Some(expression) = node.named_child(0) else {
        return Verdict::Gathered(Class::Other);
    };
    match expression.kind() {
        "require_expression"
        | "require_once_expression"
        | "include_expression"
        | "include_once_expression" => Verdict::Gathered(Class::Import),
        "function_call_expression" => {
            let name = expression.child_by_field_name("function");
            match name.and_then(|name| source.get(name.byte_range())) {
                Some(b"define") => Verdict::Gathered(Class::Constant),
                Some(b"it" | b"test") => test(expression, source),
                _ => Verdict::Gathered(Class::Other),
            }
        }
        "assignment_expression" => {
            let left = expression.child_by_field_name("left");
            let Some(name) = left.filter(|left| left.kind() == "variable_name") else {
                return Verdict::Gathered(Class::Other);
            };
            let value = expression.child_by_field_name("right");
            match value.filter(|value| is_function(*value)) {
                Some(function) => Verdict::Is(Described {
                    name: Some(text(name, source)),
                    body: function.child_by_field_name("body"),
                    ..Described::default()
                }),
                None => Verdict::Gathered(Class::Constant),
            }
        }
        _ => Verdict::Gathered(Class::Other),
    }
}

fn is_function(value: Node<'_>) -> bool {
    matches!(value.kind(), "anonymous_function" | "arrow_function")
}

/// `it('adds', function () { … });` is named for what it tests.
fn test<'t>(call: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let Some(arguments) = call.child_by_field_name("arguments") else {
        return Verdict::Gathered(Class::Other);
    };
    let argument = |at| arguments.named_child(at)?.named_child(0);
    let title = argument(0).filter(|title| matches!(title.kind(), "string" | "encapsed_string"));
    let function = argument(1).filter(|function| is_function(*function));
    match (title, function) {
        (Some(title), Some(function)) => Verdict::Is(Described {
            name: Some(text(title, source).trim_matches(['\'', '"']).to_owned()),
            body: function.child_by_field_name("body"),
            ..Described::default()
        }),
        _ => Verdict::Gathered(Class::Other),
    }
}

/// `if (!function_exists('f')) { function f() { … } }` is looked into; a condition
/// around a single statement, such as a `define`, is what that is.
fn conditional<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let Some(body) = node.child_by_field_name("body") else {
        return Verdict::Gathered(Class::Other);
    };
    let mut cursor = body.walk();
    let defines = body.named_children(&mut cursor).any(|statement| {
        matches!(
            statement.kind(),
            "function_definition"
                | "class_declaration"
                | "interface_declaration"
                | "trait_declaration"
        )
    });
    if defines {
        return Verdict::Is(Described {
            body: Some(body),
            ..Described::default()
        });
    }
    let only = body
        .named_child(0)
        .filter(|only| body.named_child_count() == 1 && only.kind() == "expression_statement");
    match only.map(|only| statement(only, source)) {
        Some(Verdict::Gathered(class)) => Verdict::Gathered(class),
        _ => Verdict::Gathered(Class::Other),
    }
}
