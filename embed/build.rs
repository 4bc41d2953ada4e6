//! Compiles the built-in model's tokenizer into tables that are used where they lie in the
//! binary.

use std::error::Error;
use std::fs;
use std::path::Path;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

#[path = "src/wordpiece/compile.rs"]
mod compile;

use compile::WordPiece;

const TOKENIZER: &str = "model/tokenizer.json";
const WEIGHTS: &str = "model/model.safetensors";

fn main() -> Result<(), Box<dyn Error>> {
    for path in [TOKENIZER, WEIGHTS, "src/wordpiece/compile.rs"] {
        println!("cargo::rerun-if-changed={path}");
    }
    let tokenizer: Value = serde_json::from_slice(&fs::read(TOKENIZER)?)?;
    let weights = fs::read(WEIGHTS)?;
    let wordpiece = WordPiece::compile(&tokenizer)
        .ok_or_else(|| format!("{TOKENIZER}: a WordPiece tokenizer under BERT's rules is due"))?;
    let last_id = last_id(&tokenizer).ok_or("no tokens")?;

    let sha256: String = Sha256::digest(&weights)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let WordPiece {
        nodes,
        marks,
        unknown,
        lowercase,
        humps,
        longest,
        added,
        added_marks,
    } = wordpiece;
    let out = std::env::var("OUT_DIR")?;
    let out = Path::new(&out);
    fs::write(out.join("trie.bin"), &nodes)?;
    let code = format!(
        "/// SHA-256 of the weights.
const SHA256: &str = {sha256:?};

/// The highest id that the tokenizer gives.
const LAST_ID: u32 = {last_id};

/// Returns the tokenizer's tables.
fn wordpiece() -> WordPiece {{
    WordPiece {{
        nodes: include_bytes!(\"trie.bin\").into(),
        marks: {marks:?},
        unknown: {unknown},
        lowercase: {lowercase},
        humps: {humps},
        longest: {longest},
        added: {added:?}.map(str::to_owned).into(),
        added_marks: {added_marks},
    }}
}}
"
    );
    fs::write(out.join("builtin.rs"), code)?;
    Ok(())
}

/// Returns the highest id that the tokenizer can give.
fn last_id(tokenizer: &Value) -> Option<u64> {
    let vocabulary = tokenizer["model"]["vocab"].as_object()?.values();
    let added = tokenizer["added_tokens"].as_array()?.iter();
    let ids = vocabulary.chain(added.map(|token| &token["id"]));
    ids.filter_map(Value::as_u64).max()
}
