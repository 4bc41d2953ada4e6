//! Rules for C#.

use tree_sitter::Node;

use crate::language::{
    Class, Cut, Described, Grammar, Language, Outline, Role, Rule, Shape, Verdict, named,
    span_text, text, with_body,
};

use Role::{Attribute, Comment, Definition, Gathered, Transparent, Wrapper};

pub(crate) static LANGUAGE: Language = Language {
    name: "csharp",
    extensions: &["cs", "csx", "cake"],
    file_names: &[],
    shebangs: &["dotnet-script"],
    separator: ".",
    loose: "block",
    cut: Cut::Syntax(Grammar {
        load: || tree_sitter_c_sharp::LANGUAGE.into(),
        outline: Outline::Definitions,
        rules: &[
            Rule::new(
                "namespace_declaration",
                Definition(Shape::Container, "module", named),
            ),
            Rule::new(
                "class_declaration",
                Definition(Shape::Container, "class", named),
            ),
            Rule::new(
                "record_declaration",
                Definition(Shape::Container, "class", record),
            ),
            Rule::new(
                "struct_declaration",
                Definition(Shape::Container, "struct", named),
            ),
            Rule::new(
                "interface_declaration",
                Definition(Shape::Container, "interface", named),
            ),
            Rule::new("enum_declaration", Definition(Shape::Leaf, "enum", named)),
            Rule::new(
                "delegate_declaration",
                Definition(Shape::Leaf, "type", named),
            ),
            Rule::new(
                "method_declaration",
                Definition(Shape::Leaf, "method", with_body),
            ),
            Rule::new(
                "constructor_declaration",
                Definition(Shape::Leaf, "method", with_body),
            ),
            Rule::new(
                "destructor_declaration",
                Definition(Shape::Leaf, "method", destructor),
            ),
            Rule::new(
                "operator_declaration",
                Definition(Shape::Leaf, "method", operator),
            ),
            Rule::new(
                "conversion_operator_declaration",
                Definition(Shape::Leaf, "method", operator),
            ),
            Rule::new(
                "property_declaration",
                Definition(Shape::Leaf, "method", property),
            ),
            Rule::new(
                "indexer_declaration",
                Definition(Shape::Leaf, "method", property),
            ),
            Rule::new(
                "event_declaration",
                Definition(Shape::Leaf, "method", property),
            ),
            Rule::new(
                "local_function_statement",
                Definition(Shape::Leaf, "function", with_body),
            ),
            Rule::new("global_statement", Wrapper),
            Rule::new("preproc_if", Transparent),
            Rule::new("preproc_elif", Transparent),
            Rule::new("preproc_else", Transparent),
            Rule::new("field_declaration", Gathered(Class::Constant)),
            Rule::new("event_field_declaration", Gathered(Class::Constant)),
            Rule::new("using_directive", Gathered(Class::Import)),
            Rule::new("extern_alias_directive", Gathered(Class::Import)),
            Rule::new("file_scoped_namespace_declaration", Gathered(Class::Import)),
            Rule::new("attribute_list", Attribute),
            Rule::new("comment", Comment),
        ],
    }),
};

/// A `record struct` is a struct.
fn record<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let mut cursor = node.walk();
    let is_struct = node
        .children(&mut cursor)
        .any(|child| child.kind() == "struct");
    Verdict::Is(Described {
        kind: is_struct.then_some("struct"),
        ..Described::from_fields(node, source)
    })
}

fn destructor<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let mut described = Described::from_fields(node, source);
    described.name = described.name.map(|name| format!("~{name}"));
    Verdict::Is(described)
}

/// An operator is named `operator +`, a conversion `implicit operator Point`.
fn operator<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let mut cursor = node.walk();
    let keyword = node
        .children(&mut cursor)
        .find(|child| matches!(child.kind(), "implicit" | "explicit" | "operator"));
    let parameters = node.child_by_field_name("parameters");
    let name = keyword
        .zip(parameters)
        .map(|(keyword, parameters)| keyword.start_byte()..parameters.start_byte());
    match with_body(node, source) {
        Verdict::Is(described) => Verdict::Is(Described {
            name: name.map(|span| span_text(span, source)),
            ..described
        }),
        other => other,
    }
}

/// A property that computes is a method; one that only stores is a field.
fn property<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let expression = node
        .child_by_field_name("value")
        .filter(|value| value.kind() == "arrow_expression_clause");
    let accessors = node.child_by_field_name("accessors").filter(|accessors| {
        let mut cursor = accessors.walk();
        accessors
            .named_children(&mut cursor)
            .any(|accessor| accessor.child_by_field_name("body").is_some())
    });
    let Some(body) = accessors.or(expression) else {
        return Verdict::Gathered(Class::Constant);
    };
    let name = node.child_by_field_name("name");
    Verdict::Is(Described {
        name: Some(name.map_or_else(|| "this[]".to_owned(), |name| text(name, source))),
        body: Some(body),
        ..Described::default()
    })
}
