//! How hits are printed: for people, for editors, as JSON, as a stream, as context for a model.

mod arrow;
mod context;
mod excerpt;
mod json;
mod people;
mod plain;

use std::path::{Path, PathBuf};

use crate::engine::OpenStore;
use crate::hit::Hit;

pub(crate) use arrow::arrow;
pub(crate) use context::{context, packed};
pub(crate) use json::{Answer, Told, json};
pub(crate) use people::{Style, people};
pub(crate) use plain::{files, plain};

/// What is needed to tell where a hit is.
#[derive(Clone, Copy)]
pub(crate) struct Stores<'a> {
    pub(crate) stores: &'a [OpenStore],
    /// The current folder.
    pub(crate) here: &'a Path,
}

/// Where a hit's file is for whoever reads the output.
struct Shown {
    /// A path that can be opened from the current folder, if there is one.
    text: String,
    /// The file itself, if it is there.
    file: Option<PathBuf>,
}

impl Stores<'_> {
    /// Returns where the hit's repository is, or was, on the machine that parsed it.
    fn root(&self, hit: &Hit) -> Option<&str> {
        let repos = &self.stores.get(hit.store)?.repos;
        let repo = repos.iter().find(|repo| repo.name == hit.place.repo)?;
        Some(&repo.root)
    }

    /// Returns a hit's path as it can be opened from the current folder, where its root is known;
    /// else its repository's name and its path.
    fn shown(&self, hit: &Hit) -> Shown {
        let path = &hit.place.path;
        let file = self.root(hit).map(|root| Path::new(root).join(path));
        let Some(file) = file.filter(|file| file.exists()) else {
            return Shown {
                text: format!("{}/{path}", hit.place.repo),
                file: None,
            };
        };
        let relative = file.strip_prefix(self.here).unwrap_or(&file);
        Shown {
            text: relative.display().to_string(),
            file: Some(file),
        }
    }
}

/// Returns a text without characters that would steer a terminal or end a line.
fn harmless(text: &str) -> String {
    let replaced = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().map(replaced).collect()
}
