//! Rerankers: what reads a question and a text together, and says how well the one is answered by
//! the other.
//!
//! A vector is made of a text before the question is known; a reranker sees both, which is better
//! and so slow that it is asked about the best hits of a search alone.

mod cross;
mod pairs;
mod service;
mod wire;

use crate::hub::Found;
use crate::{Error, ModelSpec};
use cross::CrossEncoder;
use service::Service;

/// What tells how well texts answer a question.
pub trait Reranker: Send + Sync {
    /// Returns the model's name: its folder, its name on the hub, or that at a service.
    fn id(&self) -> &str;

    /// Returns a score for each text, in their order: the more, the better it answers the question.
    ///
    /// Scores are finite, and comparable within one model. Those of a cross-encoder are its logits,
    /// not what an activation makes of them; those of a service are what it sends.
    ///
    /// # Errors
    /// [`Error::Tokenizer`], [`Error::Inference`] or [`Error::Text`] if the model fails,
    /// [`Error::Endpoint`] if the service does.
    fn scores(&self, question: &str, texts: &[String]) -> Result<Vec<f64>, Error>;
}

/// Opens a reranker: a cross-encoder from a folder or the hub, or with an address a service.
///
/// A cross-encoder heeds of `spec` what [`open`](crate::open) does, but for what is about vectors:
/// prefixes, pooling, length and dimensions. Of a service's settings only address and `timeout`
/// count; the time is that of all scores of a question, with pauses and further tries.
///
/// # Errors
/// [`Error::NotFound`] or [`Error::Hub`] if there is no such model, [`Error::File`] or
/// [`Error::Model`] if it is no cross-encoder of one label, or of a family that is not known,
/// [`Error::Device`] if the device cannot be had. A service is not asked yet.
pub fn open_reranker(spec: &ModelSpec) -> Result<Box<dyn Reranker>, Error> {
    if let Some(address) = &spec.endpoint.endpoint {
        return Ok(Box::new(Service::new(spec, address)));
    }
    let Found { id, folder } = spec.env.hub.locate(&spec.id, spec.revision.as_deref())?;
    Ok(Box::new(CrossEncoder::open(id, &folder, spec)?))
}
