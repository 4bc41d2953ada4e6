//! Files that no parser was made for: nothing crashes, hangs, or goes missing in silence.

use cs_tests::Home;
use serde_json::Value;

/// Returns the rows of a path.
fn rows(home: &Home, path: &str) -> Vec<Value> {
    let records = home.sh("cs-parse r --to jsonl -q").records();
    let rows = records.into_iter();
    rows.filter(|row| row["path"] == path && row["op"] == "put")
        .collect()
}

#[test]
fn text_that_is_not_quite_utf8_is_kept_and_named_by_its_own_bytes() {
    let home = Home::new();
    home.write("r/latin.py", b"def caf\xe9():\n    return 'na\xefve'\n");
    home.write("r/mark.py", b"\xef\xbb\xbfdef marked():\n    pass\n");
    home.write(
        "r/lines.py",
        b"def one():\r\n    pass\r\n\r\n\r\ndef two():\r\n    pass\r\n",
    );
    home.write("r/wide.txt", b"\xff\xfeh\0i\0");
    let latin = rows(&home, "latin.py");
    assert_eq!(latin.len(), 1);
    let content = latin[0]["content"].as_str().expect("content");
    assert!(content.contains("caf\u{fffd}"), "{content}");
    assert_eq!(
        (&latin[0]["start_byte"], &latin[0]["end_byte"]),
        (&0.into(), &30.into())
    );
    let mark = rows(&home, "mark.py");
    assert_eq!(
        (&mark[0]["symbol"], &mark[0]["start_byte"]),
        (&"marked".into(), &3.into())
    );
    let lines = rows(&home, "lines.py");
    let symbols: Vec<&Value> = lines.iter().map(|row| &row["symbol"]).collect();
    assert_eq!(symbols, ["one", "two"]);
    assert_eq!(lines[1]["start_line"], 5);
    // Sixteen-bit text has NUL characters, and counts as binary.
    assert!(rows(&home, "wide.txt").is_empty());
    home.sh("cs-parse r -v > /dev/null")
        .status(0)
        .says("1 binary left out");
}

#[test]
fn a_line_of_100_megabytes_is_named_or_cut() {
    let home = Home::new();
    home.sh("mkdir r; head -c 100000000 /dev/zero | tr '\\0' 'x' > r/long.js; echo 'let a = 1;' > r/a.js")
        .status(0);
    home.sh("cs-parse r > /dev/null")
        .status(1)
        .says("long.js: 100000000 bytes, more than --max-file-size 4194304")
        .says("1 not read");
    let script = "cs-parse r --max-file-size 1G --generated --max-chunk-bytes 65536 --to jsonl |
        jq -c 'select(.op == \"put\") | [.path, .end_byte - .start_byte]' > sizes
        tail -n 1 sizes; wc -l < sizes";
    let output = home
        .sh(script)
        .status(0)
        .says("long.js: too large to be parsed, cut by lines")
        .says("1 cut by lines");
    assert_eq!(output.text(), "[\"long.js\",57600]\n1527\n");
}

#[test]
fn what_is_nested_100_000_deep_is_cut_all_the_same() {
    let home = Home::new();
    let deep = |open: &str, close: &str| [open.repeat(100_000), close.repeat(100_000)].concat();
    home.write("r/a.py", format!("x = {}\n", deep("(", ")")));
    home.write("r/b.js", format!("x = {};\n", deep("[", "]")));
    home.write("r/c.rs", format!("fn f() {}\n", deep("{", "}")));
    home.write("r/d.json", deep("{\"a\":", "}"));
    home.write("r/e.c", format!("int x = {}1;\n", "-".repeat(100_000)));
    home.write("r/f.java", "class A {".repeat(100_000));
    home.write("r/g.html", deep("<b>", "</b>"));
    home.write("r/h.md", ">".repeat(100_000));
    home.write("r/i.yaml", deep("[", "]"));
    home.write(
        "r/j.rb",
        format!("{}{}", "module A\n".repeat(30_000), "end\n".repeat(30_000)),
    );
    let output = home
        .sh("timeout 120 cs-parse r --generated --to jsonl")
        .status(0);
    let covered = |path: &str| -> u64 {
        let rows = output
            .records()
            .into_iter()
            .filter(|row| row["path"] == path);
        rows.map(|row| {
            let at = |column: &str| row[column].as_u64().unwrap_or_default();
            at("end_byte") - at("start_byte")
        })
        .sum()
    };
    assert_eq!(covered("b.js"), 200_005);
    assert_eq!(covered("d.json"), 600_000);
    assert_eq!(covered("e.c"), 100_010);
}

#[test]
fn loops_of_links_end_and_what_is_no_file_is_left_alone() {
    let home = Home::new();
    home.write("r/a/b.rs", "fn b() {}\n");
    home.sh(
        "cd r; ln -s .. a/up; ln -s self self; ln -s a/b.rs link.rs; mkfifo pipe.rs
        ln -s nowhere broken.rs",
    )
    .status(0);
    let output = home.sh("timeout 20 cs-parse r --to jsonl").status(0);
    assert_eq!(output.changes(), ["put a/b.rs"]);
    home.sh("timeout 20 cs-parse r/pipe.rs")
        .status(2)
        .says("neither a folder nor a file");
    // A root may be a link, and is named as what it leads to.
    home.sh("ln -s r alias").status(0);
    let output = home.sh("cs-parse alias --to jsonl").status(0);
    assert_eq!(output.records()[1]["repo"], "r");
}

#[test]
fn a_file_that_changes_while_it_is_read_is_never_half_old() {
    let home = Home::new();
    for number in 0..200 {
        home.write(&format!("r/{number:03}.rs"), "fn old() {}\n");
    }
    // Files vanish, grow and shrink under the reader; each is read whole, or named.
    let script = "(for i in $(seq 0 199); do f=r/$(printf %03d $i).rs
            case $((i % 3)) in 0) rm $f;; 1) printf 'fn new() {}\\n%.0s' 1 2 3 > $f;; esac
        done) & cs-parse r --to jsonl; status=$?; wait; exit $status";
    let output = home.sh(script);
    let records = output.records();
    assert_eq!(
        records.last().map(|last| &last["op"]),
        Some(&"end".into()),
        "{output}"
    );
    for row in records.iter().filter(|row| row["op"] == "put") {
        let content = row["content"].as_str().expect("content");
        assert!(
            content == "fn old() {}" || !content.contains("old"),
            "{content}"
        );
    }
}

#[test]
fn code_that_takes_the_parser_too_long_is_cut_by_lines() {
    let home = Home::new();
    home.write(
        "r/dense.c",
        format!("int x[] = {{\n{}}};\n", "1,\n".repeat(1_000_000)),
    );
    // Ambiguous at each step: the parser keeps several readings.
    home.write("r/doubt.cpp", "a<(".repeat(60_000));
    home.write("r/fine.cpp", "int f() { return 1; }\n");
    let output = home
        .sh("timeout 120 cs-parse r --to jsonl")
        .status(0)
        .says("dense.c: takes the parser too long, cut by lines")
        .says("3 files, ")
        .says("; 1 cut by lines");
    let changes = output.changes();
    assert_eq!(changes, ["put dense.c", "put doubt.cpp", "put fine.cpp"]);
}
