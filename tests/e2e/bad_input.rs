//! Bad input: one clear line, status 2, and nothing lost.

use cs_tests::{Home, PLAINLY};

fn home() -> Home {
    let home = Home::new();
    home.write("repo/a.rs", "/// Opens the door.\nfn open_door() {}\n");
    home.sh(
        "cs-parse repo > chunks.arrows && cs-embed < chunks.arrows > vectors.arrows
        cs-store db < vectors.arrows",
    )
    .status(0);
    home
}

fn still_there(home: &Home) {
    let text = home
        .sh("cs-query --db db 'open the door' --json")
        .status(0)
        .text();
    assert!(text.contains("open_door"), "{text}");
}

#[test]
fn missing_paths_are_named() {
    let home = home();
    home.sh("cs-parse nowhere").status(2).says("nowhere");
    home.sh("cs-query --db nowhere question")
        .status(2)
        .says("nowhere: no store here")
        .says("hint: ");
    home.sh("cs-query question")
        .status(2)
        .says("no store here or in a folder above");
    home.sh("cs-store info nowhere")
        .status(2)
        .says("nowhere: no store here");
    home.sh("cs-embed --model nowhere/model < chunks.arrows")
        .status(2)
        .says("model nowhere/model: not a folder, and not in the cache at");
}

#[test]
fn an_unreadable_file_is_named_and_the_rest_goes_on() {
    let home = home();
    home.write("repo/locked.rs", "fn locked() {}\n");
    let script = "chmod 000 repo/locked.rs; plainly cs-parse repo --to jsonl";
    let output = home.sh(&[PLAINLY, script].concat());
    let output = output.status(1).says("locked.rs").says("1 not read");
    assert_eq!(output.changes(), ["put a.rs"]);
}

#[test]
fn chunks_without_vectors_are_refused_with_the_way_out() {
    let home = home();
    home.sh("cs-store db < chunks.arrows")
        .status(2)
        .says("cs-store: input has no vectors")
        .says("hint: put cs-embed before cs-store");
    still_there(&home);
}

#[test]
fn vectors_of_another_model_are_refused_naming_both() {
    let home = home();
    home.sh(r#"cs-embed --to jsonl < chunks.arrows | sed 's/\\"sha256\\":\\"..../\\"sha256\\":\\"beef/' > other.jsonl
        grep -q beef other.jsonl && cs-store db < other.jsonl"#)
        .status(2)
        .says("the store holds vectors of builtin")
        .says("sha256 beef");
    still_there(&home);
}

#[test]
fn a_vector_that_means_nothing_is_refused_by_its_chunks_name() {
    let home = home();
    home.sh("cs-embed --to jsonl < chunks.arrows |
        jq -c 'if .vector then .vector |= map(0) else . end' > zeros.jsonl
        cs-store db < zeros.jsonl")
        .status(2)
        .says("cs-store: repo/a.rs:1-2: its vector is all zeros");
    home.sh("jq -c 'del(.vector)' zeros.jsonl > none.jsonl; cs-store db < none.jsonl")
        .status(2)
        .says("its vector is missing");
    home.sh("jq -c 'del(.content)' zeros.jsonl | cs-embed > /dev/null")
        .status(2)
        .says("repo/a.rs:1-2: has no content to embed");
    still_there(&home);
}

#[test]
fn a_second_writer_is_refused_with_the_firsts_pid() {
    let home = home();
    let script = "mkfifo feed; cs-store db < feed & first=$!
        exec 9> feed; head -c 5000 vectors.arrows >&9; sleep 1
        cs-store db < vectors.arrows 2> second; echo $? >> second; echo $first > pid
        tail -c +5001 vectors.arrows >&9; exec 9>&-; wait $first";
    home.sh(script).status(0);
    let second = String::from_utf8_lossy(&home.read("second")).into_owned();
    let pid = String::from_utf8_lossy(&home.read("pid")).trim().to_owned();
    assert!(
        second.contains(&format!("process {pid} is writing")),
        "{second}"
    );
    assert!(second.ends_with("2\n"), "{second}");
    still_there(&home);
}

#[test]
fn a_store_that_cannot_be_written_is_named() {
    let home = home();
    home.write("file", "");
    home.sh("cs-store file/db < vectors.arrows")
        .status(2)
        .says("cs-store: file/db: ");
    home.sh("cs-store /proc/db < vectors.arrows")
        .status(2)
        .says("cs-store: /proc/db: ");
}

#[test]
fn a_full_disk_fails_in_one_line_and_keeps_what_was_committed() {
    let home = home();
    let line = "fn filler() { let text = \"0123456789\"; }\n";
    for file in 0..60 {
        home.write(
            &format!("big/f{file}.rs"),
            line.repeat(200).replace("filler", &format!("f{file}")),
        );
    }
    home.sh("cs-parse big | cs-embed > big.arrows").status(0);
    let script =
        "unshare -rm bash -c 'mkdir disk && mount -t tmpfs -o size=3m tmpfs disk || exit 77
        cs-store disk/db < vectors.arrows || exit 78
        cs-store disk/db < big.arrows 2> errors; echo $? > status
        cs-query --db disk/db \"open the door\" --json --mode dense > after'";
    let output = home.sh(script);
    if home.path().join("status").exists() {
        output.status(0);
        let errors = String::from_utf8_lossy(&home.read("errors")).into_owned();
        assert_eq!(home.read("status"), b"2\n", "{errors}");
        assert!(errors.contains("No space left on device"), "{errors}");
        assert!(String::from_utf8_lossy(&home.read("after")).contains("open_door"));
    } else {
        cs_tests::skip("no tmpfs can be mounted here");
    }
}

#[test]
fn a_card_that_cannot_be_had_is_an_error_with_a_hint() {
    let home = home();
    for flag in ["--cuda", "--device cuda:1", "--device cuda:0,1"] {
        home.sh(&format!("cs-embed {flag} < chunks.arrows > none.arrows"))
            .status(2)
            .says("cs-embed: device cuda:")
            .says("hint: ");
        assert!(home.read("none.arrows").is_empty());
    }
    home.sh("cs-embed --device tpu < chunks.arrows")
        .status(2)
        .says("expected cpu, cuda, cuda:N or cuda:N,M");
    home.sh("cs-embed --device cuda:0,0 < chunks.arrows")
        .status(2)
        .says("the card 0 is named twice");
}

#[test]
fn a_folder_of_other_things_is_no_place_for_a_store() {
    let home = home();
    home.sh("cs-store repo < vectors.arrows")
        .status(2)
        .says("the folder holds other things than a store")
        .says("hint: ");
    assert!(!home.path().join("repo/.gitignore").exists());
}

#[test]
fn columns_may_differ_between_the_streams_of_a_store() {
    let home = home();
    // The first stream brings a column of its own, the second lacks that and a contract column.
    home.sh("cs-embed --to jsonl < chunks.arrows |
        jq -c 'if .op == \"begin\" then .columns.stars = \"Int64\" elif .op == \"put\" then .stars = 3 else . end' |
        cs-store starred")
        .status(0);
    home.sh("cs-embed --to jsonl < chunks.arrows | jq -c 'del(.doc) | del(.signature)' | cs-store starred")
        .status(0);
    let hits = home
        .sh("cs-query --db starred 'open the door' --json")
        .status(0)
        .hits();
    assert_eq!(hits.len(), 1, "{hits:?}");
}

#[test]
fn the_same_weights_pooled_otherwise_are_another_model() {
    let home = home();
    home.sh(r#"cs-embed --to jsonl < chunks.arrows | sed 's/weighted-mean/cls/' | cs-store db"#)
        .status(2)
        .says("the store holds vectors of builtin (320 dimensions, weighted-mean pooling")
        .says("cls pooling");
    still_there(&home);
}
