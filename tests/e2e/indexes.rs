//! The indexes of a store and its upkeep: nothing is missed, nothing decays.

use std::ops::Range;

use cs_tests::Home;
use serde_json::Value;

const INDEX: &str = "cs-parse repo | cs-embed | cs-store db";
const UPDATE: &str = "cs-parse repo --since db | cs-embed | cs-store -v db";

/// Rows that may lie outside of an index.
const TAIL_ROWS: u64 = 1_000;

/// The text-indexed columns.
const TEXT: [&str; 3] = ["content", "path", "symbol"];

/// Writes a file of functions, a chunk each.
fn write_functions(home: &Home, path: &str, numbers: Range<usize>) {
    let function = |i| format!("/// Returns {i}.\npub fn number_{i}() -> u64 {{\n    {i}\n}}\n\n");
    home.write(path, numbers.map(function).collect::<String>());
}

fn info(home: &Home, db: &str) -> Value {
    let output = home.sh(&format!("cs-store info {db} --json"));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output}"))
}

/// Each index as (kind and column, rows outside of it), sorted.
fn indexes(info: &Value) -> Vec<(String, u64)> {
    let indexes = info["indexes"].as_array().expect("a list");
    let mut indexes: Vec<(String, u64)> = indexes
        .iter()
        .map(|index| {
            let text = |key: &str| index[key].as_str().expect("text").to_owned();
            let outside = index["unindexed_rows"].as_u64().expect("a number");
            (format!("{} {}", text("kind"), text("column")), outside)
        })
        .collect();
    indexes.sort_unstable();
    indexes
}

/// The rows of a store, as sorted lines.
fn rows(home: &Home, db: &str) -> Vec<String> {
    let export =
        format!("cs-store export {db} --to jsonl | jq -cS 'select(.op == \"put\")' | sort");
    let text = home.sh(&export).status(0).text();
    text.lines().map(str::to_owned).collect()
}

/// The symbols that are found, best first.
fn found(home: &Home, query: &str) -> Vec<String> {
    let output = home.sh(&format!("cs-query {query} --json")).status(0);
    let hits = output.hits();
    let symbols = hits.iter().map(|hit| hit["symbol"].as_str());
    symbols
        .map(|symbol| symbol.unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn a_store_gets_the_indexes_that_its_size_needs() {
    let home = Home::new();
    write_functions(&home, "repo/a.rs", 0..50);
    write_functions(&home, "repo/it's.rs", 70_000..70_002);
    home.sh(INDEX).status(0);
    let text = TEXT.map(|column| (format!("FTS {column}"), 0));
    assert_eq!(indexes(&info(&home, "db")), text);

    for file in 0..31 {
        let first = 1_000 * (file + 1);
        write_functions(&home, &format!("repo/b{file}.rs"), first..first + 1_000);
    }
    home.sh(UPDATE).status(0);
    let expected = [
        "BITMAP kind",
        "BITMAP language",
        "BITMAP project",
        "BITMAP repo",
        "BTREE name",
        "BTREE path",
        "BTREE symbol",
        "FTS content",
        "FTS path",
        "FTS symbol",
        "IVF_RQ vector",
    ];
    let expected = expected.map(|index| (index.to_owned(), 0));
    assert_eq!(indexes(&info(&home, "db")), expected);
    for number in [7, 1_000, 17_171, 31_999] {
        let name = format!("number_{number}");
        assert_eq!(
            found(&home, &format!("--db db --mode text {name} -n 1")),
            [name]
        );
    }

    // Files are found by the index of paths, and replaced as a whole.
    write_functions(&home, "repo/b7.rs", 90_000..90_003);
    write_functions(&home, "repo/it's.rs", 70_000..70_001);
    let update = home.sh(UPDATE).status(0);
    let said = update.stderr.contains("1002 old chunks removed");
    assert!(said, "{update}");
    assert_eq!(info(&home, "db")["chunks"], 30_054);
    let new = found(&home, "--db db --mode text number_90001 -n 1");
    assert_eq!(new, ["number_90001"]);
    home.sh("cs-store check db").status(0);
}

#[test]
fn small_updates_leave_a_store_as_a_fresh_one() {
    let home = Home::new();
    for file in 0..100 {
        let first = 200 * file;
        write_functions(&home, &format!("repo/f{file}.rs"), first..first + 120);
    }
    home.sh(INDEX).status(0);
    for round in 0..24 {
        let first = 20_000 + 200 * round;
        write_functions(
            &home,
            &format!("repo/f{}.rs", 2 * round),
            first..first + 121,
        );
        home.sh(UPDATE).status(0);
        let info = info(&home, "db");
        for (index, outside) in indexes(&info) {
            // Of text nothing is outside: each search for words would take twice as long.
            let limit = if index.starts_with("FTS") {
                0
            } else {
                TAIL_ROWS
            };
            assert!(outside <= limit, "round {round}, {index}: {outside} rows");
        }
        // Those of the first run, what no index has yet, and what was joined.
        let fragments = info["fragments"].as_u64();
        assert!(fragments < Some(24), "round {round}: {info}");
    }
    home.sh("cs-store check db").status(0);
    home.sh("cs-parse repo | cs-embed | cs-store fresh")
        .status(0);
    assert_eq!(rows(&home, "db"), rows(&home, "fresh"));
    for mode in ["dense", "text"] {
        for name in ["number_20001", "number_24720", "number_3450"] {
            let ask = |db: &str| found(&home, &format!("--db {db} --mode {mode} {name} -n 1"));
            assert_eq!(ask("db"), ask("fresh"), "{mode} {name}");
        }
    }
    home.sh("cs-store optimize db --keep 0").status(0);
    let bytes = |db| info(&home, db)["bytes"].as_u64().expect("a number");
    assert!(
        bytes("db") * 2 <= bytes("fresh") * 3,
        "{} {}",
        bytes("db"),
        bytes("fresh")
    );
}

#[test]
fn versions_go_when_nobody_is_to_read_them_any_more() {
    let home = Home::new();
    write_functions(&home, "repo/a.rs", 0..10);
    home.sh(INDEX).status(0);
    let update = |round: usize| {
        write_functions(&home, "repo/b.rs", 100 * round..100 * round + 2);
        home.sh(UPDATE).status(0);
        info(&home, "db")["versions"].as_u64().expect("a number")
    };
    for round in 1..20 {
        update(round);
    }
    assert!(update(20) >= 20);
    home.sh("touch -d '20 minutes ago' db/chunks.lance/_versions/*")
        .status(0);
    // The newest of them was there until this run.
    assert!(update(21) <= 3);
    home.sh("cs-store check db").status(0);
}
