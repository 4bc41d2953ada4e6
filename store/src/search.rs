//! Reading a store: its model, and the two ways of finding chunks, by vector and by words.

use std::path::{Path, PathBuf};

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, UInt32Type};
use arrow_array::{Array, RecordBatch};
use cs_common::metadata::{Model, Repo};
use futures::TryStreamExt as _;
use lancedb::DistanceType;
use lancedb::index::scalar::{FtsQuery, FullTextSearchQuery, MultiMatchQuery};
use lancedb::query::{ExecutableQuery, QueryBase, Select};
use tokio::runtime::Runtime;

use crate::folder::{Folder, Location};
use crate::index::TEXT_COLUMNS;
use crate::mark::Incomplete;
use crate::table::Chunks;
use crate::{Error, runtime};

/// The columns that a hit is made of.
const HIT_COLUMNS: [&str; 12] = [
    "repo",
    "path",
    "language",
    "kind",
    "name",
    "symbol",
    "signature",
    "doc",
    "chunk_id",
    "content",
    "start_line",
    "end_line",
];

/// How many of an approximate index's candidates are compared exactly, as a multiple of the limit.
const REFINE: u32 = 10;

/// How many partitions of an approximate index are searched.
const PROBES: usize = 40;

/// A chunk that a search found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hit {
    /// Short name of the repository.
    pub repo: String,
    /// Path below the repository's root.
    pub path: String,
    /// Lower-case language name.
    pub language: Option<String>,
    /// What the chunk is.
    pub kind: Option<String>,
    /// Plain name.
    pub name: Option<String>,
    /// Qualified name.
    pub symbol: Option<String>,
    /// Declaration.
    pub signature: Option<String>,
    /// Documentation.
    pub doc: Option<String>,
    /// Identifier, unique in the store.
    pub chunk_id: Option<String>,
    /// First line, from 1.
    pub start_line: Option<u32>,
    /// Last line, inclusive.
    pub end_line: Option<u32>,
    /// The text.
    pub content: String,
    /// Cosine similarity (−1 to 1) of a dense search, BM25 score of a text search.
    pub score: f32,
}

/// A store that is open for reading; each search sees the version that was newest at its start.
#[derive(Debug)]
pub struct Store {
    chunks: Chunks,
    runtime: Runtime,
}

impl Store {
    /// Opens the store at an address.
    ///
    /// # Errors
    /// [`Error::Missing`] if there is none, [`Error::Database`] or [`Error::Damaged`] if it
    /// cannot be read.
    pub fn open(at: &Location) -> Result<Self, Error> {
        let runtime = runtime(&at.path)?;
        let chunks = runtime.block_on(async {
            let folder = Folder::open(at).await?;
            Chunks::open(&folder).await
        })?;
        Ok(Self { chunks, runtime })
    }

    /// Finds the nearest folder named `.cs` with a store, from `start` upwards.
    pub fn nearest(start: &Path) -> Option<PathBuf> {
        start
            .ancestors()
            .map(|folder| folder.join(".cs"))
            .find(|folder| cs_common::manifest::is_store(folder))
    }

    /// Returns the model of the stored vectors.
    pub fn model(&self) -> &Model {
        self.chunks.model()
    }

    /// Returns what the store lacks; `None` if it is complete.
    ///
    /// # Errors
    /// [`Error::Folder`] or [`Error::Damaged`] if its mark cannot be read.
    pub fn incomplete(&self) -> Result<Option<Incomplete>, Error> {
        self.runtime
            .block_on(Incomplete::read(self.chunks.folder()))
    }

    /// Returns the repositories whose files are stored.
    ///
    /// # Errors
    /// [`Error::Database`] if the store cannot be read.
    pub fn repos(&self) -> Result<Vec<Repo>, Error> {
        self.runtime.block_on(self.chunks.repos())
    }

    /// Returns the `limit` chunks whose vectors are nearest to one of the model's dimensions.
    ///
    /// # Errors
    /// [`Error::Database`] if the store cannot be read.
    pub fn dense(&self, vector: &[f32], limit: usize) -> Result<Vec<Hit>, Error> {
        self.runtime.block_on(async {
            let fail = |error| self.chunks.fail(error);
            let rows = self
                .chunks
                .table
                .vector_search(vector)
                .map_err(fail)?
                .column(cs_common::rows::VECTOR)
                .distance_type(DistanceType::Cosine)
                .nprobes(PROBES)
                .map_err(fail)?
                .refine_factor(REFINE)
                .limit(limit)
                .select(selection("_distance"))
                .execute()
                .await
                .map_err(fail)?
                .try_collect::<Vec<_>>()
                .await
                .map_err(fail)?;
            Ok(hits(&rows, "_distance", |distance| 1.0 - distance))
        })
    }

    /// Returns the `limit` chunks whose content, symbol and path hold the rarest words of a text.
    ///
    /// The text is words only: nothing in it is an operator.
    ///
    /// # Errors
    /// [`Error::Database`] if the store cannot be read.
    pub fn text(&self, words: &str, limit: usize) -> Result<Vec<Hit>, Error> {
        self.runtime.block_on(async {
            let fail = |error| self.chunks.fail(error);
            let indices = self.chunks.table.list_indices().await.map_err(fail)?;
            let (columns, boosts): (Vec<String>, Vec<f32>) = TEXT_COLUMNS
                .into_iter()
                .filter(|(column, _)| indices.iter().any(|index| index.columns == [*column]))
                .map(|(column, boost)| (column.to_owned(), boost))
                .unzip();
            if columns.is_empty() {
                return Ok(Vec::new());
            }
            let query = MultiMatchQuery::try_new(words.to_owned(), columns)
                .and_then(|query| query.try_with_boosts(boosts))
                .map_err(|error| self.chunks.fail(error))?;
            let query = FullTextSearchQuery::new_query(FtsQuery::MultiMatch(query));
            let rows = self
                .chunks
                .table
                .query()
                .full_text_search(query)
                .limit(limit)
                .select(selection("_score"))
                .execute()
                .await
                .map_err(fail)?
                .try_collect::<Vec<_>>()
                .await
                .map_err(fail)?;
            Ok(hits(&rows, "_score", |score| score))
        })
    }
}

fn selection(score: &str) -> Select {
    let mut columns = HIT_COLUMNS.map(str::to_owned).to_vec();
    columns.push(score.to_owned());
    Select::Columns(columns)
}

fn hits(batches: &[RecordBatch], score: &str, scale: impl Fn(f32) -> f32) -> Vec<Hit> {
    let mut hits: Vec<Hit> = batches
        .iter()
        .flat_map(|batch| (0..batch.num_rows()).map(move |row| (batch, row)))
        .map(|(batch, row)| Hit {
            repo: text(batch, "repo", row).unwrap_or_default(),
            path: text(batch, "path", row).unwrap_or_default(),
            language: text(batch, "language", row),
            kind: text(batch, "kind", row),
            name: text(batch, "name", row),
            symbol: text(batch, "symbol", row),
            signature: text(batch, "signature", row),
            doc: text(batch, "doc", row),
            chunk_id: text(batch, "chunk_id", row),
            start_line: line(batch, "start_line", row),
            end_line: line(batch, "end_line", row),
            content: text(batch, "content", row).unwrap_or_default(),
            score: batch
                .column_by_name(score)
                .and_then(|array| array.as_primitive_opt::<Float32Type>())
                .map_or(0.0, |array| scale(array.value(row))),
        })
        .collect();
    // The database sorts by score alone; equal ones must stand in the same order on every run.
    hits.sort_by(|a, b| {
        b.score
            .total_cmp(&a.score)
            .then_with(|| (&a.repo, &a.path, a.start_line).cmp(&(&b.repo, &b.path, b.start_line)))
    });
    hits
}

fn text(batch: &RecordBatch, name: &str, row: usize) -> Option<String> {
    let array = batch.column_by_name(name)?.as_string_opt::<i32>()?;
    array.is_valid(row).then(|| array.value(row).to_owned())
}

fn line(batch: &RecordBatch, name: &str, row: usize) -> Option<u32> {
    let array = batch
        .column_by_name(name)?
        .as_primitive_opt::<UInt32Type>()?;
    array.is_valid(row).then(|| array.value(row))
}
