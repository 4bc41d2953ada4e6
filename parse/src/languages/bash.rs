//! Rules for Bash and the shells that are written like it.

use tree_sitter::Node;

use crate::language::{
    Class, Cut, Described, Grammar, Language, Outline, Role, Rule, Shape, Verdict, named,
};

use Role::{Comment, Definition, Gathered};

pub(crate) static LANGUAGE: Language = Language {
    name: "bash",
    extensions: &[
        "sh",
        "bash",
        "zsh",
        "ksh",
        "bats",
        "command",
        "ebuild",
        "eclass",
        "zsh-theme",
    ],
    file_names: &[
        ".bash_aliases",
        ".bash_functions",
        ".bash_login",
        ".bash_logout",
        ".bash_profile",
        ".bashrc",
        ".envrc",
        ".kshrc",
        ".profile",
        ".zlogin",
        ".zlogout",
        ".zprofile",
        ".zshenv",
        ".zshrc",
        "APKBUILD",
        "PKGBUILD",
        "bashrc",
        "gradlew",
        "mvnw",
        "zshrc",
    ],
    shebangs: &[
        "sh", "bash", "zsh", "dash", "ash", "ksh", "mksh", "pdksh", "bats",
    ],
    separator: ".",
    loose: "block",
    cut: Cut::Syntax(Grammar {
        load: || tree_sitter_bash::LANGUAGE.into(),
        outline: Outline::Definitions,
        rules: &[
            Rule::new(
                "function_definition",
                Definition(Shape::Leaf, "function", named),
            ),
            Rule::new("if_statement", Definition(Shape::Group, "block", guarded)),
            Rule::new("elif_clause", Definition(Shape::Group, "block", guarded)),
            Rule::new("else_clause", Definition(Shape::Group, "block", guarded)),
            Rule::new("command", Definition(Shape::Leaf, "block", command)),
            Rule::new("declaration_command", Gathered(Class::Constant)),
            Rule::new("variable_assignment", Gathered(Class::Constant)),
            Rule::new("comment", Comment),
        ],
    }),
};

/// An `if` that defines functions, one for each platform perhaps, is opened for them.
fn guarded<'t>(node: Node<'t>, _source: &[u8]) -> Verdict<'t> {
    let mut cursor = node.walk();
    let defines = node.named_children(&mut cursor).any(|child| {
        let mut cursor = child.walk();
        match child.kind() {
            "function_definition" => true,
            "elif_clause" | "else_clause" => child
                .named_children(&mut cursor)
                .any(|inner| inner.kind() == "function_definition"),
            _ => false,
        }
    });
    if defines {
        Verdict::Is(Described::default())
    } else {
        Verdict::Gathered(Class::Other)
    }
}

/// `source` and `.` take in another file.
fn command<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let name = node.child_by_field_name("name");
    let name = name.and_then(|name| source.get(name.byte_range()));
    Verdict::Gathered(match name {
        Some(b"source" | b".") => Class::Import,
        Some(b"alias") => Class::Constant,
        _ => Class::Other,
    })
}
