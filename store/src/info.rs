//! What `cs-store info` tells of a store.

use std::collections::{BTreeMap, HashSet};
use std::io::Write;

use arrow_schema::{DataType, Field};
use cs_common::metadata::{Model, Repo};
use cs_common::rows::VECTOR;
use lance::dataset::Dataset;
use serde::Serialize;

use crate::Error;
use crate::files::{each_batch, text};
use crate::mark::Incomplete;
use crate::model::model_name;
use crate::step::FileKey;
use crate::table::Chunks;

/// All that is told, in the order in which it is printed.
#[derive(Debug, Serialize)]
pub(crate) struct Info {
    path: String,
    complete: bool,
    /// What an incomplete store lacks.
    incomplete: Option<IncompleteInfo>,
    model: Model,
    /// The type of a vector's numbers.
    vector_type: String,
    repos: Vec<RepoInfo>,
    files: usize,
    chunks: usize,
    bytes: u64,
    /// The table's version.
    version: u64,
    /// How many versions there are, old ones for those who read them.
    versions: usize,
    fragments: usize,
    /// Rows of replaced files that lie there until their fragment is written anew.
    deleted_rows: usize,
    /// Chunks by language; those of none under the empty name.
    languages: BTreeMap<String, usize>,
    indexes: Vec<IndexInfo>,
}

#[derive(Debug, Serialize)]
struct IncompleteInfo {
    repos: Vec<String>,
    /// At most so many.
    missing_files: Option<u64>,
    /// Whether the run is over; one that is not is under way, or was killed.
    ended: bool,
    #[serde(skip)]
    sentence: String,
}

#[derive(Debug, Serialize)]
struct RepoInfo {
    name: String,
    /// Where it was parsed, if the store was told.
    root: Option<String>,
    files: usize,
    chunks: usize,
}

#[derive(Debug, Serialize)]
struct IndexInfo {
    column: String,
    kind: String,
    indexed_rows: usize,
    unindexed_rows: usize,
}

impl Info {
    /// Gathers it from a store.
    pub(crate) async fn gather(chunks: &Chunks) -> Result<Self, Error> {
        let fail = |error| chunks.fail(error);
        let dataset = chunks.dataset().await?;
        let counts = count(chunks, &dataset).await?;
        let mut indexes = Vec::new();
        for index in chunks.table.list_indices().await.map_err(fail)? {
            let stats = chunks.table.index_stats(&index.name).await.map_err(fail)?;
            let stats = stats.map(|stats| (stats.num_indexed_rows, stats.num_unindexed_rows));
            let (indexed_rows, unindexed_rows) = stats.unwrap_or_default();
            indexes.push(IndexInfo {
                column: index.columns.join(", "),
                kind: index.index_type.to_string(),
                indexed_rows,
                unindexed_rows,
            });
        }
        let incomplete = Incomplete::read(chunks.folder())
            .await?
            .map(|mark| IncompleteInfo {
                repos: mark.repos().into_iter().map(|repo| repo.name).collect(),
                missing_files: mark.missing(),
                ended: mark.ended(),
                sentence: mark.sentence(),
            });
        let schema = chunks.schema().await?;
        let vector = schema.field_with_name(VECTOR).map(Field::data_type);
        let vector_type = match vector {
            Ok(DataType::FixedSizeList(item, _)) => item.data_type().to_string(),
            _ => String::new(),
        };
        let deleted = dataset.count_deleted_rows().await;
        Ok(Self {
            path: chunks.folder().path().display().to_string(),
            complete: incomplete.is_none(),
            incomplete,
            model: chunks.model().clone(),
            vector_type,
            files: counts.repos.values().map(|repo| repo.files).sum(),
            repos: repos(counts.repos, chunks.repos().await?),
            chunks: counts.languages.values().sum(),
            bytes: chunks.folder().size().await?,
            version: dataset.version().version,
            versions: chunks.table.list_versions().await.map_err(fail)?.len(),
            fragments: dataset.count_fragments(),
            deleted_rows: deleted.map_err(|error| chunks.fail(error))?,
            languages: counts.languages,
            indexes,
        })
    }

    /// Prints it for people.
    pub(crate) fn print(&self, out: &mut impl Write) -> std::io::Result<()> {
        writeln!(out, "store     {}", self.path)?;
        match &self.incomplete {
            Some(IncompleteInfo { sentence, .. }) => writeln!(out, "state     {sentence}")?,
            None => writeln!(out, "state     complete")?,
        }
        let (model, numbers) = (model_name(&self.model), &self.vector_type);
        writeln!(out, "model     {model}, vectors of {numbers}")?;
        for repo in &self.repos {
            let RepoInfo {
                name,
                root,
                files,
                chunks,
            } = repo;
            let root = root.as_deref().unwrap_or("an unknown place");
            writeln!(
                out,
                "repo      {name} at {root}, {files} files with {chunks} chunks"
            )?;
        }
        writeln!(out, "files     {}", self.files)?;
        writeln!(out, "chunks    {}", self.chunks)?;
        writeln!(
            out,
            "size      {:.1} MiB in {} versions, {} fragments with {} deleted rows",
            mib(self.bytes),
            self.versions,
            self.fragments,
            self.deleted_rows
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
                ..
            } = index;
            writeln!(
                out,
                "index     {kind} on {column}, {unindexed_rows} rows outside"
            )?;
        }
        Ok(())
    }
}

/// Returns bytes in MiB.
pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// What is counted row by row.
#[derive(Default)]
struct Counts {
    languages: BTreeMap<String, usize>,
    repos: BTreeMap<String, RepoCount>,
}

#[derive(Default)]
struct RepoCount {
    files: usize,
    chunks: usize,
}

async fn count(chunks: &Chunks, dataset: &Dataset) -> Result<Counts, Error> {
    let mut counts = Counts::default();
    let mut files = HashSet::new();
    let folder = chunks.folder().path();
    let columns = ["repo", "path", "language"];
    each_batch(chunks, dataset, &columns, |batch| {
        let [repos, paths, languages] = columns.map(|column| text(folder, batch, column));
        let (repos, paths, languages) = (repos?, paths?, languages?);
        for (row, language) in languages.iter().enumerate() {
            let (repo, path) = (repos.value(row), paths.value(row));
            let is_new = files.insert(FileKey::new(repo, path));
            let count = counts.repos.entry(repo.to_owned()).or_default();
            count.files += usize::from(is_new);
            count.chunks += 1;
            let language = language.unwrap_or_default().to_owned();
            *counts.languages.entry(language).or_default() += 1;
        }
        Ok(())
    })
    .await?;
    Ok(counts)
}

/// Joins what is stored with what the store was told of.
fn repos(mut counts: BTreeMap<String, RepoCount>, known: Vec<Repo>) -> Vec<RepoInfo> {
    let mut roots = BTreeMap::new();
    for Repo { name, root } in known {
        counts.entry(name.clone()).or_default();
        roots.insert(name, root);
    }
    counts
        .into_iter()
        .map(|(name, RepoCount { files, chunks })| RepoInfo {
            root: roots.remove(&name),
            name,
            files,
            chunks,
        })
        .collect()
}
