//! What is shown of a chunk's text: the lines that have most to do with the question.

use crate::hit::Hit;
use crate::rank::Question;

/// Lines of a chunk that are shown.
const LINES: usize = 6;

/// Characters of a line that are shown.
const WIDTH: usize = 120;

/// A line of an excerpt.
#[derive(Debug, PartialEq)]
pub(super) struct Line {
    /// Its number in the chunk, from 0.
    pub(super) number: usize,
    /// Its text as a terminal can show it.
    pub(super) text: String,
}

/// Returns some lines of a chunk that follow each other, without the indentation they share; and
/// whether more lines follow them.
///
/// They are the first ones that have the most of what is asked for: the words of the question, or
/// what `matches` takes.
pub(super) fn excerpt(
    content: &str,
    question: &Question,
    matches: impl Fn(&str) -> bool,
) -> (Vec<Line>, bool) {
    let lines: Vec<&str> = content.lines().collect();
    let worth: Vec<usize> = lines
        .iter()
        .map(|line| question.words_in(line) + if matches(line) { 100 } else { 0 })
        .collect();
    let windows = 0..=lines.len().saturating_sub(LINES);
    let sum = |start: &usize| worth.iter().skip(*start).take(LINES).sum::<usize>();
    // Of equal ones the first: that is where the declaration is.
    let start = windows.rev().max_by_key(sum).unwrap_or_default();
    let start = if sum(&start) <= sum(&0) + 1 { 0 } else { start };
    let end = (start + LINES).min(lines.len());
    let shown = &lines[start..end];
    let indent = |line: &&str| line.len() - line.trim_start().len();
    let blank = |line: &&&str| !line.trim().is_empty();
    let shared = shown
        .iter()
        .filter(blank)
        .map(indent)
        .min()
        .unwrap_or_default();
    let shown = (start..).zip(shown).map(|(number, line)| Line {
        number,
        text: printable(line.get(shared..).unwrap_or_default()),
    });
    (shown.collect(), end < lines.len())
}

/// Returns what a terminal can show of a line: tabs as spaces, no control characters, not too wide.
fn printable(line: &str) -> String {
    let mut text = String::new();
    for (width, c) in line.trim_end().chars().enumerate() {
        if width == WIDTH {
            text.push('…');
            break;
        }
        match c {
            '\t' => text.push_str("    "),
            c if c.is_control() => text.push('\u{fffd}'),
            c => text.push(c),
        }
    }
    text
}

/// Tells how a hit's score was made.
pub(super) fn explained(hit: &Hit) -> String {
    let mut parts = Vec::new();
    if let Some(cosine) = hit.dense {
        parts.push(format!("cosine {cosine:.3}"));
    }
    if let Some(bm25) = hit.text {
        parts.push(format!("bm25 {bm25:.2}"));
    }
    let steps = hit
        .reasons
        .iter()
        .map(|reason| format!("{} {:+.3}", reason.rule, reason.adds));
    if let Some(look) = hit.second_look {
        parts.push(format!("before {:.3}", look.before));
        let score = look.score;
        parts.extend(score.map(|score| format!("rerank {score:.3}")));
    }
    parts.push(format!("score {:.3}", hit.score));
    let steps: Vec<String> = steps.collect();
    if !steps.is_empty() {
        parts.push(format!("= {}", steps.join(" ")));
    }
    parts.join("  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any(_: &str) -> bool {
        false
    }

    #[test]
    fn an_excerpt_is_bounded_and_harmless() {
        let text = format!(
            "\tfn a() {{\n\t\t\u{1b}[31m{}\n\t}}\n\n1\n2\n3\n4",
            "x".repeat(500)
        );
        let (lines, more) = excerpt(&text, &Question::new("a"), any);
        assert_eq!((lines.len(), more), (LINES, true));
        assert!(
            lines
                .iter()
                .all(|line| line.text.chars().count() <= WIDTH + 8)
        );
        assert!(lines.iter().all(|line| !line.text.contains('\u{1b}')));
        assert_eq!(excerpt("", &Question::new("a"), any), (Vec::new(), false));
    }

    #[test]
    fn the_lines_with_the_question_are_shown() {
        let text: String = (0..40).map(|n| format!("line {n}\n")).collect();
        let text = text.replace("line 30", "let retries = upload.retry();");
        let question = Question::new("where are uploads retried");
        let (lines, more) = excerpt(&text, &question, any);
        assert!(lines.iter().any(|line| line.number == 30), "{lines:?}");
        assert!(more);
        let (lines, _) = excerpt(&text, &Question::new("nothing"), |line| {
            line.ends_with(" 20")
        });
        assert!(lines.iter().any(|line| line.number == 20), "{lines:?}");
        let (lines, _) = excerpt(&text, &Question::new("nothing"), any);
        assert_eq!(lines[0].number, 0);
    }
}
