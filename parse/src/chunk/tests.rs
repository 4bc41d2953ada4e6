//! Chunks of small sources in every language, and what holds for any bytes at all.

use std::fs;
use std::path::{Path, PathBuf};

use tree_sitter::Parser;

use super::check::Checked;
use super::{Piece, by_lines, by_syntax};
use crate::language::{Cut, Syntax, all};

const LIMIT: usize = 1536;

/// A text that makes an entry of a data file large enough for a chunk.
const LONG: &str = "a long text, a long text, a long text, a long text, a long text, a long text, \
                    a long text, a long text, a long text, a long text, a long text, a long text, \
                    a long text, a long text, a long text, a long text, a long text, a long text";

fn syntaxes() -> impl Iterator<Item = &'static Syntax> {
    all().iter().filter_map(|loaded| loaded.syntax())
}

fn chunks(name: &str, source: &str, limit: usize) -> Vec<Piece> {
    let found = all().iter().find(|loaded| loaded.language.name == name);
    let loaded = found.unwrap_or_else(|| panic!("no language {name}"));
    let (pieces, cause) = crate::file::cut(source.as_bytes(), Some(loaded), limit, &|| false);
    assert_eq!(cause, None, "{name}");
    pieces
}

/// Writes chunks as `kind symbol first-last`, a parent as its index, members below; a
/// language of its own as `kind:language`.
fn outline(pieces: &[Piece]) -> Vec<String> {
    pieces
        .iter()
        .map(|piece| {
            let symbol = piece.symbol.as_deref().unwrap_or("-");
            let (first, last) = piece.lines;
            let parent = piece.parent.map(|at| format!(" in {at}"));
            let parent = parent.unwrap_or_default();
            let members = piece.members.as_deref().unwrap_or_default();
            let language = piece.language.map(|name| format!(":{name}"));
            let kind = format!("{}{}", piece.kind, language.unwrap_or_default());
            format!("{kind} {symbol} {first}-{last}{parent}{members}")
        })
        .collect()
}

/// Returns the fixture of each language with a way of its own to be cut, and of plain text,
/// as (name, path, source).
fn fixtures() -> Vec<(&'static str, PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    all()
        .iter()
        .map(|loaded| loaded.language)
        .filter(|language| !matches!(language.cut, Cut::Lines) || language.name == "text")
        .map(|language| {
            let name = match language.extensions {
                [extension, ..] => format!("{}.{extension}", language.name),
                [] => language.file_names[0].to_owned(),
            };
            let path = folder.join(name);
            let source = fs::read_to_string(&path);
            let source = source.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            (language.name, path, source)
        })
        .collect()
}

/// Compares the chunks of each language's fixture with the snapshot beside it, which a
/// person has read. `CS_BLESS=1` writes the snapshots anew, to be read again.
#[test]
fn every_language_is_cut_along_its_syntax() {
    let mut wrong = Vec::new();
    for (language, path, source) in fixtures() {
        let pieces = chunks(language, &source, LIMIT);
        if language != "jupyter" {
            check(source.as_bytes(), &pieces, LIMIT);
        }
        let snapshot = path.with_added_extension("chunks");
        let outline = outline(&pieces).join("\n") + "\n";
        if std::env::var_os("CS_BLESS").is_some() {
            fs::write(&snapshot, &outline).unwrap();
        }
        if fs::read_to_string(&snapshot).ok().as_ref() != Some(&outline) {
            wrong.push(format!("{}:\n{outline}", snapshot.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn signatures_and_documentation_are_found() {
    for (language, source, signature, doc) in [
        (
            "rust",
            "/// Adds.\n#[inline]\npub fn add(\n    a: u8,\n) -> u8 {\n    a\n}\n",
            "pub fn add( a: u8, ) -> u8",
            "Adds.",
        ),
        (
            "python",
            "@cached\ndef add(a):\n    \"\"\"Adds.\"\"\"\n    return a\n",
            "def add(a)",
            "Adds.",
        ),
        (
            "typescript",
            "/** Adds. */\nexport const add = (a: number) => { return a; };\n",
            "export const add = (a: number)",
            "Adds.",
        ),
        (
            "go",
            "// Pair is two.\ntype Pair struct {\n\tA, B int\n}\n",
            "type Pair struct",
            "Pair is two.",
        ),
        (
            "cpp",
            "// Adds.\ntemplate <class T>\nT add(T a) {\n  return a;\n}\n",
            "template <class T> T add(T a)",
            "Adds.",
        ),
        (
            "swift",
            "/// Adds.\n@inlinable @discardableResult\npublic func add<T>(\n    _ a: T\n) throws -> T where T: Numeric {\n    a\n}\n",
            "public func add<T>( _ a: T ) throws -> T where T: Numeric",
            "Adds.",
        ),
        (
            "dart",
            "/// Adds.\n@pragma('inline') @visible\nFuture<int> add(\n  int a, {\n  int? b,\n}) async {\n  return a;\n}\n",
            "Future<int> add( int a, { int? b, })",
            "Adds.",
        ),
        (
            "bash",
            "# Adds.\n#\n# Prints it.\nfunction add() {\n  echo $(($1 + 1))\n}\n",
            "function add()",
            "Adds.\n\nPrints it.",
        ),
        (
            "lua",
            "--- Adds.\n-- @param a one\nM.add = function(a)\n  return a\nend\n",
            "M.add = function(a)",
            "Adds.\n@param a one",
        ),
        (
            "elixir",
            "@doc \"\"\"\nAdds.\n\"\"\"\n@spec add(a) :: a\ndef add(a) when a > 1, do: a\ndef add(_), do: 1\n",
            "def add(a) when a > 1",
            "Adds.",
        ),
        (
            "haskell",
            "-- | Adds.\nadd\n  :: Int\n  -> Int\n{-# INLINE add #-}\nadd 0 = 1\nadd a = a\n",
            "add :: Int -> Int",
            "Adds.",
        ),
        (
            "ocaml",
            "(** Adds. *)\nlet rec add\n    ~by a : int =\n  by + a\n",
            "let rec add ~by a : int",
            "Adds.",
        ),
        (
            "ocaml_interface",
            "val add : int -> int\n(** Adds.\n    One. *)\n\n",
            "val add : int -> int",
            "Adds.\nOne.",
        ),
        (
            "ruby",
            "# Adds.\n#\n# @return [Integer]\nprivate def add(\n  a:,\n  b: 1\n) # both\n  a + b\nend\n",
            "private def add( a:, b: 1 )",
            "Adds.\n\n@return [Integer]",
        ),
        (
            "php",
            "<?php\n/**\n * Adds.\n */\n#[Pure]\nfunction add(\n    int $a,\n): int\n{\n    return $a;\n}\n",
            "function add( int $a, ): int",
            "Adds.",
        ),
        (
            "julia",
            "\"\"\"\n    add(a)\n\nAdds.\n\"\"\"\n@inline function add(\n    a::T,\n)::T where {T}\n    a\nend\n",
            "@inline function add( a::T, )::T where {T}",
            "add(a)\n\nAdds.",
        ),
        (
            "r",
            "#' Adds\n#'\n#' @export\nadd <- function(a,\n                b = 1) {\n  a + b\n}\n",
            "add <- function(a, b = 1)",
            "Adds\n\n@export",
        ),
        (
            "zig",
            "/// Adds.\npub fn add(\n    a: u8,\n) !u8 {\n    return a;\n}\n",
            "pub fn add( a: u8, ) !u8",
            "Adds.",
        ),
        (
            "zig",
            "/// A list.\npub fn List(comptime T: type) type {\n    return struct { a: T };\n}\n",
            "pub fn List(comptime T: type) type",
            "A list.",
        ),
        (
            "sql",
            "-- Adds.\nCREATE FUNCTION app.add(a int)\nRETURNS int AS $$\n  SELECT a + 1;\n$$ LANGUAGE sql;\n",
            "CREATE FUNCTION app.add(a int) RETURNS int",
            "Adds.",
        ),
        (
            "sql",
            "/* The living. */\ncreate view living as\nselect * from people where died is null;\n",
            "create view living",
            "The living.",
        ),
        (
            "toml",
            &format!("# Adds.\n[a.\"b c\"] # d\ne = \"{LONG}\"\n"),
            "[a.\"b c\"]",
            "Adds.",
        ),
        (
            "terraform",
            "# Adds.\nresource \"a\" \"b\" {\n  c = 1\n}\n",
            "resource \"a\" \"b\"",
            "Adds.",
        ),
        (
            "protobuf",
            "// Adds.\nservice A {\n  option b = false;\n}\n",
            "service A",
            "Adds.",
        ),
        (
            "css",
            &format!("/* Adds. */\na:hover,\nb > c {{\n  content: \"{LONG}\";\n}}\n"),
            "a:hover, b > c",
            "Adds.",
        ),
        (
            "dockerfile",
            "# Adds.\nFROM a:1 AS b\n\n# Runs.\nRUN c\n",
            "FROM a:1 AS b",
            "Adds.",
        ),
        (
            "make",
            "# Adds.\na b: c | \\\n\td\n\techo $@\n",
            "a b: c | \\ d",
            "Adds.",
        ),
        (
            "cmake",
            "#[[ Adds.\n]]\nfunction(add\n  a b)\n  set(c 1)\nendfunction()\n",
            "function(add a b)",
            "Adds.",
        ),
        (
            "csharp",
            "/// Adds.\n[Pure]\npublic static int Add(\n    int a)\n{\n    return a;\n}\n",
            "public static int Add( int a)",
            "Adds.",
        ),
        (
            "kotlin",
            "/**\n * Adds.\n */\n@Pure\ninline fun <T> List<T>.add(\n    a: T,\n): T = a\n",
            "inline fun <T> List<T>.add( a: T, ): T",
            "Adds.",
        ),
        (
            "scala",
            "/** Adds. */\n@inline\nfinal def add(\n    a: Int\n)(implicit b: Int): Int = {\n  a\n}\n",
            "final def add( a: Int )(implicit b: Int): Int",
            "Adds.",
        ),
    ] {
        let pieces = chunks(language, source, LIMIT);
        assert_eq!(pieces.len(), 1, "{language}: {pieces:?}");
        assert_eq!(
            pieces[0].signature.as_deref(),
            Some(signature),
            "{language}"
        );
        assert_eq!(pieces[0].doc.as_deref(), Some(doc), "{language}");
    }
}

#[test]
fn a_large_document_is_cut_at_its_entries() {
    let yaml = |number| format!("  # Says {number}.\n  'key {number}':\n    text: {LONG}\n\n");
    let json = |number| format!("// Says {number}.\n\"key {number}\": [\"{LONG}\"],\n");
    let yaml: String = (0..8).map(yaml).collect();
    let json: String = (0..8).map(json).collect();
    for (language, source, signatures) in [
        ("yaml", format!("keys:\n{yaml}"), "'key 3'"),
        (
            "json",
            format!("{{\"keys\": {{\n{json}\"last\": 1}}}}\n"),
            "\"key 3\"",
        ),
    ] {
        let pieces = chunks(language, &source, LIMIT);
        assert_eq!(pieces.len(), 8, "{pieces:?}");
        let piece = &pieces[3];
        assert_eq!(piece.kind, "entry");
        assert_eq!(piece.symbol.as_deref(), Some("keys.key 3"));
        assert_eq!(piece.doc.as_deref(), Some("Says 3."));
        assert_eq!(piece.signature.as_deref(), Some(signatures));
    }
}

#[test]
fn a_large_function_is_cut_at_statements_and_its_pieces_belong_together() {
    let statements: String = (0..60)
        .map(|number| format!("    call_number_{number}(with_an_argument);\n"))
        .collect();
    let source = format!("/// Doc.\nfn large() {{\n{statements}}}\n");
    let pieces = chunks("rust", &source, 600);
    assert!(pieces.len() > 3);
    check(source.as_bytes(), &pieces, 600);
    for (index, piece) in pieces.iter().enumerate() {
        assert_eq!(piece.kind, "function");
        assert_eq!(piece.symbol.as_deref(), Some("large"));
        assert_eq!(piece.parent, (index > 0).then_some(0));
        let text = &source[piece.bytes.clone()];
        assert!(text.ends_with([';', '}']), "{text}");
        assert!(text.len() > 300, "{text}");
    }
}

#[test]
fn a_large_header_is_no_member_of_itself() {
    let fields: String = (0..60)
        .map(|number| format!("    private int field_number_{number};\n"))
        .collect();
    let source = format!("class Large {{\n{fields}\n    int first() {{ return 1; }}\n}}\n");
    let pieces = chunks("java", &source, 600);
    check(source.as_bytes(), &pieces, 600);
    let kinds: Vec<&str> = pieces.iter().map(|piece| piece.kind).collect();
    assert!(
        kinds.len() > 3 && kinds.starts_with(&["class", "class"]),
        "{kinds:?}"
    );
    let members = pieces[0].members.as_deref().unwrap_or("\n    int first()");
    assert_eq!(members, "\n    int first()");
    assert!(
        pieces[1..]
            .iter()
            .all(|piece| piece.members.is_none() && piece.parent == Some(0))
    );
}

#[test]
fn any_bytes_are_covered_once() {
    let deep = "(".repeat(10_000);
    let nested = format!("fn f() {}{}", "{".repeat(3_000), "}".repeat(3_000));
    let line = "let x = 1; ".repeat(3_000);
    let quotes = "> ".repeat(3_000);
    let dashes = "- ".repeat(400);
    let stairs: String = (0..300)
        .map(|level| format!("{:level$}key:\n", ""))
        .collect();
    let mut sources: Vec<Vec<u8>> = [
        "",
        "\n\n  \n",
        "\u{feff}",
        "\u{feff}fn a() {}\r\n\r\nfn b() {}",
        "// only\n// comments\n",
        "\t\tx\t\n",
        "fn broken( {\n class } def :\n",
        "\"unterminated",
        "/* unterminated\n\n\n",
        "}\n}\n)\n",
        "val a = 1\n@Sync",
        &deep,
        &nested,
        &line,
        &quotes,
        &dashes,
        &stairs,
    ]
    .map(|text| text.as_bytes().to_vec())
    .into();
    sources.push(vec![0xff, 0xfe, b'a', 0x80, b'\n', 0xc3]);
    for source in &sources {
        check(source, &by_lines(source, 128), 128);
    }
    // A language's own code broken in many ways, and some of another language.
    let fixtures = fixtures();
    let sources_of = |name: &str| {
        let own = fixtures.iter().position(|(language, ..)| *language == name);
        let own = own.unwrap_or_else(|| panic!("no fixture of {name}"));
        let (_, _, source) = &fixtures[own];
        let (_, _, other) = &fixtures[(own + 7) % fixtures.len()];
        let bytes = source.as_bytes();
        // Cut anywhere, which breaks brackets, strings and characters.
        let mut broken: Vec<Vec<u8>> = (1..16)
            .map(|part| bytes[..bytes.len() * part / 16].to_vec())
            .collect();
        broken.push(source.replace('\n', "\r\n").into_bytes());
        broken.push(scrambled(bytes));
        broken.push(scrambled(other.as_bytes()));
        broken
    };
    for syntax in syntaxes() {
        let mut parser = Parser::new();
        for source in sources.iter().chain(&sources_of(syntax.language.name)) {
            for limit in [128, LIMIT] {
                // Giving up is an answer too; such a file is cut by lines.
                if let Ok(pieces) = by_syntax(source, syntax, &mut parser, limit, &|| false) {
                    check(source, &pieces, limit);
                }
            }
        }
    }
}

/// Swaps lines about, in the same way each time.
fn scrambled(bytes: &[u8]) -> Vec<u8> {
    let lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    let count = lines.len();
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by_key(|line| (line * 7919) % count.max(1));
    order
        .into_iter()
        .flat_map(|line| lines[line].to_vec())
        .collect()
}

fn check(source: &[u8], pieces: &[Piece], limit: usize) {
    let chunks: Vec<Checked> = pieces
        .iter()
        .map(|piece| Checked {
            bytes: piece.bytes.clone(),
            lines: piece.lines,
            parent: piece.parent,
        })
        .collect();
    super::check::check(source, &chunks, limit);
}
