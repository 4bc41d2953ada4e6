//! A file of cached vectors: written once, found whole or not at all, never changed.
//!
//! A file is mapped and has its keys in order, so a look-up is a binary search in each file. A sum
//! of eight bytes guards each vector against a power loss.
//!
//! ```text
//! "csvector"  u32 format  u32 numbers of a vector  u64 vectors     24 bytes
//! for each vector, in the order of keys: u128 key (big-endian), 8 bytes of BLAKE3 over key and vector
//! the vectors, in the same order: f32 (little-endian)
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::SystemTime;

use memmap2::Mmap;

/// What names a text among those of one model: the hash of its document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key(u128);

impl Key {
    /// Reads the 32 hex digits of a content hash.
    pub(crate) fn of(content_hash: &str) -> Self {
        // Whatever is no such hash would only share a key that no chunk has.
        Self(u128::from_str_radix(content_hash, 16).unwrap_or_default())
    }
}

const MAGIC: &[u8; 8] = b"csvector";
const FORMAT: u32 = 1;
const HEADER: usize = 24;
const SUM: usize = 8;
const ENTRY: usize = size_of::<u128>() + SUM;

/// The end of a segment's name; what is still being written has another one.
pub(super) const SUFFIX: &str = "vectors";
pub(super) const PARTIAL: &str = "partial";

/// A file of vectors, mapped.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    map: Mmap,
    dim: usize,
    count: usize,
    /// Whether a vector of it was taken.
    used: AtomicBool,
}

impl Segment {
    /// Opens a file; nothing if it is not whole.
    ///
    /// # Errors
    /// If it cannot be read, because another process has put it together with others, say.
    pub(super) fn open(path: PathBuf, dim: usize) -> io::Result<Option<Self>> {
        let file = File::open(&path)?;
        if file.metadata()?.len() < HEADER as u64 {
            return Ok(None);
        }
        // SAFETY: the map is only read, as bytes that may have any value. Nobody writes to the
        // file under this name: it is renamed to it when whole, and then only removed.
        let map = unsafe { Mmap::map(&file) }?;
        let number = |bytes: Range<usize>| {
            let bytes = map[bytes].iter().rev();
            bytes.fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
        };
        let (format, found, count) = (number(8..12), number(12..16), number(16..24));
        let row = (ENTRY + dim * size_of::<f32>()) as u64;
        let whole = count.checked_mul(row).map(|size| size + HEADER as u64);
        let is_whole = map[..8] == *MAGIC
            && format == u64::from(FORMAT)
            && found == dim as u64
            && whole == Some(map.len() as u64);
        Ok(is_whole.then(|| Self {
            path,
            count: count as usize,
            map,
            dim,
            used: AtomicBool::new(false),
        }))
    }

    /// Returns the vector of a key, if it is there and as it was written.
    pub(super) fn get(&self, key: Key) -> Option<Vec<f32>> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low.midpoint(high);
            if self.key(middle) < key {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        if low == self.count || self.key(low) != key {
            return None;
        }
        let bytes = self.checked(low)?;
        self.used.store(true, Ordering::Relaxed);
        let numbers = bytes.chunks_exact(size_of::<f32>());
        let number = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().unwrap_or_default());
        Some(numbers.map(number).collect())
    }

    /// Moves the file's time on if a vector of it was taken since the last call: those that have
    /// not been for the longest time go first.
    pub(super) fn note_use(&self) {
        if self.used.swap(false, Ordering::Relaxed) {
            // Not allowed to those who do not own it: then its owner's use counts alone.
            let _ = File::open(&self.path).and_then(|file| file.set_modified(SystemTime::now()));
        }
    }

    fn key(&self, at: usize) -> Key {
        let bytes = &self.map[self.entry(at)][..size_of::<u128>()];
        Key(u128::from_be_bytes(bytes.try_into().unwrap_or_default()))
    }

    fn entry(&self, at: usize) -> Range<usize> {
        let start = HEADER + at * ENTRY;
        start..start + ENTRY
    }

    /// Returns the bytes of a vector, if its sum is right: a power loss may leave others.
    fn checked(&self, at: usize) -> Option<&[u8]> {
        let size = self.dim * size_of::<f32>();
        let start = HEADER + self.count * ENTRY + at * size;
        let bytes = &self.map[start..start + size];
        let entry = &self.map[self.entry(at)];
        let (_, expected) = entry.split_at(size_of::<u128>());
        (sum(self.key(at), bytes) == expected).then_some(bytes)
    }
}

fn sum(key: Key, vector: &[u8]) -> [u8; SUM] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&key.0.to_be_bytes());
    hasher.update(vector);
    let mut sum = [0; SUM];
    sum.copy_from_slice(&hasher.finalize().as_bytes()[..SUM]);
    sum
}

/// Writes vectors into a new file of a folder, and returns its path.
///
/// # Errors
/// If it cannot be written; then nothing of it is found.
pub(super) fn write(
    folder: &Path,
    dim: usize,
    vectors: &BTreeMap<Key, Vec<f32>>,
) -> io::Result<PathBuf> {
    let rows = vectors.iter().map(|(key, vector)| {
        let bytes: Vec<u8> = vector
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        (*key, bytes)
    });
    let rows: Vec<(Key, Vec<u8>)> = rows.collect();
    let rows: Vec<(Key, &[u8])> = rows
        .iter()
        .map(|(key, bytes)| (*key, bytes.as_slice()))
        .collect();
    write_rows(folder, dim, &rows)
}

/// Puts segments together into one new file, each key once, and returns its path.
///
/// # Errors
/// Those of [`write`].
pub(super) fn merge(folder: &Path, dim: usize, segments: &[Segment]) -> io::Result<PathBuf> {
    let rows_of = |segment| {
        let row = move |at| Some((Segment::key(segment, at), Segment::checked(segment, at)?));
        (0..segment.count).filter_map(row)
    };
    let mut rows: Vec<(Key, &[u8])> = segments.iter().flat_map(rows_of).collect();
    rows.sort_unstable_by_key(|(key, _)| *key);
    rows.dedup_by_key(|(key, _)| *key);
    write_rows(folder, dim, &rows)
}

fn write_rows(folder: &Path, dim: usize, rows: &[(Key, &[u8])]) -> io::Result<PathBuf> {
    let name = new_name();
    let partial = folder.join(format!("{name}.{PARTIAL}"));
    let path = folder.join(format!("{name}.{SUFFIX}"));
    let fill = || -> io::Result<()> {
        let mut file = BufWriter::with_capacity(1 << 20, File::create_new(&partial)?);
        file.write_all(MAGIC)?;
        file.write_all(&FORMAT.to_le_bytes())?;
        let width = u32::try_from(dim).map_err(io::Error::other)?;
        file.write_all(&width.to_le_bytes())?;
        file.write_all(&(rows.len() as u64).to_le_bytes())?;
        for (key, bytes) in rows {
            file.write_all(&key.0.to_be_bytes())?;
            file.write_all(&sum(*key, bytes))?;
        }
        for (_, bytes) in rows {
            file.write_all(bytes)?;
        }
        file.flush()?;
        fs::rename(&partial, &path)
    };
    let filled = fill();
    if filled.is_err() {
        // A disk that is full gets its room back.
        let _ = fs::remove_file(&partial);
    }
    filled.map(|()| path)
}

/// Returns a name that no other process takes, nor this one again.
fn new_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.unwrap_or_default().as_nanos();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{now:x}-{:x}-{count:x}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vectors(keys: impl IntoIterator<Item = u128>) -> BTreeMap<Key, Vec<f32>> {
        let vector = |key: u128| (Key(key), vec![key as f32, -0.5, f32::MIN_POSITIVE]);
        keys.into_iter().map(vector).collect()
    }

    fn open(path: PathBuf) -> Segment {
        Segment::open(path, 3).unwrap().unwrap()
    }

    #[test]
    fn what_is_written_is_found_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        for count in [0, 1, 2, 7, 100] {
            let written = vectors((0..count).map(|key| key * 3 + 1));
            let segment = open(write(folder.path(), 3, &written).unwrap());
            for key in 0..count * 3 + 3 {
                assert_eq!(
                    segment.get(Key(key)).as_ref(),
                    written.get(&Key(key)),
                    "{key}"
                );
            }
        }
        let hash = "ffeeddccbbaa99887766554433221100";
        assert_eq!(Key::of(hash).0, 0xffee_ddcc_bbaa_9988_7766_5544_3322_1100);
    }

    #[test]
    fn a_file_that_is_not_whole_or_of_another_kind_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = write(folder.path(), 3, &vectors([1, 2])).unwrap();
        assert!(Segment::open(path.clone(), 4).unwrap().is_none());
        let bytes = fs::read(&path).unwrap();
        for length in [0, 7, HEADER, bytes.len() - 1] {
            fs::write(&path, &bytes[..length]).unwrap();
            assert!(
                Segment::open(path.clone(), 3).unwrap().is_none(),
                "{length}"
            );
        }
        let mut other = bytes.clone();
        other[8] = 2;
        fs::write(&path, &other).unwrap();
        assert!(Segment::open(path.clone(), 3).unwrap().is_none());
        let mut many = bytes.clone();
        many[16..24].fill(0xff);
        fs::write(&path, &many).unwrap();
        assert!(Segment::open(path, 3).unwrap().is_none());
    }

    #[test]
    fn a_vector_whose_bytes_changed_is_not_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = write(folder.path(), 3, &vectors([1, 2])).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, bytes).unwrap();
        let segment = open(path);
        assert!(segment.get(Key(1)).is_some());
        assert_eq!(segment.get(Key(2)), None);
        let merged = open(merge(folder.path(), 3, &[segment]).unwrap());
        assert_eq!(merged.count, 1);
    }

    #[test]
    fn segments_are_put_together_without_what_is_twice() {
        let folder = tempfile::tempdir().unwrap();
        let parts = [vec![1, 5, 9], vec![2, 5], vec![], vec![0, 9]];
        let segment = |keys| open(write(folder.path(), 3, &vectors(keys)).unwrap());
        let segments = parts.map(segment);
        let merged = open(merge(folder.path(), 3, &segments).unwrap());
        let keys: Vec<u128> = (0..merged.count).map(|at| merged.key(at).0).collect();
        assert_eq!(keys, [0, 1, 2, 5, 9]);
        assert_eq!(merged.get(Key(5)), vectors([5]).remove(&Key(5)));
    }
}
