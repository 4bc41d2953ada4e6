//! What can go wrong with a stream, each case with the sentence that a user reads.

use std::io;
use std::path::PathBuf;

use arrow_schema::ArrowError;

use crate::tool::ToolError;

/// A failure to read or write a chunk stream.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Reading the input failed in the operating system.
    #[error("input: {0}")]
    Input(#[source] io::Error),

    /// Standard output could not be written, for another reason than its reader being gone.
    #[error("output: {0}")]
    Output(#[source] io::Error),

    /// A file that was named to write figures to could not be written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why it could not be written.
        #[source]
        source: io::Error,
    },

    /// Whoever read standard output closed it, as `head` does.
    #[error("output: closed by its reader")]
    StdoutClosed,

    /// The input ended before its end marker.
    #[error("input ended without its end marker: the stage before this one failed")]
    Unsealed,

    /// The input had no byte at all.
    #[error("input is empty: the stage before this one failed")]
    Empty,

    /// The end marker was followed by more bytes.
    #[error("input goes on after its end marker")]
    Trailing,

    /// The first bytes are neither an Arrow stream's nor JSON Lines'.
    #[error("input is no chunk stream: it begins with {0:?}")]
    NotAStream(String),

    /// The stream is of another major version of the contract.
    #[error(
        "input is of wire version {found}, this tool reads version {}",
        crate::metadata::WIRE
    )]
    Version {
        /// The version that the stream names.
        found: String,
    },

    /// The stream does not say which version of the contract it follows.
    #[error("input has no `cs.wire` in its schema metadata")]
    NoVersion,

    /// A value of the schema metadata is not what the contract says.
    #[error("input metadata `{key}`: {source}")]
    Metadata {
        /// The metadata key.
        key: &'static str,
        /// Why it could not be read.
        #[source]
        source: serde_json::Error,
    },

    /// A column is missing, of a wrong type, or holds a null where none may be.
    #[error("input column `{column}`: {cause}")]
    Column {
        /// The column's name.
        column: String,
        /// What is wrong with it.
        cause: String,
    },

    /// A message of the stream declares a size that no stage makes.
    #[error("input message of {size} bytes exceeds the limit of {limit}")]
    TooLarge {
        /// The declared size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },

    /// A line of a JSON Lines stream is not what the contract says.
    #[error("input line {line}: {cause}")]
    Line {
        /// The line's number, from 1.
        line: u64,
        /// What is wrong with it.
        cause: String,
    },

    /// Arrow could not decode the input or build a batch.
    #[error("input: {0}")]
    Arrow(#[source] ArrowError),

    /// Arrow bytes would have gone to a terminal.
    #[error("refusing to write a binary stream to a terminal")]
    BinaryToTerminal,

    /// A stream was due on standard input, which is a terminal.
    #[error("standard input is a terminal, a chunk stream is due there")]
    TerminalInput,
}

impl Error {
    /// Sorts an error of making output: a gone reader is its own case.
    pub fn from_output(source: io::Error) -> Self {
        Self::output(source)
    }

    /// Sorts an error of writing to standard output: a gone reader is its own case.
    pub(crate) fn output(source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::BrokenPipe {
            Self::StdoutClosed
        } else {
            Self::Output(source)
        }
    }

    /// Sorts an Arrow error of the writing side.
    pub(crate) fn arrow_output(source: ArrowError) -> Self {
        match source {
            ArrowError::IoError(_, io) => Self::output(io),
            other => Self::Output(io::Error::other(other)),
        }
    }

    /// Sorts an error of reading from the input: an end inside a message is an unsealed stream.
    pub(crate) fn input(source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::UnexpectedEof {
            Self::Unsealed
        } else {
            Self::Input(source)
        }
    }
}

impl ToolError for Error {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::BinaryToTerminal => {
                "pipe it (cs-parse REPO | cs-embed | cs-store), save it (> chunks.arrows), or read it (--to jsonl)"
            }
            Self::TerminalInput => "a pipeline is: cs-parse REPO | cs-embed | cs-store",
            Self::NotAStream(_) => {
                "a stream comes from cs-parse: Arrow IPC (stream format, not file), or JSON Lines"
            }
            Self::NoVersion => {
                "a tool between the stages dropped the schema's metadata; keep it (pyarrow: schema.metadata)"
            }
            Self::Version { .. } => "use tools of one release on both ends of the pipe",
            Self::Trailing => "one stream a pipe: run the stage once for each saved stream",
            _ => return None,
        };
        Some(hint.to_owned())
    }

    fn stdout_closed(&self) -> bool {
        matches!(self, Self::StdoutClosed)
    }
}
