//! What can go wrong with a store, each case with the sentence that a user reads.

use std::io;
use std::path::{Path, PathBuf};

use cs_common::metadata::Model;
use cs_common::tool::ToolError;

/// A failure of the storing stage or of reading a store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The stream could not be read.
    #[error(transparent)]
    Stream(#[from] cs_common::Error),

    /// The store's folder could not be made or written.
    #[error("{}: {source}", path.display())]
    Folder {
        /// The folder or file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },

    /// There is no store where one was looked for.
    #[error("{}: no store here", .0.display())]
    Missing(PathBuf),

    /// A folder that is to be a store holds other things.
    #[error("{}: the folder holds other things than a store", .0.display())]
    NotAStore(PathBuf),

    /// Another process writes into the store.
    #[error("{}: process {pid} is writing to this store", path.display())]
    Locked {
        /// The store.
        path: PathBuf,
        /// The writer's process id, as it wrote it.
        pid: String,
    },

    /// The stream carries no vectors.
    #[error("input has no vectors")]
    NoVectors,

    /// The stream's vectors are of another model than the store's.
    #[error("the store holds vectors of {stored}, the stream brings those of {offered}")]
    OtherModel {
        /// The store's model.
        stored: String,
        /// The stream's model.
        offered: String,
    },

    /// A vector that must not be stored.
    #[error("{chunk}: its vector {cause}")]
    Vector {
        /// The chunk, as `repo/path:lines`.
        chunk: String,
        /// What is wrong with it.
        cause: String,
    },

    /// The database failed; what was committed before stays readable.
    #[error("{}: {cause}", path.display())]
    Database {
        /// The store.
        path: PathBuf,
        /// What the database and its layers say, in one line.
        cause: String,
    },

    /// The store's manifest could not be read or written.
    #[error(transparent)]
    Manifest(#[from] cs_common::manifest::ManifestError),

    /// Only a stream of whole repositories tells what is gone.
    #[error("--prune would forget what the stream leaves out, as it holds only a part")]
    PruneOfPart,

    /// The store's own records are not what this version writes.
    #[error("{}: {cause}", path.display())]
    Damaged {
        /// The store.
        path: PathBuf,
        /// What is not as it should be.
        cause: String,
    },
}

impl Error {
    /// Wraps a failure of the database; its many layers, which repeat each other, become one line.
    pub(crate) fn database(path: &Path, source: impl std::error::Error) -> Self {
        let mut cause = source.to_string();
        let mut inner = source.source();
        while let Some(error) = inner {
            let text = error.to_string();
            if !cause.contains(&text) {
                cause = format!("{cause}: {text}");
            }
            inner = error.source();
        }
        Self::Database {
            path: path.to_owned(),
            cause: plain(&cause),
        }
    }

    pub(crate) fn damaged(path: &Path, cause: impl ToString) -> Self {
        Self::Damaged {
            path: path.to_owned(),
            cause: cause.to_string(),
        }
    }

    pub(crate) fn folder(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        |source| Self::Folder { path, source }
    }
}

impl ToolError for Error {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Stream(error) => return error.hint(),
            Self::Missing(_) => "make one with: cs-parse REPO | cs-embed | cs-store",
            Self::NotAStore(_) => "name a folder that is not there yet, such as .cs in it",
            Self::Locked { .. } => "wait for it to end, or store into another folder",
            Self::NoVectors => "put cs-embed before cs-store: cs-parse REPO | cs-embed | cs-store",
            Self::OtherModel { .. } => {
                "a store holds one model: use cs-embed --model with the store's, or another store"
            }
            Self::PruneOfPart => {
                "leave --prune out: cs-parse --since says itself what is to be forgotten"
            }
            Self::Database { cause, .. } if cause.contains("No space left") => {
                "what was committed before is still there; free some space and run the pipeline again"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }

    fn stdout_closed(&self) -> bool {
        matches!(self, Self::Stream(error) if error.stdout_closed())
    }
}

/// Names a model for a message.
pub(crate) fn model_name(model: &Model) -> String {
    let hash: String = model.sha256.chars().take(12).collect();
    format!(
        "{} ({} dimensions, {} pooling, sha256 {hash})",
        model.id, model.dim, model.pooling
    )
}

/// Leaves out of a database's message what is of no use to a user: line feeds and source places.
fn plain(text: &str) -> String {
    text.split_whitespace()
        .filter(|word| !word.contains(".rs:"))
        .collect::<Vec<_>>()
        .join(" ")
}
