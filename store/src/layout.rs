//! The table's columns, and how a batch of the stream becomes rows of it.
//!
//! The table has the contract's columns without `op`, the vector, and the columns that the first
//! stream had beyond the contract.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, FixedSizeListArray, RecordBatch, new_null_array};
use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef};
use cs_common::metadata::Model;
use cs_common::rows::{VECTOR, chunk_schema, columns};
use log::warn;

use crate::Error;

/// The column that says what to do with a row, which is done when the row is stored.
const OP: &str = "op";

/// Returns the columns of a new table for a stream of `stream`'s columns and `model`'s vectors.
///
/// # Errors
/// [`Error::NotEmbedded`] or [`Error::VectorType`] if the stream's vectors are not what the model says.
pub(crate) fn table_schema(stream: &Schema, model: &Model) -> Result<Schema, Error> {
    let mut fields: Vec<FieldRef> = chunk_schema()
        .fields()
        .iter()
        .filter(|field| field.name() != OP)
        .cloned()
        .collect();
    let element = vector_element(stream, model)?;
    let item = Arc::new(Field::new("item", element, true));
    let vector = DataType::FixedSizeList(item, model.dim as i32);
    fields.push(Arc::new(Field::new(VECTOR, vector, true)));
    fields.extend(
        stream
            .fields()
            .iter()
            .filter(|field| is_unknown(field) && is_storable(field))
            .map(|field| Arc::new(field.as_ref().clone().with_nullable(true))),
    );
    Ok(Schema::new(fields))
}

/// Returns the type of a vector's numbers, after checking the vector column against the model.
fn vector_element(stream: &Schema, model: &Model) -> Result<DataType, Error> {
    let field = stream
        .field_with_name(VECTOR)
        .map_err(|_| Error::NotEmbedded("column `vector`"))?;
    match field.data_type() {
        DataType::FixedSizeList(item, length)
            if matches!(item.data_type(), DataType::Float16 | DataType::Float32)
                && *length > 0
                && *length as usize == model.dim =>
        {
            Ok(item.data_type().clone())
        }
        found => Err(Error::VectorType {
            found: found.to_string(),
            expected: format!("a fixed-size list of {} Float32 or Float16", model.dim),
        }),
    }
}

fn is_unknown(field: &Field) -> bool {
    field.name() != VECTOR && !columns().any(|column| column.name == field.name())
}

/// Tells whether the database takes a column of this name: it has names of its own with `_`, and
/// reads a dot as a path into a nested column.
fn is_storable(field: &Field) -> bool {
    !field.name().is_empty() && !field.name().starts_with('_') && !field.name().contains('.')
}

/// Turns batches of one stream into rows of the table.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    schema: SchemaRef,
    /// For each column of the table, where the stream has it.
    sources: Vec<Option<usize>>,
}

impl Layout {
    /// Matches a stream's columns to a table's, and warns of each that the table has no place for.
    ///
    /// # Errors
    /// [`Error::VectorType`] if the table's vectors are of another type than the stream's.
    pub(crate) fn new(stream: &Schema, table: &Schema) -> Result<Self, Error> {
        let source = |field: &FieldRef| {
            let (index, found) = stream.column_with_name(field.name())?;
            fits(found.data_type(), field.data_type()).then_some(index)
        };
        let sources: Vec<Option<usize>> = table.fields().iter().map(source).collect();
        for (index, field) in stream.fields().iter().enumerate() {
            if field.name() == OP || sources.contains(&Some(index)) {
                continue;
            }
            if field.name() == VECTOR {
                let expected = table
                    .field_with_name(VECTOR)
                    .map_or_else(|_| String::new(), |field| field.data_type().to_string());
                return Err(Error::VectorType {
                    found: field.data_type().to_string(),
                    expected,
                });
            }
            warn!("column `{}` is not stored: the table has no such column", field.name());
        }
        // Metadata is the table's affair; rows are written without it.
        let schema = Schema::new(table.fields().clone());
        Ok(Self {
            schema: Arc::new(schema),
            sources,
        })
    }

    /// Returns a batch's rows as the table has them.
    ///
    /// # Errors
    /// [`cs_common::Error::Arrow`] if a column does not fit after all.
    pub(crate) fn apply(&self, batch: &RecordBatch) -> Result<RecordBatch, cs_common::Error> {
        let columns = self
            .schema
            .fields()
            .iter()
            .zip(&self.sources)
            .map(|(field, source)| match source {
                Some(index) => retype(batch.column(*index), field.data_type()),
                None => new_null_array(field.data_type(), batch.num_rows()),
            })
            .collect();
        RecordBatch::try_new(Arc::clone(&self.schema), columns).map_err(cs_common::Error::Arrow)
    }
}

/// Tells whether a column can be stored as `stored`: lists may name their items differently.
fn fits(found: &DataType, stored: &DataType) -> bool {
    match (found, stored) {
        (DataType::FixedSizeList(a, n), DataType::FixedSizeList(b, m)) => {
            n == m && a.data_type() == b.data_type()
        }
        _ => found == stored,
    }
}

/// Gives a list the stored name of its items; all other columns have the right type already.
fn retype(array: &ArrayRef, data_type: &DataType) -> ArrayRef {
    if array.data_type() == data_type {
        return Arc::clone(array);
    }
    match (array.as_fixed_size_list_opt(), data_type) {
        (Some(list), DataType::FixedSizeList(item, length)) => FixedSizeListArray::try_new(
            Arc::clone(item),
            *length,
            Arc::clone(list.values()),
            list.nulls().cloned(),
        )
        .map_or_else(|_| Arc::clone(array), |list| Arc::new(list) as ArrayRef),
        _ => Arc::clone(array),
    }
}
