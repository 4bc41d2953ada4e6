//! Vectors made before: shared, bounded, and right whatever happens to who makes them.

use std::fs;

use cs_tests::service::Service;
use cs_tests::{Home, Output, tiny_bert};
use serde_json::Value;

/// Writes a file with this many functions.
fn write_functions(home: &Home, path: &str, count: usize) {
    let functions = (0..count).map(|at| {
        format!("/// Says hello to guest {at}.\npub fn greet_{at}() {{\n    hello({at});\n}}\n\n")
    });
    home.write(path, functions.collect::<String>());
}

/// A home with a small encoder and a stream of this many functions.
fn home(count: usize) -> Home {
    let home = Home::new();
    write_functions(&home, "repo/greet.rs", count);
    for (name, bytes) in tiny_bert::files() {
        home.write(&format!("tiny/{name}"), bytes);
    }
    home.sh("cs-parse repo > chunks.arrows").status(0);
    home
}

const EMBED: &str = "cs-embed --model tiny --to jsonl --no-report";

/// Returns the bytes of all files in the cache.
fn bytes(home: &Home) -> u64 {
    let folders = fs::read_dir(home.path().join("cache")).expect("the cache");
    let folders = folders.flatten().filter(|entry| entry.path().is_dir());
    let files = folders.flat_map(|folder| fs::read_dir(folder.path()).expect("a folder"));
    files
        .flatten()
        .map(|file| file.metadata().map_or(0, |m| m.len()))
        .sum()
}

/// Returns the rows of a stream, without what the header tells of its making.
fn rows(output: &Output) -> Vec<Value> {
    output.records().split_off(1)
}

#[test]
fn what_was_embedded_is_not_embedded_again() {
    let home = home(100);
    let service = Service::start();
    let url = &service.url;
    let embed = |stream: &str, flags: &str| {
        format!(
            "cs-embed --endpoint {url} --model m --cache cache {flags} --no-report --to jsonl < {stream}"
        )
    };
    let first = home
        .sh(&embed("chunks.arrows", ""))
        .status(0)
        .says("cache: 0 of 100 vectors were there (0.0 %)");
    assert_eq!(service.requests().len(), 1 + 4);
    let second = home
        .sh(&embed("chunks.arrows", "--cache-size 1M"))
        .status(0)
        .says("cache: 100 of 100 vectors were there (100.0 %)");
    assert_eq!(
        service.requests().len(),
        1,
        "one request asks for the dimensions"
    );
    assert_eq!(first.stdout, second.stdout);

    // A branch with one function changed, in another worktree and under another name.
    let text = String::from_utf8(home.read("repo/greet.rs")).expect("UTF-8");
    home.write("branch/greet.rs", text.replace("hello(42)", "goodbye(42)"));
    home.sh("cs-parse branch > branch.arrows").status(0);
    home.sh(&embed("branch.arrows", ""))
        .status(0)
        .says("cache: 99 of 100 vectors were there (99.0 %)");
    let texts: Vec<String> = service
        .requests()
        .into_iter()
        .flat_map(|r| r.texts)
        .collect();
    assert_eq!(texts.len(), 2);
    assert!(texts[1].contains("goodbye(42)"));

    // A stage between may change the text and not its hash.
    let jq = r#"cs-parse repo --to jsonl | jq -c 'if .content then .content |= ascii_upcase else . end'"#;
    home.sh(&format!("{jq} > upper.jsonl")).status(0);
    home.sh(&embed("upper.jsonl", ""))
        .status(0)
        .says("cache: 0 of 100");
    for other in [
        "--document-prefix 'passage: '",
        "--normalize true",
        "--dims 4",
    ] {
        home.sh(&embed("chunks.arrows", other))
            .status(0)
            .says("cache: 0 of 100");
    }
    home.sh(&embed("chunks.arrows", "").replace("--model m", "--model n"))
        .status(0)
        .says("cache: 0 of 100");
}

#[test]
fn an_encoder_and_all_its_files_name_what_is_kept() {
    let home = home(30);
    let embed = format!("{EMBED} --cache cache < chunks.arrows");
    let plain = home.sh(&format!("{EMBED} < chunks.arrows")).status(0);
    home.sh(&embed).status(0).says("cache: 0 of 30");
    let cached = home.sh(&embed).status(0).says("cache: 30 of 30");
    assert_eq!(rows(&plain), rows(&cached));
    assert_eq!(
        plain.stdout, cached.stdout,
        "a cache is no part of how vectors were made"
    );
    home.sh("cp -r tiny elsewhere").status(0);
    let moved = embed.replace("--model tiny", "--model elsewhere");
    home.sh(&moved).status(0).says("cache: 30 of 30");
    let limit = serde_json::json!({"max_seq_length": 20}).to_string();
    home.write("elsewhere/sentence_bert_config.json", limit);
    home.sh(&moved).status(0).says("cache: 0 of 30");
    let text = home.read("tiny/tokenizer.json");
    let text = String::from_utf8(text).expect("UTF-8");
    home.write(
        "tiny/tokenizer.json",
        text.replace("\"lowercase\":true", "\"lowercase\":false"),
    );
    home.sh(&embed).status(0).says("cache: 0 of 30");
}

#[test]
fn a_static_model_keeps_nothing_and_says_so() {
    let home = home(3);
    home.sh("cs-embed --cache cache < chunks.arrows > out")
        .status(0)
        .says("--cache: a static model is faster than a cache, nothing is kept");
    assert!(!home.path().join("cache").exists());
    home.sh("cs-embed --cache-size 1G < chunks.arrows")
        .status(2)
        .says("--cache");
    home.sh("cs-embed --cache cache --cache-size 9K < chunks.arrows")
        .status(2)
        .says("at least 1M");
    home.sh(&format!("{EMBED} --cache chunks.arrows < chunks.arrows"))
        .status(2)
        .says("--cache chunks.arrows: ");
}

#[test]
fn four_at_once_and_one_that_is_killed_leave_a_right_cache() {
    let home = home(3000);
    let plain = home.sh(&format!("{EMBED} < chunks.arrows")).status(0);
    let embed = format!("{EMBED} --cache cache --cache-size 4M");
    // The one that is killed has written some of its vectors, and waits for more rows.
    home.sh(&format!(
        "mkfifo rows
         (head -c 1000000 chunks.arrows; exec sleep 600) > rows & feeder=$!
         {embed} < rows > killed 2> killed.err & victim=$!
         for n in 1 2 3 4; do
             ({embed} < chunks.arrows > out-$n 2> err-$n; echo $? > status-$n) &
             others[$n]=$!
         done
         until ls cache/*/*.vectors > /dev/null 2>&1; do sleep 0.01; done
         kill -9 $victim
         wait ${{others[@]}}
         kill $feeder",
    ));
    for n in 1..=4 {
        assert_eq!(home.read(&format!("status-{n}")), b"0\n");
        assert!(home.read(&format!("out-{n}")) == plain.stdout, "{n}");
    }
    let after = home.sh(&format!("{embed} < chunks.arrows")).status(0);
    assert!(after.stdout == plain.stdout);
    assert!(after.stderr.contains("(100.0 %)"), "{}", after.stderr);
}

#[test]
fn a_cache_stays_as_small_as_it_may_be() {
    let home = home(6000);
    let embed = format!("{EMBED} --cache cache --cache-size 1M < chunks.arrows");
    let plain = home.sh(&format!("{EMBED} < chunks.arrows")).status(0);
    for _ in 0..2 {
        let output = home.sh(&embed).status(0).says("cache: ");
        assert!(output.stdout == plain.stdout);
        let bytes = bytes(&home);
        assert!((500_000..=1 << 20).contains(&bytes), "{bytes}");
    }
}
