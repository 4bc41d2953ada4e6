//! Asking: filters, forms of output, several stores, similar code, and what is wrong with a question.

use cs_tests::Home;
use serde_json::Value;

const UPLOAD: &str = "/// Tries a failed upload again, three times.\npub fn retry_upload(file: &str) -> bool {\n    send(file) || send(file) || send(file)\n}\n\n/// Sends a file to the server.\nfn send(file: &str) -> bool {\n    connect().write(file)\n}\n";
const QUEUE: &str = "class UploadQueue:\n    \"\"\"Files that wait for their upload.\"\"\"\n\n    def push(self, file):\n        self.files.append(file)\n\n    def drain(self):\n        for file in self.files:\n            retry_upload(file)\n";
const TEST: &str = "def test_retry_upload():\n    assert retry_upload('file') is True\n";

/// Makes a store of two repositories: `app` in Rust and Python, `it's` in Go.
fn stored() -> Home {
    let home = Home::new();
    home.write("app/src/upload.rs", UPLOAD);
    home.write("app/src/queue.py", QUEUE);
    home.write("app/tests/test_upload.py", TEST);
    home.write("app/tool/package.json", "{\"name\": \"tool\"}\n");
    home.write(
        "app/tool/größe [1].js",
        "function uploadSize(file) {\n  return file.size;\n}\n",
    );
    home.write(
        "it's/door.go",
        "package door\n\n// Open opens the door.\nfunc Open() error {\n\treturn nil\n}\n",
    );
    home.sh("cs-parse app \"it's\" | cs-embed | cs-store db")
        .status(0);
    home
}

fn hits(home: &Home, arguments: &str) -> Vec<Value> {
    home.sh(&format!("cs-query --db db --json {arguments}"))
        .status(0)
        .hits()
}

/// Returns the values of a field of the hits, each once.
fn values(home: &Home, arguments: &str, field: &str) -> Vec<String> {
    let mut values: Vec<String> = hits(home, arguments)
        .iter()
        .map(|hit| hit[field].as_str().unwrap_or("null").to_owned())
        .collect();
    values.sort();
    values.dedup();
    values
}

#[test]
fn filters_leave_only_what_fits() {
    let home = stored();
    for (flags, field, expected) in [
        ("--lang python", "language", &["python"][..]),
        ("--lang Rust,go", "language", &["go", "rust"]),
        ("--kind method", "kind", &["method"]),
        ("--repo \"it's\"", "repo", &["it's"]),
        ("--project tool", "project", &["tool"]),
        ("--project ./tool/", "project", &["tool"]),
        (
            "--path '*.py'",
            "path",
            &["src/queue.py", "tests/test_upload.py"],
        ),
        ("--path '*.py' --path '!tests/'", "path", &["src/queue.py"]),
        ("--path /src/", "path", &["src/queue.py", "src/upload.rs"]),
        ("--path 'gr?ße \\[1\\].js'", "path", &["tool/größe [1].js"]),
        ("--symbol send", "symbol", &["send"]),
        ("--symbol UploadQueue.push", "symbol", &["UploadQueue.push"]),
        (
            "--symbol UploadQueue::push",
            "symbol",
            &["UploadQueue.push"],
        ),
        ("--grep 'fi.es\\.app'", "symbol", &["UploadQueue.push"]),
    ] {
        for mode in ["hybrid", "dense", "text"] {
            let found = values(
                &home,
                &format!("--mode {mode} {flags} -- upload send file open push"),
                field,
            );
            assert_eq!(found, expected, "{mode} {flags}");
        }
    }
    home.sh("cs-query --db db --lang klingon --kind method upload")
        .status(1)
        .says("cs-query: no hit")
        .says("nothing that is stored fits --lang klingon");
    home.sh("cs-query --db db --repo \"' OR 1=1 --\" upload")
        .status(1);
}

#[test]
fn a_symbol_alone_is_where_it_is_defined() {
    let home = stored();
    let output = home
        .sh("cs-query --db db --symbol retry_upload")
        .status(0)
        .silent();
    assert_eq!(
        output.text(),
        "app/src/upload.rs:1: function retry_upload: pub fn retry_upload(file: &str) -> bool\n"
    );
    // What calls or tests it comes behind it.
    assert_eq!(hits(&home, "retry_upload")[0]["symbol"], "retry_upload");
    let first = hits(&home, "where is a failed upload tried again");
    assert_eq!(first[0]["path"], "src/upload.rs");
}

#[test]
fn pages_and_scores_cut_the_list() {
    let home = stored();
    let all = hits(&home, "upload file");
    assert!(all.len() > 4, "{all:?}");
    let page = hits(&home, "upload file -n 2 --offset 1");
    assert_eq!(page[..], all[1..3]);
    assert_eq!(page[0]["rank"], 2);
    let least = all[1]["score"].as_f64().expect("a score");
    assert_eq!(
        hits(&home, &format!("upload file --min-score {least}")).len(),
        2
    );
    home.sh("cs-query --db db upload --min-score 99").status(1);
    home.sh("cs-query --db db upload --offset 500").status(1);
}

#[test]
fn the_json_of_a_question_has_the_documented_fields() {
    let home = stored();
    let answer = home
        .sh("cs-query --db db --json --explain retry a failed upload")
        .status(0)
        .records();
    assert_eq!(answer.len(), 1);
    assert_eq!(answer[0]["question"], "retry a failed upload");
    assert_eq!(answer[0]["mode"], "hybrid");
    let hit = &answer[0]["hits"][0];
    let manual = cs_tests::root().join("query/README.md");
    let manual = std::fs::read_to_string(manual).expect("query/README.md");
    for name in hit.as_object().expect("an object").keys() {
        assert!(
            manual.contains(&format!("`{name}`")),
            "{name} is not in query/README.md"
        );
    }
    assert_eq!(hit["doc"], "Tries a failed upload again, three times.");
    assert_eq!(
        (&hit["start_line"], &hit["end_line"]),
        (&1.into(), &4.into())
    );
    let explain = &hit["explain"];
    assert!(
        explain["cosine"].is_f64() && explain["bm25"].is_f64(),
        "{explain}"
    );
    let steps = explain["score"].as_array().expect("steps");
    let sum: f64 = steps.iter().filter_map(|step| step["adds"].as_f64()).sum();
    let score = hit["score"].as_f64().expect("a score");
    assert!((sum - score).abs() < 1e-4, "{sum} {score} {steps:?}");
}

#[test]
fn files_and_context_are_for_other_programs() {
    let home = stored();
    let files = home
        .sh("cd app && cs-query --db ../db --files upload file --repo app")
        .status(0)
        .text();
    let mut sorted: Vec<&str> = files.lines().collect();
    sorted.sort_unstable();
    let expected = [
        "src/queue.py",
        "src/upload.rs",
        "tests/test_upload.py",
        "tool/größe [1].js",
        "tool/package.json",
    ];
    assert_eq!(sorted, expected);
    let context = home
        .sh("cs-query --db db --context 80 retry a failed upload")
        .status(0)
        .text();
    assert!(
        context.starts_with("app/src/upload.rs:1-4 function retry_upload\n```rust\n/// Tries"),
        "{context}"
    );
    assert!(context.len() <= 240, "{context}");
    home.sh("cs-query --db db --context 3 retry")
        .status(1)
        .says("fits in 3 tokens");
}

#[test]
fn the_stream_of_hits_is_one_of_the_contract() {
    let home = stored();
    home.sh("cs-query --db db --arrow -n 4 upload | cs-store part")
        .status(0);
    let rows = home
        .sh("cs-store export part --to jsonl")
        .status(0)
        .records();
    let mut ranks: Vec<u64> = rows.iter().filter_map(|row| row["rank"].as_u64()).collect();
    ranks.sort_unstable();
    assert_eq!(ranks, [1, 2, 3, 4]);
    let best = rows
        .iter()
        .find(|row| row["rank"] == 1)
        .expect("the first hit");
    let first = &hits(&home, "upload")[0];
    assert_eq!(best["chunk_id"], first["chunk_id"]);
    assert_eq!(best["score"], first["score"]);
    // Hits of hits: its own columns are made anew.
    home.sh("cs-query --db part --arrow -n 2 upload | cs-store again")
        .status(0);
    home.sh("cs-query --db db --arrow --lang klingon upload > none")
        .status(1);
    home.sh("cs-store empty < none").status(0);
}

#[test]
fn a_terminal_has_groups_colours_and_links() {
    let home = stored();
    let script = |env: &str| {
        format!("{env} script -qec \"cs-query --db db 'failed upload' --repo app\" /dev/null")
    };
    let text = home.sh(&script("TERM=xterm")).status(0).text();
    assert!(text.contains("\u{1b}]8;;file:///"), "{text:?}");
    assert!(text.contains("\u{1b}[1;31mupload\u{1b}[0m"), "{text:?}");
    assert!(text.contains("        2 "), "{text:?}");
    assert_eq!(
        text.matches("app/src/upload.rs\u{1b}[0m").count(),
        1,
        "{text:?}"
    );
    let text = home.sh(&script("TERM=xterm NO_COLOR=1")).status(0).text();
    assert!(
        !text.contains("\u{1b}[") && text.contains("\u{1b}]8;;"),
        "{text:?}"
    );
    let text = home.sh(&script("TERM=dumb")).status(0).text();
    assert!(!text.contains('\u{1b}'), "{text:?}");
    home.sh("script -qec 'cs-query --db db --arrow upload' /dev/null")
        .status(2);
}

#[test]
fn similar_code_is_found_by_a_line() {
    let home = stored();
    home.write("app/src/again.rs", UPLOAD.replace("upload", "download"));
    home.sh("cs-parse app --since db | cs-embed | cs-store db")
        .status(0);
    for file in [
        "app/src/upload.rs:3",
        "$PWD/app/src/upload.rs:1",
        "src/upload.rs:4",
    ] {
        let found = hits(&home, &format!("--like \"{file}\" -n 3"));
        assert!(
            found.iter().any(|hit| hit["symbol"] == "retry_download"),
            "{file}: {found:?}"
        );
        assert!(
            found.iter().all(|hit| hit["symbol"] != "retry_upload"),
            "{found:?}"
        );
    }
    let both = hits(&home, "--like src/upload.rs:3 --lang python queue");
    assert!(both.iter().all(|hit| hit["language"] == "python"));
    home.sh("cs-query --db db --like src/nowhere.rs:3")
        .status(2)
        .says("--like src/nowhere.rs:3: the file is in no store that is asked");
}

#[test]
fn several_stores_are_asked_as_one() {
    let home = stored();
    home.write(
        "other/door.rs",
        "/// Opens the door of the house.\nfn open_door() {}\n",
    );
    home.sh("cs-parse other | cs-embed | cs-store same; cs-parse other | cs-embed --dims 64 | cs-store short")
        .status(0);
    for other in ["same", "short"] {
        let script = format!("cs-query --db db --db {other} --json open the door");
        let found = home.sh(&script).status(0).hits();
        let first: Vec<&str> = found[..2]
            .iter()
            .filter_map(|hit| hit["symbol"].as_str())
            .collect();
        assert!(
            first.contains(&"open_door") && first.contains(&"Open"),
            "{other}: {first:?}"
        );
        assert!(found.iter().any(|hit| hit["db"] == other), "{found:?}");
        home.sh(&format!(
            "cs-query --db db --db {other} --arrow -n 3 open the door > hits"
        ))
        .status(0);
        let script = "cs-embed < hits | cs-store joined && cs-store info joined --json";
        assert_eq!(home.sh(script).status(0).records()[0]["chunks"], 3);
        home.sh("rm -r joined");
    }
    home.sh("cs-query --db db --db nowhere door")
        .status(2)
        .says("nowhere: no store here");
}

#[test]
fn what_is_wrong_is_said() {
    let home = stored();
    for (arguments, says) in [
        ("''", "the question is empty"),
        ("", "required"),
        ("--grep '(' upload", "--grep: "),
        ("--path 'a[z-b]' upload", "--path a[z-b]"),
        ("--lang '' upload", "--lang has an empty value"),
        ("--like upload.rs", "--like upload.rs: names no line"),
        ("--like upload.rs:1 --mode text", "not with --mode text"),
        ("--min-score nan upload", "--min-score"),
        ("-n 0 upload", "0"),
        ("--json --files upload", "cannot be used with"),
        ("--batch upload", "cannot be used with"),
        ("--eval queries", "--qrels"),
    ] {
        home.sh(&format!("cs-query --db db {arguments}"))
            .status(2)
            .says(says);
    }
}

#[test]
fn an_empty_store_has_no_hit() {
    let home = stored();
    home.sh("cs-store forget db --path '*'").status(0);
    for mode in ["hybrid", "dense", "text"] {
        home.sh(&format!("cs-query --db db --mode {mode} upload"))
            .status(1)
            .says("no hit");
    }
}

#[test]
fn a_batch_answers_each_line_in_order() {
    let home = stored();
    home.write(
        "questions",
        "retry a failed upload\n\
         {\"id\": 7, \"question\": \"open\", \"lang\": \"go\", \"limit\": 1}\n\
         {\"id\": \"bad\", \"question\": \"open\", \"grep\": \"(\"}\n\
         \n\
         {\"question\": \"open\"\n\
         {\"question\": \"open\", \"colour\": 1}\n\
         {\"id\": 8, \"question\": \"none\", \"lang\": \"klingon\"}\n\
         send",
    );
    for threads in ["", "-j 1", "-j 7"] {
        let output = home.sh(&format!(
            "cs-query --db db --batch -n 3 {threads} < questions"
        ));
        let output = output.status(1).says("4 questions failed");
        let records = output.records();
        assert_eq!(records.len(), 8);
        assert_eq!(records[0]["hits"][0]["symbol"], "retry_upload");
        assert_eq!(
            (&records[1]["id"], &records[1]["hits"][0]["symbol"]),
            (&7.into(), &"Open".into())
        );
        assert_eq!(records[1]["hits"].as_array().map(Vec::len), Some(1));
        for (at, says) in [(2, "--grep"), (3, "empty"), (4, "JSON"), (5, "`colour`")] {
            let error = records[at]["error"].as_str().unwrap_or_default();
            assert!(error.contains(says), "{at}: {error}");
        }
        assert_eq!(records[2]["id"], "bad");
        assert_eq!(records[6]["hits"].as_array().map(Vec::len), Some(0));
        // As if it were asked alone.
        assert_eq!(records[7]["hits"], Value::from(hits(&home, "send -n 3")));
    }
    home.sh("echo send | cs-query --db db --batch")
        .status(0)
        .silent();
    home.sh("cs-query --db db --batch < /dev/null").status(1);
}

#[test]
fn the_thousandth_question_is_answered_as_the_first() {
    let home = stored();
    let script = "for i in {1..150}; do
            echo 'retry a failed upload'
            echo '{\"question\": \"open\", \"lang\": \"go\"}'
        done | cs-query --db db --batch -n 5";
    let records = home.sh(script).status(0).records();
    assert_eq!(records.len(), 300);
    for (at, query) in ["retry\\ a\\ failed\\ upload -n 5", "open --lang go -n 5"]
        .into_iter()
        .enumerate()
    {
        let alone = Value::from(hits(&home, query));
        for record in records.iter().skip(at).step_by(2) {
            assert_eq!(record["hits"], alone);
        }
    }
}

#[test]
fn the_time_of_each_stage_is_told() {
    let home = stored();
    let ask = "cs-query --db db --profile";
    let told = home
        .sh(&format!("{ask} --json 'retry an upload'"))
        .status(0);
    let profile = &told.records()[0]["profile"];
    let total = profile["total_ms"].as_f64().expect("a number");
    for stage in profile["stages"].as_array().expect("stages") {
        let (ms, share) = (&stage["ms"], stage["share"].as_f64().expect("a number"));
        let ms = ms.as_f64().expect("a number");
        let name = stage["stage"].as_str().expect("a name");
        let is_asked = !["decompose", "rewrite", "rerank", "answer"].contains(&name);
        assert!((0.0 < ms) == is_asked && ms < total, "{profile}");
        assert!((share - ms / total).abs() < 0.01, "{profile}");
    }
    let lines = |stderr: &str| -> Vec<String> {
        let first = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
        stderr.lines().map(first).collect()
    };
    let stages = [
        "stage", "open", "embed", "dense", "text", "rank", "read", "total",
    ];
    assert_eq!(lines(&told.stderr), stages);
    let batch = home
        .sh(&format!("printf 'a\\nb\\n' | {ask} --batch"))
        .status(0);
    assert_eq!(lines(&batch.stderr), stages);
    assert_eq!(batch.records()[1].get("profile"), None);
    home.sh(&format!("{ask} --mcp")).status(2).says("--profile");
}

#[test]
fn a_batch_answers_as_it_is_asked() {
    let home = stored();
    // The second question is only asked when the first one has been answered.
    let script = "coproc cs-query --db db --batch
        echo retry_upload >&\"${COPROC[1]}\"
        read -r -t 60 first <&\"${COPROC[0]}\" || exit 3
        echo Open >&\"${COPROC[1]}\"
        read -r -t 60 second <&\"${COPROC[0]}\" || exit 4
        echo \"$first\"; echo \"$second\"";
    let records = home.sh(script).status(0).records();
    assert_eq!(records[0]["hits"][0]["symbol"], "retry_upload");
    assert_eq!(records[1]["hits"][0]["symbol"], "Open");
}

#[test]
fn figures_of_questions_with_answers() {
    let home = stored();
    home.write(
        "queries",
        "{\"id\": 1, \"question\": \"retry_upload\", \"language\": \"rust\"}\n\
         {\"id\": \"two\", \"text\": \"open the door\", \"language\": \"go\"}\n\
         {\"id\": 3, \"question\": \"not judged\"}\n",
    );
    home.write(
        "qrels",
        "{\"query\": \"1\", \"path\": \"src/upload.rs\", \"start_line\": 2, \"end_line\": 2}\n\
         {\"query\": \"1\", \"path\": \"nowhere.rs\"}\n\
         {\"query\": \"two\", \"path\": \"door.go\", \"score\": 0}\n\
         {\"query\": \"two\", \"path\": \"it's/door.go\", \"repo\": \"it's\"}\n",
    );
    let script = "cs-query --db db --eval queries --qrels qrels --by language";
    let output = home.sh(script).status(0).says("1 questions have no answer");
    let text = output.text();
    assert!(
        text.contains("ndcg@10") && text.contains("by language"),
        "{text}"
    );
    let figures = &home.sh(&format!("{script} --json")).status(0).records()[0];
    assert_eq!(figures["questions"], 2);
    let ideal = 1.0 + 1.0 / 3_f64.log2();
    let rust = figures["by"]["language"]["rust"]["ndcg@10"]["mean"]
        .as_f64()
        .expect("a figure");
    assert!((rust - 1.0 / ideal).abs() < 1e-9, "{rust}");
    assert_eq!(figures["by"]["language"]["go"]["mrr@10"]["mean"], 1.0);
    assert_eq!(figures["recall@10"]["mean"], 0.75);
    assert_eq!(figures["each"][0]["id"], "1");
    for (file, contents, says) in [
        (
            "queries",
            "{\"id\": 1}\n",
            "queries:1: the question is empty",
        ),
        (
            "queries",
            "{\"question\": \"a\"}\n",
            "queries:1: the question has no `id`",
        ),
        (
            "queries",
            "{\"id\": 9, \"question\": \"a\"}\n",
            "no question of it has an answer",
        ),
        (
            "qrels",
            "{\"query\": 1}\n",
            "qrels:1: the answer has neither",
        ),
        ("qrels", "{\n", "qrels:1: not an answer as JSON"),
    ] {
        let before = home.read(file);
        home.write(file, contents);
        home.sh(script).status(2).says(says);
        home.write(file, before);
    }
    home.sh("cs-query --db db --eval queries --qrels qrels --by colour")
        .status(2)
        .says("--by colour: no question has that field");
}
