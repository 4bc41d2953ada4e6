//! Manual pages and completions: they can be read by what they are for, and tell of every flag.

use std::collections::BTreeSet;

use cs_tests::Home;

const TOOLS: [&str; 4] = ["cs-parse", "cs-embed", "cs-store", "cs-query"];

/// Returns a tool's commands by which it shows a help text: its own, and with each subcommand.
fn commands(home: &Home, tool: &str) -> Vec<String> {
    let help = home.sh(&format!("{tool} --help")).status(0).text();
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = listed.take_while(|line| line.starts_with("  "));
    let names = names.filter_map(|line| line.split_whitespace().next());
    let subcommands = names.filter(|name| *name != "help");
    let mut all = vec![tool.to_owned()];
    all.extend(subcommands.map(|name| format!("{tool} {name}")));
    all
}

/// Returns the long flags that a command's `--help` lists.
fn flags(home: &Home, command: &str) -> BTreeSet<String> {
    let help = home.sh(&format!("{command} --help")).status(0).text();
    let lines = help.lines().map(str::trim_start);
    let heads = lines.filter(|line| line.starts_with('-'));
    let flags = heads.filter_map(|line| {
        let start = line.find("--")?;
        let flag = line[start..].split(|c: char| c != '-' && !c.is_ascii_alphanumeric());
        flag.into_iter().next().map(str::to_owned)
    });
    let flags: BTreeSet<String> = flags.collect();
    assert!(flags.contains("--help"), "{help}");
    flags
}

#[test]
fn manual_pages_tell_of_every_flag() {
    let home = Home::new();
    for tool in TOOLS {
        let page = home.sh(&format!("{tool} --generate man | tee {tool}.1"));
        let page = page.status(0).silent().text().replace("\\-", "-");
        for section in ["NAME", "SYNOPSIS", "OPTIONS", "\"EXIT STATUS\"", "EXAMPLES"] {
            assert!(
                page.contains(&format!(".SH {section}\n")),
                "{tool}: {section}"
            );
        }
        for command in commands(&home, tool) {
            for flag in flags(&home, &command) {
                assert!(page.contains(&flag), "{command} {flag}\n{page}");
            }
            let heading = command.to_uppercase();
            assert!(command == tool || page.contains(&heading), "{command}");
        }
    }
}

#[test]
fn manual_pages_are_read_by_man() {
    let home = Home::new();
    if home.sh("man --version").text().is_empty() {
        cs_tests::skip("there is no man");
        return;
    }
    for tool in TOOLS {
        home.sh(&format!("{tool} --generate man > {tool}.1"))
            .status(0);
        let script =
            format!("MANWIDTH=200 LC_ALL=C.UTF-8 man --warnings --nj --nh -l {tool}.1 | cat");
        let read = home.sh(&script).status(0).silent().text();
        for flag in flags(&home, tool) {
            let is_there = read
                .split_whitespace()
                .any(|word| word.trim_matches(',') == flag);
            assert!(is_there, "{tool} {flag}\n{read}");
        }
        let examples = read.split_once("\nEXAMPLES\n").expect("examples").1;
        assert!(examples.contains(&format!("{tool} ")), "{read}");
    }
}

#[test]
fn completions_complete() {
    let home = Home::new();
    for (line, expected) in [
        ("cs-parse --sin", "--since"),
        ("cs-embed --dty", "--dtype"),
        ("cs-embed --dtype b", "bf16"),
        ("cs-embed models --dow", "--download"),
        ("cs-store exp", "export"),
        ("cs-store export --no-v", "--no-vectors"),
        ("cs-query --mode den", "dense"),
        ("cs-query --generate complete-z", "complete-zsh"),
    ] {
        let tool = line.split(' ').next().unwrap_or_default();
        // What bash does when the user presses the tab key.
        let script = format!(
            "source <({tool} --generate complete-bash) || exit
             function=$(complete -p {tool} | sed 's/.* -F \\([^ ]*\\) .*/\\1/')
             COMP_WORDS=({line}) COMP_CWORD=$(({} - 1))
             COMPREPLY=()
             $function {tool} \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"
             printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            line.split(' ').count()
        );
        let reply = home.sh(&script).status(0).silent().text();
        assert_eq!(reply.trim(), expected, "{line}");
    }
}

#[test]
fn completions_of_each_shell_know_every_flag() {
    let home = Home::new();
    for tool in TOOLS {
        for shell in ["bash", "zsh", "fish"] {
            let made = home.sh(&format!(
                "{tool} --generate complete-{shell} > page.{shell}"
            ));
            made.status(0).silent();
            let text = String::from_utf8(home.read(&format!("page.{shell}"))).expect("text");
            for command in commands(&home, tool) {
                for flag in flags(&home, &command) {
                    let written = match shell {
                        "fish" => format!("-l {}", flag.trim_start_matches('-')),
                        _ => flag,
                    };
                    assert!(text.contains(&written), "{shell}: {command} {written}");
                }
            }
            // Those that are not installed have nothing to say.
            let check = format!("! command -v {shell} > /dev/null || {shell} -n page.{shell}");
            home.sh(&check).status(0).silent();
        }
    }
}

#[test]
fn a_page_needs_nothing_and_stands_alone() {
    let home = Home::new();
    // Neither a question, which is required otherwise, nor what the environment says.
    home.sh("CS_DB=elsewhere cs-query --generate=man")
        .status(0)
        .silent();
    home.sh("CS_DB=elsewhere cs-store --generate man")
        .status(0)
        .silent();
    for wrong in [
        "cs-store -q --generate man",
        "cs-query --generate",
        "cs-parse --generate x",
    ] {
        home.sh(wrong).status(2).says("--generate <PAGE>");
    }
    home.sh("cs-store --generate man > /dev/full")
        .status(2)
        .says("cs-store: output: ");
    home.sh("cs-embed --generate complete-zsh | true; exit ${PIPESTATUS[0]}")
        .silent();
}

#[test]
fn versions_name_the_wire() {
    let home = Home::new();
    for tool in TOOLS {
        let version = home
            .sh(&format!("{tool} --version"))
            .status(0)
            .silent()
            .text();
        let expected = format!("{tool} {}\nwire 1\n", env!("CARGO_PKG_VERSION"));
        assert_eq!(version, expected);
        let stream = home
            .sh("mkdir -p empty; cs-parse empty --to jsonl")
            .status(0)
            .records();
        assert_eq!(stream[0]["metadata"]["cs.wire"], "1");
        let help = home.sh(&format!("{tool} --help")).status(0).text();
        let examples = help.split_once("\nExamples:\n").expect("examples").1;
        assert!(examples.contains(&format!("  {tool}")) || examples.contains(&format!("| {tool}")));
    }
}
