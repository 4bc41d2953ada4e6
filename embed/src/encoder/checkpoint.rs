//! A folder with an encoder's `config.json` and weights, as engines see it.

use std::path::Path;

use super::config::Config;
use super::families::{self, Family};
use super::spec::{Architecture, Ends, LayerWeights};
use super::tensors::{Digest, Tensors};
use crate::Error;

/// An encoder whose weights are in its files.
pub(crate) struct Checkpoint {
    family: Box<dyn Family>,
    tensors: Tensors,
}

impl Checkpoint {
    /// Opens a folder.
    ///
    /// # Errors
    /// [`Error::File`] for a file that is missing, [`Error::Model`] for one that is of no known
    /// family or asks for what is not done here.
    pub(crate) fn open(folder: &Path) -> Result<Self, Error> {
        let config = Config::read(&folder.join("config.json"))?;
        let open = families::find(&config)?;
        let mut tensors = Tensors::open(folder)?;
        let family = open(&config, &mut tensors)?;
        Ok(Self { family, tensors })
    }

    /// Returns the encoder's shape.
    pub(crate) fn architecture(&self) -> &Architecture {
        self.family.architecture()
    }

    /// Reads what comes before the first layer and after the last.
    ///
    /// # Errors
    /// [`Error::Model`] for a tensor that is missing or not as the config says.
    pub(crate) fn ends(&self) -> Result<Ends, Error> {
        self.family.ends(&self.tensors)
    }

    /// Reads the weights of one layer; they are in memory until the caller drops them.
    ///
    /// # Errors
    /// Those of [`Checkpoint::ends`].
    pub(crate) fn layer(&self, index: usize) -> Result<LayerWeights, Error> {
        self.family.layer(&self.tensors, index)
    }

    /// Starts to compute the SHA-256 of the weights' files, beside whatever else is loaded.
    pub(crate) fn digest(&self) -> Digest {
        self.tensors.digest()
    }
}
