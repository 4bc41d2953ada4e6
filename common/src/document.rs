//! The text of a chunk that is embedded, and its hash: parse names it, embed makes it.

use blake3::{Hash, Hasher};

/// Returns the text that stands for a chunk when it is embedded.
///
/// It is the path, the qualified symbol and the content, in this order, a line each: the words
/// of a path and of a symbol say what a body often does not.
pub fn document(path: &str, symbol: Option<&str>, content: &str) -> String {
    let symbol = symbol.unwrap_or_default();
    let mut text = String::with_capacity(path.len() + symbol.len() + content.len() + 2);
    text.push_str(path);
    if !symbol.is_empty() {
        text.push('\n');
        text.push_str(symbol);
    }
    text.push('\n');
    text.push_str(content);
    text
}

/// Returns the hash of exactly the text that [`document`] makes, as 32 hex digits.
///
/// Chunks with equal hashes have equal vectors under one model.
pub fn content_hash(path: &str, symbol: Option<&str>, content: &str) -> String {
    let mut hasher = Hasher::new();
    hasher.update(path.as_bytes());
    if let Some(symbol) = symbol.filter(|symbol| !symbol.is_empty()) {
        hasher.update(b"\n");
        hasher.update(symbol.as_bytes());
    }
    hasher.update(b"\n");
    hasher.update(content.as_bytes());
    hex32(hasher.finalize())
}

/// Returns the first 128 bits of a BLAKE3 hash as 32 hex digits.
pub fn hex32(hash: Hash) -> String {
    hash.to_hex()[..32].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_over_the_document() {
        for symbol in [None, Some(""), Some("Index::open")] {
            let text = document("src/a.rs", symbol, "fn open() {}");
            let expected = hex32(blake3::hash(text.as_bytes()));
            assert_eq!(content_hash("src/a.rs", symbol, "fn open() {}"), expected);
        }
    }
}
