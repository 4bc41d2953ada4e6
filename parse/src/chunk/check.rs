//! What holds for the chunks of any bytes in any language; for tests and for the fuzzer.

use std::ops::Range;

/// One chunk, as far as it is checked.
pub(crate) struct Checked {
    /// Its bytes in the file.
    pub(crate) bytes: Range<usize>,
    /// Its first and last line, from 1.
    pub(crate) lines: (u32, u32),
    /// Index of the enclosing chunk.
    pub(crate) parent: Option<usize>,
}

/// Expects that chunks hold every byte that is not blank, once and in order, are no larger than
/// `limit`, split no character, and tell their lines right.
///
/// # Panics
/// If one of these does not hold.
pub(crate) fn check(source: &[u8], chunks: &[Checked], limit: usize) {
    let text = std::str::from_utf8(source).ok();
    let mark = "\u{feff}".as_bytes();
    let mut covered = if source.starts_with(mark) {
        mark.len()
    } else {
        0
    };
    let shown = || String::from_utf8_lossy(&source[..source.len().min(400)]);
    let mut counted = (0, 1);
    let mut line = |end: usize| {
        let (start, line) = counted;
        let breaks = source[start..end].iter().filter(|byte| **byte == b'\n');
        counted = (
            end,
            line + u32::try_from(breaks.count()).unwrap_or(u32::MAX),
        );
        counted.1
    };
    for (index, chunk) in chunks.iter().enumerate() {
        let Range { start, end } = chunk.bytes;
        assert!(
            covered <= start && start < end && end <= source.len(),
            "{covered}, {start}..{end} of {:?}",
            shown()
        );
        assert!(
            end - start <= limit,
            "{start}..{end} is too large in {:?}",
            shown()
        );
        let gap = &source[covered..start];
        assert!(gap.trim_ascii().is_empty(), "lost {gap:?} of {:?}", shown());
        assert_eq!(
            chunk.lines,
            (line(start), line(end - 1)),
            "lines of {start}..{end} in {:?}",
            shown()
        );
        assert!(
            chunk
                .parent
                .is_none_or(|parent| parent < chunks.len() && parent != index),
            "parent of {start}..{end} in {:?}",
            shown()
        );
        if let Some(text) = text {
            assert!(
                text.is_char_boundary(start) && text.is_char_boundary(end),
                "{start}..{end} splits a character of {:?}",
                shown()
            );
        }
        covered = end;
    }
    let gap = &source[covered..];
    assert!(gap.trim_ascii().is_empty(), "lost {gap:?} of {:?}", shown());
}
