//! The blocks of RECIPES.md: what can be run here is run, in their order and in one home, and what
//! cannot is named with the reason.

use std::fs;

use cs_tests::{Home, minilm, python, root};

/// Recipes that need what is not on a machine, by a part of them, and what tests the same.
const ELSEWHERE: [(&str, &str); 5] = [
    ("s3://bucket", "an object store: tests/e2e/writers.rs"),
    ("CS_API_KEY", "a service: tests/e2e/endpoint.rs"),
    ("CS_LLM=", "a language model: tests/e2e/llm.rs"),
    (
        "CS_RERANK_KEY",
        "a service that reranks: tests/e2e/rerank.rs",
    ),
    (
        "org/name",
        "the hub: tests/e2e/hub.rs; --rebuild: tests/e2e/crash.rs",
    ),
];

/// Returns the indented blocks of RECIPES.md.
fn recipes() -> Vec<String> {
    let text = fs::read_to_string(root().join("RECIPES.md")).expect("RECIPES.md");
    let mut blocks = vec![String::new()];
    for line in text.lines() {
        let last = blocks.last_mut().expect("a block");
        match line.strip_prefix("    ") {
            Some(code) => last.extend([code, "\n"]),
            None if !last.is_empty() => blocks.push(String::new()),
            None => {}
        }
    }
    blocks.retain(|block| !block.is_empty());
    blocks
}

/// Returns the one recipe that has a text.
fn recipe(text: &str) -> String {
    let mut found = recipes().into_iter().filter(|block| block.contains(text));
    let first = found.next().unwrap_or_else(|| panic!("no {text:?}"));
    assert!(found.next().is_none(), "{text:?} is in two recipes");
    first
}

/// A home with repositories below `src`, one of them also `repo`, and itself a clone of git's.
fn home() -> Home {
    let home = Home::new();
    for name in ["src/cs", "src/old", "repo"] {
        home.write(
            &format!("{name}/src/session.rs"),
            "//! Sessions.\n\nuse std::fs;\n\n/// Opens a file and parses the date in it.\n\
             pub fn open_session(path: &str) -> Option<u32> {\n    \
             fs::read_to_string(path).ok()?.trim().parse().ok()\n}\n"
                .repeat(6),
        );
        home.write(
            &format!("{name}/notes.go"),
            "package notes\n\nfunc Note() {}\n",
        );
    }
    home.write(".gitignore", "bin\n*.cs\n*.arrows\n");
    home.sh(
        "git init -q -b main && git config user.name t && git config user.email t@t
         git add repo .gitignore && git commit -qm first && git switch -qc branch
         cp repo/src/session.rs repo/src/more.rs && git add repo && git commit -qm second
         ln -s repo/src src-of-repo && mkdir -p bin scripts",
    )
    .status(0);
    // What is not here, or would ask somebody.
    for (name, script) in [
        ("bin/ssh", "shift; exec $(echo \"$@\" | sed 's/ --cuda//')"),
        ("bin/llm", "cat > /dev/null"),
        (
            "bin/vim",
            "[ -e \"$1\" ] || [ -e \"repo/$1\" ] || [ -e \"src/$1\" ]",
        ),
        ("bin/python3", "exec \"$CS_PYTHON\" \"$@\""),
        ("scripts/fetch-minilm", "echo \"$CS_MINILM\""),
    ] {
        home.write(name, format!("#!/bin/sh\n{script}\n"));
        home.sh(&format!("chmod +x {name}")).status(0);
    }
    home
}

#[test]
fn recipes_run_as_they_stand() {
    let home = home();
    let has_minilm = minilm().is_some();
    let mut run = 0;
    for recipe in recipes() {
        // Tested by themselves below.
        let is_file = ["#!", "0 3", "[Service]", "[Timer]", "[Install]"];
        let is_skipped = is_file.iter().any(|start| recipe.starts_with(start))
            || ELSEWHERE.iter().any(|(part, _)| recipe.contains(part))
            || (recipe.contains("fetch-minilm") && !has_minilm)
            || (recipe.contains("python3") && python().is_none());
        if is_skipped {
            continue;
        }
        // `open_session` is at another line than in the reader's repository.
        let script = recipe.replace("src/session.rs:40", "src/session.rs:7");
        let script = format!("set -e; PATH=$PWD/bin:$PATH\n{script}");
        home.sh(&script).status(0);
        run += 1;
    }
    assert!(run >= 12, "only {run} recipes were run");
    for (part, _) in ELSEWHERE {
        assert!(
            recipes().iter().any(|recipe| recipe.contains(part)),
            "{part}"
        );
    }
    for store in [".cs", "x", "all.cs", "rust-only.cs"] {
        home.sh(&format!("cs-store check {store}")).status(0);
    }
    let info = home
        .sh("cs-store info rust-only.cs --json")
        .status(0)
        .records();
    let languages = info[0]["languages"].as_object();
    let names = languages.map(|found| found.keys().map(String::as_str).collect());
    assert_eq!(names, Some(vec!["rust"]), "{}", info[0]);
}

#[test]
fn the_hook_indexes_each_commit_and_runs_once_at_a_time() {
    let home = home();
    home.write(".git/hooks/post-commit", recipe("#!/bin/sh"));
    home.sh("chmod +x .git/hooks/post-commit; ln -s post-commit .git/hooks/post-checkout")
        .status(0);
    home.sh("for n in 1 2 3; do
            echo \"fn hooked_$n() {}\" > repo/hook_$n.rs; git add repo; git commit -qm \"$n\"
         done
         git switch -q main; git switch -q branch
         flock .git/cs.lock true; sleep 0.2; flock .git/cs.lock true")
        .status(0);
    // The runs are in the background: the last of them has the lock, or none does.
    let wait = "for n in $(seq 100); do
            pgrep -f \"$PWD/.git/cs.lock\" > /dev/null || break; sleep 0.1
        done; cat .git/cs.log";
    let log = home.sh(wait).status(0).text();
    assert!(!log.contains("hint:") && !log.contains("error"), "{log}");
    home.sh("cs-store check .cs").status(0);
    for number in 1..4 {
        let hits = home
            .sh(&format!("cs-query --symbol hooked_{number} --json -q"))
            .status(0);
        assert_eq!(hits.hits()[0]["name"], format!("hooked_{number}"), "{log}");
    }
}

#[test]
fn the_nightly_jobs_index_what_changed() {
    let home = home();
    let cron = recipe("0 3 * * *");
    let command = cron.strip_prefix("0 3 * * * ").expect("the time").trim();
    let units = recipe("[Service]");
    let start = units
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart="));
    let start = start.expect("the command").to_owned();
    // As cron does it: by sh, and of the environment only what is named. The tools of this build go
    // where the recipes expect them.
    let tools = "mkdir -p .cargo/bin; for tool in cs-parse cs-embed cs-store; do
        ln -sf $(command -v $tool) .cargo/bin/$tool; done";
    home.sh(tools).status(0);
    home.write("cron.sh", command);
    home.sh("env -i HOME=$PWD PATH=/usr/bin:/bin sh cron.sh")
        .status(0);
    assert!(home.read(".cs.log").starts_with(b"cs-parse: "));
    let files = |home: &Home| home.sh("cs-store info all.cs --json").records()[0]["files"].clone();
    let before = files(&home).as_u64().expect("files");
    home.write("src/cs/new.rs", "fn added_by_day() {}\n");
    home.write("unit.sh", start);
    home.sh("PATH=$PWD/.cargo/bin:/usr/bin:/bin bash unit.sh")
        .status(0);
    assert_eq!(files(&home), before + 1);
    // Where there is systemd, it has to understand the files.
    home.write("cs.service", &units);
    let timer = recipe("[Timer]") + &recipe("[Install]");
    home.write("cs.timer", timer);
    home.sh("! command -v systemd-analyze > /dev/null || XDG_RUNTIME_DIR=$PWD systemd-analyze verify --user ./cs.timer")
        .status(0);
}
