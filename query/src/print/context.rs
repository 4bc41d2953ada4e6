//! Hits as context for a language model: whole chunks, each with its place, up to a size.

use std::io::{self, Write};

use super::{Stores, harmless};
use crate::hit::Hit;

/// Bytes that are taken for a token; tokenizers of language models need fewer tokens for code.
const TOKEN_BYTES: usize = 3;

/// Writes whole chunks under a line with their place while there is room for them; returns the hits
/// for which there was none.
pub(crate) fn context<'a>(
    hits: &'a [Hit],
    tokens: u32,
    stores: Stores<'_>,
    out: &mut impl Write,
) -> io::Result<Vec<&'a Hit>> {
    let mut room = tokens as usize;
    let mut left_out = Vec::new();
    for hit in hits {
        let block = block(hit, stores);
        let size = block.len().div_ceil(TOKEN_BYTES);
        if size > room {
            left_out.push(hit);
            continue;
        }
        room -= size;
        out.write_all(block.as_bytes())?;
    }
    Ok(left_out)
}

fn block(hit: &Hit, stores: Stores<'_>) -> String {
    let place = &hit.place;
    let mut header = harmless(&stores.shown(hit).text);
    if let (Some(start), Some(end)) = (place.start_line, place.end_line) {
        header.push_str(&format!(":{start}-{end}"));
    }
    let kind = place.kind.as_deref().filter(|_| place.title().is_some());
    for part in kind.into_iter().chain(place.title()) {
        header.push(' ');
        header.push_str(&harmless(part));
    }
    let fence = fence(&hit.content);
    let language = place.language.as_deref().unwrap_or_default();
    format!(
        "{header}\n{fence}{language}\n{}\n{fence}\n\n",
        hit.content.trim_end()
    )
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
