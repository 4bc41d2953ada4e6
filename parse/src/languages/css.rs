//! Rules for CSS: large rules are its entries, small ones are gathered.

use tree_sitter::Node;

use crate::language::{
    Class, Cut, Described, Grammar, Language, Outline, Role, Rule, Shape, Verdict, child, entry,
    span_text,
};

use Role::{Comment, Definition, Gathered};

pub(crate) static LANGUAGE: Language = Language {
    name: "css",
    extensions: &["css"],
    file_names: &[],
    shebangs: &[],
    separator: " ",
    loose: "block",
    cut: Cut::Syntax(Grammar {
        load: || tree_sitter_css::LANGUAGE.into(),
        outline: Outline::Definitions,
        rules: &[
            Rule::new("rule_set", Definition(Shape::Section, "rule", rule)),
            Rule::new("media_statement", Definition(Shape::Section, "rule", rule)),
            Rule::new(
                "supports_statement",
                Definition(Shape::Section, "rule", rule),
            ),
            Rule::new("scope_statement", Definition(Shape::Section, "rule", rule)),
            Rule::new(
                "keyframes_statement",
                Definition(Shape::Section, "rule", keyframes),
            ),
            Rule::new("at_rule", Definition(Shape::Section, "rule", rule)),
            Rule::new("block", Gathered(Class::Entry)),
            Rule::new("keyframe_block_list", Gathered(Class::Entry)),
            Rule::new("charset_statement", Gathered(Class::Import)),
            Rule::new("import_statement", Gathered(Class::Import)),
            Rule::new("namespace_statement", Gathered(Class::Import)),
            Rule::new("comment", Comment),
            Rule::new("js_comment", Comment),
        ],
    }),
};

/// A rule is named by what stands before its block: selectors, or `@media print`.
fn rule<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    match child(node, "block") {
        Some(body) => entry(node, described(node, body, source)),
        None => Verdict::Gathered(Class::Entry),
    }
}

/// Other rules refer to key frames, so these are a definition however small they are.
fn keyframes<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    match child(node, "keyframe_block_list") {
        Some(body) => Verdict::Is(described(node, body, source)),
        None => Verdict::Gathered(Class::Entry),
    }
}

fn described<'t>(node: Node<'t>, body: Node<'t>, source: &[u8]) -> Described<'t> {
    let name = span_text(node.start_byte()..body.start_byte(), source);
    Described {
        name: (!name.is_empty()).then_some(name),
        body: Some(body),
        ..Described::default()
    }
}
