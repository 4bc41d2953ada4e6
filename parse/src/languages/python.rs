//! Rules for Python.

use tree_sitter::Node;

use crate::language::{
    Class, Cut, Described, Grammar, Language, Outline, Role, Rule, Shape, Verdict, named,
};
use crate::text;

use Role::{Attribute, Comment, Definition, Gathered, Wrapper};

pub(crate) static LANGUAGE: Language = Language {
    name: "python",
    extensions: &["py", "pyi", "pyw"],
    file_names: &["SConstruct", "SConscript", "wscript"],
    shebangs: &["python", "pypy"],
    separator: ".",
    loose: "block",
    cut: Cut::Syntax(Grammar {
        load: || tree_sitter_python::LANGUAGE.into(),
        outline: Outline::Definitions,
        rules: &[
            Rule::new(
                "function_definition",
                Definition(Shape::Leaf, "function", documented),
            ),
            Rule::new(
                "class_definition",
                Definition(Shape::Container, "class", documented),
            ),
            Rule::new(
                "type_alias_statement",
                Definition(Shape::Leaf, "type", alias),
            ),
            Rule::new("decorated_definition", Wrapper),
            Rule::new("expression_statement", Wrapper),
            Rule::new("assignment", Gathered(Class::Constant)),
            Rule::new("import_statement", Gathered(Class::Import)),
            Rule::new("import_from_statement", Gathered(Class::Import)),
            Rule::new("future_import_statement", Gathered(Class::Import)),
            Rule::new("decorator", Attribute),
            Rule::new("comment", Comment),
        ],
    }),
};

fn documented<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let mut described = Described::from_fields(node, source);
    described.doc = described.body.and_then(|body| docstring(body, source));
    Verdict::Is(described)
}

fn docstring(body: Node<'_>, source: &[u8]) -> Option<String> {
    let first = body.named_child(0)?;
    let literal = if first.kind() == "expression_statement" {
        first.named_child(0)?
    } else {
        first
    };
    if literal.kind() != "string" {
        return None;
    }
    text::docstring(source.get(literal.byte_range())?)
}

fn alias<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    match named(node, source) {
        Verdict::Is(described) => Verdict::Is(Described {
            name: node
                .child_by_field_name("left")
                .map(|left| crate::language::text(left, source)),
            ..described
        }),
        other => other,
    }
}
