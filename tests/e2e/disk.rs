//! Disks that are full, at any point of a run, and folders that cannot be written.

use cs_tests::{Home, Output, PLAINLY};
use serde_json::Value;

const INDEX: &str = "cs-parse repo --since disk/db -q | cs-embed --dims 16 -q |
    cs-store disk/db --step-rows 48 -q";

/// A repository in two states, its streams, and a store of the first.
fn home() -> Home {
    let home = Home::new();
    for file in 0..40 {
        home.write(&format!("repo/f{file:02}.rs"), source(file, 0));
    }
    home.sh("find repo -type f | xargs touch -d '2 hours ago'
        cs-parse repo | cs-embed --dims 16 | cs-store --step-rows 48 first")
        .status(0);
    for file in (0..40).step_by(2) {
        home.write(&format!("repo/f{file:02}.rs"), source(file, 1));
    }
    home.sh(
        "find repo -type f -newermt '10 minutes ago' | xargs touch -d '1 hour ago'
        cs-parse repo | cs-embed --dims 16 > whole.arrows
        cs-parse repo --since first | cs-embed --dims 16 > changes.arrows
        cs-store second < whole.arrows; cs-store export second --to jsonl | sort > expected
        cp -r first grown; cs-store --step-rows 48 grown < changes.arrows",
    )
    .status(0);
    home
}

fn source(file: usize, state: usize) -> String {
    let functions = (0..12).map(|number| {
        let body = format!("    let door = {file} * {number} + {state};\n").repeat(3 + number);
        format!("fn open_{file}_{number}_{state}() {{\n{body}}}\n\n")
    });
    functions.collect()
}

/// Runs a script that has a small disk in the folder `disk`, if such can be made here.
#[track_caller]
fn on_disk(home: &Home, kilobytes: u64, script: &str) -> Option<Output> {
    home.write("script", script);
    let output = home.sh(&format!(
        "mkdir -p disk; unshare -rm bash -o pipefail -c '
            mount -t tmpfs -o size={kilobytes}k tmpfs disk || exit 77; . ./script'"
    ));
    if output.stderr.contains("mount") || output.stderr.contains("unshare") {
        cs_tests::skip("no tmpfs can be mounted here");
        return None;
    }
    Some(output)
}

fn kilobytes(home: &Home, of: &str) -> u64 {
    let text = home.sh(&format!("du -sk {of}")).status(0).text();
    let number = text
        .split_whitespace()
        .next()
        .and_then(|word| word.parse().ok());
    number.expect("a size")
}

/// Lets a run fail for want of space at many points, and expects that it says so, that the store
/// is sound, and that the next run completes it.
fn fill(home: &Home, prepare: &str, stream: &str, sizes: (u64, u64)) {
    const POINTS: u64 = 14;
    let (least, most) = sizes;
    let mut failed = 0;
    for point in 0..POINTS {
        let size = least + (most - least) * point / POINTS;
        let script = format!(
            "{prepare}
            cs-store --step-rows 48 -q disk/db < {stream} 2> errors; echo $? > status
            if ls disk/db/*.lance/_versions/*.manifest > /dev/null 2>&1; then
                cs-store check disk/db >&2 || exit 70
                cs-store export disk/db --to jsonl -q > /dev/null; [ $? -lt 2 ] || exit 71
                cs-query --db disk/db door -q > /dev/null; [ $? -lt 2 ] || exit 72
            fi
            mount -o remount,size=100m disk
            {INDEX} || exit 73
            cs-store check disk/db >&2 || exit 74
            cs-store info disk/db --json > info
            cs-store export disk/db --to jsonl | sort > found"
        );
        let Some(output) = on_disk(home, size, &script) else {
            return;
        };
        let output = output.status(0);
        let status = home.read("status");
        let errors = String::from_utf8_lossy(&home.read("errors")).into_owned();
        if status != b"0\n" {
            failed += 1;
            assert_eq!(status, b"2\n", "{size} KB: {errors}{output}");
            let is_told =
                errors.starts_with("cs-store: ") && errors.contains("No space left on device");
            assert!(is_told, "{size} KB: {errors}");
            assert!(errors.contains("hint: "), "{size} KB: {errors}");
        }
        let info: Value = serde_json::from_slice(&home.read("info")).expect("JSON");
        assert_eq!(info["complete"], true, "{size} KB: {output}");
        let same = home.sh(
            "strip() { jq -c 'del(.file_settings)|select(.op==\"put\")' $1 | sort; }
            cmp <(strip expected) <(strip found)",
        );
        same.status(0);
    }
    assert!(
        failed * 2 > POINTS,
        "{failed} of {POINTS} runs found the disk full"
    );
}

#[test]
fn a_disk_that_is_full_at_any_point_of_a_first_run() {
    let home = home();
    let most = kilobytes(&home, "second");
    fill(&home, "", "whole.arrows", (16, most));
}

#[test]
fn a_disk_that_is_full_at_any_point_of_a_change() {
    let home = home();
    let sizes = (kilobytes(&home, "first"), kilobytes(&home, "grown"));
    fill(&home, "cp -r first disk/db", "changes.arrows", sizes);
}

/// What can be done with a store that cannot be written.
const READING: &str = r#"
    cs-query --db disk/db "open the door" --json -q > hits && [ -s hits ] &&
    cs-store info disk/db > /dev/null && cs-store check disk/db > /dev/null &&
    cs-store export disk/db > copy.arrows && cs-parse repo --since disk/db -q > changes"#;

#[test]
fn a_store_on_a_read_only_disk_is_read_and_not_written() {
    let home = home();
    let script = format!(
        "cp -r second disk/db; mount -o remount,ro disk
        {READING} || exit 70
        for tool in 'disk/db < whole.arrows' 'optimize disk/db' 'forget disk/db --repo repo' \
            'disk/new < whole.arrows'
        do
            eval \"cs-store $tool\" 2>> errors; echo $? >> statuses
        done"
    );
    let Some(output) = on_disk(&home, 100_000, &script) else {
        return;
    };
    let output = output.status(0);
    let errors = String::from_utf8_lossy(&home.read("errors")).into_owned();
    assert_eq!(home.read("statuses"), b"2\n2\n2\n2\n", "{errors}{output}");
    let told = errors
        .lines()
        .filter(|line| line.starts_with("cs-store: disk/") || line.starts_with("cs-store: /"));
    let told = told.filter(|line| line.contains("Read-only file system"));
    assert_eq!(told.count(), 4, "{errors}");
}

#[test]
fn a_store_without_the_right_to_write_is_read_and_not_written() {
    let home = home();
    home.sh("mkdir disk; cp -r second disk/db; chmod -R a-w disk")
        .status(0);
    let reading = format!("{PLAINLY} export -f plainly; plainly bash -c '{READING}'");
    let read = home.sh(&reading);
    let written = home.sh(&format!(
        "{PLAINLY} plainly cs-store disk/db < whole.arrows"
    ));
    let made = home.sh(&format!(
        "{PLAINLY} plainly cs-store disk/new < whole.arrows"
    ));
    home.sh("chmod -R u+w disk").status(0);
    read.status(0);
    written.status(2).says("db").says("ermission denied");
    made.status(2)
        .says("cs-store: disk/new: ")
        .says("ermission denied");
}
