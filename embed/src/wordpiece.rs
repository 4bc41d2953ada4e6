//! BERT's tokenizer for ASCII: the same ids as the tokenizers crate gives, many times faster.
//!
//! The crate follows every character through normalisation with its offsets. For ASCII BERT's
//! rules are short: white space and punctuation end a word, letters lose their case, and a word
//! is cut into the longest pieces of the vocabulary from left to right (WordPiece, Wu et al.
//! 2016, section 4.1). Between white space, text that is not all plain ASCII goes to the crate.

use tokenizers::{ModelWrapper, NormalizerWrapper, PreTokenizerWrapper, Tokenizer};

/// The vocabulary's pieces of ASCII letters and digits, and single marks.
pub(crate) struct WordPiece {
    nodes: Vec<Node>,
    /// The id of each punctuation mark.
    marks: [u32; 128],
    unknown: u32,
    lowercase: bool,
    /// Words of more bytes are unknown.
    longest: usize,
    /// Tokens that the crate finds in the raw text.
    added: Vec<String>,
}

/// A node of a trie over 62 letters: its children lie together, in the order of their letters.
#[derive(Clone, Copy)]
struct Node {
    /// A bit for each letter that has a child.
    letters: u64,
    first_child: u32,
    /// The id of the piece that ends here, or [`NONE`].
    id: u32,
}

/// Letters, numbered, with the id of the piece that they are.
type Piece = (Vec<u8>, u32);

const NONE: u32 = u32::MAX;

/// The node where words begin.
const START: usize = 0;

/// The node where their further pieces begin.
const CONTINUED: usize = 1;

impl WordPiece {
    /// Takes the vocabulary of a tokenizer; `None` if that does not do what BERT's does.
    pub(crate) fn of(tokenizer: &Tokenizer) -> Option<Self> {
        let Some(NormalizerWrapper::BertNormalizer(normalizer)) = tokenizer.get_normalizer() else {
            return None;
        };
        let Some(PreTokenizerWrapper::BertPreTokenizer(_)) = tokenizer.get_pre_tokenizer() else {
            return None;
        };
        let ModelWrapper::WordPiece(model) = tokenizer.get_model() else {
            return None;
        };
        let added: Vec<_> = tokenizer.get_added_tokens_decoder().into_values().collect();
        let is_plain = added.iter().all(|token| {
            let content = token.content.as_bytes();
            // It is looked for at punctuation marks, between white space.
            content.first().is_some_and(u8::is_ascii_punctuation)
                && !content.iter().any(|byte| is_space(*byte))
                && !(token.normalized || token.lstrip || token.rstrip || token.single_word)
        });
        if !normalizer.clean_text || !is_plain {
            return None;
        }
        let vocabulary = tokenizer.get_vocab(false);
        let unknown = *vocabulary.get(&model.unk_token)?;
        let mut marks = [unknown; 128];
        let mut starts: Vec<Piece> = Vec::new();
        let mut further: Vec<Piece> = Vec::new();
        for (piece, id) in &vocabulary {
            match (
                piece.as_bytes(),
                piece.strip_prefix(&model.continuing_subword_prefix),
            ) {
                ([mark], _) if mark.is_ascii_punctuation() => marks[usize::from(*mark)] = *id,
                (_, Some(rest)) if !rest.is_empty() => further.extend(word(rest, *id)),
                _ => starts.extend(word(piece, *id)),
            }
        }
        Some(Self {
            nodes: trie([starts, further]),
            marks,
            unknown,
            lowercase: normalizer.lowercase,
            longest: model.max_input_chars_per_word,
            added: added.into_iter().map(|token| token.content).collect(),
        })
    }

    /// Appends the ids of a text up to `limit` in all, `other` giving those of a stretch that is
    /// not plain ASCII.
    pub(crate) fn encode<E>(
        &self,
        text: &str,
        limit: usize,
        ids: &mut Vec<u32>,
        mut other: impl FnMut(&str, &mut Vec<u32>) -> Result<(), E>,
    ) -> Result<(), E> {
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() && ids.len() < limit {
            if is_space(bytes[at]) {
                at += 1;
                continue;
            }
            let before = ids.len();
            match self.stretch(text, at, ids) {
                Ok(end) => at = end,
                Err(_) => {
                    ids.truncate(before);
                    let rest = bytes[at..].iter().position(|byte| is_space(*byte));
                    let end = rest.map_or(bytes.len(), |length| at + length);
                    other(&text[at..end], ids)?;
                    at = end;
                }
            }
        }
        ids.truncate(limit);
        Ok(())
    }

    /// Appends the ids from `start` to the next white space, and returns where that is.
    fn stretch(&self, text: &str, start: usize, ids: &mut Vec<u32>) -> Result<usize, NotPlain> {
        let bytes = text.as_bytes();
        let mut at = start;
        while let Some(byte) = bytes.get(at) {
            if byte.is_ascii_alphanumeric() {
                at = self.word(bytes, at, ids)?;
            } else if byte.is_ascii_punctuation() {
                let is_added = |token: &String| bytes[at..].starts_with(token.as_bytes());
                if self.added.iter().any(is_added) {
                    return Err(NotPlain);
                }
                ids.push(self.marks[usize::from(*byte)]);
                at += 1;
            } else if is_space(*byte) {
                break;
            } else {
                return Err(NotPlain);
            }
        }
        Ok(at)
    }

    /// Appends the pieces of the word at `start`, and returns where it ends.
    fn word(&self, bytes: &[u8], start: usize, ids: &mut Vec<u32>) -> Result<usize, NotPlain> {
        let before = ids.len();
        let mut at = start;
        let mut node = START;
        loop {
            // The longest piece from `at` on.
            let (mut end, mut found) = (at, NONE);
            let mut next = at;
            while let Some(child) = bytes.get(next).and_then(|byte| self.child(node, *byte)) {
                node = child;
                next += 1;
                let id = self.nodes[node].id;
                if id != NONE {
                    (end, found) = (next, id);
                }
            }
            if found == NONE {
                break;
            }
            ids.push(found);
            at = end;
            if !bytes.get(at).is_some_and(u8::is_ascii_alphanumeric) {
                break;
            }
            node = CONTINUED;
        }
        let rest = bytes[at..].iter();
        let end = at + rest.take_while(|byte| byte.is_ascii_alphanumeric()).count();
        // What is not ASCII, or goes away, may be a part of the word.
        if bytes
            .get(end)
            .is_some_and(|byte| !byte.is_ascii_punctuation() && !is_space(*byte))
        {
            return Err(NotPlain);
        }
        if end > at || end - start > self.longest {
            ids.truncate(before);
            ids.push(self.unknown);
        }
        Ok(end)
    }

    fn child(&self, node: usize, byte: u8) -> Option<usize> {
        let byte = if self.lowercase {
            byte.to_ascii_lowercase()
        } else {
            byte
        };
        let bit = 1_u64 << letter(byte)?;
        let Node {
            letters,
            first_child,
            ..
        } = self.nodes[node];
        (letters & bit != 0).then(|| {
            let before = (letters & (bit - 1)).count_ones();
            (first_child + before) as usize
        })
    }
}

/// A stretch has to go to the crate.
struct NotPlain;

/// BERT's white space in ASCII; other control characters go away and end no word.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// Numbers the ASCII letters and digits.
fn letter(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'z' => Some(byte - b'a' + 10),
        b'A'..=b'Z' => Some(byte - b'A' + 36),
        _ => None,
    }
}

/// Returns a piece as letters with its id, if it is of letters alone.
fn word(piece: &str, id: u32) -> Option<Piece> {
    let letters: Option<Vec<u8>> = piece.bytes().map(letter).collect();
    Some((letters?, id))
}

/// Makes one trie of several vocabularies, whose roots are its first nodes.
fn trie<const N: usize>(mut vocabularies: [Vec<Piece>; N]) -> Vec<Node> {
    let empty = Node {
        letters: 0,
        first_child: 0,
        id: NONE,
    };
    let mut nodes = vec![empty; N];
    for pieces in &mut vocabularies {
        pieces.sort_unstable();
    }
    // Each node with the pieces below it, which begin with the same letters; by levels, so that
    // the children of a node come to lie together.
    let mut level: Vec<(usize, &[Piece])> =
        vocabularies.iter().map(Vec::as_slice).enumerate().collect();
    let mut depth = 0;
    while !level.is_empty() {
        let mut below = Vec::new();
        for (node, mut pieces) in level {
            if let Some(((piece, id), rest)) = pieces.split_first()
                && piece.len() == depth
            {
                nodes[node].id = *id;
                pieces = rest;
            }
            nodes[node].first_child = u32::try_from(nodes.len()).unwrap_or(NONE);
            for group in pieces.chunk_by(|(a, _), (b, _)| a[depth] == b[depth]) {
                nodes[node].letters |= 1 << group[0].0[depth];
                below.push((nodes.len(), group));
                nodes.push(empty);
            }
        }
        level = below;
        depth += 1;
    }
    nodes
}
