//! Every tool against every end that a pipe can come to.

use cs_tests::Home;

/// A repository, its chunk stream and its embedded stream.
fn home() -> Home {
    let home = Home::new();
    home.write("repo/src/upload.rs", UPLOAD);
    home.write(
        "repo/tool.py",
        "def load(path):\n    \"\"\"Load it.\"\"\"\n    return open(path)\n",
    );
    home.sh("cs-parse repo > chunks.arrows && cs-embed < chunks.arrows > vectors.arrows")
        .status(0);
    home
}

const UPLOAD: &str =
    "/// Retries a failed upload.\nfn retry_upload(times: u32) -> bool {\n    times > 0\n}\n";

/// A tool that reads a stream, with the saved input that it is due.
const READERS: [(&str, &str); 2] = [
    ("cs-embed > /dev/null", "chunks.arrows"),
    ("cs-store db", "vectors.arrows"),
];

/// A command line that writes to standard output.
const WRITERS: [&str; 12] = [
    "cs-parse repo",
    "cs-parse repo --to jsonl",
    "cs-embed < chunks.arrows",
    "cs-embed --to jsonl < chunks.arrows",
    "cs-query --db stored retry --json",
    "cs-query --db stored retry --arrow",
    "cs-query --db stored retry --context 500",
    "cs-query --db stored --batch <<< retry",
    "cs-store info stored",
    "cs-store check stored",
    "cs-store export stored",
    "cs-store export stored --to jsonl",
];

#[test]
fn a_closed_stdout_ends_a_tool_without_a_word() {
    let home = home();
    home.sh("cs-store stored < vectors.arrows").status(0);
    for writer in WRITERS {
        // The reader is gone before the tool starts to write.
        let script = format!("{{ sleep 0.3; {writer}; echo $? > status; }} | true");
        home.sh(&script).silent();
        assert_eq!(home.read("status"), b"141\n", "{writer}");
    }
}

#[test]
fn a_full_device_is_an_error_by_name() {
    let home = home();
    home.sh("cs-store stored < vectors.arrows").status(0);
    for writer in WRITERS {
        let tool = writer.split(' ').next().unwrap_or_default();
        home.sh(&format!("{writer} > /dev/full"))
            .status(2)
            .says(&format!("{tool}: "))
            .says("No space left on device");
    }
}

#[test]
fn an_input_that_is_no_sealed_stream_is_an_error_by_name() {
    let home = home();
    // Cut right before the end marker, and inside a batch.
    for name in ["chunks", "vectors"] {
        home.sh(&format!(
            "head -c -8 {name}.arrows > {name}.boundary; head -c -700 {name}.arrows > {name}.inside
             cat {name}.arrows <(echo more) > {name}.trailing"
        ))
        .status(0);
    }
    for (tool, input) in READERS {
        let name = tool.split(' ').next().unwrap_or_default();
        let base = input.trim_end_matches(".arrows");
        let unsealed = "input ended without its end marker: the stage before this one failed";
        let cases = [
            (
                "/dev/null".to_owned(),
                "input is empty: the stage before this one failed",
            ),
            (format!("{base}.boundary"), unsealed),
            (format!("{base}.inside"), unsealed),
            (
                format!("{base}.trailing"),
                "input goes on after its end marker",
            ),
            ("repo/tool.py".to_owned(), "input is no chunk stream"),
        ];
        for (input, message) in cases {
            home.sh(&format!("{tool} < {input}"))
                .status(2)
                .says(&format!("{name}: {message}"));
        }
    }
}

#[test]
fn another_wire_version_is_refused_naming_both() {
    let home = home();
    let begin = r#"{"op":"begin","metadata":{"cs.wire":"2"},"columns":{}}"#;
    home.write("v2.jsonl", format!("{begin}\n{{\"op\":\"end\"}}\n"));
    for (tool, _) in READERS {
        home.sh(&format!("{tool} < v2.jsonl"))
            .status(2)
            .says("wire version 2")
            .says("version 1");
    }
}

#[test]
fn single_byte_writes_change_nothing() {
    let home = home();
    home.sh("cs-embed --no-report < chunks.arrows --to jsonl > whole.jsonl")
        .status(0);
    home.sh(
        "dd bs=1 if=chunks.arrows status=none | cs-embed --no-report --to jsonl > dripped.jsonl",
    )
    .status(0);
    let rows = |name: &str| {
        let text = String::from_utf8(home.read(name)).expect("UTF-8");
        text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(rows("whole.jsonl"), rows("dripped.jsonl"));
    home.sh(
        "dd bs=1 if=vectors.arrows status=none | cs-store stored && cs-query --db stored upload",
    )
    .status(0);
}

#[test]
fn a_terminal_is_refused_on_both_sides() {
    let home = home();
    let on_terminal = |command: &str| {
        let script = format!("script -qec '{command}' /dev/null < /dev/null");
        home.sh(&script).status(2).text()
    };
    for (command, message) in [
        (
            "cs-parse repo",
            "cs-parse: refusing to write a binary stream to a terminal",
        ),
        (
            "cs-embed < chunks.arrows",
            "cs-embed: refusing to write a binary stream to a terminal",
        ),
        (
            "cs-embed > /dev/null",
            "cs-embed: standard input is a terminal",
        ),
        ("cs-store db", "cs-store: standard input is a terminal"),
    ] {
        let text = on_terminal(command);
        assert!(text.contains(message), "{command}: {text}");
        assert!(text.contains("hint: "), "{command}: {text}");
        assert!(
            text.contains("cs-parse REPO | cs-embed | cs-store"),
            "{command}: {text}"
        );
    }
}

#[test]
fn a_stage_killed_in_mid_pipeline_fails_the_store_by_name_and_keeps_it_sound() {
    let home = home();
    home.sh("cs-store db < vectors.arrows").status(0);
    let before = home
        .sh("cs-query --db db 'retry a failed upload' --json")
        .status(0)
        .text();
    // The embedder dies while the store waits for the rest of its stream.
    let script = "mkfifo feed; cs-embed < feed | cs-store db & store=$!
        exec 9> feed; head -c 2000 chunks.arrows >&9; sleep 0.5
        pkill -KILL -P $$ -x cs-embed; wait $store";
    home.sh(script).status(2).says("cs-store: input ");
    let after = home
        .sh("cs-query --db db 'retry a failed upload' --json")
        .status(0)
        .text();
    assert_eq!(before, after);
}

#[test]
fn misuse_is_told_with_the_tools_name_and_status_two() {
    let home = Home::new();
    for tool in ["cs-parse", "cs-embed", "cs-store", "cs-query"] {
        home.sh(&format!("{tool} --no-such-flag < /dev/null"))
            .status(2)
            .says(&format!("{tool}: unexpected argument '--no-such-flag'"));
        let help = home.sh(&format!("{tool} --help")).status(0).silent().text();
        assert!(help.contains("Usage: "), "{help}");
        let version = home.sh(&format!("{tool} --version")).status(0).text();
        assert!(version.starts_with(&format!("{tool} 0.")), "{version}");
    }
}
