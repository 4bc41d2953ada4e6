//! Which indexes a table has, and how each is made.
//!
//! There is always full text over `content`, `symbol` and `path`. From 10,000 rows on there are
//! bitmaps and sorted indexes of the columns that filters use. Through the index of `path` a run
//! finds the rows that it replaces without reading all. From 30,000 rows on there is one of
//! vectors: IVF_RQ with a bit for each number. It is built ten times as fast as IVF_PQ and finds
//! more, because its 10 best candidates for each hit are compared exactly.

use cs_common::rows::VECTOR;
use lancedb::DistanceType;
use lancedb::index::Index;
use lancedb::index::scalar::{BTreeIndexBuilder, BitmapIndexBuilder, FtsIndexBuilder};
use lancedb::index::vector::{IvfRqIndexBuilder, IvfSqIndexBuilder};

/// The columns with a full-text index, and what a word in each is worth against one in `content`.
pub(crate) const TEXT_COLUMNS: [(&str, f32); 3] =
    [("content", 1.0), ("symbol", 2.0), ("path", 1.0)];

/// The columns of few values that searches are narrowed by.
const BITMAP_COLUMNS: [&str; 4] = ["repo", "project", "language", "kind"];

/// The columns of many values that searches are narrowed by, and by which files are found.
const SORTED_COLUMNS: [&str; 3] = ["path", "name", "symbol"];

/// Rows from which columns that searches are narrowed by have an index.
const COLUMN_INDEX_ROWS: usize = 10_000;

/// Rows from which an approximate index answers faster than reading all vectors by much.
const VECTOR_INDEX_ROWS: usize = 30_000;

/// Bits that stand for each number of a vector in the approximate index.
const BITS: u32 = 1;

/// Rows of a partition of the approximate index, on average.
///
/// Reading codes costs so little that many small partitions gain nothing, and take longer to find.
const PARTITION_ROWS: usize = 16_384;

/// Vectors of each partition from which its centre is found.
const SAMPLE_RATE: u32 = 64;

/// How many partitions of the approximate index are searched: all of up to 655,360 rows.
pub(crate) const PROBES: usize = 40;

/// How many of the approximate index's candidates are compared exactly, as a multiple of the limit.
pub(crate) const REFINE: u32 = 10;

/// Memory of the making of a full-text index, in MiB: what has no more room goes to disk and is
/// searched apart.
const TEXT_INDEX_MEMORY: u64 = 96;

/// An index that a table should have.
pub(super) struct Kind {
    pub(super) name: String,
    pub(super) column: &'static str,
    pub(super) index: Index,
}

impl Kind {
    fn new(column: &'static str, suffix: &str, index: Index) -> Self {
        Self {
            name: format!("{column}_{suffix}"),
            column,
            index,
        }
    }
}

/// Tells by an index's name whether it is one of text.
pub(super) fn is_text(name: &str) -> bool {
    TEXT_COLUMNS
        .iter()
        .any(|(column, _)| name == format!("{column}_idx"))
}

/// Returns the indexes of a table of so many rows, with vectors of `dim` numbers.
///
/// Text is always indexed, as nothing is found by its words otherwise; the others are made when
/// they answer faster than reading everything.
pub(super) fn wanted(rows: usize, dim: usize) -> Vec<Kind> {
    let mut kinds = Vec::new();
    // It takes the most memory, and comes before what the database keeps of the others.
    if rows >= VECTOR_INDEX_ROWS {
        kinds.push(Kind::new(VECTOR, "idx", vectors(rows, dim)));
    }
    kinds.extend(TEXT_COLUMNS.map(|(column, _)| {
        let text = FtsIndexBuilder::code()
            .split_identifiers(true)
            .memory_limit_mb(TEXT_INDEX_MEMORY);
        Kind::new(column, "idx", Index::FTS(text))
    }));
    if rows >= COLUMN_INDEX_ROWS {
        kinds.extend(BITMAP_COLUMNS.map(|column| {
            let index = Index::Bitmap(BitmapIndexBuilder::default());
            Kind::new(column, "bitmap", index)
        }));
        kinds.extend(SORTED_COLUMNS.map(|column| {
            let index = Index::BTree(BTreeIndexBuilder::default());
            Kind::new(column, "sorted", index)
        }));
    }
    kinds
}

/// Returns the index of vectors: a bit for each number after a rotation, which takes a thirtieth
/// of their space, is made in a second for 100,000 rows, and whose candidates are compared
/// exactly.
///
/// It takes whole bytes of bits; where the dimensions are none, eight bits stand for a number.
fn vectors(rows: usize, dim: usize) -> Index {
    let partitions = u32::try_from(rows / PARTITION_ROWS)
        .unwrap_or(u32::MAX)
        .max(1);
    if dim.is_multiple_of(8) {
        let index = IvfRqIndexBuilder::default()
            .distance_type(DistanceType::Cosine)
            .num_partitions(partitions)
            .sample_rate(SAMPLE_RATE)
            .num_bits(BITS);
        Index::IvfRq(index)
    } else {
        let index = IvfSqIndexBuilder::default()
            .distance_type(DistanceType::Cosine)
            .num_partitions(partitions)
            .sample_rate(SAMPLE_RATE);
        Index::IvfSq(index)
    }
}
