//! What can go wrong in answering a question.

use std::io;
use std::path::PathBuf;

use cs_common::tool::ToolError;

/// A failure to answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The output could not be written.
    #[error(transparent)]
    Stream(#[from] cs_common::Error),

    /// The store could not be opened or searched.
    #[error(transparent)]
    Store(#[from] cs_store::Error),

    /// The store's model could not be loaded.
    #[error("the store's model: {0}")]
    Model(#[source] cs_embed::Error),

    /// The current folder is gone.
    #[error("current folder: {0}")]
    Folder(#[source] io::Error),

    /// No store was named, and none is above the current folder.
    #[error("{}: no store here or in a folder above", .0.display())]
    NoStore(PathBuf),

    /// The question has no word.
    #[error("the question is empty")]
    Empty,
}

impl ToolError for Error {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Stream(error) => error.hint(),
            Self::Store(error) => error.hint(),
            Self::Model(error) => error
                .hint()
                .or_else(|| Some("--mode text asks by words alone, without the model".to_owned())),
            Self::NoStore(_) => Some(
                "make one with: cs-parse . | cs-embed | cs-store, or name one with --db".to_owned(),
            ),
            Self::Empty => Some("cs-query \"where are failed uploads retried?\"".to_owned()),
            Self::Folder(_) => None,
        }
    }

    fn stdout_closed(&self) -> bool {
        matches!(self, Self::Stream(error) if error.stdout_closed())
    }
}
