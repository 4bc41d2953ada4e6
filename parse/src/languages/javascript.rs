//! Rules for JavaScript, TypeScript and TSX, which share most of their nodes.

use tree_sitter::Node;

use crate::language::{
    Class, Cut, Described, Grammar, Language, Outline, Role, Rule, Shape, Verdict, named, text,
    with_body,
};

use Role::{Attribute, Comment, Definition, Gathered, Wrapper};

pub(crate) static JAVASCRIPT: Language = Language {
    name: "javascript",
    extensions: &["js", "mjs", "cjs", "jsx"],
    file_names: &["Jakefile"],
    shebangs: &["node", "nodejs"],
    separator: ".",
    loose: "block",
    cut: Cut::Syntax(Grammar {
        load: || tree_sitter_javascript::LANGUAGE.into(),
        outline: Outline::Definitions,
        rules: &[
            FUNCTION,
            GENERATOR,
            CLASS,
            METHOD,
            LEXICAL,
            VARIABLE,
            ASSIGNMENT,
            PAIR,
            EXPORT,
            STATEMENT,
            CALL,
            ARGUMENTS,
            ARROW,
            EXPRESSION,
            BLOCK,
            IMPORT,
            DECORATOR,
            COMMENT,
            Rule::new("field_definition", Definition(Shape::Leaf, "method", field)),
            Rule::new("hash_bang_line", Gathered(Class::Comment)),
        ],
    }),
};

pub(crate) static TYPESCRIPT: Language = Language {
    name: "typescript",
    extensions: &["ts", "mts", "cts"],
    file_names: &[],
    shebangs: &["deno", "ts-node", "tsx"],
    separator: ".",
    loose: "block",
    cut: Cut::Syntax(Grammar {
        load: || tree_sitter_typescript::LANGUAGE_TYPESCRIPT.into(),
        outline: Outline::Definitions,
        rules: TYPESCRIPT_RULES,
    }),
};

pub(crate) static TSX: Language = Language {
    name: "tsx",
    extensions: &["tsx"],
    file_names: &[],
    shebangs: &[],
    separator: ".",
    loose: "block",
    cut: Cut::Syntax(Grammar {
        load: || tree_sitter_typescript::LANGUAGE_TSX.into(),
        outline: Outline::Definitions,
        rules: TYPESCRIPT_RULES,
    }),
};

const TYPESCRIPT_RULES: &[Rule] = &[
    FUNCTION,
    GENERATOR,
    CLASS,
    METHOD,
    LEXICAL,
    VARIABLE,
    ASSIGNMENT,
    PAIR,
    EXPORT,
    STATEMENT,
    CALL,
    ARGUMENTS,
    ARROW,
    EXPRESSION,
    BLOCK,
    IMPORT,
    DECORATOR,
    COMMENT,
    Rule::new(
        "public_field_definition",
        Definition(Shape::Leaf, "method", field),
    ),
    Rule::new(
        "abstract_class_declaration",
        Definition(Shape::Container, "class", named),
    ),
    Rule::new(
        "interface_declaration",
        Definition(Shape::Leaf, "interface", named),
    ),
    Rule::new(
        "type_alias_declaration",
        Definition(Shape::Leaf, "type", named),
    ),
    Rule::new("enum_declaration", Definition(Shape::Leaf, "enum", named)),
    Rule::new(
        "internal_module",
        Definition(Shape::Container, "module", with_body),
    ),
    Rule::new("module", Definition(Shape::Container, "module", with_body)),
    Rule::new("ambient_declaration", Wrapper),
    Rule::new("import_alias", Gathered(Class::Import)),
    Rule::new("hash_bang_line", Gathered(Class::Comment)),
];

const FUNCTION: Rule = Rule::new(
    "function_declaration",
    Definition(Shape::Leaf, "function", named),
);
const GENERATOR: Rule = Rule::new(
    "generator_function_declaration",
    Definition(Shape::Leaf, "function", named),
);
const CLASS: Rule = Rule::new(
    "class_declaration",
    Definition(Shape::Container, "class", named),
);
const METHOD: Rule = Rule::new(
    "method_definition",
    Definition(Shape::Leaf, "method", named),
);
const LEXICAL: Rule = Rule::new(
    "lexical_declaration",
    Definition(Shape::Leaf, "function", binding),
);
const VARIABLE: Rule = Rule::new(
    "variable_declaration",
    Definition(Shape::Leaf, "function", binding),
);
const ASSIGNMENT: Rule = Rule::new(
    "assignment_expression",
    Definition(Shape::Leaf, "function", assignment),
);
const PAIR: Rule = Rule::new("pair", Definition(Shape::Leaf, "function", pair));
const EXPORT: Rule = Rule::new("export_statement", Wrapper);
const STATEMENT: Rule = Rule::new("expression_statement", Wrapper);
const CALL: Rule = Rule::new("call_expression", Definition(Shape::Leaf, "function", call));
const ARGUMENTS: Rule = Rule::new("arguments", Definition(Shape::Leaf, "block", of_suite));
const ARROW: Rule = Rule::new("arrow_function", Definition(Shape::Leaf, "block", of_suite));
const EXPRESSION: Rule = Rule::new(
    "function_expression",
    Definition(Shape::Leaf, "block", of_suite),
);
const BLOCK: Rule = Rule::new(
    "statement_block",
    Definition(Shape::Leaf, "block", of_suite),
);
const IMPORT: Rule = Rule::new("import_statement", Gathered(Class::Import));
const DECORATOR: Rule = Rule::new("decorator", Attribute);
const COMMENT: Rule = Rule::new("comment", Comment);

/// Describes a value that is a function or a class, for whatever name it is bound to.
fn value<'t>(value: Node<'t>) -> Option<Described<'t>> {
    let described = Described {
        body: value.child_by_field_name("body"),
        ..Described::default()
    };
    match value.kind() {
        "arrow_function" | "function_expression" | "generator_function" => Some(described),
        "class" => Some(Described {
            kind: Some("class"),
            shape: Some(Shape::Container),
            ..described
        }),
        _ => None,
    }
}

/// `const f = () => {}`; `const m = require("m")` is an import, all else a constant.
fn binding<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let declarator = node
        .named_child(0)
        .filter(|_| node.named_child_count() == 1);
    let is_import = declarator
        .and_then(|declarator| declarator.child_by_field_name("value"))
        .and_then(|call| call.child_by_field_name("function"))
        .is_some_and(|function| source.get(function.byte_range()) == Some(b"require"));
    if is_import {
        return Verdict::Gathered(Class::Import);
    }
    let found = declarator.and_then(|declarator| {
        let mut described = value(declarator.child_by_field_name("value")?)?;
        described.name = Some(text(declarator.child_by_field_name("name")?, source));
        Some(described)
    });
    found.map_or(Verdict::Gathered(Class::Constant), Verdict::Is)
}

/// A class field that holds a function.
fn field<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let name = node
        .child_by_field_name("name")
        .or_else(|| node.child_by_field_name("property"));
    keyed(node, name, source)
}

/// A property of an object literal that holds a function.
fn pair<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    keyed(node, node.child_by_field_name("key"), source)
}

fn keyed<'t>(node: Node<'t>, key: Option<Node<'t>>, source: &[u8]) -> Verdict<'t> {
    let found = node.child_by_field_name("value").and_then(value);
    match (found, key) {
        (Some(mut described), Some(key)) => {
            let name = text(key, source);
            described.name = Some(name.trim_matches(['"', '\'']).to_owned());
            Verdict::Is(described)
        }
        _ => Verdict::Gathered(Class::Other),
    }
}

/// How many `a = b = c` are followed to the function at their end.
const MAX_CHAIN: usize = 8;

/// `module.exports.f = function () {}` and `Foo.prototype.f = function () {}`.
fn assignment<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let mut right = node.child_by_field_name("right");
    for _ in 0..MAX_CHAIN {
        match right {
            Some(next) if next.kind() == "assignment_expression" => {
                right = next.child_by_field_name("right");
            }
            _ => break,
        }
    }
    let found = right.and_then(value);
    let left = node.child_by_field_name("left");
    let (Some(mut described), Some(left)) = (found, left) else {
        return Verdict::Gathered(Class::Other);
    };
    let target = text(left, source);
    let is_path = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$' | '.');
    if target.is_empty() || !target.chars().all(is_path) {
        return Verdict::Gathered(Class::Other);
    }
    let parts: Vec<&str> = target
        .split('.')
        .filter(|part| {
            !matches!(
                *part,
                "module" | "exports" | "this" | "prototype" | "window"
            )
        })
        .collect();
    if let Some((name, qualifier)) = parts.split_last() {
        described.name = Some((*name).to_owned());
        described.qualifier = (!qualifier.is_empty()).then(|| qualifier.join("."));
    } else {
        described.name = Some(target);
    }
    Verdict::Is(described)
}

/// What a call with a title and a function defines.
enum Titled {
    /// `describe("…", () => { … })`, which holds others.
    Suite,
    /// `it("…", () => { … })`
    Test,
    /// `app.get("/…", (request, response) => { … })`, with its verb.
    Route(String),
}

/// How far `describe.only.each(…)` is followed to its first word.
const MAX_CALLED: usize = 6;

/// Tells what a call defines that is given a function, with its title and where that ends.
fn titled(call: Node<'_>, source: &[u8]) -> Option<(Titled, String, usize)> {
    let arguments = call.child_by_field_name("arguments")?;
    let last = u32::try_from(arguments.named_child_count().checked_sub(1)?).ok()?;
    let function = arguments.named_child(last)?;
    let title = arguments.named_child(0)?;
    if !matches!(function.kind(), "arrow_function" | "function_expression")
        || !matches!(title.kind(), "string" | "template_string")
    {
        return None;
    }
    let end = title.end_byte();
    let title = text(title, source);
    let title = title.trim_matches(['"', '\'', '`']);
    let called = call.child_by_field_name("function")?;
    let property = called.child_by_field_name("property");
    let property = property.map(|property| text(property, source));
    if let Some("get" | "post" | "put" | "patch" | "delete" | "all" | "use") = property.as_deref()
        && title.starts_with('/')
    {
        let verb = property.unwrap_or_default();
        return Some((Titled::Route(verb), title.to_owned(), end));
    }
    let mut word = called;
    for _ in 0..MAX_CALLED {
        let inner = ["function", "object"];
        match inner
            .iter()
            .find_map(|field| word.child_by_field_name(field))
        {
            Some(inner) => word = inner,
            None => break,
        }
    }
    let titled = match source.get(word.byte_range())? {
        b"describe" | b"context" | b"suite" => Titled::Suite,
        b"it" | b"test" | b"specify" => Titled::Test,
        _ => return None,
    };
    Some((titled, title.to_owned(), end))
}

/// A test, a suite of them, or the handler of a route.
fn call<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let Some((titled, title, end)) = titled(node, source) else {
        return Verdict::Gathered(Class::Other);
    };
    let (kind, shape, name) = match titled {
        Titled::Suite => ("block", Shape::Group, title),
        Titled::Test => ("function", Shape::Leaf, title),
        Titled::Route(verb) => ("function", Shape::Leaf, format!("{verb} {title}")),
    };
    Verdict::Is(Described {
        kind: Some(kind),
        shape: Some(shape),
        name: Some(name),
        joint: Some(" "),
        signature_end: Some(end),
        ..Described::default()
    })
}

/// What stands between a suite and its tests is opened for them.
fn of_suite<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let mut above = Some(node);
    for _ in 0..MAX_CALLED {
        match above {
            Some(call) if call.kind() == "call_expression" => break,
            Some(part)
                if matches!(
                    part.kind(),
                    "arguments" | "arrow_function" | "function_expression" | "statement_block"
                ) =>
            {
                above = part.parent();
            }
            _ => return Verdict::Gathered(Class::Other),
        }
    }
    match above.and_then(|call| titled(call, source)) {
        Some((Titled::Suite, ..)) => Verdict::Open,
        _ => Verdict::Gathered(Class::Other),
    }
}
