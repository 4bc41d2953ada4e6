//! Chunk rows: the contract's columns as a table, a builder of batches, and a typed view of them.

use std::sync::Arc;

use arrow_array::builder::{PrimitiveBuilder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, UInt32Type, UInt64Type};
use arrow_array::{
    Array, ArrayRef, PrimitiveArray, RecordBatch, StringArray, make_array, new_null_array,
};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};

use crate::Error;

/// The name of the column that the embedding stage adds.
pub const VECTOR: &str = "vector";

/// The name of a column that a stream out of a store has besides: under which settings each row's
/// file was cut, as files of one store need not share them.
pub const FILE_SETTINGS: &str = "file_settings";

/// One column of the contract.
#[derive(Clone, Debug)]
pub struct Column {
    /// The column's name, by which it is found.
    pub name: &'static str,
    /// Its type on the wire; a reader casts a compatible one to it.
    pub data_type: DataType,
    /// Whether a row may be without it.
    pub nullable: bool,
}

const fn column(name: &'static str, data_type: DataType, nullable: bool) -> Column {
    Column {
        name,
        data_type,
        nullable,
    }
}

/// The columns that the parse stage makes, in the order in which it writes them.
pub const COLUMNS: [Column; 20] = [
    column("op", DataType::Utf8, false),
    column("repo", DataType::Utf8, false),
    column("path", DataType::Utf8, false),
    column("project", DataType::Utf8, true),
    column("language", DataType::Utf8, true),
    column("file_hash", DataType::Utf8, true),
    column("file_size", DataType::UInt64, true),
    column("file_mtime_ns", DataType::Int64, true),
    column("chunk_id", DataType::Utf8, true),
    column("content_hash", DataType::Utf8, true),
    column("parent_id", DataType::Utf8, true),
    column("kind", DataType::Utf8, true),
    column("name", DataType::Utf8, true),
    column("symbol", DataType::Utf8, true),
    column("signature", DataType::Utf8, true),
    column("doc", DataType::Utf8, true),
    column("start_line", DataType::UInt32, true),
    column("end_line", DataType::UInt32, true),
    column("start_byte", DataType::UInt64, true),
    column("end_byte", DataType::UInt64, true),
];

/// The chunk's text; it stands last, after everything that is cheap to look at.
const CONTENT: Column = column("content", DataType::Utf8, true);

/// Returns every column that the parse stage makes, `content` included.
pub fn columns() -> impl Iterator<Item = Column> {
    COLUMNS.into_iter().chain([CONTENT])
}

/// Returns the schema of the stream that the parse stage writes, without metadata or `vector`.
pub fn chunk_schema() -> Schema {
    let fields: Vec<Field> = columns()
        .map(|column| Field::new(column.name, column.data_type, column.nullable))
        .collect();
    Schema::new(fields)
}

/// What a row asks the store to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Store a chunk.
    Put,
    /// Forget all that is stored of the row's file.
    Delete,
    /// Pass on a stage's final figures, JSON in `content`.
    Report,
}

impl Op {
    /// Returns the word that stands in the `op` column.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Delete => "delete",
            Self::Report => "report",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Put, Self::Delete, Self::Report]
            .into_iter()
            .find(|op| op.as_str() == text)
    }
}

/// What all rows of one file have in common.
#[derive(Clone, Copy, Debug, Default)]
pub struct FileInfo<'a> {
    /// Short name of the indexed root.
    pub repo: &'a str,
    /// Path below the root, `/` between its parts.
    pub path: &'a str,
    /// Nearest folder with a manifest.
    pub project: Option<&'a str>,
    /// Lower-case language name.
    pub language: Option<&'a str>,
    /// 32 hex digits of BLAKE3 over the file's bytes.
    pub file_hash: Option<&'a str>,
    /// Size in bytes, as read.
    pub file_size: Option<u64>,
    /// Modification time in nanoseconds since 1970, as read.
    pub file_mtime_ns: Option<i64>,
}

/// What one chunk has of its own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Chunk<'a> {
    /// 32 hex digits, unique in a store.
    pub chunk_id: &'a str,
    /// 32 hex digits over what is embedded.
    pub content_hash: &'a str,
    /// The enclosing chunk's `chunk_id`.
    pub parent_id: Option<&'a str>,
    /// What the chunk is: function, struct, section …
    pub kind: &'a str,
    /// Plain name.
    pub name: Option<&'a str>,
    /// Fully qualified name.
    pub symbol: Option<&'a str>,
    /// Declaration without documentation and body.
    pub signature: Option<&'a str>,
    /// Doc comment or docstring.
    pub doc: Option<&'a str>,
    /// First line, from 1.
    pub start_line: u32,
    /// Last line, inclusive.
    pub end_line: u32,
    /// First byte in the file.
    pub start_byte: u64,
    /// Byte after the last one.
    pub end_byte: u64,
    /// The text.
    pub content: &'a str,
}

/// Returns a row of a stream's schema that passes on a stage's figures, JSON.
///
/// What such a row has no value for is null, and an empty value or 0 in a column that takes no
/// null, as a stage of somebody else's may have added.
///
/// # Errors
/// [`Error::Arrow`] if a column's type has no such value.
pub(crate) fn report_row(schema: &SchemaRef, json: &str) -> Result<RecordBatch, Error> {
    let column = |field: &Arc<Field>| -> Result<ArrayRef, ArrowError> {
        let text = match field.name().as_str() {
            "op" => Some(Op::Report.as_str()),
            "repo" | "path" => Some(""),
            "content" => Some(json),
            _ => None,
        };
        if let Some(text) = text {
            let array: ArrayRef = Arc::new(StringArray::from(vec![text]));
            return arrow_cast::cast(&array, field.data_type());
        }
        let null = new_null_array(field.data_type(), 1);
        if field.is_nullable() {
            return Ok(null);
        }
        let filled = null.to_data().into_builder().nulls(None).build()?;
        Ok(make_array(filled))
    };
    let columns = schema.fields().iter().map(column).collect::<Result<_, _>>();
    columns
        .and_then(|columns| RecordBatch::try_new(Arc::clone(schema), columns))
        .map_err(Error::Arrow)
}

/// Bytes of text after which a batch is due.
const BATCH_BYTES: usize = 1 << 20;

/// The same for the first batch; each later one may be twice as large as the one before it.
const FIRST_BATCH_BYTES: usize = 32 << 10;

/// Gathers rows into batches of [`chunk_schema`].
///
/// Where a batch ends depends on its bytes alone, so that the same rows make the same batches.
/// The first ones are small: they are what the next stage begins with.
#[derive(Debug)]
pub struct BatchBuilder {
    text: [StringBuilder; 15],
    u64s: [PrimitiveBuilder<UInt64Type>; 3],
    lines: [PrimitiveBuilder<UInt32Type>; 2],
    mtime: PrimitiveBuilder<Int64Type>,
    bytes: usize,
    /// Bytes after which the batch at hand is due.
    limit: usize,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self {
            text: Default::default(),
            u64s: Default::default(),
            lines: Default::default(),
            mtime: PrimitiveBuilder::default(),
            bytes: 0,
            limit: FIRST_BATCH_BYTES,
        }
    }
}

impl BatchBuilder {
    /// Adds a chunk of a file.
    pub fn put(&mut self, file: &FileInfo<'_>, chunk: &Chunk<'_>) {
        self.row(Op::Put, file, Some(chunk), Some(chunk.content));
    }

    /// Adds the wish to forget a file.
    pub fn delete(&mut self, repo: &str, path: &str) {
        let file = FileInfo {
            repo,
            path,
            ..FileInfo::default()
        };
        self.row(Op::Delete, &file, None, None);
    }

    /// Tells whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Tells whether the batch is large enough to be written.
    pub fn is_due(&self) -> bool {
        self.bytes >= self.limit
    }

    /// Returns the rows gathered as a batch, and starts anew.
    ///
    /// # Errors
    /// [`Error::Arrow`] if Arrow refuses the columns, which it has no reason to.
    pub fn finish(&mut self) -> Result<RecordBatch, Error> {
        let mut text = self.text.iter_mut();
        let mut u64s = self.u64s.iter_mut();
        let mut lines = self.lines.iter_mut();
        let arrays: Vec<ArrayRef> = columns()
            .filter_map(|column| match column.data_type {
                DataType::UInt64 => u64s.next().map(|b| Arc::new(b.finish()) as ArrayRef),
                DataType::UInt32 => lines.next().map(|b| Arc::new(b.finish()) as ArrayRef),
                DataType::Int64 => Some(Arc::new(self.mtime.finish()) as ArrayRef),
                _ => text.next().map(|b| Arc::new(b.finish()) as ArrayRef),
            })
            .collect();
        self.bytes = 0;
        self.limit = BATCH_BYTES.min(self.limit * 2);
        RecordBatch::try_new(Arc::new(chunk_schema()), arrays).map_err(Error::Arrow)
    }

    fn row(&mut self, op: Op, file: &FileInfo<'_>, chunk: Option<&Chunk<'_>>, body: Option<&str>) {
        let values = [
            Some(op.as_str()),
            Some(file.repo),
            Some(file.path),
            file.project,
            file.language,
            file.file_hash,
            chunk.map(|c| c.chunk_id),
            chunk.map(|c| c.content_hash),
            chunk.and_then(|c| c.parent_id),
            chunk.map(|c| c.kind),
            chunk.and_then(|c| c.name),
            chunk.and_then(|c| c.symbol),
            chunk.and_then(|c| c.signature),
            chunk.and_then(|c| c.doc),
            body,
        ];
        for (builder, value) in self.text.iter_mut().zip(values) {
            builder.append_option(value);
            self.bytes += value.map_or(0, str::len) + size_of::<i32>();
        }
        let numbers = [
            file.file_size,
            chunk.map(|c| c.start_byte),
            chunk.map(|c| c.end_byte),
        ];
        for (builder, value) in self.u64s.iter_mut().zip(numbers) {
            builder.append_option(value);
        }
        let lines = [chunk.map(|c| c.start_line), chunk.map(|c| c.end_line)];
        for (builder, value) in self.lines.iter_mut().zip(lines) {
            builder.append_option(value);
        }
        self.mtime.append_option(file.file_mtime_ns);
    }
}

/// A typed view of a batch: the contract's columns, found by name.
#[derive(Debug)]
pub struct Rows<'a> {
    batch: &'a RecordBatch,
    ops: Vec<Op>,
    repo: &'a StringArray,
    path: &'a StringArray,
    text: [Option<&'a StringArray>; 12],
    u64s: [Option<&'a PrimitiveArray<UInt64Type>>; 3],
    lines: [Option<&'a PrimitiveArray<UInt32Type>>; 2],
    mtime: Option<&'a PrimitiveArray<Int64Type>>,
}

/// Text columns that may be missing, in the order of [`Rows::text`].
const OPTIONAL_TEXT: [&str; 12] = [
    "project",
    "language",
    "file_hash",
    "chunk_id",
    "content_hash",
    "parent_id",
    "kind",
    "name",
    "symbol",
    "signature",
    "doc",
    "content",
];

/// Makes the accessors of optional text columns.
macro_rules! text_columns {
    ($($(#[$doc:meta])* $name:ident = $index:literal;)*) => {$(
        $(#[$doc])*
        pub fn $name(&self, row: usize) -> Option<&'a str> {
            value_at(self.text[$index], row)
        }
    )*};
}

impl<'a> Rows<'a> {
    /// Looks at a batch as chunk rows.
    ///
    /// # Errors
    /// [`Error::Column`] if `op`, `repo` or `path` is missing or null somewhere, if a column has
    /// another type than the contract's, or if an `op` is unknown.
    pub fn new(batch: &'a RecordBatch) -> Result<Self, Error> {
        let op = required(batch, "op")?;
        let ops = (0..op.len())
            .map(|row| {
                Op::parse(op.value(row)).ok_or_else(|| Error::Column {
                    column: "op".to_owned(),
                    cause: format!("{:?} is none of put, delete, report", op.value(row)),
                })
            })
            .collect::<Result<_, _>>()?;
        let mut text = [None; 12];
        for (slot, name) in text.iter_mut().zip(OPTIONAL_TEXT) {
            *slot = typed(batch, name, |array| array.as_string_opt::<i32>())?;
        }
        let number = |name| typed(batch, name, |array| array.as_primitive_opt::<UInt64Type>());
        let line = |name| typed(batch, name, |array| array.as_primitive_opt::<UInt32Type>());
        Ok(Self {
            batch,
            ops,
            repo: required(batch, "repo")?,
            path: required(batch, "path")?,
            text,
            u64s: [
                number("file_size")?,
                number("start_byte")?,
                number("end_byte")?,
            ],
            lines: [line("start_line")?, line("end_line")?],
            mtime: typed(batch, "file_mtime_ns", |array| {
                array.as_primitive_opt::<Int64Type>()
            })?,
        })
    }

    /// Returns the number of rows.
    pub fn len(&self) -> usize {
        self.batch.num_rows()
    }

    /// Tells whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns what a row asks for.
    pub fn op(&self, row: usize) -> Op {
        self.ops[row]
    }

    /// Returns the short name of a row's repository.
    pub fn repo(&self, row: usize) -> &'a str {
        self.repo.value(row)
    }

    /// Returns a row's path below its repository's root.
    pub fn path(&self, row: usize) -> &'a str {
        self.path.value(row)
    }

    text_columns! {
        /// Returns the nearest folder with a manifest.
        project = 0;
        /// Returns the language's lower-case name.
        language = 1;
        /// Returns the hash of the file's bytes, 32 hex digits.
        file_hash = 2;
        /// Returns the chunk's identifier, 32 hex digits.
        chunk_id = 3;
        /// Returns the hash over what is embedded, 32 hex digits.
        content_hash = 4;
        /// Returns the enclosing chunk's identifier.
        parent_id = 5;
        /// Returns what the chunk is.
        kind = 6;
        /// Returns the chunk's plain name.
        name = 7;
        /// Returns the chunk's qualified name.
        symbol = 8;
        /// Returns the declaration.
        signature = 9;
        /// Returns the documentation.
        doc = 10;
        /// Returns the text.
        content = 11;
    }

    /// Returns the file's size in bytes.
    pub fn file_size(&self, row: usize) -> Option<u64> {
        number_at(self.u64s[0], row)
    }

    /// Returns the file's modification time in nanoseconds since 1970.
    pub fn file_mtime_ns(&self, row: usize) -> Option<i64> {
        number_at(self.mtime, row)
    }

    /// Returns the chunk's first byte in the file.
    pub fn start_byte(&self, row: usize) -> Option<u64> {
        number_at(self.u64s[1], row)
    }

    /// Returns the byte after the chunk's last one.
    pub fn end_byte(&self, row: usize) -> Option<u64> {
        number_at(self.u64s[2], row)
    }

    /// Returns the chunk's first line, from 1.
    pub fn start_line(&self, row: usize) -> Option<u32> {
        number_at(self.lines[0], row)
    }

    /// Returns the chunk's last line, inclusive.
    pub fn end_line(&self, row: usize) -> Option<u32> {
        number_at(self.lines[1], row)
    }

    /// Returns how a message names a row: `repo/path:start-end`, as far as it is known.
    pub fn locate(&self, row: usize) -> String {
        let mut place = format!("{}/{}", self.repo(row), self.path(row));
        if let (Some(start), Some(end)) = (self.start_line(row), self.end_line(row)) {
            place.push_str(&format!(":{start}-{end}"));
        }
        place
    }
}

fn required<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a StringArray, Error> {
    let fail = |cause: &str| Error::Column {
        column: name.to_owned(),
        cause: cause.to_owned(),
    };
    let array = typed(batch, name, |array| array.as_string_opt::<i32>())?
        .ok_or_else(|| fail("missing, this is no stream of code chunks"))?;
    if array.null_count() > 0 {
        return Err(fail("holds a null, every row needs a value"));
    }
    Ok(array)
}

fn typed<'a, T: 'a>(
    batch: &'a RecordBatch,
    name: &str,
    downcast: impl FnOnce(&'a ArrayRef) -> Option<&'a T>,
) -> Result<Option<&'a T>, Error> {
    let Some(array) = batch.column_by_name(name) else {
        return Ok(None);
    };
    downcast(array).map(Some).ok_or_else(|| Error::Column {
        column: name.to_owned(),
        cause: format!("is of type {}", array.data_type()),
    })
}

fn value_at(array: Option<&StringArray>, row: usize) -> Option<&str> {
    array
        .filter(|array| array.is_valid(row))
        .map(|array| array.value(row))
}

fn number_at<T: arrow_array::ArrowPrimitiveType>(
    array: Option<&PrimitiveArray<T>>,
    row: usize,
) -> Option<T::Native> {
    array
        .filter(|array| array.is_valid(row))
        .map(|array| array.value(row))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_read_back_what_the_builder_took() {
        let file = FileInfo {
            repo: "r",
            path: "src/a.rs",
            language: Some("rust"),
            file_size: Some(9),
            file_mtime_ns: Some(-1),
            ..FileInfo::default()
        };
        let chunk = Chunk {
            chunk_id: "id",
            content_hash: "hash",
            kind: "function",
            symbol: Some("m::f"),
            start_line: 3,
            end_line: 4,
            start_byte: 5,
            end_byte: 6,
            content: "fn f() {}",
            ..Chunk::default()
        };
        let mut builder = BatchBuilder::default();
        assert!(builder.is_empty() && !builder.is_due());
        builder.delete("r", "src/a.rs");
        builder.put(&file, &chunk);
        let batch = builder.finish().unwrap();
        assert!(builder.is_empty());

        let rows = Rows::new(&batch).unwrap();
        let ops: Vec<Op> = (0..rows.len()).map(|row| rows.op(row)).collect();
        assert_eq!(ops, [Op::Delete, Op::Put]);
        assert_eq!(rows.path(0), "src/a.rs");
        assert_eq!(rows.chunk_id(0), None);
        assert_eq!((rows.symbol(1), rows.name(1)), (Some("m::f"), None));
        assert_eq!(
            (rows.start_byte(1), rows.end_byte(1), rows.file_size(1)),
            (Some(5), Some(6), Some(9))
        );
        assert_eq!(rows.file_mtime_ns(1), Some(-1));
        assert_eq!(rows.locate(1), "r/src/a.rs:3-4");
    }

    #[test]
    fn a_report_fits_into_any_schema() {
        let item = Arc::new(Field::new_list_field(DataType::Float32, true));
        let mut fields = chunk_schema().fields().to_vec();
        for (name, data_type, nullable) in [
            (VECTOR, DataType::FixedSizeList(item, 3), true),
            ("stars", DataType::Int64, false),
            ("team", DataType::Utf8, false),
        ] {
            fields.push(Arc::new(Field::new(name, data_type, nullable)));
        }
        let batch = report_row(&Arc::new(Schema::new(fields)), "{}").unwrap();
        let rows = Rows::new(&batch).unwrap();
        assert_eq!((rows.len(), rows.op(0)), (1, Op::Report));
        assert_eq!((rows.content(0), rows.kind(0)), (Some("{}"), None));
        assert_eq!(batch["team"].as_string::<i32>().value(0), "");
        assert_eq!(batch["stars"].null_count(), 0);
    }

    #[test]
    fn a_batch_is_due_by_bytes() {
        let mut builder = BatchBuilder::default();
        let content = "x".repeat(BATCH_BYTES);
        let chunk = Chunk {
            content: &content,
            ..Chunk::default()
        };
        builder.put(&FileInfo::default(), &chunk);
        assert!(builder.is_due());
    }
}
