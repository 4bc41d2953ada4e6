//! One file as it is stored, held against the contract of the stream and the manifest.

use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::{ArrowPrimitiveType, Int64Type, UInt64Type};
use arrow_array::{Array, FixedSizeListArray, PrimitiveArray, RecordBatch, StringArray};
use cs_common::manifest::Entry;

use crate::Error;
use crate::files::text;
use crate::vectors;

/// The rows of a file.
pub(super) struct File<'a> {
    project: &'a StringArray,
    hash: &'a StringArray,
    size: &'a PrimitiveArray<UInt64Type>,
    mtime: &'a PrimitiveArray<Int64Type>,
    id: &'a StringArray,
    start: &'a PrimitiveArray<UInt64Type>,
    end: &'a PrimitiveArray<UInt64Type>,
    vector: &'a FixedSizeListArray,
}

impl<'a> File<'a> {
    /// Looks at the rows of a file, of which there is at least one.
    pub(super) fn new(folder: &Path, rows: &'a RecordBatch) -> Result<Self, Error> {
        Ok(Self {
            project: text(folder, rows, "project")?,
            hash: text(folder, rows, "file_hash")?,
            size: numbers(folder, rows, "file_size")?,
            mtime: numbers(folder, rows, "file_mtime_ns")?,
            id: text(folder, rows, "chunk_id")?,
            start: numbers(folder, rows, "start_byte")?,
            end: numbers(folder, rows, "end_byte")?,
            vector: vectors::vectors(rows)?,
        })
    }

    /// Returns the identifiers of its chunks.
    pub(super) fn ids(&self) -> impl Iterator<Item = Option<&'a str>> {
        self.id.iter()
    }

    /// Checks what needs nothing but the rows.
    pub(super) fn check(&self, dim: usize, say: &mut impl FnMut(String)) {
        for row in 0..self.id.len() {
            if let Some(cause) = vectors::fault(self.vector, row, dim) {
                say(format!("the vector of {} {cause}", self.locate(row)));
            }
        }
        let states = [
            ("project", is_one(self.project.iter())),
            ("file_hash", is_one(self.hash.iter())),
            ("file_size", is_one(self.size.iter())),
            ("file_mtime_ns", is_one(self.mtime.iter())),
        ];
        for (column, is_one) in states {
            if !is_one {
                say(format!(
                    "its chunks are of two states of the file: {column} differs"
                ));
            }
        }
        self.check_spans(say);
    }

    /// Checks that no two chunks share a byte, and none goes beyond the file.
    ///
    /// Streams of other stages may tell no spans, or drop chunks, so gaps are no fault here: how
    /// many chunks came is what the manifest knows.
    fn check_spans(&self, say: &mut impl FnMut(String)) {
        let spans = self.start.iter().zip(self.end);
        let mut spans: Vec<(u64, u64)> = spans.filter_map(|(start, end)| start.zip(end)).collect();
        spans.sort_unstable();
        let size = self.size.is_valid(0).then(|| self.size.value(0));
        for &(start, end) in &spans {
            if start > end {
                say(format!("a chunk goes from byte {start} back to byte {end}"));
            }
            if let Some(size) = size.filter(|size| end > *size) {
                say(format!("bytes {start}-{end} of a file of {size} bytes"));
            }
        }
        for pair in spans.windows(2) {
            let ((start, end), (next, next_end)) = (pair[0], pair[1]);
            if next < end {
                say(format!(
                    "bytes {start}-{end} and {next}-{next_end} are two chunks"
                ));
            }
        }
    }

    /// Checks that the manifest's entry is of this file in this state.
    pub(super) fn compare(&self, entry: &Entry, say: &mut impl FnMut(String)) {
        if let Some(wanted) = entry.chunks
            && wanted as usize != self.id.len()
        {
            let found = self.id.len();
            say(format!(
                "{found} chunks are stored, and {wanted} were put in"
            ));
        }
        let text = |array: &'a StringArray| array.is_valid(0).then(|| array.value(0));
        let same = [
            ("project", text(self.project) == entry.project.as_deref()),
            ("file_hash", text(self.hash) == entry.hash.as_deref()),
            ("file_size", self.size.iter().next().flatten() == entry.size),
            (
                "file_mtime_ns",
                self.mtime.iter().next().flatten() == entry.mtime_ns,
            ),
        ];
        for (column, is_same) in same {
            if !is_same {
                say(format!("the manifest has another {column}"));
            }
        }
    }

    fn locate(&self, row: usize) -> String {
        match (self.id.is_valid(row), self.start.is_valid(row)) {
            (true, _) => format!("chunk {}", self.id.value(row)),
            (false, true) => format!("the chunk at byte {}", self.start.value(row)),
            (false, false) => format!("chunk number {}", row + 1),
        }
    }
}

fn is_one<T: PartialEq>(mut values: impl Iterator<Item = T>) -> bool {
    let first = values.next();
    values.all(|value| Some(value) == first)
}

fn numbers<'a, T: ArrowPrimitiveType>(
    folder: &Path,
    rows: &'a RecordBatch,
    name: &str,
) -> Result<&'a PrimitiveArray<T>, Error> {
    let column = rows.column_by_name(name);
    let array = column.and_then(|column| column.as_primitive_opt::<T>());
    array.ok_or_else(|| {
        let cause = format!("its column `{name}` is not of the contract's type");
        Error::damaged(folder, cause)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Float32Array, Int64Array, UInt64Array};
    use arrow_schema::{DataType, Field};

    use super::*;

    /// Makes a file of 10 bytes in chunks of some bytes, with vectors of one number.
    fn rows(hashes: &[&str], spans: &[(u64, u64)], vectors: &[f32]) -> RecordBatch {
        let count = spans.len();
        let text = |value: &str| Arc::new(StringArray::from(vec![value; count])) as ArrayRef;
        let ids: Vec<String> = (0..count).map(|row| format!("id{row}")).collect();
        let bytes = |pick: fn(&(u64, u64)) -> u64| {
            Arc::new(UInt64Array::from_iter_values(spans.iter().map(pick))) as ArrayRef
        };
        let item = Arc::new(Field::new_list_field(DataType::Float32, true));
        let values = Arc::new(Float32Array::from(vectors.to_vec()));
        let vectors = FixedSizeListArray::new(item, 1, values, None);
        RecordBatch::try_from_iter([
            ("project", text(".")),
            (
                "file_hash",
                Arc::new(StringArray::from(hashes.to_vec())) as ArrayRef,
            ),
            (
                "file_size",
                Arc::new(UInt64Array::from(vec![10; count])) as ArrayRef,
            ),
            (
                "file_mtime_ns",
                Arc::new(Int64Array::from(vec![7; count])) as ArrayRef,
            ),
            ("chunk_id", Arc::new(StringArray::from(ids)) as ArrayRef),
            ("start_byte", bytes(|span| span.0)),
            ("end_byte", bytes(|span| span.1)),
            ("vector", Arc::new(vectors) as ArrayRef),
        ])
        .unwrap()
    }

    fn faults(rows: &RecordBatch, dim: usize) -> Vec<String> {
        let mut faults = Vec::new();
        let file = File::new(Path::new("db"), rows).unwrap();
        file.check(dim, &mut |fault| faults.push(fault));
        faults
    }

    #[test]
    fn a_sound_file_has_no_fault() {
        let rows = rows(&["h", "h"], &[(0, 4), (5, 10)], &[1.0, -1.0]);
        assert!(faults(&rows, 1).is_empty());
        let entry = Entry {
            project: Some(".".into()),
            size: Some(10),
            mtime_ns: Some(7),
            hash: Some("h".into()),
            settings: None,
            chunks: Some(2),
        };
        let compared = |entry: &Entry| {
            let mut faults = Vec::new();
            let file = File::new(Path::new("db"), &rows).unwrap();
            file.compare(entry, &mut |fault| faults.push(fault));
            faults
        };
        assert!(compared(&entry).is_empty());
        // A manifest of an older version has no counts.
        let uncounted = Entry {
            chunks: None,
            ..entry.clone()
        };
        assert!(compared(&uncounted).is_empty());
        let other = Entry {
            hash: Some("g".into()),
            chunks: Some(3),
            ..entry
        };
        let expected = [
            "2 chunks are stored, and 3 were put in",
            "the manifest has another file_hash",
        ];
        assert_eq!(compared(&other), expected);
    }

    #[test]
    fn each_fault_of_a_file_is_told() {
        let good = [(0, 4), (5, 10)];
        let cases = [
            (
                &["h", "h"],
                good,
                [1.0, 0.0],
                1,
                "the vector of chunk id1 is all zeros",
            ),
            (
                &["h", "h"],
                good,
                [f32::NAN, 1.0],
                1,
                "the vector of chunk id0 is not finite",
            ),
            (
                &["h", "h"],
                good,
                [1.0, 1.0],
                2,
                "has 1 numbers, its model makes 2",
            ),
            (
                &["h", "g"],
                good,
                [1.0, 1.0],
                1,
                "two states of the file: file_hash differs",
            ),
            (
                &["h", "h"],
                [(5, 10), (0, 6)],
                [1.0, 1.0],
                1,
                "bytes 0-6 and 5-10 are two chunks",
            ),
            (
                &["h", "h"],
                [(0, 4), (5, 11)],
                [1.0, 1.0],
                1,
                "bytes 5-11 of a file of 10 bytes",
            ),
            (
                &["h", "h"],
                [(4, 0), (5, 10)],
                [1.0, 1.0],
                1,
                "from byte 4 back to byte 0",
            ),
        ];
        for (hashes, spans, vectors, dim, expected) in cases {
            let found = faults(&rows(hashes, &spans, &vectors), dim);
            assert!(found[0].contains(expected), "{expected}: {found:?}");
        }
    }
}
