//! The store's tools: what it holds, whether that is sound, and moving and forgetting it.

use cs_tests::{Home, Output, PLAINLY, python};
use serde_json::Value;

const INDEX: &str = "cs-parse repo --since db | cs-embed | cs-store db";

/// A repository of three old files, and its stream as JSON Lines.
fn home() -> Home {
    let home = Home::new();
    home.write("repo/a.rs", "/// Opens the door.\nfn open_door() {}\n");
    home.write(
        "repo/b.py",
        "import door\n\ndef shut_door():\n    door.shut()\n\ndef lock_door():\n    door.lock()\n",
    );
    home.write("repo/docs/c.md", "# Doors\n\nThey open.\n");
    home.sh("find repo -type f | xargs touch -d '1 hour ago'
        cs-parse repo | cs-embed --to jsonl > vectors.jsonl")
        .status(0);
    home
}

/// The same, stored.
fn stored() -> Home {
    let home = home();
    home.sh(INDEX).status(0);
    home
}

#[track_caller]
fn json(home: &Home, script: &str) -> Value {
    let output = home.sh(script);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output}"))
}

fn info(home: &Home, db: &str) -> Value {
    json(home, &format!("cs-store info {db} --json"))
}

/// The rows of an export, without what only an export tells.
#[track_caller]
fn rows(home: &Home, export: &str) -> Vec<Value> {
    let records = home.sh(&format!("cs-store export {export} --to jsonl"));
    let records = records.status(0).records().into_iter();
    records.filter(|record| record["op"] == "put").collect()
}

/// What an export does, as lines such as `put a.rs`.
#[track_caller]
fn exported(home: &Home, export: &str) -> Vec<String> {
    let script = format!("cs-store export {export} --to jsonl");
    home.sh(&script).status(0).changes()
}

/// Expects that a check finds these faults and no others.
#[track_caller]
fn expect_faults(home: &Home, db: &str, expected: &[&str]) -> Output {
    let output = home.sh(&format!("cs-store check {db}"));
    let text = output.text();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.pop();
    assert_eq!(lines.len(), expected.len(), "{output}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.contains(expected), "no {expected:?} in {output}");
    }
    output.status(i32::from(!expected.is_empty()))
}

#[test]
fn info_tells_what_a_store_holds() {
    let home = stored();
    let told = info(&home, "db");
    assert_eq!(told["complete"], true);
    assert_eq!(told["incomplete"], Value::Null);
    assert_eq!((&told["files"], &told["chunks"]), (&3.into(), &4.into()));
    let repo = &told["repos"][0];
    assert_eq!(
        (&repo["name"], &repo["files"], &repo["chunks"]),
        (&"repo".into(), &3.into(), &4.into())
    );
    assert!(repo["root"].as_str().expect("a root").ends_with("/repo"));
    assert_eq!(told["languages"]["python"], 2);
    assert_eq!(told["model"]["id"], "builtin");
    assert_eq!(told["vector_type"], "Float32");
    assert!(told["bytes"].as_u64() > Some(1000));
    let indexes = told["indexes"].as_array().expect("indexes");
    assert_eq!(indexes.len(), 3);
    for index in indexes {
        assert_eq!(
            (&index["indexed_rows"], &index["unindexed_rows"]),
            (&4.into(), &0.into())
        );
    }
    let text = home.sh("cs-store info db").status(0).text();
    for expected in [
        "state     complete",
        "repo      repo at ",
        "3 files with 4 chunks",
    ] {
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn an_unsealed_stream_leaves_a_store_that_says_what_is_missing() {
    let home = home();
    // All of a.rs, and the first row of b.py.
    home.sh("head -n 3 vectors.jsonl | cs-store db")
        .status(2)
        .says("input ended without its end marker")
        .says("db: incomplete: a run broke off, up to 2 files of repo may be missing")
        .says("complete it with: cs-parse ");
    assert_eq!(exported(&home, "db"), ["put a.rs"]);
    let told = info(&home, "db");
    assert_eq!(told["complete"], false);
    assert_eq!(told["incomplete"]["missing_files"], 2);
    assert_eq!(told["incomplete"]["ended"], true);
    let text = home.sh("cs-store info db").status(0).text();
    assert!(
        text.contains("state     incomplete: a run broke off"),
        "{text}"
    );
    home.sh("cs-query --db db 'open the door'")
        .status(0)
        .says("cs-query: warning: db: incomplete: ");
    // What there is of it is sound.
    expect_faults(&home, "db", &[]).says("up to 2 files of repo may be missing");
    assert_eq!(json(&home, "cs-store check db --json")["missing_files"], 2);

    let output = home.sh(INDEX).status(0);
    assert!(!output.stderr.contains("incomplete"), "{output}");
    assert_eq!(info(&home, "db")["complete"], true);
    home.sh("cs-store whole < vectors.jsonl").status(0);
    assert_eq!(rows(&home, "db"), rows(&home, "whole"));
    home.sh("cs-query --db db 'open the door'")
        .status(0)
        .silent();
    expect_faults(&home, "db", &[]).silent();
}

#[test]
fn a_killed_store_is_marked_too() {
    let home = home();
    home.sh("mkfifo feed; cs-store db < feed & store=$!
        exec 9> feed; head -n 3 vectors.jsonl >&9
        for _ in $(seq 100); do ls 2>/dev/null db/incomplete/*.json && break; sleep 0.1; done
        kill -KILL $store; wait $store; true")
        .status(0);
    let told = info(&home, "db");
    assert_eq!(told["incomplete"]["ended"], false);
    assert_eq!(told["incomplete"]["missing_files"], 3);
    home.sh("cs-query --db db 'open the door'")
        .says("a run is under way, or was killed, up to 3 files");
    home.sh(INDEX).status(0);
    assert_eq!(info(&home, "db")["complete"], true);
}

#[test]
fn only_a_whole_run_of_its_repository_takes_the_mark_away() {
    let home = home();
    home.write("other/a.rs", "fn other() {}\n");
    home.sh("head -n 3 vectors.jsonl | cs-store db").status(2);
    home.sh("cs-parse other | cs-embed | cs-store db")
        .status(0)
        .says("of repo may be missing");
    home.sh("echo a.rs | cs-parse repo --files-from - | cs-embed | cs-store db")
        .status(0)
        .says("of repo may be missing");
    assert_eq!(info(&home, "db")["incomplete"]["repos"][0], "repo");
    home.sh(INDEX).status(0);
    assert_eq!(info(&home, "db")["complete"], true);
    // A run that breaks before its first file is marked as well.
    home.sh("head -n 1 vectors.jsonl | cs-store db").status(2);
    home.sh("cs-store forget db --repo repo").status(0);
    assert_eq!(info(&home, "db")["complete"], true);
}

#[test]
fn check_names_each_fault_by_its_file() {
    let home = stored();
    expect_faults(&home, "db", &[]).silent();
    for (edit, expected) in [
        (
            r#"if .op == "put" and .path != "b.py" then .chunk_id = "same" else . end"#,
            &[
                "repo/a.rs: chunk_id same is not its alone",
                "repo/docs/c.md: chunk_id same",
            ][..],
        ),
        (
            r#"if .name == "lock_door" then .file_hash = "beef" else . end"#,
            &["repo/b.py: its chunks are of two states of the file: file_hash differs"],
        ),
        (
            r#"if .name == "lock_door" then .start_byte = 3 else . end"#,
            &["repo/b.py: bytes 0-45 and 3-79 are two chunks"],
        ),
        (
            r#"if .path == "a.rs" then .end_byte = 999 else . end"#,
            &["repo/a.rs: bytes 0-999 of a file of 38 bytes"],
        ),
        (
            r#"if .path == "a.rs" then del(.chunk_id) else . end"#,
            &["repo/a.rs: 1 of its chunks have no chunk_id"],
        ),
    ] {
        home.sh(&format!(
            "rm -rf bad; jq -c '{edit}' vectors.jsonl | cs-store -q bad"
        ))
        .status(0);
        expect_faults(&home, "bad", expected);
        let told = json(&home, "cs-store check bad --json");
        let faults = told["faults"].as_array().expect("faults");
        assert_eq!(
            (faults.len(), &faults[0]["repo"]),
            (expected.len(), &"repo".into())
        );
    }
    // What cannot be read is no fault, but a failure.
    home.sh("truncate -s 100 db/chunks.lance/data/*; cs-store check db")
        .status(2)
        .says("cs-store: ");
    home.sh("cs-store check nowhere")
        .status(2)
        .says("nowhere: no store here");
}

/// Changes the manifest: takes a.rs out, has another hash for b.py, and has a file that is not.
const MANIFEST: &str = r#"
import sys, pyarrow as pa
table = pa.ipc.open_file('db/manifest.arrow').read_all()
rows = {row['path']: row for row in table.to_pylist()}
del rows['a.rs']
rows['b.py']['file_hash'] = 'beef'
rows['b.py']['chunks'] = 4
rows['gone.rs'] = dict(rows['docs/c.md'], path='gone.rs')
metadata = dict(table.schema.metadata)
metadata[b'cs.table_version'] = sys.argv[1].encode() or metadata[b'cs.table_version']
schema = table.schema.with_metadata(metadata)
with pa.ipc.new_file('db/manifest.arrow', schema) as writer:
    writer.write_table(pa.Table.from_pylist(list(rows.values()), schema=schema))
"#;

#[test]
fn check_holds_the_manifest_against_the_rows() {
    let Some(python) = python() else { return };
    let home = stored();
    home.write("edit.py", MANIFEST);
    home.sh("cp -r db whole").status(0);
    let edit = |version: &str| {
        let python = python.display();
        home.sh(&format!(
            "rm -rf db; cp -r whole db; {python} edit.py '{version}'"
        ))
        .status(0);
    };
    edit("");
    let unknown = "repo/a.rs: is stored, and the manifest does not know it";
    let wrong = [
        "repo/b.py: 2 chunks are stored, and 4 were put in",
        "repo/b.py: the manifest has another file_hash",
        "repo/gone.rs: the manifest has it, and no chunk of it is stored",
    ];
    expect_faults(&home, "db", &[unknown, wrong[0], wrong[1], wrong[2]]);
    // A manifest that is behind may lack a file, and still claims nothing that is not stored.
    edit("1");
    expect_faults(&home, "db", &wrong);
    home.sh("rm db/manifest.arrow").status(0);
    expect_faults(&home, "db", &[]);
    home.write("db/manifest.arrow", "no manifest");
    expect_faults(&home, "db", &["manifest.arrow: not a manifest"]);
}

#[test]
fn a_commit_that_failed_does_not_leave_old_chunks_behind() {
    let home = stored();
    home.write("repo/a.rs", "fn close_door() {}\n");
    // The file goes from the manifest, and its new rows cannot be written.
    let fails = format!(
        "{PLAINLY} chmod 500 db/chunks.lance/data
        cs-parse repo --since db | cs-embed | plainly cs-store db; status=$?
        chmod 700 db/chunks.lance/data; exit $status"
    );
    home.sh(&fails).status(2).says("ermission denied");
    expect_faults(&home, "db", &[]).says("incomplete");
    home.sh(INDEX).status(0);
    expect_faults(&home, "db", &[]).silent();
    let names: Vec<Value> = rows(&home, "db --path a.rs")
        .iter()
        .map(|row| row["name"].clone())
        .collect();
    assert_eq!(names, ["close_door"]);
}

#[test]
fn an_export_makes_a_store_that_is_as_good() {
    let home = stored();
    // A file of other settings, and a column and metadata of another tool.
    home.sh(r#"cp -r repo second
        cs-parse second --max-chunk-bytes 512 | cs-embed --to jsonl |
            jq -c 'if .op == "begin" then .metadata.team = "doors" else . end' | cs-store db
        cs-store export db > db.arrows && cs-store again < db.arrows"#)
        .status(0);
    assert_eq!(rows(&home, "db"), rows(&home, "again"));
    assert_eq!(rows(&home, "db").len(), 8);
    let put: Vec<Value> = home.sh("cs-parse repo | cs-embed --to jsonl").records();
    let put: Vec<&Value> = put.iter().filter(|row| row["op"] == "put").collect();
    let strip = |mut row: Value| {
        row.as_object_mut()
            .expect("an object")
            .remove("file_settings");
        row
    };
    let own: Vec<Value> = rows(&home, "db --repo repo")
        .into_iter()
        .map(strip)
        .collect();
    assert_eq!(own.iter().collect::<Vec<_>>(), put);
    expect_faults(&home, "again", &[]).silent();
    let (db, again) = (info(&home, "db"), info(&home, "again"));
    for key in [
        "model",
        "repos",
        "files",
        "chunks",
        "languages",
        "complete",
        "vector_type",
    ] {
        assert_eq!(db[key], again[key], "{key}");
    }
    // The new store knows under which settings each file was cut, and what changed since.
    for since in [
        "repo --since again",
        "second --max-chunk-bytes 512 --since again",
    ] {
        let stream = home.sh(&format!("cs-parse {since} --to jsonl")).status(0);
        assert!(stream.changes().is_empty(), "{since}: {stream}");
    }
    let stream = home
        .sh("cs-parse second --since again --to jsonl")
        .status(0);
    assert_eq!(stream.changes().len(), 6, "{stream}");
    let begin = home
        .sh("cs-store export again --to jsonl")
        .status(0)
        .records();
    assert_eq!(begin[0]["metadata"]["team"], "doors");
    let chain = begin[0]["metadata"]["cs.chain"].as_str().expect("a chain");
    let chain: Vec<Value> = serde_json::from_str(chain).expect("JSON");
    let tools: Vec<&str> = chain
        .iter()
        .filter_map(|stage| stage["tool"].as_str())
        .collect();
    assert_eq!(tools, ["cs-parse", "cs-embed", "cs-store", "cs-store"]);
    // A whole export tells what is gone, one of a part does not.
    home.sh("cs-store forget db --path a.rs; cs-store export db | cs-store --prune again")
        .status(0);
    assert_eq!(rows(&home, "db"), rows(&home, "again"));
    home.sh("cs-store export db --path b.py | cs-store --prune again")
        .status(2)
        .says("--prune would forget");
}

#[test]
fn an_export_takes_what_its_flags_name() {
    let home = stored();
    home.sh("cp -r repo second; cs-parse second | cs-embed | cs-store db")
        .status(0);
    for (flags, expected) in [
        ("--repo second --path '*.rs'", &["put a.rs"][..]),
        (
            "--repo second --lang python,markdown",
            &["put b.py", "put docs/c.md"],
        ),
        ("--path docs/", &["put docs/c.md", "put docs/c.md"]),
        (
            "--path a.rs --path b.py --repo repo",
            &["put a.rs", "put b.py"],
        ),
    ] {
        let script = format!(
            "cs-store export db {flags} --to jsonl | jq -r 'select(.op==\"put\")|\"\\(.repo) \\(.path)\"' | uniq | sed 's/.* /put /'"
        );
        let text = home.sh(&script).status(0).text();
        assert_eq!(text.lines().collect::<Vec<_>>(), expected, "{flags}");
    }
    home.sh("cs-store export db --path '*.go' > none.arrows")
        .status(1)
        .says("no stored file matches");
    home.sh("cs-store empty < none.arrows").status(0);
    home.sh("cs-store export db --path 'a{b' > none.arrows")
        .status(2)
        .says("cs-store: --path a{b: ");
    // Part of a repository does not make a store that lacks the rest complete.
    home.sh("cs-store export db --repo repo --path a.rs | cs-store part
        cs-parse repo --since part --to jsonl > rest.jsonl")
        .status(0);
    let rest = home.sh("cat rest.jsonl").changes();
    assert_eq!(rest, ["put b.py", "put docs/c.md"]);
}

#[test]
fn an_export_is_embedded_again_with_another_model() {
    let home = stored();
    home.sh("cs-parse repo | cs-embed --dims 64 > short.arrows")
        .status(0);
    // The command is the one that the refusal tells.
    let refused = home.sh("cs-store db < short.arrows");
    let refused = refused
        .status(2)
        .says("the store holds vectors of builtin (320 dimensions")
        .says("the stream brings those of builtin (64 dimensions")
        .says("they differ in dimensions");
    let command = refused.stderr.split("with the new model: ").nth(1);
    let command = command.unwrap_or_else(|| panic!("no command in {refused}"));
    let output = home.sh(command).status(0);
    assert!(!output.stderr.contains("warning"), "{output}");
    home.sh("cs-store db-new < short.arrows").status(0);
    assert_eq!(info(&home, "db-new")["model"]["dim"], 64);
    home.sh("cs-store fresh < short.arrows").status(0);
    assert_eq!(
        home.sh("cs-query --db db-new --json door").status(0).text(),
        home.sh("cs-query --db fresh --json door").status(0).text()
    );
    let stream = home.sh("cs-parse repo --since db-new --to jsonl").status(0);
    assert!(stream.changes().is_empty(), "{stream}");
    // With its vectors it can be embedded again as well.
    home.sh("cs-store export db | cs-embed --dims 64 | cs-store db-new")
        .status(0)
        .says("they are replaced");
    home.sh("cs-store export db --no-vectors | cs-store x")
        .status(2)
        .says("input has no vectors");
}

#[test]
fn a_model_is_the_same_in_all_numbers_that_agree() {
    let home = home();
    let with = |dtype: &str| {
        let edit = format!(
            r#"if .op == "begin" then .metadata["cs.model"] |= (fromjson | .dtype = "{dtype}" | tojson) else . end"#
        );
        format!("jq -c '{edit}' vectors.jsonl | cs-store db")
    };
    home.sh(&with("f32")).status(0);
    for same in ["bf16", "f16", "q8_0"] {
        home.sh(&with(same)).status(0);
    }
    home.sh(&with("int4"))
        .status(2)
        .says("weighted-mean pooling, f32, ")
        .says("weighted-mean pooling, int4, ")
        .says("they differ in dtype")
        .says("cs-store export ");
}

#[test]
fn what_is_forgotten_is_gone_until_it_is_parsed_again() {
    let home = stored();
    home.sh("cp -r repo second; cs-parse second | cs-embed | cs-store db")
        .status(0);
    home.sh("cs-store forget db").status(2).says("--repo");
    home.sh("cs-store forget db --path '*.go'")
        .status(1)
        .says("no stored file matches");
    home.sh("cs-store forget db --repo third")
        .status(1)
        .says("no file of third is stored, only of: repo, second");
    home.sh("cs-store forget db --repo second --path '*.py' --path docs/")
        .status(0)
        .says("2 files with 3 chunks forgotten");
    expect_faults(&home, "db", &[]).silent();
    assert_eq!(exported(&home, "db --repo second"), ["put a.rs"]);
    assert_eq!(exported(&home, "db --repo repo").len(), 3);
    let stream = home.sh("cs-parse second --since db --to jsonl").status(0);
    assert_eq!(stream.changes(), ["put b.py", "put docs/c.md"]);
    home.sh("cs-store forget db --repo second")
        .status(0)
        .says("1 files with 1 chunks");
    let repos = info(&home, "db")["repos"].clone();
    assert_eq!(repos.as_array().map(Vec::len), Some(1), "{repos}");
    home.sh("cs-query --db db --mode text lock_door --json")
        .status(0);
    home.sh("cs-store forget db --path '*'").status(0);
    expect_faults(&home, "db", &[]).silent();
    home.sh("cs-query --db db --mode text lock_door").status(1);
    home.sh(INDEX).status(0);
    assert_eq!(info(&home, "db")["files"], 3);
}

#[test]
fn optimize_leaves_the_same_in_less() {
    let home = stored();
    for number in 0..6 {
        home.write("repo/a.rs", format!("fn open_door_{number}() {{}}\n"));
        home.sh(INDEX).status(0);
    }
    // Files may change places, rows of one do not.
    let by_file = || {
        let mut rows = rows(&home, "db");
        rows.sort_by_key(|row| row["path"].to_string());
        rows
    };
    let (before, kept) = (by_file(), info(&home, "db"));
    assert!(kept["fragments"].as_u64() > Some(1), "{kept}");
    home.sh("cs-store optimize db").status(0).says("is kept");
    assert!(info(&home, "db")["versions"].as_u64() > kept["versions"].as_u64());
    home.sh("cs-store optimize db --keep 0")
        .status(0)
        .says(" MiB now");
    let now = info(&home, "db");
    assert_eq!(
        (&now["versions"], &now["fragments"], &now["deleted_rows"]),
        (&1.into(), &1.into(), &0.into())
    );
    assert!(
        now["bytes"].as_u64() < kept["bytes"].as_u64(),
        "{kept} {now}"
    );
    for index in now["indexes"].as_array().expect("indexes") {
        assert_eq!(index["unindexed_rows"], 0);
    }
    assert_eq!(by_file(), before);
    expect_faults(&home, "db", &[]).silent();
    // The manifest goes on to describe the table.
    assert_eq!(
        json(&home, "cs-store check db --json")["manifest"],
        "current"
    );
    let stream = home.sh("cs-parse repo --since db --to jsonl").status(0);
    assert!(stream.changes().is_empty(), "{stream}");
}

#[test]
fn tools_beside_a_writer_take_nothing_from_it() {
    let home = stored();
    home.sh("mkfifo feed; cs-store db < feed & store=$!
        exec 9> feed; head -n 3 vectors.jsonl >&9
        for _ in $(seq 100); do ls 2>/dev/null db/incomplete/*.json && break; sleep 0.1; done
        for tool in optimize 'forget --repo repo' check; do
            cs-store $tool db 2>> errors; echo $? >> statuses
        done
        cs-store export db > while.arrows; echo $? >> statuses
        tail -n +4 vectors.jsonl >&9; exec 9>&-; wait $store")
        .status(0);
    // What a writer is about to replace nobody else removes; the rest is for all.
    assert_eq!(home.read("statuses"), b"0\n2\n0\n0\n");
    let errors = String::from_utf8_lossy(&home.read("errors")).into_owned();
    assert!(
        errors.contains(" is writing repository repo to this store"),
        "{errors}"
    );
    expect_faults(&home, "db", &[]).silent();
}

#[test]
fn a_table_of_another_program_is_not_called_damaged() {
    let home = home();
    // The key that names the contract, of the same length in the table's files.
    home.sh(
        "cs-store db < vectors.jsonl && sed -i 's/cs\\.wire/xx.wire/' db/chunks.lance/_versions/*",
    )
    .status(0);
    for script in ["cs-store db < vectors.jsonl", "cs-store info db"] {
        home.sh(script)
            .status(2)
            .says("the table `chunks` in it was not made by cs-store");
    }
}
