//! Rules for reStructuredText: headings divide a document into sections.

use tree_sitter::Node;

use crate::language::{
    Class, Cut, Described, Grammar, Language, Level, Outline, Role, Rule, Shape, Verdict, child,
    text,
};

use Role::Definition;

pub(crate) static LANGUAGE: Language = Language {
    name: "rst",
    extensions: &["rst", "rest"],
    file_names: &[],
    shebangs: &[],
    separator: " > ",
    loose: "text",
    cut: Cut::Syntax(Grammar {
        load: || tree_sitter_rst::LANGUAGE.into(),
        outline: Outline::Headings,
        rules: &[
            Rule::new("section", Definition(Shape::Leaf, "section", heading)),
            Rule::new("target", Definition(Shape::Leaf, "text", target)),
        ],
    }),
};

fn heading<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let Some(title) = child(node, "title") else {
        return Verdict::Gathered(Class::Other);
    };
    // A line above the title makes another level of the same character.
    let has_overline = title.start_byte() > node.start_byte();
    let bytes = source.get(node.byte_range()).unwrap_or_default();
    let adornment = bytes.trim_ascii_end().last().copied().unwrap_or_default();
    let style = usize::from(adornment) * 2 + usize::from(has_overline);
    Verdict::Is(Described {
        name: Some(plain(&text(title, source))).filter(|name| !name.is_empty()),
        level: Some(Level::Style(style)),
        ..Described::default()
    })
}

/// Returns a title without its inline markup: "asyncio" for ":mod:`asyncio`".
fn plain(title: &str) -> String {
    let mut plain = String::with_capacity(title.len());
    let mut parts = title.split('`').peekable();
    while let Some(part) = parts.next() {
        let is_before_mark = parts.peek().is_some();
        plain.push_str(if is_before_mark {
            role_stripped(part)
        } else {
            part
        });
    }
    plain.replace("**", "")
}

/// Returns what stands before a mark without the role that it ends with, if it does.
fn role_stripped(part: &str) -> &str {
    let (before, role) = part.split_at(part.rfind(' ').map_or(0, |space| space + 1));
    let is_role = role.len() > 2 && role.starts_with(':') && role.ends_with(':');
    if is_role { before } else { part }
}

/// A target without an address names the place where it stands, so what follows it.
fn target<'t>(node: Node<'t>, _source: &[u8]) -> Verdict<'t> {
    if node.child_by_field_name("link").is_some() {
        Verdict::Gathered(Class::Other)
    } else {
        Verdict::Attribute(None)
    }
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn titles_lose_their_markup() {
        for (title, expected) in [
            (":mod:`asyncio` --- Loops", "asyncio --- Loops"),
            ("The ``py:run`` **tool**", "The py:run tool"),
            ("On :c:type:`a` and :f:`b`", "On a and b"),
            ("Note: ``x``", "Note: x"),
            ("a * b", "a * b"),
        ] {
            assert_eq!(plain(title), expected);
        }
    }
}
