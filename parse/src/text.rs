//! Turns source text into the one-line signatures and plain documentation that the
//! `signature` and `doc` columns hold. Both are bounded, whatever the source is.

/// The longest signature, in bytes.
pub(crate) const MAX_SIGNATURE: usize = 512;

/// The longest documentation, in bytes.
pub(crate) const MAX_DOC: usize = 2048;

/// Collapses runs of white space into one space and keeps at most `limit` bytes.
///
/// Bytes that are not UTF-8 are replaced.
pub(crate) fn collapse(bytes: &[u8], limit: usize) -> String {
    // Indented code collapses well below a quarter; more would be cut off anyway.
    let window = bytes.get(..bytes.len().min(limit.saturating_mul(8)));
    let text = String::from_utf8_lossy(window.unwrap_or_default());
    let mut collapsed = String::new();
    for word in text.split_whitespace() {
        if !collapsed.is_empty() {
            collapsed.push(' ');
        }
        collapsed.push_str(word);
        if collapsed.len() > limit {
            truncate(&mut collapsed, limit);
            break;
        }
    }
    collapsed
}

/// Returns a declaration as one line, without what opens its body.
pub(crate) fn signature(bytes: &[u8]) -> Option<String> {
    let collapsed = collapse(bytes, MAX_SIGNATURE);
    let line = collapsed
        .trim_end_matches("=>")
        .trim_end_matches(['{', ':', '(', '=', ' ', ';']);
    (!line.is_empty()).then(|| line.to_owned())
}

/// Returns the text of comments with their markers stripped.
pub(crate) fn doc<'a>(comments: impl Iterator<Item = &'a [u8]>) -> Option<String> {
    let mut doc = String::new();
    // The line that names the interpreter is a comment to most grammars.
    for comment in comments.filter(|comment| !comment.starts_with(b"#!/")) {
        let window = comment.get(..comment.len().min(2 * MAX_DOC));
        let text = String::from_utf8_lossy(window.unwrap_or_default());
        let text = text.trim();
        let has_dashes = text.starts_with("--") && !text.starts_with("--[");
        for line in unwrapped(text).lines() {
            doc.push_str(strip_markers(line, has_dashes));
            doc.push('\n');
        }
        if doc.len() > 2 * MAX_DOC {
            break;
        }
    }
    bounded_doc(&doc)
}

/// Returns the text of a string literal that serves as documentation.
pub(crate) fn docstring(literal: &[u8]) -> Option<String> {
    let window = literal.get(..literal.len().min(2 * MAX_DOC));
    let text = String::from_utf8_lossy(window.unwrap_or_default());
    let text = text.trim_start_matches(|c: char| c == '~' || c.is_ascii_alphabetic());
    let text = text.trim_matches(['"', '\'']);
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    bounded_doc(&lines.join("\n"))
}

/// What opens and closes comments whose lines have no markers of their own; of those
/// that begin alike the longest stands first.
const WRAPPERS: &[(&str, &str)] = &[
    ("-- |", ""),
    ("--[==[", "]==]"),
    ("--[=[", "]=]"),
    ("--[[", "]]"),
    ("{- |", "-}"),
    ("{-|", "-}"),
    ("{-", "-}"),
    ("(*", "*)"),
    ("#=", "=#"),
    ("=begin", "=end"),
    ("#[=[", "]=]"),
    ("#[[", "]]"),
];

/// Strips what opens and closes a comment.
fn unwrapped(comment: &str) -> &str {
    let found = WRAPPERS
        .iter()
        .find_map(|(open, close)| Some((comment.strip_prefix(open)?, close)));
    found.map_or(comment, |(inner, close)| {
        inner.strip_suffix(close).unwrap_or(inner).trim()
    })
}

/// Strips a line's markers; dashes are one only in a comment that begins with them.
fn strip_markers(line: &str, has_dashes: bool) -> &str {
    let line = line.trim();
    let line = line.strip_suffix("*/").unwrap_or(line);
    let body = if has_dashes && line.starts_with("--") {
        line.trim_start_matches('-')
    } else if let Some(roxygen) = line.strip_prefix("#'") {
        roxygen
    } else {
        line.trim_start_matches(['/', '*', '#', '!'])
    };
    // A list item or an indented example keeps what follows the first space.
    body.strip_prefix(' ').unwrap_or(body).trim_end()
}

fn bounded_doc(doc: &str) -> Option<String> {
    let trimmed = doc.trim_matches('\n').trim_end();
    if trimmed.trim().is_empty() {
        return None;
    }
    let mut owned = trimmed.to_owned();
    truncate(&mut owned, MAX_DOC);
    Some(owned)
}

fn truncate(text: &mut String, limit: usize) {
    if text.len() > limit {
        text.truncate(text.floor_char_boundary(limit));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_one_line_without_their_opening() {
        for (source, expected) in [
            (
                "pub fn a(\n    b: u8,\n) -> u8 {",
                Some("pub fn a( b: u8, ) -> u8"),
            ),
            ("def f(x):", Some("def f(x)")),
            ("const f = async () =>", Some("const f = async ()")),
            ("type A = B;", Some("type A = B")),
            ("  {", None),
        ] {
            assert_eq!(signature(source.as_bytes()).as_deref(), expected);
        }
        let long = "é".repeat(3000);
        assert_eq!(
            signature(long.as_bytes()).map(|s| s.len()),
            Some(MAX_SIGNATURE)
        );
    }

    #[test]
    fn comment_markers_are_stripped() {
        for (source, expected) in [
            (vec!["/// One.\n", "/// Two.\n"], Some("One.\nTwo.")),
            (
                vec!["/**\n * Block\n *\n * - item\n */"],
                Some("Block\n\n- item"),
            ),
            (vec!["# hash"], Some("hash")),
            (vec!["/* one */"], Some("one")),
            (vec!["//"], None),
            (
                vec!["-- | One.\n-- - item", "--- two --"],
                Some("One.\n- item\ntwo --"),
            ),
            (vec!["--[[ One.\n  --two ]]"], Some("One.\n--two")),
            (vec!["{- | One.\n  - item -}"], Some("One.\n- item")),
            (vec!["(** One. *)"], Some("One.")),
            (vec!["#= One. =#"], Some("One.")),
            (vec!["=begin\nOne.\n=end\n"], Some("One.")),
            (vec!["#!/usr/bin/env r\n", "# One."], Some("One.")),
            (vec!["#[[\nOne.\n  Two.\n]]"], Some("One.\nTwo.")),
            (vec!["#' @param a One."], Some("@param a One.")),
        ] {
            let doc = doc(source.iter().map(|line| line.as_bytes()));
            assert_eq!(doc.as_deref(), expected, "{source:?}");
        }
    }

    #[test]
    fn docstrings_lose_their_quotes() {
        let doc = docstring(b"r\"\"\"Reads.\n\n    More.\n    \"\"\"");
        assert_eq!(doc.as_deref(), Some("Reads.\n\nMore."));
    }
}
