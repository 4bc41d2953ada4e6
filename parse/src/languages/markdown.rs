//! Rules for Markdown: headings divide a document into sections.

use tree_sitter::Node;

use crate::language::{
    Cut, Described, Grammar, Language, Level, Outline, Role, Rule, Shape, Verdict, text,
};

use Role::{Definition, Transparent};

pub(crate) static LANGUAGE: Language = Language {
    name: "markdown",
    extensions: &["md", "markdown", "mdown", "mkd"],
    file_names: &[],
    shebangs: &[],
    separator: " > ",
    loose: "text",
    cut: Cut::Syntax(Grammar {
        load: || tree_sitter_md::LANGUAGE.into(),
        outline: Outline::Headings,
        rules: &[
            Rule::new("atx_heading", Definition(Shape::Leaf, "section", heading)),
            Rule::new(
                "setext_heading",
                Definition(Shape::Leaf, "section", heading),
            ),
            Rule::new("section", Transparent),
        ],
    }),
};

fn heading<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    Verdict::Is(Described {
        name: node
            .child_by_field_name("heading_content")
            .map(|content| {
                let title = text(content, source);
                title.trim_end_matches('#').trim_end().to_owned()
            })
            .filter(|title| !title.is_empty()),
        level: Some(level(node)),
        ..Described::default()
    })
}

/// Returns a heading's level, from its marker or underline.
fn level(heading: Node<'_>) -> Level {
    let mut cursor = heading.walk();
    let number = heading
        .named_children(&mut cursor)
        .find_map(|child| match child.kind() {
            "setext_h1_underline" => Some(1),
            "setext_h2_underline" => Some(2),
            kind => kind
                .strip_prefix("atx_h")
                .and_then(|rest| rest.strip_suffix("_marker"))
                .and_then(|level| level.parse().ok()),
        });
    Level::Number(number.unwrap_or(1))
}
