//! Who may write: one process for each repository, and one at a time for what all share.
//!
//! On this machine the locks are the system's (flock), which go with their process. An object
//! store has none, so there a process holds a lease: an object that it keeps changing. One that
//! has not changed for the time of a lease is a dead process's, and is taken over; both by
//! conditional requests, so that of two that try only one succeeds, and nobody's clock counts.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use object_store::path::Path as Key;
use object_store::{Error as StoreError, ObjectStoreExt as _, PutMode, PutOptions, UpdateVersion};
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use crate::Error;
use crate::folder::{Folder, Remote};

/// The folder of the locks in a store's.
pub(crate) const FOLDER: &str = "locks";

/// What is locked instead of a repository while a whole table is made anew. No repository has
/// this name, as names have no slash.
pub(crate) const REBUILD: &str = "/rebuild";

/// What is locked while indexes are made and old versions removed.
const MAINTENANCE: &str = "/maintenance";

/// What is locked while the table is made, which two at once would make twice: the database takes
/// the second one for new contents of the first.
const CREATION: &str = "/creation";

/// The time of a lease, if nobody says otherwise.
pub(crate) const LEASE: Duration = Duration::from_secs(60);

/// How often another process's lease is looked at.
const LOOK: Duration = Duration::from_millis(300);

/// Beats in the time of a lease.
const BEATS: u32 = 5;

/// The right to write what some repositories have stored; given up by [`Writing::end`], on this
/// machine by the end of the process as well.
#[derive(Debug)]
pub(crate) struct Writing {
    folder: Folder,
    lease: Duration,
    held: HashMap<String, Held>,
}

#[derive(Debug)]
enum Held {
    Local { _file: File },
    Remote(Lease),
}

impl Writing {
    /// Becomes the only writer of some repositories.
    ///
    /// # Errors
    /// [`Error::Locked`] if another process is one of theirs.
    pub(crate) async fn begin<'a>(
        folder: &Folder,
        lease: Duration,
        repos: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, Error> {
        let mut writing = Self {
            folder: folder.clone(),
            lease,
            held: HashMap::new(),
        };
        for repo in repos {
            if let Err(error) = writing.add(repo).await {
                writing.end().await;
                return Err(error);
            }
        }
        Ok(writing)
    }

    /// Takes one more repository.
    pub(crate) async fn add(&mut self, repo: &str) -> Result<(), Error> {
        if self.held.contains_key(repo) {
            return Ok(());
        }
        let name = format!("{FOLDER}/{}", &blake3::hash(repo.as_bytes()).to_hex()[..32]);
        let held = match self.folder.as_remote() {
            None => Held::Local {
                _file: lock_file(&self.folder, &name, repo)?,
            },
            Some(remote) => {
                let lease = Lease::take(&self.folder, remote, &name, repo, self.lease);
                Held::Remote(lease.await?)
            }
        };
        self.held.insert(repo.to_owned(), held);
        Ok(())
    }

    /// Makes sure, before a commit, that the right has not been lost.
    pub(crate) async fn confirm(&self) -> Result<(), Error> {
        for (repo, held) in &self.held {
            if let Held::Remote(lease) = held
                && !lease.confirm().await
            {
                return Err(Error::LeaseLost {
                    path: self.folder.path().to_owned(),
                    repo: repo.clone(),
                });
            }
        }
        Ok(())
    }

    /// Gives the right up.
    pub(crate) async fn end(&mut self) {
        for (_, held) in self.held.drain() {
            if let Held::Remote(lease) = held {
                lease.end().await;
            }
        }
    }
}

/// Waits for the right to make indexes and to remove what is old.
pub(crate) async fn maintenance(folder: &Folder, lease: Duration) -> Result<Writing, Error> {
    when_free(folder, lease, MAINTENANCE).await
}

/// Waits for the right to make the table.
pub(crate) async fn creation(folder: &Folder, lease: Duration) -> Result<Writing, Error> {
    when_free(folder, lease, CREATION).await
}

async fn when_free(folder: &Folder, lease: Duration, what: &str) -> Result<Writing, Error> {
    let mut told = false;
    loop {
        match Writing::begin(folder, lease, [what]).await {
            Err(error @ Error::Locked { .. }) => {
                if !told {
                    log::info!("{error}: waiting");
                    told = true;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            done => return done,
        }
    }
}

/// Waits for the lock of what all writers of this machine share, for the time of one small file.
pub(crate) fn short(folder: &Path) -> Result<File, Error> {
    let path = folder.join("lock");
    let open = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path);
    open.and_then(|file| file.lock().map(|()| file))
        .map_err(Error::folder(&path))
}

fn lock_file(folder: &Folder, name: &str, repo: &str) -> Result<File, Error> {
    let path = folder.path().join(name);
    let locks = folder.path().join(FOLDER);
    fs::create_dir_all(&locks).map_err(Error::folder(&locks))?;
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(Error::folder(&path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(Error::Locked {
                path: folder.path().to_owned(),
                holder: holder(&mut file),
                what: what(repo),
            });
        }
        Err(TryLockError::Error(source)) => return Err(Error::Folder { path, source }),
    }
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(Error::folder(&path))?;
    Ok(file)
}

/// Says who has a lock: that helps; that there is somebody is enough.
///
/// Who took it a moment ago may not have written it down yet.
fn holder(file: &mut File) -> String {
    for _ in 0..20 {
        let mut pid = String::new();
        let read = file.rewind().and_then(|()| file.read_to_string(&mut pid));
        if read.is_ok() && pid.ends_with('\n') {
            return format!("process {}", pid.trim());
        }
        thread::sleep(Duration::from_millis(5));
    }
    "another process".to_owned()
}

/// Says what the holder of a lock does.
fn what(repo: &str) -> String {
    match repo {
        REBUILD => "rebuilding this store".to_owned(),
        MAINTENANCE => "tidying this store up".to_owned(),
        CREATION => "making this store".to_owned(),
        repo => format!("writing repository {repo} to this store"),
    }
}

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
struct Lease {
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
    async fn take(
        folder: &Folder,
        remote: &Remote,
        name: &str,
        repo: &str,
        length: Duration,
    ) -> Result<Self, Error> {
        let key = remote.key(name);
        let fail = |error| Error::database(&folder.path().join(name), error);
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
    async fn confirm(&self) -> bool {
        let state = self.shared.state();
        if !state.lost && state.renewed.elapsed() > self.shared.length / 2 {
            self.shared.renew().await;
        }
        let state = self.shared.state();
        !state.lost && state.renewed.elapsed() < self.shared.length / 2
    }

    async fn end(self) {
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
