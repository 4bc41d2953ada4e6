//! Traces: what the threads of each stage did when, and the picture that is made of it.

use cs_tests::{Home, root};
use serde_json::Value;

const PIPELINE: &str =
    "cs-parse repo --trace p.json --stats p | cs-embed --trace e.json --stats e |
    cs-store db --trace s.json --stats s";

fn home() -> Home {
    let home = Home::new();
    for file in 0..20 {
        let functions = (0..200).map(|number| format!("fn f{file}_{number}() {{}}\n\n"));
        home.write(&format!("repo/{file}.rs"), functions.collect::<String>());
    }
    home
}

fn events(home: &Home, path: &str) -> Vec<Value> {
    let trace: Value = serde_json::from_slice(&home.read(path)).expect("JSON");
    trace.as_array().expect("an array").clone()
}

#[test]
fn events_lie_within_the_run_and_name_their_threads() {
    let home = home();
    home.sh(PIPELINE).status(0);
    for (trace, stats, tool, lanes) in [
        ("p.json", "p", "cs-parse", &["write", "parse 1"][..]),
        ("e.json", "e", "cs-embed", &["read", "embed", "write"]),
        ("s.json", "s", "cs-store", &["store", "commit"]),
    ] {
        let stats: Value = serde_json::from_slice(&home.read(stats)).expect("JSON");
        let report = stats["stages"].as_array().and_then(|stages| stages.last());
        let report = report.expect("a report");
        let started = report["started_unix_ns"].as_f64().expect("a time") / 1e3;
        let events = events(&home, trace);
        let names = |kind: &str| -> Vec<&str> {
            let found = events.iter().filter(|event| event["name"] == kind);
            found
                .filter_map(|event| event["args"]["name"].as_str())
                .collect()
        };
        assert_eq!(names("process_name"), [tool]);
        for lane in lanes {
            assert!(names("thread_name").contains(lane), "{tool} {lane}");
        }
        let spans: Vec<&Value> = events.iter().filter(|event| event["ph"] == "X").collect();
        assert!(spans.len() >= lanes.len(), "{events:?}");
        let mut worked = 0.0;
        for span in &spans {
            let (begin, took) = (span["ts"].as_f64(), span["dur"].as_f64());
            let (begin, took) = (begin.expect("ts"), took.expect("dur"));
            // The report, and the seal behind it, come before the end.
            assert!(begin >= started - 1.0 && took > 0.0, "{span}");
            let category = span["cat"].as_str().expect("a category");
            assert!(
                ["work", "wait_in", "wait_out"].contains(&category),
                "{span}"
            );
            worked += if category == "work" { took / 1e6 } else { 0.0 };
        }
        // Of several threads at once, so that it can be more, and short pieces are left out.
        let busy = report["busy_s"].as_f64().expect("busy");
        assert!(worked > busy * 0.5, "{tool}: {worked} {busy}");
        let batch = spans
            .iter()
            .any(|span| span["args"]["rows"].as_u64() > Some(0));
        assert!(batch, "{spans:?}");
    }
    home.sh("cs-parse repo --trace no/where | cat > out")
        .status(2)
        .says("no/where");
}

#[test]
fn a_killed_stage_leaves_a_trace_that_can_be_drawn() {
    let home = home();
    home.sh("cs-parse repo > chunks.arrows; mkfifo feed
        (head -c -2000 chunks.arrows; exec sleep 60) > feed & feeder=$!
        cs-embed --trace e.json < feed > out & stage=$!
        until grep -q '\"cat\":\"work\"' e.json; do sleep 0.05; done
        kill -9 $stage; kill $feeder; wait");
    let text = String::from_utf8(home.read("e.json")).expect("UTF-8");
    assert!(text.starts_with("[\n{") && !text.ends_with("]\n"), "{text}");
    let timeline = root().join("scripts/bench/timeline.py");
    let timeline = timeline.display();
    home.sh(&format!("'{timeline}' e.json -o killed.svg"))
        .status(0);
    assert!(home.read("killed.svg").starts_with(b"<svg"));
}

#[test]
fn the_picture_has_the_lanes_of_all_runs() {
    let home = home();
    home.sh(PIPELINE).status(0);
    let timeline = root().join("scripts/bench/timeline.py");
    let timeline = timeline.display();
    home.sh(&format!(
        "'{timeline}' --run 'a < b' p.json --run both e.json s.json --title T -o run.svg"
    ))
    .status(0);
    let svg = String::from_utf8(home.read("run.svg")).expect("UTF-8");
    for text in [
        "a &lt; b: ",
        "both: ",
        ">T<",
        "cs-embed: ",
        ">seconds<",
        "class=\"work\"",
    ] {
        assert!(svg.contains(text), "{text}: {svg}");
    }
    assert!(svg.len() < 60_000, "{}", svg.len());
    home.sh(&format!(
        "python3 -c 'import xml.dom.minidom as m; m.parse(\"run.svg\")' && '{timeline}'"
    ))
    .status(2);
    home.sh(&format!("'{timeline}' nowhere.json")).status(2);
    // A PNG where something makes one, and else a word.
    let png =
        format!("'{timeline}' p.json --png run.png; status=$?; [ -s run.png ] || [ $status = 1 ]");
    home.sh(&png).status(0);
}
