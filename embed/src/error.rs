//! What can go wrong in embedding, each case with the sentence that a user reads.

use std::io;
use std::path::{Path, PathBuf};

use cs_common::tool::ToolError;

/// A failure to load a model or to embed with it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The stream could not be read or written.
    #[error(transparent)]
    Stream(#[from] cs_common::Error),

    /// A model's file could not be read.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },

    /// A model's file is not what its family has.
    #[error("{}: {cause}", path.display())]
    Model {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },

    /// A name is neither a folder nor in the hub's cache.
    #[error("model {id}: not a folder, and not in the cache at {}{note}", cache.display())]
    NotFound {
        /// The name as given.
        id: String,
        /// The cache's folder.
        cache: PathBuf,
        /// What more there is to say, with the comma before it; empty if nothing.
        note: String,
    },

    /// The hub did not give a model.
    #[error("model {id}: {cause}")]
    Hub {
        /// The model's name.
        id: String,
        /// What it came to.
        cause: String,
        /// What the user can do about it.
        hint: Option<String>,
        /// The answer, or what failed in the network.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },

    /// A service did not give vectors.
    #[error("{cause}")]
    Endpoint {
        /// The service's address, and what it came to.
        cause: String,
        /// What the user can do about it.
        hint: Option<String>,
        /// The answer, or what failed in the network.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },

    /// One of the texts has no vector that could be used.
    #[error("{cause}")]
    Text {
        /// Which one of those that were to be embedded.
        at: usize,
        /// What is wrong.
        cause: String,
        /// What to do about it.
        hint: &'static str,
    },

    /// A thread of the stage panicked, which its message on standard error is about.
    #[error("a part of the stage failed: what it read is not whole")]
    Thread,

    /// The cache of vectors cannot be had.
    #[error("--cache {}: {source}", path.display())]
    Cache {
        /// The folder, or a file in it.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },

    /// The model at hand is not the one that made the vectors.
    #[error("model {id} has sha256 {found}, the stored vectors are of {expected}")]
    Changed {
        /// The model's name.
        id: String,
        /// SHA-256 of the weights at hand.
        found: String,
        /// SHA-256 of the weights that are due.
        expected: String,
    },

    /// More numbers are wanted than the model's vectors have, or none.
    #[error("model {id}: vectors of {wanted} numbers are wanted, it has {found}")]
    Dims {
        /// The model's name.
        id: String,
        /// Numbers that are wanted.
        wanted: usize,
        /// Numbers that there are.
        found: usize,
    },

    /// The device is not there, or this build cannot use it.
    #[error("device {device}: {cause}")]
    Device {
        /// The device as asked for.
        device: String,
        /// Why it cannot be had.
        cause: String,
        /// What to do about it.
        hint: &'static str,
    },

    /// A chunk that cannot be embedded, or whose vector would mean nothing.
    #[error("{chunk}: {cause}")]
    Chunk {
        /// The chunk, as `repo/path:lines`.
        chunk: String,
        /// What is wrong.
        cause: String,
        /// What to do about it.
        hint: Option<&'static str>,
    },

    /// The arithmetic failed.
    #[error("inference: {0}")]
    Inference(#[from] candle_core::Error),

    /// The tokenizer failed.
    #[error("tokenizer: {0}")]
    Tokenizer(tokenizers::Error),
}

impl Error {
    pub(crate) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        |source| Self::File { path, source }
    }

    pub(crate) fn endpoint(url: &str, cause: impl ToString) -> Self {
        Self::Endpoint {
            cause: format!("{url}: {}", cause.to_string()),
            hint: None,
            source: None,
        }
    }

    pub(crate) fn cache(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        |source| Self::Cache { path, source }
    }

    /// Says of which chunk it is, where it is of one of the texts.
    pub(crate) fn of_chunk(self, locate: impl FnOnce(usize) -> String) -> Self {
        match self {
            Self::Text { at, cause, hint } => Self::Chunk {
                chunk: locate(at),
                cause,
                hint: Some(hint),
            },
            other => other,
        }
    }

    /// Counts the texts in another order, where it is of one of them.
    pub(crate) fn moved(self, place: impl FnOnce(usize) -> usize) -> Self {
        match self {
            Self::Text { at, cause, hint } => Self::Text {
                at: place(at),
                cause,
                hint,
            },
            other => other,
        }
    }

    pub(crate) fn hub(id: impl ToString, cause: impl ToString) -> Self {
        Self::Hub {
            id: id.to_string(),
            cause: cause.to_string(),
            hint: None,
            source: None,
        }
    }

    pub(crate) fn model(path: &Path, cause: impl ToString) -> Self {
        Self::Model {
            path: path.to_owned(),
            cause: cause.to_string(),
        }
    }
}

impl ToolError for Error {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Stream(error) => return error.hint(),
            Self::Device { hint, .. } => hint,
            Self::Hub { hint, .. } | Self::Endpoint { hint, .. } => return hint.clone(),
            Self::Text { hint, .. } => hint,
            Self::Chunk { hint, .. } => return hint.map(str::to_owned),
            Self::NotFound { .. } => {
                "name a folder with config.json, tokenizer.json and model.safetensors, or ORG/NAME of the hub, or leave --model out for the built-in model"
            }
            Self::Changed { .. } => {
                "bring the model that made the store, or index again into another store"
            }
            _ => return None,
        };
        Some((*hint).to_owned())
    }

    fn stdout_closed(&self) -> bool {
        matches!(self, Self::Stream(error) if error.stdout_closed())
    }
}
