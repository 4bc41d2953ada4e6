//! Steps under way: their rows are written concurrently, and committed one after the other.
//!
//! A full step goes to a task, which writes its rows and commits them once the previous step is
//! committed. So a commit waits for the disk while the rows of the next two steps are written, each
//! on one core, and another step is gathered. In an object store a step is committed before the
//! next one is written, so that a lease was confirmed shortly before.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use cs_common::manifest::Entry;
use cs_common::meter;
use lance::table::format::Fragment;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::Error;
use crate::step::{FileName, Step};
use crate::table::Chunks;

/// Steps whose rows are written at the same time: one of them keeps one core busy, and no more.
const WRITING: usize = 2;

/// Steps under way, in their order.
#[derive(Debug)]
pub(crate) struct Queue {
    /// The store's, for what is to be said of it.
    path: PathBuf,
    steps: VecDeque<Pending>,
}

/// A step under way.
#[derive(Debug)]
struct Pending {
    task: JoinHandle<Result<Done, Error>>,
    /// Comes when its rows are written, and never if that fails.
    written: oneshot::Receiver<()>,
    /// Comes when it is committed, for the step after it.
    committed: Option<oneshot::Receiver<()>>,
    brought: Brought,
}

/// What the files of a step are.
#[derive(Debug)]
pub(crate) struct Brought {
    /// Files that have new rows.
    pub(crate) put_files: usize,
    /// What the manifest is to know of the files.
    pub(crate) entries: Vec<(FileName, Option<Entry>)>,
}

/// What happens to a step's rows when they are written.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Then {
    /// Nobody sees them yet.
    Keep,
    /// They take the place of what is stored of their files, of which there is some at most if
    /// that is `stale`.
    Replace { stale: bool },
}

/// What became of a step's rows.
#[derive(Debug)]
pub(crate) enum Done {
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

impl Queue {
    /// Returns an empty queue of a store's steps.
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            steps: VecDeque::new(),
        }
    }

    /// Starts to write a step's rows, and what follows.
    pub(crate) fn start(
        &mut self,
        runtime: &Runtime,
        chunks: &Chunks,
        (step, brought): (Step, Brought),
        then: Then,
    ) {
        let (written, is_written) = oneshot::channel();
        let (committed, is_committed) = oneshot::channel();
        let last = self.steps.back_mut();
        let turn = Turn {
            after: last.and_then(|last| last.committed.take()),
            written,
            committed,
        };
        let lane = meter::task("commit", step.rows);
        let chunks = chunks.clone();
        let work = async move {
            let _lane = lane;
            match then {
                Then::Keep => chunks.write(step).await.map(Done::Written),
                Then::Replace { stale } => replace(chunks, step, stale, turn).await,
            }
        };
        self.steps.push_back(Pending {
            task: runtime.spawn(work),
            written: is_written,
            committed: Some(is_committed),
            brought,
        });
    }

    /// Waits until there is room for the rows of one more step. Tells whether all that was waited
    /// for went well.
    pub(crate) fn make_room(&mut self, runtime: &Runtime) -> bool {
        // Each is waited for once, when it is the last but one.
        let before = self.steps.len().checked_sub(WRITING);
        match before.and_then(|at| self.steps.get_mut(at)) {
            Some(earlier) => idle(|| runtime.block_on(&mut earlier.written)).is_ok(),
            None => true,
        }
    }

    /// Tells whether there are more steps than are written at the same time.
    pub(crate) fn is_long(&self) -> bool {
        self.steps.len() > WRITING
    }

    /// Waits for the first step; `None` if there is none.
    pub(crate) fn first(&mut self, runtime: &Runtime) -> Option<(Result<Done, Error>, Brought)> {
        let Pending { task, brought, .. } = self.steps.pop_front()?;
        let done = idle(|| runtime.block_on(task));
        let done = done.map_err(|error| Error::damaged(&self.path, error));
        Some((done.flatten(), brought))
    }
}

/// Writes a step's rows, and commits it after the step before.
async fn replace(chunks: Chunks, mut step: Step, stale: bool, turn: Turn) -> Result<Done, Error> {
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

/// Waits for something, and lets the clock know.
fn idle<T>(wait: impl FnOnce() -> T) -> T {
    meter::idle();
    let done = wait();
    meter::work("gather");
    done
}
