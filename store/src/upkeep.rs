//! What is due after the rows: where they are from, indexes, and old versions.

use cs_common::metadata::StreamMetadata;

use crate::ledger::Ledger;
use crate::table::{ATTEMPTS, Chunks};
use crate::{Error, index};

/// What is due after the rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Upkeep {
    /// Whether there are new rows, whose origin is to be recorded.
    pub(crate) made_rows: bool,
    /// Whether the indexes are brought up to date.
    pub(crate) indexes: bool,
}

impl Upkeep {
    /// Does it, and says in the manifest of a table that readers see what it describes.
    pub(crate) async fn run(
        self,
        chunks: &Chunks,
        metadata: &StreamMetadata,
        ledger: Option<&mut Ledger>,
    ) -> Result<(), Error> {
        self.refresh(chunks, metadata).await?;
        // Old versions go only then: whenever the process dies, the manifest names one that is there.
        if let Some(ledger) = ledger {
            ledger.finish(chunks).await?;
        }
        index::prune_due(chunks).await
    }

    /// Records where rows are from, and brings the indexes up to date. What another process commits
    /// meanwhile can undo that for the fragments that it touches.
    async fn refresh(self, chunks: &Chunks, metadata: &StreamMetadata) -> Result<(), Error> {
        for attempt in 1.. {
            chunks.reload().await?;
            let done = match chunks.record(metadata, self.made_rows).await {
                Ok(()) if self.indexes => index::refresh(chunks).await,
                recorded => recorded,
            };
            match done {
                Err(error) if error.is_conflict() && attempt < ATTEMPTS => {
                    log::debug!("another process committed first: {error}");
                }
                done => return done,
            }
        }
        Ok(())
    }
}
