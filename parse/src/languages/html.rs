//! Rules for HTML: headings divide a document into sections, however deep they stand.

use tree_sitter::Node;

use crate::language::{
    Class, Cut, Described, Grammar, Language, Level, MAX_NAME, Outline, Role, Rule, Shape, Verdict,
    child,
};
use crate::text;

use Role::{Attribute, Closing, Comment, Definition};

pub(crate) static LANGUAGE: Language = Language {
    name: "html",
    extensions: &["html", "htm", "xhtml", "xht", "hta"],
    file_names: &[],
    shebangs: &[],
    separator: " > ",
    loose: "text",
    cut: Cut::Syntax(Grammar {
        load: || tree_sitter_html::LANGUAGE.into(),
        outline: Outline::Headings,
        rules: &[
            Rule::new("element", Definition(Shape::Leaf, "section", element)),
            Rule::new("script_element", Definition(Shape::Leaf, "script", code)),
            Rule::new("style_element", Definition(Shape::Leaf, "style", code)),
            Rule::new("start_tag", Attribute),
            Rule::new("end_tag", Closing),
            Rule::new("erroneous_end_tag", Closing),
            Rule::new("comment", Comment),
        ],
    }),
};

/// The longest title that is read, in bytes of the source.
const MAX_TITLE: usize = 1024;

/// A script or style of fewer bytes is read with what stands around it.
const SMALL_CODE: usize = 200;

fn element<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let tag = child(node, "start_tag").and_then(|tag| child(tag, "tag_name"));
    let tag = tag.and_then(|tag| source.get(tag.byte_range()));
    let bytes = source.get(node.byte_range()).unwrap_or_default();
    if let Some(level) = tag.and_then(heading_level) {
        let title = title(bytes);
        return Verdict::Is(Described {
            name: (!title.is_empty()).then_some(title),
            level: Some(Level::Number(level)),
            ..Described::default()
        });
    }
    if divides(bytes) {
        Verdict::Open
    } else {
        Verdict::Gathered(Class::Other)
    }
}

/// Tells whether an element seems to hold what gets a chunk of its own.
fn divides(element: &[u8]) -> bool {
    let mut tags = element.split(|byte| *byte == b'<').skip(1);
    tags.any(|tag| {
        let starts = |name: &[u8]| {
            tag.get(..name.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(name))
        };
        tag.get(..2).and_then(heading_level).is_some() || starts(b"script") || starts(b"style")
    })
}

/// Returns 1 to 6 for the tags `h1` to `h6`.
fn heading_level(tag: &[u8]) -> Option<usize> {
    match tag {
        [b'h' | b'H', digit @ b'1'..=b'6'] => Some(usize::from(digit - b'0')),
        _ => None,
    }
}

/// Describes a script or style, which is named by its section.
fn code<'t>(node: Node<'t>, _source: &[u8]) -> Verdict<'t> {
    if node.end_byte() - node.start_byte() < SMALL_CODE {
        return Verdict::Gathered(Class::Other);
    }
    Verdict::Is(Described::default())
}

/// Characters that titles write as entities; the ampersand stands last, as its own text may
/// look like an entity.
const ENTITIES: &[(&str, &str)] = &[
    ("&nbsp;", " "),
    ("&para;", "¶"),
    ("&lt;", "<"),
    ("&gt;", ">"),
    ("&quot;", "\""),
    ("&#39;", "'"),
    ("&amp;", "&"),
];

/// Returns the text of an element without the tags in it.
fn title(element: &[u8]) -> String {
    let window = element.get(..element.len().min(MAX_TITLE));
    let mut text = Vec::new();
    for part in window.unwrap_or_default().split(|byte| *byte == b'<') {
        if part.starts_with(b"br") {
            text.push(b' ');
        }
        let end = part.iter().position(|byte| *byte == b'>');
        text.extend_from_slice(end.and_then(|end| part.get(end + 1..)).unwrap_or_default());
    }
    let mut title = text::collapse(&text, MAX_NAME);
    for (entity, character) in ENTITIES {
        title = title.replace(entity, character);
    }
    // Generated pages end a title with a mark that links to it.
    title.trim().trim_end_matches('¶').trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::{divides, title};

    #[test]
    fn titles_lose_tags_and_entities() {
        for (element, expected) in [
            ("<h1 id=\"a\">A <em>b</em>\n  c</h1>", "A b c"),
            (
                "<h2>&lt;b&gt; &amp;amp;<a href=\"#x\">¶</a></h2>",
                "<b> &amp;",
            ),
            ("<h3><img src=\"x.png\"></h3>", ""),
            ("<h3>a<br/>b</h3>", "a b"),
        ] {
            assert_eq!(title(element.as_bytes()), expected);
        }
    }

    #[test]
    fn headings_scripts_and_styles_divide_an_element() {
        for (element, expected) in [
            ("<div><p><H2>a</H2></div>", true),
            ("<div><STYLE>a</STYLE></div>", true),
            ("<div><header>a</header><hr></div>", false),
        ] {
            assert_eq!(divides(element.as_bytes()), expected, "{element}");
        }
    }
}
