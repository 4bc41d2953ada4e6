//! The store's folder on disk: what belongs there, and the lock that admits one writer.
//!
//! Readers need no lock: every committed version of the table stays as it is while it is read.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use crate::Error;

/// The table's name; its folder is [`TABLE_FOLDER`].
pub(crate) const TABLE: &str = "chunks";

const TABLE_FOLDER: &str = "chunks.lance";
const LOCK: &str = "lock";
const GITIGNORE: &str = ".gitignore";

/// A store's folder, held for writing until dropped.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Makes the folder if it is not there, and locks it against other writers.
    ///
    /// # Errors
    /// [`Error::NotAStore`] if the folder holds other things, [`Error::Locked`] if another process
    /// writes, [`Error::File`] if the operating system refuses.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let path = absolute(path)?;
        fs::create_dir_all(&path).map_err(Error::file(&path))?;
        refuse_foreign(&path)?;
        let lock = lock(&path)?;
        let gitignore = path.join(GITIGNORE);
        if !gitignore.exists() {
            fs::write(&gitignore, "*\n").map_err(Error::file(&gitignore))?;
        }
        Ok(Self { path, _lock: lock })
    }

    /// Returns the absolute path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Tells whether there is a table yet.
    pub(crate) fn has_table(&self) -> bool {
        has_table(&self.path)
    }
}

/// Makes a path absolute: the database takes some relative ones for addresses in a cloud.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf, Error> {
    let path = std::path::absolute(path).map_err(Error::file(path))?;
    match path.to_str() {
        Some(_) => Ok(path),
        None => Err(Error::PathEncoding { path }),
    }
}

/// Tells whether a store's folder has a table.
pub(crate) fn has_table(path: &Path) -> bool {
    path.join(TABLE_FOLDER).is_dir()
}

/// Returns the bytes of all files below `path`; what vanishes meanwhile is left out.
pub(crate) fn size(path: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(path) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => size(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

/// Refuses a folder with anything else in it, where `.gitignore` would hide a user's work.
fn refuse_foreign(path: &Path) -> Result<(), Error> {
    if has_table(path) {
        return Ok(());
    }
    for entry in fs::read_dir(path).map_err(Error::file(path))? {
        let name = entry.map_err(Error::file(path))?.file_name();
        if name != LOCK && name != GITIGNORE {
            return Err(Error::NotAStore {
                path: path.to_owned(),
            });
        }
    }
    Ok(())
}

fn lock(folder: &Path) -> Result<File, Error> {
    let path = folder.join(LOCK);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(Error::file(&path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            // The number is for people; without it the refusal stands all the same.
            let _ = file.read_to_string(&mut pid);
            return Err(Error::Locked {
                db: folder.to_owned(),
                pid: pid.trim().to_owned(),
            });
        }
        Err(TryLockError::Error(source)) => return Err(Error::File { path, source }),
    }
    sign(&mut file).map_err(Error::file(&path))?;
    Ok(file)
}

fn sign(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    writeln!(file, "{}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_writer_is_refused_with_the_first_ones_number() {
        let home = tempfile::tempdir().unwrap();
        let db = home.path().join("db");
        let first = Folder::open(&db).unwrap();
        let error = Folder::open(&db).unwrap_err().to_string();
        assert!(error.contains(&std::process::id().to_string()), "{error}");
        drop(first);
        Folder::open(&db).unwrap();
        assert_eq!(fs::read_to_string(db.join(GITIGNORE)).unwrap(), "*\n");
    }

    #[test]
    fn a_folder_with_other_things_is_left_alone() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("main.rs"), "").unwrap();
        let error = Folder::open(home.path()).unwrap_err();
        assert!(matches!(error, Error::NotAStore { .. }), "{error}");
        assert!(!home.path().join(GITIGNORE).exists());
        assert!(!home.path().join(LOCK).exists());
    }
}
