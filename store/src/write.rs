//! The run of the storing stage: reads a stream and commits it, a step behind the reading.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Schema};
use cs_common::manifest::Entry;
use cs_common::metadata::StreamMetadata;
use cs_common::progress::Progress;
use cs_common::rows::{FILE_SETTINGS, VECTOR};
use cs_common::stream::StreamReader;
use cs_common::tool::{self, Outcome, Scope};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::folder::Folder;
use crate::ledger::Ledger;
use crate::mark::{Incomplete, Mark};
use crate::step::{FileName, Gatherer, Step};
use crate::table::Chunks;
use crate::vectors::check_type;
use crate::{Error, index, runtime};

/// Stores the stream on standard input.
pub(crate) fn store(db: &Path, prune: bool) -> Result<Outcome, Error> {
    let started = Instant::now();
    let mut input = StreamReader::stdin()?;
    let metadata = input.metadata().clone();
    let scope = Scope::of(&metadata.chain);
    if prune && matches!(scope, Some(Scope::Changes | Scope::Part)) {
        return Err(Error::PruneOfPart);
    }
    let model = metadata.model.as_ref().ok_or(Error::NoVectors)?;
    let width = input
        .schema()
        .field_with_name(VECTOR)
        .map_err(|_| Error::NoVectors)?;
    check_type(width.data_type())?;

    let folder = Folder::create(db)?;
    let _lock = folder.lock()?;
    let runtime = runtime(folder.path())?;
    let offered = (model, metadata.chain.as_slice());
    let chunks = Chunks::open_or_create(&folder, input.schema(), offered);
    let chunks = runtime.block_on(chunks)?;
    let stored = runtime.block_on(chunks.schema())?;
    let vector = stored.field_with_name(VECTOR);
    let vector_type = vector.map_err(|_| Error::NoVectors)?.data_type().clone();
    warn_of_dropped_columns(&stored, &input);
    let ledger = runtime.block_on(Ledger::open(&chunks))?;
    let mark = Mark::begin(&folder, &metadata)?;
    let mut writer = Writer {
        mark,
        progress: Some(Progress::start(metadata.totals)),
        ledger,
        seen: HashSet::new(),
        pending: None,
        tally: Tally::default(),
        runtime,
        chunks,
    };

    let settings = metadata.chain.first();
    let settings = settings.and_then(|stage| stage.extra.get(tool::SETTINGS)?.as_str());
    let mut gatherer = Gatherer::new(settings);
    let outcome = loop {
        match input.next_batch() {
            Ok(Some(batch)) => {
                let full = gatherer.push(&with_vectors_as(&batch, &vector_type)?, model.dim);
                // What is complete is kept, whatever comes after it.
                let (full, error) = match full {
                    Ok(full) => (full, None),
                    Err(error) => (Vec::new(), Some(error)),
                };
                for step in full {
                    writer.commit(step)?;
                }
                if let Some(error) = error {
                    break Err(error);
                }
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(Error::Stream(error)),
        }
    };
    for step in gatherer.finish(outcome.is_ok()) {
        writer.commit(step)?;
    }
    if outcome.is_ok() && (prune || scope == Some(Scope::Anew)) {
        let repos = metadata.repos.iter().map(|repo| repo.name.as_str());
        writer.forget_unseen(&repos.collect::<Vec<_>>())?;
    }
    writer.wait()?;
    writer.finish(&metadata)?;
    writer.mark.end(outcome.is_ok())?;
    let Writer { tally, .. } = &writer;
    log::info!(
        "{}: {} files with {} chunks stored{} in {:.1} s",
        db.display(),
        tally.files,
        tally.chunks,
        match tally.removed {
            0 => String::new(),
            count => format!(", {count} old chunks removed"),
        },
        started.elapsed().as_secs_f64(),
    );
    if let Some(incomplete) = Incomplete::read(&folder)? {
        log::warn!("{}: {}", db.display(), incomplete.sentence());
        log::warn!("complete it with: {}", incomplete.remedy(db, model));
    }
    outcome.map(|()| Outcome::Done)
}

/// What was done.
#[derive(Debug, Default)]
struct Tally {
    files: usize,
    chunks: usize,
    removed: usize,
}

/// Commits steps, at most one at a time, while the next one is gathered.
struct Writer {
    mark: Mark,
    /// What shows how far the stream is, as long as there is more of it.
    progress: Option<Progress>,
    ledger: Ledger,
    /// The files that this stream brought.
    seen: HashSet<(String, String)>,
    pending: Option<Pending>,
    tally: Tally,
    runtime: Runtime,
    chunks: Chunks,
}

/// A commit under way.
struct Pending {
    task: JoinHandle<Result<usize, Error>>,
    put_files: usize,
    entries: Vec<(FileName, Option<Entry>)>,
}

impl Writer {
    /// Starts the commit of a step, when the one before it is done.
    fn commit(&mut self, mut step: Step) -> Result<(), Error> {
        self.wait()?;
        let entries = std::mem::take(&mut step.entries);
        self.mark.add(0)?;
        let stale = self.ledger.begin(&entries)?;
        let names = entries.iter().map(|(file, _)| file);
        self.seen
            .extend(names.map(|file| (file.repo.clone(), file.path.clone())));
        self.tally.files += step.put_files;
        self.tally.chunks += step.rows;
        if let Some(progress) = &self.progress {
            progress.update(self.seen.len() as u64, self.tally.chunks as u64);
        }
        let chunks = self.chunks.clone();
        let put_files = step.put_files;
        let task = async move { chunks.commit(step, stale).await };
        self.pending = Some(Pending {
            task: self.runtime.spawn(task),
            put_files,
            entries,
        });
        Ok(())
    }

    /// Waits for the commit under way, and enters it in the manifest.
    fn wait(&mut self) -> Result<(), Error> {
        let Some(pending) = self.pending.take() else {
            return Ok(());
        };
        let Pending {
            task,
            put_files,
            entries,
        } = pending;
        let path = self.chunks.folder().path();
        let done = self.runtime.block_on(task);
        self.tally.removed += done.map_err(|error| Error::damaged(path, error))??;
        let version = self.runtime.block_on(self.chunks.version())?;
        self.ledger.commit(entries, version)?;
        self.mark.add(put_files)
    }

    /// Removes the stored files of some repositories that the stream did not bring.
    fn forget_unseen(&mut self, repos: &[&str]) -> Result<(), Error> {
        self.wait()?;
        let files = self.ledger.others(repos, &self.seen);
        if files.is_empty() {
            return Ok(());
        }
        self.commit(Step::forget(files))?;
        self.wait()
    }

    /// Records where the rows are from, brings the indexes up to date, and says in the manifest
    /// that all this is what it describes.
    fn finish(&mut self, metadata: &StreamMetadata) -> Result<(), Error> {
        self.progress = None;
        let made_rows = self.tally.chunks > 0;
        let version = self.runtime.block_on(async {
            self.chunks.record(metadata, made_rows).await?;
            index::refresh(&self.chunks).await?;
            self.chunks.version().await
        })?;
        self.ledger.finish(version)
    }
}

/// Gives a batch's vectors the type that the store has: that of the stream that made it.
fn with_vectors_as(batch: &RecordBatch, target: &DataType) -> Result<RecordBatch, Error> {
    let schema = batch.schema();
    let (at, field) = schema.column_with_name(VECTOR).ok_or(Error::NoVectors)?;
    // Another length is another model's, which is told by its chunk.
    let (DataType::FixedSizeList(_, given), DataType::FixedSizeList(item, _)) =
        (field.data_type(), target)
    else {
        return Ok(batch.clone());
    };
    let target = DataType::FixedSizeList(Arc::clone(item), *given);
    if &target == field.data_type() {
        return Ok(batch.clone());
    }
    let convert = || {
        let mut columns = batch.columns().to_vec();
        columns[at] = arrow_cast::cast(&columns[at], &target)?;
        let mut fields = schema.fields().to_vec();
        fields[at] = Arc::new(field.clone().with_data_type(target));
        let schema = Schema::new(fields).with_metadata(schema.metadata().clone());
        RecordBatch::try_new(Arc::new(schema), columns)
    };
    convert().map_err(|error| cs_common::Error::Arrow(error).into())
}

/// Says which columns of the stream the store, made by an earlier one, has no place for.
fn warn_of_dropped_columns(stored: &Schema, input: &StreamReader) {
    for field in input.schema().fields() {
        let is_kept = ["op", FILE_SETTINGS].contains(&field.name().as_str());
        if !is_kept && stored.field_with_name(field.name()).is_err() {
            log::warn!(
                "column `{}` is left out: the store has no place for it",
                field.name()
            );
        }
    }
}
