//! What can make `cs-parse` fail as a whole; a single file that cannot be read is a
//! warning instead.

use std::path::PathBuf;

use cs_common::tool::ToolError;

/// A failure of the parse stage.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The path to parse does not exist or cannot be looked at.
    #[error("{}: {source}", path.display())]
    Root {
        /// The path as given.
        path: PathBuf,
        /// Why it cannot be used.
        #[source]
        source: std::io::Error,
    },

    /// The path is neither a folder nor a file.
    #[error("{}: neither a folder nor a file", path.display())]
    NotAFile {
        /// The path as given.
        path: PathBuf,
    },

    /// The parser threads could not be started.
    #[error("cannot start {threads} parser threads: {source}")]
    Threads {
        /// How many were wanted.
        threads: usize,
        /// Why not.
        #[source]
        source: rayon::ThreadPoolBuildError,
    },

    /// The output stream could not be written.
    #[error(transparent)]
    Stream(#[from] cs_common::Error),
}

impl ToolError for Error {
    fn hint(&self) -> Option<String> {
        match self {
            Error::Root { .. } | Error::NotAFile { .. } => {
                Some("name a folder or a file, as in `cs-parse path/to/repo`".to_owned())
            }
            Error::Threads { .. } => Some("ask for fewer threads with `-j`".to_owned()),
            Error::Stream(error) => error.hint(),
        }
    }

    fn stdout_closed(&self) -> bool {
        matches!(self, Error::Stream(error) if error.stdout_closed())
    }
}
