//! What is known of a chunk besides its text: what it is ranked by, and what is printed of it.

use arrow_array::cast::AsArray;
use arrow_array::types::UInt32Type;
use arrow_array::{Array, RecordBatch};

/// The columns that chunks are ranked by. The others are read of what is printed alone: they would
/// take as long as the search.
pub(crate) const RANK_COLUMNS: [&str; 6] = ["repo", "path", "kind", "name", "symbol", "start_line"];

/// The columns of a place, those that are short first.
pub(crate) const PLACE_COLUMNS: [&str; 13] = [
    "repo",
    "path",
    "project",
    "language",
    "kind",
    "name",
    "symbol",
    "start_line",
    "end_line",
    "signature",
    "doc",
    "chunk_id",
    "parent_id",
];

/// The columns that a session of many questions has in memory.
pub(crate) const KEPT_COLUMNS: &[&str] = PLACE_COLUMNS.split_at(9).0;

/// Where a chunk is and what it is named, as stored.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Place {
    pub(crate) repo: String,
    pub(crate) path: String,
    pub(crate) project: Option<String>,
    pub(crate) language: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) symbol: Option<String>,
    pub(crate) signature: Option<String>,
    pub(crate) doc: Option<String>,
    pub(crate) chunk_id: Option<String>,
    pub(crate) parent_id: Option<String>,
    pub(crate) start_line: Option<u32>,
    pub(crate) end_line: Option<u32>,
}

impl Place {
    /// Reads the rows of a batch; a column that is missing is unknown.
    pub(crate) fn all(batch: &RecordBatch) -> Vec<Self> {
        let text = |name: &str| {
            let array = batch
                .column_by_name(name)
                .and_then(|array| array.as_string_opt::<i32>());
            move |row: usize| {
                let array = array.filter(|array| array.is_valid(row))?;
                Some(array.value(row).to_owned())
            }
        };
        let line = |name: &str| {
            let array = batch.column_by_name(name);
            let array = array.and_then(|array| array.as_primitive_opt::<UInt32Type>());
            move |row: usize| Some(array.filter(|array| array.is_valid(row))?.value(row))
        };
        let (repo, path, project, language) = (
            text("repo"),
            text("path"),
            text("project"),
            text("language"),
        );
        let (kind, name, symbol) = (text("kind"), text("name"), text("symbol"));
        let (signature, doc) = (text("signature"), text("doc"));
        let (chunk_id, parent_id) = (text("chunk_id"), text("parent_id"));
        let (start_line, end_line) = (line("start_line"), line("end_line"));
        (0..batch.num_rows())
            .map(|row| Self {
                repo: repo(row).unwrap_or_default(),
                path: path(row).unwrap_or_default(),
                project: project(row),
                language: language(row),
                kind: kind(row),
                name: name(row),
                symbol: symbol(row),
                signature: signature(row),
                doc: doc(row),
                chunk_id: chunk_id(row),
                parent_id: parent_id(row),
                start_line: start_line(row),
                end_line: end_line(row),
            })
            .collect()
    }

    /// Returns the symbol, or else the plain name.
    pub(crate) fn title(&self) -> Option<&str> {
        let named = self.symbol.as_deref().or(self.name.as_deref());
        named.filter(|name| !name.is_empty())
    }
}
