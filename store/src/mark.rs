//! The mark of an incomplete store: runs that did not bring all that they had to.
//!
//! It is a small file beside the table. A run leaves it behind before its first commit and takes
//! it away at the end of a sealed stream, so that no way of ending a process can leave a store
//! that is incomplete and does not say so.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use cs_common::metadata::{Model, Repo, StreamMetadata};
use cs_common::tool::Scope;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::folder::Folder;
use crate::model::{flags, quoted};

/// The mark's file name in a store's folder.
pub(crate) const FILE_NAME: &str = "incomplete.json";

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
    /// Reads the mark of a store; `None` if it is complete.
    pub(crate) fn read(folder: &Folder) -> Result<Option<Self>, Error> {
        let path = path_in(folder);
        match fs::read(&path) {
            Ok(text) => {
                let runs = serde_json::from_slice(&text)
                    .map_err(|error| Error::damaged(&path, format!("not a mark: {error}")))?;
                Ok(Some(Self { runs }))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::Folder { path, source }),
        }
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

/// The mark as the store's writer keeps it.
#[derive(Debug)]
pub(crate) struct Mark {
    path: PathBuf,
    /// What earlier runs left, as far as this one does not bring it.
    others: Vec<Run>,
    current: Run,
    on_disk: Vec<Run>,
}

impl Mark {
    /// Begins a run, which is marked at once if its stream has files to bring.
    pub(crate) fn begin(folder: &Folder, metadata: &StreamMetadata) -> Result<Self, Error> {
        let on_disk = Incomplete::read(folder)?.map_or(Vec::new(), |mark| mark.runs);
        let mut others = on_disk.clone();
        // Of a list of files nothing follows for the rest of a repository.
        if Scope::of(&metadata.chain) != Some(Scope::Part) {
            others.retain(|run| !run.repos.is_empty());
            forget(&mut others, |repo| metadata.repos.contains(repo));
        }
        for run in &mut others {
            // Its process is gone: this one is the only writer.
            run.ended = true;
        }
        let mut mark = Self {
            path: path_in(folder),
            others,
            current: Run {
                repos: metadata.repos.clone(),
                files: metadata.totals.map(|totals| totals.files),
                stored: 0,
                ended: false,
            },
            on_disk,
        };
        if mark.current.files != Some(0) {
            mark.write(true)?;
        }
        Ok(mark)
    }

    /// Adds files that have been stored, or are about to be.
    pub(crate) fn add(&mut self, files: usize) -> Result<(), Error> {
        self.current.stored += files as u64;
        self.write(true)
    }

    /// Ends the run: the mark of a sealed stream goes.
    pub(crate) fn end(&mut self, sealed: bool) -> Result<(), Error> {
        self.current.ended = true;
        self.write(!sealed)
    }

    fn write(&mut self, with_current: bool) -> Result<(), Error> {
        let current = with_current.then(|| self.current.clone());
        let runs: Vec<Run> = self.others.iter().cloned().chain(current).collect();
        if runs != self.on_disk {
            save(&self.path, &runs)?;
            self.on_disk = runs;
        }
        Ok(())
    }
}

/// Takes a repository from the mark: none of its files is missing if none is wanted.
pub(crate) fn forget_repo(folder: &Folder, name: &str) -> Result<(), Error> {
    let Some(Incomplete { mut runs }) = Incomplete::read(folder)? else {
        return Ok(());
    };
    forget(&mut runs, |repo| repo.name == name);
    save(&path_in(folder), &runs)
}

/// Takes repositories from runs, and runs away that were of no other.
fn forget(runs: &mut Vec<Run>, is_known: impl Fn(&Repo) -> bool) {
    runs.retain_mut(|run| {
        let before = run.repos.len();
        run.repos.retain(|repo| !is_known(repo));
        if run.repos.len() < before {
            // Its numbers are those of all its repositories.
            run.files = None;
        }
        run.repos.len() == before || !run.repos.is_empty()
    });
}

/// Replaces the file as a whole, or removes it where nothing is missing.
fn save(path: &Path, runs: &[Run]) -> Result<(), Error> {
    let done = if runs.is_empty() {
        match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    } else {
        let draft = path.with_extension("json.new");
        serde_json::to_vec(runs)
            .map_err(io::Error::other)
            .and_then(|text| fs::write(&draft, text))
            .and_then(|()| fs::rename(&draft, path))
    };
    done.map_err(Error::folder(path))
}

fn path_in(folder: &Folder) -> PathBuf {
    folder.path().join(FILE_NAME)
}
