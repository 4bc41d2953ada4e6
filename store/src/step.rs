//! Gathering of a stream's rows into steps: sets of whole files that are committed at once.
//!
//! Rows of one file are contiguous in a stream, and a file is complete when something else
//! follows. Only complete files enter a step, and a step never holds the same file twice.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch};
use cs_common::manifest::Entry;
use cs_common::rows::{FILE_SETTINGS, Op, Rows};

use crate::Error;
use crate::vectors::{fault, vectors};

/// Bytes of rows after which a step is committed.
const STEP_BYTES: usize = 32 << 20;

/// When a step is committed, besides by its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// After so many rows.
    pub(crate) rows: usize,
    /// When its first file has waited so long.
    pub(crate) age: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            rows: 50_000,
            age: Duration::from_secs(60),
        }
    }
}

/// What stands for a file in sets of many: 128 bits of a hash over its repository and path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FileKey(u128);

impl FileKey {
    /// Returns the key of a file.
    pub(crate) fn new(repo: &str, path: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(repo.len() as u64).to_le_bytes());
        hasher.update(repo.as_bytes());
        hasher.update(path.as_bytes());
        let mut bytes = [0; 16];
        hasher.finalize_xof().fill(&mut bytes);
        Self(u128::from_le_bytes(bytes))
    }
}

/// Whole files that are committed at once.
#[derive(Debug, Default)]
pub(crate) struct Step {
    /// The files, and their paths: all that is stored of them is replaced by `spans`.
    pub(crate) files: HashMap<FileKey, String>,
    /// Their new rows.
    pub(crate) spans: Vec<Span>,
    /// The number of those rows.
    pub(crate) rows: usize,
    /// Files that have new rows.
    pub(crate) put_files: usize,
    /// What the manifest is to know of the files: nothing of one without rows.
    pub(crate) entries: Vec<(FileName, Option<Entry>)>,
    /// What decided how the files were cut, where their rows do not say it themselves.
    pub(crate) settings: Option<Arc<str>>,
    bytes: usize,
    /// When its first file was complete.
    began: Option<Instant>,
}

/// Rows of a batch, one after the other.
#[derive(Debug)]
pub(crate) struct Span {
    batch: Arc<RecordBatch>,
    rows: Range<usize>,
}

impl Span {
    /// Returns the rows, whose columns share the batch's memory.
    pub(crate) fn slice(&self) -> RecordBatch {
        self.batch.slice(self.rows.start, self.rows.len())
    }

    /// Tells whether these are the rows of a batch that come after the other's.
    fn follows(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.batch, &other.batch) && other.rows.end == self.rows.start
    }
}

/// A file's repository and path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FileName {
    pub(crate) repo: String,
    pub(crate) path: String,
}

impl FileName {
    /// Returns the file's key.
    pub(crate) fn key(&self) -> FileKey {
        FileKey::new(&self.repo, &self.path)
    }
}

impl Step {
    /// Returns a step that forgets files.
    pub(crate) fn forget(files: Vec<FileName>) -> Self {
        Self {
            files: files
                .iter()
                .map(|file| (file.key(), file.path.clone()))
                .collect(),
            entries: files.into_iter().map(|file| (file, None)).collect(),
            ..Self::default()
        }
    }

    /// Adds rows: of files that follow each other in a batch they stay in one piece.
    fn push(&mut self, span: Span) {
        match self.spans.last_mut() {
            Some(last) if span.follows(last) => last.rows.end = span.rows.end,
            _ => self.spans.push(span),
        }
    }

    /// Tells whether there is nothing to commit.
    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    fn is_full(&self, limits: &Limits) -> bool {
        let is_old = |began: Instant| began.elapsed() >= limits.age;
        self.bytes >= STEP_BYTES || self.rows >= limits.rows || self.began.is_some_and(is_old)
    }
}

/// The file whose rows are arriving.
#[derive(Debug)]
struct Open {
    key: FileKey,
    name: FileName,
    entry: Entry,
    spans: Vec<Span>,
    rows: usize,
    bytes: usize,
}

/// Turns batches into steps.
#[derive(Debug, Default)]
pub(crate) struct Gatherer {
    step: Step,
    open: Option<Open>,
    /// What decided how the files were cut.
    settings: Option<Arc<str>>,
    limits: Limits,
}

impl Gatherer {
    /// Returns a gatherer of files that were parsed under some settings.
    pub(crate) fn new(settings: Option<&str>, limits: Limits) -> Self {
        Self {
            settings: settings.map(Arc::from),
            limits,
            ..Self::default()
        }
    }

    /// Takes a batch and returns the steps that are full now.
    ///
    /// # Errors
    /// [`Error::Vector`] for a vector that must not be stored; nothing of the batch's file is.
    pub(crate) fn push(&mut self, batch: &RecordBatch, dim: usize) -> Result<Vec<Step>, Error> {
        let rows = Rows::new(batch)?;
        check_vectors(batch, &rows, dim)?;
        let row_bytes = bytes_of(batch) / rows.len().max(1);
        let shared = Arc::new(batch.clone());
        let mut full = Vec::new();
        let mut start = 0;
        while start < rows.len() {
            let end = run_end(&rows, start);
            if rows.op(start) == Op::Report {
                full.extend(self.close());
            } else {
                let key = FileKey::new(rows.repo(start), rows.path(start));
                if self.open.as_ref().is_none_or(|open| open.key != key) {
                    full.extend(self.close());
                    let name = FileName {
                        repo: rows.repo(start).to_owned(),
                        path: rows.path(start).to_owned(),
                    };
                    full.extend(self.begin(key, name));
                }
                let is_put = rows.op(start) == Op::Put;
                let entry = is_put.then(|| self.entry(batch, &rows, start));
                if let (Some(open), Some(entry)) = (self.open.as_mut(), entry) {
                    open.entry = entry;
                    open.spans.push(Span {
                        batch: Arc::clone(&shared),
                        rows: start..end,
                    });
                    open.rows += end - start;
                    open.bytes += row_bytes * (end - start);
                }
            }
            start = end;
        }
        Ok(full)
    }

    /// Returns the last step: with the file at hand if the stream was sealed, else without.
    pub(crate) fn finish(mut self, sealed: bool) -> Vec<Step> {
        let mut steps = Vec::new();
        if sealed {
            steps.extend(self.close());
        }
        steps.push(self.take());
        steps.retain(|step| !step.is_empty());
        steps
    }

    /// Returns what the manifest is to know of a row's file.
    fn entry(&self, batch: &RecordBatch, rows: &Rows<'_>, row: usize) -> Entry {
        let own = batch.column_by_name(FILE_SETTINGS);
        let settings = match own.and_then(|column| column.as_string_opt::<i32>()) {
            Some(own) => own.is_valid(row).then(|| Arc::from(own.value(row))),
            None => self.settings.clone(),
        };
        Entry {
            project: rows.project(row).map(Box::from),
            size: rows.file_size(row),
            mtime_ns: rows.file_mtime_ns(row),
            hash: rows.file_hash(row).map(Box::from),
            settings,
            // It is known when the file is complete.
            chunks: None,
        }
    }

    /// Begins a file, and returns the step at hand if it holds that file already.
    fn begin(&mut self, key: FileKey, name: FileName) -> Option<Step> {
        let again = self.step.files.contains_key(&key);
        self.open = Some(Open {
            key,
            name,
            entry: Entry::default(),
            spans: Vec::new(),
            rows: 0,
            bytes: 0,
        });
        again.then(|| self.take())
    }

    /// Returns the step at hand, and begins another one.
    fn take(&mut self) -> Step {
        Step {
            settings: self.settings.clone(),
            ..std::mem::take(&mut self.step)
        }
    }

    /// Puts the file at hand, which is complete, into the step, and returns that if it is full.
    fn close(&mut self) -> Option<Step> {
        let open = self.open.take()?;
        self.step.files.insert(open.key, open.name.path.clone());
        let entry = (open.rows > 0).then(|| Entry {
            chunks: u32::try_from(open.rows).ok(),
            ..open.entry
        });
        self.step.entries.push((open.name, entry));
        self.step.put_files += usize::from(open.rows > 0);
        self.step.rows += open.rows;
        self.step.bytes += open.bytes;
        for span in open.spans {
            self.step.push(span);
        }
        self.step.began.get_or_insert_with(Instant::now);
        self.step.is_full(&self.limits).then(|| self.take())
    }
}

/// Returns the bytes that a batch's rows take.
///
/// The memory that its arrays report is no measure: all arrays of a batch that came over a pipe
/// share the one buffer of its message, and each reports the whole of it.
pub(crate) fn bytes_of(batch: &RecordBatch) -> usize {
    let sizes = batch
        .columns()
        .iter()
        .map(|column| column.to_data().get_slice_memory_size());
    sizes.map(Result::unwrap_or_default).sum()
}

/// Returns where the run of rows of one file and operation ends.
fn run_end(rows: &Rows<'_>, start: usize) -> usize {
    let same = |row: &usize| {
        rows.op(*row) == rows.op(start)
            && rows.path(*row) == rows.path(start)
            && rows.repo(*row) == rows.repo(start)
    };
    (start..rows.len())
        .find(|row| !same(row))
        .unwrap_or(rows.len())
}

/// Checks that each put row has a vector of `dim` finite numbers that are not all zero.
fn check_vectors(batch: &RecordBatch, rows: &Rows<'_>, dim: usize) -> Result<(), Error> {
    let vectors = vectors(batch)?;
    let mut puts = (0..rows.len()).filter(|row| rows.op(*row) == Op::Put);
    let fault = puts.find_map(|row| Some((row, fault(vectors, row, dim)?)));
    match fault {
        Some((row, cause)) => Err(Error::Vector {
            chunk: rows.locate(row),
            cause,
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::{ArrayRef, FixedSizeListArray, Float32Array, StringArray};
    use arrow_schema::{DataType, Field};

    use super::*;

    /// Makes a batch of (op, path) rows, each with the vector of one number.
    fn batch(rows: &[(&str, &str)], vectors: &[f32]) -> RecordBatch {
        let text = |pick: fn(&(&str, &str)) -> String| {
            Arc::new(
                rows.iter()
                    .map(|row| Some(pick(row)))
                    .collect::<StringArray>(),
            ) as ArrayRef
        };
        let item = Arc::new(Field::new_list_field(DataType::Float32, true));
        let values = Arc::new(Float32Array::from(vectors.to_vec()));
        let vectors = FixedSizeListArray::new(item, 1, values, None);
        RecordBatch::try_from_iter([
            ("op", text(|row| row.0.to_owned())),
            ("repo", text(|_| "r".to_owned())),
            ("path", text(|row| row.1.to_owned())),
            ("vector", Arc::new(vectors) as ArrayRef),
        ])
        .unwrap()
    }

    fn rows(steps: &[Step]) -> Vec<(usize, usize)> {
        steps
            .iter()
            .map(|step| (step.files.len(), step.rows))
            .collect()
    }

    #[test]
    fn the_file_at_hand_is_kept_only_by_a_seal() {
        for (sealed, expected) in [(true, vec![(2, 3)]), (false, vec![(1, 2)])] {
            let mut gatherer = Gatherer::default();
            let batch = batch(&[("put", "a"), ("put", "a"), ("put", "b")], &[1.0; 3]);
            assert!(gatherer.push(&batch, 1).unwrap().is_empty());
            assert_eq!(rows(&gatherer.finish(sealed)), expected);
        }
    }

    #[test]
    fn a_delete_alone_is_a_file_without_rows() {
        let mut gatherer = Gatherer::default();
        let rows_in = [
            ("delete", "a"),
            ("delete", "b"),
            ("put", "b"),
            ("report", ""),
        ];
        gatherer.push(&batch(&rows_in, &[1.0; 4]), 1).unwrap();
        // The report says that `b` is complete.
        assert_eq!(rows(&gatherer.finish(false)), [(2, 1)]);
    }

    #[test]
    fn a_file_that_comes_again_ends_the_step() {
        let mut gatherer = Gatherer::default();
        let rows_in = [("put", "a"), ("put", "b"), ("put", "a")];
        let mut steps = gatherer.push(&batch(&rows_in, &[1.0; 3]), 1).unwrap();
        steps.extend(gatherer.finish(true));
        assert_eq!(rows(&steps), [(2, 2), (1, 1)]);
    }

    #[test]
    fn a_vector_that_means_nothing_is_refused_by_its_chunks_name() {
        for (value, dim, cause) in [
            (f32::NAN, 1, "not finite"),
            (f32::INFINITY, 1, "not finite"),
            (0.0, 1, "all zeros"),
            (1.0, 2, "has 1 numbers"),
        ] {
            let error = Gatherer::default()
                .push(&batch(&[("put", "a")], &[value]), dim)
                .unwrap_err();
            let message = error.to_string();
            assert!(
                message.starts_with("r/a: ") && message.contains(cause),
                "{message}"
            );
        }
    }
}
