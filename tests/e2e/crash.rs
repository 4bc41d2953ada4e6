//! Kills: whichever process dies, whenever, what was committed is whole, and the next run does the
//! rest.
//!
//! `CS_KILLS` sets how many kills each test makes of the pipeline (50), `CS_SEED` the choices of
//! process and moment, which are others in each run and printed. The moments are real time, so
//! that a seed repeats a run only roughly.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cs_tests::Home;
use cs_tests::stages::{End, Ended};
use serde_json::Value;

/// The pipeline, in steps of so few rows that there are many commits to fall between.
const INDEX: [&str; 3] = [
    "cs-parse repo --since db -q",
    "cs-embed --dims 16 -q",
    "cs-store db --step-rows 48 -q",
];

/// Kills of each test of the pipeline, if `CS_KILLS` does not say.
const KILLS: usize = 50;

/// What is killed in turn: stages by their number.
const VICTIMS: [(&str, &[usize]); 4] = [
    ("cs-parse", &[0]),
    ("cs-embed", &[1]),
    ("cs-store", &[2]),
    ("all three", &[0, 1, 2]),
];

/// How many files the repository has first.
const FILES: usize = 60;

/// The rows of each stored file, as an export tells them.
type Files = BTreeMap<String, Vec<String>>;

/// Numbers that look random (splitmix64).
struct Random(u64);

impl Random {
    /// Begins with the seed of the environment, or another one each time; prints it.
    fn new() -> Self {
        let given = std::env::var("CS_SEED").ok();
        let seed = given.and_then(|text| text.parse().ok()).unwrap_or_else(|| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            now.map_or(0, |since| since.as_nanos() as u64)
        });
        println!("CS_SEED={seed}");
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a moment of a time.
    fn moment(&mut self, of: Duration) -> Duration {
        of.mul_f64((self.next() >> 11) as f64 / (1_u64 << 53) as f64)
    }

    fn one_of(&mut self, count: u64) -> bool {
        self.next().is_multiple_of(count)
    }
}

/// How far a run had come when it was killed, by what is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    BeforeTheFirstCommit,
    BetweenCommits,
    Indexing,
    AfterTheEnd,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::BeforeTheFirstCommit => "before the first commit",
            Self::BetweenCommits => "between commits",
            Self::Indexing => "all rows stored, the end not reached",
            Self::AfterTheEnd => "stored to the end",
        })
    }
}

fn kills() -> usize {
    let given = std::env::var("CS_KILLS").ok();
    given.and_then(|text| text.parse().ok()).unwrap_or(KILLS)
}

/// A file of some functions; another `state` makes them others.
fn source(file: usize, state: usize) -> String {
    let functions = (0..6 + (file + state) % 5).map(|number| {
        let body = format!("    let door = {file} * {number} + {state};\n").repeat(3 + number);
        format!("/// Opens the door {number} of house {file}.\nfn open_{file}_{number}_{state}() {{\n{body}}}\n\n")
    });
    functions.collect()
}

/// The repository in its first state.
fn repository() -> Home {
    let home = Home::new();
    for file in 0..FILES {
        home.write(&format!("repo/src/f{file:02}.rs"), source(file, 0));
    }
    age(&home);
    home
}

/// Changes, deletes and adds files.
fn change(home: &Home) {
    for file in (0..FILES).step_by(3) {
        home.write(&format!("repo/src/f{file:02}.rs"), source(file, 1));
    }
    for file in FILES..FILES + 6 {
        home.write(&format!("repo/new/f{file:02}.rs"), source(file, 1));
    }
    home.sh("rm repo/src/f?1.rs; echo '# No code' > repo/src/f07.rs")
        .status(0);
    age(home);
}

/// Makes files that were just written too old for their times to be in doubt.
fn age(home: &Home) {
    home.sh("find repo -type f -newermt '10 minutes ago' | xargs touch -d '1 hour ago'")
        .status(0);
}

/// Returns what is stored; `None` if there is no table yet.
#[track_caller]
fn files(home: &Home, db: &str) -> Option<Files> {
    let output = home.sh(&format!("cs-store export {db} --to jsonl -q"));
    if output.stderr.contains("no store here") {
        return None;
    }
    let mut files = Files::new();
    let mut lines: Vec<String> = output.text().lines().map(str::to_owned).collect();
    assert_eq!(lines.pop().as_deref(), Some(r#"{"op":"end"}"#), "{output}");
    for line in lines.split_off(1) {
        let mut row: Value = serde_json::from_str(&line).expect("JSON");
        // Which settings a file was cut under is what a crash may lose sight of.
        row.as_object_mut().expect("a row").remove("file_settings");
        let path = row["path"].as_str().expect("a path").to_owned();
        files.entry(path).or_default().push(row.to_string());
    }
    Some(files)
}

#[track_caller]
fn json(home: &Home, script: &str) -> Value {
    let output = home.sh(script).status(0);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output}"))
}

/// Expects that a store holds each file whole, as it was before or as it is to be, and says that
/// it is incomplete if it is neither; returns how far the run had come.
#[track_caller]
fn sound(home: &Home, before: &Files, after: &Files, ended: &Ended) -> (Phase, Files) {
    let Some(stored) = files(home, "db") else {
        assert!(before.is_empty(), "the table is gone: {ended}");
        return (Phase::BeforeTheFirstCommit, Files::new());
    };
    let report = home.sh("cs-store check db").status(0);
    assert!(report.text().ends_with("no fault\n"), "{report}\n{ended}");
    for path in before.keys().chain(after.keys()).chain(stored.keys()) {
        let found = stored.get(path);
        assert!(
            found == before.get(path) || found == after.get(path),
            "{path} is neither as it was nor as it is to be: {found:?}\n{ended}"
        );
    }
    let is_complete = json(home, "cs-store info db --json")["complete"] == true;
    let phase = match () {
        () if stored == *after && is_complete => Phase::AfterTheEnd,
        () if stored == *after => Phase::Indexing,
        () if stored == *before => Phase::BeforeTheFirstCommit,
        () => Phase::BetweenCommits,
    };
    if phase == Phase::BetweenCommits {
        assert!(
            !is_complete,
            "an incomplete store that does not say so: {ended}"
        );
    }
    let hits = home.sh("cs-query --db db 'open the door' --json -q");
    assert_eq!(hits.hits().is_empty(), stored.is_empty(), "{hits}\n{ended}");
    (phase, stored)
}

/// Completes a store and expects that it is as good as one that was never disturbed.
#[track_caller]
fn complete(home: &Home, after: &Files) {
    let ended = home.start(&INDEX).wait().done();
    let found = files(home, "db").expect("a store");
    for path in found.keys().chain(after.keys()) {
        let (found, wanted) = (found.get(path), after.get(path));
        assert_eq!(
            found, wanted,
            "{path} is not as in an undisturbed run: {ended}"
        );
    }
    assert_eq!(
        json(home, "cs-store info db --json")["complete"],
        true,
        "{ended}"
    );
    let report = json(home, "cs-store check db --json");
    assert_eq!(
        (&report["faults"], &report["manifest"]),
        (&Value::Array(Vec::new()), &"current".into()),
        "{ended}"
    );
    let stream = home.sh("cs-parse repo --since db --to jsonl -q").status(0);
    assert!(stream.changes().is_empty(), "{stream}");
    // The words of a file of the last step are found as well.
    let hits = home
        .sh("cs-query --db db --mode text open_57_3_1 --json -n 1 -q")
        .status(0);
    assert_eq!(hits.hits()[0]["path"], "src/f57.rs", "{hits}");
}

/// Kills the pipeline again and again, and tells what was hit.
fn kill(home: &Home, before: &Files, after: &Files, reset: &str) {
    let mut random = Random::new();
    home.sh(reset).status(0);
    let calm = home.start(&INDEX).wait().done();
    let mut hit: BTreeMap<(&str, Phase), usize> = BTreeMap::new();
    let mut count = 0;
    home.sh(reset).status(0);
    let mut stored = before.clone();
    while count < kills() {
        let (name, victims) = VICTIMS[count % VICTIMS.len()];
        let last = victims[victims.len() - 1];
        let moment = random.moment(calm.ends[last].1);
        let ended = home.start(&INDEX).kill_after(moment, victims);
        for (end, _) in &ended.ends {
            let is_known = matches!(end, End::Killed | End::Status(0 | 2 | 141));
            assert!(is_known, "{ended}");
        }
        let (phase, found) = sound(home, &stored, after, &ended);
        if ended.ends[2].0 == End::Status(0) {
            assert_eq!(phase, Phase::AfterTheEnd, "{ended}");
        }
        if ended.killed() > 0 {
            *hit.entry((name, phase)).or_default() += 1;
            count += 1;
        }
        stored = found;
        // Some stores have to bear several kills before they are completed.
        if !random.one_of(3) {
            complete(home, after);
            home.sh(reset).status(0);
            stored = before.clone();
        }
    }
    complete(home, after);
    let (_, took) = calm.ends[2];
    println!(
        "{count} kills; an undisturbed run takes {} ms",
        took.as_millis()
    );
    for ((name, phase), count) in hit {
        println!("{name:10} {phase:40} {count}");
    }
}

#[test]
fn kills_of_a_first_run() {
    let home = repository();
    change(&home);
    home.start(&INDEX).wait().done();
    let after = files(&home, "db").expect("a store");
    kill(&home, &Files::new(), &after, "rm -rf db");
}

#[test]
fn kills_of_a_run_that_changes_a_store() {
    let home = repository();
    home.start(&INDEX).wait().done();
    let before = files(&home, "db").expect("a store");
    home.sh("mv db base").status(0);
    change(&home);
    home.start(&INDEX).wait().done();
    let after = files(&home, "db").expect("a store");
    let paths: Vec<&String> = after.keys().collect();
    assert_eq!(paths.len(), FILES, "{paths:?}");
    assert_ne!(before, after);
    kill(&home, &before, &after, "rm -rf db; cp -r base db");
}

/// Kills runs that show all they bring at once: readers see what was there before, or the whole.
fn kill_at_once(stages: [&str; 3]) {
    let home = repository();
    home.start(&INDEX).wait().done();
    let before = files(&home, "db").expect("a store");
    home.sh("mv db base").status(0);
    change(&home);
    home.sh("cp -r base db").status(0);
    let calm = home.start(&stages).wait().done();
    let after = files(&home, "db").expect("a store");
    let mut random = Random::new();
    let mut count = 0;
    while count < kills().div_ceil(5) {
        home.sh("rm -rf db; cp -r base db").status(0);
        let (_, victims) = VICTIMS[count % VICTIMS.len()];
        let last = victims[victims.len() - 1];
        let moment = random.moment(calm.ends[last].1);
        let ended = home.start(&stages).kill_after(moment, victims);
        let (phase, _) = sound(&home, &before, &after, &ended);
        assert_ne!(phase, Phase::BetweenCommits, "{ended}");
        count += ended.killed();
        if random.one_of(2) {
            home.start(&stages).wait().done();
        }
        complete(&home, &after);
    }
}

#[test]
fn kills_of_a_run_that_is_all_or_nothing() {
    let [parse, embed, _] = INDEX;
    kill_at_once([parse, embed, "cs-store db --atomic --step-rows 48 -q"]);
}

#[test]
fn kills_of_a_store_that_is_made_anew() {
    let [_, embed, _] = INDEX;
    kill_at_once([
        "cs-parse repo -q",
        embed,
        "cs-store db --rebuild --step-rows 48 -q",
    ]);
}

#[test]
fn kills_of_optimize() {
    let home = repository();
    home.start(&INDEX).wait().done();
    for round in 1..6 {
        for file in (round..FILES).step_by(9) {
            home.write(&format!("repo/src/f{file:02}.rs"), source(file, round));
        }
        age(&home);
        home.start(&INDEX).wait().done();
    }
    let stored = files(&home, "db").expect("a store");
    home.sh("mv db base").status(0);
    let optimize = ["cs-store optimize db --keep 0 -q"];
    let mut random = Random::new();
    home.sh("cp -r base db").status(0);
    let calm = home.start(&optimize).wait().done();
    let wanted = kills().div_ceil(5);
    let mut count = 0;
    while count < wanted {
        home.sh("rm -rf db; cp -r base db").status(0);
        let moment = random.moment(calm.ends[0].1);
        let ended = home.start(&optimize).kill_after(moment, &[0]);
        let (phase, _) = sound(&home, &stored, &stored, &ended);
        assert_eq!(phase, Phase::AfterTheEnd, "{ended}");
        count += ended.killed();
        // Whatever comes next finds nothing in its way.
        if random.one_of(2) {
            home.start(&optimize).wait().done();
        }
        complete(&home, &stored);
    }
    println!(
        "{count} kills; undisturbed it takes {} ms",
        calm.ends[0].1.as_millis()
    );
}

#[test]
fn what_is_left_of_a_table_that_was_being_made_is_in_nobodys_way() {
    let home = repository();
    for folder in [
        "chunks.lance",
        "chunks.lance/_transactions",
        "chunks.lance/_versions",
    ] {
        home.sh(&format!("rm -rf db; mkdir -p db/{folder}"))
            .status(0);
        for tool in [
            "cs-store info db",
            "cs-store check db",
            "cs-query --db db door",
        ] {
            home.sh(tool).status(2).says("no store here");
        }
        home.start(&INDEX).wait().done();
        assert_eq!(
            json(&home, "cs-store info db --json")["files"],
            FILES,
            "{folder}"
        );
    }
}
