//! `cs-store check`: whether what is stored is what was put in.

mod file;

use std::collections::HashSet;
use std::io::{self, Write};

use cs_common::manifest::{Manifest, ManifestError};
use cs_common::metadata::Totals;
use cs_common::progress::{Done, Progress};
use cs_common::rows::VECTOR;
use cs_common::tool::Outcome;
use lance::dataset::Dataset;
use serde::Serialize;

use crate::files::{each_batch, each_file, text};
use crate::folder::{Folder, Location};
use crate::mark::Incomplete;
use crate::table::Chunks;
use crate::{Error, runtime};

/// The columns that a file is judged by.
const COLUMNS: [&str; 10] = [
    "repo",
    "path",
    "project",
    "file_hash",
    "file_size",
    "file_mtime_ns",
    "chunk_id",
    "start_byte",
    "end_byte",
    VECTOR,
];

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Fault {
    repo: String,
    path: String,
    fault: String,
}

/// What a check found.
#[derive(Debug, Serialize)]
struct Report {
    path: String,
    files: u64,
    chunks: u64,
    complete: bool,
    /// Files that an incomplete store lacks at most, if that is known.
    missing_files: Option<u64>,
    manifest: &'static str,
    faults: Vec<Fault>,
}

/// Checks a store, and prints what is wrong with it.
///
/// It looks at one version of the table, whatever is written meanwhile.
pub(crate) fn check(at: &Location, json: bool) -> Result<Outcome, Error> {
    let (report, incomplete) = runtime(&at.path)?.block_on(async {
        let folder = Folder::open(at).await?;
        let incomplete = Incomplete::read(&folder).await?;
        let chunks = Chunks::open(&folder).await?;
        let report = examine(&chunks, incomplete.as_ref()).await?;
        Ok::<_, Error>((report, incomplete))
    })?;
    if let Some(incomplete) = &incomplete {
        log::warn!("{}: {}", at.path.display(), incomplete.sentence());
    }
    let mut text = Vec::new();
    let written = if json {
        serde_json::to_writer(&mut text, &report)
            .map_err(Into::into)
            .and_then(|()| writeln!(text))
    } else {
        report.print(&mut text)
    };
    written
        .map_err(cs_common::Error::from_output)
        .and_then(|()| cs_common::stream::print(&text))?;
    match report.faults.is_empty() {
        true => Ok(Outcome::Done),
        false => Ok(Outcome::Told),
    }
}

async fn examine(chunks: &Chunks, incomplete: Option<&Incomplete>) -> Result<Report, Error> {
    let dataset = chunks.dataset().await?;
    let mut known = Known::read(chunks, dataset.version().version)?;
    let totals = Totals {
        files: known.manifest.len() as u64,
        bytes: 0,
    };
    let progress = Progress::start((totals.files > 0).then_some(totals));
    let mut report = Report {
        path: chunks.folder().path().display().to_string(),
        files: 0,
        chunks: 0,
        complete: incomplete.is_none(),
        missing_files: incomplete.and_then(Incomplete::missing),
        manifest: known.state,
        faults: std::mem::take(&mut known.faults),
    };
    let mut ids = Ids::default();
    let dim = chunks.model().dim;
    each_file(chunks, &dataset, &COLUMNS, |name, rows| {
        let mut say = |fault: String| {
            report.faults.push(Fault {
                repo: name.repo.clone(),
                path: name.path.clone(),
                fault,
            });
        };
        let file = file::File::new(chunks.folder().path(), rows)?;
        ids.add(&file, &mut say);
        file.check(dim, &mut say);
        match known.manifest.get(&name.repo, &name.path) {
            Some(entry) => file.compare(entry, &mut say),
            None if known.state == CURRENT => {
                say("is stored, and the manifest does not know it".to_owned());
            }
            // It is made anew by the next run.
            None => {}
        }
        known.manifest.remove(&name.repo, &name.path);
        report.files += 1;
        report.chunks += rows.num_rows() as u64;
        progress.update(Done {
            files: report.files,
            chunks: report.chunks,
            tokens: None,
        });
        Ok(())
    })
    .await?;
    for (repo, files) in known.manifest.repos {
        report.faults.extend(files.into_keys().map(|path| Fault {
            repo: repo.clone(),
            path,
            fault: "the manifest has it, and no chunk of it is stored".to_owned(),
        }));
    }
    report.faults.extend(ids.shared(chunks, &dataset).await?);
    report
        .faults
        .sort_by(|a, b| (&a.repo, &a.path).cmp(&(&b.repo, &b.path)));
    Ok(report)
}

impl Report {
    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        for Fault { repo, path, fault } in &self.faults {
            writeln!(out, "{repo}/{path}: {fault}")?;
        }
        let Self { files, chunks, .. } = self;
        let count = match self.faults.len() {
            0 => "no fault".to_owned(),
            1 => "1 fault".to_owned(),
            count => format!("{count} faults"),
        };
        writeln!(out, "{files} files with {chunks} chunks, {count}")
    }
}

/// The state of a manifest that describes the table's version: it has to be the same as the rows.
const CURRENT: &str = "current";

/// The manifest, and how far it can be held against the rows.
struct Known {
    manifest: Manifest,
    state: &'static str,
    faults: Vec<Fault>,
}

impl Known {
    fn read(chunks: &Chunks, version: u64) -> Result<Self, Error> {
        let folder = chunks.folder();
        let found = folder.local().map_or(Ok(None), Manifest::read);
        let is_current = |manifest: &Manifest| {
            manifest.table == chunks.name() && manifest.table_version == version
        };
        let (manifest, state, fault) = match found {
            Ok(Some(manifest)) if is_current(&manifest) => (manifest, CURRENT, None),
            // After a crash: what it says is true, and it does not say all.
            Ok(Some(manifest)) => (manifest, "behind", None),
            Ok(None) => (Manifest::default(), "missing", None),
            Err(ManifestError::Form { cause, .. }) => (Manifest::default(), "damaged", Some(cause)),
            Err(error) => return Err(error.into()),
        };
        let faults = fault.into_iter().map(|cause| Fault {
            repo: folder.path().display().to_string(),
            path: cs_common::manifest::FILE_NAME.to_owned(),
            fault: format!("not a manifest ({cause}); the next run makes it anew"),
        });
        Ok(Self {
            manifest,
            state,
            faults: faults.collect(),
        })
    }
}

/// The chunks' identifiers, each as 128 bits.
#[derive(Default)]
struct Ids {
    seen: HashSet<u128>,
    shared: HashSet<u128>,
}

impl Ids {
    fn add(&mut self, file: &file::File<'_>, say: &mut impl FnMut(String)) {
        let mut missing = 0;
        for id in file.ids() {
            match id.map(number) {
                Some(id) if !self.seen.insert(id) => {
                    self.shared.insert(id);
                }
                Some(_) => {}
                None => missing += 1,
            }
        }
        if missing > 0 {
            say(format!("{missing} of its chunks have no chunk_id"));
        }
    }

    /// Names all chunks that share an identifier with another one.
    async fn shared(&self, chunks: &Chunks, dataset: &Dataset) -> Result<Vec<Fault>, Error> {
        let mut faults = Vec::new();
        if self.shared.is_empty() {
            return Ok(faults);
        }
        let columns = ["repo", "path", "chunk_id"];
        let path = chunks.folder().path();
        each_batch(chunks, dataset, &columns, |batch| {
            let repos = text(path, batch, "repo")?;
            let paths = text(path, batch, "path")?;
            for (row, id) in text(path, batch, "chunk_id")?.iter().enumerate() {
                if let Some(id) = id.filter(|id| self.shared.contains(&number(id))) {
                    faults.push(Fault {
                        repo: repos.value(row).to_owned(),
                        path: paths.value(row).to_owned(),
                        fault: format!("chunk_id {id} is not its alone"),
                    });
                }
            }
            Ok(())
        })
        .await?;
        Ok(faults)
    }
}

/// Returns 128 bits that stand for an identifier: those of its 32 hex digits.
fn number(id: &str) -> u128 {
    let digits = (id.len() == 32).then(|| u128::from_str_radix(id, 16).ok());
    digits.flatten().unwrap_or_else(|| {
        let mut bytes = [0; 16];
        let mut hash = blake3::Hasher::new().update(id.as_bytes()).finalize_xof();
        hash.fill(&mut bytes);
        u128::from_le_bytes(bytes)
    })
}
