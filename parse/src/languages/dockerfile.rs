//! Rules for Dockerfiles: the stages of a build are its sections.

use tree_sitter::Node;

use crate::language::{
    Cut, Described, Grammar, Language, Level, Outline, Role, Rule, Shape, Verdict, child, text,
};

use Role::{Comment, Definition};

pub(crate) static LANGUAGE: Language = Language {
    name: "dockerfile",
    extensions: &["dockerfile", "containerfile"],
    file_names: &["Dockerfile", "Containerfile"],
    shebangs: &[],
    separator: ".",
    loose: "block",
    cut: Cut::Syntax(Grammar {
        load: || tree_sitter_containerfile::LANGUAGE.into(),
        outline: Outline::Headings,
        rules: &[
            Rule::new("from_instruction", Definition(Shape::Leaf, "stage", stage)),
            Rule::new("comment", Comment),
        ],
    }),
};

/// A stage without a name of its own is named by the image that it begins with.
fn stage<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let name = child(node, "image_alias").or_else(|| child(node, "image_spec"));
    Verdict::Is(Described {
        name: name.map(|name| text(name, source)),
        level: Some(Level::Number(1)),
        ..Described::default()
    })
}
