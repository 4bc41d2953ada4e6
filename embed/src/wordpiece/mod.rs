//! BERT's tokenizer for ASCII: the same ids as the tokenizers crate gives, many times faster.
//!
//! The crate follows every character through normalisation with its offsets. For ASCII BERT's
//! rules are short: white space and punctuation end a word, letters lose their case, and a word
//! is cut into the longest pieces of the vocabulary from left to right (WordPiece, Wu et al.
//! 2016, section 4.1). Where the humps of camelCase names are parted before, words end there as
//! well. Between white space, text that is not all plain ASCII goes to the crate.

mod compile;

pub(crate) use compile::WordPiece;
use compile::{NODE_BYTES, NONE, letter};

/// The node where words begin.
const START: u32 = 0;

/// The node where their further pieces begin.
const CONTINUED: u32 = 1;

/// The number of each byte's letter, or [`u8::MAX`]: as it stands, and without its case.
static LETTERS: [[u8; 256]; 2] = {
    let mut letters = [[u8::MAX; 256]; 2];
    let mut byte = 0;
    while byte < 128_u8 {
        if let Some(number) = letter(byte) {
            letters[0][byte as usize] = number;
        }
        if let Some(number) = letter(byte.to_ascii_lowercase()) {
            letters[1][byte as usize] = number;
        }
        byte += 1;
    }
    letters
};

/// A node of the trie.
struct Node {
    letters: u64,
    first_child: u32,
    id: u32,
}

impl WordPiece {
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
            match self.stretch(bytes, at, ids) {
                Ok(end) => at = end,
                Err(NotPlain) => {
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
    fn stretch(&self, bytes: &[u8], start: usize, ids: &mut Vec<u32>) -> Result<usize, NotPlain> {
        let mut at = start;
        while let Some(byte) = bytes.get(at) {
            if byte.is_ascii_alphanumeric() {
                at = self.word(bytes, at, ids)?;
            } else if byte.is_ascii_punctuation() {
                let is_added = |token: &String| bytes[at..].starts_with(token.as_bytes());
                if self.added_marks >> byte & 1 == 1 && self.added.iter().any(is_added) {
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
        let mut node = self.node(START);
        loop {
            // The longest piece from `at` on.
            let (mut end, mut found) = (at, NONE);
            let mut next = at;
            while !self.is_hump(bytes, start, next)
                && let Some(byte) = bytes.get(next)
                && let Some(child) = self.child(&node, *byte)
            {
                node = child;
                next += 1;
                if node.id != NONE {
                    (end, found) = (next, node.id);
                }
            }
            if found == NONE {
                break;
            }
            ids.push(found);
            at = end;
            if self.ends(bytes, start, at) {
                break;
            }
            node = self.node(CONTINUED);
        }
        let mut end = at;
        while !self.ends(bytes, start, end) {
            end += 1;
        }
        // What is not ASCII, or goes away, may be a part of the word.
        if bytes.get(end).is_some_and(|byte| !is_plain(*byte)) {
            return Err(NotPlain);
        }
        if end > at || end - start > self.longest {
            ids.truncate(before);
            ids.push(self.unknown);
        }
        Ok(end)
    }

    /// Tells whether the word from `start` ends before `at`.
    fn ends(&self, bytes: &[u8], start: usize, at: usize) -> bool {
        let letter = bytes.get(at).is_some_and(u8::is_ascii_alphanumeric);
        !letter || self.is_hump(bytes, start, at)
    }

    /// Tells whether a hump begins at `at`, inside of the word from `start`.
    fn is_hump(&self, bytes: &[u8], start: usize, at: usize) -> bool {
        self.humps
            && at > start
            && bytes.get(at).is_some_and(u8::is_ascii_uppercase)
            && (!bytes[at - 1].is_ascii_uppercase()
                || bytes.get(at + 1).is_some_and(u8::is_ascii_lowercase))
    }

    fn node(&self, index: u32) -> Node {
        let at = index as usize * NODE_BYTES;
        let bytes = &self.nodes[at..at + NODE_BYTES];
        let word =
            |at| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        Node {
            letters: u64::from(word(0)) | u64::from(word(4)) << 32,
            first_child: word(8),
            id: word(12),
        }
    }

    fn child(&self, node: &Node, byte: u8) -> Option<Node> {
        let letter = LETTERS[usize::from(self.lowercase)][usize::from(byte)];
        let bit = 1_u64.checked_shl(u32::from(letter))?;
        (node.letters & bit != 0).then(|| {
            let before = (node.letters & (bit - 1)).count_ones();
            self.node(node.first_child + before)
        })
    }
}

/// A stretch has to go to the crate.
struct NotPlain;

/// BERT's white space in ASCII; other control characters go away and end no word.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// Tells whether BERT's rules for a byte depend on no other byte.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte.is_ascii_punctuation() || is_space(byte)
}
