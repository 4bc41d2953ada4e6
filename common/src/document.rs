//! The text of a chunk that is embedded, and its hash: parse names it, embed makes it.

use blake3::{Hash, Hasher};

/// Returns the text that stands for a chunk when it is embedded.
///
/// It is the path and the qualified symbol, a line each, twice, and then the content. The words of
/// a path and of a symbol say what a body often does not, and a long body would drown them:
/// `scripts/train/builtin/README.md` has what each part is worth.
pub fn document(path: &str, symbol: Option<&str>, content: &str) -> String {
    let parts = parts(path, symbol, content);
    let mut text = String::with_capacity(parts.iter().map(|part| part.len()).sum());
    parts.iter().for_each(|part| text.push_str(part));
    text
}

/// Returns the hash of exactly the text that [`document`] makes, as 32 hex digits.
///
/// Chunks with equal hashes have equal vectors under one model.
pub fn content_hash(path: &str, symbol: Option<&str>, content: &str) -> String {
    let mut hasher = Hasher::new();
    for part in parts(path, symbol, content) {
        hasher.update(part.as_bytes());
    }
    hex32(hasher.finalize())
}

/// Returns the pieces of a document in their order.
fn parts<'a>(path: &'a str, symbol: Option<&'a str>, content: &'a str) -> [&'a str; 9] {
    let (symbol, end) = match symbol {
        Some(symbol) if !symbol.is_empty() => (symbol, "\n"),
        _ => ("", ""),
    };
    [path, "\n", symbol, end, path, "\n", symbol, end, content]
}

/// Returns the first 128 bits of a BLAKE3 hash as 32 hex digits.
pub fn hex32(hash: Hash) -> String {
    hash.to_hex()[..32].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_names_its_place_twice() {
        let text = document("src/a.rs", Some("Index::open"), "fn open() {}");
        assert_eq!(
            text,
            "src/a.rs\nIndex::open\nsrc/a.rs\nIndex::open\nfn open() {}"
        );
        let text = document("notes.txt", None, "a line");
        assert_eq!(text, "notes.txt\nnotes.txt\na line");
    }

    #[test]
    fn the_hash_is_over_the_document() {
        for symbol in [None, Some(""), Some("Index::open")] {
            let text = document("src/a.rs", symbol, "fn open() {}");
            let expected = hex32(blake3::hash(text.as_bytes()));
            assert_eq!(content_hash("src/a.rs", symbol, "fn open() {}"), expected);
        }
    }
}
