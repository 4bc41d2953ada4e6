//! The rows of a step as the table takes them: in its columns, some thousand at a time.
//!
//! A file brings a few rows. They are joined when the database asks for more, so that no second
//! copy of a step is in memory.

use std::iter::Peekable;
use std::sync::Arc;
use std::vec;

use arrow_array::{ArrayRef, RecordBatch, StringArray, new_null_array};
use arrow_schema::{ArrowError, SchemaRef};
use arrow_select::concat::concat_batches;
use cs_common::rows::FILE_SETTINGS;

use crate::step::{Step, bytes_of};

/// Rows and bytes of what is joined: one batch of all could be longer than its offsets can tell.
const JOINED_ROWS: usize = 4_096;
const JOINED_BYTES: usize = 16 << 20;

/// Reads the rows of a step.
pub(crate) struct StepRows {
    batches: Peekable<vec::IntoIter<RecordBatch>>,
    /// What decided how the files were cut, where their rows do not say it themselves.
    settings: Option<Arc<str>>,
    schema: SchemaRef,
}

impl StepRows {
    /// Returns a reader of a step's rows in the columns of a table.
    pub(crate) fn new(step: Step, schema: SchemaRef) -> Self {
        Self {
            batches: step.batches.into_iter().peekable(),
            settings: step.settings,
            schema,
        }
    }

    /// Returns batches to be joined; none at the end.
    fn group(&mut self) -> Vec<RecordBatch> {
        let (mut group, mut rows, mut bytes) = (Vec::new(), 0, 0);
        while let Some(batch) = self.batches.next_if(|batch| {
            rows += batch.num_rows();
            bytes += bytes_of(batch);
            group.is_empty() || (rows <= JOINED_ROWS && bytes <= JOINED_BYTES)
        }) {
            group.push(batch);
        }
        group
    }

    /// Joins batches to one with the table's columns: by name, a missing one null, but for the
    /// settings, which are the stream's.
    fn joined(&self, batches: &[RecordBatch]) -> Result<RecordBatch, ArrowError> {
        let given = batches
            .first()
            .map_or(&self.schema, RecordBatch::schema_ref);
        let rows = concat_batches(given, batches)?;
        let columns = self.schema.fields().iter();
        let columns = columns.map(|field| match rows.column_by_name(field.name()) {
            Some(array) if array.data_type() == field.data_type() => Ok(Arc::clone(array)),
            Some(array) => arrow_cast::cast(array, field.data_type()),
            None if field.name() == FILE_SETTINGS => {
                let same = std::iter::repeat_n(self.settings.as_deref(), rows.num_rows());
                Ok(Arc::new(same.collect::<StringArray>()) as ArrayRef)
            }
            None => Ok(new_null_array(field.data_type(), rows.num_rows())),
        });
        let columns: Vec<ArrayRef> = columns.collect::<Result<_, _>>()?;
        RecordBatch::try_new(Arc::clone(&self.schema), columns)
    }
}

impl Iterator for StepRows {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let group = self.group();
        (!group.is_empty()).then(|| self.joined(&group))
    }
}
