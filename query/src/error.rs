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

    /// The reranker could not be opened, or failed.
    #[error("--rerank: {0}")]
    Rerank(#[source] cs_embed::Error),

    /// The current folder is gone.
    #[error("current folder: {0}")]
    Folder(#[source] io::Error),

    /// No store was named, and none is above the current folder.
    #[error("{}: no store here or in a folder above", .0.display())]
    NoStore(PathBuf),

    /// The question has no word.
    #[error("the question is empty")]
    Empty,

    /// A flag has a value that means nothing.
    #[error("--{0} has an empty value, or one that is no number")]
    Value(&'static str),

    /// A regular expression that is none.
    #[error("--grep: {0}")]
    Grep(#[source] Box<regex::Error>),

    /// What similar code is looked for does not name a line.
    #[error("--like {0}: {1}")]
    Like(String, String),

    /// No store has the file whose like is looked for.
    #[error("--like {0}: the file is in no store that is asked")]
    NoSuchLine(String),

    /// The questions could not be read.
    #[error("input: {0}")]
    Input(#[source] io::Error),

    /// Whoever asks does not speak the protocol.
    #[error("--mcp: {0}")]
    Protocol(String),

    /// A file of questions or answers could not be read.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },

    /// A line of a file of questions or answers is not what it should be.
    #[error("{}:{line}: {cause}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line's number, from 1.
        line: usize,
        /// What is wrong with it.
        cause: String,
    },

    /// A question of a file could not be answered.
    #[error("{}: the question {id}: {cause}", path.display())]
    Question {
        /// The file.
        path: PathBuf,
        /// The question's id.
        id: String,
        /// What went wrong.
        cause: String,
    },

    /// No question has a right answer.
    #[error("{}: no question of it has an answer in {}", .0.display(), .1.display())]
    Unjudged(PathBuf, PathBuf),

    /// Questions lack the field by which figures are to be told.
    #[error("--by {0}: no question has that field")]
    By(String),
}

impl ToolError for Error {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Stream(error) => return error.hint(),
            Self::Store(error) => return error.hint(),
            Self::Model(error) => {
                return error.hint().or_else(|| {
                    Some("--mode text asks by words alone, without the model".to_owned())
                });
            }
            Self::Rerank(error) => return error.hint(),
            Self::NoStore(_) => {
                "make one with: cs-parse . | cs-embed | cs-store, or name one with --db"
            }
            Self::Empty => "cs-query \"where are failed uploads retried?\"",
            Self::Grep(_) => {
                "the syntax is that of ripgrep; put a backslash before ( [ { * + ? . | to mean the character"
            }
            Self::Like(..) => "--like src/upload.rs:120",
            Self::NoSuchLine(_) => {
                "name the file by its path, or by the repository and the path as hits are printed, and --db"
            }
            Self::Line { .. } => "query/README.md lists the fields of --eval's files",
            _ => return None,
        };
        Some(hint.to_owned())
    }

    fn stdout_closed(&self) -> bool {
        matches!(self, Self::Stream(error) if error.stdout_closed())
    }
}
