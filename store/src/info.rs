//! What `cs-store info` tells of a store.

use std::collections::{BTreeMap, HashSet};
use std::io::Write;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use cs_common::metadata::{Model, Repo};
use futures::TryStreamExt as _;
use serde::Serialize;

use crate::Error;
use crate::step::FileKey;
use crate::table::Chunks;

/// All that is told, in the order in which it is printed.
#[derive(Debug, Serialize)]
pub(crate) struct Info {
    path: String,
    model: Model,
    repos: Vec<Repo>,
    files: usize,
    chunks: usize,
    bytes: u64,
    versions: usize,
    /// Chunks by language; those of none under the empty name.
    languages: BTreeMap<String, usize>,
    indexes: Vec<IndexInfo>,
}

#[derive(Debug, Serialize)]
struct IndexInfo {
    column: String,
    kind: String,
    unindexed_rows: usize,
}

impl Info {
    /// Gathers it from a store.
    pub(crate) async fn gather(chunks: &Chunks) -> Result<Self, Error> {
        let fail = |error| chunks.fail(error);
        let (files, languages) = count(chunks).await?;
        let mut indexes = Vec::new();
        for index in chunks.table.list_indices().await.map_err(fail)? {
            let stats = chunks.table.index_stats(&index.name).await.map_err(fail)?;
            indexes.push(IndexInfo {
                column: index.columns.join(", "),
                kind: index.index_type.to_string(),
                unindexed_rows: stats.map_or(0, |stats| stats.num_unindexed_rows),
            });
        }
        Ok(Self {
            path: chunks.folder().path().display().to_string(),
            model: chunks.model().clone(),
            repos: chunks.repos().await?,
            files,
            chunks: languages.values().sum(),
            bytes: chunks.folder().size(),
            versions: chunks.table.list_versions().await.map_err(fail)?.len(),
            languages,
            indexes,
        })
    }

    /// Prints it for people.
    pub(crate) fn print(&self, out: &mut impl Write) -> std::io::Result<()> {
        writeln!(out, "store     {}", self.path)?;
        writeln!(out, "model     {}", crate::error::model_name(&self.model))?;
        for repo in &self.repos {
            writeln!(out, "repo      {} at {}", repo.name, repo.root)?;
        }
        writeln!(out, "files     {}", self.files)?;
        writeln!(out, "chunks    {}", self.chunks)?;
        writeln!(
            out,
            "size      {:.1} MiB in {} versions",
            mib(self.bytes),
            self.versions
        )?;
        let mut languages: Vec<_> = self.languages.iter().collect();
        languages.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), *name));
        for (name, count) in languages {
            let name = if name.is_empty() { "(none)" } else { name };
            writeln!(out, "language  {name} {count}")?;
        }
        for index in &self.indexes {
            let IndexInfo {
                column,
                kind,
                unindexed_rows,
            } = index;
            writeln!(
                out,
                "index     {kind} on {column}, {unindexed_rows} rows outside"
            )?;
        }
        Ok(())
    }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Counts files, and chunks by language.
async fn count(chunks: &Chunks) -> Result<(usize, BTreeMap<String, usize>), Error> {
    let fail = |error| chunks.fail(error);
    let dataset = chunks.dataset().await?;
    let mut scanner = dataset.scan();
    scanner
        .project(&["repo", "path", "language"])
        .map_err(|error| chunks.fail(error))?;
    let mut rows = scanner.try_into_stream().await.map_err(fail)?;
    let mut files = HashSet::new();
    let mut languages = BTreeMap::new();
    while let Some(batch) = rows.try_next().await.map_err(|error| chunks.fail(error))? {
        let [repos, paths, names] = [0, 1, 2].map(|at| batch.column(at).as_string::<i32>());
        for row in 0..batch.num_rows() {
            files.insert(FileKey::new(repos.value(row), paths.value(row)));
            let name = if names.is_valid(row) {
                names.value(row)
            } else {
                ""
            };
            match languages.get_mut(name) {
                Some(count) => *count += 1,
                None => {
                    languages.insert(name.to_owned(), 1);
                }
            }
        }
    }
    Ok((files.len(), languages))
}
