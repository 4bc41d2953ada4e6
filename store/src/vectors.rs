//! The last check of vectors: one that is not finite or all zeros would be found by no question,
//! or by every one.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float16Type, Float32Type};
use arrow_array::{Array, FixedSizeListArray, RecordBatch};
use cs_common::rows::{Op, Rows, VECTOR};

use crate::Error;

/// Checks the vector of each chunk of a batch.
///
/// # Errors
/// [`Error::Vector`] naming the first chunk without a sound one, [`Error::NotEmbedded`] if the
/// batch has no vector column.
pub(crate) fn check(batch: &RecordBatch, rows: &Rows<'_>) -> Result<(), Error> {
    let vectors = batch
        .column_by_name(VECTOR)
        .and_then(|column| column.as_fixed_size_list_opt())
        .ok_or(Error::NotEmbedded("column `vector`"))?;
    for row in 0..rows.len() {
        if rows.op(row) != Op::Put {
            continue;
        }
        if let Some(cause) = fault(vectors, row) {
            return Err(Error::Vector {
                chunk: rows.locate(row),
                cause,
            });
        }
    }
    Ok(())
}

/// Returns what is wrong with a row's vector, if anything.
fn fault(vectors: &FixedSizeListArray, row: usize) -> Option<&'static str> {
    if vectors.is_null(row) {
        return Some("is missing");
    }
    let length = vectors.value_length() as usize;
    let start = vectors.value_offset(row) as usize;
    let values = vectors.values();
    if values.null_count() > 0 && (start..start + length).any(|index| values.is_null(index)) {
        return Some("has a hole");
    }
    if let Some(numbers) = values.as_primitive_opt::<Float32Type>() {
        let numbers = numbers.values().get(start..start + length)?;
        return judge(numbers.iter().copied());
    }
    let numbers = values.as_primitive_opt::<Float16Type>()?;
    let numbers = numbers.values().get(start..start + length)?;
    judge(numbers.iter().map(|number| number.to_f32()))
}

fn judge(numbers: impl Iterator<Item = f32>) -> Option<&'static str> {
    let mut zero = true;
    for number in numbers {
        if !number.is_finite() {
            return Some("is not finite");
        }
        zero &= number == 0.0;
    }
    zero.then_some("is all zeros")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_finite_vectors_with_a_direction_pass() {
        let cases: [(&[f32], Option<&str>); 5] = [
            (&[0.0, 0.0], Some("is all zeros")),
            (&[-0.0, 0.0], Some("is all zeros")),
            (&[1.0, f32::NAN], Some("is not finite")),
            (&[f32::INFINITY, 0.0], Some("is not finite")),
            (&[0.0, 1e-30], None),
        ];
        for (numbers, expected) in cases {
            assert_eq!(judge(numbers.iter().copied()), expected, "{numbers:?}");
        }
    }

    #[test]
    fn missing_vectors_and_numbers_are_seen() {
        let list = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(
            [
                Some(vec![Some(1.0), Some(0.0)]),
                None,
                Some(vec![Some(1.0), None]),
            ],
            2,
        );
        let faults: Vec<_> = (0..3).map(|row| fault(&list, row)).collect();
        assert_eq!(faults, [None, Some("is missing"), Some("has a hole")]);
        assert_eq!(fault(&list.slice(1, 2), 1), Some("has a hole"));
    }
}
