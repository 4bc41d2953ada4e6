//! What makes a number of the pooled state of a pair in a cross-encoder: how well its second text
//! answers the first.
//!
//! A few small maps, computed here for whichever engine ran the encoder.

use std::path::Path;

use serde_json::Value;

use super::config::Config;
use super::families;
use super::pooling::Pooling;
use super::spec::{Activation, Dense, Norm, NormWeights};
use super::tensors::Tensors;
use crate::Error;
use crate::cpu::{activate, normalize, sum_of_products};

/// What the name of a class with such a head ends in.
const CLASS: &str = "ForSequenceClassification";

/// The head of a cross-encoder.
#[derive(Clone, Debug)]
pub(crate) struct Classifier {
    /// How the states of a pair's tokens become one.
    pub(crate) pooling: Pooling,
    /// The first map, of as many numbers as a state has.
    pub(crate) dense: Dense,
    /// What follows it.
    pub(crate) bend: Bend,
    /// The norm that follows then, and what is added under its root.
    pub(crate) norm: Option<(NormWeights, f32)>,
    /// The map to the only label.
    pub(crate) out: Dense,
}

/// What bends the numbers between the maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bend {
    /// The hyperbolic tangent.
    Tanh,
    /// What also bends inside of layers.
    Activation(Activation),
}

impl Classifier {
    /// Reads the head of a folder's model.
    ///
    /// # Errors
    /// [`Error::File`] for a file that is missing, [`Error::Model`] for a model that is no
    /// cross-encoder of one label, or of a family of which none is known.
    pub(crate) fn open(folder: &Path) -> Result<Self, Error> {
        let config = Config::read(&folder.join("config.json"))?;
        let open = families::find_classifier(&config)?;
        check_class(&config)?;
        check_labels(&config)?;
        open(&config, &mut Tensors::open(folder)?)
    }

    /// Returns the logit of a pair. An activation that a model's files name for it is not applied:
    /// the usual one, sigmoid, makes 1 of all logits above 17.
    pub(crate) fn logit(&self, pooled: &[f32]) -> f32 {
        let mut inner = map(&self.dense, pooled);
        match self.bend {
            Bend::Tanh => inner.iter_mut().for_each(|x| *x = x.tanh()),
            Bend::Activation(kind) => activate(pulp::Scalar::new(), kind, &mut inner),
        }
        if let Some((weights, epsilon)) = &self.norm {
            normalize(&mut inner, Norm::Layer, *epsilon, weights);
        }
        map(&self.out, &inner)[0]
    }
}

fn map(dense: &Dense, x: &[f32]) -> Vec<f32> {
    let rows = dense.weight.chunks_exact(x.len());
    let mut y: Vec<f32> = rows.map(|row| sum_of_products(row, x)).collect();
    for (y, shift) in y.iter_mut().zip(dense.bias.iter().flatten()) {
        *y += shift;
    }
    y
}

/// Refuses a model that says of itself that it is something else.
fn check_class(config: &Config) -> Result<(), Error> {
    let Some(Value::Array(classes)) = config.get("architectures") else {
        return Ok(());
    };
    let mut names = classes.iter().filter_map(Value::as_str);
    if names.any(|name| name.ends_with(CLASS)) {
        return Ok(());
    }
    let cause = format!(
        "`architectures` is {}, which is no cross-encoder: one is a …{CLASS} with one label",
        Value::Array(classes.clone())
    );
    Err(config.error(cause))
}

fn check_labels(config: &Config) -> Result<(), Error> {
    let named = match config.get("id2label") {
        Some(Value::Object(labels)) => Some(("id2label", labels.len())),
        _ => None,
    };
    let counted = config.size_if_there("num_labels")?;
    match counted.map(|count| ("num_labels", count)).or(named) {
        Some((key, count)) if count != 1 => {
            let cause = format!(
                "`{key}` has {count} labels; a reranker has one, how well a text answers a question"
            );
            Err(config.error(cause))
        }
        _ => Ok(()),
    }
}
