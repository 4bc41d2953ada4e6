//! Token ids of texts: the model's own tokenizer without its padding, cut at the model's limit.

use tokenizers::{Tokenizer, TruncationDirection, TruncationParams, TruncationStrategy};

use crate::Error;

/// Bytes of text for one token at the most, generously.
///
/// The tokenizer truncates only after it has read a whole text. A word that is no token in the
/// vocabulary counts as one however long it is, up to 100 characters; text beyond this many
/// bytes for each token that is wanted is not looked at.
const BYTES_A_TOKEN: usize = 64;

/// Sets a tokenizer up for batches of texts of their own length.
///
/// # Errors
/// [`Error::Tokenizer`] if it refuses the limit.
pub(crate) fn prepare(tokenizer: &mut Tokenizer, max_tokens: Option<usize>) -> Result<(), Error> {
    tokenizer.with_padding(None);
    let truncation = max_tokens.map(|max_length| TruncationParams {
        max_length,
        stride: 0,
        strategy: TruncationStrategy::LongestFirst,
        direction: TruncationDirection::Right,
    });
    tokenizer
        .with_truncation(truncation)
        .map_err(Error::Tokenizer)?;
    Ok(())
}

/// Returns the ids of each text, the model's special tokens included.
///
/// # Errors
/// [`Error::Tokenizer`] if the tokenizer fails.
pub(crate) fn encode(
    tokenizer: &Tokenizer,
    texts: &[&str],
    max_tokens: Option<usize>,
) -> Result<Vec<Vec<u32>>, Error> {
    let cut: Vec<&str> = texts
        .iter()
        .map(|text| match max_tokens {
            Some(max) => &text[..text.floor_char_boundary(max * BYTES_A_TOKEN)],
            None => text,
        })
        .collect();
    let encodings = tokenizer
        .encode_batch_fast(cut, true)
        .map_err(Error::Tokenizer)?;
    Ok(encodings
        .into_iter()
        .map(|encoding| encoding.get_ids().to_vec())
        .collect())
}
