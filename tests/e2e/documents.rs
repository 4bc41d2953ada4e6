//! The documents say what the code does: examples run, tables match.

use std::fs;

use cs_tests::{Home, python, root};

fn wire() -> String {
    fs::read_to_string(root().join("common/WIRE.md")).expect("WIRE.md")
}

/// Returns the first fenced block of a language.
fn example(text: &str, language: &str) -> String {
    let (_, rest) = text
        .split_once(&format!("```{language}\n"))
        .expect("the example");
    rest.split_once("```").expect("its end").0.to_owned()
}

fn home() -> Home {
    let home = Home::new();
    home.write(
        "repo/src/lib.rs",
        "use std::fs;\n\npub fn kept() -> u32 {\n    1\n}\n\npub struct S;\n",
    );
    home.write("repo/tests/all.rs", "fn dropped() {}\n");
    home
}

#[test]
fn the_python_stage_runs() {
    let Some(python) = python() else { return };
    let code = example(&wire(), "python");
    let lines = code.lines().filter(|line| !line.trim().is_empty()).count();
    assert!(lines <= 15, "{lines} lines");
    let home = home();
    home.write("stage.py", code);
    let python = python.display();
    home.sh(&format!(
        "cs-parse repo | {python} stage.py | cs-embed > v.arrows && cs-store db < v.arrows"
    ))
    .status(0);
    let rows = home.sh("cs-embed --to jsonl < v.arrows").status(0).text();
    assert!(rows.contains("kept") && !rows.contains("dropped"), "{rows}");
    assert!(
        rows.lines()
            .next()
            .unwrap_or_default()
            .contains("team.filter"),
        "{rows}"
    );
    // A failed upstream is no whole stream for it either: nothing of a cut one is stored.
    home.sh(&format!(
        "cs-parse repo | head -c -700 | {python} stage.py | cs-embed | cs-store cut"
    ))
    .status(2);
}

#[test]
fn the_shell_stage_runs() {
    let home = home();
    home.sh(&example(&wire(), "sh")).status(0);
    let hits = home
        .sh("cs-query --db functions.db kept --json -n 50")
        .status(0)
        .hits();
    assert!(!hits.is_empty());
    for hit in hits {
        assert_eq!(hit["kind"], "function", "{hit}");
    }
}

#[test]
fn the_table_of_columns_is_the_streams_schema() {
    let documented: Vec<(String, String, String)> = wire()
        .lines()
        .filter(|line| line.starts_with("| `") && line.matches('|').count() == 5)
        .map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let cell = |at: usize| cells.get(at).copied().unwrap_or_default().to_owned();
            (cell(1).replace('`', ""), cell(2), cell(3))
        })
        .filter(|(name, ..)| name != "vector")
        .collect();
    let coded: Vec<(String, String, String)> = cs_common::rows::columns()
        .map(|column| {
            let null = if column.nullable { "yes" } else { "no" };
            (
                column.name.to_owned(),
                column.data_type.to_string(),
                null.to_owned(),
            )
        })
        .collect();
    assert_eq!(documented, coded);
}
