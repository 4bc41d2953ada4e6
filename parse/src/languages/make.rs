//! Rules for makefiles.

use tree_sitter::Node;

use crate::language::{
    Class, Cut, Described, Grammar, Language, Outline, Role, Rule, Shape, Verdict, child, named,
    text,
};

use Role::{Attribute, Comment, Definition, Gathered, Transparent};

pub(crate) static LANGUAGE: Language = Language {
    name: "make",
    extensions: &["mk", "mak", "make", "makefile", "mkfile"],
    file_names: &[
        "BSDmakefile",
        "GNUmakefile",
        "Kbuild",
        "Makefile",
        "Makefile.am",
        "Makefile.boot",
        "Makefile.frag",
        "Makefile.in",
        "Makefile.inc",
        "Makefile.wat",
        "makefile",
        "makefile.sco",
        "mkfile",
    ],
    shebangs: &["make", "gmake"],
    separator: ".",
    loose: "block",
    cut: Cut::Syntax(Grammar {
        load: || tree_sitter_make::LANGUAGE.into(),
        outline: Outline::Definitions,
        rules: &[
            Rule::new("rule", Definition(Shape::Leaf, "rule", rule)),
            Rule::new("define_directive", Definition(Shape::Leaf, "macro", define)),
            Rule::new("conditional", Definition(Shape::Leaf, "block", conditional)),
            Rule::new("else_directive", Transparent),
            Rule::new("elsif_directive", Transparent),
            Rule::new("ifeq_directive", Attribute),
            Rule::new("ifneq_directive", Attribute),
            Rule::new("ifdef_directive", Attribute),
            Rule::new("ifndef_directive", Attribute),
            Rule::new("variable_assignment", Gathered(Class::Constant)),
            Rule::new("shell_assignment", Gathered(Class::Constant)),
            Rule::new("export_directive", Gathered(Class::Constant)),
            Rule::new("unexport_directive", Gathered(Class::Constant)),
            Rule::new("override_directive", Gathered(Class::Constant)),
            Rule::new("private_directive", Gathered(Class::Constant)),
            Rule::new("include_directive", Gathered(Class::Import)),
            Rule::new("comment", Comment),
        ],
    }),
};

/// A rule without a recipe, such as `.PHONY: all`, only adds to what others say.
fn rule<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let (Some(targets), Some(recipe)) = (child(node, "targets"), child(node, "recipe")) else {
        return Verdict::Gathered(Class::Other);
    };
    let name = text(targets, source);
    if name.contains('=') {
        // A value of several lines with a colon in it, which the grammar takes for a rule.
        return Verdict::Gathered(Class::Constant);
    }
    Verdict::Is(Described {
        name: Some(name),
        body: Some(recipe),
        ..Described::default()
    })
}

fn define<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    match named(node, source) {
        Verdict::Is(described) => Verdict::Is(Described {
            body: node.child_by_field_name("value"),
            ..described
        }),
        other => other,
    }
}

/// A condition around lines of a recipe is a part of that; any other is looked into.
fn conditional<'t>(node: Node<'t>, _: &[u8]) -> Verdict<'t> {
    let mut cursor = node.walk();
    let is_recipe = node
        .named_children(&mut cursor)
        .any(|child| child.kind() == "recipe_line");
    if is_recipe {
        Verdict::Gathered(Class::Other)
    } else {
        Verdict::Open
    }
}
