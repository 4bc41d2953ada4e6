//! Which of the stored files a tool is to take.

use clap::builder::NonEmptyStringValueParser;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::Error;

/// The flags that name files.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct FileArgs {
    /// Only files of this repository (repeatable)
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    repo: Vec<String>,

    /// Only files whose path matches a glob as in .gitignore, such as 'src/**/*.rs' (repeatable)
    #[arg(long, value_name = "GLOB", value_parser = NonEmptyStringValueParser::new())]
    path: Vec<String>,
}

/// Files by repository and path; of several names or globs one has to fit.
#[derive(Clone, Debug)]
pub(crate) struct Selection {
    repos: Vec<String>,
    globs: Option<Gitignore>,
}

impl FileArgs {
    /// Tells whether nothing is named.
    pub(crate) fn is_empty(&self) -> bool {
        self.repo.is_empty() && self.path.is_empty()
    }

    /// Reads the flags.
    ///
    /// # Errors
    /// [`Error::Glob`] for a glob that is none.
    pub(crate) fn selection(self) -> Result<Selection, Error> {
        let mut builder = GitignoreBuilder::new("");
        for glob in &self.path {
            let fail = |source| Error::Glob {
                glob: glob.clone(),
                source,
            };
            builder.add_line(None, glob).map_err(fail)?;
        }
        let globs = builder.build().map_err(|source| Error::Glob {
            glob: self.path.join(" "),
            source,
        })?;
        Ok(Selection {
            repos: self.repo,
            globs: (!self.path.is_empty()).then_some(globs),
        })
    }
}

impl Selection {
    /// Returns the names that repositories must have; of any name if there is none.
    pub(crate) fn repos(&self) -> &[String] {
        &self.repos
    }

    /// Tells whether any file of a repository may be taken.
    pub(crate) fn takes_of(&self, repo: &str) -> bool {
        self.repos.is_empty() || self.repos.iter().any(|name| name == repo)
    }

    /// Tells whether a file is taken.
    pub(crate) fn takes(&self, repo: &str, path: &str) -> bool {
        // The globs are for paths below a root, and refuse others with a panic.
        let path = path.trim_start_matches('/');
        self.takes_of(repo)
            && self
                .globs
                .as_ref()
                .is_none_or(|globs| globs.matched_path_or_any_parents(path, false).is_ignore())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(repo: &[&str], path: &[&str]) -> Selection {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let args = FileArgs {
            repo: owned(repo),
            path: owned(path),
        };
        args.selection().unwrap()
    }

    #[test]
    fn globs_are_those_of_gitignore() {
        for (globs, path, taken) in [
            (&["*.rs"][..], "src/a.rs", true),
            (&["*.rs"], "src/a.py", false),
            (&["/a.rs"], "src/a.rs", false),
            (&["src/"], "src/deep/a.rs", true),
            (&["src/**/*.rs", "*.md"], "docs/b.md", true),
            (&["docs", "!docs/b.md"], "docs/b.md", false),
            (&["*.rs"], "/etc/a.rs", true),
            (&[], "any", true),
        ] {
            assert_eq!(
                selection(&[], globs).takes("r", path),
                taken,
                "{globs:?} {path}"
            );
        }
    }

    #[test]
    fn a_repository_and_a_glob_have_to_fit_both() {
        let both = selection(&["r", "s"], &["*.rs"]);
        assert!(both.takes("s", "a.rs"));
        assert!(!both.takes("t", "a.rs") && !both.takes("r", "a.py"));
    }
}
