//! The code that similar code is looked for: a line of a file that is in a store.

use std::fmt;
use std::path::{Path, PathBuf};

use arrow_array::cast::AsArray;
use arrow_array::types::{Float16Type, Float32Type};
use arrow_array::{Array, RecordBatch};
use cs_common::metadata::Repo;
use cs_store::{Filter, Store};

use crate::Error;
use crate::place::Place;

/// The chunks of a file that are looked at.
pub(crate) const FILE_CHUNKS: usize = 100_000;

/// A line of a file, as named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Like {
    file: PathBuf,
    line: u32,
}

/// A chunk that was named by a line of it.
#[derive(Clone, Debug)]
pub(crate) struct Example {
    /// Where its row is.
    pub(crate) row: u64,
    /// Its vector, as stored.
    pub(crate) vector: Vec<f32>,
    /// Its text.
    pub(crate) content: String,
}

impl fmt::Display for Like {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

impl Like {
    /// Reads `FILE:LINE`.
    ///
    /// # Errors
    /// [`Error::Like`] if there is no line, or it is none.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let fail = |cause: &str| Error::Like(text.to_owned(), cause.to_owned());
        let (file, line) = text.rsplit_once(':').ok_or_else(|| fail("names no line"))?;
        let line = line.parse().ok().filter(|line| *line > 0);
        let line = line.ok_or_else(|| fail("its line is no number from 1"))?;
        if file.is_empty() {
            return Err(fail("names no file"));
        }
        Ok(Self {
            file: PathBuf::from(file),
            line,
        })
    }

    /// Finds the chunk in a store; `None` if the file is not in it.
    ///
    /// A file is known by where it is on this machine, or by its path in the store, with the
    /// repository's name before it or not.
    ///
    /// # Errors
    /// Those of reading the store.
    pub(crate) fn find(
        &self,
        store: &Store,
        repos: &[Repo],
        here: &Path,
    ) -> Result<Option<Example>, Error> {
        for filter in files(&self.file, repos, here) {
            let rows = store.matching(&filter, FILE_CHUNKS)?;
            let batch = store.take(&rows, &["start_line", "end_line"])?;
            let places = Place::all(&batch);
            if let Some(at) = self.nearest(&places) {
                let batch = store.take(&rows[at..=at], &["vector", "content"])?;
                return Ok(example(rows[at], &batch));
            }
        }
        Ok(None)
    }

    /// Returns the smallest chunk that has the line, or else the last one before it.
    fn nearest(&self, places: &[Place]) -> Option<usize> {
        let lines = |place: &Place| Some((place.start_line?, place.end_line?));
        let ranked = places.iter().enumerate().filter_map(|(at, place)| {
            let (start, end) = lines(place)?;
            let is_in = start <= self.line && self.line <= end;
            let far = match is_in {
                true => end - start,
                false => self.line.abs_diff(end).min(self.line.abs_diff(start)),
            };
            Some((!is_in, far, at))
        });
        ranked.min().map(|(_, _, at)| at)
    }
}

/// Returns what a file may be in a store, the surest first: what lies there on this machine, or what
/// has this path in the store, with the repository's name before it or not.
pub(crate) fn files(file: &Path, repos: &[Repo], here: &Path) -> Vec<Filter> {
    let filter = |repo: Option<&str>, path: &Path| Filter {
        repos: repo.map(str::to_owned).into_iter().collect(),
        file: path.to_str().map(str::to_owned),
        ..Filter::default()
    };
    let absolute = here.join(file);
    let absolute = absolute.canonicalize().unwrap_or(absolute);
    let mut candidates = Vec::new();
    for repo in repos {
        if let Ok(path) = absolute.strip_prefix(&repo.root) {
            candidates.push(filter(Some(&repo.name), path));
        }
        if let Ok(path) = file.strip_prefix(&repo.name) {
            candidates.push(filter(Some(&repo.name), path));
        }
    }
    candidates.push(filter(None, file));
    candidates
}

fn example(row: u64, batch: &RecordBatch) -> Option<Example> {
    let vectors = batch.column_by_name("vector")?.as_fixed_size_list_opt()?;
    let numbers = vectors.value(0);
    let vector = match numbers.as_primitive_opt::<Float16Type>() {
        Some(halves) => halves.values().iter().map(|half| half.to_f32()).collect(),
        None => numbers.as_primitive_opt::<Float32Type>()?.values().to_vec(),
    };
    let content = batch.column_by_name("content")?.as_string_opt::<i32>()?;
    let content = if content.is_valid(0) {
        content.value(0)
    } else {
        ""
    };
    Some(Example {
        row,
        vector,
        content: content.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_a_file_is_read() {
        let like = Like::parse("a:b/c.rs:12").unwrap();
        assert_eq!((like.file.to_str(), like.line), (Some("a:b/c.rs"), 12));
        for bad in ["a.rs", "a.rs:", "a.rs:0", "a.rs:x", ":3"] {
            let error = Like::parse(bad).unwrap_err().to_string();
            assert!(error.contains(bad), "{error}");
        }
    }

    #[test]
    fn the_smallest_chunk_with_the_line_is_meant() {
        let place = |start, end| Place {
            start_line: Some(start),
            end_line: Some(end),
            ..Place::default()
        };
        let places = [place(1, 50), place(10, 12), place(60, 70)];
        for (line, chunk) in [(1, 0), (11, 1), (49, 0), (53, 0), (57, 2), (900, 2)] {
            let like = Like::parse(&format!("a:{line}")).unwrap();
            assert_eq!(like.nearest(&places), Some(chunk), "{line}");
        }
        assert_eq!(Like::parse("a:1").unwrap().nearest(&[]), None);
    }
}
