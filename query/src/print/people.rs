//! Hits for people at a terminal: grouped by file, with numbered lines, colours and links.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::Path;

use regex::Regex;

use super::excerpt::{excerpt, explained};
use super::{Stores, harmless};
use crate::hit::Hit;
use crate::rank::Question;

const FILE: &str = "35";
const SYMBOL: &str = "1";
const DIM: &str = "2";
const MATCH: &str = "1;31";

/// How a terminal is written to.
#[derive(Clone, Copy)]
pub(crate) struct Style<'a> {
    /// Whether there are colours; links there are always.
    pub(crate) colors: bool,
    /// Whether it is told how scores were made.
    pub(crate) explain: bool,
    /// What hits had to match.
    pub(crate) grep: Option<&'a Regex>,
}

/// Writes hits by file, a file where its best hit is: place, symbol, score, and some lines.
pub(crate) fn people(
    hits: &[Hit],
    question: &Question,
    (stores, style): (Stores<'_>, Style<'_>),
    out: &mut impl Write,
) -> io::Result<()> {
    let mut groups: Vec<Vec<&Hit>> = Vec::new();
    let file = |hit: &Hit| (hit.store, hit.place.repo.clone(), hit.place.path.clone());
    for hit in hits {
        match groups.iter_mut().find(|group| file(group[0]) == file(hit)) {
            Some(group) => group.push(hit),
            None => groups.push(vec![hit]),
        }
    }
    for (at, group) in groups.iter().enumerate() {
        if at > 0 {
            writeln!(out)?;
        }
        let shown = stores.shown(group[0]);
        let name = style.paint(FILE, &harmless(&shown.text));
        writeln!(out, "{}", link(shown.file.as_deref(), &name))?;
        for hit in group {
            one(hit, question, style, out)?;
        }
    }
    Ok(())
}

fn one(hit: &Hit, question: &Question, style: Style<'_>, out: &mut impl Write) -> io::Result<()> {
    let place = &hit.place;
    let lines = match (place.start_line, place.end_line) {
        (Some(start), Some(end)) if start != end => format!("{start}-{end}"),
        (Some(start), _) => start.to_string(),
        _ => String::new(),
    };
    write!(out, "{}", style.paint(DIM, &format!("{lines:>9}  ")))?;
    if let Some(title) = place.title() {
        write!(out, "{}  ", style.paint(SYMBOL, &harmless(title)))?;
    }
    let kind = harmless(place.kind.as_deref().unwrap_or_default());
    writeln!(
        out,
        "{}",
        style.paint(DIM, &format!("{kind}  {:.3}", hit.score))
    )?;
    if style.explain {
        writeln!(out, "{:>9}  {}", "", style.paint(DIM, &explained(hit)))?;
    }
    let is_match = |line: &str| style.grep.is_some_and(|regex| regex.is_match(line));
    let (shown, more) = excerpt(&hit.content, question, is_match);
    for line in &shown {
        // What a container lists of its members stands behind its own lines.
        let number = place.start_line.map(|start| start as usize + line.number);
        let number =
            number.filter(|number| place.end_line.is_none_or(|end| *number <= end as usize));
        let number = number.map(|number| number.to_string()).unwrap_or_default();
        let gutter = style.paint(DIM, &format!("{number:>9} "));
        writeln!(out, "{gutter} {}", style.highlight(&line.text, question))?;
    }
    if more {
        writeln!(out, "{}", style.paint(DIM, &format!("{:>9}  …", "")))?;
    }
    Ok(())
}

impl Style<'_> {
    fn paint(&self, code: &str, text: &str) -> String {
        match self.colors && !text.is_empty() {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }

    /// Marks what hits had to match, or else the words of the question.
    fn highlight(&self, line: &str, question: &Question) -> String {
        if !self.colors {
            return line.to_owned();
        }
        let spans: Vec<(usize, usize)> = match self.grep {
            Some(regex) => regex
                .find_iter(line)
                .map(|found| (found.start(), found.end()))
                .collect(),
            None => question.spans_in(line),
        };
        let mut marked = String::with_capacity(line.len());
        let mut done = 0;
        for (start, end) in spans.into_iter().filter(|(start, end)| start < end) {
            marked.push_str(&line[done..start]);
            marked.push_str(&self.paint(MATCH, &line[start..end]));
            done = end;
        }
        marked.push_str(&line[done..]);
        marked
    }
}

/// Makes a text a link to a file, as terminals take it (OSC 8).
fn link(file: Option<&Path>, text: &str) -> String {
    let Some(file) = file.and_then(Path::to_str) else {
        return text.to_owned();
    };
    let mut url = String::from("file://");
    for byte in file.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            url.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(url, "%{byte:02X}");
        }
    }
    format!("\x1b]8;;{url}\x1b\\{text}\x1b]8;;\x1b\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_escaped() {
        let text = link(Some(Path::new("/a b/ü;\u{7}.rs")), "x");
        assert_eq!(
            text,
            "\x1b]8;;file:///a%20b/%C3%BC%3B%07.rs\x1b\\x\x1b]8;;\x1b\\"
        );
        assert_eq!(link(None, "x"), "x");
    }

    #[test]
    fn words_of_the_question_are_marked() {
        let style = Style {
            colors: true,
            explain: false,
            grep: None,
        };
        let question = Question::new("failed uploads");
        let marked = style.highlight("fn retry_upload(failed: u8)", &question);
        assert_eq!(
            marked,
            "fn retry_\x1b[1;31mupload\x1b[0m(\x1b[1;31mfailed\x1b[0m: u8)"
        );
        let regex = Regex::new("^fn|8").unwrap();
        let style = Style {
            grep: Some(&regex),
            ..style
        };
        let marked = style.highlight("fn a(b: u8)", &question);
        assert_eq!(marked, "\x1b[1;31mfn\x1b[0m a(b: u\x1b[1;31m8\x1b[0m)");
    }
}
