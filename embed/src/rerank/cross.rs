//! Cross-encoders: an encoder that runs over question and text as one pair, and a classifier of one
//! label behind it.
//!
//! They run in the same engines as encoders: a token has a segment besides its id, and
//! `encoder/classifier.rs` computes a logit from the pooled state. The logit is the score, because
//! a sigmoid in f32 is 1 from 17 on. `embed/tests/rerankers.rs` compares logits with PyTorch's
//! (`scripts/references/make-rerank-references.py`).

use std::fs;
use std::path::Path;

use rayon::prelude::*;
use serde_json::Value;

use super::Reranker;
use super::pairs::{Pair, Pairs};
use crate::encoder::{
    Checkpoint, Classifier, Config, Engine, check_vocabulary, load, read_tokenizer, run_all,
};
use crate::folder::Limits;
use crate::{Error, ModelSpec};

/// Pairs that are tokenised and run at once.
const WINDOW: usize = 256;

/// The fewest tokens of a pair: special ones, and something of both texts.
const LEAST_TOKENS: usize = 8;

/// A cross-encoder with its tokenizer.
pub(super) struct CrossEncoder {
    id: String,
    pairs: Pairs,
    engine: Box<dyn Engine>,
    classifier: Classifier,
}

impl CrossEncoder {
    /// Opens a folder with `config.json`, `tokenizer.json` and weights in safetensors.
    ///
    /// # Errors
    /// [`Error::File`] or [`Error::Model`] for a file that is missing or asks for what is not
    /// done here, [`Error::Device`] if the device cannot be had or cannot hold the model.
    pub(super) fn open(id: String, folder: &Path, spec: &ModelSpec) -> Result<Self, Error> {
        let classifier = Classifier::open(folder)?;
        check_recipe(folder)?;
        let checkpoint = Checkpoint::open(folder)?;
        let limits = Limits::read(folder)?;
        let limit = checkpoint.architecture().max_tokens;
        let wanted = spec.recipe.max_tokens.or(limits.max_tokens);
        let max_tokens = wanted.map_or(limit, |own| own.min(limit));
        if max_tokens < LEAST_TOKENS {
            let cause = format!("takes {max_tokens} tokens, too few for a question and a text");
            return Err(Error::model(folder, cause));
        }
        let tokenizer = read_tokenizer(folder, folder, limits.lower_case)?;
        let ends = checkpoint.ends()?;
        check_vocabulary(&tokenizer, ends.tokens.rows(), folder)?;
        let has_segments = ends.segments.is_some() && wants_segments(folder)?;
        let pairs = Pairs::new(tokenizer, max_tokens, has_segments)?;
        if let Some(table) = &ends.segments {
            check_segments(&pairs, table.rows(), folder)?;
        }
        let (engine, _) = load(&checkpoint, folder, spec)?;
        Ok(Self {
            id,
            pairs,
            engine,
            classifier,
        })
    }
}

impl Reranker for CrossEncoder {
    fn id(&self) -> &str {
        &self.id
    }

    fn scores(&self, question: &str, texts: &[String]) -> Result<Vec<f64>, Error> {
        let mut scores = Vec::with_capacity(texts.len());
        for window in texts.chunks(WINDOW) {
            let pairs = self.pairs.encode_all(question, window)?;
            let tokens: Vec<_> = pairs.iter().map(Pair::text).collect();
            let pooled = run_all(self.engine.as_ref(), &tokens, self.classifier.pooling)?;
            let first = scores.len();
            let logits: Vec<Option<f32>> = pooled
                .par_iter()
                .map(|state| (!state.is_empty()).then(|| self.classifier.logit(state)))
                .collect();
            for (at, logit) in logits.into_iter().enumerate() {
                let logit = logit.filter(|logit| logit.is_finite());
                scores.push(f64::from(logit.ok_or_else(|| no_score(first + at))?));
            }
        }
        Ok(scores)
    }
}

fn no_score(at: usize) -> Error {
    Error::Text {
        at,
        cause: format!("the cross-encoder makes no number of the text {at}"),
        hint: "its weights may be damaged, or of another kind",
    }
}

/// Refuses what sentence-transformers would do besides: further modules, prompts, text that is cut
/// at its beginning.
fn check_recipe(folder: &Path) -> Result<(), Error> {
    let path = folder.join("modules.json");
    if path.exists() {
        let bytes = fs::read(&path).map_err(Error::file(&path))?;
        let modules: Value =
            serde_json::from_slice(&bytes).map_err(|error| Error::model(&path, error))?;
        let modules = modules.as_array().map(Vec::as_slice).unwrap_or_default();
        let is_own = |module: &Value| {
            let kind = module["type"].as_str().unwrap_or_default();
            let own = module["path"].as_str().unwrap_or_default();
            kind.ends_with(".Transformer") && own.is_empty()
        };
        if modules.len() > 1 || !modules.iter().all(is_own) {
            let cause = "has more than a Transformer in the folder itself: \
                         of cross-encoders those with a classifier are supported";
            return Err(Error::model(&path, cause));
        }
    }
    let prompts = Config::read_if_there(&folder.join("config_sentence_transformers.json"))?;
    prompts.only("default_prompt_name", &[])?;
    let tokenizer = Config::read_if_there(&folder.join("tokenizer_config.json"))?;
    tokenizer.only("truncation_side", &["right"])
}

/// Tells whether the model is given what the tokenizer says of a token's text: unless its files name
/// other inputs, as BERT's own class does.
fn wants_segments(folder: &Path) -> Result<bool, Error> {
    let tokenizer = Config::read_if_there(&folder.join("tokenizer_config.json"))?;
    let names = tokenizer.get("model_input_names").and_then(Value::as_array);
    Ok(names.is_none_or(|names| names.iter().any(|name| name == "token_type_ids")))
}

/// Refuses a tokenizer that gives the second text a segment without a row.
fn check_segments(pairs: &Pairs, rows: usize, folder: &Path) -> Result<(), Error> {
    let probe = pairs.encode_all("a", &["a".to_owned()])?;
    let segments = probe.iter().flat_map(|pair| pair.text().segments);
    match segments.max() {
        Some(most) if *most as usize >= rows => {
            let cause = format!(
                "gives a token of a pair the type {most}; `type_vocab_size` of config.json is {rows}"
            );
            Err(Error::model(&folder.join("tokenizer.json"), cause))
        }
        _ => Ok(()),
    }
}
