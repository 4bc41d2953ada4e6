//! Who may write: one process for each repository, and one at a time for what all share.
//!
//! On this machine the locks are the system's, which go with their process ([`range`]). An object
//! store has none, so there a process holds leases ([`lease`]).

mod lease;
mod range;

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::path::Path;
use std::time::Duration;

use lease::Lease;
use range::Range;

use crate::Error;
use crate::folder::Folder;

pub(crate) use range::LockFile;

/// The folder of the leases in a store's.
pub(crate) const FOLDER: &str = "locks";

/// The file whose bytes are locked.
pub(crate) const FILE: &str = "writers";

/// What is locked instead of a repository while a whole table is made anew. No repository has
/// this name, as names have no slash.
pub(crate) const REBUILD: &str = "/rebuild";

/// What is locked while indexes are made and old versions removed.
const MAINTENANCE: &str = "/maintenance";

/// What is locked while the table is made, which two at once would make twice: the database takes
/// the second one for new contents of the first.
const CREATION: &str = "/creation";

/// The time of a lease, if nobody says otherwise.
pub(crate) const LEASE: Duration = Duration::from_secs(60);

/// The right to write what some repositories have stored; given up by [`Writing::end`], on this
/// machine by the end of the process as well.
#[derive(Debug)]
pub(crate) struct Writing {
    folder: Folder,
    lease: Duration,
    held: HashMap<String, Held>,
}

#[derive(Debug)]
enum Held {
    Local { _range: Range },
    Remote(Lease),
}

impl Writing {
    /// Becomes the only writer of some repositories.
    ///
    /// # Errors
    /// [`Error::Locked`] if another process is one of theirs.
    pub(crate) async fn begin<'a>(
        folder: &Folder,
        lease: Duration,
        repos: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, Error> {
        let mut writing = Self {
            folder: folder.clone(),
            lease,
            held: HashMap::new(),
        };
        for repo in repos {
            if let Err(error) = writing.add(repo).await {
                writing.end().await;
                return Err(error);
            }
        }
        Ok(writing)
    }

    /// Takes one more repository.
    pub(crate) async fn add(&mut self, repo: &str) -> Result<(), Error> {
        if self.held.contains_key(repo) {
            return Ok(());
        }
        let held = match self.folder.as_remote() {
            None => Held::Local {
                _range: Range::take(&self.folder, repo)?,
            },
            Some(remote) => {
                let lease = Lease::take(&self.folder, remote, repo, self.lease);
                Held::Remote(lease.await?)
            }
        };
        self.held.insert(repo.to_owned(), held);
        Ok(())
    }

    /// Makes sure, before a commit, that the right has not been lost.
    pub(crate) async fn confirm(&self) -> Result<(), Error> {
        for (repo, held) in &self.held {
            if let Held::Remote(lease) = held
                && !lease.confirm().await
            {
                return Err(Error::LeaseLost {
                    path: self.folder.path().to_owned(),
                    repo: repo.clone(),
                });
            }
        }
        Ok(())
    }

    /// Gives the right up.
    pub(crate) async fn end(&mut self) {
        for (_, held) in self.held.drain() {
            if let Held::Remote(lease) = held {
                lease.end().await;
            }
        }
    }
}

/// Waits for the right to make indexes and to remove what is old.
pub(crate) async fn maintenance(folder: &Folder, lease: Duration) -> Result<Writing, Error> {
    when_free(folder, lease, MAINTENANCE).await
}

/// Waits for the right to make the table.
pub(crate) async fn creation(folder: &Folder, lease: Duration) -> Result<Writing, Error> {
    when_free(folder, lease, CREATION).await
}

async fn when_free(folder: &Folder, lease: Duration, what: &str) -> Result<Writing, Error> {
    let mut told = false;
    loop {
        match Writing::begin(folder, lease, [what]).await {
            Err(error @ Error::Locked { .. }) => {
                if !told {
                    log::info!("{error}: waiting");
                    told = true;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            done => return done,
        }
    }
}

/// Waits for the lock of what all writers of this machine share, for the time of one small file.
pub(crate) fn short(folder: &Path) -> Result<File, Error> {
    let path = folder.join("lock");
    let open = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path);
    open.and_then(|file| file.lock().map(|()| file))
        .map_err(Error::folder(&path))
}

/// Says what the holder of a lock does.
fn what(repo: &str) -> String {
    match repo {
        REBUILD => "rebuilding this store".to_owned(),
        MAINTENANCE => "tidying this store up".to_owned(),
        CREATION => "making this store".to_owned(),
        repo => format!("writing repository {repo} to this store"),
    }
}
