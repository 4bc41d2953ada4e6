//! The tensors of a model's safetensors files, read as `f32`.
//!
//! Tables of embeddings stay in the file, mapped: a text needs few of their rows. All other
//! tensors are read one at a time, so that no more of them is in memory than an engine keeps.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use half::{bf16, f16};
use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::spec::{Dense, NormWeights};
use crate::Error;
use crate::fixed::hex;

/// Bytes that are hashed at a time.
const HASH_BYTES: usize = 1 << 20;

/// The tensors of one model, found by name.
pub(crate) struct Tensors {
    files: Vec<WeightFile>,
    slots: HashMap<String, Slot>,
    /// What stands before every name that is asked for.
    prefix: String,
}

struct WeightFile {
    path: PathBuf,
    file: File,
    map: Arc<Mmap>,
}

/// Where a tensor lies.
struct Slot {
    file: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    /// Bytes of the file.
    bytes: Range<usize>,
}

/// `model.safetensors.index.json`.
#[derive(Deserialize)]
struct Index {
    weight_map: HashMap<String, String>,
}

impl Tensors {
    /// Opens `model.safetensors` of a folder, or the files that `model.safetensors.index.json`
    /// lists.
    ///
    /// # Errors
    /// [`Error::File`] for a file that cannot be read, [`Error::Model`] for one that is no
    /// safetensors.
    pub(crate) fn open(folder: &Path) -> Result<Self, Error> {
        let mut tensors = Self {
            files: Vec::new(),
            slots: HashMap::new(),
            prefix: String::new(),
        };
        for path in weight_files(folder)? {
            tensors.add(path)?;
        }
        Ok(tensors)
    }

    fn add(&mut self, path: PathBuf) -> Result<(), Error> {
        let file = File::open(&path).map_err(Error::file(&path))?;
        // SAFETY: the map is only read, as bytes that may have any value. A model's file that is
        // cut while it is in use ends the process, as with every reader of mapped weights.
        let map = unsafe { Mmap::map(&file) }.map_err(Error::file(&path))?;
        let (header, metadata) =
            SafeTensors::read_metadata(&map).map_err(|error| Error::model(&path, error))?;
        let data = size_of::<u64>() + header;
        for (name, info) in metadata.tensors() {
            let (start, end) = info.data_offsets;
            let slot = Slot {
                file: self.files.len(),
                dtype: info.dtype,
                shape: info.shape.clone(),
                bytes: data + start..data + end,
            };
            self.slots.insert(name, slot);
        }
        self.files.push(WeightFile {
            path,
            file,
            map: Arc::new(map),
        });
        Ok(())
    }

    /// Starts to compute what identifies the weights.
    pub(crate) fn digest(&self) -> Digest {
        Digest::start(self.files.iter().map(|file| file.path.clone()).collect())
    }

    /// Takes what stands before `name` in the files (`bert.`, `model.`, or nothing) for the
    /// prefix of all names that are asked for from now on.
    ///
    /// # Errors
    /// [`Error::Model`] if no tensor is called so.
    pub(crate) fn find_prefix(&mut self, name: &str) -> Result<(), Error> {
        let prefixes = self
            .slots
            .keys()
            .filter_map(|tensor| tensor.strip_suffix(name))
            .filter(|prefix| prefix.is_empty() || prefix.ends_with('.'));
        match prefixes.min_by_key(|prefix| prefix.len()) {
            Some(prefix) => self.prefix = prefix.to_owned(),
            None => return Err(self.wrong(format!("has no tensor `{name}`"))),
        }
        Ok(())
    }

    /// Tells whether there is a tensor of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.slots.contains_key(&format!("{}{name}", self.prefix))
    }

    /// Reads a vector.
    ///
    /// # Errors
    /// [`Error::Model`] naming tensor and file if it is missing, or of another shape or type;
    /// [`Error::File`] if it cannot be read.
    pub(crate) fn vector(&self, name: &str, length: usize) -> Result<Vec<f32>, Error> {
        let mut values = Vec::with_capacity(length);
        self.append(name, &[length], &mut values)?;
        Ok(values)
    }

    /// Reads linear maps of the same input, one below the other: `name.weight` and, with `bias`,
    /// `name.bias` for each name and its number of outputs.
    ///
    /// # Errors
    /// Those of [`Tensors::vector`].
    pub(crate) fn dense(
        &self,
        parts: &[(&str, usize)],
        inputs: usize,
        bias: bool,
    ) -> Result<Dense, Error> {
        let outputs = parts.iter().map(|(_, outputs)| outputs).sum();
        let mut weight = Vec::with_capacity(outputs * inputs);
        let mut shift = Vec::with_capacity(if bias { outputs } else { 0 });
        for (name, rows) in parts {
            self.append(&format!("{name}.weight"), &[*rows, inputs], &mut weight)?;
            if bias {
                self.append(&format!("{name}.bias"), &[*rows], &mut shift)?;
            }
        }
        Ok(Dense {
            weight,
            outputs,
            bias: bias.then_some(shift),
        })
    }

    /// Reads `name.weight` and, with `bias`, `name.bias` of a norm; checkpoints that began in
    /// TensorFlow call them `gamma` and `beta`.
    ///
    /// # Errors
    /// Those of [`Tensors::vector`].
    pub(crate) fn norm(&self, name: &str, size: usize, bias: bool) -> Result<NormWeights, Error> {
        let old = self.has(&format!("{name}.gamma"));
        let (scale, shift) = if old {
            ("gamma", "beta")
        } else {
            ("weight", "bias")
        };
        let shift = bias.then(|| self.vector(&format!("{name}.{shift}"), size));
        Ok(NormWeights {
            scale: self.vector(&format!("{name}.{scale}"), size)?,
            shift: shift.transpose()?,
        })
    }

    /// Maps a matrix, to be read by rows.
    ///
    /// # Errors
    /// [`Error::Model`] as for [`Tensors::vector`].
    pub(crate) fn table(&self, name: &str, rows: usize, dim: usize) -> Result<Table, Error> {
        let slot = self.slot(name, &[rows, dim])?;
        Ok(Table {
            map: Arc::clone(&self.files[slot.file].map),
            start: slot.bytes.start,
            dtype: slot.dtype,
            rows,
            dim,
        })
    }

    /// Appends the numbers of a tensor.
    fn append(&self, name: &str, shape: &[usize], values: &mut Vec<f32>) -> Result<(), Error> {
        let slot = self.slot(name, shape)?;
        let WeightFile { path, file, .. } = &self.files[slot.file];
        // Read instead of mapped: what was mapped would count as this process's memory beside
        // the numbers made of it.
        let mut bytes = vec![0; slot.bytes.len()];
        file.read_exact_at(&mut bytes, slot.bytes.start as u64)
            .map_err(Error::file(path))?;
        for_each(slot.dtype, &bytes, |value| values.push(value));
        Ok(())
    }

    fn slot(&self, name: &str, shape: &[usize]) -> Result<&Slot, Error> {
        let name = format!("{}{name}", self.prefix);
        let Some(slot) = self.slots.get(&name) else {
            return Err(self.wrong(format!("has no tensor `{name}`")));
        };
        let path = &self.files[slot.file].path;
        if slot.shape != shape {
            let found = &slot.shape;
            let cause = format!("tensor `{name}` has the shape {found:?}, not {shape:?}");
            return Err(Error::model(path, cause));
        }
        if !matches!(slot.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) {
            let cause = format!(
                "tensor `{name}` is of type {:?}; F32, F16 and BF16 are read",
                slot.dtype
            );
            return Err(Error::model(path, cause));
        }
        Ok(slot)
    }

    /// Returns an error about all files, which the first one stands for.
    fn wrong(&self, cause: String) -> Error {
        let path = self.files.first().map(|file| file.path.as_path());
        Error::model(path.unwrap_or(Path::new("model.safetensors")), cause)
    }
}

/// Lists a folder's files of weights.
fn weight_files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let single = folder.join("model.safetensors");
    let path = folder.join("model.safetensors.index.json");
    if single.exists() || !path.exists() {
        if !single.exists() && folder.join("pytorch_model.bin").exists() {
            let cause = "is not there, and pytorch_model.bin is not read: \
                         convert it with save_pretrained of transformers";
            return Err(Error::model(&single, cause));
        }
        return Ok(vec![single]);
    }
    let bytes = fs::read(&path).map_err(Error::file(&path))?;
    let index: Index =
        serde_json::from_slice(&bytes).map_err(|error| Error::model(&path, error))?;
    let names: BTreeSet<String> = index.weight_map.into_values().collect();
    Ok(names.iter().map(|name| folder.join(name)).collect())
}

/// Calls `take` with each number that `bytes` are.
#[inline(always)]
fn for_each(dtype: Dtype, bytes: &[u8], mut take: impl FnMut(f32)) {
    match dtype {
        Dtype::F32 => {
            for value in bytes.chunks_exact(4) {
                take(f32::from_le_bytes([value[0], value[1], value[2], value[3]]));
            }
        }
        Dtype::F16 => {
            for value in bytes.chunks_exact(2) {
                take(f16::from_le_bytes([value[0], value[1]]).to_f32());
            }
        }
        // Other types were refused where the tensor was looked up.
        _ => {
            for value in bytes.chunks_exact(2) {
                take(bf16::from_le_bytes([value[0], value[1]]).to_f32());
            }
        }
    }
}

/// A matrix that stays in its file.
#[derive(Clone)]
pub(crate) struct Table {
    map: Arc<Mmap>,
    start: usize,
    dtype: Dtype,
    rows: usize,
    dim: usize,
}

impl Table {
    /// Returns how many rows there are.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Adds a row to `sum`, which has as many numbers.
    ///
    /// # Panics
    /// Panics if there is no such row; whoever loads a model checks that no token's id and no
    /// position is beyond its table.
    pub(crate) fn add_row(&self, row: usize, sum: &mut [f32]) {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        let width = self.dim * if self.dtype == Dtype::F32 { 4 } else { 2 };
        let start = self.start + row * width;
        let mut sum = sum.iter_mut();
        for_each(self.dtype, &self.map[start..start + width], |value| {
            if let Some(sum) = sum.next() {
                *sum += value;
            }
        });
    }
}

/// The SHA-256 of weights, computed while they are loaded.
pub(crate) struct Digest(Vec<FileDigest>);

enum FileDigest {
    Known(String),
    Running(PathBuf, JoinHandle<io::Result<String>>),
}

impl Digest {
    /// Starts to hash files on threads of their own.
    pub(crate) fn start(paths: Vec<PathBuf>) -> Self {
        let start = |path: PathBuf| match blob_name(&path) {
            Some(name) => FileDigest::Known(name),
            None => {
                let file = path.clone();
                FileDigest::Running(path, thread::spawn(move || hash(&file)))
            }
        };
        Self(paths.into_iter().map(start).collect())
    }

    /// Adds the files of another one.
    pub(crate) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Waits for the digest: of one file its SHA-256, of several that of their digests, one a
    /// line, in 64 hexadecimal digits.
    ///
    /// # Errors
    /// [`Error::File`] if a file could not be read.
    pub(crate) fn finish(self) -> Result<String, Error> {
        let mut digests = Vec::with_capacity(self.0.len());
        for file in self.0 {
            digests.push(match file {
                FileDigest::Known(digest) => digest,
                FileDigest::Running(path, thread) => thread
                    .join()
                    .unwrap_or_else(|_| Err(io::Error::other("hashing failed")))
                    .map_err(Error::file(&path))?,
            });
        }
        match digests.as_slice() {
            [single] => Ok(single.clone()),
            several => Ok(hex(&Sha256::digest(several.join("\n")))),
        }
    }
}

/// Returns the SHA-256 that names a file in the hub's cache: `snapshots/…/model.safetensors` is a
/// link to `blobs/SHA256` there, whose name was checked when it was downloaded.
fn blob_name(path: &Path) -> Option<String> {
    let target = fs::read_link(path).ok()?;
    let name = target.file_name()?.to_str()?;
    let in_blobs = target.parent()?.file_name()? == "blobs";
    let is_hash = name.len() == 64
        && name
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (in_blobs && is_hash).then(|| name.to_owned())
}

fn hash(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; HASH_BYTES];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok(hex(&hasher.finalize()));
        }
        hasher.update(&buffer[..count]);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn digest(paths: &[PathBuf]) -> String {
        Digest::start(paths.to_vec()).finish().unwrap()
    }

    #[test]
    fn a_file_of_the_hubs_cache_is_identified_by_its_name_and_others_by_their_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let plain = folder.path().join("plain");
        fs::write(&plain, "abc").unwrap();
        // Of the standard's examples.
        let of_abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest(std::slice::from_ref(&plain)), of_abc);

        let name = "0123456789abcdef".repeat(4);
        for (target, expected) in [
            (format!("../../blobs/{name}"), name.as_str()),
            (plain.display().to_string(), of_abc),
        ] {
            let link = folder.path().join("link");
            symlink(&target, &link).unwrap();
            assert_eq!(digest(std::slice::from_ref(&link)), expected, "{target}");
            fs::remove_file(&link).unwrap();
        }
        let both = digest(&[plain.clone(), plain]);
        assert_eq!(both, hex(&Sha256::digest(format!("{of_abc}\n{of_abc}"))));
    }

    #[test]
    fn numbers_of_every_type_are_read_alike() {
        let values = [1.5_f32, -0.25, 0.0, 1024.0];
        let bytes = [
            (Dtype::F32, values.map(|v| v.to_le_bytes().to_vec())),
            (
                Dtype::F16,
                values.map(|v| f16::from_f32(v).to_le_bytes().to_vec()),
            ),
            (
                Dtype::BF16,
                values.map(|v| bf16::from_f32(v).to_le_bytes().to_vec()),
            ),
        ];
        for (dtype, bytes) in bytes {
            let mut read = Vec::new();
            for_each(dtype, &bytes.concat(), |value| read.push(value));
            assert_eq!(read, values, "{dtype:?}");
        }
    }
}
