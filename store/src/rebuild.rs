//! Making a whole table anew beside the one that readers see, and then changing which one it is.
//!
//! A small file names the table. It changes in one step, after the new table has all its rows and
//! indexes; the old table stays for a while, for those who are reading it.

use std::time::Duration;

use cs_common::manifest;

use crate::Error;
use crate::folder::Folder;
use crate::index::VERSION_LIFE;
use crate::ledger::Ledger;
use crate::lock::{REBUILD, Writing};
use crate::table::Chunks;

/// The table that is to be replaced, as it was found.
#[derive(Debug)]
pub(crate) struct Replaced {
    folder: Folder,
    name: String,
    /// Its version; `None` if there is no table yet.
    version: Option<u64>,
    taken: Vec<String>,
}

impl Replaced {
    /// Finds it.
    pub(crate) async fn find(folder: &Folder) -> Result<Self, Error> {
        Ok(Self {
            folder: folder.clone(),
            name: folder.table().await?,
            version: version(folder).await?,
            taken: folder.tables().await?,
        })
    }

    /// Returns a name that no table has.
    pub(crate) fn next_name(&self) -> String {
        let is_free = |name: &String| !self.taken.contains(name) && *name != self.name;
        let mut names = (2..).map(|number| format!("chunks-{number}"));
        names.find(is_free).unwrap_or_default()
    }

    /// Lets readers see another table instead.
    ///
    /// # Errors
    /// [`Error::Rebuilt`] if rows came into the old table since, which would be lost.
    pub(crate) async fn replace_by(&self, chunks: &Chunks) -> Result<(), Error> {
        let folder = &self.folder;
        if folder.table().await? != self.name || version(folder).await? != self.version {
            drop_table(folder, chunks.name()).await?;
            return Err(Error::Rebuilt(folder.path().to_owned()));
        }
        // It says nothing of the new table.
        folder.remove(manifest::FILE_NAME).await?;
        folder.set_table(chunks.name()).await?;
        let mut ledger = Ledger::open(chunks).await?;
        ledger.finish(chunks).await
    }
}

/// Returns the version of the table that readers see.
async fn version(folder: &Folder) -> Result<Option<u64>, Error> {
    if !folder.is_store().await? {
        return Ok(None);
    }
    Ok(Some(Chunks::open(folder).await?.version().await?))
}

/// Removes tables that nobody reads any more, and what a killed run left of a new one.
pub(crate) async fn sweep(folder: &Folder, lease: Duration) -> Result<(), Error> {
    let current = folder.table().await?;
    let mut others = folder.tables().await?;
    others.retain(|name| *name != current);
    let is_read = |age: Duration| age < VERSION_LIFE;
    if others.is_empty() || folder.table_age().await?.is_some_and(is_read) {
        return Ok(());
    }
    // Who rebuilds has one of them in hand.
    let mut right = match Writing::begin(folder, lease, [REBUILD]).await {
        Ok(right) => right,
        Err(Error::Locked { .. }) => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut done = Ok(());
    for name in &others {
        log::debug!("removing the table {name}, which was replaced");
        done = done.and(drop_table(folder, name).await);
    }
    right.end().await;
    done
}

/// Removes a table with all its files.
pub(crate) async fn drop_table(folder: &Folder, name: &str) -> Result<(), Error> {
    let database = folder.connect().await?;
    let dropped = database.drop_table(name, &[]).await;
    dropped.map_err(|error| Error::database(folder.path(), error))
}
