//! The pipeline on a repository: what is put in is found, what changes is replaced.

use cs_tests::Home;
use serde_json::Value;

const RETRY: &str = "/// Tries a failed upload again, three times.\npub fn retry_upload(file: &str) -> bool {\n    send(file) || send(file) || send(file)\n}\n";
const PARSE: &str = "def parse_date(text):\n    \"\"\"Turn text such as 2024-01-31 into a date.\"\"\"\n    return Date(*map(int, text.split('-')))\n";

fn home() -> Home {
    let home = Home::new();
    home.write("repo/src/upload.rs", RETRY);
    home.write("repo/dates.py", PARSE);
    home.write(
        "repo/README.md",
        "# Demo\n\n## Install\n\nUse the package manager.\n",
    );
    home.write("repo/.gitignore", "secret.txt\n");
    home.write("repo/secret.txt", "password\n");
    home.write("repo/logo.bin", [0x89, 0, 1, 2]);
    home
}

fn hits(home: &Home, arguments: &str) -> Vec<Value> {
    home.sh(&format!("cs-query --json {arguments}"))
        .status(0)
        .hits()
}

#[test]
fn a_question_finds_the_function_that_it_describes() {
    let home = home();
    home.sh("cd repo && cs-parse . | cs-embed | cs-store")
        .status(0)
        .says("cs-store: ");
    assert_eq!(home.read("repo/.cs/.gitignore"), b"*\n");
    for (question, symbol) in [
        ("where are failed uploads retried?", "retry_upload"),
        ("turn a string into a date", "parse_date"),
        ("retry_upload", "retry_upload"),
    ] {
        // From a folder below: the store is found upwards.
        let hits = home
            .sh(&format!("cd repo/src && cs-query '{question}' --json -n 1"))
            .status(0)
            .hits();
        assert_eq!(hits[0]["symbol"], symbol, "{question}: {hits:?}");
        assert_eq!(hits[0]["rank"], 1);
    }
    let text = home
        .sh("cd repo && cs-query retry a failed upload -n 1")
        .status(0)
        .text();
    assert_eq!(
        text,
        "src/upload.rs:1: function retry_upload: pub fn retry_upload(file: &str) -> bool\n"
    );
}

#[test]
fn hidden_ignored_and_binary_files_stay_out() {
    let home = home();
    let text = home.sh("cs-parse repo --to jsonl").status(0).text();
    let paths: Vec<String> = text
        .lines()
        .filter_map(|line| {
            serde_json::from_str::<Value>(line).ok()?["path"]
                .as_str()
                .map(str::to_owned)
        })
        .collect();
    assert!(
        paths.iter().any(|path| path == "src/upload.rs"),
        "{paths:?}"
    );
    for out in ["secret.txt", "logo.bin", ".gitignore"] {
        assert!(!paths.iter().any(|path| path == out), "{out}");
    }
}

#[test]
fn a_changed_file_is_replaced_and_a_vanished_one_pruned() {
    let home = home();
    let index = "cs-parse repo | cs-embed | cs-store --prune db";
    home.sh(index).status(0);
    home.write("repo/src/upload.rs", "pub fn cancel_upload() {}\n");
    std::fs::remove_file(home.path().join("repo/dates.py")).expect("remove");
    home.sh(index).status(0).says("old chunks removed");
    let found = hits(&home, "--db db -n 50 upload date");
    let symbols: Vec<&str> = found
        .iter()
        .filter_map(|hit| hit["symbol"].as_str())
        .collect();
    assert!(symbols.contains(&"cancel_upload"), "{symbols:?}");
    assert!(
        !symbols.contains(&"retry_upload") && !symbols.contains(&"parse_date"),
        "{symbols:?}"
    );
    // The same again: nothing doubles.
    let before = home.sh("cs-store info db --json").status(0).text();
    home.sh(index).status(0);
    let after = home.sh("cs-store info db --json").status(0).text();
    let count = |text: &str| {
        let info: Value = serde_json::from_str(text).expect("JSON");
        (info["files"].clone(), info["chunks"].clone())
    };
    assert_eq!(count(&before), count(&after));
}

#[test]
fn several_repositories_share_a_store() {
    let home = home();
    home.write(
        "other/a.go",
        "package a\n\n// Upload sends.\nfunc Upload() {}\n",
    );
    home.sh("cs-parse repo | cs-embed | cs-store --prune db")
        .status(0);
    home.sh("cs-parse other --repo-name second | cs-embed | cs-store --prune db")
        .status(0);
    let repos: Vec<String> = hits(&home, "--db db -n 50 upload")
        .iter()
        .filter_map(|hit| hit["repo"].as_str().map(str::to_owned))
        .collect();
    assert!(
        repos.contains(&"repo".to_owned()) && repos.contains(&"second".to_owned()),
        "{repos:?}"
    );
}

#[test]
fn the_recipes_of_the_shell_work() {
    let home = home();
    home.sh("cs-parse repo --to jsonl | jq -r 'select(.op == \"put\") | .path' | sort -u > paths")
        .status(0);
    assert!(String::from_utf8_lossy(&home.read("paths")).contains("dates.py"));
    home.sh("cs-parse repo > a.arrows; cs-embed < a.arrows | cs-store saved")
        .status(0);
    home.sh("cs-parse repo | tee b.arrows | cs-embed | cs-store teed")
        .status(0);
    assert!(!hits(&home, "--db saved upload").is_empty());
    assert_eq!(
        hits(&home, "--db saved upload").len(),
        hits(&home, "--db teed upload").len()
    );
    home.sh("cs-parse repo --to jsonl | cs-embed --to jsonl | cs-store lines")
        .status(0);
    assert_eq!(
        hits(&home, "--db saved upload"),
        hits(&home, "--db lines upload")
    );
}

#[test]
fn parsing_is_deterministic() {
    let home = home();
    for threads in [1, 2] {
        home.sh(&format!(
            "cs-parse repo --no-report --to jsonl -j {threads} | tail -n +2 > {threads}.jsonl"
        ))
        .status(0);
    }
    assert_eq!(home.read("1.jsonl"), home.read("2.jsonl"));
}

#[test]
fn no_hit_is_status_one() {
    let home = home();
    home.sh("cs-parse repo | cs-embed | cs-store db").status(0);
    home.sh("cs-query --db db --mode text xylophonezzz")
        .status(1)
        .says("cs-query: no hit");
    home.sh("cs-query --db db ''")
        .status(2)
        .says("cs-query: the question is empty");
}

#[test]
fn flags_do_what_their_help_says() {
    let home = home();
    home.write("repo/big.txt", "word ".repeat(2000));
    home.sh("cs-parse repo --max-file-size 1000 > /dev/null")
        .status(1)
        .says("big.txt");
    // What is binary is left out whatever its size, and that is nothing to tell.
    std::fs::remove_file(home.path().join("repo/big.txt")).expect("remove");
    home.write("repo/logo.bin", [0; 5000]);
    home.sh("cs-parse repo --max-file-size 1000 > /dev/null")
        .status(0)
        .silent();
    home.write("repo/big.txt", "word ".repeat(2000));
    let longest = |flag: &str| {
        let text = home
            .sh(&format!("cs-parse repo --no-report --to jsonl {flag}"))
            .status(0)
            .text();
        text.lines()
            .filter_map(|line| {
                serde_json::from_str::<Value>(line).ok()?["content"]
                    .as_str()
                    .map(str::len)
            })
            .max()
    };
    assert!(longest("--max-chunk-bytes 256") <= Some(256));
    assert!(longest("") > Some(256));
    home.sh("cs-parse repo --max-chunk-bytes 1 > /dev/null")
        .status(2)
        .says("--max-chunk-bytes");
    home.sh("cs-parse repo --repo-name named | cs-embed -j 1 | CS_DB=env cs-store -q")
        .status(0)
        .silent();
    let text = home
        .sh("CS_DB=env cs-query --mode dense upload --json")
        .status(0)
        .text();
    assert!(text.contains("\"repo\":\"named\""), "{text}");
    home.sh("cs-parse -v repo | cs-embed -v | cs-store -v db")
        .status(0);
}

#[test]
fn a_fresh_stream_is_few_commits() {
    let home = home();
    for file in 0..40 {
        home.write(
            &format!("repo/many/f{file}.rs"),
            format!("fn f{file}() {{}}\n").repeat(400),
        );
    }
    home.sh(
        "cs-parse repo | cs-embed | cs-store db && ls db/chunks.lance/data | wc -l > fragments",
    )
    .status(0);
    // Some megabytes are far below what one step holds.
    assert_eq!(home.read("fragments"), b"1\n");
}
