//! What is drawn on a terminal: progress by the last stage alone, in any width, and messages that
//! stay whole.

use cs_tests::Home;

fn home() -> Home {
    let home = Home::new();
    for file in 0..30 {
        home.write(
            &format!("repo/{file:02}.rs"),
            format!("fn f{file}() {{}}\n"),
        );
    }
    home.write("repo/large.txt", "word ".repeat(1000));
    home
}

/// Runs a command on a terminal of some columns, and returns all that it was sent.
fn on_terminal(home: &Home, columns: u32, command: &str) -> String {
    home.write(
        "run.sh",
        format!("stty rows 24 cols {columns}\n{command}\n"),
    );
    home.sh("TERM=xterm script -qec 'bash run.sh' /dev/null < /dev/null")
        .text()
}

/// Returns the lines that a terminal shows in the end.
fn screen(sent: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut rest = sent.chars().peekable();
    let mut column = 0;
    while let Some(char) = rest.next() {
        let line = lines.last_mut().expect("a line");
        match char {
            '\r' => column = 0,
            '\n' => lines.push(String::new()),
            '\u{1b}' => {
                let code: String =
                    std::iter::from_fn(|| rest.next_if(|c| !c.is_ascii_alphabetic())).collect();
                let end = rest.next();
                match (code.as_str(), end) {
                    ("[" | "[0", Some('K')) => *line = line.chars().take(column).collect(),
                    ("[2", Some('K')) => line.clear(),
                    _ => {}
                }
            }
            char => {
                let mut shown: Vec<char> = line.chars().collect();
                shown.resize(shown.len().max(column + 1), ' ');
                shown[column] = char;
                *line = shown.into_iter().collect();
                column += 1;
            }
        }
    }
    lines
}

#[test]
fn progress_and_messages_of_several_stages_do_not_mix() {
    let home = home();
    // The display is there for a while before and after something in front warns.
    let command = r#"(cs-parse repo --to jsonl | grep -v '"op":"end"'; sleep 0.7
        cs-parse repo --max-file-size 1K | cat > void; sleep 0.7
        echo '{"op":"end"}') | cs-embed | cs-store db"#;
    for columns in [200, 30] {
        let sent = on_terminal(&home, columns, command);
        assert!(sent.contains("31/31 files"), "{sent:?}");
        let lines = screen(&sent);
        let warnings: Vec<&String> = lines
            .iter()
            .filter(|line| line.contains("warning: "))
            .collect();
        assert!(!warnings.is_empty(), "{sent:?}");
        for line in lines.iter().filter(|line| !line.is_empty()) {
            let is_whole = line.starts_with("cs-parse: ") || line.starts_with("cs-store: ");
            assert!(is_whole, "{line:?} of {sent:?}");
        }
        // What was drawn is no wider than the terminal, and gone in the end.
        let drawn = sent
            .split(['\r', '\n'])
            .filter(|part| part.contains(" files"));
        for part in drawn.filter(|part| !part.contains("cs-")) {
            assert!(
                screen(part).concat().trim_end().chars().count() <= columns as usize,
                "{part:?}"
            );
        }
    }
}

#[test]
fn nothing_is_drawn_where_nobody_looks() {
    let home = home();
    let output = home
        .sh("cs-parse repo | cs-embed | (cat; sleep 0.5) | cs-store db")
        .status(0);
    assert!(
        !output.stderr.contains('\r') && !output.stderr.contains('\u{1b}'),
        "{output}"
    );
    // A stage in the middle draws nothing on a terminal either.
    let sent = on_terminal(
        &home,
        80,
        "(cs-parse repo; sleep 0.5) | cs-embed | cat > out",
    );
    assert!(!sent.contains("files"), "{sent:?}");
    let sent = on_terminal(&home, 80, "(cs-parse repo; sleep 0.5) | cs-embed > out");
    assert!(sent.contains("/31 files"), "{sent:?}");
}
