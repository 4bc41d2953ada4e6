//! The mark of an incomplete store: runs that did not bring all that they had to.
//!
//! It is a small file beside the table, one a run. A run leaves it behind before its first commit
//! and takes it away at the end of a sealed stream, so that no way of ending a process can leave a
//! store that is incomplete and does not say so.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use cs_common::metadata::{Model, Repo, StreamMetadata};
use serde::{Deserialize, Serialize};

use crate::folder::Folder;
use crate::model::{flags, quoted};
use crate::{Error, lock};

/// The folder of the marks in a store's.
pub(crate) const FOLDER: &str = "incomplete";

const ENDING: &str = ".json";

/// A run whose stream has not been stored to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Run {
    /// The repositories that the stream is of.
    repos: Vec<Repo>,
    /// The files that it was to bring, if it says so.
    files: Option<u64>,
    /// Those that have been stored.
    stored: u64,
    /// Whether it is over; one that was killed says that it is not.
    ended: bool,
}

/// What a store lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incomplete {
    runs: Vec<Run>,
}

impl Incomplete {
    /// Reads the marks of a store; `None` if it is complete.
    pub(crate) async fn read(folder: &Folder) -> Result<Option<Self>, Error> {
        let runs: Vec<Run> = read_all(folder).await?.into_values().collect();
        Ok((!runs.is_empty()).then_some(Self { runs }))
    }

    /// Returns how many files are missing at most, if that is known.
    ///
    /// A file that has no chunk, such as an empty one, counts as missing, too: only the stage
    /// that did not get to it could tell.
    pub fn missing(&self) -> Option<u64> {
        self.runs
            .iter()
            .map(|run| Some(run.files?.saturating_sub(run.stored)))
            .sum()
    }

    /// Returns the repositories that files are missing of.
    pub fn repos(&self) -> Vec<Repo> {
        let mut repos: Vec<Repo> = Vec::new();
        for repo in self.runs.iter().flat_map(|run| &run.repos) {
            if !repos.contains(repo) {
                repos.push(repo.clone());
            }
        }
        repos
    }

    /// Tells whether the runs are over; one that is not is under way, or was killed.
    pub fn ended(&self) -> bool {
        self.runs.iter().all(|run| run.ended)
    }

    /// Says it in a sentence.
    pub fn sentence(&self) -> String {
        let end = match self.ended() {
            true => "a run broke off",
            false => "a run is under way, or was killed",
        };
        let count = match self.missing() {
            Some(0) => "deletions".to_owned(),
            Some(1) => "up to 1 file".to_owned(),
            Some(count) => format!("up to {count} files"),
            None => "an unknown number of files".to_owned(),
        };
        let names: Vec<String> = self.repos().into_iter().map(|repo| repo.name).collect();
        let of = match names.is_empty() {
            true => String::new(),
            false => format!(" of {}", names.join(", ")),
        };
        format!("incomplete: {end}, {count}{of} may be missing")
    }

    /// Returns the command that completes a store of a model's vectors.
    pub fn remedy(&self, db: &Path, model: &Model) -> String {
        let db = quoted(&db.display().to_string());
        let roots: Vec<String> = self.repos().iter().map(|repo| quoted(&repo.root)).collect();
        let roots = match roots.is_empty() {
            true => "REPO".to_owned(),
            false => roots.join(" "),
        };
        let flags = flags(model);
        let embed: String = flags
            .iter()
            .map(|flag| format!(" {}", quoted(flag)))
            .collect();
        format!("cs-parse {roots} --since {db} | cs-embed{embed} | cs-store {db}")
    }
}

/// The mark of the run at hand.
#[derive(Debug)]
pub(crate) struct Mark {
    folder: Folder,
    name: String,
    current: Run,
    on_disk: Option<Run>,
}

impl Mark {
    /// Begins a run, which is marked at once if its stream has files to bring. The caller is the
    /// only writer of the stream's repositories.
    pub(crate) async fn begin(folder: &Folder, metadata: &StreamMetadata) -> Result<Self, Error> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = since.map_or(0, |since| since.as_nanos());
        let mut mark = Self {
            folder: folder.clone(),
            name: format!("{now}-{}", std::process::id()),
            current: Run {
                repos: metadata.repos.clone(),
                files: metadata.totals.map(|totals| totals.files),
                stored: 0,
                ended: false,
            },
            on_disk: None,
        };
        if mark.current.files != Some(0) {
            mark.write().await?;
        }
        Ok(mark)
    }

    /// Tells whether others can see it.
    pub(crate) fn is_on_disk(&self) -> bool {
        self.on_disk.is_some()
    }

    /// Adds files that have been stored, or are about to be.
    pub(crate) async fn add(&mut self, files: usize) -> Result<(), Error> {
        self.current.stored += files as u64;
        self.write().await
    }

    /// Ends the run: the mark of a sealed stream goes.
    pub(crate) async fn end(mut self, sealed: bool) -> Result<(), Error> {
        if sealed {
            return self.folder.remove(&file(&self.name)).await;
        }
        self.current.ended = true;
        self.write().await
    }

    async fn write(&mut self) -> Result<(), Error> {
        if self.on_disk.as_ref() != Some(&self.current) {
            save(&self.folder, &self.name, &self.current).await?;
            self.on_disk = Some(self.current.clone());
        }
        Ok(())
    }
}

/// Takes repositories from the marks of other runs than the one at hand, which brings all that
/// they were to bring; a run is given away if it was of no other repository.
pub(crate) async fn settle(
    folder: &Folder,
    current: Option<&Mark>,
    is_brought: impl Fn(&Repo) -> bool,
) -> Result<(), Error> {
    let _lock = folder.local().map(lock::short).transpose()?;
    for (name, mut run) in read_all(folder).await? {
        if current.is_some_and(|mark| mark.name == name) {
            continue;
        }
        let before = run.repos.len();
        run.repos.retain(|repo| !is_brought(repo));
        // A run of unknown repositories is settled by one that knows its own.
        if run.repos.is_empty() && (before > 0 || current.is_some()) {
            folder.remove(&file(&name)).await?;
        } else if run.repos.len() < before {
            // Its numbers are those of all its repositories.
            run.files = None;
            save(folder, &name, &run).await?;
        }
    }
    Ok(())
}

/// Says of earlier runs of some repositories that they are over: their processes are gone.
pub(crate) async fn bury(folder: &Folder, repos: &[Repo]) -> Result<(), Error> {
    for (name, mut run) in read_all(folder).await? {
        if !run.ended && run.repos.iter().any(|repo| repos.contains(repo)) {
            run.ended = true;
            save(folder, &name, &run).await?;
        }
    }
    Ok(())
}

async fn read_all(folder: &Folder) -> Result<BTreeMap<String, Run>, Error> {
    let mut runs = BTreeMap::new();
    for entry in folder.list(FOLDER).await? {
        let Some(name) = entry.strip_suffix(ENDING) else {
            continue;
        };
        // Its run may have ended since.
        let Some(text) = folder.read(&file(name)).await? else {
            continue;
        };
        let run = serde_json::from_slice(&text).map_err(|error| {
            let path = folder.path().join(file(name));
            Error::damaged(&path, format!("not a mark: {error}"))
        })?;
        runs.insert(name.to_owned(), run);
    }
    Ok(runs)
}

async fn save(folder: &Folder, name: &str, run: &Run) -> Result<(), Error> {
    // These types hold strings and numbers only, which always serialise.
    let text = serde_json::to_vec(run).unwrap_or_default();
    folder.write(&file(name), &text).await
}

fn file(name: &str) -> String {
    format!("{FOLDER}/{name}{ENDING}")
}
