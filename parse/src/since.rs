//! What changed since a store was written: compares the files listed with its manifest.
//!
//! A file is taken for unchanged by its size and modification time; where these differ its
//! hash decides once it is read. A time that could be shared by two states of a file proves
//! nothing ("racily clean", Documentation/technical/racy-git.txt in git's sources): one
//! that is not older than the manifest by more than a file system's tick.

use std::path::Path;
use std::sync::Arc;

use cs_common::manifest::{Entry as Known, Manifest};

use crate::repos::{Root, Take};
use crate::walk::{Entry, Listing};

/// The coarsest tick of a file system's clock, in nanoseconds: FAT counts in two seconds.
const TICK_NS: i64 = 2_000_000_000;

/// One step of the work, in the order of the stream.
#[derive(Debug)]
pub(crate) enum Job {
    /// Read the file, and write its chunks unless it is as it was.
    File {
        entry: Entry,
        stored: Option<Stored>,
    },
    /// Write that the file is gone.
    Gone { root: usize, path: String },
}

/// What a store has of a file.
#[derive(Debug)]
pub(crate) struct Stored {
    /// The hash of the file whose chunks are as good as those that would be made now.
    pub(crate) hash: Option<Box<str>>,
}

impl Job {
    /// Returns the root's index, and the path below it.
    pub(crate) fn key(&self) -> (usize, &str) {
        match self {
            Job::File { entry, .. } => (entry.root, &entry.path),
            Job::Gone { root, path } => (*root, path),
        }
    }

    /// Returns the bytes to read.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Job::File { entry, .. } => entry.size,
            Job::Gone { .. } => 0,
        }
    }
}

/// The work that is left.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) jobs: Vec<Job>,
    /// Files that need not even be read.
    pub(crate) unchanged: usize,
}

/// Decides what is to be done about the files listed, given what a store has of them.
pub(crate) fn plan(
    listing: &mut Listing,
    roots: &[Root],
    manifest: Option<&Manifest>,
    settings: &str,
) -> Plan {
    let mut plan = Plan::default();
    let empty = Manifest::default();
    let manifest = manifest.unwrap_or(&empty);
    let entries = std::mem::take(&mut listing.entries);
    let gone = std::mem::take(&mut listing.gone);
    plan.jobs.extend(
        gone.into_iter()
            .map(|(root, path)| Job::Gone { root, path }),
    );
    let is_listed = |root: usize, path: &str| {
        let key = |entry: &Entry| (entry.root, entry.path.as_str()).cmp(&(root, path));
        entries.binary_search_by(key).is_ok()
    };
    for (index, root) in roots.iter().enumerate() {
        // Of a list or a file named nothing follows for the others.
        let Take::All = root.take else { continue };
        let Some(files) = manifest.repos.get(&root.name) else {
            continue;
        };
        for path in files.keys() {
            let kept = listing.incomplete && !is_gone(&root.folder.join(path));
            if !kept && !is_listed(index, path) {
                plan.jobs.push(Job::Gone {
                    root: index,
                    path: path.clone(),
                });
            }
        }
    }
    for entry in entries {
        let known = roots
            .get(entry.root)
            .and_then(|root| manifest.get(&root.name, &entry.path));
        let current = known.is_some_and(|known| is_current(known, &entry, settings));
        match known {
            Some(known) if current && looks_unchanged(known, &entry, manifest.written_ns) => {
                plan.unchanged += 1;
            }
            _ => plan.jobs.push(Job::File {
                stored: known.map(|known| Stored {
                    hash: known.hash.clone().filter(|_| current),
                }),
                entry,
            }),
        }
    }
    plan.jobs.sort_unstable_by(|a, b| a.key().cmp(&b.key()));
    plan
}

/// Tells whether a file is certainly not there; one that cannot be looked at may be.
fn is_gone(file: &Path) -> bool {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    file.symlink_metadata()
        .is_err_and(|error| matches!(error.kind(), NotFound | NotADirectory))
}

/// Tells whether the stored chunks are those that would be made now of the same bytes.
fn is_current(known: &Known, entry: &Entry, settings: &str) -> bool {
    let same_project = known.project.as_deref() == entry.project.as_ref().map(Arc::as_ref);
    same_project && known.settings.as_deref() == Some(settings)
}

/// Tells whether size and time prove that a file is as it was.
fn looks_unchanged(known: &Known, entry: &Entry, written_ns: i64) -> bool {
    let Some(mtime_ns) = known.mtime_ns.filter(|_| known.mtime_ns == entry.mtime_ns) else {
        return false;
    };
    known.size == Some(entry.size) && mtime_ns.saturating_add(TICK_NS) < written_ns
}
