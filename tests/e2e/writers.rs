//! Who sees what, and when: all or nothing, a store made anew, several writers, a store elsewhere.

use std::path::Path;

use cs_tests::s3::Server;
use cs_tests::{Home, Output};
use serde_json::Value;

/// Two small repositories, with steps of one file.
fn home() -> Home {
    let home = Home::new();
    for repo in ["one", "two"] {
        for file in ["a", "b", "c", "d"] {
            let text = format!("/// Opens door {file}.\nfn open_{file}() {{}}\n");
            home.write(&format!("{repo}/{file}.rs"), text);
        }
    }
    home
}

/// What a store holds, as `repo/path: first line`.
#[track_caller]
fn contents(home: &Home, script: &str) -> Vec<String> {
    let records = home.sh(script).records().into_iter();
    let mut lines: Vec<String> = records
        .filter(|record| record["op"] == "put")
        .map(|record| {
            let text = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
            let content = text("content");
            let first = content.lines().next().unwrap_or_default();
            format!("{}/{}: {first}", text("repo"), text("path"))
        })
        .collect();
    lines.sort();
    lines
}

fn export(db: &str) -> String {
    format!("cs-store export {db} --no-vectors --to jsonl")
}

fn sound(home: &Home, db: &str) -> Output {
    home.sh(&format!("cs-store check {db}")).status(0)
}

fn info(home: &Home, script: &str) -> Value {
    let output = home.sh(script).status(0);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output}"))
}

#[test]
fn repositories_may_be_many_more_than_open_files() {
    let home = Home::new();
    for repo in 0..300 {
        home.write(
            &format!("all/r{repo}/a.py"),
            format!("def f{repo}(): pass\n"),
        );
    }
    home.sh("cs-parse --each-repo all | cs-embed > all.arrows")
        .status(0);
    home.sh("ulimit -n 150; cs-store db < all.arrows").status(0);
    let info = info(&home, "cs-store info db --json");
    assert_eq!(info["repos"].as_array().map(Vec::len), Some(300), "{info}");
    assert_eq!(contents(&home, &export("db")).len(), 300);
}

#[test]
fn atomic_is_all_at_the_seal_or_nothing() {
    let home = home();
    home.sh(
        "cs-parse one | cs-embed > whole.arrows; cs-embed --to jsonl < whole.arrows > /dev/null
        cs-parse one | cs-embed --to jsonl > one.jsonl
        head -n 4 one.jsonl | cs-store db --atomic --step-rows 1",
    )
    .status(2)
    .says("nothing of the stream is stored");
    // The table is there, and empty; no file of the two that were complete is left in it.
    assert_eq!(contents(&home, &export("db")), Vec::<String>::new());
    assert_eq!(
        home.sh("ls db/chunks.lance/data | wc -l").text().trim(),
        "0"
    );
    assert_eq!(info(&home, "cs-store info db --json")["complete"], true);

    home.sh(
        "mkfifo feed; cs-store db --atomic --step-rows 1 < feed & store=$!
        exec 9> feed; head -n 4 one.jsonl >&9; sleep 1
        cs-store info db --json > while.json
        tail -n +5 one.jsonl >&9; exec 9>&-; wait $store",
    )
    .status(0);
    let before: Value = serde_json::from_slice(&home.read("while.json")).expect("JSON");
    assert_eq!(before["files"], 0);
    let after = info(&home, "cs-store info db --json");
    assert_eq!(
        (&after["files"], &after["complete"]),
        (&4.into(), &true.into())
    );
    sound(&home, "db").silent();

    // What is replaced goes in the same commit, and what vanished as well.
    home.write("one/a.rs", "/// Shuts door a.\nfn shut_a() {}\n");
    home.sh("rm one/b.rs; cs-parse one --since db | cs-embed | cs-store db --atomic")
        .status(0);
    assert_eq!(
        contents(&home, &export("db")),
        [
            "one/a.rs: /// Shuts door a.",
            "one/c.rs: /// Opens door c.",
            "one/d.rs: /// Opens door d."
        ]
    );
    sound(&home, "db").silent();
    home.sh("cat one.jsonl | jq -c 'select(.op != \"end\")' > twice.jsonl
        jq -c 'select(.op == \"put\")' one.jsonl >> twice.jsonl; echo '{\"op\":\"end\"}' >> twice.jsonl
        cs-store db --atomic --step-rows 1 < twice.jsonl")
        .status(2)
        .says("one/a.rs: the stream brings this file twice");
    assert_eq!(contents(&home, &export("db")).len(), 3);
}

#[test]
fn a_rebuilt_store_is_the_old_one_until_it_is_the_new_one() {
    let home = home();
    home.sh("cs-parse one | cs-embed | cs-store db").status(0);
    let old = contents(&home, &export("db"));
    home.sh("cs-parse two | cs-embed --to jsonl > two.jsonl
        head -n 4 two.jsonl | cs-store db --rebuild --step-rows 1")
        .status(2)
        .says("nothing of the stream is stored");
    assert_eq!(contents(&home, &export("db")), old);
    assert_eq!(home.sh("ls -d db/chunks*").text().trim(), "db/chunks.lance");

    home.sh(
        "mkfifo feed; cs-store db --rebuild --step-rows 1 < feed & store=$!
        exec 9> feed; head -n 4 two.jsonl >&9; sleep 1
        cs-store export db --no-vectors --to jsonl > while.jsonl
        cs-query --db db 'open door a' > /dev/null || exit 1
        tail -n +5 two.jsonl >&9; exec 9>&-; wait $store",
    )
    .status(0);
    assert_eq!(contents(&home, "cat while.jsonl"), old);
    let new = contents(&home, &export("db"));
    assert!(
        new.len() == 4 && new.iter().all(|line| line.starts_with("two/")),
        "{new:?}"
    );
    sound(&home, "db").silent();
    // The manifest is the new table's.
    let stream = home.sh("cs-parse two --since db --to jsonl").status(0);
    assert!(stream.changes().is_empty(), "{stream}");
    // The old table goes when nobody can be reading it any more.
    home.sh(
        "touch -d '1 hour ago' db/chunks.table; cs-parse two --since db | cs-embed | cs-store db",
    )
    .status(0);
    assert_eq!(
        home.sh("ls -d db/*.lance").text().trim(),
        "db/chunks-2.lance"
    );
    sound(&home, "db").silent();
}

#[test]
fn a_rebuild_takes_another_model_and_refuses_a_part() {
    let home = home();
    home.sh("cs-parse one | cs-embed | cs-store db").status(0);
    home.sh("cs-parse one --since db | cs-embed | cs-store db --rebuild")
        .status(2)
        .says("--rebuild would forget");
    home.sh("cs-parse one | cs-embed --dims 64 | cs-store db --rebuild")
        .status(0);
    let told = info(&home, "cs-store info db --json");
    assert_eq!(told["model"]["dim"], 64);
    home.sh("cs-query --db db 'open door a'").status(0);
}

#[test]
fn rows_that_came_during_a_rebuild_are_not_lost() {
    let home = home();
    home.sh("cs-parse one | cs-embed | cs-store db").status(0);
    home.sh("cs-parse one | cs-embed --to jsonl > one.jsonl
        mkfifo feed; cs-store db --rebuild < feed 2> errors & store=$!
        exec 9> feed; head -n 3 one.jsonl >&9; sleep 1
        cs-parse two | cs-embed | cs-store db
        tail -n +4 one.jsonl >&9; exec 9>&-; wait $store; echo $? >> errors")
        .status(0);
    let errors = String::from_utf8_lossy(&home.read("errors")).into_owned();
    assert!(
        errors.contains("written to, by another process"),
        "{errors}"
    );
    assert!(errors.ends_with("2\n"), "{errors}");
    assert_eq!(contents(&home, &export("db")).len(), 8);
    sound(&home, "db").silent();
}

/// Repositories, each written by a process of its own, all at once, into one store.
fn shards(home: &Home, count: usize) {
    for repo in 0..count {
        for file in 0..12 {
            let text = format!("/// Opens door {file}.\nfn open_{file}_{repo}() {{}}\n");
            home.write(&format!("shards/r{repo}/{file}.rs"), text);
        }
    }
}

const SHARDS: &str = "for repo in shards/*; do
        (cs-parse $repo | cs-embed | cs-store $S $O --step-rows 3) 2>> errors & jobs+=($!)
    done
    for job in ${jobs[@]}; do wait $job || { cat errors >&2; exit 1; }; done";

#[test]
fn shards_are_written_at_once() {
    let home = home();
    shards(&home, 4);
    let local = "S=db; O=\n";
    home.sh(&format!("{local}{SHARDS}")).status(0);
    assert_eq!(contents(&home, &export("db")).len(), 48);
    sound(&home, "db").silent();
    // Each again, with changes: what goes and what comes are other rows for each process.
    home.sh("rm shards/*/3.rs; sed -i 's/Opens/Shuts/' shards/*/[5-8].rs")
        .status(0);
    home.sh(&format!(
        "{local}{}",
        SHARDS.replace("$repo |", "$repo --since db |")
    ))
    .status(0);
    let lines = contents(&home, &export("db"));
    assert_eq!(lines.len(), 44, "{lines:?}");
    assert_eq!(
        lines.iter().filter(|line| line.contains("Shuts")).count(),
        16
    );
    sound(&home, "db").silent();
    let told = info(&home, "cs-store info db --json");
    for index in told["indexes"].as_array().expect("indexes") {
        assert_eq!(index["unindexed_rows"], 0, "{told}");
    }
    let stream = home.sh("cs-parse shards/* --since db --to jsonl").status(0);
    assert!(stream.changes().is_empty(), "{stream}");
}

#[test]
fn s3_holds_a_store_as_a_folder_does() {
    let Some(server) = Server::start() else {
        return;
    };
    let home = home();
    let at = |script: &str| format!("{}{script}", server.shell());
    home.sh(&at("cs-query --db $S $O door"))
        .status(2)
        .says("no store here");
    home.sh(&at("cs-parse one two | cs-embed | cs-store $S $O"))
        .status(0);
    let all = contents(&home, &at("cs-store export $S $O --to jsonl"));
    assert_eq!(all.len(), 8);
    home.sh(&at("cs-store check $S $O")).status(0).silent();
    let told = info(&home, &at("cs-store info $S $O --json"));
    assert_eq!(
        (&told["files"], &told["complete"]),
        (&8.into(), &true.into())
    );
    assert!(told["bytes"].as_u64() > Some(1000), "{told}");
    let hits = home.sh(&at("cs-query --db $S $O 'open door b'")).status(0);
    assert!(hits.text().contains("b.rs"), "{hits}");

    // Only what changed is parsed again.
    home.write("one/a.rs", "/// Shuts door a.\nfn shut_a() {}\n");
    home.sh("rm two/b.rs").status(0);
    let changes = "cs-parse one two --since <(cs-store manifest $S $O)";
    let stream = home.sh(&at(&format!("{changes} --to jsonl"))).status(0);
    assert_eq!(stream.changes(), ["delete a.rs", "put a.rs", "delete b.rs"]);
    home.sh(&at(&format!("{changes} | cs-embed | cs-store $S $O")))
        .status(0);
    let lines = contents(&home, &at("cs-store export $S $O --to jsonl"));
    assert!(lines.len() == 7 && lines[0].contains("Shuts"), "{lines:?}");
    let runs = info(&home, &at("cs-store info $S $O --runs --json"));
    let runs = runs["runs"].as_array().expect("runs");
    assert_eq!(runs.last().expect("a run")["result"], "done");
    assert_eq!(runs.last().expect("a run")["chunks"], 1);
    home.sh("cs-parse one --since s3://bucket/index")
        .status(2)
        .says("cs-store manifest s3://bucket/index");

    // A stream that breaks off is told by the next one who asks.
    home.sh(&at(
        "cs-parse one | cs-embed --to jsonl | head -n 3 | cs-store $S $O",
    ))
    .status(2);
    home.sh(&at("cs-query --db $S $O door")).says("incomplete");
    home.sh(&at(
        "cs-parse one two | cs-embed | cs-store $S $O --rebuild",
    ))
    .status(0);
    home.sh(&at(
        "cs-store forget $S $O --repo two; cs-store optimize $S $O --keep 0",
    ))
    .status(0);
    assert_eq!(
        contents(&home, &at("cs-store export $S $O --to jsonl")).len(),
        4
    );
    home.sh(&at("cs-store check $S $O")).status(0).silent();
}

#[test]
fn writers_of_an_object_store_keep_out_of_each_others_way() {
    let Some(server) = Server::start() else {
        return;
    };
    let home = home();
    shards(&home, 3);
    let at = |script: &str| format!("{}{script}", server.shell());
    home.sh(&at(SHARDS)).status(0);
    assert_eq!(
        contents(&home, &at("cs-store export $S $O --to jsonl")).len(),
        36
    );
    home.sh(&at("cs-store check $S $O")).status(0).silent();

    // A second writer of a repository is refused; one that was killed is not waited for for ever.
    home.sh(&at("cs-parse shards/r0 | cs-embed --to jsonl > r0.jsonl
        mkfifo feed; cs-store $S $O --lease 5 < feed & store=$!
        exec 9> feed; head -n 3 r0.jsonl >&9; sleep 1
        cs-store $S $O --lease 5 < r0.jsonl 2> second; echo $? >> second; echo $store > pid
        kill -KILL $store; exec 9>&-; wait $store
        cs-store $S $O --lease 5 < r0.jsonl"))
        .status(0)
        .says("seeing for 5 s whether it is alive");
    let second = String::from_utf8_lossy(&home.read("second")).into_owned();
    let pid = String::from_utf8_lossy(&home.read("pid")).trim().to_owned();
    assert!(second.contains(&format!("process {pid} on ")), "{second}");
    assert!(second.contains("is writing repository r0"), "{second}");
    assert!(second.ends_with("2\n"), "{second}");
    assert_eq!(
        contents(&home, &at("cs-store export $S $O --to jsonl")).len(),
        36
    );
    home.sh(&at("cs-store check $S $O")).status(0).silent();
}

#[test]
fn an_address_that_nothing_is_at_is_told_by_its_name() {
    let home = home();
    home.sh("cs-parse one | cs-embed | cs-store ftp://host/x")
        .status(2)
        .says("ftp://host/x: `ftp` is none of");
    // Object stores are features that the default build has not got, and CI's has one of.
    for (address, feature) in [("gs://b/x", "gs"), ("az://b/x", "az")] {
        for tool in [
            format!("cs-store info {address}"),
            format!("cs-query --db {address} door"),
        ] {
            home.sh(&tool)
                .status(2)
                .says(&format!(
                    "{address}: this build has no cargo feature `{feature}`"
                ))
                .says(&format!("--features {feature}"));
        }
    }
    home.sh("cs-store info db --storage-option region")
        .status(2)
        .says("KEY=VALUE");
    assert!(!Path::new("ftp:").exists());
}
