//! Keeping a cache small: few files, and no more bytes than it may have.
//!
//! One process at a time does it, under a lock that no process waits for. It joins small files and
//! removes those that were unused for longest, by their time. Taking a vector from a file updates
//! that time. A process that has a removed file open continues to read it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::segment::{self, PARTIAL, SUFFIX, Segment};

/// Files of one model above which small ones are put together: a look-up asks each.
const FILES: usize = 48;

/// A merged file is at most this part of the cache, so that not too much goes at once.
pub(super) const PART: u64 = 16;

/// After this time a file that is still being written has lost its writer.
const ABANDONED: Duration = Duration::from_secs(3600);

/// A file of a cache.
#[derive(Debug)]
struct Entry {
    path: PathBuf,
    bytes: u64,
    modified: SystemTime,
}

/// Puts small files of `folder` together and removes from all of `root` those that were not used
/// for the longest time, until it has at most `limit` bytes.
///
/// # Errors
/// If a file cannot be written or removed.
pub(super) fn run(root: &Path, folder: &Path, dim: usize, limit: u64) -> io::Result<()> {
    let lock = File::create(root.join("lock"))?;
    if lock.try_lock().is_err() {
        // Another process is at it, or the file system knows no locks: then it grows.
        return Ok(());
    }
    for folder in folders(root)? {
        remove_abandoned(&folder)?;
    }
    merge(folder, dim, limit / PART)?;
    evict(root, limit)
}

fn remove_abandoned(folder: &Path) -> io::Result<()> {
    for entry in list(folder, PARTIAL)? {
        let age = entry.modified.elapsed().unwrap_or_default();
        if age > ABANDONED {
            remove(&entry.path)?;
        }
    }
    Ok(())
}

/// Puts the smallest files of a model together, as long as they make one of at most `limit` bytes.
fn merge(folder: &Path, dim: usize, limit: u64) -> io::Result<()> {
    let mut entries = list(folder, SUFFIX)?;
    if entries.len() <= FILES {
        return Ok(());
    }
    entries.sort_by_key(|entry| entry.bytes);
    let mut bytes = 0;
    entries.retain(|entry| {
        bytes += entry.bytes;
        bytes <= limit
    });
    if entries.len() < 2 {
        return Ok(());
    }
    let latest = entries.iter().map(|entry| entry.modified).max();
    let mut segments = Vec::with_capacity(entries.len());
    for entry in &entries {
        segments.extend(Segment::open(entry.path.clone(), dim)?);
    }
    let merged = segment::merge(folder, dim, &segments)?;
    if let Some(latest) = latest {
        File::open(merged)?.set_modified(latest)?;
    }
    // Only now: whoever is killed before has every vector once more, and none less.
    entries.iter().try_for_each(|entry| remove(&entry.path))
}

fn evict(root: &Path, limit: u64) -> io::Result<()> {
    let mut entries = Vec::new();
    for folder in folders(root)? {
        entries.extend(list(&folder, SUFFIX)?);
    }
    let mut bytes: u64 = entries.iter().map(|entry| entry.bytes).sum();
    entries.sort_by_key(|entry| entry.modified);
    for entry in entries {
        if bytes <= limit {
            break;
        }
        log::debug!("the cache is full: {} goes", entry.path.display());
        remove(&entry.path)?;
        bytes -= entry.bytes;
    }
    Ok(())
}

/// Returns the paths of the segments in a folder.
///
/// # Errors
/// If it cannot be read.
pub(super) fn segments(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = list(folder, SUFFIX)?;
    Ok(entries.into_iter().map(|entry| entry.path).collect())
}

/// Returns the files of a folder whose names end so; those that vanish meanwhile are left out.
fn list(folder: &Path, suffix: &str) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_none_or(|end| end != suffix) {
            continue;
        }
        if let Ok(metadata) = fs::metadata(&path) {
            entries.push(Entry {
                path,
                bytes: metadata.len(),
                modified: metadata.modified()?,
            });
        }
    }
    Ok(entries)
}

fn folders(root: &Path) -> io::Result<Vec<PathBuf>> {
    let paths = fs::read_dir(root)?.map(|entry| entry.map(|entry| entry.path()));
    let paths: Vec<PathBuf> = paths.collect::<io::Result<_>>()?;
    Ok(paths.into_iter().filter(|path| path.is_dir()).collect())
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::segment::Key;
    use super::*;

    /// Writes a segment of one vector, last used so many hours ago.
    fn put(folder: &Path, key: u32, hours: u64) -> PathBuf {
        let key = Key::of(&format!("{key:x}"));
        let path = segment::write(folder, 2, &BTreeMap::from([(key, vec![1.0, 2.0])])).unwrap();
        let then = SystemTime::now() - Duration::from_secs(3600 * hours);
        File::open(&path).unwrap().set_modified(then).unwrap();
        path
    }

    #[test]
    fn small_files_are_put_together_and_lose_nothing() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("model");
        fs::create_dir(&folder).unwrap();
        let count = FILES as u32 + 1;
        (0..count).for_each(|key| drop(put(&folder, key, 1)));
        run(root.path(), &folder, 2, 1 << 30).unwrap();
        let files = segments(&folder).unwrap();
        assert_eq!(files.len(), 1);
        let merged = Segment::open(files[0].clone(), 2).unwrap().unwrap();
        for key in 0..count {
            assert!(merged.get(Key::of(&format!("{key:x}"))).is_some(), "{key}");
        }
        let age = fs::metadata(&files[0])
            .unwrap()
            .modified()
            .unwrap()
            .elapsed();
        assert!(age.unwrap() > Duration::from_secs(3000));
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let root = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| root.path().join(name));
        fs::create_dir(&a).unwrap();
        fs::create_dir(&b).unwrap();
        let old = put(&a, 1, 9);
        let young = put(&a, 2, 1);
        let other = put(&b, 1, 5);
        let bytes = fs::metadata(&old).unwrap().len();
        run(root.path(), &b, 2, 2 * bytes).unwrap();
        assert!(!old.exists() && young.exists() && other.exists());
        Segment::open(other.clone(), 2).unwrap().unwrap().note_use();
        let used = Segment::open(other.clone(), 2).unwrap().unwrap();
        used.get(Key::of("1")).unwrap();
        used.note_use();
        run(root.path(), &b, 2, bytes).unwrap();
        assert!(!young.exists() && other.exists());
    }

    #[test]
    fn what_a_killed_writer_left_goes_and_a_lock_is_heeded() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("model");
        fs::create_dir(&folder).unwrap();
        let left = folder.join("x.partial");
        let writing = folder.join("y.partial");
        for path in [&left, &writing] {
            fs::write(path, "part").unwrap();
        }
        let then = SystemTime::now() - 2 * ABANDONED;
        File::open(&left).unwrap().set_modified(then).unwrap();
        let lock = File::create(root.path().join("lock")).unwrap();
        lock.lock().unwrap();
        run(root.path(), &folder, 2, 0).unwrap();
        assert!(left.exists());
        drop(lock);
        run(root.path(), &folder, 2, 0).unwrap();
        assert!(!left.exists() && writing.exists());
    }
}
