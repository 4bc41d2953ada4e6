//! What can go wrong with a store, each case with the sentence that a user reads.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use cs_common::metadata::Model;
use cs_common::tool::ToolError;

/// A failure to write a store or to read from it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The stream could not be read, or standard output not written.
    #[error(transparent)]
    Stream(#[from] cs_common::Error),

    /// A file or folder of the store could not be made, read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },

    /// The database failed.
    #[error("{}: {source}", db.display())]
    Database {
        /// The store's folder.
        db: PathBuf,
        /// The cause.
        #[source]
        source: Cause,
    },

    /// Another process writes into the store.
    #[error("{}: another cs-store writes here (process {pid})", db.display())]
    Locked {
        /// The store's folder.
        db: PathBuf,
        /// The other process, as it signed.
        pid: String,
    },

    /// The folder holds something else than a store.
    #[error("{}: this folder holds other things and is no store", path.display())]
    NotAStore {
        /// The folder.
        path: PathBuf,
    },

    /// There is no store where one should be read.
    #[error("{}: no store here", path.display())]
    NoStore {
        /// The folder.
        path: PathBuf,
    },

    /// The folder's path cannot be handed to the database.
    #[error("{}: the path is not UTF-8", path.display())]
    PathEncoding {
        /// The folder.
        path: PathBuf,
    },

    /// The stream has no vectors, or does not say whose they are.
    #[error("input has no {0}: its chunks are not embedded")]
    NotEmbedded(&'static str),

    /// The stream's vectors are of another model than the stored ones.
    #[error(
        "{}: the store holds vectors of model {}, the input has {}",
        db.display(), describe(stored), describe(found)
    )]
    OtherModel {
        /// The store's folder.
        db: PathBuf,
        /// The model of the stored vectors.
        stored: Box<Model>,
        /// The model of the stream.
        found: Box<Model>,
    },

    /// The stream's vectors are of another type than the model or the store says.
    #[error("input column `vector` is of type {found}, {expected} is due")]
    VectorType {
        /// The column's type.
        found: String,
        /// The type that would do.
        expected: String,
    },

    /// A vector that means nothing, or would spoil every search.
    #[error("{chunk}: its vector {cause}")]
    Vector {
        /// The chunk, as `repo/path:lines`.
        chunk: String,
        /// What is wrong with the vector.
        cause: &'static str,
    },
}

impl Error {
    pub(crate) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        |source| Self::File { path, source }
    }

    pub(crate) fn database<E>(db: &Path) -> impl FnOnce(E) -> Self
    where
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        let db = db.to_owned();
        |source| Self::Database {
            db,
            source: Cause(source.into()),
        }
    }
}

impl ToolError for Error {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Stream(error) => return error.hint(),
            Self::NotEmbedded(_) => "put cs-embed before it: cs-parse REPO | cs-embed | cs-store",
            Self::NotAStore { .. } => "name a new or empty folder, or leave it out for ./.cs",
            Self::NoStore { .. } => "make one with: cs-parse REPO | cs-embed | cs-store",
            Self::OtherModel { .. } => {
                "a store holds one model: embed with the stored one, or name another folder"
            }
            Self::Locked { .. } => "wait for it to end, or name another folder",
            _ => return None,
        };
        Some(hint.to_owned())
    }

    fn stdout_closed(&self) -> bool {
        matches!(self, Self::Stream(error) if error.stdout_closed())
    }
}

/// An error of the database, told in one line.
///
/// Its own messages go over several lines and quote the place in its source where they arose; an
/// error of the operating system underneath says it better.
#[derive(Debug)]
pub struct Cause(Box<dyn StdError + Send + Sync>);

impl Cause {
    /// Returns the error as the database gave it.
    pub fn get_ref(&self) -> &(dyn StdError + Send + Sync + 'static) {
        self.0.as_ref()
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut link: Option<&(dyn StdError + 'static)> = Some(self.0.as_ref());
        while let Some(error) = link {
            if let Some(io) = error.downcast_ref::<io::Error>()
                && io.raw_os_error().is_some()
            {
                return write!(f, "{io}");
            }
            link = error.source();
        }
        let text = self.0.to_string();
        f.write_str(without_place(text.lines().next().unwrap_or_default()))
    }
}

impl StdError for Cause {}

/// Cuts the `, path/file.rs:1:2` off an error message's end.
fn without_place(text: &str) -> &str {
    match text.rsplit_once(", ") {
        Some((message, place)) if place.contains(".rs:") => message,
        _ => text,
    }
}

/// Names a model so that two of them can be told apart.
fn describe(model: &Model) -> String {
    let sha256 = model.sha256.get(..12).unwrap_or(&model.sha256);
    format!(
        "{} (sha256 {sha256}, {} dimensions)",
        model.id, model.dim
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Outer {
        text: &'static str,
        source: io::Error,
    }

    #[test]
    fn a_cause_is_one_line_without_source_places() {
        let full = Outer {
            text: "Generic object error\nmore",
            source: io::Error::from_raw_os_error(28),
        };
        assert!(Cause(Box::new(full)).to_string().starts_with("No space left on device"));
        for (text, expected) in [
            ("LanceError(IO): broken, rust/lance/src/a.rs:10:5", "LanceError(IO): broken"),
            ("one, two", "one, two"),
            ("first\nsecond", "first"),
        ] {
            assert_eq!(Cause(text.into()).to_string(), expected);
        }
    }
}
