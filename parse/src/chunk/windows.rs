//! Cuts a span without regard to syntax: at blank lines, else at lines, else between
//! characters.

use std::ops::Range;

/// Cuts a span into parts of at most `limit` bytes, in order and without gaps.
///
/// A cut falls at the last blank line of a window's second half, else at its last line
/// end, else where a character ends.
pub(super) fn cut(source: &[u8], span: Range<usize>, limit: usize) -> Vec<Range<usize>> {
    let mut parts = Vec::with_capacity(1);
    let mut start = span.start;
    let end = span.end.min(source.len());
    while start < end {
        start += blank_prefix(source, start..end);
        let rest = trimmed_len(source, start..end);
        if rest <= limit {
            parts.push(start..end);
            break;
        }
        // The last part must not be a line or two.
        let window = limit.min(rest - limit / 4);
        let next = start + cut_in(source.get(start..start + window).unwrap_or_default());
        parts.push(start..next);
        start = next;
    }
    parts
}

/// Counts the whole blank lines at the start of a span, in bytes.
fn blank_prefix(source: &[u8], span: Range<usize>) -> usize {
    let bytes = source.get(span).unwrap_or_default();
    let blank = bytes
        .iter()
        .position(|byte| !byte.is_ascii_whitespace())
        .unwrap_or(bytes.len());
    // The indentation of the first line stays with it.
    bytes
        .get(..blank)
        .and_then(|lead| lead.iter().rposition(|byte| *byte == b'\n'))
        .map_or(0, |newline| newline + 1)
}

/// Returns a span's length without the white space at its end.
pub(super) fn trimmed_len(source: &[u8], span: Range<usize>) -> usize {
    let bytes = source.get(span).unwrap_or_default();
    bytes
        .iter()
        .rposition(|byte| !byte.is_ascii_whitespace())
        .map_or(0, |last| last + 1)
}

/// Returns where to cut a window that is full: at least 1, at most its length.
fn cut_in(window: &[u8]) -> usize {
    let half = window.len() / 2;
    let mut line_end = None;
    for (at, byte) in window.iter().enumerate().rev() {
        if *byte != b'\n' {
            continue;
        }
        let end = at + 1;
        line_end.get_or_insert(end);
        if end <= half {
            break;
        }
        if is_blank_line_end(window, at) {
            return end;
        }
    }
    line_end.unwrap_or_else(|| character_end(window))
}

/// Tells whether the line that ends with the newline at `at` is blank.
fn is_blank_line_end(window: &[u8], at: usize) -> bool {
    window
        .get(..at)
        .unwrap_or_default()
        .iter()
        .rev()
        .find(|byte| **byte == b'\n' || !byte.is_ascii_whitespace())
        == Some(&b'\n')
}

/// Returns the length of a window without a character that its end cuts in two.
fn character_end(window: &[u8]) -> usize {
    // A character has at most three continuation bytes; what has more is no UTF-8.
    for back in 1..=window.len().min(4) {
        let at = window.len() - back;
        let Some(&byte) = window.get(at) else { break };
        if byte & 0b1100_0000 == 0b1000_0000 {
            continue;
        }
        let length = match byte {
            0xC0..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF7 => 4,
            _ => 1,
        };
        return if length > back && at > 0 {
            at
        } else {
            window.len()
        };
    }
    window.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cuts(text: &str, limit: usize) -> Vec<&str> {
        cut(text.as_bytes(), 0..text.len(), limit)
            .into_iter()
            .map(|part| &text[part])
            .collect()
    }

    #[test]
    fn cuts_prefer_blank_lines_then_lines_then_characters() {
        assert_eq!(cuts("aa\nb\n\nc\nd\n", 8), ["aa\nb\n\n", "c\nd\n"]);
        assert_eq!(cuts("aaa\nbbb\nccc\n", 8), ["aaa\nbbb\n", "ccc\n"]);
        assert_eq!(cuts("ééééé", 5), ["éé", "éé", "é"]);
        assert_eq!(cuts("\n\n  a\n", 8), ["  a\n"]);
        assert!(cuts("", 8).is_empty());
    }
}
