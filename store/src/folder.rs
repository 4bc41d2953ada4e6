//! The store's folder: where it is, what git should not see of it, and its one writer.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use cs_common::manifest::{self, TABLE_FOLDER};

use crate::Error;
use crate::mark;

/// What a store's folder holds.
const OWN: [&str; 5] = [
    ".gitignore",
    "lock",
    TABLE_FOLDER,
    manifest::FILE_NAME,
    mark::FILE_NAME,
];

/// The folder of a store, by its absolute path.
///
/// lancedb takes a relative path that begins with `db` for an address in the cloud.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    path: PathBuf,
}

/// The right to write to a store, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct WriteLock {
    _file: File,
}

impl Folder {
    /// Finds a store that exists.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let missing = || Error::Missing(path.to_owned());
        let found = fs::canonicalize(path).map_err(|_| missing())?;
        if !found.join(TABLE_FOLDER).is_dir() {
            return Err(missing());
        }
        Ok(Self { path: found })
    }

    /// Makes the folder if it is not there, and hides it from git.
    ///
    /// # Errors
    /// [`Error::NotAStore`] for a folder of other things, which must not be hidden.
    pub(crate) fn create(path: &Path) -> Result<Self, Error> {
        fs::create_dir_all(path).map_err(Error::folder(path))?;
        let path = fs::canonicalize(path).map_err(Error::folder(path))?;
        let entries = fs::read_dir(&path).map_err(Error::folder(&path))?;
        let foreign = entries.flatten().any(|entry| {
            let name = entry.file_name();
            !OWN.iter().any(|own| name == *own)
        });
        if foreign && !path.join(TABLE_FOLDER).is_dir() {
            return Err(Error::NotAStore(path));
        }
        let ignore = path.join(".gitignore");
        if !ignore.exists() {
            fs::write(&ignore, "*\n").map_err(Error::folder(&ignore))?;
        }
        Ok(Self { path })
    }

    /// Returns the absolute path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Becomes the store's only writer.
    pub(crate) fn lock(&self) -> Result<WriteLock, Error> {
        let path = self.path.join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(Error::folder(&path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                // Who it is helps; that there is somebody is enough.
                let _ = file.read_to_string(&mut pid);
                return Err(Error::Locked {
                    path: self.path.clone(),
                    pid: pid.trim().to_owned(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(Error::Folder { path, source }),
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(Error::folder(&path))?;
        Ok(WriteLock { _file: file })
    }

    /// Returns the bytes of all files in the folder.
    pub(crate) fn size(&self) -> u64 {
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
        below(&self.path)
    }
}
