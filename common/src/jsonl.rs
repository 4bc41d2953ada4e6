//! The stream as JSON Lines: one object a row, for jq and people.
//!
//! A first line `{"op":"begin",…}` carries the schema metadata and the types of columns that the
//! contract does not know; a last line `{"op":"end"}` is the seal. Null values are left out.
//! Parsing is simd-json's, building of columns arrow-json's.

use std::collections::BTreeMap;
use std::io::{Read as _, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use arrow_json::reader::Decoder;
use arrow_json::writer::{LineDelimited, Writer as JsonWriter};
use arrow_json::{LineDelimitedWriter, ReaderBuilder};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use serde::{Deserialize, Serialize};
use simd_json::OwnedValue;
use simd_json::prelude::*;

use crate::Error;
use crate::metadata::{StreamMetadata, WIRE};
use crate::pipe::Input;
use crate::rows::{VECTOR, columns};

/// Longest line that is read, in bytes.
const MAX_LINE: usize = 64 << 20;

/// Bytes of lines after which a batch is complete.
const BATCH_BYTES: usize = 1 << 20;

/// How long lines that were read wait for more of a batch.
const BATCH_AGE: Duration = Duration::from_millis(200);

/// Bytes read at a time: what is read ahead of the batch at hand.
const READ_BYTES: usize = 1 << 16;

/// The first line of a stream.
#[derive(Debug, Serialize, Deserialize)]
struct Begin {
    op: String,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
    /// Arrow types, as arrow-rs displays them, of the columns beyond the contract's.
    #[serde(default)]
    columns: BTreeMap<String, String>,
}

/// Writes rows as lines.
pub(crate) struct Writer<W: Write> {
    lines: JsonWriter<W, LineDelimited>,
}

impl<W: Write> Writer<W> {
    /// Writes the first line.
    pub(crate) fn new(mut sink: W, schema: &Schema) -> Result<Self, Error> {
        let known: Vec<&str> = columns().map(|column| column.name).collect();
        let begin = Begin {
            op: "begin".to_owned(),
            metadata: schema.metadata().clone().into_iter().collect(),
            columns: schema
                .fields()
                .iter()
                .filter(|field| !known.contains(&field.name().as_str()))
                .map(|field| (field.name().clone(), field.data_type().to_string()))
                .collect(),
        };
        serde_json::to_writer(&mut sink, &begin).map_err(|error| Error::output(error.into()))?;
        sink.write_all(b"\n").map_err(Error::output)?;
        Ok(Self {
            lines: LineDelimitedWriter::new(sink),
        })
    }

    /// Writes a batch, a line a row.
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        self.lines.write(batch).map_err(Error::arrow_output)
    }

    /// Writes the seal.
    pub(crate) fn finish(&mut self) -> Result<(), Error> {
        self.lines.finish().map_err(Error::arrow_output)?;
        let sink = self.lines.get_mut();
        sink.write_all(b"{\"op\":\"end\"}\n").map_err(Error::output)
    }

    /// Hands all lines on to the sink.
    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        self.lines.get_mut().flush().map_err(Error::output)
    }
}

/// Reads lines as batches.
pub(crate) struct Reader {
    lines: Lines,
    schema: SchemaRef,
    decoder: Decoder,
    /// Rows read to learn the types of their columns, not yet handed out.
    first: Option<Rows>,
    sealed: bool,
}

/// Parsed lines that will be a batch, with the number of the first one.
struct Rows {
    line: u64,
    values: Vec<OwnedValue>,
}

impl Reader {
    /// Reads the first line, and the first rows where it does not name all columns' types.
    pub(crate) fn open(start: &[u8], file: Input) -> Result<Self, Error> {
        let mut lines = Lines::new(start, file);
        let mut line = lines.next_line()?.ok_or(Error::Unsealed)?.to_vec();
        let mut sealed = false;
        let mut first = None;
        let begin = match begin(&mut line.clone())? {
            Some(begin) => begin,
            None => {
                // Lines made by hand may start with the first row.
                let value = parse(&mut line, 1)?;
                let op = value.get_str("op").unwrap_or_default();
                if op == "end" {
                    sealed = true;
                    lines.expect_end()?;
                } else {
                    let mut rows = Rows {
                        line: 1,
                        values: vec![value],
                    };
                    sealed = lines.gather(&mut rows, line.len())?;
                    first = Some(rows);
                }
                Begin {
                    op: String::new(),
                    metadata: BTreeMap::from([("cs.wire".to_owned(), WIRE.to_owned())]),
                    columns: BTreeMap::new(),
                }
            }
        };
        let mut schema = declared(&begin)?;
        // A stream of another version may mean other things by its rows.
        StreamMetadata::from_schema(&schema)?;
        if first.is_none() && !sealed {
            let mut rows = Rows {
                line: lines.number + 1,
                values: Vec::new(),
            };
            sealed = match lines.gather(&mut rows, 0) {
                // What is there of it, its metadata, is handed out before the error, which comes
                // again with the first batch.
                Err(Error::Unsealed) => false,
                other => other?,
            };
            first = Some(rows);
        }
        if let Some(rows) = &first {
            schema = inferred(schema, rows)?;
        }
        let schema = Arc::new(schema);
        Ok(Self {
            lines,
            decoder: decoder(&schema).map_err(Error::Arrow)?,
            schema,
            first,
            sealed,
        })
    }

    /// Returns the schema, metadata included.
    pub(crate) fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// Returns the rows that are there, at least one, or `None` after the seal.
    pub(crate) fn next_batch(&mut self) -> Result<Option<RecordBatch>, Error> {
        let rows = match self.first.take().filter(|rows| !rows.values.is_empty()) {
            Some(rows) => rows,
            None if self.sealed => return Ok(None),
            None => {
                let mut rows = Rows {
                    line: self.lines.number + 1,
                    values: Vec::new(),
                };
                self.sealed = self.lines.gather(&mut rows, 0)?;
                rows
            }
        };
        if rows.values.is_empty() {
            return Ok(None);
        }
        self.batch(&rows).map(Some)
    }

    fn batch(&mut self, rows: &Rows) -> Result<RecordBatch, Error> {
        let result = self
            .decoder
            .serialize(&rows.values)
            .and_then(|()| self.decoder.flush());
        match result {
            Ok(Some(batch)) => Ok(batch),
            Ok(None) => Ok(RecordBatch::new_empty(Arc::clone(&self.schema))),
            Err(error) => Err(self.blame(rows, error)),
        }
    }

    /// Finds the line that a batch failed for.
    fn blame(&self, rows: &Rows, error: ArrowError) -> Error {
        for (line, value) in (rows.line..).zip(&rows.values) {
            let alone = decoder(&self.schema).and_then(|mut decoder| {
                decoder.serialize(std::slice::from_ref(value))?;
                decoder.flush()
            });
            if let Err(error) = alone {
                return Error::Line {
                    line,
                    cause: error.to_string(),
                };
            }
        }
        Error::Arrow(error)
    }
}

fn decoder(schema: &SchemaRef) -> Result<Decoder, ArrowError> {
    ReaderBuilder::new(Arc::clone(schema))
        .with_strict_mode(true)
        .build_decoder()
}

/// Parses the first line, if it is one.
fn begin(line: &mut [u8]) -> Result<Option<Begin>, Error> {
    let is_begin = parse(&mut line.to_vec(), 1)?.get_str("op") == Some("begin");
    if !is_begin {
        return Ok(None);
    }
    simd_json::serde::from_slice(line)
        .map(Some)
        .map_err(|error| Error::Line {
            line: 1,
            cause: error.to_string(),
        })
}

fn parse(line: &mut [u8], number: u64) -> Result<OwnedValue, Error> {
    let fail = |cause: String| Error::Line {
        line: number,
        cause,
    };
    let value = simd_json::to_owned_value(line).map_err(|error| fail(error.to_string()))?;
    if value.as_object().is_none() {
        return Err(fail("is no JSON object".to_owned()));
    }
    Ok(value)
}

/// Returns the schema that a first line declares: the contract's columns and its own.
fn declared(begin: &Begin) -> Result<Schema, Error> {
    let mut fields: Vec<Field> = columns()
        .map(|column| Field::new(column.name, column.data_type, column.nullable))
        .collect();
    for (name, text) in &begin.columns {
        let data_type: DataType = text.parse().map_err(|error: ArrowError| Error::Column {
            column: name.clone(),
            cause: error.to_string(),
        })?;
        fields.push(Field::new(name, data_type, true));
    }
    Ok(Schema::new(fields).with_metadata(begin.metadata.clone().into_iter().collect()))
}

/// Adds columns that the first rows have and nothing declares.
fn inferred(schema: Schema, rows: &Rows) -> Result<Schema, Error> {
    let mut fields = schema.fields().to_vec();
    for (line, value) in (rows.line..).zip(&rows.values) {
        let Some(object) = value.as_object() else {
            continue;
        };
        for (name, value) in object {
            if fields.iter().any(|field| field.name() == name) || value.is_null() {
                continue;
            }
            let data_type = infer(name, value).ok_or_else(|| Error::Line {
                line,
                cause: format!("the type of `{name}` must be declared in a first line"),
            })?;
            fields.push(Arc::new(Field::new(name, data_type, true)));
        }
    }
    Ok(Schema::new(fields).with_metadata(schema.metadata().clone()))
}

fn infer(name: &str, value: &OwnedValue) -> Option<DataType> {
    if value.is_bool() {
        Some(DataType::Boolean)
    } else if value.is_i64() {
        Some(DataType::Int64)
    } else if value.is_f64() {
        Some(DataType::Float64)
    } else if value.is_str() {
        Some(DataType::Utf8)
    } else if name == VECTOR {
        let dim = i32::try_from(value.as_array()?.len()).ok()?;
        let item = Field::new_list_field(DataType::Float32, true);
        Some(DataType::FixedSizeList(Arc::new(item), dim))
    } else {
        None
    }
}

/// The lines of an input, and whether more are there without waiting.
struct Lines {
    file: Input,
    buffer: Vec<u8>,
    /// Where the next line starts in the buffer.
    start: usize,
    /// Where the search for its end goes on.
    searched: usize,
    /// The number of the last line returned, from 1.
    number: u64,
}

impl Lines {
    fn new(start: &[u8], file: Input) -> Self {
        Self {
            file,
            buffer: start.to_vec(),
            start: 0,
            searched: 0,
            number: 0,
        }
    }

    /// Gathers rows while they come, and tells whether the seal was met.
    ///
    /// Ends with at least one row, or the seal. Rows that no seal follows are rows: the error
    /// comes when more are asked for.
    fn gather(&mut self, rows: &mut Rows, mut bytes: usize) -> Result<bool, Error> {
        let born = Instant::now();
        while bytes < BATCH_BYTES {
            let patience = BATCH_AGE.saturating_sub(born.elapsed());
            if !rows.values.is_empty() && !self.ready(patience)? {
                return Ok(false);
            }
            let Some(line) = self.next_line()? else {
                return match rows.values.is_empty() {
                    true => Err(Error::Unsealed),
                    false => Ok(false),
                };
            };
            bytes += line.len();
            let mut line = line.to_vec();
            let value = parse(&mut line, self.number)?;
            if value.get_str("op") == Some("end") {
                self.expect_end()?;
                return Ok(true);
            }
            rows.values.push(value);
        }
        Ok(false)
    }

    /// Returns the next line that is not blank, without its end; `None` at the end of the input.
    fn next_line(&mut self) -> Result<Option<&[u8]>, Error> {
        loop {
            let Some(end) = self.find_end()? else {
                // What a broken writer left of a line is no line.
                return Ok(None);
            };
            let start = std::mem::replace(&mut self.start, end + 1);
            self.searched = self.start;
            self.number += 1;
            if !self.buffer[start..end].trim_ascii().is_empty() {
                return Ok(Some(&self.buffer[start..end]));
            }
        }
    }

    fn find_end(&mut self) -> Result<Option<usize>, Error> {
        loop {
            if let Some(end) = self.buffered_end() {
                return Ok(Some(end));
            }
            self.searched = self.buffer.len();
            if self.buffer.len() - self.start > MAX_LINE {
                return Err(Error::Line {
                    line: self.number + 1,
                    cause: format!("is longer than {MAX_LINE} bytes"),
                });
            }
            if self.fill()? == 0 {
                return Ok(None);
            }
        }
    }

    fn buffered_end(&self) -> Option<usize> {
        let rest = self.buffer.get(self.searched..)?;
        let found = rest.iter().position(|&byte| byte == b'\n')?;
        Some(self.searched + found)
    }

    /// Tells whether a line can be had within `patience`, reading what comes meanwhile.
    fn ready(&mut self, patience: Duration) -> Result<bool, Error> {
        let until = Instant::now() + patience;
        loop {
            if self.buffered_end().is_some() {
                return Ok(true);
            }
            let left = until.saturating_duration_since(Instant::now());
            if !self.file.readable(left).map_err(Error::Input)? {
                return Ok(false);
            }
            self.searched = self.buffer.len();
            if self.fill()? == 0 {
                return Ok(true);
            }
        }
    }

    /// Reads once, and returns how many bytes came.
    fn fill(&mut self) -> Result<usize, Error> {
        if self.start > READ_BYTES {
            self.buffer.drain(..self.start);
            self.searched -= self.start;
            self.start = 0;
        }
        let length = self.buffer.len();
        self.buffer.resize(length + READ_BYTES, 0);
        let read = loop {
            match self.file.read(&mut self.buffer[length..]) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        let count = *read.as_ref().unwrap_or(&0);
        self.buffer.truncate(length + count);
        read.map_err(Error::Input)
    }

    /// Checks that nothing follows the seal.
    fn expect_end(&mut self) -> Result<(), Error> {
        loop {
            if !self.buffer[self.start..].trim_ascii().is_empty() {
                return Err(Error::Trailing);
            }
            self.buffer.clear();
            (self.start, self.searched) = (0, 0);
            if self.fill()? == 0 {
                return Ok(());
            }
        }
    }
}
