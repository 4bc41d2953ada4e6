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
                plain(title.trim_end_matches('#').trim())
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

/// Takes the markup out of a title: of a link its text stays, of an image nothing, and marks of
/// code and emphasis go.
fn plain(title: &str) -> String {
    let mut plain = String::with_capacity(title.len());
    let mut rest = title;
    while let Some(at) = rest.find(['!', '[', ']', '`', '*']) {
        let (before, markup) = rest.split_at(at);
        plain.push_str(before);
        let image = markup
            .strip_prefix('!')
            .filter(|after| after.starts_with('['));
        if let Some(image) = image {
            rest = after_target(image.split_once(']').map_or("", |(_, after)| after));
        } else if let Some(after) = markup.strip_prefix(']') {
            rest = after_target(after);
        } else if let Some(after) = markup.strip_prefix('!') {
            plain.push('!');
            rest = after;
        } else {
            rest = markup.get(1..).unwrap_or_default();
        }
    }
    plain.push_str(rest);
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Leaves out the `(…)` or `[…]` that tells where a link leads.
fn after_target(text: &str) -> &str {
    let close = match text.as_bytes().first() {
        Some(b'(') => ')',
        Some(b'[') => ']',
        _ => return text,
    };
    text.split_once(close).map_or("", |(_, after)| after)
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn titles_lose_their_markup() {
        for (title, expected) in [
            ("Node [![a](https://b)][3] [![c](d)][4]", "Node"),
            ("Use `--since` *now*!", "Use --since now!"),
            ("[v2.0](https://a) - 2020", "v2.0 - 2020"),
            ("[1.0.0] - 2020-01-01", "1.0.0 - 2020-01-01"),
            ("a [b", "a b"),
            ("snake_case", "snake_case"),
        ] {
            assert_eq!(plain(title), expected, "{title}");
        }
    }
}
