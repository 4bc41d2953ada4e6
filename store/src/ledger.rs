//! Keeps the store's manifest true: it never claims a file that is not stored in that state.
//!
//! Before the rows of a file are replaced its entry goes from the manifest on disk, and comes
//! back in its new state after the commit. A crash in between leaves a file that the manifest
//! does not know, which costs the next run that file and nothing else. From a run's first commit
//! to its end the manifest on disk describes no version of the table, so that after a crash it is
//! made anew from the rows: what it has lost sight of would never be replaced.
//!
//! Several processes may write, each other repositories. Each answers for the entries of its own
//! ones, and takes those of others from the disk; who finds that another one wrote meanwhile
//! makes the manifest from the rows at its end. A store elsewhere keeps no manifest: it is made
//! from the rows whenever it is asked for.

use std::collections::HashSet;
use std::fs;
use std::time::{Duration, Instant, SystemTime};

use cs_common::manifest::{self, Entry, Manifest, ManifestError};

use crate::folder::Folder;
use crate::step::{FileKey, FileName};
use crate::table::Chunks;
use crate::{Error, lock};

/// How long commits may go untold: what a crash costs the next run at most, in files to parse
/// again. Writing the manifest of 300,000 files takes a part of a second.
const UNTOLD: Duration = Duration::from_secs(5);

/// A version that no table has.
const NO_VERSION: u64 = 0;

/// What tells two writings of the manifest apart.
type Stamp = Option<(SystemTime, u64)>;

/// The manifest in memory, and what of it is on disk.
#[derive(Debug)]
pub(crate) struct Ledger {
    folder: Folder,
    manifest: Manifest,
    /// What the manifest on disk had lost sight of.
    lost: Lost,
    /// The repositories that this process answers for.
    own: HashSet<String>,
    /// Whether there is a file to be kept: not for a table that nobody sees yet, nor elsewhere.
    kept: bool,
    /// Whether nobody else has written it since it was read.
    alone: bool,
    /// Whether the disk says that a run is under way.
    begun: bool,
    stamp: Stamp,
    /// Whether memory and disk differ.
    untold: bool,
    written: Instant,
}

impl Ledger {
    /// Reads the manifest, or makes it anew from the table where it does not describe that.
    pub(crate) async fn open(chunks: &Chunks) -> Result<Self, Error> {
        let folder = chunks.folder();
        let stamp = stamp(folder);
        let (manifest, lost) = match read(folder)? {
            Some(found) if describes(&found, chunks).await? => (found, Lost::default()),
            found => {
                let files = chunks.files().await?;
                let lost = found.map(|found| Lost::between(&files, &found));
                (files, lost.unwrap_or_default())
            }
        };
        let is_kept = folder.local().is_some();
        Ok(Self {
            lost,
            ..Self::new(chunks, manifest, is_kept, stamp)
        })
    }

    /// Returns the ledger of an empty table that nobody sees yet.
    pub(crate) fn draft(chunks: &Chunks) -> Self {
        Self::new(chunks, Manifest::default(), false, None)
    }

    fn new(chunks: &Chunks, manifest: Manifest, kept: bool, stamp: Stamp) -> Self {
        Self {
            folder: chunks.folder().clone(),
            manifest: Manifest {
                table: chunks.name().to_owned(),
                ..manifest
            },
            lost: Lost::default(),
            own: HashSet::new(),
            kept,
            alone: true,
            begun: false,
            stamp,
            untold: true,
            written: Instant::now(),
        }
    }

    /// Takes files back whose rows are about to be replaced. Returns whether any was stored.
    pub(crate) fn begin(&mut self, files: &[(FileName, Option<Entry>)]) -> Result<bool, Error> {
        let mut any = false;
        for (file, _) in files {
            if !self.own.contains(&file.repo) {
                self.own.insert(file.repo.clone());
            }
            any |= self.manifest.remove(&file.repo, &file.path);
        }
        if any || !self.begun {
            self.manifest.table_version = NO_VERSION;
            self.write()?;
            self.begun = true;
        }
        Ok(any)
    }

    /// Enters files whose rows were committed.
    pub(crate) fn commit(&mut self, files: Vec<(FileName, Option<Entry>)>) -> Result<(), Error> {
        for (file, entry) in files {
            if let Some(entry) = entry {
                self.manifest.insert(&file.repo, &file.path, entry);
            }
        }
        self.untold = true;
        if self.written.elapsed() >= UNTOLD {
            self.write()?;
        }
        Ok(())
    }

    /// Returns the stored files of some repositories that are not among `seen`.
    pub(crate) fn others(&self, repos: &[&str], seen: &HashSet<FileKey>) -> Vec<FileName> {
        let mut others = Vec::new();
        for repo in repos {
            let files = self.manifest.repos.get(*repo).into_iter().flatten();
            let files = files.filter(|(path, _)| !seen.contains(&FileKey::new(repo, path)));
            others.extend(files.map(|(path, _)| FileName {
                repo: (*repo).to_owned(),
                path: path.clone(),
            }));
        }
        others
    }

    /// Returns the stored files of some repositories that a stream of changes could not tell of
    /// and did not bring: they are gone, as it would have brought them as new ones.
    ///
    /// `since` is the manifest that the stream was compared with; nothing follows from another.
    pub(crate) fn gone(
        &mut self,
        since: Option<i64>,
        repos: &[&str],
        seen: &HashSet<FileKey>,
    ) -> Vec<FileName> {
        let Lost { written_ns, files } = std::mem::take(&mut self.lost);
        let files = files
            .into_iter()
            .filter(|file| repos.contains(&file.repo.as_str()) && !seen.contains(&file.key()));
        match since == Some(written_ns) {
            true => files.collect(),
            false => Vec::new(),
        }
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
    pub(crate) async fn finish(&mut self, chunks: &Chunks) -> Result<(), Error> {
        let Some(path) = self.folder.local().filter(|_| self.kept) else {
            return Ok(());
        };
        let _lock = lock::short(path)?;
        chunks.reload().await?;
        if !self.alone || stamp(&self.folder) != self.stamp {
            self.manifest = chunks.files().await?;
        } else {
            let (version, change) = chunks.state().await?;
            if !self.untold && self.manifest.table_version == version {
                return Ok(());
            }
            self.manifest.table_version = version;
            self.manifest.table_change = change;
        }
        self.manifest.table = chunks.name().to_owned();
        self.manifest.write(path)?;
        Ok(())
    }

    /// Writes what is known during a run.
    fn write(&mut self) -> Result<(), Error> {
        let folder = self.folder.clone();
        let Some(path) = folder.local().filter(|_| self.kept) else {
            return Ok(());
        };
        let _lock = lock::short(path)?;
        if stamp(&self.folder) != self.stamp {
            self.alone = false;
            self.take_others()?;
        }
        self.manifest.write(path)?;
        self.stamp = stamp(&self.folder);
        self.untold = false;
        self.written = Instant::now();
        Ok(())
    }

    /// Takes from disk what other processes say of their repositories.
    fn take_others(&mut self) -> Result<(), Error> {
        let found = read(&self.folder)?.unwrap_or_default();
        let own = &self.own;
        self.manifest.repos.retain(|repo, _| own.contains(repo));
        let others = found.repos.into_iter();
        let others = others.filter(|(repo, _)| !own.contains(repo));
        self.manifest.repos.extend(others);
        Ok(())
    }
}

/// Files that are stored and that a manifest does not know, as a run was killed before it could
/// enter them. A stream that was compared with that manifest cannot say that they are gone.
#[derive(Debug, Default)]
struct Lost {
    /// Which manifest it is.
    written_ns: i64,
    files: Vec<FileName>,
}

impl Lost {
    fn between(stored: &Manifest, known: &Manifest) -> Self {
        let all = stored.repos.iter();
        let all = all.flat_map(|(repo, files)| files.keys().map(move |path| (repo, path)));
        let files = all.filter(|(repo, path)| known.get(repo, path).is_none());
        Self {
            written_ns: known.written_ns,
            files: files
                .map(|(repo, path)| FileName {
                    repo: repo.clone(),
                    path: path.clone(),
                })
                .collect(),
        }
    }
}

/// Reads the manifest of a store of this machine; one that is none is told, and made anew.
fn read(folder: &Folder) -> Result<Option<Manifest>, Error> {
    let Some(path) = folder.local() else {
        return Ok(None);
    };
    match Manifest::read(path) {
        Ok(found) => Ok(found),
        Err(error @ ManifestError::Form { .. }) => {
            log::warn!("{error}: it is made anew");
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Tells whether a manifest describes the table as it is.
pub(crate) async fn describes(manifest: &Manifest, chunks: &Chunks) -> Result<bool, Error> {
    let state = (manifest.table_version, manifest.table_change.clone());
    Ok(manifest.table == chunks.name() && state == chunks.state().await?)
}

fn stamp(folder: &Folder) -> Stamp {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = fs::metadata(folder.local()?.join(manifest::FILE_NAME)).ok()?;
    Some((metadata.modified().ok()?, metadata.ino()))
}
