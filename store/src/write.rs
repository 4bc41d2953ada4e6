//! The run of the storing stage: reads a stream and commits it, behind the reading.
//!
//! While a step is gathered, the rows of the two before are written, and the one before those is
//! committed, which is waiting for the disk.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Schema};
use cs_common::manifest::Entry;
use cs_common::metadata::{Model, StreamMetadata};
use cs_common::meter;
use cs_common::progress::{Done as Shown, Progress, Steps};
use cs_common::report::{Figures, MeterArgs, Report};
use cs_common::rows::{FILE_SETTINGS, VECTOR};
use cs_common::stream::StreamReader;
use cs_common::tool::{self, Outcome, Scope};
use lance::table::format::Fragment;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::folder::{Folder, Location};
use crate::intake::Intake;
use crate::ledger::Ledger;
use crate::lock::{REBUILD, Writing};
use crate::mark::{self, Incomplete, Mark};
use crate::rebuild;
use crate::runs::{Ending, Kind, Record};
use crate::step::{FileKey, FileName, Gatherer, Limits, Step};
use crate::table::{ATTEMPTS, Chunks};
use crate::vectors::check_type;
use crate::{Error, index, lock, runtime};

/// How a stream is stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// Whether files that a sealed stream does not bring are forgotten.
    pub(crate) prune: bool,
    /// When readers see what.
    pub(crate) visible: Visible,
    pub(crate) limits: Limits,
    /// After how long without a sign of life another writer of an object store is dead.
    pub(crate) lease: Duration,
}

/// When readers see what a stream brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Visible {
    /// Step by step.
    Stepwise,
    /// All at the seal.
    AtSeal,
    /// All at the seal, and nothing else.
    Instead,
}

/// Stores the stream on standard input, and tells what that took.
pub(crate) fn store(
    at: &Location,
    options: Options,
    figures: &MeterArgs,
) -> Result<Outcome, Error> {
    let figures = Figures::start(figures, "cs-store")?;
    let entered = figures.meter.lane("store").enter();
    meter::work("start");
    let stored = store_stream(at, options, &figures);
    drop(entered);
    figures.end();
    stored
}

fn store_stream(at: &Location, options: Options, figures: &Figures) -> Result<Outcome, Error> {
    let input = StreamReader::stdin()?;
    let metadata = input.metadata().clone();
    let scope = Scope::of(&metadata.chain);
    if matches!(scope, Some(Scope::Changes | Scope::Part)) {
        if options.prune {
            return Err(Error::OnlyPart("--prune"));
        }
        if options.visible == Visible::Instead {
            return Err(Error::OnlyPart("--rebuild"));
        }
    }
    let model = metadata.model.clone().ok_or(Error::NoVectors)?;
    let width = input
        .schema()
        .field_with_name(VECTOR)
        .map_err(|_| Error::NoVectors)?;
    check_type(width.data_type())?;
    let mut input = Intake::new(input);

    let runtime = runtime(&at.path)?;
    let folder = runtime.block_on(Folder::create(at))?;
    let repos = metadata.repos.iter().map(|repo| repo.name.as_str());
    let repos = repos.chain((options.visible == Visible::Instead).then_some(REBUILD));
    let mut right = runtime.block_on(Writing::begin(&folder, options.lease, repos))?;
    let run = Run::begin(
        &runtime,
        &folder,
        &mut right,
        &input.stream,
        &model,
        options,
    );
    let done = run.and_then(|run| run.store(&mut input, &metadata, options));
    runtime.block_on(right.end());
    let record = account(figures, input, &metadata, &done);
    runtime.block_on(record.save(&folder));
    let tally = done?;
    log::info!(
        "{}: {} files with {} chunks stored{} in {:.1} s",
        at.path.display(),
        tally.files,
        tally.chunks,
        match tally.removed {
            0 => String::new(),
            count => format!(", {count} old chunks removed"),
        },
        record.wall_s(),
    );
    for line in record.summary() {
        log::info!("{line}");
    }
    let incomplete = runtime.block_on(Incomplete::read(&folder))?;
    // What another process is about to bring is not worth a word.
    let is_news = |incomplete: &Incomplete| {
        let mut lacking = incomplete.repos().into_iter();
        incomplete.ended() || lacking.any(|repo| metadata.repos.contains(&repo))
    };
    if let Some(incomplete) = incomplete.filter(is_news) {
        log::warn!("{}: {}", at.path.display(), incomplete.sentence());
        log::warn!("complete it with: {}", incomplete.remedy(&at.path, &model));
    }
    tally.outcome
}

/// Tells the figures of a run that is over, and returns what is kept of it.
fn account(
    figures: &Figures,
    input: Intake,
    metadata: &StreamMetadata,
    done: &Result<Tally, Error>,
) -> Record {
    let version = env!("CARGO_PKG_VERSION");
    let own = Report::new("cs-store", version, &figures.meter, &input.count);
    let mut stages = input.count.reports;
    stages.push(own);
    figures.tell(&stages);
    let ending = match done {
        Err(error) => Ending::new(Kind::Failed, Some(error)),
        Ok(Tally { outcome, .. }) => Ending::new(Kind::Broken, outcome.as_ref().err()),
    };
    Record::new(metadata, stages, ending)
}

/// What was done.
#[derive(Debug)]
struct Tally {
    files: usize,
    chunks: usize,
    removed: usize,
    /// How the stream ended.
    outcome: Result<Outcome, Error>,
}

/// A run of the stage: writes a step's rows and commits the step before it, while the next one is
/// gathered.
struct Run<'a> {
    runtime: &'a Runtime,
    folder: &'a Folder,
    right: &'a mut Writing,
    chunks: Chunks,
    ledger: Ledger,
    lease: Duration,
    /// The sign that the store is incomplete, where it is while the run lasts.
    mark: Option<Mark>,
    /// What waits for the seal.
    whole: Option<Whole>,
    /// The table that this run's is to replace.
    replaces: Option<rebuild::Replaced>,
    /// What shows how far the stream is, as long as there is more of it.
    progress: Option<Progress>,
    /// The files that this stream brought.
    seen: HashSet<(String, String)>,
    /// Steps under way, in their order: one whose rows are being written at most, and one before it.
    pending: VecDeque<Pending>,
    files: usize,
    rows: usize,
    removed: usize,
}

/// Steps whose rows are written, and which nobody sees yet.
#[derive(Debug, Default)]
struct Whole {
    files: HashMap<FileKey, String>,
    fragments: Vec<Fragment>,
    entries: Vec<(FileName, Option<Entry>)>,
}

/// A step under way.
struct Pending {
    task: JoinHandle<Result<Done, Error>>,
    /// Comes when its rows are written, and never if that fails.
    written: oneshot::Receiver<()>,
    /// Comes when it is committed, for the step after it.
    committed: Option<oneshot::Receiver<()>>,
    put_files: usize,
    entries: Vec<(FileName, Option<Entry>)>,
}

/// What became of a step's rows.
enum Done {
    /// They are stored instead of so many old ones.
    Committed(usize),
    /// They are written, and seen by nobody.
    Written(Vec<Fragment>),
}

/// What a step's task tells others of it, and waits for.
struct Turn {
    after: Option<oneshot::Receiver<()>>,
    written: oneshot::Sender<()>,
    committed: oneshot::Sender<()>,
}

/// Steps whose rows are written at the same time: one of them keeps one core busy, and no more.
const WRITING: usize = 2;

/// Writes a step's rows, and commits it after the step before.
async fn commit(chunks: Chunks, mut step: Step, stale: bool, turn: Turn) -> Result<Done, Error> {
    let files = std::mem::take(&mut step.files);
    let fragments = chunks.write(step).await?;
    // Whoever does not listen has no use for it.
    let _ = turn.written.send(());
    if let Some(after) = turn.after
        && after.await.is_err()
    {
        return Ok(Done::Written(fragments));
    }
    let removed = chunks.replace(&files, fragments, stale).await?;
    let _ = turn.committed.send(());
    Ok(Done::Committed(removed))
}

impl<'a> Run<'a> {
    fn begin(
        runtime: &'a Runtime,
        folder: &'a Folder,
        right: &'a mut Writing,
        input: &StreamReader,
        model: &Model,
        options: Options,
    ) -> Result<Self, Error> {
        let metadata = input.metadata();
        let (chunks, replaces, ledger) = runtime.block_on(async {
            rebuild::sweep(folder, options.lease).await?;
            if options.visible == Visible::Instead {
                let replaced = rebuild::Replaced::find(folder).await?;
                let name = replaced.next_name();
                let chunks = Chunks::create(folder, name, input.schema(), model).await?;
                let ledger = Ledger::draft(&chunks);
                return Ok::<_, Error>((chunks, Some(replaced), ledger));
            }
            let offered = (model, metadata.chain.as_slice());
            let chunks = Chunks::open_or_create(folder, input.schema(), offered, options.lease);
            let chunks = chunks.await?;
            let ledger = Ledger::open(&chunks).await?;
            Ok((chunks, None, ledger))
        })?;
        let mark = match options.visible {
            Visible::Stepwise => Some(runtime.block_on(begin_mark(folder, metadata))?),
            Visible::AtSeal | Visible::Instead => None,
        };
        Ok(Self {
            runtime,
            folder,
            right,
            chunks,
            ledger,
            lease: options.lease,
            mark,
            whole: (options.visible == Visible::AtSeal).then(Whole::default),
            replaces,
            progress: Some(Progress::start(metadata.totals)),
            seen: HashSet::new(),
            pending: VecDeque::new(),
            files: 0,
            rows: 0,
            removed: 0,
        })
    }

    /// Stores the stream, as far as it comes.
    fn store(
        mut self,
        input: &mut Intake,
        metadata: &StreamMetadata,
        options: Options,
    ) -> Result<Tally, Error> {
        let mut outcome = match self.take(input, metadata, options) {
            Ok(outcome) => outcome,
            Err(error) => {
                // What it could not do is the error to tell; a draft left behind is swept later.
                if let Err(more) = self.abandon() {
                    log::debug!("{more}");
                }
                return Err(error);
            }
        };
        let sealed = outcome.is_ok();
        let scope = Scope::of(&metadata.chain);
        if sealed && self.replaces.is_none() {
            let repos = metadata.repos.iter().map(|repo| repo.name.as_str());
            let repos: Vec<&str> = repos.collect();
            self.wait()?;
            if options.prune || scope == Some(Scope::Anew) {
                self.forget(self.ledger.others(&repos, &self.seen))?;
            } else if scope == Some(Scope::Changes) {
                let since = tool::since(&metadata.chain);
                let gone = self.ledger.gone(since, &repos, &self.seen);
                self.forget(gone)?;
            }
        }
        self.wait()?;
        if let Err(error) = outcome {
            if self.mark.is_none() {
                self.abandon()?;
                log::warn!("nothing of the stream is stored, as it was to be all or nothing");
                return Err(error);
            }
            outcome = Err(error);
        }
        self.finish(metadata, sealed)?;
        Ok(Tally {
            files: self.files,
            chunks: self.rows,
            removed: self.removed,
            outcome: outcome.map(|()| Outcome::Done),
        })
    }

    /// Takes the stream's rows. The outer result is the store's, the inner one the stream's.
    fn take(
        &mut self,
        input: &mut Intake,
        metadata: &StreamMetadata,
        options: Options,
    ) -> Result<Result<(), Error>, Error> {
        let stored = self.runtime.block_on(self.chunks.schema())?;
        let vector = stored.field_with_name(VECTOR);
        let vector_type = vector.map_err(|_| Error::NoVectors)?.data_type().clone();
        warn_of_dropped_columns(&stored, &input.stream);
        let settings = metadata.chain.first();
        let settings = settings.and_then(|stage| stage.extra.get(tool::SETTINGS)?.as_str());
        let mut gatherer = Gatherer::new(settings, options.limits);
        let dim = self.chunks.model().dim;
        let outcome = loop {
            match input.next_batch() {
                Ok(Some(batch)) => {
                    let full = gatherer.push(&with_vectors_as(&batch, &vector_type)?, dim);
                    // What is complete is kept, whatever comes after it.
                    let (full, error) = match full {
                        Ok(full) => (full, None),
                        Err(error) => (Vec::new(), Some(error)),
                    };
                    for step in full {
                        self.commit(step)?;
                    }
                    self.show(input);
                    if let Some(error) = error {
                        break Err(error);
                    }
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(Error::Stream(error)),
            }
        };
        for step in gatherer.finish(outcome.is_ok()) {
            self.commit(step)?;
        }
        Ok(outcome)
    }

    /// Shows how much of the stream has come.
    fn show(&self, input: &Intake) {
        if let Some(progress) = &self.progress {
            progress.update(Shown {
                files: input.count.files,
                chunks: input.count.chunks,
                tokens: None,
            });
        }
    }

    /// Starts to write a step's rows and to commit it, when few enough others are being written.
    fn commit(&mut self, mut step: Step) -> Result<(), Error> {
        self.make_room()?;
        let entries = std::mem::take(&mut step.entries);
        let put_files = step.put_files;
        let is_again = self.bring(&entries)?;
        self.files += put_files;
        self.rows += step.rows;
        let (written, is_written) = oneshot::channel();
        let (committed, is_committed) = oneshot::channel();
        let turn = Turn {
            after: self
                .pending
                .back_mut()
                .and_then(|last| last.committed.take()),
            written,
            committed,
        };
        let lane = meter::task("commit", step.rows);
        let chunks = self.chunks.clone();
        let task = match &mut self.whole {
            Some(whole) => {
                whole.files.extend(std::mem::take(&mut step.files));
                let write = async move {
                    let _lane = lane;
                    chunks.write(step).await.map(Done::Written)
                };
                self.runtime.spawn(write)
            }
            None => {
                if is_again {
                    // What the manifest says of a file is entered in the order of its steps.
                    self.wait()?;
                }
                if let Some(mark) = &mut self.mark {
                    self.runtime.block_on(mark.add(0))?;
                }
                let stale = self.ledger.begin(&entries)? || is_again;
                let commit = async move {
                    let _lane = lane;
                    commit(chunks, step, stale, turn).await
                };
                self.runtime.spawn(commit)
            }
        };
        self.pending.push_back(Pending {
            task,
            written: is_written,
            committed: Some(is_committed),
            put_files,
            entries,
        });
        Ok(())
    }

    /// Waits until the rows of one step at most are being written, and two steps at most are not
    /// committed yet.
    fn make_room(&mut self) -> Result<(), Error> {
        // A lease is confirmed before a step is written, and its commit is not to come much later.
        let is_local = self.folder.local().is_some();
        if !is_local || self.whole.is_some() {
            return self.wait();
        }
        // Each is waited for once, when it is the last but one.
        let before = self.pending.len().checked_sub(WRITING);
        if let Some(earlier) = before.and_then(|at| self.pending.get_mut(at)) {
            meter::idle();
            let written = self.runtime.block_on(&mut earlier.written);
            meter::work("gather");
            if written.is_err() {
                return self.wait();
            }
        }
        while self.pending.len() > WRITING {
            self.enter()?;
        }
        Ok(())
    }

    /// Notes which files a step brings, and makes sure of the right to write them. Tells whether
    /// the stream brought one of them before.
    fn bring(&mut self, entries: &[(FileName, Option<Entry>)]) -> Result<bool, Error> {
        let mut is_again = false;
        for (FileName { repo, path }, _) in entries {
            self.runtime.block_on(self.right.add(repo))?;
            if !self.seen.insert((repo.clone(), path.clone())) {
                if self.whole.is_some() {
                    let name = format!("{repo}/{path}");
                    return Err(Error::Again(name));
                }
                is_again = true;
            }
        }
        self.runtime.block_on(self.right.confirm())?;
        Ok(is_again)
    }

    /// Waits for the steps under way.
    fn wait(&mut self) -> Result<(), Error> {
        while !self.pending.is_empty() {
            self.enter()?;
        }
        Ok(())
    }

    /// Waits for the first of the steps under way, and enters it in the manifest.
    fn enter(&mut self) -> Result<(), Error> {
        let Some(pending) = self.pending.pop_front() else {
            return Ok(());
        };
        let Pending {
            task,
            put_files,
            entries,
            ..
        } = pending;
        let path = self.folder.path();
        meter::idle();
        let done = self.runtime.block_on(task);
        meter::work("gather");
        match done.map_err(|error| Error::damaged(path, error))?? {
            Done::Committed(removed) => {
                self.removed += removed;
                self.ledger.commit(entries)?;
                self.confirm_table()?;
                if let Some(mark) = &mut self.mark {
                    self.runtime.block_on(mark.add(put_files))?;
                }
            }
            Done::Written(fragments) => {
                let whole = self.whole.get_or_insert_default();
                whole.fragments.extend(fragments);
                whole.entries.extend(entries);
            }
        }
        Ok(())
    }

    /// Makes sure that the table written to is the one that readers see.
    fn confirm_table(&self) -> Result<(), Error> {
        if self.replaces.is_none()
            && self.runtime.block_on(self.folder.table())? != self.chunks.name()
        {
            return Err(Error::Rebuilt(self.folder.path().to_owned()));
        }
        Ok(())
    }

    /// Removes stored files that the stream did not bring.
    fn forget(&mut self, files: Vec<FileName>) -> Result<(), Error> {
        if files.is_empty() {
            return Ok(());
        }
        self.commit(Step::forget(files))?;
        self.wait()
    }

    /// Makes visible what waits for the seal.
    fn commit_whole(&mut self) -> Result<(), Error> {
        let Some(whole) = self.whole.take() else {
            return Ok(());
        };
        let Whole {
            files,
            fragments,
            entries,
        } = whole;
        if entries.is_empty() {
            return Ok(());
        }
        self.runtime.block_on(self.right.confirm())?;
        let stale = self.ledger.begin(&entries)?;
        let replaced = self.chunks.replace(&files, fragments, stale);
        self.removed += self.runtime.block_on(replaced)?;
        self.ledger.commit(entries)?;
        self.confirm_table()
    }

    /// Records where the rows are from, brings the indexes up to date, and says in the manifest
    /// that all this is what it describes.
    fn finish(&mut self, metadata: &StreamMetadata, sealed: bool) -> Result<(), Error> {
        self.progress = None;
        let steps = Steps::start();
        steps.begin("bringing the indexes up to date");
        meter::work("index");
        self.commit_whole()?;
        let upkeep = Upkeep {
            made_rows: self.rows > 0,
            // Of a broken pipeline nobody waits for the last stage; the next run has them made.
            indexes: sealed,
        };
        let is_part = Scope::of(&metadata.chain) == Some(Scope::Part);
        let (chunks, folder) = (&self.chunks, self.folder);
        self.runtime.block_on(async {
            let mut right = lock::maintenance(folder, self.lease).await?;
            let ledger = self.replaces.is_none().then_some(&mut self.ledger);
            let tidied = match refresh(chunks, metadata, upkeep).await {
                Ok(()) => tidy(chunks, ledger).await,
                failed => failed,
            };
            right.end().await;
            tidied?;
            if let Some(replaced) = &self.replaces {
                replaced.replace_by(chunks).await?;
                return mark::settle(folder, None, |_| true).await;
            }
            if sealed && !is_part {
                let is_brought = |repo: &_| metadata.repos.contains(repo);
                mark::settle(folder, self.mark.as_ref(), is_brought).await?;
            }
            match self.mark.take() {
                Some(mark) => mark.end(sealed).await,
                None => Ok(()),
            }
        })
    }

    /// Leaves the store as it was, where nobody has seen anything yet.
    fn abandon(&mut self) -> Result<(), Error> {
        let mut left = self.whole.take().unwrap_or_default().fragments;
        for pending in self.pending.drain(..) {
            // Its files are not to come after what follows.
            if let Ok(Ok(Done::Written(fragments))) = self.runtime.block_on(pending.task) {
                left.extend(fragments);
            }
        }
        self.runtime.block_on(self.chunks.discard(&left))?;
        if self.replaces.is_some() {
            let dropped = rebuild::drop_table(self.folder, self.chunks.name());
            self.runtime.block_on(dropped)?;
        }
        Ok(())
    }
}

/// Says in the manifest that it describes the table as it is, and only then removes old versions:
/// whenever the process dies, the manifest names a version that is there.
async fn tidy(chunks: &Chunks, ledger: Option<&mut Ledger>) -> Result<(), Error> {
    if let Some(ledger) = ledger {
        ledger.finish(chunks).await?;
    }
    index::prune_due(chunks).await
}

/// What is due after the rows.
#[derive(Clone, Copy, Debug)]
struct Upkeep {
    /// Whether there are new rows, whose origin is to be recorded.
    made_rows: bool,
    /// Whether the indexes are brought up to date.
    indexes: bool,
}

/// Records where rows are from, and brings the indexes up to date. What another process commits
/// meanwhile can undo that for the fragments that it touches.
async fn refresh(chunks: &Chunks, metadata: &StreamMetadata, upkeep: Upkeep) -> Result<(), Error> {
    for attempt in 1.. {
        chunks.reload().await?;
        let done = match chunks.record(metadata, upkeep.made_rows).await {
            Ok(()) if upkeep.indexes => index::refresh(chunks).await,
            recorded => recorded,
        };
        match done {
            Err(error) if error.is_conflict() && attempt < ATTEMPTS => {
                log::debug!("another process committed first: {error}");
            }
            done => return done,
        }
    }
    Ok(())
}

/// Marks the store as incomplete for the time of a run, whose mark takes the place of those of
/// earlier ones that were to bring the same.
async fn begin_mark(folder: &Folder, metadata: &StreamMetadata) -> Result<Mark, Error> {
    mark::bury(folder, &metadata.repos).await?;
    let mark = Mark::begin(folder, metadata).await?;
    // Of a list of files nothing follows for the rest of a repository.
    if mark.is_on_disk() && Scope::of(&metadata.chain) != Some(Scope::Part) {
        mark::settle(folder, Some(&mark), |repo| metadata.repos.contains(repo)).await?;
    }
    Ok(mark)
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
