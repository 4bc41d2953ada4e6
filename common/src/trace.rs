//! A stage's trace: what each of its threads did when, as Chrome's trace events.
//!
//! The file is the array form of the format, which chrome://tracing and Perfetto open without its
//! end as well. Events come from the changes of the lanes, and each is one `write`, so a killed
//! stage leaves all but the last ones. Small pieces of the same work are one event of up to 20 ms.
//! A batch is a separate event. A stage without `--trace` pays nothing.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use crate::Error;
use crate::meter::Doing;

/// Something that a thread did.
pub(crate) struct Event {
    pub(crate) lane: usize,
    pub(crate) doing: Doing,
    pub(crate) name: &'static str,
    /// Rows of the batch that it was, if it was one.
    pub(crate) rows: usize,
    /// Since 1970.
    pub(crate) began: Duration,
    pub(crate) took: Duration,
}

/// A file of events.
#[derive(Debug)]
pub(crate) struct Trace {
    path: PathBuf,
    file: Mutex<Out>,
}

#[derive(Debug)]
struct Out {
    /// Nothing once the trace has ended.
    file: Option<File>,
    /// What went wrong first.
    failed: Option<io::Error>,
}

impl Trace {
    /// Begins a file, whose events are those of a program.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be written.
    pub(crate) fn create(path: &Path, tool: &str) -> Result<Self, Error> {
        let fail = |source| Error::File {
            path: path.to_owned(),
            source,
        };
        let mut file = File::create(path).map_err(fail)?;
        let name = json!({
            "name": "process_name", "ph": "M", "pid": std::process::id(), "tid": 0,
            "args": {"name": tool},
        });
        file.write_all(format!("[\n{name}").as_bytes())
            .map_err(fail)?;
        Ok(Self {
            path: path.to_owned(),
            file: Mutex::new(Out {
                file: Some(file),
                failed: None,
            }),
        })
    }

    /// Names a thread.
    pub(crate) fn name_thread(&self, lane: usize, name: &str) {
        self.write(&json!({
            "name": "thread_name", "ph": "M", "pid": std::process::id(), "tid": lane,
            "args": {"name": name},
        }));
    }

    /// Writes an event.
    pub(crate) fn add(&self, event: &Event) {
        let category = match event.doing {
            Doing::Work | Doing::Idle => "work",
            Doing::WaitIn => "wait_in",
            Doing::WaitOut => "wait_out",
        };
        let args = match event.rows {
            0 => json!({}),
            rows => json!({"rows": rows}),
        };
        self.write(&json!({
            "name": event.name, "cat": category, "ph": "X",
            "ts": micros(event.began), "dur": micros(event.took),
            "pid": std::process::id(), "tid": event.lane, "args": args,
        }));
    }

    /// Ends the file.
    ///
    /// # Errors
    /// [`Error::File`] if some of it could not be written.
    pub(crate) fn end(&self) -> Result<(), Error> {
        let mut out = self.lock();
        if let Some(mut file) = out.file.take()
            && let Err(error) = file.write_all(b"\n]\n")
        {
            out.failed.get_or_insert(error);
        }
        match out.failed.take() {
            Some(source) => Err(Error::File {
                path: self.path.clone(),
                source,
            }),
            None => Ok(()),
        }
    }

    /// Writes an object at once and as a whole, so that a killed process leaves whole ones.
    fn write(&self, object: &Value) {
        let mut out = self.lock();
        if out.failed.is_none()
            && let Some(file) = &mut out.file
            && let Err(error) = file.write_all(format!(",\n{object}").as_bytes())
        {
            out.failed = Some(error);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Out> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns microseconds.
fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1000.0
}
