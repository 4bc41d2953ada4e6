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

    /// One name was given for several repositories.
    #[error("--repo-name names one repository, and here are {roots}")]
    OneName {
        /// How many there are.
        roots: usize,
    },

    /// Two repositories have the same name, by which a store could not tell them apart.
    #[error("two repositories are named {name}: {} and {}", first.display(), second.display())]
    SameName {
        /// The name.
        name: String,
        /// A folder of that name.
        first: PathBuf,
        /// The other one.
        second: PathBuf,
    },

    /// A folder that should hold repositories holds none.
    #[error("{}: holds no folder that could be a repository", folder.display())]
    NoRepos {
        /// The folder.
        folder: PathBuf,
    },

    /// A list of files was given for something else than one folder.
    #[error("--files-from lists files of one folder, and PATH is something else")]
    ListNeedsOneRoot,

    /// The list of files could not be read.
    #[error("--files-from {}: {source}", path.display())]
    List {
        /// The list as named.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },

    /// A glob of `--include` or `--exclude` does not parse.
    #[error("--include or --exclude: {source}")]
    Glob {
        /// What is wrong with it.
        #[source]
        source: ignore::Error,
    },

    /// The manifest of the store that `--since` names cannot be read.
    #[error("--since: {source}")]
    Since {
        /// Why not.
        #[source]
        source: cs_common::manifest::ManifestError,
    },

    /// `--since` names a store in an object store.
    #[error("--since {}: only cs-store reads object stores", .0.display())]
    SinceAddress(PathBuf),

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
            Error::OneName { .. } => {
                Some("leave it out, and each is named after its folder".to_owned())
            }
            Error::SameName { .. } => {
                Some("index them one after the other, one of them with `--repo-name`".to_owned())
            }
            Error::NoRepos { .. } => {
                Some("name the folder that the repositories lie in".to_owned())
            }
            Error::ListNeedsOneRoot => Some(
                "name the folder that the paths start from, as in \
                 `git -C repo diff --name-only -z | cs-parse repo --files-from -`"
                    .to_owned(),
            ),
            Error::List { .. } => Some("`-` reads the list from standard input".to_owned()),
            Error::Glob { .. } => {
                Some("globs are those of .gitignore, such as 'src/**/*.rs'".to_owned())
            }
            Error::Since { .. } => Some("without --since everything is parsed anew".to_owned()),
            Error::SinceAddress(address) => Some(format!(
                "let it pass on the manifest: --since <(cs-store manifest {})",
                address.display()
            )),
            Error::Threads { .. } => Some("ask for fewer threads with `-j`".to_owned()),
            Error::Stream(error) => error.hint(),
        }
    }

    fn stdout_closed(&self) -> bool {
        matches!(self, Error::Stream(error) if error.stdout_closed())
    }
}
