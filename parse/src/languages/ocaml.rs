//! Rules for OCaml and its interface files.

use tree_sitter::Node;

use crate::language::{
    Class, Cut, Described, Grammar, Language, Outline, Role, Rule, Shape, Verdict, child, text,
};

use Role::{CommentEither, Definition, Gathered};

pub(crate) static OCAML: Language = Language {
    name: "ocaml",
    extensions: &["ml", "ml4", "eliom"],
    file_names: &[".ocamlinit"],
    shebangs: &["ocaml", "ocamlrun", "ocamlscript"],
    separator: ".",
    loose: "block",
    cut: Cut::Syntax(Grammar {
        load: || tree_sitter_ocaml::LANGUAGE_OCAML.into(),
        outline: Outline::Definitions,
        rules: RULES,
    }),
};

pub(crate) static INTERFACE: Language = Language {
    name: "ocaml_interface",
    extensions: &["mli", "eliomi"],
    file_names: &[],
    shebangs: &[],
    separator: ".",
    loose: "block",
    cut: Cut::Syntax(Grammar {
        load: || tree_sitter_ocaml::LANGUAGE_OCAML_INTERFACE.into(),
        outline: Outline::Definitions,
        rules: RULES,
    }),
};

const RULES: &[Rule] = &[
    Rule::new(
        "value_definition",
        Definition(Shape::Leaf, "function", values),
    ),
    Rule::new("let_binding", Definition(Shape::Leaf, "function", value)),
    Rule::new(
        "value_specification",
        Definition(Shape::Leaf, "function", specification),
    ),
    Rule::new(
        "external",
        Definition(Shape::Leaf, "function", specification),
    ),
    Rule::new("type_definition", Definition(Shape::Leaf, "type", types)),
    Rule::new(
        "type_binding",
        Definition(Shape::Leaf, "type", type_binding),
    ),
    Rule::new(
        "exception_definition",
        Definition(Shape::Leaf, "type", exception),
    ),
    Rule::new(
        "module_definition",
        Definition(Shape::Container, "module", modules),
    ),
    Rule::new(
        "module_binding",
        Definition(Shape::Container, "module", module),
    ),
    Rule::new(
        "module_type_definition",
        Definition(Shape::Container, "interface", module_type),
    ),
    Rule::new(
        "class_definition",
        Definition(Shape::Container, "class", classes),
    ),
    Rule::new(
        "class_binding",
        Definition(Shape::Container, "class", class),
    ),
    Rule::new(
        "class_type_definition",
        Definition(Shape::Leaf, "interface", class_types),
    ),
    Rule::new(
        "method_definition",
        Definition(Shape::Leaf, "method", class),
    ),
    Rule::new("open_module", Gathered(Class::Import)),
    Rule::new("include_module", Gathered(Class::Import)),
    Rule::new("include_module_type", Gathered(Class::Import)),
    Rule::new("comment", CommentEither),
];

/// A value of fewer bytes that is no function is gathered with its neighbours.
const SMALL_CONSTANT: usize = 256;

/// Describes a definition by its only binding; of `… and …` each binding is found inside.
fn only<'t>(
    node: Node<'t>,
    kind: &str,
    source: &[u8],
    describe: fn(Node<'t>, &[u8]) -> Verdict<'t>,
) -> Verdict<'t> {
    let mut cursor = node.walk();
    let mut bindings = node
        .named_children(&mut cursor)
        .filter(|child| child.kind() == kind);
    match (bindings.next(), bindings.next()) {
        (Some(only), None) => describe(only, source),
        (None, _) => Verdict::Gathered(Class::Other),
        (Some(_), Some(_)) => Verdict::Is(Described {
            shape: Some(Shape::Group),
            ..Described::default()
        }),
    }
}

fn values<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    only(node, "let_binding", source, value)
}

fn types<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    only(node, "type_binding", source, type_binding)
}

fn modules<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    only(node, "module_binding", source, module)
}

fn classes<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    only(node, "class_binding", source, class)
}

fn class_types<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    only(node, "class_type_binding", source, class)
}

/// Returns a name; an operator without its parentheses.
fn plain(name: Node<'_>, source: &[u8]) -> String {
    text(name, source).trim_matches(['(', ')', ' ']).to_owned()
}

/// `let f x = …` and `let f = fun x -> …` are functions, `let () = …` defines nothing.
fn value<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let body = node.child_by_field_name("body");
    let name = node
        .child_by_field_name("pattern")
        .filter(|name| matches!(name.kind(), "value_name" | "parenthesized_operator"));
    let Some(name) = name else {
        return Verdict::Gathered(Class::Other);
    };
    let is_function = child(node, "parameter").is_some()
        || body.is_some_and(|body| matches!(body.kind(), "fun_expression" | "function_expression"));
    if !is_function && node.end_byte() - node.start_byte() < SMALL_CONSTANT {
        return Verdict::Gathered(Class::Constant);
    }
    Verdict::Is(Described {
        kind: (!is_function).then_some("constant"),
        name: Some(plain(name, source)),
        body,
        ..Described::default()
    })
}

/// `val f : a -> b`; what a module type declares belongs to that.
fn specification<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let container = node.parent().and_then(|signature| signature.parent());
    if container.is_some_and(|container| container.kind() == "module_type_definition") {
        return Verdict::Gathered(Class::Other);
    }
    let is_function = node
        .child_by_field_name("type")
        .is_some_and(|kind| matches!(kind.kind(), "function_type" | "polymorphic_type"));
    let name = child(node, "value_name").or_else(|| child(node, "parenthesized_operator"));
    match name {
        Some(name) if is_function => Verdict::Is(Described {
            name: Some(plain(name, source)),
            ..Described::default()
        }),
        _ => Verdict::Gathered(Class::Constant),
    }
}

fn type_binding<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let body = node.child_by_field_name("body");
    let kind = body.and_then(|body| match body.kind() {
        "variant_declaration" => Some("enum"),
        "record_declaration" => Some("struct"),
        _ => None,
    });
    Verdict::Is(Described {
        kind,
        name: node
            .child_by_field_name("name")
            .map(|name| text(name, source)),
        // A synonym is told by what it stands for.
        body: body.filter(|_| kind.is_some()),
        ..Described::default()
    })
}

fn exception<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let name = child(node, "constructor_declaration")
        .and_then(|constructor| child(constructor, "constructor_name"));
    Verdict::Is(Described {
        name: name.map(|name| text(name, source)),
        ..Described::default()
    })
}

/// `module M = struct … end` holds definitions, `module M = N` only names others.
fn module<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let members = ["body", "module_type"]
        .into_iter()
        .filter_map(|field| node.child_by_field_name(field))
        .find(|body| matches!(body.kind(), "structure" | "signature"));
    match (members, child(node, "module_name")) {
        (Some(body), Some(name)) => Verdict::Is(Described {
            name: Some(text(name, source)),
            body: Some(body),
            ..Described::default()
        }),
        _ => Verdict::Gathered(Class::Import),
    }
}

fn module_type<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    Verdict::Is(Described {
        name: child(node, "module_type_name").map(|name| text(name, source)),
        body: node.child_by_field_name("body"),
        ..Described::default()
    })
}

/// Describes a class, a class type or a method, whose names are children without a field.
fn class<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let names = ["class_name", "class_type_name", "method_name"].into_iter();
    let name = names.filter_map(|kind| child(node, kind)).next();
    Verdict::Is(Described {
        name: name.map(|name| text(name, source)),
        body: node.child_by_field_name("body"),
        ..Described::default()
    })
}
