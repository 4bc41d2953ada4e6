//! The indexes of the table: what there is, when it pays, and keeping it current.

use std::time::Duration;

use cs_common::progress::Steps;
use cs_common::rows::VECTOR;
use lancedb::DistanceType;
use lancedb::index::Index;
use lancedb::index::scalar::FtsIndexBuilder;
use lancedb::index::vector::IvfPqIndexBuilder;
use lancedb::table::{CompactionOptions, OptimizeAction, OptimizeOptions};

use crate::Error;
use crate::table::Chunks;

/// The columns with a full-text index, and what a word in each is worth against one in `content`.
pub(crate) const TEXT_COLUMNS: [(&str, f32); 3] =
    [("content", 1.0), ("symbol", 2.0), ("path", 1.0)];

/// Rows from which an approximate index answers faster than reading all vectors by much.
///
/// Below it the exact scan takes some tens of milliseconds and needs no upkeep.
const VECTOR_INDEX_ROWS: usize = 200_000;

/// How many of an approximate index's candidates are compared exactly, as a multiple of the limit.
pub(crate) const REFINE: u32 = 10;

/// How many partitions of an approximate index are searched.
pub(crate) const PROBES: usize = 40;

/// Fragments from which small ones are joined.
const COMPACT_FRAGMENTS: usize = 16;

/// Versions from which old ones are removed.
const PRUNE_VERSIONS: usize = 32;

/// How long a version stays for those who read it, once another is there.
pub(crate) const VERSION_LIFE: Duration = Duration::from_secs(600);

/// What is shown of the steps, which can take long.
const COMPACTING: &str = "joining fragments";
const INDEXING: &str = "bringing the indexes up to date";
const PRUNING: &str = "removing old versions";

/// Makes what indexes are missing, takes new rows into the others, and tidies up where it pays.
pub(crate) async fn refresh(chunks: &Chunks) -> Result<(), Error> {
    let fail = |error| chunks.fail(error);
    let rows = chunks.table.count_rows(None).await.map_err(fail)?;
    if rows == 0 {
        return Ok(());
    }
    let steps = Steps::start();
    if chunks.dataset().await?.count_fragments() >= COMPACT_FRAGMENTS {
        steps.begin(COMPACTING);
        compact(chunks, CompactionOptions::default()).await?;
    }
    steps.begin(INDEXING);
    if make_missing(chunks, rows).await? {
        extend(chunks, &OptimizeOptions::default()).await?;
    }
    Ok(())
}

/// Removes old versions if there are many.
pub(crate) async fn prune_due(chunks: &Chunks) -> Result<(), Error> {
    let versions = chunks.table.list_versions().await;
    let versions = versions.map_err(|error| chunks.fail(error))?;
    match versions.len() >= PRUNE_VERSIONS {
        true => prune(chunks, VERSION_LIFE).await,
        false => Ok(()),
    }
}

/// Does all that [`refresh`] puts off, and more: one fragment for small ones, no marks of deleted
/// rows, one part to each index.
pub(crate) async fn optimize(chunks: &Chunks) -> Result<(), Error> {
    let steps = Steps::start();
    let rows = chunks.table.count_rows(None).await;
    let rows = rows.map_err(|error| chunks.fail(error))?;
    steps.begin(COMPACTING);
    let thorough = CompactionOptions {
        materialize_deletions_threshold: 0.0,
        ..CompactionOptions::default()
    };
    compact(chunks, thorough).await?;
    if rows > 0 {
        steps.begin(INDEXING);
        if make_missing(chunks, rows).await? {
            extend(chunks, &OptimizeOptions::merge(usize::MAX)).await?;
        }
    }
    Ok(())
}

async fn compact(chunks: &Chunks, options: CompactionOptions) -> Result<(), Error> {
    let action = OptimizeAction::Compact {
        options,
        remap_options: None,
    };
    act(chunks, action).await
}

/// Makes the indexes that there are not; tells whether there were any.
async fn make_missing(chunks: &Chunks, rows: usize) -> Result<bool, Error> {
    let fail = |error| chunks.fail(error);
    let table = &chunks.table;
    let existing = table.list_indices().await.map_err(fail)?;
    let is_indexed = |column: &str| {
        existing
            .iter()
            .any(|index| index.columns.iter().any(|c| c == column))
    };
    for (column, _) in TEXT_COLUMNS {
        if !is_indexed(column) {
            let index = Index::FTS(FtsIndexBuilder::code().split_identifiers(true));
            log::debug!("indexing {column}");
            let made = table.create_index(&[column], index).execute().await;
            made.map_err(fail)?;
        }
    }
    if rows >= VECTOR_INDEX_ROWS && !is_indexed(VECTOR) {
        log::info!("building the vector index over {rows} chunks");
        let index = IvfPqIndexBuilder::default().distance_type(DistanceType::Cosine);
        let made = table.create_index(&[VECTOR], Index::IvfPq(index));
        made.execute().await.map_err(fail)?;
    }
    Ok(!existing.is_empty())
}

/// Takes rows into the indexes that these do not have yet.
async fn extend(chunks: &Chunks, options: &OptimizeOptions) -> Result<(), Error> {
    act(chunks, OptimizeAction::Index(options.clone())).await
}

/// Removes versions that were replaced longer than `keep` ago.
///
/// The manifest has to name a version that stays: it is written before.
pub(crate) async fn prune(chunks: &Chunks, keep: Duration) -> Result<(), Error> {
    let steps = Steps::start();
    steps.begin(PRUNING);
    let action = OptimizeAction::Prune {
        older_than: chrono_duration(keep),
        delete_unverified: None,
        error_if_tagged_old_versions: None,
    };
    act(chunks, action).await
}

async fn act(chunks: &Chunks, action: OptimizeAction) -> Result<(), Error> {
    let done = chunks.table.optimize(action).await;
    done.map(|_| ()).map_err(|error| chunks.fail(error))
}

fn chrono_duration(duration: Duration) -> Option<lancedb::table::Duration> {
    lancedb::table::Duration::try_milliseconds(i64::try_from(duration.as_millis()).ok()?)
}
