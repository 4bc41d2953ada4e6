//! Columns of all rows in memory, for callers with many questions.
//!
//! Reading a hundred scattered rows takes longer than the search for them. `Store::matching` looks
//! names and files up here, by the conditions that the database evaluates otherwise.

use std::collections::HashMap;
use std::fmt;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use arrow_array::{ArrayRef, RecordBatch, UInt32Array};
use arrow_schema::ArrowError;
use arrow_select::concat::concat_batches;
use arrow_select::take::take;
use lance::deps::datafusion::common::DFSchema;
use lance::deps::datafusion::error::DataFusionError;
use lance::deps::datafusion::logical_expr::Expr;
use lance::deps::datafusion::prelude::SessionContext;

/// Rows up to which columns are kept: some hundred bytes for each.
pub(crate) const KEPT_ROWS: usize = 1_000_000;

const ROW_ID: &str = "_rowid";

/// Columns of all rows of a version of the table.
pub(crate) struct Kept {
    columns: RecordBatch,
    /// Where in the columns a row is, by its id.
    places: HashMap<u64, u32>,
    /// The rules by which conditions are read, which take longer to make than most to evaluate.
    rules: SessionContext,
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept")
            .field("rows", &self.columns.num_rows())
            .finish_non_exhaustive()
    }
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
        Ok(places.map(|places| Self {
            columns,
            places,
            rules: SessionContext::new(),
        }))
    }

    /// Returns the ids of the first rows that meet a condition, `limit` at most.
    ///
    /// # Errors
    /// If the condition has a column that is not kept, or cannot be evaluated.
    pub(crate) fn matching(
        &self,
        condition: Expr,
        limit: usize,
    ) -> Result<Vec<u64>, DataFusionError> {
        let schema = DFSchema::try_from(self.columns.schema())?;
        let condition = self.rules.create_physical_expr(condition, &schema)?;
        let met = condition
            .evaluate(&self.columns)?
            .into_array(self.columns.num_rows())?;
        let ids = self.columns.column_by_name(ROW_ID);
        let ids = ids.and_then(|ids| ids.as_primitive_opt::<UInt64Type>());
        let (Some(met), Some(ids)) = (met.as_boolean_opt(), ids) else {
            return Ok(Vec::new());
        };
        // What is unknown is not met.
        let met = met
            .iter()
            .zip(ids.values())
            .filter(|(met, _)| *met == Some(true));
        Ok(met.map(|(_, id)| *id).take(limit).collect())
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
