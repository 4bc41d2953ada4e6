//! The families of encoders: each reads its `config.json` and names of tensors, and returns the one
//! description of `spec.rs`.
//!
//! A table maps `model_type` to the code of a family, and names the maps of its classifier. A key
//! of `config.json` that asks for something no engine does is refused by name. A new family needs a
//! file here, a row of the table, and a model in `scripts/references/make-encoder-references.py`:
//! `embed/tests/encoders.rs` compares it with PyTorch.

mod bert;
mod jina;
mod modern;
mod nomic;
mod qwen;

use std::sync::Arc;

use super::classifier::Classifier;
use super::config::Config;
use super::spec::{Architecture, Dense, Ends, LayerWeights};
use super::tensors::Tensors;
use crate::Error;

/// An encoder of a family, whose names are known.
pub(crate) trait Family: Send + Sync {
    /// Returns the encoder's shape.
    fn architecture(&self) -> &Architecture;

    /// Reads what comes before the first layer and after the last.
    ///
    /// # Errors
    /// [`Error::Model`] for a tensor that is missing, or of another shape or type.
    fn ends(&self, tensors: &Tensors) -> Result<Ends, Error>;

    /// Reads a layer.
    ///
    /// # Errors
    /// Those of [`Family::ends`].
    fn layer(&self, tensors: &Tensors, index: usize) -> Result<LayerWeights, Error>;
}

/// Reads a config, and finds the prefix of the tensors' names. It fails with [`Error::Model`] where
/// the config asks for what is not done.
pub(crate) type Open = fn(&Config, &mut Tensors) -> Result<Box<dyn Family>, Error>;

/// Reads what follows the encoder in a cross-encoder, which may look for a prefix of its own. It
/// fails as [`Open`] does.
pub(crate) type OpenClassifier = fn(&Config, &mut Tensors) -> Result<Classifier, Error>;

/// How a family is known.
struct Row {
    /// `model_type` of `config.json`.
    model_type: &'static str,
    /// `position_embedding_type`, where `model_type` alone does not tell.
    positions: Option<&'static str>,
    open: Open,
    /// Where cross-encoders of the family are known.
    classifier: Option<OpenClassifier>,
}

const fn row(model_type: &'static str, open: Open) -> Row {
    Row {
        model_type,
        positions: None,
        open,
        classifier: None,
    }
}

impl Row {
    const fn with(self, classifier: OpenClassifier) -> Self {
        Self {
            classifier: Some(classifier),
            ..self
        }
    }
}

/// The first row that fits counts.
static FAMILIES: &[Row] = &[
    // JinaBERT v2 calls itself BERT.
    Row {
        model_type: "bert",
        positions: Some("alibi"),
        open: jina::open,
        classifier: None,
    },
    row("bert", bert::open).with(bert::classifier),
    row("roberta", bert::open_roberta).with(bert::classifier_of_roberta),
    row("xlm-roberta", bert::open_roberta).with(bert::classifier_of_roberta),
    row("camembert", bert::open_roberta).with(bert::classifier_of_roberta),
    row("nomic_bert", nomic::open),
    row("modernbert", modern::open).with(modern::classifier),
    row("qwen3", qwen::open),
];

/// Returns each `model_type` that is known.
pub(crate) fn names() -> Vec<&'static str> {
    let mut names: Vec<&str> = FAMILIES.iter().map(|row| row.model_type).collect();
    names.dedup();
    names
}

/// Finds what opens an encoder of its family.
///
/// # Errors
/// [`Error::Model`] for a family that is not known.
pub(crate) fn find(config: &Config) -> Result<Open, Error> {
    find_row(config).map(|row| row.open)
}

/// Finds what reads the classifier of a family's cross-encoders.
///
/// # Errors
/// [`Error::Model`] for a family that is not known, or of which no cross-encoder is.
pub(crate) fn find_classifier(config: &Config) -> Result<OpenClassifier, Error> {
    let row = find_row(config)?;
    row.classifier.ok_or_else(|| {
        let known = FAMILIES.iter().filter(|row| row.classifier.is_some());
        let known: Vec<&str> = known.map(|row| row.model_type).collect();
        let positions = row.positions.map(|name| format!(" with {name} positions"));
        config.error(format!(
            "its model_type is {}{}; cross-encoders of these types are supported: {}",
            row.model_type,
            positions.unwrap_or_default(),
            known.join(", ")
        ))
    })
}

fn find_row(config: &Config) -> Result<&'static Row, Error> {
    let Some(model_type) = config.text("model_type") else {
        return Err(config.error("names no `model_type`".to_owned()));
    };
    let positions = config.text("position_embedding_type");
    let fits = |row: &&Row| {
        row.model_type == model_type && (row.positions.is_none() || row.positions == positions)
    };
    match FAMILIES.iter().find(fits) {
        Some(row) => Ok(row),
        None => {
            let known = names().join(", ");
            Err(config.error(format!(
                "its model_type is {model_type}; encoders of these types are supported: {known}"
            )))
        }
    }
}

/// What BERT calls the norm before its first layer.
const BERT_NORM: &str = "embeddings.LayerNorm";

/// Reads what stands before the first layer in BERT and those that came from it, but for
/// positions: tables of `rows`, first tokens, then segments, and a norm.
///
/// # Errors
/// Those of [`Family::ends`].
fn bert_ends(
    tensors: &Tensors,
    (vocabulary, segments): (usize, usize),
    hidden: usize,
    norm: &str,
) -> Result<Ends, Error> {
    let table =
        |name: &str, rows| tensors.table(&format!("embeddings.{name}.weight"), rows, hidden);
    Ok(Ends {
        tokens: table("word_embeddings", vocabulary)?,
        positions: None,
        segments: Some(table("token_type_embeddings", segments)?),
        norm: Some(tensors.norm(norm, hidden, true)?),
        last_norm: None,
    })
}

/// Reads the map to queries, keys and values, which BERT has apart.
///
/// # Errors
/// Those of [`Family::layer`].
fn bert_qkv(tensors: &Tensors, layer: usize, hidden: usize) -> Result<Dense, Error> {
    let name = |part: &str| format!("encoder.layer.{layer}.attention.self.{part}");
    let names = [name("query"), name("key"), name("value")];
    let parts = names.each_ref().map(|name| (name.as_str(), hidden));
    tensors.dense(&parts, hidden, true)
}

/// Returns the numbers of one head, where heads share the state evenly.
fn head_dim(config: &Config, hidden: usize, heads: usize) -> Result<usize, Error> {
    if hidden.is_multiple_of(heads) {
        return Ok(hidden / heads);
    }
    let cause = format!("{heads} attention heads cannot share a hidden size of {hidden}");
    Err(config.error(cause))
}

/// Returns the base of rotary positions.
///
/// It stands in `rope_parameters`, or beside an empty `rope_scaling` as `rope_theta`.
fn rope_theta(config: &Config, default: f64) -> Result<f64, Error> {
    let theta = config.number("rope_theta", default)?;
    config.only("partial_rotary_factor", &["1", "1.0"])?;
    default_rope(&config.below("rope_scaling"))?;
    let parameters = config.below("rope_parameters");
    default_rope(&parameters)?;
    parameters.number("rope_theta", theta)
}

/// Refuses rotary positions that are scaled or partial.
fn default_rope(parameters: &Config) -> Result<(), Error> {
    parameters.only("rope_type", &["default"])?;
    parameters.only("type", &["default"])?;
    parameters.only("partial_rotary_factor", &["1", "1.0"])
}

/// Returns the inverse frequencies of rotary positions over all of a head, rounded as PyTorch
/// rounds them.
fn frequencies(config: &Config, theta: f64, head_dim: usize) -> Result<Arc<[f32]>, Error> {
    if !head_dim.is_multiple_of(2) {
        let cause = format!("rotary positions need an even head size, not {head_dim}");
        return Err(config.error(cause));
    }
    let frequency = |pair: usize| {
        let exponent = (2 * pair) as f32 / head_dim as f32;
        1.0 / (theta as f32).powf(exponent)
    };
    Ok((0..head_dim / 2).map(frequency).collect())
}
