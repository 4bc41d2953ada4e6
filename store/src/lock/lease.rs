//! Leases: what a process of an object store holds instead of a lock.
//!
//! An object that its holder keeps changing. One that has not changed for the time of a lease is a
//! dead process's, and is taken over; both by conditional requests, so that of two that try only one
//! succeeds, and nobody's clock counts.

use std::fs;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use object_store::path::Path as Key;
use object_store::{Error as StoreError, ObjectStoreExt as _, PutMode, PutOptions, UpdateVersion};
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use super::{FOLDER, MAINTENANCE, what};
use crate::Error;
use crate::folder::{Folder, Remote};

/// How often another process's lease is looked at.
const LOOK: Duration = Duration::from_millis(300);

/// Beats in the time of a lease.
const BEATS: u32 = 5;

/// What the object of a lease holds.
#[derive(Debug, Serialize, Deserialize)]
struct Holder {
    host: String,
    pid: u32,
    /// What the lease is for.
    what: String,
    /// How often it was renewed: no two states of the object are equal.
    beat: u64,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {} on {}", self.pid, self.host)
    }
}

/// A lease that is being renewed.
#[derive(Debug)]
pub(super) struct Lease {
    shared: Arc<Shared>,
    beating: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    remote: Remote,
    key: Key,
    what: String,
    length: Duration,
    state: Mutex<State>,
}

#[derive(Clone, Debug)]
struct State {
    version: UpdateVersion,
    beat: u64,
    renewed: Instant,
    lost: bool,
}

impl Lease {
    pub(super) async fn take(
        folder: &Folder,
        remote: &Remote,
        repo: &str,
        length: Duration,
    ) -> Result<Self, Error> {
        let name = format!("{FOLDER}/{}", &blake3::hash(repo.as_bytes()).to_hex()[..32]);
        let key = remote.key(&name);
        let fail = |error| Error::database(&folder.path().join(&name), error);
        let mut mode = PutMode::Create;
        let version = loop {
            match put(remote, &key, repo, 0, mode).await {
                Ok(version) => break version,
                Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) => {}
                Err(error) => return Err(fail(error)),
            }
            mode = match wait_for_death(remote, &key, length).await.map_err(fail)? {
                Death::Gone => PutMode::Create,
                Death::Silent(version) => PutMode::Update(version),
                Death::None(holder) => {
                    return Err(Error::Locked {
                        path: folder.path().to_owned(),
                        holder: holder.map_or("another process".to_owned(), |h| h.to_string()),
                        what: what(repo),
                    });
                }
            };
        };
        let shared = Arc::new(Shared {
            remote: remote.clone(),
            key,
            what: repo.to_owned(),
            length,
            state: Mutex::new(State {
                version,
                beat: 0,
                renewed: Instant::now(),
                lost: false,
            }),
        });
        let beating = Arc::clone(&shared);
        let beating = tokio::spawn(async move {
            loop {
                tokio::time::sleep(beating.length / BEATS).await;
                beating.renew().await;
            }
        });
        Ok(Self { shared, beating })
    }

    /// Tells whether the lease is still held, and will be for some time.
    pub(super) async fn confirm(&self) -> bool {
        let state = self.shared.state();
        if !state.lost && state.renewed.elapsed() > self.shared.length / 2 {
            self.shared.renew().await;
        }
        let state = self.shared.state();
        !state.lost && state.renewed.elapsed() < self.shared.length / 2
    }

    pub(super) async fn end(self) {
        self.beating.abort();
        // The task is gone when this returns, whatever it returns.
        let _ = self.beating.await;
        if !self.shared.state().lost {
            let Shared { remote, key, .. } = &*self.shared;
            if let Err(error) = remote.store.inner.delete(key).await {
                log::debug!("{key}: the lease stays until it runs out: {error}");
            }
        }
    }
}

impl Shared {
    fn state(&self) -> State {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.clone()
    }

    async fn renew(&self) {
        let State { version, beat, .. } = self.state();
        let mode = PutMode::Update(version);
        let renewed = put(&self.remote, &self.key, &self.what, beat + 1, mode).await;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match renewed {
            Ok(version) => {
                state.version = version;
                state.beat = beat + 1;
                state.renewed = Instant::now();
            }
            Err(StoreError::Precondition { .. } | StoreError::NotFound { .. }) => state.lost = true,
            // The network may come back before the lease runs out.
            Err(error) => log::debug!("{}: not renewed: {error}", self.key),
        }
    }
}

/// What became of a lease's holder.
enum Death {
    /// It gave the lease up.
    Gone,
    /// It has not been heard of for the time of a lease.
    Silent(UpdateVersion),
    /// It is alive.
    None(Option<Holder>),
}

async fn wait_for_death(remote: &Remote, key: &Key, length: Duration) -> Result<Death, StoreError> {
    let first = match remote.store.inner.get(key).await {
        Ok(found) => found,
        Err(StoreError::NotFound { .. }) => return Ok(Death::Gone),
        Err(error) => return Err(error),
    };
    let seen = UpdateVersion {
        e_tag: first.meta.e_tag.clone(),
        version: first.meta.version.clone(),
    };
    let holder: Option<Holder> = serde_json::from_slice(&first.bytes().await?).ok();
    if let Some(holder) = holder.as_ref().filter(|holder| holder.what != MAINTENANCE) {
        log::info!(
            "{holder} holds the lease for {}: seeing for {} s whether it is alive",
            holder.what,
            length.as_secs()
        );
    }
    let began = Instant::now();
    while began.elapsed() < length {
        tokio::time::sleep(LOOK).await;
        match remote.store.inner.head(key).await {
            Ok(meta) if meta.e_tag != seen.e_tag => return Ok(Death::None(holder)),
            Ok(_) => {}
            Err(StoreError::NotFound { .. }) => return Ok(Death::Gone),
            Err(error) => return Err(error),
        }
    }
    Ok(Death::Silent(seen))
}

async fn put(
    remote: &Remote,
    key: &Key,
    what: &str,
    beat: u64,
    mode: PutMode,
) -> Result<UpdateVersion, StoreError> {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let holder = Holder {
        host: host.trim().to_owned(),
        pid: std::process::id(),
        what: what.to_owned(),
        beat,
    };
    // Strings and numbers always serialise.
    let text = serde_json::to_vec(&holder).unwrap_or_default();
    let options = PutOptions {
        mode,
        ..PutOptions::default()
    };
    let put = remote
        .store
        .inner
        .put_opts(key, text.into(), options)
        .await?;
    Ok(UpdateVersion {
        e_tag: put.e_tag,
        version: put.version,
    })
}
