//! Reports: what each stage says of itself at the end of its stream, and what the last one makes
//! of them.

use cs_tests::{Home, python, tiny_bert};
use serde_json::Value;

fn home() -> Home {
    let home = Home::new();
    home.write("repo/a.rs", "fn alpha() {}\n\nfn beta() { alpha() }\n");
    home.write("repo/b.py", "def gamma():\n    pass\n");
    home.write("repo/c.md", "# Delta\n\nText.\n");
    home
}

/// A repository whose stream is several times what a pipe takes.
fn large() -> Home {
    let home = Home::new();
    for file in 0..40 {
        let functions = (0..1000).map(|number| {
            format!(
                "/// Number {number}.\nfn f{file}_{number}() -> u32 {{ {number} + {file} * 7 }}\n\n"
            )
        });
        home.write(&format!("repo/{file}.rs"), functions.collect::<String>());
    }
    home
}

fn json(home: &Home, path: &str) -> Value {
    serde_json::from_slice(&home.read(path)).expect("JSON")
}

fn number(report: &Value, name: &str) -> f64 {
    let number = report[name].as_f64();
    number.unwrap_or_else(|| panic!("no number {name} in {report}"))
}

/// Expects of a report's times what is always true of them.
#[track_caller]
fn assert_plausible(report: &Value) {
    let [wall, busy, wait_in, wait_out] =
        ["wall_s", "busy_s", "wait_in_s", "wait_out_s"].map(|name| number(report, name));
    assert!(wall >= busy && busy > 0.0, "{report}");
    let sum = busy + wait_in + wait_out;
    assert!((wall - sum).abs() < 0.01 + wall * 0.01, "{report}");
    assert!(number(report, "peak_rss_bytes") > 1e6, "{report}");
    assert!(number(report, "cpu_s") >= 0.0, "{report}");
    let started = number(report, "started_unix_ns") / 1e9;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let ago = now.expect("a clock").as_secs_f64() - started;
    assert!((wall..600.0).contains(&(ago + 0.1)), "{report}");
}

#[test]
fn a_report_tells_what_the_stream_has() {
    let home = home();
    home.sh("cs-parse repo > chunks.arrows && cs-embed < chunks.arrows > vectors.arrows")
        .status(0);
    let parsed = home.sh("cs-parse repo --to jsonl").status(0);
    let puts = parsed
        .records()
        .iter()
        .filter(|row| row["op"] == "put")
        .count();
    let [parse] = parsed.reports().try_into().expect("one report");
    assert_plausible(&parse);
    assert_eq!(parse["tool"], "cs-parse");
    assert_eq!(parse["version"], env!("CARGO_PKG_VERSION"));
    let counts = ["rows", "chunks", "files", "warnings"].map(|name| parse[name].as_u64());
    assert_eq!(
        counts,
        [Some(puts as u64), Some(puts as u64), Some(3), Some(0)]
    );
    let bytes: usize = ["a.rs", "b.py", "c.md"]
        .map(|file| home.read(&format!("repo/{file}")).len())
        .iter()
        .sum();
    assert_eq!(parse["bytes_in"], bytes);

    let embedded = home.sh("cs-embed --to jsonl < chunks.arrows").status(0);
    let [before, embed] = embedded.reports().try_into().expect("two reports");
    // Unchanged, and before this stage's own.
    assert_eq!(before["tool"], "cs-parse");
    let again = home.sh("cs-embed --to jsonl < chunks.arrows").status(0);
    assert_eq!(again.reports()[0], before);
    assert_plausible(&embed);
    assert_eq!(
        (&embed["rows"], &embed["files"]),
        (&parse["rows"], &parse["files"])
    );
    assert_eq!(embed["bytes_in"], home.read("chunks.arrows").len());
    assert_eq!(embed["device"], "cpu");
    let share = number(&embed, "device_busy");
    assert!((0.0..=1.0).contains(&share), "{embed}");
    assert!(number(&embed, "tokens") >= puts as f64, "{embed}");

    // The form of the stream is no matter, and neither is what follows the report.
    let none = home
        .sh("cs-parse repo --no-report | cs-embed --no-report --to jsonl")
        .status(0);
    assert!(none.reports().is_empty());
    home.sh("cs-parse repo --no-report > one; cs-parse repo --no-report -j 1 > two; cmp one two")
        .status(0);
}

#[test]
fn tokens_are_those_that_the_model_took() {
    let home = home();
    for (name, bytes) in tiny_bert::files() {
        home.write(&format!("tiny/{name}"), bytes);
    }
    // Each text is longer than that, and is cut to it.
    let script = "cs-parse repo | cs-embed --model tiny --max-tokens 8 --to jsonl";
    let embed = home.sh(script).status(0).reports().remove(1);
    assert_eq!(
        number(&embed, "tokens"),
        8.0 * number(&embed, "chunks"),
        "{embed}"
    );
    assert!(number(&embed, "device_busy") > 0.0, "{embed}");
    // Vectors of a cache took no tokens.
    let cached = format!("{script} --cache cache");
    home.sh(&cached).status(0);
    let embed = home.sh(&cached).status(0).reports().remove(1);
    assert_eq!(embed.get("tokens"), None, "{embed}");
}

/// Defines the shell function `quiet`, which waits until no thread of a process has had anything to
/// do for a second, however long it takes to get there.
const QUIET: &str = r#"quiet() {
    local calm=0
    while [ $calm -lt 10 ]; do
        sleep 0.1
        if grep -qs '^State:.*[RD] (' /proc/$1/task/*/status; then calm=0; else calm=$((calm + 1)); fi
    done
}
"#;

#[test]
fn what_a_stage_waits_for_is_told_by_the_side_it_is_on() {
    let home = large();
    let run = |script: &str| home.sh(&[QUIET, script].concat()).status(0);
    let stage = |stats: &str, at: usize| {
        let stage = json(&home, stats)["stages"][at].clone();
        assert_plausible(&stage);
        stage
    };
    // Nobody takes what they write, of which the pipe has room for a part.
    run("mkfifo out; cs-parse repo --stats p > out & exec 9< out
        quiet $!; cat <&9 > chunks.arrows; wait $!");
    let parse = stage("p", 0);
    assert!(number(&parse, "wait_out_s") > 0.5, "{parse}");
    assert_eq!(number(&parse, "wait_in_s"), 0.0, "{parse}");
    run("cs-embed --stats e < chunks.arrows > out & exec 9< out
        quiet $!; cat <&9 > vectors.arrows; wait $!");
    let embed = stage("e", 1);
    assert!(number(&embed, "wait_out_s") > 0.5, "{embed}");
    // Nobody writes what they could read.
    run("mkfifo in; cs-embed --stats e < in > void & exec 9> in
        quiet $!; cat chunks.arrows >&9; exec 9>&-; wait $!");
    let embed = stage("e", 1);
    assert!(number(&embed, "wait_in_s") > 0.5, "{embed}");
    run(
        "cs-store db --stats s < in & exec 9> in; head -c 100000 vectors.arrows >&9
        quiet $!; tail -c +100001 vectors.arrows >&9; exec 9>&-; wait $!",
    );
    let store = stage("s", 2);
    assert!(number(&store, "wait_in_s") > 0.5, "{store}");
    assert_eq!(number(&store, "wait_out_s"), 0.0, "{store}");
}

#[test]
fn the_last_stage_sums_up_unless_it_is_to_be_quiet() {
    let home = home();
    let pipeline = "cs-parse repo --stats p | cs-embed --stats e | cs-store db --stats s";
    let output = home
        .sh(pipeline)
        .status(0)
        .says("stage     busy")
        .says("cs-store: cs-parse  ")
        .says("overlap efficiency ");
    let lines = output
        .stderr
        .lines()
        .filter(|line| line.starts_with("cs-store: "));
    assert_eq!(lines.count(), 6, "{output}");
    let names = |stats: &Value| -> Vec<String> {
        let stages = stats["stages"].as_array().expect("stages").iter();
        stages
            .map(|stage| stage["tool"].as_str().expect("a name").to_owned())
            .collect()
    };
    let (p, e, s) = (json(&home, "p"), json(&home, "e"), json(&home, "s"));
    assert_eq!(names(&p), ["cs-parse"]);
    assert_eq!(names(&e), ["cs-parse", "cs-embed"]);
    assert_eq!(names(&s), ["cs-parse", "cs-embed", "cs-store"]);
    assert_eq!(
        (&s["stages"][0], &s["stages"][1]),
        (&p["stages"][0], &e["stages"][1])
    );
    let stages = s["stages"].as_array().expect("stages");
    for stage in stages {
        assert_plausible(stage);
        assert_eq!(stage["chunks"], 4);
    }
    let busy: Vec<f64> = stages.iter().map(|stage| number(stage, "busy_s")).collect();
    let (sum, most) = (
        busy.iter().sum::<f64>(),
        busy.iter().fold(0.0_f64, |a, b| a.max(*b)),
    );
    let expected = (sum - number(&s, "wall_s")) / (sum - most);
    let found = number(&s, "overlap_efficiency");
    assert!((found - expected).abs() < 1e-3, "{found} {expected}");
    let slowest = stages.iter().find(|stage| number(stage, "busy_s") == most);
    assert_eq!(s["bottleneck"], slowest.expect("a stage")["tool"]);

    home.sh("cs-parse repo -q | cs-embed -q | cs-store -q db")
        .status(0)
        .silent();
    // With nothing to store there is nothing to sum up.
    let output = home
        .sh("cs-parse repo --since db -q | cs-embed | cs-store db")
        .status(0);
    assert!(!output.stderr.contains("overlap"), "{output}");
    home.sh("cs-parse repo --stats no/where > out")
        .status(2)
        .says("cs-parse: no/where: ");
    assert!(home.read("out").is_empty());
}

#[test]
fn warnings_are_counted_even_if_nobody_is_told() {
    let home = home();
    home.write("repo/big.txt", "word ".repeat(1000));
    let output = home
        .sh("cs-parse repo --max-file-size 1K -q --to jsonl")
        .status(1);
    let found = output.reports()[0]["warnings"].as_u64();
    assert!(found >= Some(1), "{output}");
    home.sh("cs-parse repo --max-file-size 1K --to jsonl")
        .says("warning: ");
}

#[test]
fn reports_of_others_and_none_at_all_are_right() {
    let home = home();
    home.write("stage.py", STAGE);
    // A stage that only passes lines on, one that adds its own report, one that drops all.
    home.sh("cs-parse repo --to jsonl | jq -c . | python3 stage.py |
        cs-embed --to jsonl | jq -c . > vectors.jsonl; cs-store db --stats s < vectors.jsonl")
        .status(0);
    let stats = json(&home, "s");
    let tools: Vec<&Value> = (0..4).map(|at| &stats["stages"][at]["tool"]).collect();
    assert_eq!(tools, ["cs-parse", "mine", "cs-embed", "cs-store"]);
    assert_eq!(stats["stages"][1]["mood"], "good");
    let script = "jq -c 'select(.op != \"report\")' < vectors.jsonl | cs-store none --stats s";
    home.sh(script).status(0);
    assert_eq!(json(&home, "s")["stages"][0]["tool"], "cs-store");
    assert_eq!(json(&home, "s")["overlap_efficiency"], Value::Null);
    // What claims to be a report and is none.
    let script = "jq -c 'if .op == \"report\" then .content = \"{\" else . end' < vectors.jsonl |
        cs-store odd --prune && cs-store check odd";
    home.sh(script).status(0);
    // Reports alone are no change.
    let versions = "ls db/chunks.lance/_versions | wc -l";
    let before = home.sh(versions).text();
    home.sh("jq -c 'select(.op != \"put\")' < vectors.jsonl | cs-store db")
        .status(0);
    assert_eq!(home.sh(versions).text(), before);
    home.sh("cs-query --db db alpha").status(0);

    let Some(python) = python() else { return };
    home.write("arrow.py", ARROW);
    let python = python.display();
    home.sh(&format!(
        "cs-parse repo | {python} arrow.py | cs-embed | cs-store arrow --stats s"
    ))
    .status(0);
    assert_eq!(json(&home, "s")["stages"][0]["tool"], "cs-parse");
}

/// Adds a report of its own before the seal.
const STAGE: &str = r#"
import json, sys
for line in sys.stdin:
    if json.loads(line)["op"] == "end":
        figures = json.dumps({"tool": "mine", "mood": "good"})
        print(json.dumps({"op": "report", "repo": "", "path": "", "content": figures}))
    sys.stdout.write(line)
"#;

/// Adds a column that takes no null, for which this program's own report has no value.
const ARROW: &str = r#"
import sys
import pyarrow as pa
reader = pa.ipc.open_stream(sys.stdin.buffer)
schema = reader.schema.append(pa.field("stars", pa.int64(), nullable=False))
writer = pa.ipc.new_stream(sys.stdout.buffer, schema)
for batch in reader:
    stars = pa.array([1] * batch.num_rows, pa.int64())
    writer.write_batch(pa.RecordBatch.from_arrays([*batch.columns, stars], schema=schema))
writer.close()
"#;

/// Returns a store's history.
fn runs(home: &Home) -> Vec<Value> {
    let told = home
        .sh("cs-store info db --runs --json")
        .status(0)
        .records();
    told[0]["runs"].as_array().expect("runs").clone()
}

#[test]
fn a_store_keeps_its_last_runs() {
    let home = home();
    home.sh("cs-parse repo | cs-embed | cs-store db").status(0);
    home.write("other/d.rs", "fn epsilon() {}\n");
    home.sh("cs-embed --version; cp -r other third
        (cs-parse other | cs-embed | cs-store -q db) & cs-parse third | cs-embed | cs-store -q db
        wait $!")
        .status(0);
    let found = runs(&home);
    assert_eq!(found.len(), 3, "{found:?}");
    let first = &found[0];
    assert_eq!(
        (&first["result"], &first["repos"][0]),
        (&"done".into(), &"repo".into())
    );
    assert_eq!((&first["files"], &first["chunks"]), (&3.into(), &4.into()));
    assert_eq!(first["stages"].as_array().map(Vec::len), Some(3));
    assert_eq!(first["command"], "cs-parse repo | cs-embed | cs-store");
    let date = first["date"].as_str().expect("a date");
    assert!(
        date.len() == 20 && date.starts_with("20") && date.ends_with('Z'),
        "{date}"
    );

    home.sh("cs-parse repo | cs-embed --to jsonl | head -n 2 | cs-store db")
        .status(2);
    let last = runs(&home).pop().expect("a run");
    assert_eq!(last["result"], "broken", "{last}");
    assert!(
        last["error"]
            .as_str()
            .expect("an error")
            .contains("end marker")
    );
    let told = home.sh("cs-store info db --runs").status(0).text();
    assert!(
        told.contains("broken off: ") && told.lines().count() == 4,
        "{told}"
    );
    // Nothing relies on it: what is damaged or lost is not missed, and the oldest go.
    home.sh(
        "for n in $(seq 205); do echo '{' > db/runs/$(printf %020d $n)-1.json; done
        cs-parse repo | cs-embed | cs-store db; ls db/runs | wc -l > count",
    )
    .status(0);
    assert_eq!(home.read("count"), b"200\n");
    assert_eq!(runs(&home).pop().expect("a run")["result"], "done");
    home.sh("rm -r db/runs; cs-store check db; cs-store info db")
        .status(0);
    assert!(runs(&home).is_empty());
}
