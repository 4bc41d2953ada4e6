//! Where a store lies: a folder of this machine, or a prefix in an object store.
//!
//! The table does its own reading and writing. What is beside it are a few small files, which
//! are read and replaced as a whole here: in object stores, too, a reader sees the old one or
//! the new one.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cs_common::manifest::{self, TABLE_FOLDER, TABLE_POINTER};
use futures::TryStreamExt as _;
use lance::io::{ObjectStore, ObjectStoreParams, ObjectStoreRegistry, StorageOptionsAccessor};
use object_store::ObjectStoreExt as _;
use object_store::path::Path as Key;

use crate::lock::LockFile;
use crate::{Error, lock, mark, runs};

/// What a store's folder holds besides tables.
const OWN: [&str; 8] = [
    ".gitignore",
    "lock",
    lock::FILE,
    manifest::FILE_NAME,
    mark::FOLDER,
    runs::FOLDER,
    TABLE_FOLDER,
    TABLE_POINTER,
];

/// The table of a store that was never rebuilt.
const FIRST_TABLE: &str = "chunks";

/// The ending of a table's folder.
pub(crate) const TABLE_ENDING: &str = ".lance";

/// Object stores: the scheme, the cargo feature that it needs, and whether this build has it.
const SCHEMES: [(&str, &str, bool); 3] = [
    ("s3", "s3", cfg!(feature = "s3")),
    ("gs", "gs", cfg!(feature = "gs")),
    ("az", "az", cfg!(feature = "az")),
];

/// A store's address, as a user gives it.
#[derive(Clone, Debug)]
pub struct Location {
    /// A folder, or an address such as `s3://bucket/prefix`.
    pub path: PathBuf,
    /// What the object store has to be told, such as its region or its endpoint.
    pub options: HashMap<String, String>,
}

impl Location {
    /// Returns the address of a folder.
    pub fn folder(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            options: HashMap::new(),
        }
    }

    /// Returns the address, and its scheme, if it is in an object store.
    fn uri(&self) -> Option<(&str, &str)> {
        let uri = self.path.to_str()?;
        let (scheme, _) = uri.split_once("://")?;
        Some((uri, scheme))
    }
}

/// The place of a store.
///
/// lancedb takes a relative path that begins with `db` for an address in the cloud, so that the
/// path of a folder is absolute.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    remote: Option<Remote>,
    locks: LockFile,
}

/// A prefix in an object store.
#[derive(Clone, Debug)]
pub(crate) struct Remote {
    pub(crate) store: Arc<ObjectStore>,
    base: Key,
    options: HashMap<String, String>,
}

impl Remote {
    async fn new(uri: &str, options: &HashMap<String, String>) -> lance::Result<Self> {
        let accessor = StorageOptionsAccessor::with_static_options(options.clone());
        let params = ObjectStoreParams {
            storage_options_accessor: Some(Arc::new(accessor)),
            ..ObjectStoreParams::default()
        };
        let registry = Arc::new(ObjectStoreRegistry::default());
        let (store, base) = ObjectStore::from_uri_and_params(registry, uri, &params).await?;
        Ok(Self {
            store,
            base,
            options: options.clone(),
        })
    }

    /// Returns the key of a file below the prefix.
    pub(crate) fn key(&self, name: &str) -> Key {
        name.split('/')
            .fold(self.base.clone(), |key, part| key.join(part))
    }
}

impl Folder {
    /// Finds a store that exists.
    pub(crate) async fn open(at: &Location) -> Result<Self, Error> {
        let missing = || Error::Missing(at.path.clone());
        let found = match at.uri() {
            Some(_) => Self::remote(at).await?,
            None => Self {
                path: fs::canonicalize(&at.path).map_err(|_| missing())?,
                remote: None,
                locks: LockFile::default(),
            },
        };
        match found.is_store().await? {
            true => Ok(found),
            false => Err(missing()),
        }
    }

    /// Makes the folder if it is not there, and hides it from git.
    ///
    /// # Errors
    /// [`Error::NotAStore`] for a folder of other things, which must not be hidden.
    pub(crate) async fn create(at: &Location) -> Result<Self, Error> {
        if at.uri().is_some() {
            return Self::remote(at).await;
        }
        let path = &at.path;
        fs::create_dir_all(path).map_err(Error::folder(path))?;
        let path = fs::canonicalize(path).map_err(Error::folder(path))?;
        let entries = fs::read_dir(&path).map_err(Error::folder(&path))?;
        let foreign = entries.flatten().any(|entry| {
            let name = entry.file_name();
            !OWN.iter().any(|own| name == *own)
        });
        if foreign && !manifest::is_store(&path) {
            return Err(Error::NotAStore(path));
        }
        let ignore = path.join(".gitignore");
        if !ignore.exists() {
            fs::write(&ignore, "*\n").map_err(Error::folder(&ignore))?;
        }
        Ok(Self {
            path,
            remote: None,
            locks: LockFile::default(),
        })
    }

    async fn remote(at: &Location) -> Result<Self, Error> {
        let (uri, scheme) = at.uri().unwrap_or_default();
        let known = SCHEMES.iter().find(|(name, _, _)| *name == scheme);
        match known {
            Some((_, _, true)) => {}
            Some((_, feature, false)) => {
                return Err(Error::NoFeature {
                    path: at.path.clone(),
                    feature,
                });
            }
            None => {
                return Err(Error::Scheme {
                    path: at.path.clone(),
                    scheme: scheme.to_owned(),
                });
            }
        }
        let uri = uri.trim_end_matches('/');
        let remote = Remote::new(uri, &at.options).await;
        Ok(Self {
            path: PathBuf::from(uri),
            remote: Some(remote.map_err(|error| Error::database(&at.path, error))?),
            locks: LockFile::default(),
        })
    }

    /// Returns the absolute path, or the address.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the folder of this machine, if it is one.
    pub(crate) fn local(&self) -> Option<&Path> {
        self.remote.is_none().then_some(self.path.as_path())
    }

    /// Returns the prefix in an object store, if it is one.
    pub(crate) fn as_remote(&self) -> Option<&Remote> {
        self.remote.as_ref()
    }

    /// Returns the file of this machine's locks.
    pub(crate) fn locks(&self) -> &LockFile {
        &self.locks
    }

    /// Opens the database.
    pub(crate) async fn connect(&self) -> Result<lancedb::Connection, Error> {
        let text = self.path.to_str().ok_or_else(|| {
            Error::damaged(&self.path, "the database takes no path that is not UTF-8")
        })?;
        let options = self.remote.iter().flat_map(|remote| remote.options.clone());
        lancedb::connect(text)
            .storage_options(options)
            .execute()
            .await
            .map_err(|error| Error::database(&self.path, error))
    }

    /// Tells whether there is a table; what a process left that was killed while it made one is
    /// none.
    pub(crate) async fn is_store(&self) -> Result<bool, Error> {
        let table = self.table().await?;
        let versions = self
            .list(&format!("{table}{TABLE_ENDING}/_versions"))
            .await?;
        Ok(versions.iter().any(|name| name.ends_with(".manifest")))
    }

    /// Returns the name of the table that readers see.
    pub(crate) async fn table(&self) -> Result<String, Error> {
        let name = self.read(TABLE_POINTER).await?;
        let name = name.map(|text| String::from_utf8_lossy(&text).trim().to_owned());
        Ok(name.unwrap_or_else(|| FIRST_TABLE.to_owned()))
    }

    /// Makes a table the one that readers see.
    pub(crate) async fn set_table(&self, name: &str) -> Result<(), Error> {
        self.write(TABLE_POINTER, name.as_bytes()).await
    }

    /// Returns how long ago another table became the one that readers see; `None` if none did.
    pub(crate) async fn table_age(&self) -> Result<Option<Duration>, Error> {
        let path = self.path.join(TABLE_POINTER);
        let changed = match &self.remote {
            None => match fs::metadata(&path).and_then(|metadata| metadata.modified()) {
                Ok(time) => time,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(source) => return Err(Error::Folder { path, source }),
            },
            Some(remote) => match remote.store.inner.head(&remote.key(TABLE_POINTER)).await {
                Ok(meta) => meta.last_modified.into(),
                Err(object_store::Error::NotFound { .. }) => return Ok(None),
                Err(error) => return Err(Error::database(&path, error)),
            },
        };
        // A time to come is that of another machine's clock.
        Ok(Some(changed.elapsed().unwrap_or_default()))
    }

    /// Returns the names of all tables.
    pub(crate) async fn tables(&self) -> Result<Vec<String>, Error> {
        let mut names = self.list("").await?;
        names.retain(|name| name.ends_with(TABLE_ENDING));
        for name in &mut names {
            name.truncate(name.len() - TABLE_ENDING.len());
        }
        Ok(names)
    }

    /// Reads a small file; `None` if it is not there.
    pub(crate) async fn read(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let path = self.path.join(name);
        match &self.remote {
            None => match fs::read(&path) {
                Ok(bytes) => Ok(Some(bytes)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(source) => Err(Error::Folder { path, source }),
            },
            Some(remote) => match remote.store.inner.get(&remote.key(name)).await {
                Ok(found) => {
                    let bytes = found.bytes().await;
                    let bytes = bytes.map_err(|error| Error::database(&path, error))?;
                    Ok(Some(bytes.to_vec()))
                }
                Err(object_store::Error::NotFound { .. }) => Ok(None),
                Err(error) => Err(Error::database(&path, error)),
            },
        }
    }

    /// Replaces a small file as a whole.
    pub(crate) async fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let path = self.path.join(name);
        match &self.remote {
            None => replace(&path, bytes).map_err(Error::folder(&path)),
            Some(remote) => {
                let (key, bytes) = (remote.key(name), bytes.to_vec());
                let put = remote.store.inner.put(&key, bytes.into()).await;
                put.map(|_| ())
                    .map_err(|error| Error::database(&path, error))
            }
        }
    }

    /// Writes a small file that may be lost: a power loss can leave some of it.
    pub(crate) async fn write_note(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let Some(path) = self.local().map(|folder| folder.join(name)) else {
            return self.write(name, bytes).await;
        };
        let made = path.parent().map_or(Ok(()), fs::create_dir_all);
        made.and_then(|()| fs::write(&path, bytes))
            .map_err(Error::folder(&path))
    }

    /// Removes a small file, if it is there.
    pub(crate) async fn remove(&self, name: &str) -> Result<(), Error> {
        let path = self.path.join(name);
        match &self.remote {
            None => match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::Folder {
                    path,
                    source: error,
                }),
                _ => Ok(()),
            },
            Some(remote) => match remote.store.inner.delete(&remote.key(name)).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                Err(error) => Err(Error::database(&path, error)),
            },
        }
    }

    /// Returns the names of what is in a folder of the store, itself for the empty name.
    pub(crate) async fn list(&self, name: &str) -> Result<Vec<String>, Error> {
        let path = self.path.join(name);
        match &self.remote {
            None => match fs::read_dir(&path) {
                Ok(entries) => Ok(entries
                    .flatten()
                    .filter_map(|entry| entry.file_name().into_string().ok())
                    .collect()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
                Err(source) => Err(Error::Folder { path, source }),
            },
            Some(remote) => {
                let key = match name {
                    "" => remote.base.clone(),
                    name => remote.key(name),
                };
                let found = remote.store.inner.list_with_delimiter(Some(&key)).await;
                let found = found.map_err(|error| Error::database(&path, error))?;
                let files = found.objects.into_iter().map(|object| object.location);
                Ok(files
                    .chain(found.common_prefixes)
                    .filter_map(|key| Some(key.filename()?.to_owned()))
                    .collect())
            }
        }
    }

    /// Returns the bytes of all files in the folder.
    pub(crate) async fn size(&self) -> Result<u64, Error> {
        fn below(path: &Path) -> u64 {
            let Ok(entries) = fs::read_dir(path) else {
                return 0;
            };
            entries
                .flatten()
                .map(|entry| match entry.metadata() {
                    Ok(metadata) if metadata.is_dir() => below(&entry.path()),
                    Ok(metadata) => metadata.len(),
                    Err(_) => 0,
                })
                .sum()
        }
        let Some(remote) = &self.remote else {
            return Ok(below(&self.path));
        };
        remote
            .store
            .inner
            .list(Some(&remote.base))
            .try_fold(0, |sum, object| async move { Ok(sum + object.size) })
            .await
            .map_err(|error| Error::database(&self.path, error))
    }
}

/// Writes a file beside its place, makes sure of it, and moves it there.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let draft = path.with_extension("new");
    fs::write(&draft, bytes)
        .and_then(|()| fs::File::open(&draft)?.sync_all())
        .and_then(|()| fs::rename(&draft, path))?;
    path.parent()
        .map_or(Ok(()), |folder| fs::File::open(folder)?.sync_all())
}
