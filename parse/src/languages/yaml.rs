//! Rules for YAML: the pairs of a mapping are its entries.

use tree_sitter::Node;

use crate::language::{
    Class, Cut, Described, Grammar, Language, Outline, Prepared, Role, Rule, Shape, Verdict, entry,
    pair,
};

use Role::{Comment, Definition, Gathered};

pub(crate) static LANGUAGE: Language = Language {
    name: "yaml",
    extensions: &[
        "yaml",
        "yml",
        "eyaml",
        "mir",
        "reek",
        "rviz",
        "sublime-syntax",
        "syntax",
        "yaml-tmlanguage",
    ],
    file_names: &[
        ".clang-format",
        ".clang-tidy",
        ".clangd",
        ".gemrc",
        ".prettierrc",
        ".yamllint",
        "CITATION.cff",
        "pixi.lock",
        "pubspec.lock",
        "yarn.lock",
    ],
    shebangs: &["ansible-playbook"],
    separator: ".",
    loose: "block",
    cut: Cut::Prepared(
        Grammar {
            load: || tree_sitter_yaml::LANGUAGE.into(),
            outline: Outline::Definitions,
            rules: &[
                Rule::new("document", Definition(Shape::Section, "document", document)),
                Rule::new(
                    "block_mapping_pair",
                    Definition(Shape::Section, "entry", pair),
                ),
                Rule::new("flow_pair", Definition(Shape::Section, "entry", pair)),
                Rule::new("block_node", Gathered(Class::Entry)),
                Rule::new("block_mapping", Gathered(Class::Entry)),
                Rule::new("block_sequence", Gathered(Class::Entry)),
                Rule::new("block_sequence_item", Gathered(Class::Entry)),
                Rule::new("flow_node", Gathered(Class::Entry)),
                Rule::new("flow_mapping", Gathered(Class::Entry)),
                Rule::new("flow_sequence", Gathered(Class::Entry)),
                Rule::new("comment", Comment),
            ],
        },
        |source| match is_shallow(source) {
            true => Prepared::AsItIs,
            false => Prepared::TooDeep,
        },
    ),
};

/// The deepest nesting that is parsed. The grammar's scanner aborts the process above 253
/// levels, and may count two for one: a sequence can stand where its key does.
const MAX_LEVELS: usize = 100;

/// Tells whether blocks are nested no deeper than the grammar's scanner can count. Every
/// `-`, `?` and `:` before white space is taken for a level, which it need not be.
fn is_shallow(source: &[u8]) -> bool {
    // The columns where the levels around the current place begin.
    let mut levels: Vec<usize> = Vec::new();
    for line in source.split(|byte| matches!(byte, b'\n' | b'\r')) {
        let is_text = |byte: &u8| !matches!(byte, b' ' | b'\t');
        let Some(indentation) = line.iter().position(is_text) else {
            continue;
        };
        while levels.last().is_some_and(|column| *column >= indentation) {
            levels.pop();
        }
        let mut start = indentation;
        let followers = line.iter().skip(1).map(Some).chain([None]);
        for (column, (byte, follower)) in line.iter().zip(followers).enumerate() {
            let ends = follower.is_none_or(|byte| !is_text(byte));
            if ends && matches!(byte, b'-' | b'?' | b':') {
                levels.push(start);
                if levels.len() > MAX_LEVELS {
                    return false;
                }
                start = column + 1;
            }
        }
    }
    true
}

/// One of several documents in a file is like an entry without a key.
fn document<'t>(node: Node<'t>, _: &[u8]) -> Verdict<'t> {
    entry(node, Described::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_deep_nesting_is_refused() {
        let siblings = "a:\n- b: c - d\n  e:\n      f: g\n".repeat(1_000);
        assert!(is_shallow(siblings.as_bytes()));
        let stairs = |levels| -> String {
            let keys = (0..levels).map(|level| format!("{:level$}key:\n", ""));
            keys.collect()
        };
        assert!(is_shallow(stairs(MAX_LEVELS).as_bytes()));
        assert!(!is_shallow(stairs(MAX_LEVELS + 1).as_bytes()));
        assert!(!is_shallow("- ".repeat(MAX_LEVELS + 1).as_bytes()));
    }
}
