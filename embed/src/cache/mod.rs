//! Vectors on disk, for a later run that embeds the same text with the same model: another branch,
//! worktree or clone, or the same one again.
//!
//! Each model has a folder, named by a hash over everything that decides about a vector. Its files
//! (`segment`) are written under another name, renamed when complete, and never changed. So readers
//! need no lock, and processes do not wait for each other. The name and the age of a file identify
//! what a killed process left. New vectors wait in memory for 8 MiB or ten seconds. `upkeep` keeps
//! the folder small.
//!
//! The key of a text is the content hash of its row, computed again, because a stage in between may
//! have changed the row. Raise `REVISION` when `cs-embed` computes other vectors from the same text
//! and weights.

mod segment;
mod upkeep;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cs_common::metadata::Model;
use cs_common::tool;

pub(crate) use segment::Key;
use segment::Segment;

use crate::{Embedder, Error};

/// Raised by whoever changes what vectors `cs-embed` makes of the same model and text.
const REVISION: u32 = 1;

/// Bytes of new vectors after which a file is written.
const PENDING_BYTES: u64 = 8 << 20;

/// How long new vectors wait for a file, at most: what is lost where a process is killed.
const PENDING_AGE: Duration = Duration::from_secs(10);

/// Where vectors are kept.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
#[command(next_help_heading = "Vectors made before")]
pub(crate) struct CacheArgs {
    /// Keep vectors in this folder, and take from it those that are there: --cache ~/.cache/cs/vectors
    ///
    /// Any number of repositories, models and processes may share a folder. A vector is taken for
    /// the same text under the same model, settings included. Static models, such as the built-in
    /// one, are faster than a cache: for them nothing is kept.
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,

    /// Bytes that the folder may have (suffixes K, M, G, T; at least 1M); what was not used for
    /// longest goes
    #[arg(long, value_name = "SIZE", default_value = "4G", requires = "cache", value_parser = cache_size)]
    cache_size: u64,
}

fn cache_size(text: &str) -> Result<u64, String> {
    match tool::size(text)? {
        size if size >= 1 << 20 => Ok(size),
        _ => Err("must be at least 1M".to_owned()),
    }
}

/// The cached vectors of one model.
pub(crate) struct Cache {
    root: PathBuf,
    /// Of the model.
    folder: PathBuf,
    dim: usize,
    limit: u64,
    state: Mutex<State>,
    asked: AtomicU64,
    had: AtomicU64,
}

#[derive(Default)]
struct State {
    segments: Vec<Segment>,
    pending: BTreeMap<Key, Vec<f32>>,
    /// When the first of them came.
    since: Option<Instant>,
    /// Whether it was told that nothing can be written.
    failed: bool,
}

impl Cache {
    /// Opens the cache for a model, if one is asked for and of use.
    ///
    /// # Errors
    /// [`Error::Cache`] if the folder cannot be made or read, [`Error::File`] if a model's file
    /// cannot be.
    pub(crate) fn open(args: &CacheArgs, embedder: &dyn Embedder) -> Result<Option<Self>, Error> {
        let Some(root) = &args.cache else {
            return Ok(None);
        };
        let Some(settings) = embedder.cache_key()? else {
            log::info!("--cache: a static model is faster than a cache, nothing is kept");
            return Ok(None);
        };
        let model = embedder.model();
        let folder = root.join(model_key(model, &settings));
        fs::create_dir_all(&folder).map_err(Error::cache(root))?;
        let cache = Self {
            root: root.clone(),
            folder,
            dim: model.dim,
            limit: args.cache_size,
            state: Mutex::default(),
            asked: AtomicU64::new(0),
            had: AtomicU64::new(0),
        };
        cache
            .refresh(&mut cache.lock())
            .map_err(Error::cache(root))?;
        Ok(Some(cache))
    }

    /// Returns the vector of a text, if it is there.
    pub(crate) fn get(&self, key: Key) -> Option<Vec<f32>> {
        let state = self.lock();
        let pending = state.pending.get(&key).cloned();
        let found = pending.or_else(|| state.segments.iter().find_map(|part| part.get(key)));
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.had
            .fetch_add(u64::from(found.is_some()), Ordering::Relaxed);
        found
    }

    /// Keeps vectors that were checked.
    pub(crate) fn put<'a>(&self, vectors: impl Iterator<Item = (&'a Key, &'a [f32])>) {
        let mut state = self.lock();
        if state.failed {
            return;
        }
        state
            .pending
            .extend(vectors.map(|(key, vector)| (*key, vector.to_vec())));
        if state.pending.is_empty() {
            return;
        }
        let age = state.since.get_or_insert_with(Instant::now).elapsed();
        let bytes = (state.pending.len() * self.dim * size_of::<f32>()) as u64;
        if age >= PENDING_AGE || bytes >= PENDING_BYTES.min(self.limit / upkeep::PART) {
            self.save(&mut state);
        }
    }

    /// Writes what has not been written, and tells how many vectors were there.
    pub(crate) fn finish(&self) {
        let mut state = self.lock();
        state.segments.iter().for_each(Segment::note_use);
        self.save(&mut state);
        let asked = self.asked.load(Ordering::Relaxed);
        let had = self.had.load(Ordering::Relaxed);
        if asked > 0 {
            let share = 100.0 * had as f64 / asked as f64;
            log::info!("cache: {had} of {asked} vectors were there ({share:.1} %)");
        }
    }

    /// Writes pending vectors to a file; a cache that cannot be written costs time and no result.
    fn save(&self, state: &mut State) {
        let pending = std::mem::take(&mut state.pending);
        state.since = None;
        if pending.is_empty() || state.failed {
            return;
        }
        let saved = segment::write(&self.folder, self.dim, &pending)
            .and_then(|_| upkeep::run(&self.root, &self.folder, self.dim, self.limit))
            .and_then(|()| self.refresh(state));
        if let Err(error) = saved {
            state.failed = true;
            let root = self.root.display();
            log::warn!("--cache {root}: {error}; no more vectors are kept in this run");
        }
    }

    /// Opens the files that are new, and lets go of those that are gone.
    fn refresh(&self, state: &mut State) -> io::Result<()> {
        let paths = upkeep::segments(&self.folder)?;
        state.segments.iter().for_each(Segment::note_use);
        state
            .segments
            .retain(|segment| paths.contains(&segment.path));
        for path in paths {
            if state.segments.iter().any(|known| known.path == path) {
                continue;
            }
            match Segment::open(path, self.dim) {
                Ok(segment) => state.segments.extend(segment),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the name of a model's folder: a hash over everything that decides about its vectors.
fn model_key(model: &Model, settings: &str) -> String {
    let model = Model {
        // Weights are known by their hash, whatever they are called.
        id: match model.sha256.is_empty() {
            true => model.id.clone(),
            false => String::new(),
        },
        query_prefix: String::new(),
        ..model.clone()
    };
    let parts = (REVISION, env!("CARGO_PKG_VERSION"), model, settings);
    // Strings and numbers alone, which always serialise.
    let text = serde_json::to_string(&parts).unwrap_or_default();
    cs_common::document::hex32(blake3::hash(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use cs_common::metadata::Endpoint;

    use super::*;

    #[test]
    fn all_that_moves_a_vector_parts_models() {
        let model = Model {
            id: "a/b".to_owned(),
            sha256: "00".repeat(32),
            dim: 4,
            dtype: "f32".to_owned(),
            pooling: "mean".to_owned(),
            normalized: true,
            max_tokens: Some(512),
            query_prefix: String::new(),
            document_prefix: String::new(),
            endpoint: None,
        };
        let own = model_key(&model, "settings");
        let changed = |change: fn(&mut Model)| {
            let mut other = model.clone();
            change(&mut other);
            model_key(&other, "settings") != own
        };
        assert!(!changed(|model| model.id = "c/d".to_owned()));
        assert!(!changed(|model| model.query_prefix = "query: ".to_owned()));
        assert!(changed(|model| model.sha256.clear()));
        assert!(changed(|model| model.dim = 2));
        assert!(changed(|model| model.dtype = "bf16".to_owned()));
        assert!(changed(|model| model.pooling = "cls".to_owned()));
        assert!(changed(|model| model.normalized = false));
        assert!(changed(|model| model.max_tokens = Some(256)));
        assert!(changed(
            |model| model.document_prefix = "passage: ".to_owned()
        ));
        let endpoint = |model: &mut Model| {
            let url = "http://host".to_owned();
            model.endpoint = Some(Endpoint { url, dim: 4 });
        };
        assert!(changed(endpoint));
        assert_ne!(model_key(&model, "other settings"), own);
        let nameless = |id: &str| Model {
            id: id.to_owned(),
            sha256: String::new(),
            ..model.clone()
        };
        let keys = ["a", "b"].map(|id| model_key(&nameless(id), ""));
        assert_ne!(keys[0], keys[1]);
    }
}
