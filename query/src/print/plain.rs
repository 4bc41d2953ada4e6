//! A line for each hit, `path:line: text`, as editors and scripts read it; and paths alone.

use std::collections::HashSet;
use std::io::{self, Write};

use super::excerpt::explained;
use super::{Stores, harmless};
use crate::hit::Hit;

/// Characters of a declaration that are shown.
const WIDTH: usize = 160;

/// Writes a line for each hit: its place, kind and symbol, and how it is declared or begins.
pub(crate) fn plain<'a>(
    hits: impl IntoIterator<Item = &'a Hit>,
    (stores, explain): (Stores<'_>, bool),
    out: &mut impl Write,
) -> io::Result<()> {
    for hit in hits {
        let path = harmless(&stores.shown(hit).text);
        let line = hit.place.start_line.unwrap_or(1);
        let kind = hit.place.kind.as_deref().unwrap_or("chunk");
        write!(out, "{path}:{line}: {}", harmless(kind))?;
        if let Some(title) = hit.place.title() {
            write!(out, " {}", harmless(title))?;
        }
        writeln!(out, ": {}", declaration(hit))?;
        if explain {
            writeln!(out, "    {}", explained(hit))?;
        }
    }
    Ok(())
}

/// Writes the path of each file with a hit, once.
pub(crate) fn files(hits: &[Hit], stores: Stores<'_>, out: &mut impl Write) -> io::Result<()> {
    let mut seen = HashSet::new();
    for hit in hits {
        let path = harmless(&stores.shown(hit).text);
        if seen.insert(path.clone()) {
            writeln!(out, "{path}")?;
        }
    }
    Ok(())
}

/// Returns how a chunk is declared, or else its first line that is not blank.
fn declaration(hit: &Hit) -> String {
    let signature = hit
        .place
        .signature
        .as_deref()
        .filter(|text| !text.trim().is_empty());
    let first = || hit.content.lines().find(|line| !line.trim().is_empty());
    let text = signature.or_else(first).unwrap_or_default();
    let words: Vec<&str> = text.split_whitespace().collect();
    let text = harmless(&words.join(" "));
    match text.char_indices().nth(WIDTH) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text,
    }
}
