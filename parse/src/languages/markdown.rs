//! Rules for Markdown: headings divide a document into sections.

use tree_sitter::Node;

use crate::language::{
    Cut, Described, Grammar, Language, Outline, Role, Rule, Shape, Verdict, text,
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
        ..Described::default()
    })
}
