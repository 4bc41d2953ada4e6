//! Parses files on many threads and writes their chunks in order.
//!
//! Workers take files by number from a shared counter and send what they made to the
//! calling thread, which puts it back in order and writes. A worker that is far ahead
//! of the writer waits: the output pipe is the only queue, and what is held between a
//! slow file and the fast ones after it is bounded by [`AHEAD`].

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvError, Sender};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use cs_common::meter;
use cs_common::progress::{Done, Progress};
use cs_common::report::{Count, Figures, Report};
use cs_common::rows::{BatchBuilder, Chunk, FileInfo, Rows};
use cs_common::stream::StreamWriter;
use log::{debug, warn};

use crate::Error;
use crate::file::{self, Outcome, Parsed, Settings, Unread};
use crate::left_out::Reason;
use crate::since::Job;
use crate::walk::Entry;

/// Bytes of files that may be parsed or waiting at a time, beyond one file.
const AHEAD: u64 = 8 << 20;

/// What an entry counts for besides its bytes, so that empty files are bounded too.
const ENTRY_WEIGHT: u64 = 1024;

/// Bytes of a file from which it may take the parser longer than rows should wait.
const LONG_FILE: u64 = 128 << 10;

/// Stack of a parser thread, in bytes; opening nested definitions recurses.
const STACK: usize = 8 << 20;

/// Where the chunks go.
#[derive(Debug)]
pub(crate) struct Sink {
    pub(crate) writer: StreamWriter,
    /// What shows how far the work is, if anything does.
    pub(crate) progress: Option<Progress>,
    pub(crate) figures: Figures,
    /// Whether the stream ends without this stage's report.
    pub(crate) no_report: bool,
}

/// What was done.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    pub(crate) chunks: u64,
    /// Files of which a store is told to forget all.
    pub(crate) deleted: u64,
    /// Files that were read and found as they were.
    pub(crate) unchanged: u64,
    /// Files that could not be read.
    pub(crate) unread: usize,
    /// Files of a language with a grammar that were cut by lines.
    pub(crate) by_lines: usize,
    /// Files left out for what their text says.
    pub(crate) left_out: BTreeMap<Reason, usize>,
}

type Parcel = (usize, Result<Outcome, Unread>);

/// Does the jobs on `threads` threads and writes and seals the stream.
pub(crate) fn run(
    jobs: &[Job],
    settings: &Settings,
    threads: usize,
    sink: Sink,
) -> Result<Summary, Error> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .stack_size(STACK)
        .thread_name(|index| format!("parse-{index}"))
        .build()
        .map_err(|source| Error::Threads { threads, source })?;
    let window = Window::new(jobs);
    let next = AtomicUsize::new(0);
    let meter = sink.figures.meter.clone();
    pool.in_place_scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        for number in 1..=threads {
            let sender = sender.clone();
            let (window, next, meter) = (&window, &next, &meter);
            scope.spawn(move |_| {
                let _entered = meter.lane(&format!("parse {number}")).enter();
                work(jobs, settings, window, next, &sender);
            });
        }
        drop(sender);
        let _guard = CloseOnPanic(&window);
        let output = Output {
            jobs,
            settings,
            sink,
            batch: BatchBuilder::default(),
            count: Count::default(),
            summary: Summary::default(),
        };
        let result = output.write_all(&receiver, &window);
        // However the writing ended, the workers must not wait for it any longer.
        window.close();
        result
    })
}

/// Does jobs until there are none left or nobody wants them.
fn work(
    jobs: &[Job],
    settings: &Settings,
    window: &Window,
    next: &AtomicUsize,
    sender: &Sender<Parcel>,
) {
    let _guard = CloseOnPanic(window);
    loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        let Some(job) = jobs.get(index) else {
            break;
        };
        let Job::File { entry, stored } = job else {
            continue;
        };
        meter::idle();
        if !window.wait_for(index) {
            break;
        }
        meter::work("parse");
        let outcome = file::parse(entry, stored.as_ref(), settings, &|| window.is_closed());
        if sender.send((index, outcome)).is_err() {
            break;
        }
    }
}

struct Output<'a> {
    jobs: &'a [Job],
    settings: &'a Settings,
    sink: Sink,
    batch: BatchBuilder,
    /// What was written.
    count: Count,
    summary: Summary,
}

impl Output<'_> {
    /// Writes the parcels in order as they come, and the seal.
    ///
    /// Batches are cut by their bytes, and before each file that may take the parser long, so
    /// that no row waits for it. Neither depends on the time that anything takes.
    fn write_all(mut self, receiver: &Receiver<Parcel>, window: &Window) -> Result<Summary, Error> {
        let mut early: HashMap<usize, Result<Outcome, Unread>> = HashMap::new();
        let mut index = 0;
        loop {
            while let Some(job) = self.jobs.get(index) {
                if job.size() >= LONG_FILE {
                    self.flush()?;
                }
                match job {
                    Job::Gone { .. } => self.delete(job)?,
                    Job::File { entry, stored } => match early.remove(&index) {
                        Some(outcome) => self.file(job, entry, stored.is_some(), outcome)?,
                        None => break,
                    },
                }
                index += 1;
                window.advance(index);
            }
            if index == self.jobs.len() {
                break;
            }
            meter::idle();
            let parcel = receiver.recv();
            meter::work("gather");
            match parcel {
                Ok((number, outcome)) => {
                    early.insert(number, outcome);
                }
                // A worker panicked: no seal, and the scope passes its panic on.
                Err(RecvError) => return Ok(self.summary),
            }
        }
        self.flush()?;
        self.seal()
    }

    /// Writes this stage's report, and the seal.
    fn seal(self) -> Result<Summary, Error> {
        let Sink {
            mut writer,
            figures,
            no_report,
            ..
        } = self.sink;
        let (tool, version) = (crate::TOOL, crate::VERSION);
        let mut report = Report::new(tool, version, &figures.meter, &self.count);
        report.bytes_in = self.summary.bytes;
        if !no_report {
            writer.report(&report)?;
        }
        writer.finish()?;
        figures.tell(&[report]);
        Ok(self.summary)
    }

    fn delete(&mut self, job: &Job) -> Result<(), Error> {
        let (root, path) = job.key();
        let repo = self.settings.repos.get(root).map_or("", String::as_str);
        self.batch.delete(repo, path);
        self.summary.deleted += 1;
        self.flush_if_due()
    }

    fn file(
        &mut self,
        job: &Job,
        entry: &Entry,
        is_stored: bool,
        outcome: Result<Outcome, Unread>,
    ) -> Result<(), Error> {
        match outcome {
            Ok(Outcome::Parsed(parsed)) => {
                if is_stored {
                    self.delete(job)?;
                    // It is not gone, it is replaced.
                    self.summary.deleted -= 1;
                }
                if let Some(cause) = parsed.by_lines {
                    warn!("{}: {cause}", entry.path);
                    self.summary.by_lines += 1;
                }
                self.chunks(entry, &parsed)
            }
            Ok(Outcome::Unchanged) => {
                self.summary.unchanged += 1;
                Ok(())
            }
            Ok(Outcome::LeftOut(reason)) => {
                debug!("{}: {reason}, left out", entry.path);
                *self.summary.left_out.entry(reason).or_default() += 1;
                if is_stored { self.delete(job) } else { Ok(()) }
            }
            Err(cause) => {
                warn!("{}: {cause}", entry.path);
                self.summary.unread += 1;
                match cause {
                    Unread::Io(error) if error.kind() == io::ErrorKind::NotFound && is_stored => {
                        self.delete(job)
                    }
                    // What a store has of it may still be right.
                    _ => Ok(()),
                }
            }
        }
    }

    fn chunks(&mut self, entry: &Entry, parsed: &Parsed) -> Result<(), Error> {
        let repos = &self.settings.repos;
        let info = FileInfo {
            repo: repos.get(entry.root).map_or("", String::as_str),
            path: &entry.path,
            project: entry.project.as_deref(),
            language: parsed.language,
            file_hash: Some(&parsed.hash),
            file_size: Some(parsed.size),
            file_mtime_ns: parsed.mtime_ns,
        };
        for chunk in &parsed.chunks {
            let piece = &chunk.piece;
            let parent = piece.parent.and_then(|parent| parsed.chunks.get(parent));
            let info = FileInfo {
                language: piece.language.or(info.language),
                ..info
            };
            self.batch.put(
                &info,
                &Chunk {
                    chunk_id: &chunk.id,
                    content_hash: &chunk.content_hash,
                    parent_id: parent.map(|parent| parent.id.as_str()),
                    kind: piece.kind,
                    name: piece.name.as_deref(),
                    symbol: piece.symbol.as_deref(),
                    signature: piece.signature.as_deref(),
                    doc: piece.doc.as_deref(),
                    start_line: piece.lines.0,
                    end_line: piece.lines.1,
                    start_byte: u64::try_from(piece.bytes.start).unwrap_or(u64::MAX),
                    end_byte: u64::try_from(piece.bytes.end).unwrap_or(u64::MAX),
                    content: &chunk.content,
                },
            );
            self.summary.chunks += 1;
            self.flush_if_due()?;
        }
        self.summary.files += 1;
        self.summary.bytes += parsed.size;
        if let Some(progress) = &self.sink.progress {
            progress.update(Done {
                files: self.summary.files,
                chunks: self.summary.chunks,
                tokens: None,
            });
        }
        Ok(())
    }

    fn flush_if_due(&mut self) -> Result<(), Error> {
        if self.batch.is_due() {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        if !self.batch.is_empty() {
            let batch = self.batch.finish()?;
            meter::batch("write", batch.num_rows());
            self.sink.writer.write(&batch)?;
            self.count.add(&Rows::new(&batch)?);
            meter::work("gather");
        }
        Ok(())
    }
}

/// Which files may be worked on: those within [`AHEAD`] of the next one to write.
struct Window {
    /// The weight of all entries before each index.
    before: Vec<u64>,
    next_to_write: Mutex<usize>,
    /// Set while the mutex is held, so that no waiting worker misses it.
    closed: AtomicBool,
    moved: Condvar,
}

impl Window {
    fn new(jobs: &[Job]) -> Self {
        let mut before = Vec::with_capacity(jobs.len() + 1);
        let mut sum = 0;
        before.push(sum);
        for job in jobs {
            sum += job.size() + ENTRY_WEIGHT;
            before.push(sum);
        }
        Window {
            before,
            next_to_write: Mutex::new(0),
            closed: AtomicBool::new(false),
            moved: Condvar::new(),
        }
    }

    /// Waits until the file may be worked on; false if it is not wanted any more.
    fn wait_for(&self, index: usize) -> bool {
        let next = self.lock();
        let next = self.moved.wait_while(next, |next| {
            !self.is_closed() && !self.is_near(*next, index)
        });
        drop(next);
        !self.is_closed()
    }

    fn is_near(&self, next: usize, index: usize) -> bool {
        let weight_before = |index: usize| self.before.get(index).copied().unwrap_or(u64::MAX);
        index <= next || weight_before(index + 1) - weight_before(next) <= AHEAD
    }

    fn advance(&self, next_to_write: usize) {
        *self.lock() = next_to_write;
        self.moved.notify_all();
    }

    fn close(&self) {
        let next = self.lock();
        self.closed.store(true, Ordering::Relaxed);
        drop(next);
        self.moved.notify_all();
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        // A number is whole whatever the thread that held it did.
        self.next_to_write
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes the window if its thread panics, so that no other thread waits for it.
struct CloseOnPanic<'a>(&'a Window);

impl Drop for CloseOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.close();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::path::Path;
    use std::sync::Arc;

    use cs_common::report::MeterArgs;
    use cs_common::rows::chunk_schema;
    use cs_common::stream::Format;

    use super::*;
    use crate::walk::Filter;

    /// A sink that can be looked at afterwards, and that closes after some bytes.
    #[derive(Clone)]
    struct Shared {
        bytes: Arc<Mutex<Vec<u8>>>,
        capacity: usize,
    }

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut written = self.bytes.lock().unwrap();
            if written.len() + bytes.len() > self.capacity {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            written.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn parse(jobs: &[Job], threads: usize, capacity: usize) -> (Result<Summary, Error>, String) {
        let sink = Shared {
            bytes: Arc::default(),
            capacity,
        };
        let schema = cs_common::metadata::StreamMetadata::default().apply(chunk_schema());
        let boxed = Box::new(sink.clone());
        let writer = StreamWriter::new(Format::Jsonl, &schema, boxed).unwrap();
        let settings = Settings {
            repos: vec!["r".to_owned()],
            max_chunk_bytes: 512,
            filter: filter(),
            named: vec![false],
        };
        let sink_of = Sink {
            writer,
            progress: None,
            figures: Figures::start(&MeterArgs::default(), "cs-parse").unwrap(),
            no_report: true,
        };
        let result = run(jobs, &settings, threads, sink_of);
        let bytes = sink.bytes.lock().unwrap().clone();
        (result, String::from_utf8(bytes).unwrap())
    }

    /// Makes files of very different size, so that threads finish out of order.
    fn files(folder: &Path, count: usize) -> Vec<Job> {
        for number in 0..count {
            let functions = if number % 7 == 0 { 300 } else { 2 };
            let source: String = (0..functions)
                .map(|function| format!("fn f{function}() {{ call({number}); }}\n\n"))
                .collect();
            std::fs::write(folder.join(format!("{number:03}.rs")), source).unwrap();
        }
        let roots = crate::repos::from_paths(&[folder.to_owned()], None).unwrap();
        let mut listing = crate::walk::list(&roots, &filter(), 1).unwrap();
        crate::since::plan(&mut listing, &roots, None, "").jobs
    }

    fn filter() -> Filter {
        Filter {
            max_file_size: 1 << 20,
            ..Filter::default()
        }
    }

    #[test]
    fn the_stream_does_not_depend_on_the_number_of_threads() {
        let folder = tempfile::tempdir().unwrap();
        let entries = files(folder.path(), 40);
        let (summary, alone) = parse(&entries, 1, usize::MAX);
        assert_eq!(summary.unwrap().files, 40);
        assert!(alone.ends_with("{\"op\":\"end\"}\n"), "not sealed");
        for threads in [2, 5] {
            assert!(parse(&entries, threads, usize::MAX).1 == alone, "{threads}");
        }
    }

    #[test]
    fn a_file_that_is_gone_is_counted_and_the_rest_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let entries = files(folder.path(), 3);
        std::fs::remove_file(folder.path().join("001.rs")).unwrap();
        let (summary, text) = parse(&entries, 2, usize::MAX);
        let summary = summary.unwrap();
        assert_eq!((summary.files, summary.unread), (2, 1));
        assert!(text.contains("002.rs") && text.ends_with("{\"op\":\"end\"}\n"));
    }

    #[test]
    fn a_sink_that_fails_ends_all_threads_without_a_seal() {
        let folder = tempfile::tempdir().unwrap();
        let entries = files(folder.path(), 40);
        let (result, text) = parse(&entries, 4, 20_000);
        assert!(matches!(result, Err(Error::Stream(_))), "{result:?}");
        assert!(!text.contains("\"op\":\"end\""));
    }

    #[test]
    fn a_worker_waits_until_it_is_near_the_writer() {
        let jobs: Vec<Job> = (0..4)
            .map(|number| Job::File {
                entry: Entry {
                    root: 0,
                    file: format!("{number}").into(),
                    path: format!("{number}"),
                    project: None,
                    size: AHEAD / 2 - ENTRY_WEIGHT,
                    mtime_ns: None,
                },
                stored: None,
            })
            .collect();
        let window = Window::new(&jobs);
        let near: Vec<bool> = (0..4).map(|index| window.is_near(0, index)).collect();
        assert_eq!(near, [true, true, false, false]);
        window.close();
        assert!(!window.wait_for(3));
    }
}
