//! Locks on this machine: a repository's is one byte of a file that the store's writers share.
//!
//! These are POSIX's record locks (`fcntl`, `F_SETLK`). They take neither a file nor an open one for
//! each of a thousand repositories, the system frees them with their process however that ends, and
//! it knows who has one. They are a process's: closing the file anywhere in it gives up all of them,
//! so that it is opened once, and stays open.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::sync::{Arc, Mutex, PoisonError};

use super::{FILE, what};
use crate::Error;
use crate::folder::Folder;

/// The file of a store whose bytes are locked, opened when a first one is.
#[derive(Clone, Debug, Default)]
pub(crate) struct LockFile(Arc<Mutex<Option<Arc<File>>>>);

impl LockFile {
    fn open(&self, folder: &Folder) -> Result<Arc<File>, Error> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = &*open {
            return Ok(Arc::clone(file));
        }
        let path = folder.path().join(FILE);
        let options = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path);
        let file = Arc::new(options.map_err(Error::folder(&path))?);
        *open = Some(Arc::clone(&file));
        Ok(file)
    }
}

/// A byte that is locked; free again when this is dropped.
#[derive(Debug)]
pub(super) struct Range {
    file: Arc<File>,
    at: libc::off_t,
}

impl Range {
    /// Locks the byte of a repository, or of something else by its name.
    ///
    /// # Errors
    /// [`Error::Locked`] if another process has it.
    pub(super) fn take(folder: &Folder, name: &str) -> Result<Self, Error> {
        let file = folder.locks().open(folder)?;
        let at = offset(name);
        loop {
            let mut wanted = record(libc::F_WRLCK, at);
            match call(&file, libc::F_SETLK, &mut wanted) {
                Ok(()) => return Ok(Self { file, at }),
                Err(error) if is_taken(&error) => {}
                Err(error) => return Err(Error::folder(&folder.path().join(FILE))(error)),
            }
            let asked = call(&file, libc::F_GETLK, &mut wanted);
            asked.map_err(Error::folder(&folder.path().join(FILE)))?;
            // It may have been given up between the two calls.
            if libc::c_int::from(wanted.l_type) != libc::F_UNLCK {
                return Err(Error::Locked {
                    path: folder.path().to_owned(),
                    holder: holder(wanted.l_pid),
                    what: what(name),
                });
            }
        }
    }
}

impl Drop for Range {
    fn drop(&mut self) {
        let mut free = record(libc::F_UNLCK, self.at);
        if let Err(error) = call(&self.file, libc::F_SETLK, &mut free) {
            log::debug!("a lock stays until the process ends: {error}");
        }
    }
}

/// Returns the byte that stands for a name: 62 bits of a hash over it, which the system's offsets
/// have room for.
fn offset(name: &str) -> libc::off_t {
    let hash = blake3::hash(name.as_bytes());
    let first = hash.as_bytes().first_chunk().copied().unwrap_or_default();
    (u64::from_le_bytes(first) >> 2).cast_signed()
}

/// Returns a lock of one byte, as the system is asked for it.
fn record(kind: libc::c_int, at: libc::off_t) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: at,
        l_len: 1,
        l_pid: 0,
    }
}

fn call(file: &File, command: libc::c_int, lock: &mut libc::flock) -> io::Result<()> {
    // SAFETY: the descriptor is open as long as `file` is, and both commands take a lock, which the
    // system may write to.
    match unsafe { libc::fcntl(file.as_raw_fd(), command, std::ptr::from_mut(lock)) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Tells whether another process has the lock: systems differ in what they call it.
fn is_taken(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EACCES | libc::EAGAIN))
}

/// Says who has a lock. In another container the system does not tell.
fn holder(pid: libc::pid_t) -> String {
    match pid {
        1.. => format!("process {pid}"),
        _ => "another process".to_owned(),
    }
}
