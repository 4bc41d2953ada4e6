//! What can go wrong with a store, each case with the sentence that a user reads.

use std::io;
use std::path::{Path, PathBuf};

use cs_common::manifest::ManifestError;
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

    /// An address with a scheme that is not known.
    #[error("{}: `{scheme}` is none of s3, gs and az", path.display())]
    Scheme {
        /// The address.
        path: PathBuf,
        /// What stands before `://`.
        scheme: String,
    },

    /// An address that this build cannot reach.
    #[error("{}: this build has no cargo feature `{feature}`, which this address needs", path.display())]
    NoFeature {
        /// The address.
        path: PathBuf,
        /// The feature.
        feature: &'static str,
    },

    /// Another process does what only one may do at a time.
    #[error("{}: {holder} is {what}", path.display())]
    Locked {
        /// The store.
        path: PathBuf,
        /// The process, by its id, and its machine if that may be another one.
        holder: String,
        /// What it does.
        what: String,
    },

    /// This process was not heard of for so long that another one may write instead.
    #[error("{}: the lease for {repo} ran out before the commit", path.display())]
    LeaseLost {
        /// The store.
        path: PathBuf,
        /// The repository.
        repo: String,
    },

    /// Readers see another table than the one that rows went to.
    #[error("{}: the store was rebuilt, or written to, by another process meanwhile", .0.display())]
    Rebuilt(PathBuf),

    /// A file that comes twice cannot be stored by one commit.
    #[error("{0}: the stream brings this file twice, and --atomic stores each file once")]
    Again(String),

    /// The stream carries no vectors.
    #[error("input has no vectors")]
    NoVectors,

    /// The stream's vectors are of another model than the store's.
    #[error(
        "the store holds vectors of {stored}, the stream brings those of {offered}: \
         they differ in {differences}"
    )]
    OtherModel {
        /// The store's model.
        stored: String,
        /// The stream's model.
        offered: String,
        /// What of the two is not the same.
        differences: String,
        /// What embeds the store's chunks with the stream's model.
        command: String,
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
        /// The database's own error. It is none of the chain that is printed, where its many
        /// lines and source places would say the same again.
        error: Box<dyn std::error::Error + Send + Sync>,
    },

    /// The store's manifest could not be read or written.
    #[error(transparent)]
    Manifest(#[from] ManifestError),

    /// Only a stream of whole repositories tells what is gone.
    #[error("{0} would forget what the stream leaves out, as it holds only a part")]
    OnlyPart(&'static str),

    /// A table lies where a store's would, and is none.
    #[error("{}: the table `chunks` in it was not made by cs-store", .0.display())]
    Foreign(PathBuf),

    /// A glob that cannot be read.
    #[error("--path {glob}: {source}")]
    Glob {
        /// The glob.
        glob: String,
        /// What is wrong with it.
        #[source]
        source: ignore::Error,
    },

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
    pub(crate) fn database(
        path: &Path,
        error: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        let mut cause = error.to_string();
        let mut source = error.source();
        while let Some(inner) = source {
            let text = inner.to_string();
            if !cause.contains(&text) {
                cause = format!("{cause}: {text}");
            }
            source = inner.source();
        }
        Self::Database {
            path: path.to_owned(),
            cause: plain(&cause),
            error: Box::new(error),
        }
    }

    /// Tells whether a commit failed because another one came before it.
    pub(crate) fn is_conflict(&self) -> bool {
        let Self::Database { error, .. } = self else {
            return false;
        };
        match error.downcast_ref::<lancedb::Error>() {
            Some(lancedb::Error::Lance { source }) => is_conflict(source),
            _ => error
                .downcast_ref::<lance::Error>()
                .is_some_and(is_conflict),
        }
    }

    fn is_of_a_full_disk(&self) -> bool {
        match self {
            Self::Database { cause, .. } => cause.contains("No space left"),
            // What arrow writes loses the kind of its error.
            Self::Folder { source, .. } | Self::Manifest(ManifestError::Io { source, .. }) => {
                source.kind() == io::ErrorKind::StorageFull
                    || source.to_string().contains("No space left")
            }
            _ => false,
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

/// Tells whether the database refused a commit because another one came before it.
pub(crate) fn is_conflict(error: &lance::Error) -> bool {
    matches!(
        error,
        lance::Error::CommitConflict { .. }
            | lance::Error::IncompatibleTransaction { .. }
            | lance::Error::RetryableCommitConflict { .. }
            | lance::Error::TooMuchWriteContention { .. }
    )
}

impl ToolError for Error {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Stream(error) => return error.hint(),
            Self::Missing(_) => "make one with: cs-parse REPO | cs-embed | cs-store",
            Self::NotAStore(_) | Self::Foreign(_) => {
                "name a folder that is not there yet, such as .cs in it"
            }
            Self::Locked { .. } => "wait for it to end, or store into another place",
            Self::NoVectors => "put cs-embed before cs-store: cs-parse REPO | cs-embed | cs-store",
            Self::OtherModel { command, .. } => {
                return Some(format!(
                    "a store holds one model; to embed this one's chunks with the new model: {command}"
                ));
            }
            Self::Glob { .. } => "a glob is one as in .gitignore, such as 'src/**/*.rs'",
            Self::OnlyPart("--prune") => {
                "leave --prune out: cs-parse --since says itself what is to be forgotten"
            }
            Self::OnlyPart(_) => {
                "give it a whole stream: cs-parse without --since and --files-from"
            }
            Self::Scheme { .. } => {
                "name a folder, or s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX"
            }
            Self::NoFeature { feature, .. } => {
                return Some(format!(
                    "build the tools with it: CS_FEATURES={feature} scripts/index PATH, \
                     or cargo build --release --workspace --features {feature}"
                ));
            }
            Self::LeaseLost { .. } | Self::Rebuilt(_) => {
                "run the pipeline again: it does what is missing"
            }
            Self::Again(_) => "leave --atomic out, or bring each file once",
            _ if self.is_of_a_full_disk() => {
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

/// Leaves out of a database's message what is of no use to a user: line feeds and source places.
fn plain(text: &str) -> String {
    text.split_whitespace()
        .filter(|word| !word.contains(".rs:"))
        .collect::<Vec<_>>()
        .join(" ")
}
