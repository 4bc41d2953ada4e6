//! How hits are printed: for people, and as JSON Lines.

use std::io::{IsTerminal as _, Write};
use std::path::Path;

use cs_common::metadata::Repo;
use cs_store::Hit;
use serde::Serialize;

/// Lines of a chunk that are shown.
const EXCERPT_LINES: usize = 6;

/// Characters of a line that are shown.
const EXCERPT_WIDTH: usize = 120;

/// A hit as a JSON object; a field that is unknown is null.
#[derive(Debug, Serialize)]
struct Record<'a> {
    rank: usize,
    score: f32,
    repo: &'a str,
    root: Option<&'a str>,
    path: &'a str,
    start_line: Option<u32>,
    end_line: Option<u32>,
    language: Option<&'a str>,
    kind: Option<&'a str>,
    name: Option<&'a str>,
    symbol: Option<&'a str>,
    signature: Option<&'a str>,
    doc: Option<&'a str>,
    chunk_id: Option<&'a str>,
    content: &'a str,
}

/// Writes hits as JSON, an object a line.
pub(crate) fn json(hits: &[Hit], repos: &[Repo], out: &mut impl Write) -> std::io::Result<()> {
    for (rank, hit) in (1..).zip(hits) {
        let record = Record {
            rank,
            score: hit.score,
            repo: &hit.repo,
            root: root(hit, repos),
            path: &hit.path,
            start_line: hit.start_line,
            end_line: hit.end_line,
            language: hit.language.as_deref(),
            kind: hit.kind.as_deref(),
            name: hit.name.as_deref(),
            symbol: hit.symbol.as_deref(),
            signature: hit.signature.as_deref(),
            doc: hit.doc.as_deref(),
            chunk_id: hit.chunk_id.as_deref(),
            content: &hit.content,
        };
        serde_json::to_writer(&mut *out, &record)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

/// Writes hits for people: place, symbol, score, and the first lines of the chunk.
pub(crate) fn people(
    hits: &[Hit],
    repos: &[Repo],
    here: &Path,
    out: &mut impl Write,
) -> std::io::Result<()> {
    let colors = std::io::stdout().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let paint = |code: &str, text: &str| match colors {
        true => format!("\x1b[{code}m{text}\x1b[0m"),
        false => text.to_owned(),
    };
    for (at, hit) in hits.iter().enumerate() {
        if at > 0 {
            writeln!(out)?;
        }
        let mut place = place(hit, repos, here);
        if let (Some(start), Some(end)) = (hit.start_line, hit.end_line) {
            place.push_str(&format!(":{start}-{end}"));
        }
        write!(out, "{}", paint("35", &printable(&place)))?;
        let kind = hit.kind.as_deref().unwrap_or_default();
        let symbol = hit
            .symbol
            .as_deref()
            .or(hit.name.as_deref())
            .unwrap_or_default();
        if !symbol.is_empty() {
            write!(out, "  {}", paint("1", &printable(symbol)))?;
        }
        writeln!(out, "  {kind}  {:.3}", hit.score)?;
        for line in excerpt(&hit.content) {
            writeln!(out, "    {line}")?;
        }
    }
    Ok(())
}

/// Returns a hit's path as it can be opened from the current folder, where its root is known.
fn place(hit: &Hit, repos: &[Repo], here: &Path) -> String {
    let absolute = root(hit, repos).map(|root| Path::new(root).join(&hit.path));
    let Some(absolute) = absolute.filter(|path| path.exists()) else {
        return format!("{}/{}", hit.repo, hit.path);
    };
    let relative = absolute.strip_prefix(here).unwrap_or(&absolute);
    relative.display().to_string()
}

fn root<'a>(hit: &Hit, repos: &'a [Repo]) -> Option<&'a str> {
    let repo = repos.iter().find(|repo| repo.name == hit.repo)?;
    Some(&repo.root)
}

/// Returns the first lines of a text, without the indentation that they share.
fn excerpt(content: &str) -> Vec<String> {
    let lines: Vec<&str> = content.lines().collect();
    let shown = &lines[..lines.len().min(EXCERPT_LINES)];
    let blank = |line: &&&str| !line.trim().is_empty();
    let indent = |line: &&str| line.len() - line.trim_start().len();
    let shared = shown
        .iter()
        .filter(blank)
        .map(indent)
        .min()
        .unwrap_or_default();
    let mut excerpt: Vec<String> = shown
        .iter()
        .map(|line| printable(line.get(shared..).unwrap_or_default()))
        .collect();
    if lines.len() > shown.len() {
        excerpt.push("…".to_owned());
    }
    excerpt
}

/// Returns what a terminal can show of a line: tabs as spaces, no control characters, not too wide.
fn printable(line: &str) -> String {
    let mut text = String::new();
    for (width, c) in line.trim_end().chars().enumerate() {
        if width == EXCERPT_WIDTH {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_bounded_and_harmless() {
        let text = format!(
            "\tfn a() {{\n\t\t\u{1b}[31m{}\n\t}}\n\n1\n2\n3\n4",
            "x".repeat(500)
        );
        let lines = excerpt(&text);
        assert_eq!(lines.len(), EXCERPT_LINES + 1);
        assert_eq!(lines.last().map(String::as_str), Some("…"));
        assert!(
            lines
                .iter()
                .all(|line| line.chars().count() <= EXCERPT_WIDTH + 8)
        );
        assert!(!lines.concat().contains('\u{1b}'));
    }
}
