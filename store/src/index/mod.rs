//! The indexes of the table: which exist, when they pay, and how they stay current.
//!
//! After each run the numbers in the table's manifest decide about upkeep (`layout`). A run that
//! changed a file reads no index for that. There are three kinds of work, each rarer and larger
//! than the one before.
//!
//! First, the indexes of text take new rows into a small part, because a single row outside doubles
//! the time of a search for words. The other indexes leave new rows outside, where a search reads
//! them one by one: at most [`layout::TAIL_ROWS`], in about 16 fragments at most, because more than
//! eight small ones are joined.
//!
//! Second, with more rows outside, all indexes take them in, as a separate part. It grows to 8,192
//! rows, or a twentieth of the table, before the next one begins. The first part is not written
//! again for that.
//!
//! Third, when a fifth of all rows was deleted or is outside the first part, fragments with many
//! deleted rows are written again and all indexes are rebuilt. This bounds the store's size, the
//! number of parts, and what approximation loses as the vectors change. For each changed row it
//! costs at most what indexing five rows costs. So the price of a change is that of its rows,
//! whatever the size of the table.
//!
//! A run with a broken stream makes no indexes, which would take longer than all the rest. The next
//! run finds its rows outside and takes them in.

mod kinds;
mod layout;
mod versions;

use std::time::Instant;

use cs_common::progress::Steps;
use lancedb::table::{CompactionOptions, OptimizeAction, OptimizeOptions};

use crate::Error;
use crate::table::Chunks;

pub(crate) use kinds::{PROBES, REFINE, TEXT_COLUMNS};
use layout::Layout;
pub(crate) use versions::{VERSION_LIFE, prune, prune_due};

/// Rows below which a fragment is joined with its neighbours when all is made anew.
const FRAGMENT_ROWS: usize = 8_192;

/// The share of deleted rows from which a fragment is written anew with the others.
const DELETED_SHARE: f32 = 0.1;

/// What is shown of the steps, which can take long.
const COMPACTING: &str = "joining fragments";
const INDEXING: &str = "bringing the indexes up to date";

/// Does of all upkeep what pays after a run.
pub(crate) async fn refresh(chunks: &Chunks) -> Result<(), Error> {
    let started = Instant::now();
    let layout = layout(chunks).await?;
    let steps = Steps::start();
    if layout.rows() > 0 {
        if layout.is_stale() {
            remake(chunks, &steps, DELETED_SHARE).await?;
        } else {
            if let Some(others) = layout.apart_from_joined() {
                steps.begin(COMPACTING);
                join(chunks, others).await?;
            }
            steps.begin(INDEXING);
            for options in layout.extensions() {
                extend(chunks, options).await?;
            }
            let names: Vec<&str> = layout.names().collect();
            make(chunks, layout.rows(), |name| !names.contains(&name)).await?;
        }
    }
    log::debug!("upkeep took {:.3} s", started.elapsed().as_secs_f64());
    Ok(())
}

/// Does all that [`refresh`] puts off: one fragment for small ones, no deleted rows, indexes of
/// one part over everything.
pub(crate) async fn optimize(chunks: &Chunks) -> Result<(), Error> {
    remake(chunks, &Steps::start(), 0.0).await
}

async fn layout(chunks: &Chunks) -> Result<Layout, Error> {
    let dataset = chunks.dataset().await?;
    let layout = Layout::of(&dataset).await;
    layout.map_err(|error| chunks.fail(error))
}

/// Writes fragments anew that are small, or more than a share of whose rows is deleted, and makes
/// all indexes anew.
async fn remake(chunks: &Chunks, steps: &Steps, deleted: f32) -> Result<(), Error> {
    steps.begin(COMPACTING);
    compact(
        chunks,
        CompactionOptions {
            target_rows_per_fragment: FRAGMENT_ROWS,
            materialize_deletions_threshold: deleted,
            ..CompactionOptions::default()
        },
    )
    .await?;
    steps.begin(INDEXING);
    let rows = layout(chunks).await?.rows();
    if rows > 0 {
        make(chunks, rows, |_| true).await?;
    }
    Ok(())
}

/// Joins fragments, all but some.
async fn join(chunks: &Chunks, others: Vec<u32>) -> Result<(), Error> {
    compact(
        chunks,
        CompactionOptions {
            excluded_fragment_ids: others,
            ..CompactionOptions::default()
        },
    )
    .await
}

async fn compact(chunks: &Chunks, options: CompactionOptions) -> Result<(), Error> {
    let started = Instant::now();
    let action = OptimizeAction::Compact {
        options,
        remap_options: None,
    };
    act(chunks, action).await?;
    log::debug!(
        "joined fragments in {:.3} s",
        started.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Makes the indexes that a table of so many rows should have, as far as `choose` takes their
/// names, in the place of those that have these names.
async fn make(chunks: &Chunks, rows: usize, choose: impl Fn(&str) -> bool) -> Result<(), Error> {
    for kind in kinds::wanted(rows, chunks.model().dim) {
        if choose(&kind.name) {
            let started = Instant::now();
            let name = kind.name.clone();
            let made = chunks.table.create_index(&[kind.column], kind.index);
            let made = made.name(kind.name).execute().await;
            made.map_err(|error| chunks.fail(error))?;
            let seconds = started.elapsed().as_secs_f64();
            log::debug!("made the index {name} in {seconds:.3} s");
        }
    }
    Ok(())
}

/// Takes rows into the indexes that these do not have yet.
async fn extend(chunks: &Chunks, options: OptimizeOptions) -> Result<(), Error> {
    let started = Instant::now();
    act(chunks, OptimizeAction::Index(options)).await?;
    log::debug!(
        "extended indexes in {:.3} s",
        started.elapsed().as_secs_f64()
    );
    Ok(())
}

async fn act(chunks: &Chunks, action: OptimizeAction) -> Result<(), Error> {
    let done = chunks.table.optimize(action).await;
    done.map(|_| ()).map_err(|error| chunks.fail(error))
}
