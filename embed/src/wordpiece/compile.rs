//! From a `tokenizer.json` to the tables that [`WordPiece`] walks.
//!
//! The build script compiles this file as well, for the built-in model; so it knows the file's
//! JSON, as the tokenizers crate writes it, and not that crate.

use std::borrow::Cow;

use serde_json::Value;

/// The normaliser that may stand before BERT's: a space where a hump of a camelCase name begins.
const HUMPS: &str = "(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])";

/// The id of no piece.
pub(crate) const NONE: u32 = u32::MAX;

/// Bytes of a node of the trie, little-endian: a bit for each letter that has a child (8), the
/// first child (4), the id of the piece that ends here or [`NONE`] (4).
pub(crate) const NODE_BYTES: usize = 16;

/// BERT's rules for ASCII, with a vocabulary's pieces of ASCII letters and digits, and marks.
pub(crate) struct WordPiece {
    /// A trie over 62 letters in [`NODE_BYTES`] a node. The first node is where words begin, the
    /// second where their further pieces do; a node's children lie together, in the order of
    /// their letters.
    pub(crate) nodes: Cow<'static, [u8]>,
    /// The id of each punctuation mark.
    pub(crate) marks: [u32; 128],
    /// The id of a word that is not of pieces.
    pub(crate) unknown: u32,
    /// Whether letters lose their case.
    pub(crate) lowercase: bool,
    /// Whether words end where a hump of a camelCase name begins.
    pub(crate) humps: bool,
    /// Words of more bytes are unknown.
    pub(crate) longest: usize,
    /// Tokens that are found in the raw text.
    pub(crate) added: Vec<String>,
    /// The marks that they begin with, a bit each.
    pub(crate) added_marks: u128,
}

impl WordPiece {
    /// Takes what a `tokenizer.json` says; `None` if that is not what BERT's tokenizer does.
    pub(crate) fn compile(tokenizer: &Value) -> Option<Self> {
        let normalizer = &tokenizer["normalizer"];
        let (humps, bert) = match normalizer["normalizers"].as_array().map(Vec::as_slice) {
            None => (false, normalizer),
            Some([replace, bert]) if marks_humps(replace) => (true, bert),
            Some(_) => return None,
        };
        let model = &tokenizer["model"];
        if bert["type"] != "BertNormalizer"
            || bert["clean_text"] != true
            || tokenizer["pre_tokenizer"]["type"] != "BertPreTokenizer"
            || model["type"] != "WordPiece"
        {
            return None;
        }
        let added = tokenizer["added_tokens"].as_array()?.iter();
        let added: Vec<String> = added.map(added_token).collect::<Option<_>>()?;
        let first_bytes = added.iter().filter_map(|token| token.bytes().next());

        let number = |id: &Value| id.as_u64().and_then(|id| u32::try_from(id).ok());
        let vocabulary = model["vocab"].as_object()?;
        let unknown = number(vocabulary.get(model["unk_token"].as_str()?)?)?;
        let prefix = model["continuing_subword_prefix"].as_str()?;
        let mut marks = [unknown; 128];
        let mut starts: Vec<Piece> = Vec::new();
        let mut further: Vec<Piece> = Vec::new();
        for (piece, id) in vocabulary {
            let id = number(id)?;
            match (piece.as_bytes(), piece.strip_prefix(prefix)) {
                ([mark], _) if mark.is_ascii_punctuation() => marks[usize::from(*mark)] = id,
                (_, Some(rest)) if !rest.is_empty() => further.extend(word(rest, id)),
                _ => starts.extend(word(piece, id)),
            }
        }
        Some(Self {
            nodes: Cow::Owned(trie([starts, further])),
            marks,
            unknown,
            lowercase: bert["lowercase"].as_bool()?,
            humps,
            longest: usize::try_from(model["max_input_chars_per_word"].as_u64()?).ok()?,
            added_marks: first_bytes.fold(0, |marks, byte| marks | 1 << byte),
            added,
        })
    }
}

fn marks_humps(normalizer: &Value) -> bool {
    normalizer["type"] == "Replace"
        && normalizer["pattern"]["Regex"] == HUMPS
        && normalizer["content"] == " "
}

/// Returns the text of an added token, if it can only be found at a punctuation mark, and reaches
/// over no white space.
fn added_token(token: &Value) -> Option<String> {
    let content = token["content"].as_str()?;
    let is_plain = content.bytes().next()?.is_ascii_punctuation()
        && !content.bytes().any(|byte| byte.is_ascii_whitespace())
        && ["normalized", "lstrip", "rstrip", "single_word"]
            .iter()
            .all(|flag| token[flag] == false);
    is_plain.then(|| content.to_owned())
}

/// Numbers the ASCII letters and digits.
pub(crate) const fn letter(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'z' => Some(byte - b'a' + 10),
        b'A'..=b'Z' => Some(byte - b'A' + 36),
        _ => None,
    }
}

/// Letters, numbered, with the id of the piece that they are.
type Piece = (Vec<u8>, u32);

/// Returns a piece as letters with its id, if it is of letters alone.
fn word(piece: &str, id: u32) -> Option<Piece> {
    let letters: Option<Vec<u8>> = piece.bytes().map(letter).collect();
    Some((letters?, id))
}

/// A node while the trie is made.
#[derive(Clone, Copy)]
struct Node {
    letters: u64,
    first_child: u32,
    id: u32,
}

/// Makes one trie of several vocabularies, whose roots are its first nodes.
fn trie<const N: usize>(mut vocabularies: [Vec<Piece>; N]) -> Vec<u8> {
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
    let mut bytes = Vec::with_capacity(nodes.len() * NODE_BYTES);
    for node in nodes {
        bytes.extend(node.letters.to_le_bytes());
        bytes.extend(node.first_child.to_le_bytes());
        bytes.extend(node.id.to_le_bytes());
    }
    bytes
}
