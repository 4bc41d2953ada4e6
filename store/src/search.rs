//! Reading a store: its model, and the two ways of finding chunks, by vector and by words.
//!
//! A search tells of rows only where they are and how well they fit. What else is wanted of them
//! is read afterwards, for as many as are left: a few columns to rank by, all of them to print.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, UInt64Type};
use arrow_array::{Float32Array, RecordBatch};
use arrow_schema::SchemaRef;
use cs_common::metadata::{Model, Repo, StreamMetadata};
use cs_common::rows::VECTOR;
use futures::TryStreamExt as _;
use lance::dataset::scanner::Scanner;
use lance::dataset::{Dataset, ProjectionRequest};
use lancedb::DistanceType;
use lancedb::index::scalar::{FtsQuery, FullTextSearchQuery, MultiMatchQuery};
use tokio::runtime::Runtime;

use crate::filter::{Filter, Names};
use crate::folder::{Folder, Location};
use crate::index::{PROBES, REFINE, TEXT_COLUMNS};
use crate::kept::{KEPT_ROWS, Kept};
use crate::mark::Incomplete;
use crate::table::Chunks;
use crate::{Error, runtime};

/// The rows that an approximate index has to bring as an exact search would.
const EXACT_ROWS: usize = 10;

/// A row that a search found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    /// Where the row is in this version of the store.
    pub row: u64,
    /// Cosine similarity (−1 to 1) of a search by vector, BM25 score of one by words.
    pub score: f32,
}

/// What is looked for.
#[derive(Clone, Copy, Debug)]
pub struct Search<'a> {
    /// A vector of the model's dimensions to be near to; without one nothing is found by vector.
    pub vector: Option<&'a [f32]>,
    /// Words of which a chunk should have the rarest; without any nothing is found by words.
    /// Nothing in them is an operator.
    pub words: Option<&'a str>,
    /// How many rows each of the two finds at most.
    pub limit: usize,
    /// Among which chunks.
    pub filter: &'a Filter,
}

/// What a search found, each list with the best first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Findings {
    /// By vector.
    pub dense: Vec<Found>,
    /// By words.
    pub text: Vec<Found>,
    /// How long the search by vector took; both are at the same time.
    pub dense_time: Duration,
    /// How long the search by words took.
    pub text_time: Duration,
}

/// A store that is open for reading, in the version that was newest when it was opened.
#[derive(Debug)]
pub struct Store {
    chunks: Chunks,
    dataset: Arc<Dataset>,
    /// Columns that need not be read again.
    kept: Option<Kept>,
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
        let (chunks, dataset) = runtime.block_on(async {
            let folder = Folder::open(at).await?;
            let chunks = Chunks::open(&folder).await?;
            let dataset = chunks.dataset().await?;
            Ok::<_, Error>((chunks, dataset))
        })?;
        Ok(Self {
            chunks,
            dataset,
            kept: None,
            runtime,
        })
    }

    /// Goes on to the newest version, for whoever asks for long: an old one is removed in time.
    /// Of another version nothing is kept.
    ///
    /// # Errors
    /// [`Error::Database`] if it cannot be read.
    pub fn refresh(&mut self) -> Result<(), Error> {
        let (chunks, dataset) = self.runtime.block_on(async {
            let folder = self.chunks.folder();
            // A rebuilt store has another table.
            let chunks = match folder.table().await? == self.chunks.name() {
                true => self.chunks.clone(),
                false => Chunks::open(folder).await?,
            };
            chunks.reload().await?;
            let dataset = chunks.dataset().await?;
            Ok::<_, Error>((chunks, dataset))
        })?;
        let is_same = chunks.name() == self.chunks.name()
            && dataset.version().version == self.dataset.version().version;
        if !is_same {
            self.kept = None;
        }
        (self.chunks, self.dataset) = (chunks, dataset);
        Ok(())
    }

    /// Keeps columns of all rows in memory, from where [`Store::take`] has them in a thousandth of
    /// the time; those of filters have to be among them, as [`Store::matching`] looks there, too. For
    /// whoever asks some dozens of questions. Does nothing for a store of more than a
    /// million rows, and nothing the second time.
    ///
    /// # Errors
    /// [`Error::Database`] if the store cannot be read.
    pub fn keep(&mut self, columns: &[&str]) -> Result<(), Error> {
        if self.kept.is_some() {
            return Ok(());
        }
        let known: Vec<&str> = self.known(columns).collect();
        if self.rows()? > KEPT_ROWS {
            return Ok(());
        }
        let kept = self.runtime.block_on(async {
            let mut scanner = self.dataset.scan();
            scanner
                .project(&known)
                .map_err(|error| self.fail(error))?
                .with_row_id();
            let batches = self.read(scanner).await?;
            Kept::new(&batches).map_err(|error| self.fail(error))
        })?;
        self.kept = kept;
        Ok(())
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

    /// Returns how many chunks are stored.
    ///
    /// # Errors
    /// [`Error::Database`] if the store cannot be read.
    pub fn rows(&self) -> Result<usize, Error> {
        let rows = self.runtime.block_on(self.dataset.count_rows(None));
        rows.map_err(|error| self.fail(error))
    }

    /// Returns what the store knows of where its rows come from, as the metadata of a stream.
    ///
    /// # Errors
    /// [`Error::Database`] or [`Error::Damaged`] if it cannot be read.
    pub fn metadata(&self) -> Result<StreamMetadata, Error> {
        self.runtime.block_on(async {
            let mut metadata = StreamMetadata::from(self.chunks.provenance().await?);
            metadata.repos = self.chunks.repos().await?;
            metadata.model = Some(self.chunks.model().clone());
            Ok(metadata)
        })
    }

    /// Returns the columns of the stored rows.
    pub fn schema(&self) -> SchemaRef {
        Arc::new(self.dataset.schema().into())
    }

    /// Finds rows by vector and by words, both at once.
    ///
    /// # Errors
    /// [`Error::Database`] if the store cannot be read.
    pub fn search(&self, wanted: &Search<'_>) -> Result<Findings, Error> {
        self.runtime.block_on(async {
            let names = self.names(wanted.filter).await?;
            let dense = timed(async {
                match wanted.vector {
                    Some(vector) => {
                        self.found(self.nearest_to(vector, wanted, names)?, "_distance")
                            .await
                    }
                    None => Ok(Vec::new()),
                }
            });
            let text = timed(async {
                match wanted.words {
                    Some(words) => {
                        self.found(self.with_words(words, wanted, names)?, "_score")
                            .await
                    }
                    None => Ok(Vec::new()),
                }
            });
            let ((mut dense, dense_time), (text, text_time)) = futures::try_join!(dense, text)?;
            for found in &mut dense {
                found.score = 1.0 - found.score;
            }
            Ok(Findings {
                dense,
                text,
                dense_time,
                text_time,
            })
        })
    }

    /// Returns rows that fit a filter, in the order of the table, `limit` at most.
    ///
    /// # Errors
    /// [`Error::Database`] if the store cannot be read.
    pub fn matching(&self, filter: &Filter, limit: usize) -> Result<Vec<u64>, Error> {
        self.runtime.block_on(async {
            let names = self.names(filter).await?;
            self.first_matching(filter, limit, names).await
        })
    }

    /// Tells where the symbol that a filter has is to be compared: where it is found.
    async fn names(&self, filter: &Filter) -> Result<Names, Error> {
        if filter.symbol.is_none() {
            return Ok(Names::Any);
        }
        let indexed = self.first_matching(filter, 1, Names::Indexed).await?;
        Ok(match indexed.is_empty() {
            true => Names::Any,
            false => Names::Indexed,
        })
    }

    async fn first_matching(
        &self,
        filter: &Filter,
        limit: usize,
        names: Names,
    ) -> Result<Vec<u64>, Error> {
        if let (Some(kept), Some(condition)) = (&self.kept, filter.condition(names)) {
            let found = kept.matching(condition, limit);
            return found.map_err(|error| self.fail(error));
        }
        let mut scanner = self.scanner(filter, names)?;
        scanner
            .limit(i64::try_from(limit).ok(), None)
            .map_err(|error| self.fail(error))?;
        Ok(rows(&self.read(scanner).await?))
    }

    /// Returns some columns of rows, in their order; columns that the store lacks are left out.
    ///
    /// # Errors
    /// [`Error::Database`] if the store cannot be read.
    pub fn take(&self, rows: &[u64], columns: &[&str]) -> Result<RecordBatch, Error> {
        let known: Vec<&str> = self.known(columns).collect();
        let kept = self.kept.as_ref();
        let Some((kept, places)) = kept.and_then(|kept| Some((kept, kept.places(rows)?))) else {
            return self.read_rows(rows, &known);
        };
        let others: Vec<&str> = known
            .iter()
            .copied()
            .filter(|name| !kept.has(name))
            .collect();
        let others = match others.is_empty() {
            true => None,
            false => Some(self.read_rows(rows, &others)?),
        };
        let mut taken = Vec::with_capacity(known.len());
        for name in known {
            let read = others.as_ref().and_then(|read| read.column_by_name(name));
            let column = match read {
                Some(column) => Arc::clone(column),
                None => kept.take(name, &places).map_err(|error| self.fail(error))?,
            };
            taken.push((name, column));
        }
        RecordBatch::try_from_iter(taken).map_err(|error| self.fail(error))
    }

    /// Returns those of some columns that the store has.
    fn known<'a>(&self, columns: &[&'a str]) -> impl Iterator<Item = &'a str> {
        let schema = self.dataset.schema();
        columns
            .iter()
            .copied()
            .filter(|name| schema.field(name).is_some())
    }

    fn read_rows(&self, rows: &[u64], columns: &[&str]) -> Result<RecordBatch, Error> {
        let projection = ProjectionRequest::from_columns(columns, self.dataset.schema());
        let read = self.dataset.take_rows(rows, projection);
        self.runtime
            .block_on(read)
            .map_err(|error| self.fail(error))
    }

    fn nearest_to(
        &self,
        vector: &[f32],
        wanted: &Search<'_>,
        names: Names,
    ) -> Result<Scanner, Error> {
        let mut scanner = self.scanner(wanted.filter, names)?;
        let vector = Float32Array::from(vector.to_vec());
        scanner
            .nearest(VECTOR, &vector, wanted.limit)
            .map_err(|error| self.fail(error))?
            .distance_metric(DistanceType::Cosine.into())
            .nprobes(PROBES)
            .refine(refined(wanted.limit));
        Ok(scanner)
    }

    fn with_words(&self, words: &str, wanted: &Search<'_>, names: Names) -> Result<Scanner, Error> {
        let mut scanner = self.scanner(wanted.filter, names)?;
        let (columns, boosts) = TEXT_COLUMNS
            .into_iter()
            .map(|(column, boost)| (column.to_owned(), boost))
            .unzip();
        let query = MultiMatchQuery::try_new(words.to_owned(), columns)
            .and_then(|query| query.try_with_boosts(boosts))
            .map_err(|error| self.fail(error))?;
        let limit = i64::try_from(wanted.limit).ok();
        let query = FullTextSearchQuery::new_query(FtsQuery::MultiMatch(query)).limit(limit);
        scanner
            .full_text_search(query)
            .and_then(|scanner| scanner.limit(limit, None))
            .map_err(|error| self.fail(error))?;
        Ok(scanner)
    }

    /// Starts a reading of the ids of rows that fit a filter.
    fn scanner(&self, filter: &Filter, names: Names) -> Result<Scanner, Error> {
        let mut scanner = self.dataset.scan();
        scanner
            .project(&[] as &[&str])
            .map_err(|error| self.fail(error))?
            .with_row_id();
        if let Some(condition) = filter.condition(names) {
            scanner.filter_expr(condition).prefilter(true);
        }
        Ok(scanner)
    }

    async fn read(&self, scanner: Scanner) -> Result<Vec<RecordBatch>, Error> {
        let stream = scanner.try_into_stream().await;
        let stream = stream.map_err(|error| self.fail(error))?;
        stream.try_collect().await.map_err(|error| self.fail(error))
    }

    async fn found(&self, scanner: Scanner, score: &str) -> Result<Vec<Found>, Error> {
        let batches = self.read(scanner).await?;
        let scores = batches.iter().flat_map(|batch| {
            let scores = batch
                .column_by_name(score)
                .map(|array| array.as_primitive::<Float32Type>());
            scores
                .into_iter()
                .flat_map(|array| array.values().iter().copied())
        });
        let found = rows(&batches).into_iter().zip(scores);
        let mut found: Vec<Found> = found.map(|(row, score)| Found { row, score }).collect();
        // Of equal ones the order is that of the table, so that it is the same on every run.
        let is_distance = score == "_distance";
        found.sort_by(|a, b| {
            let order = if is_distance {
                a.score.total_cmp(&b.score)
            } else {
                b.score.total_cmp(&a.score)
            };
            order.then(a.row.cmp(&b.row))
        });
        Ok(found)
    }

    fn fail(&self, source: impl std::error::Error + Send + Sync + 'static) -> Error {
        self.chunks.fail(source)
    }
}

/// Tells how long something took that went well.
async fn timed<T>(work: impl Future<Output = Result<T, Error>>) -> Result<(T, Duration), Error> {
    let started = Instant::now();
    Ok((work.await?, started.elapsed()))
}

/// Returns how many times the rows that are wanted are compared exactly.
///
/// What an approximate index gets wrong are the neighbours of a row in the list: ten rows need
/// many candidates to be the right ones, a hundred that are ranked anew only the first of them.
fn refined(limit: usize) -> u32 {
    let rows = REFINE as usize * EXACT_ROWS;
    u32::try_from(rows.div_ceil(limit.max(1))).map_or(REFINE, |factor| factor.clamp(1, REFINE))
}

/// Returns the ids of rows.
fn rows(batches: &[RecordBatch]) -> Vec<u64> {
    let ids = batches
        .iter()
        .filter_map(|batch| batch.column_by_name("_rowid"));
    ids.flat_map(|ids| ids.as_primitive::<UInt64Type>().values().iter().copied())
        .collect()
}
