//! Columns of all rows in memory, for whoever asks much.

use std::collections::HashMap;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use arrow_array::{ArrayRef, RecordBatch, UInt32Array};
use arrow_schema::ArrowError;
use arrow_select::concat::concat_batches;
use arrow_select::take::take;

/// Rows up to which columns are kept: some hundred bytes for each.
pub(crate) const KEPT_ROWS: usize = 1_000_000;

const ROW_ID: &str = "_rowid";

/// Columns of all rows of a version of the table.
#[derive(Debug)]
pub(crate) struct Kept {
    columns: RecordBatch,
    /// Where in the columns a row is, by its id.
    places: HashMap<u64, u32>,
}

impl Kept {
    /// Joins what was read of a table, with the ids of the rows; `None` if it is nothing.
    ///
    /// # Errors
    /// If a column is longer than its offsets can tell.
    pub(crate) fn new(batches: &[RecordBatch]) -> Result<Option<Self>, ArrowError> {
        let Some(first) = batches.first() else {
            return Ok(None);
        };
        let columns = concat_batches(&first.schema(), batches)?;
        let ids = columns
            .column_by_name(ROW_ID)
            .and_then(|ids| ids.as_primitive_opt::<UInt64Type>());
        let places = ids.map(|ids| ids.values().iter().copied().zip(0..).collect());
        Ok(places.map(|places| Self { columns, places }))
    }

    /// Returns where rows are, if all of them are there.
    pub(crate) fn places(&self, rows: &[u64]) -> Option<UInt32Array> {
        let places = rows.iter().map(|row| self.places.get(row).copied());
        places.collect::<Option<Vec<u32>>>().map(UInt32Array::from)
    }

    /// Tells whether a column is kept.
    pub(crate) fn has(&self, column: &str) -> bool {
        self.columns.column_by_name(column).is_some()
    }

    /// Returns a column of rows at some places.
    ///
    /// # Errors
    /// If it is not kept, or longer than its offsets can tell.
    pub(crate) fn take(&self, column: &str, places: &UInt32Array) -> Result<ArrayRef, ArrowError> {
        let at = self.columns.schema_ref().index_of(column)?;
        take(self.columns.column(at), places, None)
    }
}
