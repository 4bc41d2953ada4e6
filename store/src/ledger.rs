//! Keeps the store's manifest true: it never claims a file that is not stored in that state.
//!
//! Before the rows of a file are replaced its entry goes from the manifest on disk, and comes
//! back in its new state after the commit. A crash in between leaves a file that the manifest
//! does not know, which costs the next run that file and nothing else. Until the commit is entered
//! the manifest on disk describes no version of the table, so that after a crash it is made anew:
//! rows that it has lost sight of would never be replaced.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use cs_common::manifest::{Entry, Manifest, ManifestError};

use crate::Error;
use crate::folder::Folder;
use crate::step::FileName;
use crate::table::Chunks;

/// How long commits may go untold: what a crash costs the next run at most, in files to parse
/// again. Writing the manifest of 300,000 files takes a part of a second.
const UNTOLD: Duration = Duration::from_secs(5);

/// A version that no table has.
const NO_VERSION: u64 = 0;

/// The manifest in memory, and what of it is on disk.
#[derive(Debug)]
pub(crate) struct Ledger {
    folder: Folder,
    manifest: Manifest,
    /// Whether memory and disk differ.
    untold: bool,
    written: Instant,
}

impl Ledger {
    /// Reads the manifest, or makes it anew from the table where it does not describe that.
    pub(crate) async fn open(chunks: &Chunks) -> Result<Self, Error> {
        let folder = chunks.folder().clone();
        let found = match Manifest::read(folder.path()) {
            Ok(found) => found,
            Err(error @ ManifestError::Form { .. }) => {
                log::warn!("{error}: it is made anew");
                None
            }
            Err(error) => return Err(error.into()),
        };
        let version = chunks.version().await?;
        let (manifest, untold) = match found {
            Some(manifest) if manifest.table_version == version => (manifest, false),
            found => {
                let mut files = chunks.files().await?;
                adopt(&mut files, &found.unwrap_or_default());
                (files, true)
            }
        };
        Ok(Self {
            folder,
            manifest,
            untold,
            written: Instant::now(),
        })
    }

    /// Takes files back whose rows are about to be replaced. Returns whether any was stored.
    pub(crate) fn begin(&mut self, files: &[(FileName, Option<Entry>)]) -> Result<bool, Error> {
        let mut any = false;
        for (file, _) in files {
            any |= self.manifest.remove(&file.repo, &file.path);
        }
        if any {
            self.manifest.table_version = NO_VERSION;
            self.write()?;
        }
        Ok(any)
    }

    /// Enters files whose rows were committed as a version of the table.
    pub(crate) fn commit(
        &mut self,
        files: Vec<(FileName, Option<Entry>)>,
        version: u64,
    ) -> Result<(), Error> {
        for (file, entry) in files {
            if let Some(entry) = entry {
                self.manifest.insert(&file.repo, &file.path, entry);
            }
        }
        self.manifest.table_version = version;
        self.untold = true;
        if self.written.elapsed() >= UNTOLD {
            self.write()?;
        }
        Ok(())
    }

    /// Returns the stored files of some repositories that are not among `seen`.
    pub(crate) fn others(&self, repos: &[&str], seen: &HashSet<(String, String)>) -> Vec<FileName> {
        let mut others = Vec::new();
        for repo in repos {
            let files = self.manifest.repos.get(*repo).into_iter().flatten();
            for (path, _) in files {
                let key = ((*repo).to_owned(), path.clone());
                if !seen.contains(&key) {
                    let (repo, path) = key;
                    others.push(FileName { repo, path });
                }
            }
        }
        others
    }

    /// Returns the stored files that `takes` takes, in order.
    pub(crate) fn matching(&self, takes: impl Fn(&str, &str) -> bool) -> Vec<FileName> {
        let all = self.manifest.repos.iter();
        let all = all.flat_map(|(repo, files)| files.keys().map(move |path| (repo, path)));
        let mut files: Vec<FileName> = all
            .filter(|(repo, path)| takes(repo, path))
            .map(|(repo, path)| FileName {
                repo: repo.clone(),
                path: path.clone(),
            })
            .collect();
        files.sort_unstable();
        files
    }

    /// Returns the names of the repositories that files are stored of.
    pub(crate) fn repos(&self) -> Vec<&str> {
        let stored = self
            .manifest
            .repos
            .iter()
            .filter(|(_, files)| !files.is_empty());
        let mut names: Vec<&str> = stored.map(|(repo, _)| repo.as_str()).collect();
        names.sort_unstable();
        names
    }

    /// Writes the manifest that describes the table's last version.
    pub(crate) fn finish(&mut self, version: u64) -> Result<(), Error> {
        if self.untold || self.manifest.table_version != version {
            self.manifest.table_version = version;
            self.write()?;
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), Error> {
        self.manifest.write(self.folder.path())?;
        self.untold = false;
        self.written = Instant::now();
        Ok(())
    }
}

/// Gives files found in the table the settings that an older manifest knows for their state.
fn adopt(files: &mut Manifest, known: &Manifest) {
    for (repo, files) in &mut files.repos {
        for (path, entry) in files {
            if let Some(known) = known.get(repo, path)
                && known.hash.is_some()
                && known.hash == entry.hash
            {
                entry.settings.clone_from(&known.settings);
            }
        }
    }
}
