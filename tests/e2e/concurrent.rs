//! Several processes at one store: readers while it is written, and writers that get in each
//! other's way.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use cs_tests::{Home, Output};
use serde_json::Value;

const FILES: usize = 24;

/// States of the repository that the writer stores one after the other.
const STATES: usize = 10;

/// Writes all files in a state, which each of their chunks tells, and of which their number depends.
fn write(home: &Home, state: usize) {
    for file in 0..FILES {
        let functions = (0..3 + (file + state) % 4).map(|number| {
            let body = format!("    let state = {state};\n").repeat(20);
            format!("fn open_{file}_{number}_in_state_{state}() {{\n{body}}}\n\n")
        });
        home.write(
            &format!("repo/f{file:02}.rs"),
            functions.collect::<String>(),
        );
    }
}

/// Expects that the chunks of each file are of one state, and returns how many states there are.
#[track_caller]
fn one_state_a_file(output: &Output) -> usize {
    let mut states: BTreeMap<String, String> = BTreeMap::new();
    for row in output.records() {
        let Some(Value::String(name)) = row.get("name") else {
            continue;
        };
        let state = name.rsplit('_').next().unwrap_or_default();
        let path = row["path"].as_str().unwrap_or_default().to_owned();
        let known = states.entry(path).or_insert_with(|| state.to_owned());
        assert_eq!(known, state, "of two states: {output}");
    }
    let mut all: Vec<&String> = states.values().collect();
    all.sort_unstable();
    all.dedup();
    all.len()
}

#[test]
fn readers_see_each_file_whole_while_it_is_replaced() {
    let home = Home::new();
    write(&home, 0);
    let index =
        "cs-parse repo --since db -q | cs-embed --dims 16 -q | cs-store db --step-rows 20 -q";
    home.sh(index).status(0);
    let is_over = AtomicBool::new(false);
    let reads = |script: &str| {
        let mut mixed = 0;
        let mut count = 0;
        while !is_over.load(Ordering::Relaxed) || count == 0 {
            let output = home.sh(script).status(0);
            mixed += usize::from(one_state_a_file(&output) > 1);
            count += 1;
        }
        println!(
            "{script}: {count} reads, {mixed} of them saw files of two states of the repository"
        );
        mixed
    };
    thread::scope(|scope| {
        let exports = scope.spawn(|| reads("cs-store export db --to jsonl -q"));
        let queries = scope.spawn(|| reads("cs-query --db db 'open state' -n 200 --json -q"));
        let infos = scope.spawn(|| reads("cs-store info db --json"));
        for state in 1..=STATES {
            write(&home, state);
            home.sh(index).status(0);
        }
        is_over.store(true, Ordering::Relaxed);
        for reader in [exports, queries, infos] {
            reader.join().expect("no reader fails");
        }
    });
    let report = home.sh("cs-store check db").status(0);
    assert!(report.text().ends_with("no fault\n"), "{report}");
}

#[test]
fn of_writers_that_start_at_once_each_is_done_or_names_another() {
    let home = Home::new();
    write(&home, 0);
    home.sh(
        "cs-parse repo | cs-embed --dims 16 > vectors.arrows; cs-store -q whole < vectors.arrows",
    )
    .status(0);
    for round in 0..4 {
        let script = "rm -rf db; for number in 1 2 3 4 5; do
                { cs-store -q db --step-rows 20 < vectors.arrows 2> errors.$number
                  echo $? $BASHPID > status.$number; } &
            done; wait
            cat status.*; cat errors.* >&2";
        let output = home.sh(script).status(0);
        let text = output.text();
        let statuses: Vec<&str> = text
            .lines()
            .filter_map(|line| line.split(' ').next())
            .collect();
        assert!(statuses.contains(&"0"), "{round}: {output}");
        for (number, status) in statuses.iter().enumerate() {
            let errors = home.read(&format!("errors.{}", number + 1));
            let errors = String::from_utf8_lossy(&errors);
            match *status {
                "0" => assert!(errors.is_empty(), "{round}: {errors}"),
                "2" => {
                    let named = errors.split("process ").nth(1).unwrap_or_default();
                    let pid = named.split(' ').next().unwrap_or_default();
                    assert!(pid.parse::<u32>().is_ok(), "{round}: {errors}");
                    assert!(errors.contains(" is writing "), "{round}: {errors}");
                }
                status => panic!("{round}: status {status}: {output}"),
            }
        }
        home.sh("cs-store check db && cs-store info db --json | jq -e .complete")
            .status(0);
        let rows = "--to jsonl | jq -c 'select(.op==\"put\")' | sort";
        let same = format!("cmp <(cs-store export db {rows}) <(cs-store export whole {rows})");
        home.sh(&same).status(0);
    }
}
