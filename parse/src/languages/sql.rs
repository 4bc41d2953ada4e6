//! Rules for SQL, whose definitions are statements.

use tree_sitter::Node;

use crate::language::{
    Class, Cut, Described, Grammar, Language, Outline, Role, Rule, Shape, Verdict, child, text,
};

use Role::{Comment, Definition, Gathered, Transparent, Wrapper};

pub(crate) static LANGUAGE: Language = Language {
    name: "sql",
    extensions: &[
        "sql", "cql", "ddl", "mysql", "pgsql", "psql", "plsql", "pks", "pkb", "prc", "udf", "viw",
        "db2",
    ],
    file_names: &[],
    shebangs: &[],
    separator: ".",
    loose: "block",
    cut: Cut::Syntax(Grammar {
        load: || tree_sitter_sequel::LANGUAGE.into(),
        outline: Outline::Definitions,
        rules: &[
            Rule::new("create_table", Definition(Shape::Leaf, "table", created)),
            Rule::new("create_view", Definition(Shape::Leaf, "view", created)),
            Rule::new(
                "create_materialized_view",
                Definition(Shape::Leaf, "view", created),
            ),
            Rule::new(
                "create_function",
                Definition(Shape::Leaf, "function", created),
            ),
            Rule::new(
                "create_trigger",
                Definition(Shape::Leaf, "trigger", created),
            ),
            Rule::new("create_type", Definition(Shape::Leaf, "type", created)),
            Rule::new("create_index", Definition(Shape::Leaf, "index", index)),
            Rule::new("create_extension", Gathered(Class::Import)),
            Rule::new("create_sequence", Gathered(Class::Constant)),
            Rule::new("set_statement", Gathered(Class::Constant)),
            Rule::new("statement", Wrapper),
            Rule::new("transaction", Transparent),
            Rule::new("block", Transparent),
            Rule::new("comment", Comment),
            Rule::new("marginalia", Comment),
        ],
    }),
};

/// Describes what a `CREATE` makes: its name, and where the declaration ends.
fn created<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let Some(reference) = child(node, "object_reference") else {
        return Verdict::Gathered(Class::Other);
    };
    if swallows(node, source) {
        return Verdict::Gathered(Class::Other);
    }
    let is = |kind: &str| child(node, kind).is_some();
    let kind = match node.kind() {
        // Said here, since a function of a schema is no method.
        "create_function" => Some("function"),
        "create_type" if is("keyword_enum") => Some("enum"),
        "create_type" if is("column_definitions") => Some("struct"),
        _ => None,
    };
    let bodies = ["column_definitions", "function_body", "enum_elements"].into_iter();
    let body = bodies.filter_map(|kind| child(node, kind)).next();
    // The query of a view, and what else stands behind an `AS`.
    let query = child(node, "keyword_as").or(body);
    let part = |field: &str| {
        let part = reference.child_by_field_name(field)?;
        Some(unquoted(part, source))
    };
    let schema = [part("database"), part("schema")];
    let schema: Vec<String> = schema.into_iter().flatten().collect();
    Verdict::Is(Described {
        kind,
        name: part("name").or_else(|| Some(text(reference, source))),
        qualifier: (!schema.is_empty()).then(|| schema.join(".")),
        body,
        signature_end: query.map(|query| query.start_byte()),
        ..Described::default()
    })
}

/// An index lies in the schema of its table and has no other.
fn index<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let name = node.child_by_field_name("column");
    Verdict::Is(Described {
        name: name.map(|name| unquoted(name, source)),
        ..Described::default()
    })
}

fn unquoted(name: Node<'_>, source: &[u8]) -> String {
    let name = text(name, source);
    name.trim_matches(['"', '`', '[', ']']).to_owned()
}

/// Tells whether a statement that the grammar could not read runs into the next one.
fn swallows(node: Node<'_>, source: &[u8]) -> bool {
    let bytes = source.get(node.byte_range()).unwrap_or_default();
    let begins = |line: &[u8]| {
        line.get(..7)
            .is_some_and(|word| word.eq_ignore_ascii_case(b"create "))
    };
    node.has_error() && bytes.split(|byte| *byte == b'\n').skip(1).any(begins)
}
