//! The manifest that a store keeps beside its data: which files it holds, in which state.
//!
//! `cs-store` writes it after each commit that it describes, `cs-parse --since` reads it to
//! leave out what has not changed. It is an Arrow IPC *file* (`manifest.arrow`), one row a
//! file, and it never claims what is not stored: an entry goes from it before the rows of
//! its file are replaced. A lost manifest costs time, nothing else.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Cursor, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arrow_array::builder::{PrimitiveBuilder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, UInt32Type, UInt64Type};
use arrow_array::{Array, RecordBatch};
use arrow_ipc::reader::FileReader;
use arrow_ipc::writer::FileWriter;
use arrow_schema::{DataType, Field, Schema};

/// The manifest's file name in a store's folder.
pub const FILE_NAME: &str = "manifest.arrow";

/// The folder in a store's folder that holds the first table of chunks.
pub const TABLE_FOLDER: &str = "chunks.lance";

/// The file in a store's folder that names the table, if it is not the first one.
pub const TABLE_POINTER: &str = "chunks.table";

/// The table that is no file's to name.
const FIRST_TABLE: &str = "chunks";

/// The folder in that of a table which has a file for each change that made a version.
const CHANGES_FOLDER: &str = "_transactions";

/// The version of the manifest's form; another one is as good as none.
const FORM: &str = "1";

const KEY_FORM: &str = "cs.manifest";
const KEY_TABLE: &str = "cs.table";
const KEY_VERSION: &str = "cs.table_version";
const KEY_CHANGE: &str = "cs.table_change";
const KEY_WRITTEN: &str = "cs.written_ns";

/// Entries in one batch of the file.
const BATCH_ROWS: usize = 65_536;

/// A stored file, in the state in which it was parsed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Nearest folder with a project's manifest, `.` for the root.
    pub project: Option<Box<str>>,
    /// Size in bytes.
    pub size: Option<u64>,
    /// Modification time in nanoseconds since 1970.
    pub mtime_ns: Option<i64>,
    /// 32 hex digits of BLAKE3 over the bytes.
    pub hash: Option<Box<str>>,
    /// 32 hex digits over all that decides how a file is cut; `None` where that is not known.
    pub settings: Option<Arc<str>>,
    /// How many chunks of it are stored; `None` where an older version wrote the manifest.
    pub chunks: Option<u32>,
}

/// The files of a store, by repository and path.
#[derive(Debug, Default, PartialEq)]
pub struct Manifest {
    /// The entries of each repository, by path.
    pub repos: HashMap<String, HashMap<String, Entry>>,
    /// The name of the table that it describes.
    pub table: String,
    /// The version of the table that it describes.
    pub table_version: u64,
    /// What made that version, or an earlier one of the same table: a name that no other change of
    /// any table has. Empty where that is not known.
    pub table_change: String,
    /// When it was written, in nanoseconds since 1970.
    pub written_ns: i64,
}

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// It could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// It is not what this version writes.
    #[error("{}: not a manifest of this version ({cause})", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
}

/// Tells whether a folder is that of a store: without a table a manifest means nothing.
pub fn is_store(folder: &Path) -> bool {
    folder.join(TABLE_FOLDER).is_dir() || folder.join(TABLE_POINTER).is_file()
}

impl Manifest {
    /// Reads the manifest of the store in `folder`; `None` if there is none.
    ///
    /// # Errors
    /// [`ManifestError::Io`] if it cannot be read, [`ManifestError::Form`] if it is damaged or
    /// of another version; either way it is as good as lost.
    pub fn read(folder: &Path) -> Result<Option<Self>, ManifestError> {
        if !is_store(folder) {
            return Ok(None);
        }
        let path = folder.join(FILE_NAME);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(ManifestError::Io { path, source }),
        };
        match Self::read_from(BufReader::new(file)) {
            Ok(manifest) if manifest.is_beside_its_table(folder) => Ok(Some(manifest)),
            Ok(_) => Err(ManifestError::Form {
                path,
                cause: "it describes another table, or another state of this one".to_owned(),
            }),
            Err(cause) => Err(ManifestError::Form { path, cause }),
        }
    }

    /// Reads a manifest that lies by itself, or comes through a pipe.
    ///
    /// # Errors
    /// [`ManifestError::Io`] if it cannot be read, [`ManifestError::Form`] if it is damaged or
    /// of another version.
    pub fn read_copy(path: &Path) -> Result<Self, ManifestError> {
        let bytes = fs::read(path).map_err(|source| ManifestError::Io {
            path: path.to_owned(),
            source,
        })?;
        Self::read_from(Cursor::new(bytes)).map_err(|cause| ManifestError::Form {
            path: path.to_owned(),
            cause,
        })
    }

    fn read_from(file: impl io::Read + io::Seek) -> Result<Self, String> {
        let reader = FileReader::try_new(file, None).map_err(|error| error.to_string())?;
        let schema = reader.schema();
        let metadata = schema.metadata();
        if metadata.get(KEY_FORM).map(String::as_str) != Some(FORM) {
            return Err(format!("no `{KEY_FORM}` = {FORM}"));
        }
        let number = |key: &str| {
            let text = metadata.get(key);
            let parsed = text.and_then(|text| text.parse::<i64>().ok());
            parsed.ok_or_else(|| format!("no number in `{key}`"))
        };
        let mut manifest = Manifest {
            table: metadata.get(KEY_TABLE).cloned().unwrap_or_default(),
            table_version: u64::try_from(number(KEY_VERSION)?).unwrap_or_default(),
            table_change: metadata.get(KEY_CHANGE).cloned().unwrap_or_default(),
            written_ns: number(KEY_WRITTEN)?,
            ..Manifest::default()
        };
        for batch in reader {
            let batch = batch.map_err(|error| error.to_string())?;
            manifest.take(&batch)?;
        }
        Ok(manifest)
    }

    /// Tells whether it is of the table that a store's folder has, in a state that this was in.
    fn is_beside_its_table(&self, folder: &Path) -> bool {
        // Older versions named neither.
        if self.table.is_empty() {
            return true;
        }
        let named = fs::read_to_string(folder.join(TABLE_POINTER)).ok();
        let current = named.as_deref().map_or(FIRST_TABLE, str::trim);
        let changes = folder.join(format!("{current}.lance")).join(CHANGES_FOLDER);
        self.table == current
            && (self.table_change.is_empty() || changes.join(&self.table_change).exists())
    }

    fn take(&mut self, batch: &RecordBatch) -> Result<(), String> {
        let column = |name: &str| {
            let found = batch.column_by_name(name);
            found.ok_or_else(|| format!("no column `{name}`"))
        };
        let text = |name: &str| {
            let array = column(name)?.as_string_opt::<i32>();
            array.ok_or_else(|| format!("`{name}` is no text"))
        };
        let (repos, paths, projects) = (text("repo")?, text("path")?, text("project")?);
        let (hashes, settings) = (text("file_hash")?, text("settings")?);
        let sizes = column("file_size")?.as_primitive_opt::<UInt64Type>();
        let sizes = sizes.ok_or("`file_size` is no UInt64")?;
        let times = column("file_mtime_ns")?.as_primitive_opt::<Int64Type>();
        let times = times.ok_or("`file_mtime_ns` is no Int64")?;
        // Manifests of the same form were written without it.
        let counts = batch.column_by_name("chunks");
        let counts = counts.and_then(|column| column.as_primitive_opt::<UInt32Type>());
        // Most files have the settings of the one before them, so the text is shared.
        let mut shared: Option<Arc<str>> = None;
        for row in 0..batch.num_rows() {
            let settings = settings.is_valid(row).then(|| settings.value(row));
            if shared.as_deref() != settings {
                shared = settings.map(Arc::from);
            }
            let entry = Entry {
                project: projects.is_valid(row).then(|| projects.value(row).into()),
                size: sizes.is_valid(row).then(|| sizes.value(row)),
                mtime_ns: times.is_valid(row).then(|| times.value(row)),
                hash: hashes.is_valid(row).then(|| hashes.value(row).into()),
                settings: shared.clone(),
                chunks: counts
                    .filter(|counts| counts.is_valid(row))
                    .map(|counts| counts.value(row)),
            };
            self.insert(repos.value(row), paths.value(row), entry);
        }
        Ok(())
    }

    /// Returns the entry of a file.
    pub fn get(&self, repo: &str, path: &str) -> Option<&Entry> {
        self.repos.get(repo)?.get(path)
    }

    /// Returns the entry of a file, to be changed.
    pub fn get_mut(&mut self, repo: &str, path: &str) -> Option<&mut Entry> {
        self.repos.get_mut(repo)?.get_mut(path)
    }

    /// Adds a file, or replaces what is known of it.
    pub fn insert(&mut self, repo: &str, path: &str, entry: Entry) {
        let files = match self.repos.get_mut(repo) {
            Some(files) => files,
            None => self.repos.entry(repo.to_owned()).or_default(),
        };
        files.insert(path.to_owned(), entry);
    }

    /// Removes a file; tells whether it was there.
    pub fn remove(&mut self, repo: &str, path: &str) -> bool {
        let files = self.repos.get_mut(repo);
        files.is_some_and(|files| files.remove(path).is_some())
    }

    /// Returns how many files there are.
    pub fn len(&self) -> usize {
        self.repos.values().map(HashMap::len).sum()
    }

    /// Tells whether there is no file.
    pub fn is_empty(&self) -> bool {
        self.repos.values().all(HashMap::is_empty)
    }

    /// Writes the manifest of the store in `folder`, whole or not at all.
    ///
    /// # Errors
    /// [`ManifestError::Io`] if it cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), ManifestError> {
        let path = folder.join(FILE_NAME);
        // A reader sees the old file or the new one, as renaming is atomic.
        let draft = folder.join(format!("{FILE_NAME}.new"));
        let written = self
            .write_draft(&draft)
            .and_then(|()| fs::rename(&draft, &path))
            .and_then(|()| File::open(folder)?.sync_all());
        written.map_err(|source| ManifestError::Io { path, source })
    }

    fn write_draft(&self, path: &Path) -> io::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        self.write_to(&mut file)?;
        file.flush()?;
        file.get_ref().sync_data()
    }

    /// Writes the manifest's file.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write_to(&self, out: impl io::Write) -> io::Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |since| since.as_nanos());
        let schema = Arc::new(schema().with_metadata(HashMap::from([
            (KEY_FORM.to_owned(), FORM.to_owned()),
            (KEY_TABLE.to_owned(), self.table.clone()),
            (KEY_VERSION.to_owned(), self.table_version.to_string()),
            (KEY_CHANGE.to_owned(), self.table_change.clone()),
            (KEY_WRITTEN.to_owned(), now.to_string()),
        ])));
        let mut writer = FileWriter::try_new(out, &schema).map_err(io::Error::other)?;
        let mut repos: Vec<_> = self.repos.iter().collect();
        repos.sort_unstable_by_key(|(repo, _)| *repo);
        let mut batch = Batch::default();
        for (repo, files) in repos {
            let mut files: Vec<_> = files.iter().collect();
            files.sort_unstable_by_key(|(path, _)| *path);
            for (path, entry) in files {
                batch.push(repo, path, entry);
                if batch.rows == BATCH_ROWS {
                    let full = batch.finish(&schema).map_err(io::Error::other)?;
                    writer.write(&full).map_err(io::Error::other)?;
                }
            }
        }
        let last = batch.finish(&schema).map_err(io::Error::other)?;
        writer.write(&last).map_err(io::Error::other)?;
        writer.finish().map_err(io::Error::other)
    }
}

/// Removes the manifest of the store in `folder`, if there is one.
///
/// # Errors
/// [`ManifestError::Io`] if it is there and stays.
pub fn remove(folder: &Path) -> Result<(), ManifestError> {
    let path = folder.join(FILE_NAME);
    match fs::remove_file(&path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(ManifestError::Io { path, source })
        }
        _ => Ok(()),
    }
}

fn schema() -> Schema {
    Schema::new(vec![
        Field::new("repo", DataType::Utf8, false),
        Field::new("path", DataType::Utf8, false),
        Field::new("project", DataType::Utf8, true),
        Field::new("file_size", DataType::UInt64, true),
        Field::new("file_mtime_ns", DataType::Int64, true),
        Field::new("file_hash", DataType::Utf8, true),
        Field::new("settings", DataType::Utf8, true),
        Field::new("chunks", DataType::UInt32, true),
    ])
}

#[derive(Default)]
struct Batch {
    repo: StringBuilder,
    path: StringBuilder,
    project: StringBuilder,
    size: PrimitiveBuilder<UInt64Type>,
    mtime: PrimitiveBuilder<Int64Type>,
    hash: StringBuilder,
    settings: StringBuilder,
    chunks: PrimitiveBuilder<UInt32Type>,
    rows: usize,
}

impl Batch {
    fn push(&mut self, repo: &str, path: &str, entry: &Entry) {
        self.repo.append_value(repo);
        self.path.append_value(path);
        self.project.append_option(entry.project.as_deref());
        self.size.append_option(entry.size);
        self.mtime.append_option(entry.mtime_ns);
        self.hash.append_option(entry.hash.as_deref());
        self.settings.append_option(entry.settings.as_deref());
        self.chunks.append_option(entry.chunks);
        self.rows += 1;
    }

    fn finish(&mut self, schema: &Arc<Schema>) -> Result<RecordBatch, arrow_schema::ArrowError> {
        self.rows = 0;
        RecordBatch::try_new(
            Arc::clone(schema),
            vec![
                Arc::new(self.repo.finish()),
                Arc::new(self.path.finish()),
                Arc::new(self.project.finish()),
                Arc::new(self.size.finish()),
                Arc::new(self.mtime.finish()),
                Arc::new(self.hash.finish()),
                Arc::new(self.settings.finish()),
                Arc::new(self.chunks.finish()),
            ],
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Manifest {
        let mut manifest = Manifest {
            table: "chunks".to_owned(),
            table_version: 7,
            ..Manifest::default()
        };
        let entry = Entry {
            project: Some(".".into()),
            size: Some(12),
            mtime_ns: Some(-5),
            hash: Some("00".repeat(16).into()),
            settings: Some("ab".into()),
            chunks: Some(3),
        };
        manifest.insert("r", "a/b.rs", entry);
        manifest.insert("s", "c", Entry::default());
        manifest
    }

    #[test]
    fn a_manifest_comes_back_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let mut manifest = sample();
        manifest.write(folder.path()).unwrap();
        // Without a table beside it nothing is stored, whatever the manifest says.
        assert!(Manifest::read(folder.path()).unwrap().is_none());
        fs::create_dir(folder.path().join(TABLE_FOLDER)).unwrap();
        let read = Manifest::read(folder.path()).unwrap().unwrap();
        assert!(read.written_ns > 0);
        manifest.written_ns = read.written_ns;
        assert_eq!(read, manifest);
        assert!(manifest.remove("s", "c") && !manifest.remove("s", "c"));
        assert_eq!(manifest.len(), 1);
        remove(folder.path()).unwrap();
        assert!(Manifest::read(folder.path()).unwrap().is_none());
    }

    #[test]
    fn a_manifest_is_read_beside_its_own_table_only() {
        let folder = tempfile::tempdir().unwrap();
        let read = || Manifest::read(folder.path());
        let changes = folder.path().join(TABLE_FOLDER).join(CHANGES_FOLDER);
        fs::create_dir_all(&changes).unwrap();
        let manifest = Manifest {
            table_change: "6-a.txn".to_owned(),
            ..sample()
        };
        manifest.write(folder.path()).unwrap();
        assert!(matches!(read(), Err(ManifestError::Form { .. })));
        fs::write(changes.join("6-a.txn"), "").unwrap();
        assert!(read().unwrap().is_some());
        fs::write(folder.path().join(TABLE_POINTER), "chunks-2").unwrap();
        assert!(matches!(read(), Err(ManifestError::Form { .. })));
    }

    #[test]
    fn a_damaged_manifest_is_an_error_and_no_panic() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join(TABLE_FOLDER)).unwrap();
        sample().write(folder.path()).unwrap();
        let path = folder.path().join(FILE_NAME);
        let whole = fs::read(&path).unwrap();
        for length in [0, 5, whole.len() / 2, whole.len() - 1] {
            fs::write(&path, &whole[..length]).unwrap();
            assert!(matches!(
                Manifest::read(folder.path()),
                Err(ManifestError::Form { .. })
            ));
        }
    }
}
