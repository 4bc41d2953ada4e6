//! Manifests that do not tell what the table holds: whatever they say, one run brings the store up
//! to date.

use std::fs;

use cs_tests::{Home, Output, python};

const INDEX: &str = "cs-parse repo --since db | cs-embed --dims 16 | cs-store db";

/// A store and its manifest as they were after each of two states of a repository, in folders
/// `first` and `second`; the repository is in the second.
fn home() -> Home {
    let home = Home::new();
    home.write("repo/a.rs", "fn alpha() {}\n");
    home.write("repo/b.rs", "fn beta() {}\n");
    home.write("repo/c.rs", "fn gamma() {}\n");
    home.sh(&format!(
        "find repo -type f | xargs touch -d '2 hours ago'
        {INDEX} && cp -r db first"
    ))
    .status(0);
    home.write("repo/b.rs", "fn beta() { alpha() }\n");
    home.write("repo/d.rs", "fn delta() {}\n");
    home.sh(&format!(
        "touch -d '1 hour ago' repo/b.rs repo/d.rs; rm repo/c.rs
        {INDEX} && mv db second
        cs-store export second --to jsonl | jq -c 'select(.op==\"put\")' | sort > expected"
    ))
    .status(0);
    home
}

/// Runs the pipeline over a store that is made by a script, and expects what a new one holds.
#[track_caller]
fn index(home: &Home, made: &str) -> Output {
    home.sh(&format!("rm -rf db; {made}")).status(0);
    let output = home.sh(INDEX).status(0);
    let report = home.sh("cs-store check db --json").status(0);
    assert!(
        report.text().contains(r#""manifest":"current""#),
        "{made}: {report}\n{output}"
    );
    home.sh("cmp expected <(cs-store export db --to jsonl | jq -c 'select(.op==\"put\")' | sort)")
        .status(0);
    let stream = home.sh("cs-parse repo --since db --to jsonl").status(0);
    assert!(stream.changes().is_empty(), "{made}: {stream}");
    output
}

/// Copies a store's manifest with other metadata.
const EDIT: &str = "
import sys, pyarrow as pa
_, source, target, key, value = sys.argv
table = pa.ipc.open_file(source + '/manifest.arrow').read_all()
metadata = {**table.schema.metadata, key.encode(): value.encode()}
schema = table.schema.with_metadata(metadata)
with pa.ipc.new_file(target + '/manifest.arrow', schema) as writer:
    writer.write_table(table.replace_schema_metadata(metadata))
";

#[test]
fn a_manifest_that_is_lost_or_cut_is_made_anew() {
    let home = home();
    index(&home, "cp -r second db; rm db/manifest.arrow");
    index(&home, "cp -r first db; rm db/manifest.arrow");
    let length = fs::metadata(home.path().join("second/manifest.arrow"));
    let length = length.expect("the manifest").len();
    for cut in [0, 1, 8, length / 3, length / 2, length - 10, length - 1] {
        let made = format!("cp -r first db; truncate -s {cut} db/manifest.arrow");
        index(&home, &made)
            .says("everything is parsed")
            .says("it is made anew");
    }
}

#[test]
fn a_manifest_of_a_version_to_come_is_made_anew() {
    let Some(python) = python() else { return };
    let home = home();
    home.write("edit.py", EDIT);
    let edit = format!("cp -r first db; {} edit.py first db", python.display());
    index(&home, &format!("{edit} cs.manifest 2")).says("everything is parsed");
    index(&home, &format!("{edit} cs.table_version 1000"));
    // A clock that was ahead says nothing of which times are old enough to be believed.
    let output = index(&home, &format!("{edit} cs.written_ns 4000000000000000000"));
    assert!(!output.stderr.contains("everything is parsed"), "{output}");
}

#[test]
fn a_manifest_that_is_older_or_younger_than_the_table_is_not_believed() {
    let home = home();
    // As restored from a backup, one without the other.
    index(&home, "cp -r second db; cp first/manifest.arrow db");
    index(&home, "cp -r first db; cp second/manifest.arrow db");
}

#[test]
fn a_manifest_of_another_store_is_not_believed() {
    let home = home();
    // Of the same repository, in as many versions, and with files that this one lacks.
    index(
        &home,
        "cs-parse repo | cs-embed --dims 16 | cs-store other
        echo a.rs | cs-parse repo --files-from - | cs-embed --dims 16 | cs-store db
        cp other/manifest.arrow db; rm -r other",
    );
}
