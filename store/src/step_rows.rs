//! The rows of a step as the table takes them: in its columns, some hundreds at a time at least.
//!
//! What came in one batch is passed on as it is, without a copy. Smaller pieces, of streams that bring
//! a few rows at a time, are joined when the database asks for more, so that no second copy of a step
//! is in memory.

use std::iter::Peekable;
use std::sync::Arc;
use std::vec;

use arrow_array::{Array as _, ArrayRef, RecordBatch, StringArray, make_array, new_null_array};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer};
use arrow_data::ArrayData;
use arrow_schema::{ArrowError, SchemaRef};
use arrow_select::concat::concat_batches;
use bytes::Bytes;
use cs_common::rows::FILE_SETTINGS;

use crate::step::{Span, Step, bytes_of};

/// Rows and bytes of a piece that is not worth a copy: each costs the database a call a column.
const WHOLE_ROWS: usize = 256;
const WHOLE_BYTES: usize = 512 << 10;

/// Rows and bytes of what is joined: one batch of all could be longer than its offsets can tell.
const JOINED_ROWS: usize = 4_096;
const JOINED_BYTES: usize = 16 << 20;

/// Reads the rows of a step.
pub(crate) struct StepRows {
    spans: Peekable<vec::IntoIter<Span>>,
    /// What decided how the files were cut, where their rows do not say it themselves.
    settings: Option<Arc<str>>,
    schema: SchemaRef,
}

impl StepRows {
    /// Returns a reader of a step's rows in the columns of a table.
    pub(crate) fn new(step: Step, schema: SchemaRef) -> Self {
        Self {
            spans: step.spans.into_iter().peekable(),
            settings: step.settings,
            schema,
        }
    }

    /// Returns a large piece, or small ones to be joined; none at the end.
    fn group(&mut self) -> Vec<RecordBatch> {
        let (mut group, mut rows, mut bytes) = (Vec::new(), 0, 0);
        while let Some(span) = self.spans.next_if(|span| {
            let next = span.slice();
            let size = bytes_of(&next);
            rows += next.num_rows();
            bytes += size;
            let is_whole = next.num_rows() >= WHOLE_ROWS || size >= WHOLE_BYTES;
            group.is_empty() || (!is_whole && rows <= JOINED_ROWS && bytes <= JOINED_BYTES)
        }) {
            group.push(span.slice());
        }
        group
    }

    /// Makes one batch of some with the table's columns: by name, a missing one null, but for the
    /// settings, which are the stream's.
    fn joined(&self, batches: &[RecordBatch]) -> Result<RecordBatch, ArrowError> {
        let rows = match batches {
            [rows] => apart(rows)?,
            _ => {
                let given = batches
                    .first()
                    .map_or(&self.schema, |rows| rows.schema_ref());
                concat_batches(given, batches)?
            }
        };
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

/// Lets each column of a batch report the memory of its own rows, without copying them.
///
/// All columns of a batch that came over a pipe share the memory of its message, and each reports
/// the whole of it. The database, which gathers rows until they take so many bytes, would write
/// pages of a few rows.
fn apart(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let columns = batch.columns().iter();
    let columns = columns.map(|array| apart_data(array.to_data()).map(make_array));
    RecordBatch::try_new(batch.schema(), columns.collect::<Result<_, _>>()?)
}

fn apart_data(data: ArrayData) -> Result<ArrayData, ArrowError> {
    let buffers = data.buffers().iter().cloned().map(sized).collect();
    let nulls = data.nulls().map(|nulls| {
        let bits = nulls.inner();
        let own = sized(bits.inner().clone());
        NullBuffer::new(BooleanBuffer::new(own, bits.offset(), bits.len()))
    });
    let children = data.child_data().iter().cloned().map(apart_data);
    let children = children.collect::<Result<_, _>>()?;
    let builder = data.into_builder().buffers(buffers).nulls(nulls);
    builder.child_data(children).build()
}

/// Returns a buffer of the same bytes that reports as many as it shows.
fn sized(buffer: Buffer) -> Buffer {
    Buffer::from(Bytes::from_owner(Shown(buffer)))
}

/// The bytes that a buffer shows of its memory.
struct Shown(Buffer);

impl AsRef<[u8]> for Shown {
    fn as_ref(&self) -> &[u8] {
        self.0.as_slice()
    }
}
