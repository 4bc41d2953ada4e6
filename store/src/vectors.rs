//! What makes a vector one that may be stored.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float16Type, Float32Type};
use arrow_array::{Array, FixedSizeListArray, RecordBatch};
use arrow_schema::{DataType, Schema};
use cs_common::rows::VECTOR;

use crate::Error;

/// Checks that a column's type is one of vectors.
pub(crate) fn check_type(data_type: &DataType) -> Result<(), Error> {
    match data_type {
        DataType::FixedSizeList(item, _)
            if matches!(item.data_type(), DataType::Float16 | DataType::Float32) =>
        {
            Ok(())
        }
        other => Err(cs_common::Error::Column {
            column: VECTOR.to_owned(),
            cause: format!("is of type {other}, not a fixed-size list of Float32 or Float16"),
        }
        .into()),
    }
}

/// Gives a batch's vectors the type that the store has: that of the stream that made it.
pub(crate) fn with_vectors_as(
    batch: &RecordBatch,
    target: &DataType,
) -> Result<RecordBatch, Error> {
    let schema = batch.schema();
    let (at, field) = schema.column_with_name(VECTOR).ok_or(Error::NoVectors)?;
    // Another length is another model's, which is told by its chunk.
    let (DataType::FixedSizeList(_, given), DataType::FixedSizeList(item, _)) =
        (field.data_type(), target)
    else {
        return Ok(batch.clone());
    };
    let target = DataType::FixedSizeList(Arc::clone(item), *given);
    if &target == field.data_type() {
        return Ok(batch.clone());
    }
    let convert = || {
        let mut columns = batch.columns().to_vec();
        columns[at] = arrow_cast::cast(&columns[at], &target)?;
        let mut fields = schema.fields().to_vec();
        fields[at] = Arc::new(field.clone().with_data_type(target));
        let schema = Schema::new(fields).with_metadata(schema.metadata().clone());
        RecordBatch::try_new(Arc::new(schema), columns)
    };
    convert().map_err(|error| cs_common::Error::Arrow(error).into())
}

/// Returns a batch's vectors.
pub(crate) fn vectors(batch: &RecordBatch) -> Result<&FixedSizeListArray, Error> {
    let array = batch.column_by_name(VECTOR).ok_or(Error::NoVectors)?;
    check_type(array.data_type())?;
    Ok(array.as_fixed_size_list())
}

/// Tells why a row's vector is not one of `dim` finite numbers that are not all zero.
///
/// The vectors are of a type that [`check_type`] takes.
pub(crate) fn fault(vectors: &FixedSizeListArray, row: usize, dim: usize) -> Option<String> {
    let width = usize::try_from(vectors.value_length()).unwrap_or_default();
    if width != dim {
        return Some(format!("has {width} numbers, its model makes {dim}"));
    }
    if vectors.is_null(row) {
        return Some("is missing".to_owned());
    }
    let values = vectors.values();
    let from = usize::try_from(vectors.value_offset(row)).unwrap_or_default();
    if values.null_count() > 0 && (from..from + width).any(|at| values.is_null(at)) {
        return Some("holds a null".to_owned());
    }
    let cause = match values.as_primitive_opt::<Float16Type>() {
        Some(halves) => {
            let vector = &halves.values()[from..from + width];
            spoilt(vector.iter().map(|value| value.to_f32()))
        }
        None => {
            let floats = values.as_primitive::<Float32Type>();
            spoilt(floats.values()[from..from + width].iter().copied())
        }
    };
    cause.map(str::to_owned)
}

/// Tells why a vector means nothing, if it does not.
fn spoilt(mut vector: impl Iterator<Item = f32> + Clone) -> Option<&'static str> {
    if !vector.clone().all(f32::is_finite) {
        return Some("is not finite");
    }
    vector.all(|value| value == 0.0).then_some("is all zeros")
}
