//! Reading the table file by file, in the order in which it was written.
//!
//! A file's rows were written together, and stay so but for one case: a compaction that ends a
//! fragment within a file may later move one part of it. Such files are found beforehand and come
//! last, so that each is whole. What is held in memory is 16 bytes a file, and the rows of one.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use arrow_array::{Array, RecordBatch, StringArray, UInt64Array};
use arrow_select::concat::concat_batches;
use arrow_select::take::take_record_batch;
use futures::TryStreamExt as _;
use lance::dataset::Dataset;

use crate::Error;
use crate::step::{FileKey, FileName};
use crate::table::Chunks;

/// Rows of a batch: some megabytes of the widest vectors.
const BATCH_ROWS: usize = 1024;

/// Bytes that are read ahead.
const AHEAD_BYTES: u64 = 32 << 20;

/// Calls `each` with some columns of the rows of every file, `repo` and `path` among them.
///
/// Rows that lie apart are put in the order of `start_byte`, if that is among the columns.
///
/// # Errors
/// Those of the database, and those of `each`, which end the reading.
pub(crate) async fn each_file(
    chunks: &Chunks,
    dataset: &Dataset,
    columns: &[&str],
    mut each: impl FnMut(&FileName, &RecordBatch) -> Result<(), Error>,
) -> Result<(), Error> {
    let scattered = scattered(chunks, dataset).await?;
    let mut apart: HashMap<FileKey, Open> = HashMap::new();
    let mut open: Option<Open> = None;
    each_batch(chunks, dataset, columns, |batch| {
        each_run(chunks, batch, |name, rows| {
            let key = FileKey::new(&name.repo, &name.path);
            if scattered.contains(&key) {
                // What it is cut from would be held as long as it is.
                let rows = copied(chunks, &rows)?;
                apart
                    .entry(key)
                    .or_insert_with(|| Open::new(name))
                    .batches
                    .push(rows);
                return Ok(());
            }
            if let Some(done) = open.take_if(|open| open.name != name) {
                each(&done.name, &done.rows(chunks)?)?;
            }
            open.get_or_insert_with(|| Open::new(name))
                .batches
                .push(rows);
            Ok(())
        })
    })
    .await?;
    if let Some(done) = open {
        each(&done.name, &done.rows(chunks)?)?;
    }
    let mut apart: Vec<Open> = apart.into_values().collect();
    apart.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    for done in apart {
        let rows = in_order(chunks, &done.rows(chunks)?)?;
        each(&done.name, &rows)?;
    }
    Ok(())
}

/// Calls `each` with some columns of all rows, a batch at a time, in the order of the table.
pub(crate) async fn each_batch(
    chunks: &Chunks,
    dataset: &Dataset,
    columns: &[&str],
    mut each: impl FnMut(&RecordBatch) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut scanner = dataset.scan();
    scanner
        .batch_size(BATCH_ROWS)
        .batch_readahead(2)
        .fragment_readahead(1)
        .io_buffer_size(AHEAD_BYTES);
    let fail = |error| chunks.fail(error);
    scanner.project(columns).map_err(fail)?;
    let mut rows = scanner.try_into_stream().await.map_err(fail)?;
    while let Some(batch) = rows.try_next().await.map_err(fail)? {
        each(&batch)?;
    }
    Ok(())
}

/// A file whose rows are arriving.
struct Open {
    name: FileName,
    batches: Vec<RecordBatch>,
}

impl Open {
    fn new(name: FileName) -> Self {
        Self {
            name,
            batches: Vec::new(),
        }
    }

    fn rows(&self, chunks: &Chunks) -> Result<RecordBatch, Error> {
        match self.batches.as_slice() {
            [only] => Ok(only.clone()),
            batches => concat_batches(&batches[0].schema(), batches)
                .map_err(|error| Error::damaged(chunks.folder().path(), error)),
        }
    }
}

/// Returns the files whose rows do not all follow each other.
async fn scattered(chunks: &Chunks, dataset: &Dataset) -> Result<HashSet<FileKey>, Error> {
    let mut seen = HashSet::new();
    let mut scattered = HashSet::new();
    let mut last = None;
    each_batch(chunks, dataset, &["repo", "path"], |batch| {
        each_run(chunks, batch, |name, _| {
            let key = FileKey::new(&name.repo, &name.path);
            if last.replace(key) != Some(key) && !seen.insert(key) {
                scattered.insert(key);
            }
            Ok(())
        })
    })
    .await?;
    Ok(scattered)
}

/// Calls `each` with the rows of each file in a batch.
fn each_run(
    chunks: &Chunks,
    batch: &RecordBatch,
    mut each: impl FnMut(FileName, RecordBatch) -> Result<(), Error>,
) -> Result<(), Error> {
    let folder = chunks.folder().path();
    let repos = text(folder, batch, "repo")?;
    let paths = text(folder, batch, "path")?;
    let rows = batch.num_rows();
    let mut start = 0;
    while start < rows {
        let (repo, path) = (repos.value(start), paths.value(start));
        let same = |row: &usize| repos.value(*row) == repo && paths.value(*row) == path;
        let end = (start..rows).find(|row| !same(row)).unwrap_or(rows);
        let name = FileName {
            repo: repo.to_owned(),
            path: path.to_owned(),
        };
        each(name, batch.slice(start, end - start))?;
        start = end;
    }
    Ok(())
}

/// Returns a column that holds text, of the store in a folder.
pub(crate) fn text<'a>(
    folder: &Path,
    batch: &'a RecordBatch,
    name: &str,
) -> Result<&'a StringArray, Error> {
    let column = batch.column_by_name(name);
    let array = column.and_then(|column| column.as_string_opt::<i32>());
    array.ok_or_else(|| {
        let cause = format!("its column `{name}` is not of the contract's type");
        Error::damaged(folder, cause)
    })
}

fn copied(chunks: &Chunks, rows: &RecordBatch) -> Result<RecordBatch, Error> {
    let all = UInt64Array::from_iter_values(0..rows.num_rows() as u64);
    take_record_batch(rows, &all).map_err(|error| Error::damaged(chunks.folder().path(), error))
}

fn in_order(chunks: &Chunks, rows: &RecordBatch) -> Result<RecordBatch, Error> {
    let starts = rows.column_by_name("start_byte");
    let Some(starts) = starts.and_then(|column| column.as_primitive_opt::<UInt64Type>()) else {
        return Ok(rows.clone());
    };
    let mut order: Vec<usize> = (0..rows.num_rows()).collect();
    order.sort_by_key(|row| starts.is_valid(*row).then(|| starts.value(*row)));
    let order = UInt64Array::from_iter_values(order.into_iter().map(|row| row as u64));
    take_record_batch(rows, &order).map_err(|error| Error::damaged(chunks.folder().path(), error))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, FixedSizeListArray, Float32Array};
    use arrow_schema::{DataType, Field};
    use cs_common::metadata::Model;

    use super::*;
    use crate::folder::{Folder, Location};
    use crate::lock::LEASE;
    use crate::runtime;
    use crate::step::Gatherer;

    /// Makes rows of (path, first byte), each with the vector of one number.
    fn batch(rows: &[(&str, u64)]) -> RecordBatch {
        let text = |value: &str| Arc::new(StringArray::from(vec![value; rows.len()])) as ArrayRef;
        let paths = StringArray::from_iter_values(rows.iter().map(|row| row.0));
        let starts = UInt64Array::from_iter_values(rows.iter().map(|row| row.1));
        let item = Arc::new(Field::new_list_field(DataType::Float32, true));
        let values = Arc::new(Float32Array::from(vec![1.0; rows.len()]));
        let vectors = FixedSizeListArray::new(item, 1, values, None);
        RecordBatch::try_from_iter([
            ("op", text("put")),
            ("repo", text("r")),
            ("path", Arc::new(paths) as ArrayRef),
            ("start_byte", Arc::new(starts) as ArrayRef),
            ("vector", Arc::new(vectors) as ArrayRef),
        ])
        .unwrap()
    }

    fn model() -> Model {
        Model {
            id: "m".to_owned(),
            sha256: String::new(),
            dim: 1,
            dtype: "f32".to_owned(),
            pooling: "mean".to_owned(),
            normalized: true,
            max_tokens: None,
            query_prefix: String::new(),
            document_prefix: String::new(),
            endpoint: None,
        }
    }

    #[test]
    fn rows_that_lie_apart_are_one_file_in_order_and_come_last() {
        let home = tempfile::tempdir().unwrap();
        let at = Location::folder(home.path());
        let read = runtime(home.path()).unwrap().block_on(async {
            let folder = Folder::create(&at).await.unwrap();
            let schema = batch(&[]).schema();
            let chunks = Chunks::open_or_create(&folder, &schema, (&model(), &[]), LEASE).await;
            let chunks = chunks.unwrap();
            for rows in [&[("a", 10), ("b", 3), ("b", 7)][..], &[("c", 0), ("a", 0)]] {
                let mut gatherer = Gatherer::default();
                gatherer.push(&batch(rows), 1).unwrap();
                for step in gatherer.finish(true) {
                    // As if the file had not been stored before: its rows stay where they are.
                    chunks.commit(step, false).await.unwrap();
                }
            }
            let dataset = chunks.dataset().await.unwrap();
            let mut read = Vec::new();
            each_file(
                &chunks,
                &dataset,
                &["repo", "path", "start_byte"],
                |name, rows| {
                    let starts = rows.column(2).as_primitive::<UInt64Type>();
                    read.push((name.path.clone(), starts.values().to_vec()));
                    Ok(())
                },
            )
            .await
            .unwrap();
            read
        });
        let expected = [("b", vec![3, 7]), ("c", vec![0]), ("a", vec![0, 10])];
        assert_eq!(
            read,
            expected.map(|(path, starts)| (path.to_owned(), starts))
        );
    }
}
