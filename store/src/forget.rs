//! `cs-store forget`: takes files out of a store without a stream.

use std::path::Path;

use cs_common::tool::Outcome;

use crate::folder::Folder;
use crate::ledger::Ledger;
use crate::select::FileArgs;
use crate::step::Step;
use crate::table::Chunks;
use crate::{Error, mark, runtime};

/// Removes all that is stored of some files, in one commit.
pub(crate) fn forget(db: &Path, args: FileArgs) -> Result<Outcome, Error> {
    let selection = args.selection()?;
    let folder = Folder::open(db)?;
    let _lock = folder.lock()?;
    runtime(folder.path())?.block_on(async {
        let chunks = Chunks::open(&folder).await?;
        let mut ledger = Ledger::open(&chunks).await?;
        for name in selection.repos() {
            let stored = ledger.repos();
            if !stored.contains(&name.as_str()) {
                let stored = stored.join(", ");
                log::warn!(
                    "{}: no file of {name} is stored, only of: {stored}",
                    db.display()
                );
            }
        }
        let files = ledger.matching(|repo, path| selection.takes(repo, path));
        let count = files.len();
        let mut removed = 0;
        if count > 0 {
            for file in &files {
                log::debug!("{}/{} is forgotten", file.repo, file.path);
            }
            let mut step = Step::forget(files);
            let entries = std::mem::take(&mut step.entries);
            let stale = ledger.begin(&entries)?;
            removed = chunks.commit(step, stale).await?;
            ledger.commit(entries, chunks.version().await?)?;
        }
        // A repository of which nothing is left is not one of the store's any more.
        let repos = chunks.repos().await?;
        let stored = ledger.repos();
        let empty: Vec<&str> = repos
            .iter()
            .map(|repo| repo.name.as_str())
            .filter(|name| selection.repos().iter().any(|wanted| wanted == name))
            .filter(|name| !stored.contains(name))
            .collect();
        chunks.forget_repos(&empty).await?;
        for name in empty {
            mark::forget_repo(&folder, name)?;
        }
        ledger.finish(chunks.version().await?)?;
        if count == 0 {
            log::warn!(
                "{}: no stored file matches, nothing is forgotten",
                db.display()
            );
            return Ok(Outcome::Told);
        }
        log::info!(
            "{}: {count} files with {removed} chunks forgotten",
            db.display()
        );
        Ok(Outcome::Done)
    })
}
