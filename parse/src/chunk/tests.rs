//! Chunks of small sources in every language, and what holds for any bytes at all.

use tree_sitter::Parser;

use super::{Piece, by_lines, by_syntax};
use crate::language::{Loaded, loaded};

const LIMIT: usize = 1536;

fn language(name: &str) -> &'static Loaded {
    let found = loaded().iter().find(|loaded| loaded.language.name == name);
    found.unwrap_or_else(|| panic!("no language {name}"))
}

fn chunks(name: &str, source: &str, limit: usize) -> Vec<Piece> {
    let loaded = language(name);
    let mut parser = Parser::new();
    parser.set_language(&loaded.grammar).unwrap();
    by_syntax(source.as_bytes(), loaded, &mut parser, limit, &|| false).unwrap()
}

/// Writes chunks as `kind symbol first-last`, a parent as its index.
fn outline(pieces: &[Piece]) -> Vec<String> {
    pieces
        .iter()
        .map(|piece| {
            let symbol = piece.symbol.as_deref().unwrap_or("-");
            let (first, last) = piece.lines;
            let parent = piece.parent.map(|at| format!(" in {at}"));
            let parent = parent.unwrap_or_default();
            format!("{} {symbol} {first}-{last}{parent}", piece.kind)
        })
        .collect()
}

struct Case {
    language: &'static str,
    source: &'static str,
    expected: &'static [&'static str],
}

const CASES: &[Case] = &[
    Case {
        language: "rust",
        source: include_str!("../../tests/fixtures/sample.rs"),
        expected: &[
            "import - 1-4",
            "constant LIMITS 6-12",
            "struct Index 14-19",
            "method Index::open 21-26 in 2",
            "method Index::len 28-32 in 2",
            "trait Store 34-39",
            "method Store::clear 41-44 in 5",
            "macro square 46-50",
            "function inner::deep 52-57",
        ],
    },
    Case {
        language: "python",
        source: include_str!("../../tests/fixtures/sample.py"),
        expected: &[
            "block - 1-4",
            "constant LIMIT 6-6",
            "class Index 9-12",
            "method Index.__init__ 14-15 in 2",
            "method Index.open 17-20 in 2",
            "function retry 23-30",
        ],
    },
    Case {
        language: "javascript",
        source: include_str!("../../tests/fixtures/sample.js"),
        expected: &[
            "import - 1-2",
            "function area 4-7",
            "function double 9-9",
            "class Index 11-12",
            "method Index.constructor 13-15 in 3",
            "method Index.find 16-19 in 3",
            "function save 21-23",
            "method Index.close 25-27 in 3",
        ],
    },
    Case {
        language: "typescript",
        source: include_str!("../../tests/fixtures/sample.ts"),
        expected: &[
            "import - 1-1",
            "interface Shape 3-6",
            "type Id 8-8",
            "enum Color 10-13",
            "class Base 15-16",
            "method Base.run 17-19 in 4",
            "method Base.stop 21-25 in 4",
            "function Geo.area 27-31",
        ],
    },
    Case {
        language: "tsx",
        source: include_str!("../../tests/fixtures/sample.tsx"),
        expected: &["import - 1-1", "function Button 3-5", "function App 7-9"],
    },
    Case {
        language: "go",
        source: include_str!("../../tests/fixtures/sample.go"),
        expected: &[
            "import - 1-6",
            "struct Index 8-11",
            "interface Opener 13-14",
            "type Id 15-16",
            "method Index.Open 18-21 in 1",
            "function New 23-25",
        ],
    },
    Case {
        language: "java",
        source: include_str!("../../tests/fixtures/sample.java"),
        expected: &[
            "import - 1-3",
            "class Index 5-9",
            "method Index.Index 11-13 in 1",
            "method Index.size 15-18 in 1",
            "enum Index.Kind 20-22 in 1",
            "method Index.Kind.label 24-28 in 4",
        ],
    },
    Case {
        language: "c",
        source: include_str!("../../tests/fixtures/sample.c"),
        expected: &[
            "import - 1-2",
            "macro MAX 4-5",
            "struct point 7-10",
            "struct index_t 12-15",
            "function add 17-20",
        ],
    },
    Case {
        language: "cpp",
        source: include_str!("../../tests/fixtures/sample.cpp"),
        expected: &[
            "import - 1-2",
            "class geo::Shape 4-8",
            "method geo::Shape::area 9-13 in 1",
            "function geo::twice 15-19",
            "method geo::Shape::name 21-26 in 1",
        ],
    },
    Case {
        language: "markdown",
        source: include_str!("../../tests/fixtures/sample.md"),
        expected: &[
            "text - 1-2",
            "section Guide 4-9",
            "section Guide > Install 11-17 in 1",
            "section Guide > Use 19-22 in 1",
        ],
    },
];

#[test]
fn every_language_is_cut_along_its_syntax() {
    let mut wrong = Vec::new();
    for case in CASES {
        let pieces = chunks(case.language, case.source, LIMIT);
        check(case.source.as_bytes(), &pieces, LIMIT);
        let outline = outline(&pieces);
        if outline != case.expected {
            wrong.push(format!("{}: {outline:#?}", case.language));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_row_of_the_table_has_a_case() {
    for loaded in loaded() {
        let name = loaded.language.name;
        assert!(CASES.iter().any(|case| case.language == name), "{name}");
    }
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
fn any_bytes_are_covered_once() {
    let deep = "(".repeat(10_000);
    let nested = format!("fn f() {}{}", "{".repeat(3_000), "}".repeat(3_000));
    let line = "let x = 1; ".repeat(3_000);
    let quotes = "> ".repeat(3_000);
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
        &deep,
        &nested,
        &line,
        &quotes,
    ]
    .map(|text| text.as_bytes().to_vec())
    .into();
    sources.push(vec![0xff, 0xfe, b'a', 0x80, b'\n', 0xc3]);
    for case in CASES {
        let bytes = case.source.as_bytes();
        sources.push(case.source.replace('\n', "\r\n").into_bytes());
        // Cut anywhere, which breaks brackets, strings and characters.
        sources.extend((1..16).map(|part| bytes[..bytes.len() * part / 16].to_vec()));
        sources.push(scrambled(bytes));
    }
    for loaded in loaded() {
        let mut parser = Parser::new();
        parser.set_language(&loaded.grammar).unwrap();
        for source in &sources {
            for limit in [128, LIMIT] {
                // Giving up is an answer too; such a file is cut by lines.
                if let Some(pieces) = by_syntax(source, loaded, &mut parser, limit, &|| false) {
                    check(source, &pieces, limit);
                }
            }
        }
    }
    for source in &sources {
        check(source, &by_lines(source, 128), 128);
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

/// Checks what holds for the chunks of any file.
fn check(source: &[u8], pieces: &[Piece], limit: usize) {
    let shown = String::from_utf8_lossy(&source[..source.len().min(400)]).into_owned();
    let mut covered = super::body_of(source).start;
    for (index, piece) in pieces.iter().enumerate() {
        let bytes = piece.bytes.clone();
        assert!(
            covered <= bytes.start && bytes.start < bytes.end,
            "{piece:?} of {shown:?}"
        );
        assert!(bytes.len() <= limit, "{piece:?} of {shown:?}");
        let gap = &source[covered..bytes.start];
        assert!(gap.trim_ascii().is_empty(), "lost {gap:?} of {shown:?}");
        let line = |end: usize| source[..end].iter().filter(|byte| **byte == b'\n').count() + 1;
        assert_eq!(piece.lines.0 as usize, line(bytes.start), "{shown:?}");
        assert_eq!(piece.lines.1 as usize, line(bytes.end - 1), "{shown:?}");
        assert!(
            piece
                .parent
                .is_none_or(|parent| parent < pieces.len() && parent != index)
        );
        if let Ok(text) = std::str::from_utf8(source) {
            assert!(text.is_char_boundary(bytes.start) && text.is_char_boundary(bytes.end));
        }
        covered = bytes.end;
    }
    let gap = &source[covered.min(source.len())..];
    assert!(gap.trim_ascii().is_empty(), "lost {gap:?} of {shown:?}");
}
