//! Rules for Java.

use crate::language::{
    Class, Cut, Grammar, Language, Outline, Role, Rule, Shape, named, with_body,
};

use Role::{Attribute, Comment, Definition, Gathered, Transparent};

pub(crate) static LANGUAGE: Language = Language {
    name: "java",
    extensions: &["java"],
    file_names: &[],
    shebangs: &[],
    separator: ".",
    loose: "block",
    cut: Cut::Syntax(Grammar {
        load: || tree_sitter_java::LANGUAGE.into(),
        outline: Outline::Definitions,
        rules: &[
            Rule::new(
                "class_declaration",
                Definition(Shape::Container, "class", named),
            ),
            Rule::new(
                "record_declaration",
                Definition(Shape::Container, "class", named),
            ),
            Rule::new(
                "interface_declaration",
                Definition(Shape::Container, "interface", named),
            ),
            Rule::new(
                "annotation_type_declaration",
                Definition(Shape::Container, "interface", named),
            ),
            Rule::new(
                "enum_declaration",
                Definition(Shape::Container, "enum", named),
            ),
            Rule::new(
                "method_declaration",
                Definition(Shape::Leaf, "method", with_body),
            ),
            Rule::new(
                "constructor_declaration",
                Definition(Shape::Leaf, "method", named),
            ),
            Rule::new(
                "compact_constructor_declaration",
                Definition(Shape::Leaf, "method", named),
            ),
            Rule::new("enum_body_declarations", Transparent),
            Rule::new("field_declaration", Gathered(Class::Constant)),
            Rule::new("constant_declaration", Gathered(Class::Constant)),
            Rule::new("import_declaration", Gathered(Class::Import)),
            Rule::new("package_declaration", Gathered(Class::Import)),
            Rule::new("annotation", Attribute),
            Rule::new("marker_annotation", Attribute),
            Rule::new("line_comment", Comment),
            Rule::new("block_comment", Comment),
        ],
    }),
};
