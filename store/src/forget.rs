//! `cs-store forget`: takes files out of a store without a stream.

use std::path::Path;

use cs_common::tool::Outcome;

use crate::folder::{Folder, Location};
use crate::ledger::Ledger;
use crate::lock::{LEASE, Writing};
use crate::select::{FileArgs, Selection};
use crate::step::Step;
use crate::table::Chunks;
use crate::{Error, mark, runtime};

/// Removes all that is stored of some files, in one commit.
pub(crate) fn forget(at: &Location, args: FileArgs) -> Result<Outcome, Error> {
    let selection = args.selection()?;
    let db = at.path.as_path();
    runtime(db)?.block_on(async {
        let folder = Folder::open(at).await?;
        let stored = Chunks::open(&folder).await?.files().await?;
        let mut repos: Vec<&str> = stored.repos.keys().map(String::as_str).collect();
        repos.retain(|repo| selection.takes_of(repo));
        let mut right = Writing::begin(&folder, LEASE, repos).await?;
        let done = forget_from(&folder, db, &selection).await;
        right.end().await;
        done
    })
}

async fn forget_from(folder: &Folder, db: &Path, selection: &Selection) -> Result<Outcome, Error> {
    let chunks = Chunks::open_to_write(folder).await?;
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
        ledger.commit(entries)?;
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
    if !empty.is_empty() {
        // None of its files is missing if none is wanted.
        mark::settle(folder, None, |repo| empty.contains(&repo.name.as_str())).await?;
    }
    ledger.finish(&chunks).await?;
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
}
