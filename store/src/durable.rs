//! Commits that a power loss does not take back.
//!
//! The database gives each file its name when it is written, and leaves to the system when its
//! bytes reach the disk. After a power loss a version of the table could have its name and lack its
//! contents, or the rows that it refers to, and then the table could not be opened any more. So
//! here all that a version refers to is synced before the version gets its name, and the version's
//! own file, too; the name is synced before the commit counts as done.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use lance::io::ObjectStore;
use lance_table::format::{IndexMetadata, Manifest, Transaction};
use lance_table::io::commit::{
    CommitError, CommitHandler, ManifestLocation, ManifestNamingScheme, ManifestWriter,
    write_version_hint,
};
use object_store::ObjectStoreExt as _;
use object_store::path::Path as Key;

use crate::folder::{Folder, TABLE_ENDING};

/// The folder of the versions' own files in a table's.
const VERSIONS: &str = "_versions";

/// How the names begin under which the database writes files: they are renamed when they are whole,
/// and no version refers to them before.
const UNFINISHED: &str = ".tmp";

/// Files synced at a time: what they wait for is the disk, which does several for the price of one.
const AT_A_TIME: usize = 16;

/// Commits to a table in a folder of this machine.
#[derive(Clone, Debug)]
pub(crate) struct DurableCommits {
    table: PathBuf,
    /// Files that are on the disk, or that no version of this process refers to.
    synced: Arc<Mutex<HashSet<PathBuf>>>,
}

impl DurableCommits {
    /// Returns what makes the commits to a table of a folder; object stores see to it themselves.
    ///
    /// What the table has so far counts as synced, by those who committed it.
    pub(crate) fn of(folder: &Folder, name: &str) -> Option<Arc<dyn CommitHandler>> {
        let table = folder.local()?.join(format!("{name}{TABLE_ENDING}"));
        let mut found = Found::default();
        // What cannot be listed is not there yet, or fails at the first commit.
        let _ = found.below(&table, &HashSet::new());
        let synced = found.files.into_iter().collect();
        Some(Arc::new(Self {
            table,
            synced: Arc::new(Mutex::new(synced)),
        }))
    }

    /// Syncs what is new in the table, and gives a version its name unless there is one of that name.
    fn publish(&self, version: &str, bytes: &[u8]) -> io::Result<()> {
        let folder = self.table.join(VERSIONS);
        fs::create_dir_all(&folder)?;
        // Readers take no file for a version whose name ends otherwise.
        let draft = folder.join(format!("{version}.{}.tmp", std::process::id()));
        let published = fs::write(&draft, bytes)
            .and_then(|()| self.sync(&draft))
            .and_then(|()| fs::hard_link(&draft, folder.join(version)));
        // The draft is a second name, or worth nothing.
        let _ = fs::remove_file(&draft);
        published.and_then(|()| File::open(&folder)?.sync_all())
    }

    /// Syncs all files of the table that are new, the folders that have them, and a draft.
    fn sync(&self, draft: &Path) -> io::Result<()> {
        let mut synced = self.synced.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = Found::default();
        found.below(&self.table, &synced)?;
        let mut paths = vec![draft.to_owned()];
        paths.extend(found.files.iter().cloned());
        paths.extend(found.folders);
        for some in paths.chunks(AT_A_TIME) {
            sync_all(some)?;
        }
        synced.extend(found.files);
        Ok(())
    }
}

/// Files that are not known, and the folders that they are in.
#[derive(Debug, Default)]
struct Found {
    files: Vec<PathBuf>,
    folders: Vec<PathBuf>,
}

impl Found {
    /// Looks into a folder and those below it, but for the versions' own files.
    fn below(&mut self, folder: &Path, known: &HashSet<PathBuf>) -> io::Result<()> {
        let before = self.files.len();
        let entries = match fs::read_dir(folder) {
            // That of an index which another process has just removed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let path = entry.path();
            if entry
                .file_name()
                .as_encoded_bytes()
                .starts_with(UNFINISHED.as_bytes())
            {
                continue;
            }
            if path.is_dir() {
                if !path.ends_with(VERSIONS) {
                    self.below(&path, known)?;
                }
            } else if !known.contains(&path) {
                self.files.push(path);
            }
        }
        // A folder that is new itself has its name in the one above it.
        if self.files.len() > before {
            self.folders.push(folder.to_owned());
        }
        Ok(())
    }
}

/// Syncs some files or folders, all at once.
fn sync_all(paths: &[PathBuf]) -> io::Result<()> {
    let sync = |path: &Path| match File::open(path).and_then(|file| file.sync_all()) {
        // Another writer's draft, which has its name by now, or is given up.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    };
    thread::scope(|scope| {
        let syncs: Vec<_> = paths
            .iter()
            .map(|path| scope.spawn(move || sync(path)))
            .collect();
        syncs.into_iter().try_for_each(|sync| {
            sync.join()
                .unwrap_or_else(|_| Err(io::Error::other("a panic")))
        })
    })
}

#[async_trait::async_trait]
impl CommitHandler for DurableCommits {
    fn is_version_not_found_definitive(&self) -> bool {
        true
    }

    async fn commit(
        &self,
        manifest: &mut Manifest,
        indices: Option<Vec<IndexMetadata>>,
        base_path: &Key,
        object_store: &ObjectStore,
        manifest_writer: ManifestWriter,
        naming_scheme: ManifestNamingScheme,
        transaction: Option<Transaction>,
    ) -> Result<ManifestLocation, CommitError> {
        let version = manifest.version;
        let path = naming_scheme.manifest_path(base_path, version);
        let name = path.filename().unwrap_or_default().to_owned();
        let memory = ObjectStore::memory();
        let key = Key::from("version");
        manifest_writer(&memory, manifest, indices, &key, transaction).await?;
        let bytes = memory.read_one_all(&key).await?;
        let size = bytes.len() as u64;
        let this = self.clone();
        let published = tokio::task::spawn_blocking(move || this.publish(&name, &bytes));
        let published = published.await.map_err(io::Error::other).flatten();
        published.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => CommitError::CommitConflict,
            _ => CommitError::OtherError(error.into()),
        })?;
        write_version_hint(object_store, base_path, version).await;
        let found = object_store.inner.head(&path).await;
        Ok(ManifestLocation {
            version,
            path,
            size: Some(size),
            naming_scheme,
            e_tag: found.ok().and_then(|found| found.e_tag),
            identity: None,
        })
    }
}
