//! The run of the storing stage: reads a stream and commits it, behind the reading.
//!
//! While a step is gathered, the rows of the two before are written, and the one before those is
//! committed, which is waiting for the disk.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use arrow_schema::Schema;
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

use crate::folder::{Folder, Location};
use crate::intake::Intake;
use crate::ledger::Ledger;
use crate::lock::{REBUILD, Writing};
use crate::mark::{self, Incomplete, Mark};
use crate::queue::{Brought, Done, Queue, Then};
use crate::rebuild;
use crate::runs::{Ending, Kind, Record};
use crate::step::{FileKey, FileName, Gatherer, Limits, Step};
use crate::table::Chunks;
use crate::upkeep::Upkeep;
use crate::vectors::{check_type, with_vectors_as};
use crate::{Error, lock, runtime};

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
    seen: HashSet<FileKey>,
    queue: Queue,
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
            queue: Queue::new(folder.path()),
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
        let brought = Brought {
            put_files: step.put_files,
            entries: std::mem::take(&mut step.entries),
        };
        let is_again = self.bring(&brought.entries)?;
        self.files += brought.put_files;
        self.rows += step.rows;
        let then = match &mut self.whole {
            Some(whole) => {
                whole.files.extend(std::mem::take(&mut step.files));
                Then::Keep
            }
            None => {
                if is_again {
                    // What the manifest says of a file is entered in the order of its steps.
                    self.wait()?;
                }
                if let Some(mark) = &mut self.mark {
                    self.runtime.block_on(mark.add(0))?;
                }
                let stale = self.ledger.begin(&brought.entries)? || is_again;
                Then::Replace { stale }
            }
        };
        let step = (step, brought);
        self.queue.start(self.runtime, &self.chunks, step, then);
        Ok(())
    }

    /// Waits until the rows of few enough steps are being written, and few enough are not committed
    /// yet.
    fn make_room(&mut self) -> Result<(), Error> {
        // A lease is confirmed before a step is written, and its commit is not to come much later.
        let is_local = self.folder.local().is_some();
        if !is_local || self.whole.is_some() || !self.queue.make_room(self.runtime) {
            return self.wait();
        }
        while self.queue.is_long() {
            self.enter()?;
        }
        Ok(())
    }

    /// Notes which files a step brings, and makes sure of the right to write them. Tells whether
    /// the stream brought one of them before.
    fn bring(&mut self, entries: &[(FileName, Option<Entry>)]) -> Result<bool, Error> {
        let mut is_again = false;
        for (file, _) in entries {
            self.runtime.block_on(self.right.add(&file.repo))?;
            if !self.seen.insert(file.key()) {
                if self.whole.is_some() {
                    return Err(Error::Again(format!("{}/{}", file.repo, file.path)));
                }
                is_again = true;
            }
        }
        self.runtime.block_on(self.right.confirm())?;
        Ok(is_again)
    }

    /// Waits for the steps under way.
    fn wait(&mut self) -> Result<(), Error> {
        while self.enter()? {}
        Ok(())
    }

    /// Waits for the first of the steps under way, and enters it in the manifest. Tells whether
    /// there was one.
    fn enter(&mut self) -> Result<bool, Error> {
        let Some((done, brought)) = self.queue.first(self.runtime) else {
            return Ok(false);
        };
        match done? {
            Done::Committed(removed) => {
                self.removed += removed;
                self.ledger.commit(brought.entries)?;
                self.confirm_table()?;
                if let Some(mark) = &mut self.mark {
                    self.runtime.block_on(mark.add(brought.put_files))?;
                }
            }
            Done::Written(fragments) => {
                let whole = self.whole.get_or_insert_default();
                whole.fragments.extend(fragments);
                whole.entries.extend(brought.entries);
            }
        }
        Ok(true)
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
            let tidied = upkeep.run(chunks, metadata, ledger).await;
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
        while let Some((done, _)) = self.queue.first(self.runtime) {
            // Its files are not to come after what follows.
            if let Ok(Done::Written(fragments)) = done {
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
