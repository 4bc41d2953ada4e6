//! Old versions of the table: how long they stay for their readers, and their removal.
//!
//! A version is removed ten minutes after it was superseded. lance's own pruning is not used,
//! because it counts from when a version was written: it removes a version that is an hour old
//! although a reader opened it a second before its successor came.

use std::time::{Duration, SystemTime};

use cs_common::progress::Steps;
use futures::TryStreamExt as _;
use lance::dataset::cleanup::CleanupPolicy;

use crate::Error;
use crate::table::Chunks;

/// How long a version stays for those who read it, once it was replaced.
pub(crate) const VERSION_LIFE: Duration = Duration::from_secs(600);

/// How long it stays where versions are more than [`CROWD`]: as long as it takes to read a store of
/// some million rows, and twice as long as a writer gathers a step on top of the version that it
/// found.
const CROWDED_LIFE: Duration = Duration::from_secs(120);

/// Versions above which they stay for a shorter time.
const CROWD: usize = 64;

/// Removable versions from which they are removed: it takes the reading of all manifests.
const WORTH: usize = 16;

/// What is shown of the removal, which can take long.
const PRUNING: &str = "removing old versions";

/// A version of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version {
    number: u64,
    written: SystemTime,
}

/// Removes the versions that nobody is to read any more, if they are many.
///
/// As for [`prune`], the store's manifest has to name a version that stays: it is written before.
pub(crate) async fn prune_due(chunks: &Chunks) -> Result<(), Error> {
    let versions = versions(chunks).await?;
    let life = life(versions.len());
    let (count, before) = replaced(&versions, life, SystemTime::now());
    if count >= WORTH {
        remove(chunks, before).await?;
    }
    Ok(())
}

/// Removes all versions that were replaced longer than `keep` ago.
pub(crate) async fn prune(chunks: &Chunks, keep: Duration) -> Result<(), Error> {
    let steps = Steps::start();
    steps.begin(PRUNING);
    let versions = versions(chunks).await?;
    let (_, before) = replaced(&versions, keep, SystemTime::now());
    // What no version refers to, a crash's leavings among them, goes as well.
    remove(chunks, before).await
}

fn life(versions: usize) -> Duration {
    if versions > CROWD {
        CROWDED_LIFE
    } else {
        VERSION_LIFE
    }
}

/// Lists the versions in their order without reading their manifests.
async fn versions(chunks: &Chunks) -> Result<Vec<Version>, Error> {
    let fail = |error| chunks.fail(error);
    let dataset = chunks.dataset().await?;
    let store = dataset.object_store(None).await.map_err(fail)?;
    let folder = dataset.versions_dir();
    let files = store.read_dir_all(&folder, None);
    let mut versions: Vec<Version> = files
        .try_filter_map(async |file| {
            let name = file.location.filename().unwrap_or_default();
            let written = SystemTime::from(file.last_modified);
            Ok(number(name).map(|number| Version { number, written }))
        })
        .try_collect()
        .await
        .map_err(fail)?;
    versions.sort_unstable();
    Ok(versions)
}

/// Returns the version whose manifest has a name: its number, or what is missing from it to the
/// greatest one, so that a listing begins with the newest.
fn number(name: &str) -> Option<u64> {
    let number: u64 = name.strip_suffix(".manifest")?.parse().ok()?;
    Some(number.min(u64::MAX - number))
}

/// Returns how many versions were replaced longer than `keep` ago, and the first that was not.
///
/// A version that is old may have been read until its successor came.
fn replaced(versions: &[Version], keep: Duration, now: SystemTime) -> (usize, u64) {
    let is_old = |version: &Version| {
        now.duration_since(version.written)
            .is_ok_and(|age| age >= keep)
    };
    let successors = versions.iter().skip(1);
    let count = successors.take_while(|version| is_old(version)).count();
    let first = versions.get(count);
    (count, first.map_or(0, |version| version.number))
}

async fn remove(chunks: &Chunks, before: u64) -> Result<(), Error> {
    let policy = CleanupPolicy {
        before_version: Some(before),
        error_if_tagged_old_versions: false,
        ..CleanupPolicy::default()
    };
    let dataset = chunks.dataset().await?;
    let removed = dataset.cleanup_with_policy(policy).await;
    let removed = removed.map_err(|error| chunks.fail(error))?;
    log::debug!(
        "removed {} old versions with {} bytes",
        removed.old_versions,
        removed.bytes_removed
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_stays_after_it_was_replaced_however_old_it_is() {
        let now = SystemTime::now();
        let ages = [5_000, 4_000, 700, 500, 10];
        let versions: Vec<Version> = (1..)
            .zip(ages)
            .map(|(number, age)| Version {
                number,
                written: now - Duration::from_secs(age),
            })
            .collect();
        // Version 3 was the newest one until 500 seconds ago.
        assert_eq!(replaced(&versions, VERSION_LIFE, now), (2, 3));
        assert_eq!(replaced(&versions, CROWDED_LIFE, now), (3, 4));
        assert_eq!(replaced(&versions, Duration::ZERO, now), (4, 5));
        assert_eq!(replaced(&versions[..1], Duration::ZERO, now), (0, 1));
    }

    #[test]
    fn manifests_are_named_upwards_or_downwards() {
        assert_eq!(number("7.manifest"), Some(7));
        assert_eq!(number("18446744073709551607.manifest"), Some(8));
        assert_eq!(number("latest.tmp"), None);
    }
}
