//! Hits as context for a language model: whole chunks, each with its place, up to a size.

use std::io::{self, Write};

use super::{Stores, harmless};
use crate::hit::Hit;

/// Bytes that are taken for a token; tokenizers of language models need fewer tokens for code.
const TOKEN_BYTES: usize = 3;

/// Whole chunks, as many as there is room for.
#[derive(Debug)]
pub(crate) struct Packed<'a> {
    /// Which of the hits, and how it is shown.
    pub(crate) pieces: Vec<(usize, Piece)>,
    /// The hits for which there was no room.
    pub(crate) left_out: Vec<&'a Hit>,
}

/// A chunk as a language model is shown it.
#[derive(Debug)]
pub(crate) struct Piece {
    /// `path:first-last`.
    pub(crate) place: String,
    /// The place, what is there, and the code in a fence.
    pub(crate) text: String,
}

/// Packs whole chunks, each under a line with its place, while there is room for them.
pub(crate) fn packed<'a>(hits: &'a [Hit], tokens: u32, stores: Stores<'_>) -> Packed<'a> {
    let mut room = tokens as usize;
    let (mut pieces, mut left_out) = (Vec::new(), Vec::new());
    for (at, hit) in hits.iter().enumerate() {
        let piece = piece(hit, stores);
        let size = piece.text.len().div_ceil(TOKEN_BYTES);
        if size > room {
            left_out.push(hit);
            continue;
        }
        room -= size;
        pieces.push((at, piece));
    }
    Packed { pieces, left_out }
}

/// Writes whole chunks while there is room for them; returns the hits for which there was none.
pub(crate) fn context<'a>(
    hits: &'a [Hit],
    tokens: u32,
    stores: Stores<'_>,
    out: &mut impl Write,
) -> io::Result<Vec<&'a Hit>> {
    let packed = packed(hits, tokens, stores);
    for (_, piece) in packed.pieces {
        out.write_all(piece.text.as_bytes())?;
    }
    Ok(packed.left_out)
}

fn piece(hit: &Hit, stores: Stores<'_>) -> Piece {
    let mut place = harmless(&stores.shown(hit).text);
    if let (Some(start), Some(end)) = (hit.place.start_line, hit.place.end_line) {
        place.push_str(&format!(":{start}-{end}"));
    }
    let mut header = place.clone();
    let kind = hit.place.kind.as_deref();
    let kind = kind.filter(|_| hit.place.title().is_some());
    for part in kind.into_iter().chain(hit.place.title()) {
        header.push(' ');
        header.push_str(&harmless(part));
    }
    let fence = fence(&hit.content);
    let language = hit.place.language.as_deref().unwrap_or_default();
    let content = hit.content.trim_end();
    let text = format!("{header}\n{fence}{language}\n{content}\n{fence}\n\n");
    Piece { place, text }
}

/// Returns a fence that does not occur in a text.
fn fence(text: &str) -> String {
    let mut fence = "```".to_owned();
    while text.contains(&fence) {
        fence.push('`');
    }
    fence
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::place::Place;

    #[test]
    fn what_does_not_fit_is_left_out_whole() {
        let hit = |path: &str, content: &str| Hit {
            place: Place {
                path: path.to_owned(),
                ..Place::default()
            },
            content: content.to_owned(),
            ..Hit::default()
        };
        let hits = [
            hit("a", "one"),
            hit("b", &"long ".repeat(100)),
            hit("c", "``` in it"),
        ];
        let stores = Stores {
            stores: &[],
            here: Path::new("/"),
        };
        let mut out = Vec::new();
        let left_out = context(&hits, 20, stores, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "/a\n```\none\n```\n\n/c\n````\n``` in it\n````\n\n");
        assert_eq!(left_out, [&hits[1]]);
        assert!(text.len() <= 20 * TOKEN_BYTES);
    }
}
