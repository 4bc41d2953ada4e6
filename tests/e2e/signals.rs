//! Signals, and stages that die while others are in the middle of long work: a pipeline that is
//! interrupted, or has lost a stage, is over at once, says why, and leaves a sound store.
//!
//! The bound is generous, for machines that do much else at the same time;
//! scripts/bench/results/pipeline.md has what was measured.

use std::fmt::Write as _;
use std::time::Duration;

use cs_tests::stages::{End, Ended, Stages, Target};
use cs_tests::{Home, minilm};
use serde_json::Value;

/// How long a pipeline may go on after a signal.
const BOUND: Duration = Duration::from_secs(10);

const SIGHUP: i32 = 1;
const SIGINT: i32 = 2;
const SIGTERM: i32 = 15;

/// What a stage says whose input broke off.
const BROKEN: &str = "input ended without its end marker: the stage before this one failed";

/// A repository of so many files with a hundred functions each.
fn repository(files: usize) -> Home {
    let home = Home::new();
    for file in 0..files {
        let mut text = String::new();
        for number in 0..100 {
            let _ = write!(
                text,
                "/// Opens door {number} of house {file}, if it is not locked.\n\
                 pub fn open_{file}_{number}(key: u32) -> Option<u32> {{\n    \
                 let lock = key.wrapping_mul({number}) ^ {file};\n    \
                 (lock % 7 != 3).then_some(lock)\n}}\n\n"
            );
        }
        home.write(&format!("repo/src/f{file:03}.rs"), text);
    }
    home
}

/// Expects that all ended soon, and returns how.
#[track_caller]
fn ends(ended: &Ended) -> Vec<End> {
    let last = ended.ends.iter().map(|(_, at)| *at).max();
    println!("the last process ended after {last:?}");
    assert!(last < Some(BOUND), "{ended}");
    ended.ends.iter().map(|(end, _)| *end).collect()
}

/// Expects that the lines on standard error are these, each with some text, in any order.
#[track_caller]
fn said(ended: &Ended, expected: &[(&str, &str)]) {
    let lines: Vec<&str> = ended.stderr.lines().collect();
    for (tool, text) in expected {
        let is_said = |line: &&str| line.starts_with(&format!("{tool}: ")) && line.contains(text);
        assert!(lines.iter().any(is_said), "no {tool}: {text} in {ended}");
    }
    assert_eq!(lines.len(), expected.len(), "{ended}");
}

/// Expects a store without faults, or that there is none yet; returns how many files are in it.
#[track_caller]
fn sound(home: &Home, ended: &Ended) -> u64 {
    let check = home.sh("cs-store check db --json");
    if check.stderr.contains("no store here") {
        return 0;
    }
    let check = check.status(0);
    let report: Value = serde_json::from_slice(&check.stdout).expect("JSON");
    assert_eq!(report["faults"], Value::Array(Vec::new()), "{ended}");
    let info = home.sh("cs-store info db --json").status(0).records();
    info[0]["files"].as_u64().expect("files")
}

/// Expects that the next run does the rest.
#[track_caller]
fn complete(home: &Home, files: u64) {
    home.sh("cs-parse repo --since db -q | cs-embed -q | cs-store db -q")
        .status(0);
    let info = home.sh("cs-store info db --json").status(0).records();
    assert_eq!(info[0]["files"], files);
    assert_eq!(info[0]["complete"], true);
    home.sh("cs-store check db").status(0);
}

/// The pipeline with the built-in model, some of whose rows are stored.
fn in_the_middle(home: &Home) -> Stages {
    home.sh("rm -rf db").status(0);
    let mut stages = home.start(&[
        "cs-parse repo -q",
        "cs-embed -q",
        "cs-store db -q --step-rows 2000",
    ]);
    let manifest = home.path().join("db/manifest.arrow");
    stages.until(|_| manifest.is_file());
    stages
}

/// The pipeline with an encoder that is in the middle of its first window.
fn in_an_encoder(home: &Home, model: &str) -> Stages {
    home.sh("rm -rf db").status(0);
    let embed = format!("cs-embed -q --model {model}");
    let mut stages = home.start(&["cs-parse repo -q", &embed, "cs-store db -q"]);
    // The model is read in a tenth of that.
    stages.until(|stages| stages.cpu(1) > Duration::from_millis(1500));
    stages
}

#[test]
fn an_interrupt_ends_all_stages_at_once() {
    let home = repository(200);
    let ended = in_the_middle(&home).signal("INT", Target::Group);
    assert_eq!(ends(&ended), [End::Signal(SIGINT); 3], "{ended}");
    said(&ended, &[]);
    sound(&home, &ended);
    complete(&home, 200);
}

#[test]
fn an_interrupt_in_the_middle_of_an_encoder() {
    let Some(model) = minilm() else { return };
    let home = repository(100);
    let ended = in_an_encoder(&home, &model).signal("INT", Target::Group);
    assert_eq!(ends(&ended), [End::Signal(SIGINT); 3], "{ended}");
    said(&ended, &[]);
    sound(&home, &ended);
}

#[test]
fn a_stage_that_is_ended_ends_the_others() {
    let home = repository(200);
    let killed = End::Signal(SIGTERM);
    for (victim, tool) in ["cs-parse", "cs-embed", "cs-store"].into_iter().enumerate() {
        let ended = in_the_middle(&home).signal("TERM", Target::Stage(victim));
        let ends = ends(&ended);
        // The first ones may have done their work by then.
        let expected = |number: usize| match number.cmp(&victim) {
            std::cmp::Ordering::Less => [End::Status(141), End::Status(0)],
            std::cmp::Ordering::Equal => [killed, End::Status(0)],
            std::cmp::Ordering::Greater => [End::Status(2), End::Status(0)],
        };
        for (number, end) in ends.iter().enumerate() {
            assert!(expected(number).contains(end), "{number}: {ended}");
        }
        if ends[victim] == killed {
            let line = format!("{tool}: ended by SIGTERM\n");
            assert!(ended.stderr.contains(&line), "{ended}");
            let failed = ends.iter().filter(|end| **end == End::Status(2)).count();
            assert_eq!(ended.stderr.matches(BROKEN).count(), failed, "{ended}");
        }
        sound(&home, &ended);
    }
}

#[test]
fn a_stage_that_is_ended_ends_an_encoder_in_its_window() {
    let Some(model) = minilm() else { return };
    let home = repository(100);
    let killed = End::Signal(SIGTERM);
    let (failed, unread) = (End::Status(2), End::Status(141));

    let ended = in_an_encoder(&home, &model).signal("TERM", Target::Stage(0));
    assert_eq!(ends(&ended), [killed, failed, failed], "{ended}");
    let store = ("cs-store", "");
    let told = [
        ("cs-parse", "ended by SIGTERM"),
        ("cs-embed", BROKEN),
        store,
    ];
    said(&ended, &told);
    sound(&home, &ended);

    let ended = in_an_encoder(&home, &model).signal("TERM", Target::Stage(1));
    assert_eq!(ends(&ended), [unread, killed, failed], "{ended}");
    said(&ended, &[("cs-embed", "ended by SIGTERM"), store]);

    let ended = in_an_encoder(&home, &model).signal("HUP", Target::Stage(2));
    assert_eq!(
        ends(&ended),
        [unread, unread, End::Signal(SIGHUP)],
        "{ended}"
    );
    said(&ended, &[("cs-store", "ended by SIGHUP")]);
    sound(&home, &ended);
}

#[test]
fn what_came_whole_through_an_encoder_is_kept() {
    let Some(model) = minilm() else { return };
    let home = repository(100);
    let embed = format!("cs-embed -q --model {model}");
    let mut stages = home.start(&["cs-parse repo -q", &embed, "cs-store db -q --step-rows 50"]);
    let manifest = home.path().join("db/manifest.arrow");
    stages.until(|_| manifest.is_file());
    let ended = stages.signal("TERM", Target::Stage(0));
    let expected = [End::Signal(SIGTERM), End::Status(2), End::Status(2)];
    assert_eq!(ends(&ended), expected, "{ended}");
    let files = sound(&home, &ended);
    assert!((1..100).contains(&files), "{files} files: {ended}");
    let hits = home.sh("cs-query --db db --mode text open_0_1 --json -n 1");
    let hits = hits.status(0).says("incomplete").hits();
    assert_eq!(hits[0]["path"], "src/f000.rs");
}

#[test]
fn a_store_that_makes_its_indexes_is_ended_and_sound() {
    let home = repository(120);
    for (signal, number) in [("INT", SIGINT), ("TERM", SIGTERM)] {
        home.sh("rm -rf db").status(0);
        let stages = ["cs-parse repo -q", "cs-embed -q", "cs-store db -v"];
        let mut stages = home.start(&stages);
        stages.until(|stages| stages.said().contains("made the index"));
        let ended = stages.signal(signal, Target::Stage(2));
        let expected = [End::Status(0), End::Status(0), End::Signal(number)];
        assert_eq!(ends(&ended), expected, "{ended}");
        assert_eq!(sound(&home, &ended), 120);
        home.sh("cs-query --db db open_7_7 --json").status(0);
        complete(&home, 120);
    }
}

#[test]
fn a_server_of_questions_ends() {
    let home = repository(3);
    home.sh("cs-parse repo -q | cs-embed -q | cs-store db -q; mkfifo questions")
        .status(0);
    for arguments in ["--batch", "--mcp"] {
        for (signal, status) in [("INT", 130), ("TERM", 143)] {
            // It waits for questions that nobody asks; with job control, as otherwise a shell has
            // its background processes ignore SIGINT.
            let script = format!(
                "set -m; exec 9<> questions; cs-query -q --db db {arguments} < questions & pid=$!
                 sleep 0.5; kill -{signal} $pid; SECONDS=0; wait $pid; status=$?
                 [ $SECONDS -lt {} ] || exit 99; exit $status",
                BOUND.as_secs()
            );
            home.sh(&script).status(status);
        }
    }
}

#[test]
fn what_nohup_switched_off_stays_so() {
    let home = repository(3);
    let script = "trap '' TERM; cs-parse repo --files-from <(sleep 1) -q > /dev/null & pid=$!
        sleep 0.3; kill -TERM $pid; wait $pid";
    home.sh(script).status(0).silent();
}
