//! `cs-parse --since`: only what changed is parsed, and the store ends up as if all had been.

use std::thread::sleep;
use std::time::Duration;

use cs_tests::{Home, Output, PLAINLY};

const INDEX: &str = "cs-parse repo --since db -v | cs-embed -q | cs-store -q db";

/// A repository whose files are too old for their times to be in doubt, and its store.
fn home() -> Home {
    let home = Home::new();
    home.write("repo/a.rs", "fn alpha() {}\n");
    home.write("repo/b.rs", "fn beta() {}\n");
    home.write("repo/docs/c.md", "# Gamma\n\nText.\n");
    home.write("repo/d.py", "def delta():\n    pass\n");
    home.sh("find repo -type f | xargs touch -d '1 hour ago'")
        .status(0);
    home.sh(INDEX)
        .status(0)
        .says("4 files, 4 chunks; 0 unchanged, 0 deleted");
    home
}

/// What would be written now, as lines such as `put a.rs`.
#[track_caller]
fn pending(home: &Home) -> Vec<String> {
    home.sh("cs-parse repo --since db --to jsonl")
        .status(0)
        .changes()
}

/// The same without the right to read what is locked.
#[track_caller]
fn unread(home: &Home) -> Vec<String> {
    let script = "plainly cs-parse repo --since db --to jsonl";
    home.sh(&[PLAINLY, script].concat()).status(0).changes()
}

/// Brings the store up to date and expects that it then holds what a new one does.
#[track_caller]
fn assert_same_as_anew(home: &Home) -> Output {
    let output = home.sh(INDEX).status(0);
    home.sh("rm -rf anew; cs-parse repo -q | cs-embed -q | cs-store -q anew")
        .status(0);
    for (question, flags) in [("alpha beta gamma delta", "-n 50"), ("fn def", "-n 50")] {
        let hits = |db: &str| {
            let script = format!("cs-query --db {db} '{question}' {flags} --json");
            let hits = home.sh(&script).status(0).hits().into_iter();
            let mut hits: Vec<String> = hits
                .map(|hit| format!("{} {}", hit["path"], hit["chunk_id"]))
                .collect();
            hits.sort();
            hits
        };
        assert_eq!(hits("db"), hits("anew"), "{question}");
    }
    output
}

#[test]
fn an_unchanged_repository_gives_a_report_alone_and_writes_nothing() {
    let home = home();
    let stream = home.sh("cs-parse repo --since db --to jsonl").status(0);
    let reports = stream.reports();
    assert_eq!((stream.records().len(), reports.len()), (3, 1), "{stream}");
    assert_eq!(
        (&reports[0]["rows"], &reports[0]["files"]),
        (&0.into(), &0.into())
    );
    let versions = "ls db/chunks.lance/_versions | sort";
    let before = home.sh(versions).status(0).text();
    home.sh(INDEX)
        .status(0)
        .says("0 files, 0 chunks; 4 unchanged, 0 deleted");
    assert_eq!(home.sh(versions).status(0).text(), before);
    // Not even read: a file that cannot be opened is told by its size and time alone.
    home.sh("chmod 000 repo/a.rs").status(0);
    assert!(unread(&home).is_empty());
}

#[test]
fn changed_new_vanished_and_ignored_files_are_told_apart() {
    let home = home();
    home.write("repo/a.rs", "fn alpha() { beta() }\n");
    home.write("repo/e.rs", "fn epsilon() {}\n");
    home.sh("rm repo/b.rs; echo docs/ > repo/.csignore")
        .status(0);
    assert_eq!(
        pending(&home),
        [
            "delete a.rs",
            "put a.rs",
            "delete b.rs",
            "delete docs/c.md",
            "put e.rs"
        ]
    );
    assert_same_as_anew(&home).says("2 files, 2 chunks; 1 unchanged, 2 deleted");
    assert!(pending(&home).is_empty() || home.path().join("repo/e.rs").exists());
}

#[test]
fn a_file_that_turned_into_something_else_is_deleted() {
    let home = home();
    home.write("repo/a.rs", b"fn alpha() {}\0\x01\x02");
    home.write("repo/b.rs", "// @generated\nfn beta() {}\n");
    assert_eq!(pending(&home), ["delete a.rs", "delete b.rs"]);
    assert_same_as_anew(&home);
}

#[test]
fn a_touched_file_is_read_and_left_alone() {
    let home = home();
    home.sh("touch -d '30 minutes ago' repo/a.rs").status(0);
    assert!(pending(&home).is_empty());
    home.sh("cs-parse repo --since db > /dev/null")
        .says("0 files, 0 chunks; 4 unchanged");
}

#[test]
fn a_change_of_the_same_size_and_time_is_found_while_the_time_is_young() {
    // As git's "racy clean": written, indexed and written again within a tick of the clock.
    let home = Home::new();
    home.write("repo/a.rs", "fn one() {}\n");
    home.sh("touch -r repo repo/a.rs").status(0);
    home.sh(INDEX).status(0);
    home.write("repo/a.rs", "fn two() {}\n");
    home.sh("touch -r repo repo/a.rs").status(0);
    assert_eq!(pending(&home), ["delete a.rs", "put a.rs"]);
    // The hash proves a file of that age unchanged; an older one is believed by its time.
    home.sh(INDEX).status(0);
    assert!(pending(&home).is_empty());
    sleep(Duration::from_millis(2100));
    home.write("repo/b.rs", "fn three() {}\n");
    home.sh("touch -d '1 hour ago' repo/b.rs").status(0);
    home.sh(INDEX).status(0);
    home.sh("chmod 000 repo/b.rs").status(0);
    assert!(unread(&home).is_empty());
}

#[test]
fn another_setting_parses_everything_again() {
    let home = home();
    let stream = home
        .sh("cs-parse repo --since db --max-chunk-bytes 512 --to jsonl")
        .status(0);
    assert_eq!(stream.changes().len(), 8, "{stream}");
    home.sh("cs-parse repo --since db --max-chunk-bytes 512 | cs-embed | cs-store db")
        .status(0);
    let stream = home
        .sh("cs-parse repo --since db --max-chunk-bytes 512 --to jsonl")
        .status(0);
    assert!(stream.changes().is_empty(), "{stream}");
}

#[test]
fn a_lost_or_damaged_manifest_costs_a_whole_run_and_no_more() {
    let home = home();
    home.sh("rm db/manifest.arrow repo/b.rs").status(0);
    let stream = home.sh("cs-parse repo --since db --to jsonl").status(0);
    assert_eq!(
        stream.changes(),
        ["put a.rs", "put d.py", "put docs/c.md"],
        "{stream}"
    );
    // What vanished meanwhile is forgotten, too.
    assert_same_as_anew(&home);
    home.write("db/manifest.arrow", "no manifest");
    home.sh("cs-parse repo --since db > /dev/null")
        .status(0)
        .says("manifest.arrow")
        .says("everything is parsed");
    assert_same_as_anew(&home);
    assert!(pending(&home).is_empty());
}

#[test]
fn a_store_that_is_not_there_yet_is_no_error() {
    let home = Home::new();
    home.write("repo/a.rs", "fn alpha() {}\n");
    let stream = home
        .sh("cs-parse repo --since nowhere --to jsonl")
        .status(0);
    assert_eq!(stream.changes(), ["put a.rs"]);
}

#[test]
fn a_folder_that_cannot_be_listed_loses_nothing() {
    let home = home();
    let script = "chmod 000 repo/docs; plainly cs-parse repo --since db --to jsonl";
    let output = home.sh(&[PLAINLY, script].concat());
    home.sh("chmod 755 repo/docs").status(0);
    let output = output.status(1).says("docs");
    assert!(output.changes().is_empty(), "{output}");
}

#[test]
fn a_partial_stream_prunes_nothing() {
    let home = home();
    for script in [
        "cs-parse repo --since db | cs-embed | cs-store --prune db",
        "echo a.rs | cs-parse repo --files-from - | cs-embed | cs-store --prune db",
        "cs-parse repo/a.rs | cs-embed | cs-store --prune db",
    ] {
        home.sh(script).status(2).says("cs-store: ").says("--prune");
    }
    home.sh("echo a.rs | cs-parse repo --files-from - | cs-embed | cs-store db")
        .status(0);
    assert_same_as_anew(&home);
}

#[test]
fn files_of_two_repositories_in_one_store_do_not_mix() {
    let home = home();
    home.write("other/a.rs", "fn other_alpha() {}\n");
    home.sh("cs-parse other --since db | cs-embed | cs-store db")
        .status(0);
    assert!(pending(&home).is_empty());
    home.sh("rm other/a.rs").status(0);
    let stream = home.sh("cs-parse other --since db --to jsonl").status(0);
    assert_eq!(stream.changes(), ["delete a.rs"]);
    assert!(pending(&home).is_empty());
}

#[test]
fn the_manifest_is_a_file_that_others_read() {
    let home = home();
    let Some(python) = cs_tests::python() else {
        return;
    };
    home.write(
        "read.py",
        "import pyarrow as pa\n\
         table = pa.ipc.open_file('db/manifest.arrow').read_all()\n\
         assert table.schema.metadata[b'cs.manifest'] == b'1'\n\
         for row in table.sort_by('path').to_pylist():\n    \
             print(row['repo'], row['path'], row['file_size'], len(row['file_hash']))\n",
    );
    let text = home
        .sh(&format!("{} read.py", python.display()))
        .status(0)
        .text();
    assert_eq!(
        text,
        "repo a.rs 14 32\nrepo b.rs 13 32\nrepo d.py 22 32\nrepo docs/c.md 15 32\n"
    );
}
