//! Token ids of texts: the model's own tokenizer without its padding, cut at the model's limit.

use rayon::prelude::*;
use tokenizers::Tokenizer;

use crate::Error;
use crate::wordpiece::WordPiece;

/// Bytes of text for one token at the most, generously.
///
/// A word that is no token in the vocabulary counts as one however long it is, up to 100
/// characters; text beyond this many bytes for each token that is wanted is not looked at.
const BYTES_A_TOKEN: usize = 64;

/// A model's tokenizer, set up for texts of their own length.
pub(crate) struct Encoder {
    tokenizer: Tokenizer,
    /// The same for ASCII, where the tokenizer is BERT's.
    wordpiece: Option<WordPiece>,
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
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(Error::Tokenizer)?;
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
            wordpiece: WordPiece::of(&tokenizer),
            tokenizer,
            limit: max_tokens.map_or(usize::MAX, |max| max.saturating_sub(special)),
            bytes: max_tokens.map_or(usize::MAX, |max| max.saturating_mul(BYTES_A_TOKEN)),
            around,
        })
    }

    /// Returns how many ids there are.
    pub(crate) fn vocabulary(&self) -> usize {
        self.tokenizer.get_vocab_size(true)
    }

    /// Returns the id of a token.
    pub(crate) fn id(&self, token: &str) -> Option<u32> {
        self.tokenizer.token_to_id(token)
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
        match &self.wordpiece {
            Some(wordpiece) => {
                wordpiece.encode(text, limit, &mut ids, |text, ids| self.append(text, ids))?;
            }
            None => {
                self.append(text, &mut ids)?;
                ids.truncate(limit);
            }
        }
        ids.extend(after);
        Ok(ids)
    }

    /// Does the same for many texts on all threads.
    ///
    /// # Errors
    /// Those of [`Encoder::encode`].
    pub(crate) fn encode_all(&self, texts: &[&str]) -> Result<Vec<Vec<u32>>, Error> {
        texts.par_iter().map(|text| self.encode(text)).collect()
    }

    /// Appends what the tokenizers crate makes of a text.
    fn append(&self, text: &str, ids: &mut Vec<u32>) -> Result<(), Error> {
        let encoding = self.tokenizer.encode_fast(text, false);
        ids.extend(encoding.map_err(Error::Tokenizer)?.get_ids());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The built-in model's vocabulary under BERT's own normalizer, which has the fast way.
    fn tokenizer() -> Tokenizer {
        let bytes = include_bytes!("../model/tokenizer.json");
        let mut tokenizer = Tokenizer::from_bytes(bytes).unwrap();
        tokenizer.with_normalizer(Some(tokenizers::normalizers::BertNormalizer::default()));
        tokenizer
    }

    /// Texts with what makes a difference to BERT's rules.
    fn texts() -> Vec<String> {
        let mut texts: Vec<String> = [
            "",
            " \t\r\n",
            "fn parse_date(text: &str) -> Option<Date> { text.split('-') }",
            "getHTTPResponseCode unaffable Zzyzxqqq 0x7fffffff 3.14159",
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
        let vocabulary = tokenizer().get_vocab(true);
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
            ]
            .join("\n")
        }));
        texts
    }

    #[test]
    fn ids_are_those_of_the_tokenizers_crate() {
        let crates = tokenizer();
        let encoder = Encoder::new(tokenizer(), None).unwrap();
        assert!(encoder.wordpiece.is_some());
        for text in texts() {
            let expected = crates.encode_fast(text.as_str(), true).unwrap();
            assert_eq!(
                encoder.encode(&text).unwrap(),
                expected.get_ids(),
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_token_that_could_hide_in_a_word_leaves_all_to_the_crate() {
        for (content, is_seen) in [("<mask>", true), ("unused0", false), ("[a b]", false)] {
            let mut crates = tokenizer();
            let token = tokenizers::AddedToken::from(content, true);
            crates.add_special_tokens([token]).unwrap();
            let encoder = Encoder::new(crates.clone(), None).unwrap();
            assert_eq!(encoder.wordpiece.is_some(), is_seen, "{content}");
            let text = format!("x{content}y {content} z");
            let expected = crates.encode_fast(text.as_str(), true).unwrap();
            assert_eq!(encoder.encode(&text).unwrap(), expected.get_ids(), "{text}");
        }
    }

    #[test]
    fn a_limit_counts_the_special_tokens() {
        let encoder = Encoder::new(tokenizer(), Some(5)).unwrap();
        let whole = Encoder::new(tokenizer(), None).unwrap();
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
