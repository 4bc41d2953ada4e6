//! Rules for SQL, whose definitions are statements.
//!
//! Every database speaks a dialect, and the grammar reads none wholly. What it cannot
//! read is broken open, and a `CREATE` found there is followed to the end of its
//! statement by its tokens alone.

use tree_sitter::Node;

use crate::language::{
    Class, Cut, Described, Grammar, Language, Outline, Role, Rule, Shape, Verdict, child,
};
use crate::text;

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
            Rule::new("create_index", Definition(Shape::Leaf, "index", created)),
            Rule::new("keyword_create", Definition(Shape::Leaf, "block", broken)),
            Rule::new("identifier", Definition(Shape::Leaf, "block", broken)),
            Rule::new(
                "function_declaration",
                Definition(Shape::Leaf, "block", mistaken),
            ),
            Rule::new(
                "binary_expression",
                Definition(Shape::Leaf, "block", mistaken),
            ),
            Rule::new("invocation", Definition(Shape::Leaf, "block", mistaken)),
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

/// How far the end of a broken statement is looked for.
const MAX_STATEMENT: usize = 64 * 1024;

/// How many words may stand between `CREATE` and the name.
const MAX_WORDS: usize = 12;

/// The longest name kept, in bytes.
const MAX_NAME: usize = 200;

/// Describes a `CREATE` that the grammar could read.
fn created<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    if runs_on(node, source) {
        return Verdict::Open;
    }
    let bytes = source.get(node.byte_range()).unwrap_or_default();
    let Some(head) = Head::read(bytes) else {
        return Verdict::Gathered(Class::Other);
    };
    let kind = match node.kind() {
        "create_type" if child(node, "keyword_enum").is_some() => "enum",
        "create_type" if child(node, "column_definitions").is_some() => "struct",
        _ => head.kind,
    };
    let bodies = ["function_body", "column_definitions", "enum_elements"].into_iter();
    let body = bodies.filter_map(|kind| child(node, kind)).next();
    // The query of a view, and what else stands behind an `AS`.
    let end = child(node, "keyword_as").or(body);
    let end = end.map(|end| end.start_byte());
    // Of a function the body's node may begin late.
    let code = statement(bytes).body.filter(|_| head.kind == "function");
    Verdict::Is(Described {
        kind: Some(kind),
        body,
        signature_end: code.map(|code| node.start_byte() + code).or(end),
        ..head.described()
    })
}

/// Tells whether a statement that the grammar could not read goes on into the next one.
fn runs_on(node: Node<'_>, source: &[u8]) -> bool {
    let bytes = source.get(node.byte_range()).unwrap_or_default();
    node.has_error()
        && !bytes
            .get(statement(bytes).end..)
            .is_none_or(<[u8]>::is_empty)
}

/// Describes a `CREATE` inside of what the grammar could not read, where it may be taken
/// for a name.
fn broken<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let is_broken = match node.kind() {
        "identifier" => true,
        _ => node
            .parent()
            .is_some_and(|parent| parent.is_error() || runs_on(parent, source)),
    };
    let bytes = source.get(node.start_byte()..).unwrap_or_default();
    match Head::read(bytes).filter(|_| is_broken) {
        Some(head) => {
            let statement = statement(bytes);
            let end = statement.body.unwrap_or(statement.end);
            Verdict::Is(Described {
                kind: Some(head.kind),
                signature_end: Some(node.start_byte() + end),
                end: Some(node.start_byte() + statement.end),
                ..head.described()
            })
        }
        None => Verdict::Gathered(Class::Other),
    }
}

/// Opens an expression that the grammar made of statements.
fn mistaken<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let bytes = source.get(node.byte_range()).unwrap_or_default();
    let begins = |line: &[u8]| {
        let word = line.get(..7).unwrap_or_default();
        word.eq_ignore_ascii_case(b"create ")
    };
    if bytes.split(|byte| *byte == b'\n').any(begins) {
        Verdict::Open
    } else {
        Verdict::Gathered(Class::Other)
    }
}

/// What a `CREATE` says before its details.
struct Head {
    kind: &'static str,
    name: Option<String>,
    schema: Option<String>,
}

impl Head {
    fn read(statement: &[u8]) -> Option<Self> {
        let (create, mut rest) = statement.split_at_checked(6)?;
        if !create.eq_ignore_ascii_case(b"create") {
            return None;
        }
        let mut kind = None;
        for _ in 0..MAX_WORDS {
            rest = rest.trim_ascii_start();
            let (word, after) = split_word(rest);
            match &*word.to_ascii_uppercase() {
                b"" => break,
                b"TABLE" if kind.is_none() => kind = Some("table"),
                b"VIEW" if kind.is_none() => kind = Some("view"),
                b"INDEX" if kind.is_none() => kind = Some("index"),
                b"TRIGGER" if kind.is_none() => kind = Some("trigger"),
                b"TYPE" | b"DOMAIN" if kind.is_none() => kind = Some("type"),
                b"FUNCTION" | b"PROCEDURE" | b"PROC" if kind.is_none() => kind = Some("function"),
                b"IF" | b"NOT" | b"EXISTS" | b"CONCURRENTLY" if kind.is_some() => {}
                b"OR" | b"REPLACE" | b"ALTER" | b"UNIQUE" | b"TEMP" | b"TEMPORARY"
                | b"UNLOGGED" | b"MATERIALIZED" | b"GLOBAL" | b"LOCAL" | b"VIRTUAL"
                | b"FOREIGN" | b"RECURSIVE" | b"CONSTRAINT" | b"EVENT" | b"CLUSTERED"
                | b"NONCLUSTERED" | b"DEFINER"
                    if kind.is_none() => {}
                _ => break,
            }
            rest = after;
            if word.eq_ignore_ascii_case(b"definer") {
                let account = rest.iter().position(u8::is_ascii_whitespace);
                rest = rest.get(account?..).unwrap_or_default();
            }
        }
        let mut parts = name_parts(rest);
        let name = parts.pop().filter(|name| !name.eq_ignore_ascii_case("on"));
        Some(Head {
            kind: kind?,
            name,
            schema: (!parts.is_empty()).then(|| parts.join(".")),
        })
    }

    fn described<'t>(self) -> Described<'t> {
        Described {
            name: self.name,
            qualifier: self.schema,
            ..Described::default()
        }
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte > 127
}

/// Reads `a."b c".[d]` into its parts, without quotes.
fn name_parts(bytes: &[u8]) -> Vec<String> {
    let mut parts = Vec::new();
    let mut rest = bytes.get(..bytes.len().min(MAX_NAME)).unwrap_or_default();
    while let Some(first) = rest.first() {
        let (open, close) = match first {
            b'"' | b'`' => (1, Some(first)),
            b'[' => (1, Some(&b']')),
            _ => (0, None),
        };
        let inner = rest.get(open..).unwrap_or_default();
        let is_inside = |byte: &&u8| close.map_or_else(|| is_word(**byte), |close| *byte != close);
        let length = inner.iter().take_while(is_inside).count();
        let (part, after) = inner.split_at(length);
        if part.is_empty() {
            break;
        }
        parts.push(text::collapse(part, MAX_NAME));
        let after = after.get(open..).unwrap_or_default();
        match after.strip_prefix(b".") {
            Some(next) => rest = next,
            None => break,
        }
    }
    parts
}

/// Where the parts of a statement are.
struct Statement {
    /// Where the body of a function or the query of a view begins.
    body: Option<usize>,
    /// After the semicolon.
    end: usize,
}

/// Finds the end of the statement that `bytes` begin with.
fn statement(bytes: &[u8]) -> Statement {
    let bytes = bytes.get(..bytes.len().min(MAX_STATEMENT));
    let bytes = bytes.unwrap_or_default();
    let mut body = None;
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let (word, after) = split_word(rest);
        match &*word.to_ascii_uppercase() {
            b"" if depth == 0 && rest.starts_with(b";") => {
                return Statement { body, end: at + 1 };
            }
            b"AS" => body = body.or(Some(at)),
            b"BEGIN" | b"CASE" => {
                body = body.or(Some(at));
                depth += 1;
            }
            // MySQL's clients end it with what its semicolons must not be taken for.
            b"END" if depth == 1 && ends_with_delimiter(after) => {
                return Statement { body, end: at + 3 };
            }
            b"END" if !closes_other(after) => depth = depth.saturating_sub(1),
            b"GO" if depth == 0 && is_alone(bytes, at) => return Statement { body, end: at },
            _ => {}
        }
        at += word.len().max(skipped(rest));
    }
    Statement {
        body,
        end: bytes.len(),
    }
}

/// Splits off the word that `bytes` begin with, which may be empty.
fn split_word(bytes: &[u8]) -> (&[u8], &[u8]) {
    let length = bytes.iter().take_while(|byte| is_word(**byte)).count();
    bytes.split_at(length)
}

/// Tells from what follows an `END` whether it is that of an `IF` or a loop, which are
/// not counted.
fn closes_other(after: &[u8]) -> bool {
    let (word, _) = split_word(after.trim_ascii_start());
    matches!(
        &*word.to_ascii_uppercase(),
        b"IF" | b"LOOP" | b"WHILE" | b"REPEAT" | b"FOR"
    )
}

fn ends_with_delimiter(after: &[u8]) -> bool {
    let after = after.trim_ascii_start();
    after.starts_with(b"$$") || after.starts_with(b"//")
}

/// Tells whether the two letters at `at` have their line to themselves.
fn is_alone(bytes: &[u8], at: usize) -> bool {
    let (before, after) = bytes.split_at_checked(at).unwrap_or_default();
    let line = after.split(|byte| *byte == b'\n').next();
    before.ends_with(b"\n") && line.is_some_and(|line| line.trim_ascii().len() == 2)
}

/// Returns how long the string or comment is that `rest` begins with, 1 where it is none.
fn skipped(rest: &[u8]) -> usize {
    let (open, close): (usize, &[u8]) = match rest {
        [b'\'', ..] => (1, b"'"),
        [b'"', ..] => (1, b"\""),
        [b'`', ..] => (1, b"`"),
        [b'-', b'-', ..] => (2, b"\n"),
        [b'/', b'*', ..] => (2, b"*/"),
        [b'$', after @ ..] => {
            let (tag, _) = split_word(after);
            match rest.get(..tag.len() + 2) {
                Some(tag) if tag.ends_with(b"$") => (tag.len(), tag),
                _ => return 1,
            }
        }
        _ => return 1,
    };
    let inner = rest.get(open..).unwrap_or_default();
    let found = inner.windows(close.len()).position(|part| part == close);
    found.map_or(rest.len(), |found| open + found + close.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_ends_at_its_own_semicolon() {
        for (source, expected) in [
            ("create table a (b int); c", "create table a (b int);"),
            (
                "create view a as select ';'; c",
                "create view a as select ';';",
            ),
            (
                "create index a -- ;\n on b; c",
                "create index a -- ;\n on b;",
            ),
            (
                "create function a as $b$;$$;$b$; c",
                "create function a as $b$;$$;$b$;",
            ),
            (
                "create proc a begin if b begin c; end; d; end; e",
                "create proc a begin if b begin c; end; d; end;",
            ),
            (
                "create proc a begin if b then c; end if; end; d;",
                "create proc a begin if b then c; end if; end;",
            ),
            ("create table a (b int)\nGO\nc", "create table a (b int)\n"),
            (
                "create proc a() begin b; end$$\nc $$",
                "create proc a() begin b; end",
            ),
            ("create table a 'b;", "create table a 'b;"),
        ] {
            let end = statement(source.as_bytes()).end;
            assert_eq!(source.get(..end), Some(expected));
        }
    }

    #[test]
    fn a_create_tells_kind_and_name() {
        for (source, expected) in [
            ("CREATE TABLE IF NOT EXISTS a.b (", Some(("table", "a/b"))),
            (
                "create or alter proc [a].[b c] as",
                Some(("function", "a/b c")),
            ),
            ("create unique index on a (b)", Some(("index", "/"))),
            ("create temp table \"a\"", Some(("table", "/a"))),
            ("create definer=`a`@`b` trigger c", Some(("trigger", "/c"))),
            ("create role a", None),
            ("created", None),
        ] {
            let found = Head::read(source.as_bytes()).map(|head| {
                let schema = head.schema.unwrap_or_default();
                (
                    head.kind,
                    format!("{schema}/{}", head.name.unwrap_or_default()),
                )
            });
            let found = found.as_ref().map(|(kind, name)| (*kind, name.as_str()));
            assert_eq!(found, expected, "{source}");
        }
    }
}
