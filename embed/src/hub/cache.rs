//! The cache's layout: what is in it, and how something is put there.
//!
//! ```text
//! models--ORG--NAME/blobs/ETAG              a file's bytes, under the hash that the hub gives
//! models--ORG--NAME/snapshots/COMMIT/FILE   a relative link to the blob
//! models--ORG--NAME/refs/REVISION           the commit that a branch or tag is at
//! .locks/models--ORG--NAME/ETAG.lock        held while a blob is written
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::MAIN;
use crate::Error;

/// The file of weights, and the one that names several.
pub(super) const WEIGHTS: &str = "model.safetensors";
pub(super) const INDEX: &str = "model.safetensors.index.json";

const PREFIX: &str = "models--";

/// The part of the cache that belongs to one model.
#[derive(Clone, Debug)]
pub(crate) struct Repository {
    folder: PathBuf,
    locks: PathBuf,
}

impl Repository {
    /// Returns the place of a model, which need not be there yet.
    pub(crate) fn new(cache: &Path, repo: &str) -> Self {
        let name = format!("{PREFIX}{}", repo.replace('/', "--"));
        Self {
            folder: cache.join(&name),
            locks: cache.join(".locks").join(name),
        }
    }

    /// Returns the folder of a branch, a tag or a commit, if it is there; files may lack in it.
    pub(super) fn snapshot(&self, revision: &str) -> Option<PathBuf> {
        let named = fs::read_to_string(self.folder.join("refs").join(revision));
        let commit = named.unwrap_or_else(|_| revision.to_owned());
        let commit = commit.trim();
        // A branch's name with a slash in it is no commit.
        let folder = self.commit(commit);
        (!commit.is_empty() && !commit.contains('/') && folder.is_dir()).then_some(folder)
    }

    /// Returns the folder of a commit.
    pub(super) fn commit(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    /// Returns the place of a file's bytes.
    pub(super) fn blob(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(etag)
    }

    /// Waits until no other process writes a blob, and keeps others from it while the file is open.
    ///
    /// The lock is `flock`'s, on the file that huggingface_hub takes too.
    ///
    /// # Errors
    /// [`Error::File`] if there can be no such file or lock.
    pub(super) fn lock(&self, etag: &str) -> Result<File, Error> {
        let path = self.locks.join(format!("{etag}.lock"));
        let file = create_parent(&path)
            .and_then(|()| File::options().create(true).append(true).open(&path))
            .map_err(Error::file(&path))?;
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => {
                log::info!("waiting for another process that downloads the same file");
            }
            Err(TryLockError::Error(error)) => return Err(Error::file(&path)(error)),
        }
        file.lock().map_err(Error::file(&path))?;
        Ok(file)
    }

    /// Makes a file of a commit lead to its blob.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(super) fn link(&self, commit: &str, file: &str, etag: &str) -> Result<(), Error> {
        let path = self.commit(commit).join(file);
        let up = "../".repeat(file.matches('/').count() + 2);
        let target = PathBuf::from(format!("{up}blobs/{etag}"));
        if fs::read_link(&path).is_ok_and(|present| present == target) {
            return Ok(());
        }
        put(&path, |temporary| {
            std::os::unix::fs::symlink(&target, temporary)
        })
    }

    /// Writes down which commit a branch or tag is at.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(super) fn point(&self, revision: &str, commit: &str) -> Result<(), Error> {
        if revision == commit {
            return Ok(());
        }
        let path = self.folder.join("refs").join(revision);
        put(&path, |temporary| fs::write(temporary, commit))
    }

    /// Returns the commits that are there, each with the first of the names that lead to it.
    fn snapshots(&self) -> Vec<(String, PathBuf)> {
        let mut names: BTreeMap<String, String> = BTreeMap::new();
        let mut refs = Vec::new();
        list(&self.folder.join("refs"), "", &mut refs);
        // The main revision last, so that it names its commit whatever else does.
        refs.sort_by_key(|(name, _)| (name == MAIN, std::cmp::Reverse(name.clone())));
        for (name, path) in refs {
            if let Ok(commit) = fs::read_to_string(path) {
                names.insert(commit.trim().to_owned(), name);
            }
        }
        let mut found: Vec<(String, PathBuf)> = entries(&self.folder.join("snapshots"))
            .filter(|(_, path)| path.is_dir())
            .map(|(commit, path)| (names.get(&commit).cloned().unwrap_or(commit), path))
            .collect();
        found.sort();
        found
    }
}

/// Returns each model's snapshots in the cache: name, revision, folder; sorted.
pub(crate) fn models(cache: &Path) -> Vec<(String, String, PathBuf)> {
    let mut repos: Vec<String> = entries(cache)
        .filter_map(|(name, _)| Some(name.strip_prefix(PREFIX)?.replace("--", "/")))
        .collect();
    repos.sort();
    let mut found = Vec::new();
    for repo in repos {
        for (revision, folder) in Repository::new(cache, &repo).snapshots() {
            found.push((repo.clone(), revision, folder));
        }
    }
    found
}

/// Returns the first file that an encoder needs and a snapshot lacks.
pub(crate) fn missing(snapshot: &Path) -> Option<String> {
    let lacks = |file: &String| !snapshot.join(file).is_file();
    let mut needed = vec!["config.json".to_owned(), "tokenizer.json".to_owned()];
    let index = snapshot.join(INDEX);
    if index.is_file() && lacks(&WEIGHTS.to_owned()) {
        match shards(&index) {
            Ok(shards) => needed.extend(shards),
            Err(_) => needed.push(WEIGHTS.to_owned()),
        }
    } else {
        needed.push(WEIGHTS.to_owned());
    }
    // Of the modules, the pooling's folder always has its configuration.
    let listed = modules(&snapshot.join("modules.json")).unwrap_or_default();
    let pooling = listed.iter().filter(|module| module.is_pooling());
    needed.extend(pooling.map(|module| format!("{}/config.json", module.path)));
    needed.into_iter().find(lacks)
}

/// A part of a sentence-transformers model, by `modules.json`.
#[derive(Debug, Deserialize)]
pub(super) struct Module {
    /// Its folder; empty where its files are the model's own.
    pub(super) path: String,
    #[serde(rename = "type")]
    kind: String,
}

impl Module {
    fn is_pooling(&self) -> bool {
        self.kind.ends_with(".Pooling")
    }
}

/// Reads the list of a model's parts.
///
/// # Errors
/// [`Error::File`], [`Error::Model`].
pub(super) fn modules(path: &Path) -> Result<Vec<Module>, Error> {
    let bytes = fs::read(path).map_err(Error::file(path))?;
    serde_json::from_slice(&bytes).map_err(|error| Error::model(path, error))
}

/// Reads which files the weights are spread over.
///
/// # Errors
/// [`Error::File`], [`Error::Model`].
pub(super) fn shards(index: &Path) -> Result<Vec<String>, Error> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let bytes = fs::read(index).map_err(Error::file(index))?;
    let index: Index =
        serde_json::from_slice(&bytes).map_err(|error| Error::model(index, error))?;
    let mut files: Vec<String> = index.weight_map.into_values().collect();
    files.sort();
    files.dedup();
    Ok(files)
}

/// Returns the bytes of all files of a snapshot, through its links.
pub(crate) fn size(snapshot: &Path) -> u64 {
    let mut files = Vec::new();
    list(snapshot, "", &mut files);
    let sizes = files.iter().filter_map(|(_, path)| fs::metadata(path).ok());
    sizes.map(|metadata| metadata.len()).sum()
}

/// Puts a file or link in its place at once, whatever was there.
fn put(path: &Path, make: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), Error> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    let temporary = path.with_file_name(name);
    // Of a process that died here and had the same number.
    let _ = fs::remove_file(&temporary);
    create_parent(path)
        .and_then(|()| make(&temporary))
        .and_then(|()| fs::rename(&temporary, path))
        .map_err(Error::file(path))
}

/// Makes the folder that a file is to lie in.
pub(super) fn create_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

/// Lists the files below a folder by their paths in it.
fn list(folder: &Path, prefix: &str, files: &mut Vec<(String, PathBuf)>) {
    for (name, path) in entries(folder) {
        let name = format!("{prefix}{name}");
        if path.is_dir() {
            list(&path, &format!("{name}/"), files);
        } else {
            files.push((name, path));
        }
    }
}

/// Returns the entries of a folder whose names are text; none if it is not there.
fn entries(folder: &Path) -> impl Iterator<Item = (String, PathBuf)> {
    fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            Some((entry.file_name().into_string().ok()?, entry.path()))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_there_is_found_by_branch_tag_and_commit() {
        let root = tempfile::tempdir().unwrap();
        let repository = Repository::new(root.path(), "org/name");
        let blob = repository.blob("e1");
        create_parent(&blob).unwrap();
        fs::write(&blob, "bytes").unwrap();
        let commit = "0123456789012345678901234567890123456789";
        for file in ["config.json", "1_Pooling/config.json"] {
            for _ in 0..2 {
                repository.link(commit, file, "e1").unwrap();
            }
            let path = repository.commit(commit).join(file);
            assert_eq!(fs::read_to_string(&path).unwrap(), "bytes");
            assert!(fs::read_link(&path).unwrap().is_relative());
        }
        assert_eq!(repository.snapshot("main"), None);
        for revision in ["refs/pr/1", "v1", "main", commit] {
            repository.point(revision, commit).unwrap();
            let found = repository.snapshot(revision);
            assert_eq!(found, Some(repository.commit(commit)));
        }
        assert!(
            !root
                .path()
                .join("models--org--name/refs")
                .join(commit)
                .exists()
        );
        let listed = models(root.path());
        let expected = ("org/name".into(), "main".into(), repository.commit(commit));
        assert_eq!(listed, [expected]);
        assert_eq!(size(&repository.commit(commit)), 10);
    }

    #[test]
    fn a_snapshot_is_whole_with_every_shard_and_module() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        let expect = |file: Option<&str>| assert_eq!(missing(root.path()).as_deref(), file);
        let write = |name: &str, text: &str| {
            create_parent(&at(name)).unwrap();
            fs::write(at(name), text).unwrap();
        };
        for file in ["config.json", "tokenizer.json"] {
            expect(Some(file));
            write(file, "{}");
        }
        expect(Some(WEIGHTS));
        write(INDEX, r#"{"weight_map":{"a":"m-1","b":"m-2","c":"m-1"}}"#);
        for file in ["m-1", "m-2"] {
            expect(Some(file));
            write(file, "");
        }
        expect(None);
        write(
            "modules.json",
            r#"[{"path":"","type":"sentence_transformers.models.Transformer"},
                {"path":"1_Pooling","type":"sentence_transformers.models.Pooling"},
                {"path":"2_Normalize","type":"sentence_transformers.models.Normalize"}]"#,
        );
        expect(Some("1_Pooling/config.json"));
        write("1_Pooling/config.json", "{}");
        expect(None);
    }
}
