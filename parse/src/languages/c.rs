//! Rules for C and C++.

use tree_sitter::Node;

use crate::language::{
    Class, Cut, Described, Grammar, Language, Outline, Role, Rule, Shape, Verdict, named, text,
    with_body,
};

use Role::{Comment, Definition, Gathered, Transparent, Wrapper};

pub(crate) static C: Language = Language {
    name: "c",
    extensions: &["c", "h"],
    file_names: &[],
    shebangs: &[],
    separator: ".",
    loose: "block",
    cut: Cut::Syntax(Grammar {
        load: || tree_sitter_c::LANGUAGE.into(),
        outline: Outline::Definitions,
        rules: &[
            FUNCTION,
            DECLARATION,
            TYPEDEF,
            ENUM,
            UNION,
            INCLUDE,
            DEFINE,
            MACRO,
            IFDEF,
            IF,
            ELSE,
            ELIF,
            ELIFDEF,
            LINKAGE,
            DECLARATIONS,
            COMMENT,
            Rule::new(
                "struct_specifier",
                Definition(Shape::Leaf, "struct", with_body),
            ),
        ],
    }),
};

pub(crate) static CPP: Language = Language {
    name: "cpp",
    extensions: &[
        "cc", "cpp", "cxx", "c++", "hh", "hpp", "hxx", "h++", "ipp", "inl", "tpp", "cu", "cuh",
    ],
    file_names: &[],
    shebangs: &[],
    separator: "::",
    loose: "block",
    cut: Cut::Syntax(Grammar {
        load: || tree_sitter_cpp::LANGUAGE.into(),
        outline: Outline::Definitions,
        rules: &[
            FUNCTION,
            DECLARATION,
            TYPEDEF,
            ENUM,
            UNION,
            INCLUDE,
            DEFINE,
            MACRO,
            IFDEF,
            IF,
            ELSE,
            ELIF,
            ELIFDEF,
            LINKAGE,
            DECLARATIONS,
            COMMENT,
            Rule::new(
                "struct_specifier",
                Definition(Shape::Container, "struct", with_body),
            ),
            Rule::new(
                "class_specifier",
                Definition(Shape::Container, "class", with_body),
            ),
            Rule::new(
                "namespace_definition",
                Definition(Shape::Container, "module", named),
            ),
            Rule::new("template_declaration", Wrapper),
            Rule::new("alias_declaration", Definition(Shape::Leaf, "type", named)),
            Rule::new("concept_definition", Definition(Shape::Leaf, "type", named)),
            Rule::new("using_declaration", Gathered(Class::Import)),
            Rule::new("namespace_alias_definition", Gathered(Class::Import)),
        ],
    }),
};

const FUNCTION: Rule = Rule::new(
    "function_definition",
    Definition(Shape::Leaf, "function", function),
);
const DECLARATION: Rule = Rule::new(
    "declaration",
    Definition(Shape::Leaf, "struct", declaration),
);
const TYPEDEF: Rule = Rule::new("type_definition", Definition(Shape::Leaf, "type", typedef));
const ENUM: Rule = Rule::new("enum_specifier", Definition(Shape::Leaf, "enum", with_body));
const UNION: Rule = Rule::new(
    "union_specifier",
    Definition(Shape::Leaf, "union", with_body),
);
const INCLUDE: Rule = Rule::new("preproc_include", Gathered(Class::Import));
const DEFINE: Rule = Rule::new("preproc_def", Gathered(Class::Constant));
const MACRO: Rule = Rule::new(
    "preproc_function_def",
    Definition(Shape::Leaf, "macro", macro_definition),
);
const IFDEF: Rule = Rule::new("preproc_ifdef", Transparent);
const IF: Rule = Rule::new("preproc_if", Transparent);
const ELSE: Rule = Rule::new("preproc_else", Transparent);
const ELIF: Rule = Rule::new("preproc_elif", Transparent);
const ELIFDEF: Rule = Rule::new("preproc_elifdef", Transparent);
const LINKAGE: Rule = Rule::new("linkage_specification", Transparent);
const DECLARATIONS: Rule = Rule::new("declaration_list", Transparent);
const COMMENT: Rule = Rule::new("comment", Comment);

/// How deep a declarator is followed to its name.
const MAX_DECLARATOR: usize = 32;

/// Follows `*(*name)(…)[…]` to the node that holds the name.
fn declared(node: Node<'_>) -> Option<Node<'_>> {
    let mut node = node.child_by_field_name("declarator")?;
    for _ in 0..MAX_DECLARATOR {
        let inner = node
            .child_by_field_name("declarator")
            .or_else(|| match node.kind() {
                "parenthesized_declarator" | "reference_declarator" | "attributed_declarator" => {
                    node.named_child(0)
                }
                _ => None,
            });
        match inner {
            Some(inner) => node = inner,
            None => break,
        }
    }
    Some(node)
}

fn function<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let mut described = Described::from_fields(node, source);
    if let Some(name) = declared(node) {
        let (qualifier, name) = split_qualified(name, source);
        described.name = Some(name);
        if qualifier.is_some() {
            described.qualifier = qualifier;
            described.kind = Some("method");
        }
    }
    if described.body.is_some() {
        Verdict::Is(described)
    } else {
        // `= default`, `= delete` and pure virtual functions declare only.
        Verdict::Gathered(Class::Other)
    }
}

/// Splits `a::B<T>::c` into `a::B` and `c`.
fn split_qualified(node: Node<'_>, source: &[u8]) -> (Option<String>, String) {
    let mut node = node;
    let mut qualifier = Vec::new();
    for _ in 0..MAX_DECLARATOR {
        if node.kind() != "qualified_identifier" {
            break;
        }
        if let Some(scope) = node.child_by_field_name("scope") {
            let scope = scope.child_by_field_name("name").unwrap_or(scope);
            qualifier.push(text(scope, source));
        }
        match node.child_by_field_name("name") {
            Some(name) => node = name,
            None => break,
        }
    }
    let name = match node.kind() {
        // `operator bool() const`: the type is the name, the parentheses are not.
        "operator_cast" => {
            let full = text(node, source);
            let end = full.find('(').unwrap_or(full.len());
            full.get(..end).unwrap_or(&full).trim().to_owned()
        }
        "template_function" | "template_method" => node
            .child_by_field_name("name")
            .map_or_else(|| text(node, source), |name| text(name, source)),
        _ => text(node, source),
    };
    ((!qualifier.is_empty()).then(|| qualifier.join("::")), name)
}

/// `struct a { … } b;` defines a type; `int a = 1;` a constant; a prototype neither.
fn declaration<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    if let Some(described) = node
        .child_by_field_name("type")
        .and_then(|inner| aggregate(inner, source))
        && described.name.is_some()
    {
        return Verdict::Is(described);
    }
    let is_prototype = node
        .child_by_field_name("declarator")
        .is_some_and(|declarator| declarator.kind().contains("function"));
    Verdict::Gathered(if is_prototype {
        Class::Other
    } else {
        Class::Constant
    })
}

fn typedef<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let inner = node
        .child_by_field_name("type")
        .and_then(|inner| aggregate(inner, source));
    Verdict::Is(Described {
        name: declared(node).map(|name| text(name, source)),
        ..inner.unwrap_or_default()
    })
}

/// Describes a struct, union, enum or class that is defined inside a declaration.
fn aggregate<'t>(node: Node<'t>, source: &[u8]) -> Option<Described<'t>> {
    let kind = match node.kind() {
        "struct_specifier" => "struct",
        "union_specifier" => "union",
        "enum_specifier" => "enum",
        "class_specifier" => "class",
        _ => return None,
    };
    let described = Described::from_fields(node, source);
    described.body.is_some().then_some(Described {
        kind: Some(kind),
        ..described
    })
}

fn macro_definition<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    Verdict::Is(Described {
        name: node
            .child_by_field_name("name")
            .map(|name| text(name, source)),
        signature_end: node
            .child_by_field_name("parameters")
            .map(|parameters| parameters.end_byte()),
        ..Described::default()
    })
}

/// How much of a header is looked at to tell C++ from C.
const SNIFF: usize = 64 * 1024;

/// Tells whether a `.h` file has lines that only C++ has.
pub(crate) fn looks_like_cpp(bytes: &[u8]) -> bool {
    let head = bytes.get(..bytes.len().min(SNIFF)).unwrap_or_default();
    head.split(|&byte| byte == b'\n').any(is_cpp_line)
}

fn is_cpp_line(line: &[u8]) -> bool {
    let line = line.trim_ascii();
    let starts = |prefix: &str| line.starts_with(prefix.as_bytes());
    let ends = |suffix: &str| line.ends_with(suffix.as_bytes());
    starts("namespace ")
        || starts("template <")
        || starts("template<")
        || starts("using namespace ")
        || starts("public:")
        || starts("private:")
        || starts("protected:")
        || starts("#include <string>")
        || starts("#include <vector>")
        || starts("#include <memory>")
        || (starts("class ") && (ends("{") || ends(";")))
}
