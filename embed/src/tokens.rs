//! Token ids of texts: the model's own tokenizer without its padding, cut at the model's limit.

use std::sync::OnceLock;

use rayon::prelude::*;
use tokenizers::Tokenizer;

use crate::Error;
use crate::wordpiece::WordPiece;

/// Bytes of text for one token at the most, generously.
///
/// A word that is no token in the vocabulary counts as one however long it is, up to 100
/// characters; text beyond this many bytes for each token that is wanted is not looked at.
pub(crate) const BYTES_A_TOKEN: usize = 64;

/// What makes ids of a text, and no special ones around them.
pub(crate) struct Pieces {
    /// BERT's rules for ASCII, where they are the tokenizer's.
    wordpiece: Option<WordPiece>,
    /// The tokenizer itself, which takes all other text.
    tokenizer: OnceLock<Result<Tokenizer, String>>,
    /// The `tokenizer.json` that it is made of when it is first needed.
    json: &'static [u8],
}

impl Pieces {
    /// Takes a tokenizer.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if its own settings cannot be changed.
    pub(crate) fn new(mut tokenizer: Tokenizer) -> Result<Self, Error> {
        bare(&mut tokenizer).map_err(Error::Tokenizer)?;
        let json = serde_json::to_value(&tokenizer);
        Ok(Self {
            wordpiece: json.ok().as_ref().and_then(WordPiece::compile),
            tokenizer: OnceLock::from(Ok(tokenizer)),
            json: &[],
        })
    }

    /// Takes a `tokenizer.json` that is read when a text is not plain ASCII, and what it says
    /// about ASCII.
    pub(crate) fn compiled(wordpiece: WordPiece, json: &'static [u8]) -> Self {
        Self {
            wordpiece: Some(wordpiece),
            tokenizer: OnceLock::new(),
            json,
        }
    }

    /// Appends the ids of a text, up to `limit` in all.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the tokenizer fails.
    pub(crate) fn append(&self, text: &str, limit: usize, ids: &mut Vec<u32>) -> Result<(), Error> {
        match &self.wordpiece {
            Some(wordpiece) => {
                wordpiece.encode(text, limit, ids, |text, ids| self.other(text, ids))
            }
            None => {
                self.other(text, ids)?;
                ids.truncate(limit);
                Ok(())
            }
        }
    }

    /// Appends what the tokenizers crate makes of a text.
    fn other(&self, text: &str, ids: &mut Vec<u32>) -> Result<(), Error> {
        let made = self.tokenizer.get_or_init(|| {
            let read = Tokenizer::from_bytes(self.json);
            let bare = read.and_then(|mut tokenizer| bare(&mut tokenizer).map(|()| tokenizer));
            bare.map_err(|error| error.to_string())
        });
        let tokenizer = made
            .as_ref()
            .map_err(|cause| Error::Tokenizer(cause.as_str().into()))?;
        let encoding = tokenizer.encode_fast(text, false);
        ids.extend(encoding.map_err(Error::Tokenizer)?.get_ids());
        Ok(())
    }
}

/// Takes padding and truncation from a tokenizer.
fn bare(tokenizer: &mut Tokenizer) -> Result<(), tokenizers::Error> {
    tokenizer.with_padding(None);
    tokenizer.with_truncation(None)?;
    Ok(())
}

/// An encoder's tokenizer, set up for texts of their own length.
pub(crate) struct Encoder {
    pieces: Pieces,
    /// The ids that the model wants around a text.
    around: (Vec<u32>, Vec<u32>),
    /// The most ids of a text itself.
    limit: usize,
    /// Bytes of a text that are looked at.
    bytes: usize,
}

impl Encoder {
    /// Sets a tokenizer up for at most `max_tokens` ids a text, the special ones included.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if it cannot encode at all.
    pub(crate) fn new(mut tokenizer: Tokenizer, max_tokens: Option<usize>) -> Result<Self, Error> {
        bare(&mut tokenizer).map_err(Error::Tokenizer)?;
        let ids = |special| {
            let encoding = tokenizer.encode_fast("a", special);
            encoding.map(|encoding| encoding.get_ids().to_vec())
        };
        let bare = ids(false).map_err(Error::Tokenizer)?;
        let framed = ids(true).map_err(Error::Tokenizer)?;
        let at = framed
            .windows(bare.len().max(1))
            .position(|part| part == bare);
        let (before, rest) = framed.split_at(at.unwrap_or(0));
        let around = (before.to_vec(), rest[bare.len().min(rest.len())..].to_vec());
        let special = around.0.len() + around.1.len();
        Ok(Self {
            pieces: Pieces::new(tokenizer)?,
            limit: max_tokens.map_or(usize::MAX, |max| max.saturating_sub(special)),
            bytes: max_tokens.map_or(usize::MAX, |max| max.saturating_mul(BYTES_A_TOKEN)),
            around,
        })
    }

    /// Returns the ids of a text, the model's special tokens included.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the tokenizer fails.
    pub(crate) fn encode(&self, text: &str) -> Result<Vec<u32>, Error> {
        let text = &text[..text.floor_char_boundary(self.bytes)];
        let (before, after) = &self.around;
        let mut ids = before.clone();
        let limit = self.limit.saturating_add(before.len());
        self.pieces.append(text, limit, &mut ids)?;
        ids.extend(after);
        Ok(ids)
    }

    /// Does the same for many texts on all threads.
    ///
    /// # Errors
    /// Those of [`Encoder::encode`].
    pub(crate) fn encode_all(&self, texts: &[String]) -> Result<Vec<Vec<u32>>, Error> {
        texts.par_iter().map(|text| self.encode(text)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use serde_json::{Value, json};

    use super::*;

    /// The built-in model's tokenizer with one of the normalisers that are known.
    fn tokenizer(parts_humps: bool) -> Tokenizer {
        let json = include_bytes!("../model/tokenizer.json");
        let mut json: Value = serde_json::from_slice(json).unwrap();
        let bert = json!({
            "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": null, "lowercase": true,
        });
        let humps = "(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])";
        let replace = json!({"type": "Replace", "pattern": {"Regex": humps}, "content": " "});
        json["normalizer"] = match parts_humps {
            true => json!({"type": "Sequence", "normalizers": [replace, bert]}),
            false => bert,
        };
        Tokenizer::from_bytes(json.to_string()).unwrap()
    }

    /// Texts with what makes a difference to BERT's rules.
    fn texts() -> Vec<String> {
        let mut texts: Vec<String> = [
            "",
            " \t\r\n",
            "fn parse_date(text: &str) -> Option<Date> { text.split('-') }",
            "getHTTPResponseCode unaffable Zzyzxqqq 0x7fffffff 3.14159",
            "ABCd aB AB aBC abC1D2e 9A A9b iOS XMLHttpRequest2 x86Linux HTTP2Server ÄbC cÖD aBé éAb",
            "a\u{0}B a\u{200b}B a_B A-Bc Aa[MASK]Bb aB[MASK] A\u{301}Bc aA\u{7f}A",
            "a\u{0}b c\u{7f}d e\u{b}f g\u{c}h \u{1b}[0m",
            "größe naïve Straße 漢字かな 🦀 café.rs",
            "a\u{301}b \u{301}c x\u{a0}y z\u{2028}w \u{feff}mark \u{fffd}",
            "[CLS] x[UNK]y [MASK][PAD] [cls] a[SEP",
            "don't ... -->>== ~`!@#$%^&*()_+{}|:\"<>?",
            "e\u{85}e ümlaut_in_identifier = Foo::Bär",
        ]
        .map(str::to_owned)
        .into();
        texts.push("x".repeat(100) + " " + &"y".repeat(101));
        texts.push("é".repeat(150));
        // Every pair of bytes below 128 inside of a word, and many words of the vocabulary.
        for first in 0..128_u8 {
            let pairs =
                (0..128_u8).map(|second| format!("ab{}{}cd ", first as char, second as char));
            texts.push(pairs.collect());
        }
        let vocabulary = tokenizer(false).get_vocab(true);
        let mut words: Vec<&String> = vocabulary.keys().collect();
        words.sort();
        texts.extend(words.chunks(50).map(|words| {
            let joined: Vec<&str> = words
                .iter()
                .map(|word| word.trim_start_matches('#'))
                .collect();
            [
                joined.join(" "),
                joined.concat(),
                joined.join("_").to_uppercase(),
                joined.iter().map(|word| capitalized(word)).collect(),
            ]
            .join("\n")
        }));
        texts
    }

    fn capitalized(word: &str) -> String {
        let (first, rest) = word.split_at(word.chars().next().map_or(0, char::len_utf8));
        first.to_uppercase() + rest
    }

    #[test]
    fn ids_are_those_of_the_tokenizers_crate() {
        for parts_humps in [false, true] {
            let crates = tokenizer(parts_humps);
            let encoder = Encoder::new(crates.clone(), None).unwrap();
            assert!(encoder.pieces.wordpiece.is_some());
            for text in texts() {
                let expected = crates.encode_fast(text.as_str(), true).unwrap();
                let ids = encoder.encode(&text).unwrap();
                assert_eq!(ids, expected.get_ids(), "{parts_humps} {text:?}");
            }
        }
    }

    /// `scripts/bench/run.py tokens` names a file of real chunks, a JSON string a line, in
    /// `CS_CHUNKS`.
    #[test]
    fn ids_of_real_chunks_are_those_of_the_tokenizers_crate() {
        let Ok(path) = std::env::var("CS_CHUNKS") else {
            println!("skipped: CS_CHUNKS names no file (scripts/bench/run.py tokens sets it)");
            return;
        };
        let lines = std::fs::read_to_string(path).unwrap();
        let chunks: Vec<String> = lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let megabytes = chunks.iter().map(String::len).sum::<usize>() as f64 / 1e6;
        let own = Tokenizer::from_bytes(include_bytes!("../model/tokenizer.json")).unwrap();
        for (name, crates) in [
            ("the built-in model", own),
            ("BERT's rules", tokenizer(false)),
            ("humps parted", tokenizer(true)),
        ] {
            let pieces = Pieces::new(crates.clone()).unwrap();
            assert!(pieces.wordpiece.is_some());
            let mut started = Instant::now();
            let mut ids = Vec::new();
            let mut ends = Vec::new();
            for chunk in &chunks {
                pieces.append(chunk, usize::MAX, &mut ids).unwrap();
                ends.push(ids.len());
            }
            let here = megabytes / started.elapsed().as_secs_f64();
            let mut from = 0;
            started = Instant::now();
            for (chunk, end) in chunks.iter().zip(ends) {
                let expected = crates.encode_fast(chunk.as_str(), false).unwrap();
                assert_eq!(ids[from..end], *expected.get_ids(), "{chunk:?}");
                from = end;
            }
            let there = megabytes / started.elapsed().as_secs_f64();
            let (count, total) = (chunks.len(), ids.len());
            println!("| {name} | {count} | {megabytes:.1} | {total} | {here:.0} | {there:.1} |");
        }
    }

    #[test]
    fn a_token_that_could_hide_in_a_word_leaves_all_to_the_crate() {
        for (content, is_seen) in [("<mask>", true), ("unused0", false), ("[a b]", false)] {
            let mut crates = tokenizer(false);
            let token = tokenizers::AddedToken::from(content, true);
            crates.add_special_tokens([token]).unwrap();
            let encoder = Encoder::new(crates.clone(), None).unwrap();
            assert_eq!(encoder.pieces.wordpiece.is_some(), is_seen, "{content}");
            let text = format!("x{content}y {content} z");
            let expected = crates.encode_fast(text.as_str(), true).unwrap();
            assert_eq!(encoder.encode(&text).unwrap(), expected.get_ids(), "{text}");
        }
    }

    #[test]
    fn a_limit_counts_the_special_tokens() {
        let encoder = Encoder::new(tokenizer(true), Some(5)).unwrap();
        let whole = Encoder::new(tokenizer(true), None).unwrap();
        for text in ["a b c d e f g", "é é é é é é é", "a b", "unaffableness"] {
            let ids = whole.encode(text).unwrap();
            assert_eq!(
                encoder.encode(text).unwrap(),
                ids[..ids.len().min(5)],
                "{text}"
            );
        }
    }
}
