//! The table of chunks: opening it, replacing files in it by one commit, and what it knows of itself.
//!
//! A step of whole files is one transaction of lance's: new fragments for the new rows, and
//! deletion marks on the rows that the files had before. A reader sees all of it or nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, UInt64Type};
use arrow_array::{Array, PrimitiveArray, RecordBatch, RecordBatchIterator, StringArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use cs_common::manifest::{Entry, Manifest};
use cs_common::metadata::{Model, Stage, StreamMetadata};
use cs_common::rows::{FILE_SETTINGS, chunk_schema};
use futures::TryStreamExt as _;
use lance::dataset::transaction::{Operation, Transaction, UpdateMode};
use lance::dataset::{CommitBuilder, Dataset, InsertBuilder, ReadParams, WriteMode, WriteParams};
use lance::table::format::Fragment;
use lance_table::io::commit::CommitHandler;
use lancedb::Table;
use lancedb::table::{NativeTable, WriteOptions};

use crate::durable::DurableCommits;
use crate::folder::Folder;
use crate::lock;
use crate::model::{differences, model_name, reembed};
use crate::step::{FileKey, Step};
use crate::step_rows::StepRows;
use crate::{Error, error};

const ROW_ADDRESS: &str = "_rowaddr";

/// Bytes of a column that are gathered before they are written.
const PAGE_BYTES: u64 = 4 << 20;

/// Files whose rows are looked for by their paths; with more, all rows are read.
const LOOKUP_FILES: usize = 500;

/// The columns that tell of a file.
const FILE_COLUMNS: [&str; 7] = [
    "repo",
    "path",
    "project",
    "file_hash",
    "file_size",
    "file_mtime_ns",
    FILE_SETTINGS,
];

/// How often a commit is tried that another process's commit came before.
pub(crate) const ATTEMPTS: usize = 20;

/// An open table of chunks.
#[derive(Clone, Debug)]
pub(crate) struct Chunks {
    pub(crate) table: Table,
    name: String,
    folder: Folder,
    model: Model,
}

impl Chunks {
    /// Opens the table of a store that exists, to read it.
    pub(crate) async fn open(folder: &Folder) -> Result<Self, Error> {
        let name = folder.table().await?;
        Self::open_with(folder, name, None).await
    }

    /// Opens it to commit changes, for which all of its files are listed.
    pub(crate) async fn open_to_write(folder: &Folder) -> Result<Self, Error> {
        let name = folder.table().await?;
        let commits = DurableCommits::of(folder, &name);
        Self::open_with(folder, name, commits).await
    }

    async fn open_with(
        folder: &Folder,
        name: String,
        commits: Option<Arc<dyn CommitHandler>>,
    ) -> Result<Self, Error> {
        let path = folder.path();
        let fail = |error| Error::database(path, error);
        let mut table = folder.connect().await?.open_table(&name);
        if let Some(commits) = commits {
            table = table.lance_read_params(ReadParams {
                commit_handler: Some(commits),
                ..ReadParams::default()
            });
        }
        let table = table.execute().await.map_err(fail)?;
        let schema = table.schema().await.map_err(fail)?;
        let metadata = StreamMetadata::from_schema(&schema).map_err(|error| match error {
            cs_common::Error::NoVersion => Error::Foreign(path.to_owned()),
            error => Error::damaged(path, error),
        })?;
        let model = metadata
            .model
            .ok_or_else(|| Error::Foreign(path.to_owned()))?;
        Ok(Self {
            table,
            name,
            folder: folder.clone(),
            model,
        })
    }

    /// Opens the table, or makes one for the rows of a stream, which one process does.
    ///
    /// # Errors
    /// [`Error::OtherModel`] if it holds vectors of another model than the stream's.
    pub(crate) async fn open_or_create(
        folder: &Folder,
        stream: &SchemaRef,
        (offered, chain): (&Model, &[Stage]),
        lease: Duration,
    ) -> Result<Self, Error> {
        if !folder.is_store().await? {
            let mut right = lock::creation(folder, lease).await?;
            let made = match folder.is_store().await {
                Ok(false) => {
                    let name = folder.table().await?;
                    Some(Self::create(folder, name, stream, offered).await)
                }
                known => known.err().map(Err),
            };
            right.end().await;
            if let Some(made) = made {
                return made;
            }
        }
        let chunks = Self::open_to_write(folder).await?;
        let differences = differences(&chunks.model, offered);
        if !differences.is_empty() {
            return Err(Error::OtherModel {
                stored: model_name(&chunks.model),
                offered: model_name(offered),
                differences: differences.join(", "),
                command: reembed(folder.path(), offered, chain),
            });
        }
        Ok(chunks)
    }

    /// Makes an empty table for the rows of a stream.
    pub(crate) async fn create(
        folder: &Folder,
        name: String,
        stream: &SchemaRef,
        model: &Model,
    ) -> Result<Self, Error> {
        let schema = stored_schema(stream, model);
        let options = WriteOptions {
            lance_write_params: Some(WriteParams {
                commit_handler: DurableCommits::of(folder, &name),
                ..WriteParams::default()
            }),
        };
        let table = folder.connect().await?.create_empty_table(&name, schema);
        let table = table.write_options(options).execute().await;
        Ok(Self {
            table: table.map_err(|error| Error::database(folder.path(), error))?,
            name,
            folder: folder.clone(),
            model: model.clone(),
        })
    }

    /// Returns the model of the stored vectors.
    pub(crate) fn model(&self) -> &Model {
        &self.model
    }

    /// Returns the table's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the store's folder.
    pub(crate) fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Wraps a failure of the database.
    pub(crate) fn fail(&self, source: impl std::error::Error + Send + Sync + 'static) -> Error {
        Error::database(self.folder.path(), source)
    }

    /// Returns the columns of the stored rows.
    pub(crate) async fn schema(&self) -> Result<SchemaRef, Error> {
        self.table.schema().await.map_err(|error| self.fail(error))
    }

    /// Takes notice of what other processes committed.
    pub(crate) async fn reload(&self) -> Result<(), Error> {
        let versions = self.table.dataset().ok_or_else(|| self.not_local())?;
        versions.reload().await.map_err(|error| self.fail(error))
    }

    /// Returns the dataset below the table, in the newest version that this process knows.
    pub(crate) async fn dataset(&self) -> Result<Arc<Dataset>, Error> {
        let versions = self.table.dataset().ok_or_else(|| self.not_local())?;
        versions.get().await.map_err(|error| self.fail(error))
    }

    /// Returns the table's own interface, which remote tables lack.
    pub(crate) fn native(&self) -> Result<&NativeTable, Error> {
        self.table.as_native().ok_or_else(|| self.not_local())
    }

    fn not_local(&self) -> Error {
        Error::damaged(self.folder.path(), "the table is not a local one")
    }

    /// Returns what the rows tell of each stored file.
    pub(crate) async fn files(&self) -> Result<Manifest, Error> {
        let schema = self.schema().await?;
        let mut columns = FILE_COLUMNS.to_vec();
        // Tables of older versions lack it.
        columns.retain(|column| schema.field_with_name(column).is_ok());
        let (table_version, table_change) = self.state().await?;
        let mut files = Manifest {
            table: self.name.clone(),
            table_version,
            table_change,
            ..Manifest::default()
        };
        let mut settings: Option<Arc<str>> = None;
        self.scan(&columns, None, |batch| {
            let rows = StoredRows::new(batch)?;
            for row in 0..batch.num_rows() {
                let (repo, path) = (rows.repo.value(row), rows.path.value(row));
                match files.get_mut(repo, path) {
                    Some(entry) => entry.chunks = entry.chunks.map(|count| count + 1),
                    None => files.insert(repo, path, rows.entry(row, &mut settings)),
                }
            }
            Some(())
        })
        .await?;
        Ok(files)
    }

    /// Returns the version of the table.
    pub(crate) async fn version(&self) -> Result<u64, Error> {
        Ok(self.dataset().await?.version().version)
    }

    /// Returns the version of the table, and what made it: a name that no other change of any
    /// table has.
    pub(crate) async fn state(&self) -> Result<(u64, String), Error> {
        let dataset = self.dataset().await?;
        let change = dataset.manifest().transaction_file.clone();
        Ok((dataset.version().version, change.unwrap_or_default()))
    }

    /// Replaces what is stored of a step's files by its rows, in one commit.
    ///
    /// `stale` says whether any of the files may be stored already. Returns how many rows went.
    pub(crate) async fn commit(&self, mut step: Step, stale: bool) -> Result<usize, Error> {
        let files = std::mem::take(&mut step.files);
        let fragments = self.write(step).await?;
        self.replace(&files, fragments, stale).await
    }

    /// Writes a step's rows without anybody seeing them yet.
    pub(crate) async fn write(&self, step: Step) -> Result<Vec<Fragment>, Error> {
        if step.rows == 0 {
            return Ok(Vec::new());
        }
        let schema = self.schema().await?;
        let columns = schema.fields().len() as u64;
        let rows = StepRows::new(step, Arc::clone(&schema));
        let rows = RecordBatchIterator::new(rows, schema);
        let mut params = WriteParams {
            mode: WriteMode::Append,
            ..WriteParams::default()
        };
        let options = params.file_writer_options.get_or_insert_default();
        // What is joined here is nobody else's, so that there is nothing to copy it from.
        options.keep_original_array = Some(true);
        options.data_cache_bytes = Some(PAGE_BYTES * columns);
        let written = InsertBuilder::new(self.dataset().await?)
            .with_params(&params)
            .execute_uncommitted_stream(rows)
            .await
            .map_err(|error| self.fail(error))?;
        match written.operation {
            Operation::Append { fragments } => Ok(fragments),
            _ => Err(Error::damaged(self.folder.path(), "rows were not appended")),
        }
    }

    /// Replaces what is stored of some files by rows that are written, in one commit.
    ///
    /// Where another process committed meanwhile, and touched the same fragments, the rows that
    /// go are looked for again.
    pub(crate) async fn replace(
        &self,
        files: &HashMap<FileKey, String>,
        fragments: Vec<Fragment>,
        stale: bool,
    ) -> Result<usize, Error> {
        for attempt in 1.. {
            let dataset = self.dataset().await?;
            let removed = match stale {
                true => self.mark_removed(&dataset, files).await?,
                false => Removed::default(),
            };
            let count = removed.rows;
            let new = fragments.clone();
            let operation = match (count, new.is_empty()) {
                (0, true) => break,
                (0, false) => Operation::Append { fragments: new },
                _ => removed.replaced_by(new, &dataset),
            };
            let transaction = Transaction::new(dataset.version().version, operation, None);
            match CommitBuilder::new(dataset).execute(transaction).await {
                Ok(committed) => {
                    let versions = self.table.dataset().ok_or_else(|| self.not_local())?;
                    versions.update(committed);
                    return Ok(count);
                }
                Err(error) if error::is_conflict(&error) && attempt < ATTEMPTS => {
                    log::debug!("another process committed first: {error}");
                    self.reload().await?;
                }
                Err(error) => return Err(self.fail(error)),
            }
        }
        Ok(0)
    }

    /// Removes the files of fragments that were written and will not be committed.
    pub(crate) async fn discard(&self, fragments: &[Fragment]) -> Result<(), Error> {
        let dataset = self.dataset().await?;
        let store = dataset.object_store(None).await;
        let store = store.map_err(|error| self.fail(error))?;
        for file in fragments.iter().flat_map(|fragment| &fragment.files) {
            let path = dataset.data_dir().join(file.path.as_str());
            let done = store.delete(&path).await;
            done.map_err(|error| self.fail(error))?;
        }
        Ok(())
    }

    /// Writes deletion marks for all stored rows of some files, without committing them.
    async fn mark_removed(
        &self,
        dataset: &Arc<Dataset>,
        files: &HashMap<FileKey, String>,
    ) -> Result<Removed, Error> {
        let mut offsets: HashMap<u32, Vec<u32>> = HashMap::new();
        let mut removed = Removed::default();
        let filter = (files.len() <= LOOKUP_FILES).then(|| one_of("path", files.values()));
        self.scan(&["repo", "path"], filter.as_deref(), |batch| {
            let repos = batch.column_by_name("repo")?.as_string_opt::<i32>()?;
            let paths = batch.column_by_name("path")?.as_string_opt::<i32>()?;
            let addresses = batch.column_by_name(ROW_ADDRESS)?;
            let addresses = addresses.as_primitive_opt::<UInt64Type>()?;
            for row in 0..batch.num_rows() {
                if files.contains_key(&FileKey::new(repos.value(row), paths.value(row))) {
                    let address = addresses.value(row);
                    // A row's address is its fragment's number above its offset there.
                    let (fragment, offset) = ((address >> 32) as u32, address as u32);
                    offsets.entry(fragment).or_default().push(offset);
                    removed.rows += 1;
                }
            }
            Some(())
        })
        .await?;
        for (id, offsets) in offsets {
            let fragment = dataset
                .get_fragment(id as usize)
                .ok_or_else(|| Error::damaged(self.folder.path(), "a fragment is missing"))?;
            let left = fragment
                .extend_deletions(offsets)
                .await
                .map_err(|error| self.fail(error))?;
            match left {
                Some(fragment) => removed.updated.push(fragment.metadata().clone()),
                None => removed.fragments.push(u64::from(id)),
            }
        }
        Ok(removed)
    }

    /// Calls `each` with some columns of all rows that a filter lets pass, and their addresses, a
    /// batch at a time; `None` from it means that a column is not what it should be.
    async fn scan(
        &self,
        columns: &[&str],
        filter: Option<&str>,
        mut each: impl FnMut(&RecordBatch) -> Option<()>,
    ) -> Result<(), Error> {
        let dataset = self.dataset().await?;
        let mut scanner = dataset.scan();
        scanner.with_row_address();
        scanner.project(columns).map_err(|error| self.fail(error))?;
        if let Some(filter) = filter {
            scanner.filter(filter).map_err(|error| self.fail(error))?;
        }
        let mut rows = scanner
            .try_into_stream()
            .await
            .map_err(|error| self.fail(error))?;
        while let Some(batch) = rows.try_next().await.map_err(|error| self.fail(error))? {
            each(&batch).ok_or_else(|| {
                let columns = columns.join(", ");
                let cause = format!("one of the columns {columns} is not of the contract's type");
                Error::damaged(self.folder.path(), cause)
            })?;
        }
        Ok(())
    }
}

/// The columns that tell of a file.
struct StoredRows<'a> {
    repo: &'a StringArray,
    path: &'a StringArray,
    project: &'a StringArray,
    hash: &'a StringArray,
    size: &'a PrimitiveArray<UInt64Type>,
    mtime: &'a PrimitiveArray<Int64Type>,
    settings: Option<&'a StringArray>,
}

impl<'a> StoredRows<'a> {
    fn new(batch: &'a RecordBatch) -> Option<Self> {
        let text = |name| batch.column_by_name(name)?.as_string_opt::<i32>();
        Some(Self {
            repo: text("repo")?,
            path: text("path")?,
            project: text("project")?,
            hash: text("file_hash")?,
            size: batch.column_by_name("file_size")?.as_primitive_opt()?,
            mtime: batch.column_by_name("file_mtime_ns")?.as_primitive_opt()?,
            settings: text(FILE_SETTINGS),
        })
    }

    /// Returns what a row tells of its file. Most files have the settings of the one before them,
    /// so that `shared` keeps their text.
    fn entry(&self, row: usize, shared: &mut Option<Arc<str>>) -> Entry {
        let text = |array: &StringArray| array.is_valid(row).then(|| array.value(row).into());
        let settings = self.settings.filter(|array| array.is_valid(row));
        let settings = settings.map(|array| array.value(row));
        if shared.as_deref() != settings {
            *shared = settings.map(Arc::from);
        }
        Entry {
            project: text(self.project),
            size: self.size.is_valid(row).then(|| self.size.value(row)),
            mtime_ns: self.mtime.is_valid(row).then(|| self.mtime.value(row)),
            hash: text(self.hash),
            settings: shared.clone(),
            chunks: Some(1),
        }
    }
}

/// Rows marked as deleted, not yet committed.
#[derive(Debug, Default)]
struct Removed {
    rows: usize,
    /// Fragments of which nothing is left.
    fragments: Vec<u64>,
    /// Fragments with more deletion marks than before.
    updated: Vec<Fragment>,
}

impl Removed {
    fn replaced_by(self, new_fragments: Vec<Fragment>, dataset: &Dataset) -> Operation {
        let fields = dataset.schema().fields_pre_order();
        Operation::Update {
            removed_fragment_ids: self.fragments,
            updated_fragments: self.updated,
            new_fragments,
            fields_modified: Vec::new(),
            compacted_sstables: Vec::new(),
            fields_for_preserving_frag_bitmap: fields.map(|field| field.id as u32).collect(),
            update_mode: Some(UpdateMode::RewriteRows),
            inserted_rows_filter: None,
            updated_fragment_offsets: None,
        }
    }
}

/// Returns the condition that a column has one of some values.
fn one_of<'a>(column: &str, values: impl Iterator<Item = &'a String>) -> String {
    let quoted = values.map(|value| value.replace('\'', "''"));
    let quoted: Vec<String> = quoted.map(|value| format!("'{value}'")).collect();
    format!("{column} IN ({})", quoted.join(", "))
}

/// Returns the columns of a new table: the contract's, whether the stream has them all or not,
/// without `op`, which only says what to do; the vector; the settings of the file; and what else
/// the stream has, as far as the database takes its name. Streams to come may lack that, so it is
/// nullable.
fn stored_schema(stream: &SchemaRef, model: &Model) -> SchemaRef {
    let contract = chunk_schema();
    let own = contract
        .fields()
        .iter()
        .filter(|field| field.name() != "op");
    let mut fields: Vec<Arc<Field>> = own.cloned().collect();
    for field in stream.fields() {
        let name = field.name();
        let taken = contract.field_with_name(name).is_ok() || name == FILE_SETTINGS;
        if !taken && !name.starts_with('_') && !name.contains('.') {
            fields.push(Arc::new(field.as_ref().clone().with_nullable(true)));
        }
    }
    fields.push(Arc::new(Field::new(FILE_SETTINGS, DataType::Utf8, true)));
    let metadata = StreamMetadata {
        model: Some(model.clone()),
        ..StreamMetadata::default()
    };
    Arc::new(metadata.apply(Schema::new(fields)))
}
