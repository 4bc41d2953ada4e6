//! Cuts a Jupyter notebook by its cells.
//!
//! A notebook is JSON; what a person wrote stands in strings of it, between outputs and
//! other data. A chunk's text is what the strings of a cell say, its bytes are those of the
//! cell's JSON object. A cell that is too large is cut as a file of its language would be,
//! and the bytes of a part are those of its text in the strings.

use std::ops::Range;

use tree_sitter::{Node, Parser};

use super::{Lines, Parsed, Piece, Uncut, by_lines, by_syntax, parse, trim};
use crate::language::{self, Loaded, Syntax, child};

/// Cuts a notebook into its cells, and those into parts of at most `limit` bytes of text.
pub(crate) fn by_cells(
    source: &[u8],
    parser: &mut Parser,
    limit: usize,
    stop: &dyn Fn() -> bool,
) -> Result<Vec<Piece>, Uncut> {
    let json = tree_sitter_json::LANGUAGE.into();
    // Its turn, if it is large, is not held: the cells may want one.
    let Parsed { tree, .. } = parse(source, &json, parser, stop)?;
    let root = tree.root_node();
    let notebook = Some(root)
        .filter(|root| !root.has_error())
        .and_then(|root| child(root, "object"));
    let notebook = notebook.ok_or(Uncut::NoCells)?;
    let cells = value(notebook, "cells", source).filter(|cells| cells.kind() == "array");
    let cells = cells.ok_or(Uncut::NoCells)?;
    let mut cutter = Cutter {
        lines: Lines::new(source),
        kernel: kernel(notebook, source),
        parser,
        limit,
        stop,
        pieces: Vec::new(),
    };
    let mut cursor = cells.walk();
    for cell in cells.named_children(&mut cursor) {
        let text = Text::of(cell, source).ok_or(Uncut::NoCells)?;
        let kind = value(cell, "cell_type", source).and_then(|kind| string(kind, source));
        cutter.cell(cell.byte_range(), &text, source, kind.as_deref());
    }
    Ok(cutter.pieces)
}

/// Returns the value of a key of an object.
fn value<'t>(object: Node<'t>, key: &str, source: &[u8]) -> Option<Node<'t>> {
    let mut cursor = object.walk();
    let pair = object.named_children(&mut cursor).find(|pair| {
        let name = pair.child_by_field_name("key");
        name.and_then(|name| string(name, source)).as_deref() == Some(key)
    });
    pair?.child_by_field_name("value")
}

/// Returns what a JSON string says.
fn string(node: Node<'_>, source: &[u8]) -> Option<String> {
    serde_json::from_slice(source.get(node.byte_range())?).ok()
}

/// Returns the language of a notebook's code, `None` where that is not known here.
fn kernel(notebook: Node<'_>, source: &[u8]) -> Option<&'static Loaded> {
    let metadata = value(notebook, "metadata", source);
    let name = [("language_info", "name"), ("kernelspec", "language")]
        .into_iter()
        .find_map(|(key, field)| {
            let of_kernel = value(metadata?, key, source)?;
            string(value(of_kernel, field, source)?, source)
        });
    by_name(name.as_deref().unwrap_or("python"))
}

/// Names of languages in kernels and cell magics that the table has under another name.
const ALIASES: &[(&str, &str)] = &[
    ("c++", "cpp"),
    ("c++11", "cpp"),
    ("c++14", "cpp"),
    ("c++17", "cpp"),
    ("c++20", "cpp"),
    ("c#", "csharp"),
    ("f#", "fsharp"),
    ("js", "javascript"),
    ("latex", "tex"),
    ("pypy", "python"),
    ("python2", "python"),
    ("python3", "python"),
    ("sh", "bash"),
    ("svg", "xml"),
];

fn by_name(name: &str) -> Option<&'static Loaded> {
    let name = name.to_ascii_lowercase();
    let alias = ALIASES.iter().find(|(alias, _)| *alias == name);
    let name = alias.map_or(name.as_str(), |(_, name)| name);
    language::all().iter().find(|row| row.language.name == name)
}

/// The text of a cell, and where its strings stand in the file.
#[derive(Default)]
struct Text {
    text: String,
    /// Where each string begins in the text, and its bytes in the file without the quotes.
    strings: Vec<(usize, Range<usize>)>,
}

impl Text {
    /// Reads a cell's source, a string or a list of strings. `None` if it is neither.
    fn of(cell: Node<'_>, source: &[u8]) -> Option<Text> {
        let mut text = Text::default();
        let Some(lines) = value(cell, "source", source) else {
            return Some(text);
        };
        if lines.kind() == "array" {
            let mut cursor = lines.walk();
            for line in lines.named_children(&mut cursor) {
                text.push(line, source)?;
            }
        } else {
            text.push(lines, source)?;
        }
        Some(text)
    }

    fn push(&mut self, node: Node<'_>, source: &[u8]) -> Option<()> {
        let line = string(node, source)?;
        let inner = node.start_byte() + 1..node.end_byte().saturating_sub(1);
        self.strings.push((self.text.len(), inner));
        self.text.push_str(&line);
        Some(())
    }

    /// Returns the bytes of the file that say a part of the text, which is not empty.
    fn bytes(&self, part: Range<usize>, source: &[u8]) -> Range<usize> {
        let start = self.in_file(part.start, part.start, source);
        start
            ..self
                .in_file(part.end.saturating_sub(1), part.end, source)
                .max(start)
    }

    /// Returns where `at` stands in the file, in the string that `inside` stands in.
    fn in_file(&self, inside: usize, at: usize, source: &[u8]) -> usize {
        let after = self.strings.partition_point(|(start, _)| *start <= inside);
        let Some((start, bytes)) = after.checked_sub(1).and_then(|at| self.strings.get(at)) else {
            return 0;
        };
        let raw = source.get(bytes.clone()).unwrap_or_default();
        bytes.start + encoded_len(raw, at - start)
    }
}

/// Counts the bytes at the start of a JSON string's inside that say its first `len` bytes.
fn encoded_len(raw: &[u8], len: usize) -> usize {
    let mut said = 0;
    let mut at = 0;
    while said < len
        && let Some(byte) = raw.get(at)
    {
        let (read, says) = match (byte, raw.get(at + 1)) {
            (b'\\', Some(b'u')) => unit(raw, at),
            (b'\\', _) => (2, 1),
            _ => (1, 1),
        };
        at += read;
        said += says;
    }
    at.min(raw.len())
}

/// Returns the length of the `\u` escape at `at`, both halves of a pair, and that of the
/// character that it says.
fn unit(raw: &[u8], at: usize) -> (usize, usize) {
    let digits = raw.get(at + 2..at + 6).unwrap_or_default();
    let digits = std::str::from_utf8(digits).unwrap_or_default();
    match u32::from_str_radix(digits, 16) {
        Ok(0xD800..=0xDBFF) => (12, 4),
        Ok(code) => (6, char::from_u32(code).map_or(1, char::len_utf8)),
        Err(_) => (2, 1),
    }
}

struct Cutter<'a> {
    lines: Lines,
    kernel: Option<&'static Loaded>,
    parser: &'a mut Parser,
    limit: usize,
    stop: &'a dyn Fn() -> bool,
    pieces: Vec<Piece>,
}

impl Cutter<'_> {
    fn cell(&mut self, bytes: Range<usize>, text: &Text, source: &[u8], kind: Option<&str>) {
        let Some(whole) = trim(text.text.as_bytes(), 0..text.text.len()) else {
            return;
        };
        let language = match kind {
            Some("code") => magic(&text.text).or(self.kernel),
            Some("markdown") => by_name("markdown"),
            _ => by_name("text"),
        };
        let parts = self.parts(&text.text, language);
        if whole.len() > self.limit {
            self.split(parts, text, source, language);
            return;
        }
        let cell = Piece {
            lines: self.numbers(&bytes),
            bytes,
            kind: "cell",
            language: language.map(|row| row.language.name),
            text: text.text.get(whole).map(str::to_owned),
            ..titled(&parts, language, kind)
        };
        self.pieces.push(cell);
    }

    fn numbers(&self, bytes: &Range<usize>) -> (u32, u32) {
        let last = bytes.end.saturating_sub(1);
        (self.lines.number(bytes.start), self.lines.number(last))
    }

    /// Cuts a cell's text as a file of its language.
    fn parts(&mut self, text: &str, language: Option<&'static Loaded>) -> Vec<Piece> {
        let by_syntax = language.and_then(Loaded::syntax).and_then(|syntax| {
            let masked = masked(text, syntax);
            by_syntax(&masked, syntax, self.parser, self.limit, self.stop).ok()
        });
        by_syntax.unwrap_or_else(|| by_lines(text.as_bytes(), self.limit))
    }

    /// Makes chunks of the parts of a cell that is too large for one.
    fn split(
        &mut self,
        parts: Vec<Piece>,
        text: &Text,
        source: &[u8],
        language: Option<&'static Loaded>,
    ) {
        let first = self.pieces.len();
        let loose = language.map_or("text", |row| row.language.loose);
        for part in parts {
            let bytes = text.bytes(part.bytes.clone(), source);
            let is_loose = part.kind == loose || part.kind == "text";
            self.pieces.push(Piece {
                lines: self.numbers(&bytes),
                bytes,
                kind: if is_loose { "cell" } else { part.kind },
                parent: part.parent.map(|parent| first + parent),
                language: language.map(|row| row.language.name),
                text: text.text.get(part.bytes.clone()).map(str::to_owned),
                ..part
            });
        }
    }
}

/// Returns the language that a cell's first line asks for, such as `%%bash`.
fn magic(text: &str) -> Option<&'static Loaded> {
    by_name(text.strip_prefix("%%")?.split_whitespace().next()?)
}

/// Makes comments of the lines that are commands to a Python kernel and no Python.
fn masked(text: &str, syntax: &Syntax) -> Vec<u8> {
    let mut masked = text.as_bytes().to_vec();
    if syntax.language.name == "python" {
        for line in masked.split_inclusive_mut(|byte| *byte == b'\n') {
            if let Some(first @ (b'%' | b'!')) = line.first_mut() {
                *first = b'#';
            }
        }
    }
    masked
}

/// Names a cell for its first heading, or for the only definition in it.
fn titled(parts: &[Piece], language: Option<&'static Loaded>, kind: Option<&str>) -> Piece {
    let mut definitions = parts
        .iter()
        .filter(|part| part.parent.is_none() && part.name.is_some() && part.kind != "constant");
    let found = match (definitions.next(), definitions.next()) {
        (Some(first), _) if kind == Some("markdown") => {
            let separator = language.map_or("", |row| row.language.separator);
            let titles = first.symbol.as_deref();
            // Headings right above the first text are one path.
            let title = titles.and_then(|titles| titles.split(separator).next());
            return Piece {
                name: title.map(str::to_owned),
                symbol: first.symbol.clone(),
                ..Piece::default()
            };
        }
        (Some(only), None) => only,
        _ => return Piece::default(),
    };
    Piece {
        name: found.name.clone(),
        symbol: found.symbol.clone(),
        signature: found.signature.clone(),
        doc: found.doc.clone(),
        ..Piece::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(source: &str, limit: usize) -> Result<Vec<Piece>, Uncut> {
        by_cells(source.as_bytes(), &mut Parser::new(), limit, &|| false)
    }

    fn texts(pieces: &[Piece]) -> Vec<&str> {
        pieces
            .iter()
            .filter_map(|piece| piece.text.as_deref())
            .collect()
    }

    #[test]
    fn a_chunk_says_what_the_source_of_a_cell_says() {
        let source = r##"{"cells": [
 {"cell_type": "code", "source": ["a = \"\u00e9\"\r\n", "b\n"], "outputs": ["out"]},
 {"cell_type": "code", "source": "c"},
 {"cell_type": "code", "source": []},
 {"cell_type": "code", "outputs": []},
 {"cell_type": "markdown", "source": ["\n", " \n"]},
 {"cell_type": "raw", "source": "r"},
 {"cell_type": "markdown", "source": "# A\n## B\ntext"}
], "metadata": {"kernelspec": {"language": "julia"}}}"##;
        let pieces = cut(source, 128).unwrap();
        let expected = ["a = \"é\"\r\nb", "c", "r", "# A\n## B\ntext"];
        assert_eq!(texts(&pieces), expected);
        let languages: Vec<_> = pieces.iter().map(|piece| piece.language.unwrap()).collect();
        assert_eq!(languages, ["julia", "julia", "text", "markdown"]);
        let lines: Vec<_> = pieces.iter().map(|piece| piece.lines).collect();
        assert_eq!(lines, [(2, 2), (3, 3), (7, 7), (8, 8)]);
        for piece in &pieces {
            let json = &source[piece.bytes.clone()];
            assert!(json.starts_with("{\"cell_type") && json.ends_with('}'));
            assert_eq!(piece.kind, "cell");
        }
        assert_eq!(pieces[3].name.as_deref(), Some("A"));
        assert_eq!(pieces[3].symbol.as_deref(), Some("A > B"));
    }

    #[test]
    fn a_cell_with_one_definition_has_its_symbol() {
        for (cell, symbol) in [
            (
                r#""%time\nimport a\ndef f(x):\n    return x\nf(1)""#,
                Some("f"),
            ),
            (r#""class A:\n    def f(self): pass""#, Some("A")),
            (r#""def f(): pass\ndef g(): pass""#, None),
            (r#""LIMIT = 3""#, None),
            (r#""%%html\n<p>a</p>""#, None),
            (r#""%%javascript\nfunction f() { return 1; }""#, Some("f")),
        ] {
            let source = format!(r#"{{"cells": [{{"cell_type": "code", "source": {cell}}}]}}"#);
            let pieces = cut(&source, 1536).unwrap();
            assert_eq!(pieces.len(), 1, "{pieces:?}");
            assert_eq!(pieces[0].symbol.as_deref(), symbol, "{cell}");
        }
    }

    #[test]
    fn the_parts_of_a_large_cell_are_where_their_text_stands() {
        let lines: String = (0..40)
            .map(|line| format!("call_{line}(\"é \u{1f30a} \\\"\", 'tab\t')\n"))
            .collect();
        let code = format!("def f():\n    return 1\n\n{lines}");
        let list: Vec<&str> = code.split_inclusive('\n').collect();
        for value in [serde_json::json!(code), serde_json::json!(list)] {
            let cell = serde_json::json!({"cell_type": "code", "source": value});
            let source = serde_json::json!({"cells": [cell]}).to_string();
            // As it is written, and with escapes for all that is not ASCII.
            let escaped = source
                .replace('é', "\\u00e9")
                .replace('\u{1f30a}', "\\ud83c\\udf0a");
            for source in [source, escaped] {
                let pieces = cut(&source, 300).unwrap();
                assert!(pieces.len() > 3);
                assert_eq!(pieces[0].symbol.as_deref(), Some("f"));
                let mut end = 0;
                for piece in &pieces {
                    assert!(end <= piece.bytes.start && piece.text.as_ref().unwrap().len() <= 300);
                    end = piece.bytes.end;
                    // What stands there is the text, but for what JSON puts between strings.
                    let json = source[piece.bytes.clone()].replace("\",\"", "");
                    let said: String = serde_json::from_str(&format!("\"{json}\"")).unwrap();
                    assert_eq!(Some(said), piece.text);
                }
            }
        }
    }

    #[test]
    fn what_is_no_notebook_is_told() {
        for source in [
            "",
            "[]",
            "{}",
            r#"{"cells": 3}"#,
            r#"{"worksheets": [{"cells": []}], "nbformat": 3}"#,
            r#"{"cells": [{"cell_type": "code", "source": "a"}"#,
            r#"{"cells": [{"cell_type": "code", "source": [1]}]}"#,
            r#"{"cells": [{"cell_type": "code", "source": "\ud83c"}]}"#,
        ] {
            assert_eq!(cut(source, 128), Err(Uncut::NoCells), "{source}");
        }
        assert_eq!(cut(r#"{"cells": []}"#, 128), Ok(Vec::new()));
    }
}
