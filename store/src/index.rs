//! The indexes of the table: what there is, when it pays, and keeping it current.

use std::time::Duration;

use lancedb::DistanceType;
use lancedb::index::Index;
use lancedb::index::scalar::FtsIndexBuilder;
use lancedb::index::vector::IvfPqIndexBuilder;
use lancedb::table::{CompactionOptions, OptimizeAction};

use crate::Error;
use crate::table::Chunks;

/// The columns with a full-text index, and what a word in each is worth against one in `content`.
pub(crate) const TEXT_COLUMNS: [(&str, f32); 3] =
    [("content", 1.0), ("symbol", 2.0), ("path", 1.0)];

/// Rows from which an approximate index answers faster than reading all vectors by much.
///
/// Below it the exact scan takes some tens of milliseconds and needs no upkeep.
const VECTOR_INDEX_ROWS: usize = 200_000;

/// Fragments from which small ones are joined.
const COMPACT_FRAGMENTS: usize = 16;

/// Versions from which old ones are removed.
const PRUNE_VERSIONS: usize = 32;

/// How long a version stays for those who read it, once another is there.
const VERSION_LIFE: Duration = Duration::from_secs(600);

/// Makes what indexes are missing, takes new rows into the others, and tidies up.
pub(crate) async fn refresh(chunks: &Chunks) -> Result<(), Error> {
    let fail = |error| chunks.fail(error);
    let table = &chunks.table;
    let rows = table.count_rows(None).await.map_err(fail)?;
    if rows == 0 {
        return Ok(());
    }
    let dataset = chunks.dataset().await?;
    if dataset.count_fragments() >= COMPACT_FRAGMENTS {
        let action = OptimizeAction::Compact {
            options: CompactionOptions::default(),
            remap_options: None,
        };
        table.optimize(action).await.map_err(fail)?;
    }
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
            table
                .create_index(&[column], index)
                .execute()
                .await
                .map_err(fail)?;
        }
    }
    if rows >= VECTOR_INDEX_ROWS && !is_indexed(cs_common::rows::VECTOR) {
        log::info!("building the vector index over {rows} chunks");
        let index = IvfPqIndexBuilder::default().distance_type(DistanceType::Cosine);
        table
            .create_index(&[cs_common::rows::VECTOR], Index::IvfPq(index))
            .execute()
            .await
            .map_err(fail)?;
    }
    if !existing.is_empty() {
        let action = OptimizeAction::Index(Default::default());
        table.optimize(action).await.map_err(fail)?;
    }
    if table.list_versions().await.map_err(fail)?.len() >= PRUNE_VERSIONS {
        let older_than = chrono_duration(VERSION_LIFE);
        let action = OptimizeAction::Prune {
            older_than,
            delete_unverified: None,
            error_if_tagged_old_versions: None,
        };
        table.optimize(action).await.map_err(fail)?;
    }
    Ok(())
}

fn chrono_duration(duration: Duration) -> Option<lancedb::table::Duration> {
    lancedb::table::Duration::try_milliseconds(i64::try_from(duration.as_millis()).ok()?)
}
