//! Writing a stream: Arrow IPC or JSON Lines, sealed only by an explicit end.

use std::fmt;
use std::io::{BufWriter, IsTerminal as _, Write};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};

use crate::report::Report;
use crate::rows::report_row;
use crate::watch::Watch;
use crate::{Error, jsonl, pipe};

/// The two forms that a stream has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Arrow IPC stream, for the next stage, pyarrow or DuckDB
    #[default]
    Arrow,
    /// JSON Lines, for jq and people
    Jsonl,
}

/// Writes batches to a sink, each at once; without [`finish`](Self::finish) the stream is unsealed.
///
/// A stage that fails just drops its writer, and the stage behind it knows.
pub struct StreamWriter {
    inner: Inner,
    /// Of standard output alone.
    watch: Option<Watch>,
    schema: SchemaRef,
}

enum Inner {
    Arrow(Box<arrow_ipc::writer::StreamWriter<BufWriter<Box<dyn Write + Send>>>>),
    Jsonl(jsonl::Writer<BufWriter<Box<dyn Write + Send>>>),
}

impl fmt::Debug for StreamWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamWriter").finish_non_exhaustive()
    }
}

impl StreamWriter {
    /// Starts a stream of `schema`, metadata included, on standard output. Until the stream is
    /// sealed, the process ends soon after the reader of a pipe is gone, whatever it does then.
    ///
    /// # Errors
    /// [`Error::BinaryToTerminal`] for Arrow onto a terminal, and those of [`write`](Self::write).
    pub fn stdout(format: Format, schema: &Schema) -> Result<Self, Error> {
        refuse_terminal(format)?;
        let stdout = pipe::stdout().map_err(Error::output)?;
        let watch = Watch::start(&stdout).map_err(Error::output)?;
        let writer = Self::new(format, schema, Box::new(stdout))?;
        Ok(Self { watch, ..writer })
    }

    /// Starts a stream of `schema`, metadata included, on any sink.
    ///
    /// # Errors
    /// Those of [`write`](Self::write).
    pub fn new(
        format: Format,
        schema: &Schema,
        sink: Box<dyn Write + Send>,
    ) -> Result<Self, Error> {
        let sink = BufWriter::with_capacity(1 << 16, sink);
        let inner = match format {
            Format::Arrow => Inner::Arrow(Box::new(
                arrow_ipc::writer::StreamWriter::try_new(sink, schema)
                    .map_err(Error::arrow_output)?,
            )),
            Format::Jsonl => Inner::Jsonl(jsonl::Writer::new(sink, schema)?),
        };
        let mut writer = Self {
            inner,
            watch: None,
            schema: Arc::new(schema.clone()),
        };
        // The next stage learns the totals and the model before the first row is made.
        writer.flush()?;
        Ok(writer)
    }

    /// Writes a batch and flushes it to the sink.
    ///
    /// # Errors
    /// [`Error::StdoutClosed`] if the reader is gone, [`Error::Output`] for all else.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        match &mut self.inner {
            Inner::Arrow(writer) => writer.write(batch).map_err(Error::arrow_output)?,
            Inner::Jsonl(writer) => writer.write(batch)?,
        }
        self.flush()
    }

    /// Writes a stage's figures: the last thing before the seal.
    ///
    /// # Errors
    /// Those of [`write`](Self::write).
    pub fn report(&mut self, report: &Report) -> Result<(), Error> {
        let row = report_row(&self.schema, &report.to_json())?;
        self.write(&row)
    }

    /// Seals the stream: all rows that were due have been written.
    ///
    /// # Errors
    /// Those of [`write`](Self::write).
    pub fn finish(mut self) -> Result<(), Error> {
        match &mut self.inner {
            Inner::Arrow(writer) => writer.finish().map_err(Error::arrow_output)?,
            Inner::Jsonl(writer) => writer.finish()?,
        }
        self.flush()?;
        self.watch = None;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        match &mut self.inner {
            Inner::Arrow(writer) => writer.flush().map_err(Error::arrow_output),
            Inner::Jsonl(writer) => writer.flush(),
        }
    }
}

/// Refuses to put binary data onto a terminal; a tool calls it before any work.
///
/// # Errors
/// [`Error::BinaryToTerminal`].
pub fn refuse_terminal(format: Format) -> Result<(), Error> {
    if format == Format::Arrow && std::io::stdout().is_terminal() {
        return Err(Error::BinaryToTerminal);
    }
    Ok(())
}

/// Writes text that is no stream to standard output.
///
/// # Errors
/// Those of [`StreamWriter::write`].
pub fn print(text: &[u8]) -> Result<(), Error> {
    let mut stdout = pipe::stdout().map_err(Error::output)?;
    stdout.write_all(text).map_err(Error::output)
}
