//! Rules for Go.

use tree_sitter::Node;

use crate::language::{
    Class, Cut, Described, Grammar, Language, Outline, Role, Rule, Shape, Verdict, named, text,
};

use Role::{Comment, Definition, Gathered, Transparent};

pub(crate) static LANGUAGE: Language = Language {
    name: "go",
    extensions: &["go"],
    file_names: &[],
    shebangs: &[],
    separator: ".",
    loose: "block",
    cut: Cut::Syntax(Grammar {
        load: || tree_sitter_go::LANGUAGE.into(),
        outline: Outline::Definitions,
        rules: &[
            Rule::new(
                "function_declaration",
                Definition(Shape::Leaf, "function", named),
            ),
            Rule::new(
                "method_declaration",
                Definition(Shape::Leaf, "method", method),
            ),
            Rule::new("type_declaration", Definition(Shape::Leaf, "type", types)),
            Rule::new("type_spec", Definition(Shape::Leaf, "type", type_spec)),
            Rule::new("type_alias", Definition(Shape::Leaf, "type", named)),
            Rule::new("const_declaration", Gathered(Class::Constant)),
            Rule::new("var_declaration", Gathered(Class::Constant)),
            Rule::new("import_declaration", Gathered(Class::Import)),
            Rule::new("package_clause", Gathered(Class::Import)),
            Rule::new("source_file", Transparent),
            Rule::new("comment", Comment),
        ],
    }),
};

/// A method's symbol is `Type.Method`, after its receiver.
fn method<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let mut described = Described::from_fields(node, source);
    described.qualifier = node
        .child_by_field_name("receiver")
        .and_then(|receiver| receiver.named_child(0))
        .and_then(|parameter| parameter.child_by_field_name("type"))
        .map(|receiver| {
            let name = text(receiver, source);
            let name = name.trim_start_matches(['*', '(', ' ']);
            let end = name.find(['[', ')', ' ']).unwrap_or(name.len());
            name.get(..end).unwrap_or(name).to_owned()
        });
    Verdict::Is(described)
}

/// `type A struct {}` is that one type; of a group, each type is found inside.
fn types<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let mut cursor = node.walk();
    let mut specs = node
        .named_children(&mut cursor)
        .filter(|child| matches!(child.kind(), "type_spec" | "type_alias"));
    match (specs.next(), specs.next()) {
        (Some(only), None) => type_spec(only, source),
        (None, _) => Verdict::Gathered(Class::Other),
        (Some(_), Some(_)) => Verdict::Is(Described {
            shape: Some(Shape::Group),
            ..Described::default()
        }),
    }
}

fn type_spec<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let mut described = Described::from_fields(node, source);
    if let Some(value) = node.child_by_field_name("type") {
        let kind = match value.kind() {
            "struct_type" => Some("struct"),
            "interface_type" => Some("interface"),
            _ => None,
        };
        if kind.is_some() {
            described.kind = kind;
            // The keyword is the value's first child and belongs to the declaration.
            described.signature_end = value.child(0).map(|keyword| keyword.end_byte());
        }
    }
    Verdict::Is(described)
}
