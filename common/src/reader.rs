//! Reading a stream of either form, and telling a sealed one from a broken one.
//!
//! arrow-rs's own stream reader ends alike on the end marker and on a plain end of file, and
//! allocates whatever size a message declares. Therefore the framing is read here, message by
//! message, and only the decoding is left to arrow-rs.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::{BufReader, IsTerminal as _, Read};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_buffer::{Buffer, MutableBuffer};
use arrow_cast::cast::{CastOptions, cast_with_options};
use arrow_ipc::MessageHeader;
use arrow_ipc::convert::fb_to_schema;
use arrow_ipc::reader::StreamDecoder;
use arrow_schema::{Field, Schema, SchemaRef};

use crate::metadata::StreamMetadata;
use crate::pipe::{self, Input};
use crate::spare::Spare;
use crate::{Error, jsonl, rows};

/// First bytes of every message of an Arrow IPC stream.
const CONTINUATION: [u8; 4] = [0xff; 4];

/// Largest metadata of a message, in bytes.
const MAX_HEADER: u64 = 64 << 20;

/// Largest body of a message, in bytes: far above what a stage writes (1 MiB), but bounded.
const MAX_BODY: u64 = 1 << 30;

/// Bytes of a body that are allocated on its word, before they have arrived.
const TRUSTED_BODY: u64 = 8 << 20;

/// Reads batches of chunk rows until the seal.
pub struct StreamReader {
    schema: SchemaRef,
    metadata: StreamMetadata,
    source: Source,
    /// Standard input, as long as it is a pipe into which somebody may write.
    pipe: Option<File>,
    /// What was read when nobody could write any more: all that followed.
    rest: Option<VecDeque<Result<RecordBatch, Error>>>,
}

enum Source {
    Arrow(Box<Frames>),
    Jsonl(Box<jsonl::Reader>),
}

impl fmt::Debug for StreamReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamReader")
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}

impl StreamReader {
    /// Opens the stream on standard input and reads its header.
    ///
    /// # Errors
    /// [`Error::TerminalInput`] if a person would have to type it, and those of
    /// [`open`](Self::open).
    pub fn stdin() -> Result<Self, Error> {
        if std::io::stdin().is_terminal() {
            return Err(Error::TerminalInput);
        }
        let stdin = pipe::stdin().map_err(Error::Input)?;
        let pipe = match pipe::is_pipe(&stdin) {
            true => Some(stdin.try_clone().map_err(Error::Input)?),
            false => None,
        };
        let reader = Self::open(stdin)?;
        Ok(Self { pipe, ..reader })
    }

    /// Opens a stream and reads its header; what form it has is seen from its first bytes.
    ///
    /// # Errors
    /// [`Error::Empty`], [`Error::NotAStream`], [`Error::NoVersion`], [`Error::Version`],
    /// [`Error::Metadata`] or [`Error::Column`] as the header deserves.
    pub fn open(file: File) -> Result<Self, Error> {
        let mut file = Input(file);
        let mut magic = [0; 4];
        let filled = read_full(&mut file, &mut magic)?;
        match magic.get(..filled).unwrap_or_default() {
            [] => Err(Error::Empty),
            [b'{', ..] => {
                let source = jsonl::Reader::open(&magic[..filled], file)?;
                let schema = source.schema();
                Self::new(schema, Source::Jsonl(Box::new(source)))
            }
            start if start == CONTINUATION => {
                let (frames, schema) = Frames::open(file)?;
                Self::new(schema, Source::Arrow(Box::new(frames)))
            }
            start => Err(Error::NotAStream(
                String::from_utf8_lossy(start).into_owned(),
            )),
        }
    }

    fn new(schema: SchemaRef, source: Source) -> Result<Self, Error> {
        let metadata = StreamMetadata::from_schema(&schema)?;
        Ok(Self {
            schema: Arc::new(conform_schema(&schema)),
            metadata,
            source,
            pipe: None,
            rest: None,
        })
    }

    /// Returns the stream's schema, metadata included; contract columns have contract types.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Returns the schema's metadata, typed.
    pub fn metadata(&self) -> &StreamMetadata {
        &self.metadata
    }

    /// Returns the next batch; `None` if and only if the stream was sealed and nothing follows.
    ///
    /// # Errors
    /// [`Error::Unsealed`] if the input ended without its end marker, [`Error::Trailing`] if it
    /// goes on after it, and others for rows that are not what the contract says.
    pub fn next_batch(&mut self) -> Result<Option<RecordBatch>, Error> {
        match &mut self.rest {
            Some(rest) => rest.pop_front().transpose(),
            None => self.read_batch(),
        }
    }

    /// Tells whether the stage before this one is known to have gone without sealing the stream,
    /// although what it wrote is not all read yet. The answer is that of this moment, and costs
    /// nothing; only where a pipe has no writer any more, what is left in it is taken to memory.
    pub fn is_broken(&mut self) -> bool {
        if self.pipe.as_ref().is_some_and(pipe::has_no_writer) {
            self.pipe = None;
            let mut rest = VecDeque::new();
            while let Some(batch) = self.next_batch().transpose() {
                let is_last = batch.is_err();
                rest.push_back(batch);
                if is_last {
                    break;
                }
            }
            self.rest = Some(rest);
        }
        let last = self.rest.as_ref().and_then(VecDeque::back);
        last.is_some_and(Result::is_err)
    }

    fn read_batch(&mut self) -> Result<Option<RecordBatch>, Error> {
        let batch = match &mut self.source {
            Source::Arrow(frames) => frames.next_batch()?,
            Source::Jsonl(lines) => lines.next_batch()?,
        };
        batch.map(|batch| conform(&batch, &self.schema)).transpose()
    }
}

/// Gives contract columns the contract's types, so that files of other tools (large or view
/// strings, dictionaries, signed line numbers) are read as well.
fn conform_schema(schema: &Schema) -> Schema {
    let fields: Vec<Arc<Field>> = schema
        .fields()
        .iter()
        .map(
            |field| match rows::columns().find(|column| column.name == field.name()) {
                Some(column) if &column.data_type != field.data_type() => {
                    Arc::new(field.as_ref().clone().with_data_type(column.data_type))
                }
                _ => Arc::clone(field),
            },
        )
        .collect();
    Schema::new(fields).with_metadata(schema.metadata().clone())
}

fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, Error> {
    let strict = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let columns = batch
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(array, field)| {
            if array.data_type() == field.data_type() {
                return Ok(Arc::clone(array));
            }
            cast_with_options(array, field.data_type(), &strict).map_err(|error| Error::Column {
                column: field.name().clone(),
                cause: error.to_string(),
            })
        })
        .collect::<Result<_, _>>()?;
    RecordBatch::try_new(Arc::clone(schema), columns).map_err(Error::Arrow)
}

/// The messages of an Arrow IPC stream.
///
/// Reads ahead at most 64 KiB beyond the message that it is at.
struct Frames {
    input: BufReader<Input>,
    decoder: StreamDecoder,
    pending: Buffer,
    spare: Spare,
    sealed: bool,
}

impl Frames {
    /// Reads the schema message, whose first four bytes are taken already.
    fn open(file: Input) -> Result<(Self, SchemaRef), Error> {
        let mut frames = Self {
            input: BufReader::with_capacity(1 << 16, file),
            decoder: StreamDecoder::new(),
            pending: Buffer::from_vec(Vec::<u8>::new()),
            spare: Spare::default(),
            sealed: false,
        };
        let mut header = Vec::new();
        let body = frames.read_header(&mut header)?.ok_or(Error::Unsealed)?;
        let message = arrow_ipc::root_as_message(&header)
            .map_err(|_| Error::NotAStream("a broken Arrow message".to_owned()))?;
        let schema = message
            .header_as_schema()
            .ok_or_else(|| Error::NotAStream("an Arrow message without a schema".to_owned()))?;
        let schema = Arc::new(fb_to_schema(schema));
        frames.pending = frames.read_message(&header, body)?;
        Ok((frames, schema))
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>, Error> {
        loop {
            if let Some(batch) = self.decode()? {
                return Ok(Some(batch));
            }
            if self.sealed {
                return self.expect_end();
            }
            let mut magic = [0; 4];
            if read_full(&mut self.input, &mut magic)? < magic.len() {
                return Err(Error::Unsealed);
            }
            if magic != CONTINUATION {
                return Err(Error::NotAStream(
                    "bytes between its messages that are no message".to_owned(),
                ));
            }
            let mut header = Vec::new();
            self.pending = match self.read_header(&mut header)? {
                Some(body) => self.read_message(&header, body)?,
                None => {
                    self.sealed = true;
                    self.spare.close();
                    // A body-less last message is decoded only once bytes follow it.
                    let mut end = MutableBuffer::new(8);
                    end.extend_from_slice(&CONTINUATION);
                    end.extend_from_slice(&0_u32.to_le_bytes());
                    end.into()
                }
            };
        }
    }

    fn decode(&mut self) -> Result<Option<RecordBatch>, Error> {
        self.decoder.decode(&mut self.pending).map_err(Error::Arrow)
    }

    fn expect_end(&mut self) -> Result<Option<RecordBatch>, Error> {
        match read_full(&mut self.input, &mut [0])? {
            0 => Ok(None),
            _ => Err(Error::Trailing),
        }
    }

    /// Reads a message's metadata and returns the size of its body; `None` for the end marker.
    fn read_header(&mut self, header: &mut Vec<u8>) -> Result<Option<u64>, Error> {
        let mut size = [0; 4];
        self.input.read_exact(&mut size).map_err(Error::input)?;
        let size = u64::from(u32::from_le_bytes(size));
        if size == 0 {
            return Ok(None);
        }
        check_size(size, MAX_HEADER)?;
        let read = self.input.by_ref().take(size).read_to_end(header);
        if read.map_err(Error::input)? as u64 != size {
            return Err(Error::Unsealed);
        }
        let message = arrow_ipc::root_as_message(header)
            .map_err(|_| Error::NotAStream("a broken Arrow message".to_owned()))?;
        if message.header_type() == MessageHeader::NONE {
            return Err(Error::NotAStream("an empty Arrow message".to_owned()));
        }
        // A negative length becomes a size far beyond the limit.
        let body = message.bodyLength() as u64;
        check_size(body, MAX_BODY)?;
        Ok(Some(body))
    }

    /// Reads a message's body and returns the whole message as the decoder wants it.
    fn read_message(&mut self, header: &[u8], body: u64) -> Result<Buffer, Error> {
        let prefix = 8 + header.len();
        let mut message = self.spare.take(prefix + body.min(TRUSTED_BODY) as usize);
        message.extend_from_slice(&CONTINUATION);
        message.extend_from_slice(&(header.len() as u32).to_le_bytes());
        message.extend_from_slice(header);
        let read = self.input.by_ref().take(body).read_to_end(&mut message);
        if read.map_err(Error::input)? as u64 != body {
            return Err(Error::Unsealed);
        }
        Ok(self.spare.lend(message))
    }
}

fn check_size(size: u64, limit: u64) -> Result<(), Error> {
    if size > limit {
        return Err(Error::TooLarge { size, limit });
    }
    Ok(())
}

/// Fills `buffer` as far as the input goes, and returns how far that is.
fn read_full(input: &mut impl Read, buffer: &mut [u8]) -> Result<usize, Error> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::Input(error)),
        }
    }
    Ok(filled)
}
