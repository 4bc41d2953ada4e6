//! `cs-store export`: what is stored as a sealed stream again, which every stage takes.
//!
//! Each row tells under which settings its file was cut, so that the store that takes the stream
//! knows as much of its files as this one does, and `cs-parse --since` as well.

use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use arrow_select::concat::concat_batches;
use cs_common::manifest::Manifest;
use cs_common::metadata::{Repo, StreamMetadata, Totals};
use cs_common::progress::{Done, Progress};
use cs_common::rows::{Op, VECTOR};
use cs_common::stream::{Format, StreamWriter, refuse_terminal};
use cs_common::tool::{self, Outcome, Scope};

use crate::files::{each_file, text};
use crate::folder::{Folder, Location};
use crate::ledger::describes;
use crate::mark::Incomplete;
use crate::select::{FileArgs, Selection};
use crate::step::bytes_of;
use crate::table::Chunks;
use crate::{Error, runtime};

/// Bytes of rows after which a batch is written.
const BATCH_BYTES: usize = 1 << 20;

/// What is exported, and how.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    files: FileArgs,

    /// Only files with a chunk in one of these languages, such as rust,python
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    lang: Vec<String>,

    /// Leave the vectors out, for another model to make its own
    #[arg(long)]
    no_vectors: bool,

    /// Form of the output
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    to: Format,
}

/// Writes a store's files to standard output.
pub(crate) fn export(at: &Location, args: ExportArgs) -> Result<Outcome, Error> {
    refuse_terminal(args.to)?;
    let is_all = args.files.is_empty() && args.lang.is_empty();
    let languages = args.lang.iter().map(|name| name.to_ascii_lowercase());
    let wanted = Wanted {
        languages: languages.collect(),
        files: args.files.selection()?,
    };
    let db = at.path.as_path();
    runtime(db)?.block_on(async {
        let folder = Folder::open(at).await?;
        let chunks = Chunks::open(&folder).await?;
        let dataset = chunks.dataset().await?;
        let incomplete = Incomplete::read(&folder).await?;
        if let Some(incomplete) = &incomplete {
            log::warn!("{}: {}", db.display(), incomplete.sentence());
        }
        let mut metadata = StreamMetadata::from(chunks.provenance().await?);
        let mut stage = tool::stage("cs-store", env!("CARGO_PKG_VERSION"));
        // What is only a part says nothing of the rest.
        let scope = match is_all && incomplete.is_none() {
            true => Scope::Whole,
            false => Scope::Part,
        };
        let scope = (tool::SCOPE.to_owned(), scope.as_str().into());
        stage.extra.extend([scope]);
        metadata.chain.push(stage);
        metadata.repos = wanted.repos(chunks.repos().await?);
        metadata.totals = wanted.totals(&chunks).await?;
        metadata.model = (!args.no_vectors).then(|| chunks.model().clone());

        let stored = chunks.schema().await?;
        let schema = stream_schema(&stored, args.no_vectors);
        let columns: Vec<&str> = stored
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .filter(|name| schema.field_with_name(name).is_ok())
            .collect();
        let schema = Arc::new(metadata.apply(schema));
        let mut output = Output {
            progress: Progress::start(metadata.totals),
            writer: StreamWriter::stdout(args.to, &schema)?,
            schema,
            rows: Vec::new(),
            bytes: 0,
            files: 0,
            chunks: 0,
        };
        each_file(&chunks, &dataset, &columns, |name, rows| {
            if !wanted.files.takes(&name.repo, &name.path)
                || !wanted.takes_language(text(folder.path(), rows, "language")?)
            {
                return Ok(());
            }
            output.push(rows)
        })
        .await?;
        output.finish(db)
    })
}

/// Which files are taken.
struct Wanted {
    files: Selection,
    /// All languages if there is none.
    languages: Vec<String>,
}

impl Wanted {
    fn takes_language(&self, languages: &StringArray) -> bool {
        self.languages.is_empty()
            || languages
                .iter()
                .flatten()
                .any(|language| self.languages.iter().any(|wanted| wanted == language))
    }

    fn repos(&self, mut stored: Vec<Repo>) -> Vec<Repo> {
        let names = self.files.repos();
        stored.retain(|repo| names.is_empty() || names.contains(&repo.name));
        stored
    }

    /// Returns how much there is, where the manifest, which knows no languages, can tell.
    async fn totals(&self, chunks: &Chunks) -> Result<Option<Totals>, Error> {
        let manifest = chunks.folder().local().map(Manifest::read);
        let Some(Ok(Some(manifest))) = manifest else {
            return Ok(None);
        };
        if !self.languages.is_empty() || !describes(&manifest, chunks).await? {
            return Ok(None);
        }
        let mut totals = Totals { files: 0, bytes: 0 };
        for (repo, files) in &manifest.repos {
            for (path, entry) in files {
                if self.files.takes(repo, path) {
                    totals.files += 1;
                    totals.bytes += entry.size.unwrap_or_default();
                }
            }
        }
        Ok(Some(totals))
    }
}

/// Returns the stream's columns: the table's, and what the stream has besides.
fn stream_schema(stored: &SchemaRef, no_vectors: bool) -> Schema {
    let mut fields = vec![Arc::new(Field::new("op", DataType::Utf8, false))];
    let kept = stored.fields().iter();
    fields.extend(
        kept.filter(|field| !no_vectors || field.name() != VECTOR)
            .cloned(),
    );
    Schema::new(fields)
}

/// The stream, batch by batch.
struct Output {
    progress: Progress,
    writer: StreamWriter,
    schema: SchemaRef,
    rows: Vec<RecordBatch>,
    bytes: usize,
    files: u64,
    chunks: u64,
}

impl Output {
    /// Adds the rows of a file.
    fn push(&mut self, rows: &RecordBatch) -> Result<(), Error> {
        let rows = self.as_stream(rows).map_err(arrow)?;
        self.bytes += bytes_of(&rows);
        self.files += 1;
        self.chunks += rows.num_rows() as u64;
        self.rows.push(rows);
        if self.bytes >= BATCH_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn as_stream(&self, rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let count = rows.num_rows();
        let columns = self.schema.fields().iter().map(|field| {
            let made: ArrayRef = match field.name().as_str() {
                "op" => {
                    let puts = std::iter::repeat_n(Op::Put.as_str(), count);
                    Arc::new(StringArray::from_iter_values(puts))
                }
                name => Arc::clone(rows.column_by_name(name).ok_or_else(|| {
                    ArrowError::SchemaError(format!("no column `{name}` in the store"))
                })?),
            };
            Ok(made)
        });
        let columns = columns.collect::<Result<_, ArrowError>>()?;
        RecordBatch::try_new(Arc::clone(&self.schema), columns)
    }

    fn flush(&mut self) -> Result<(), Error> {
        if !self.rows.is_empty() {
            let batch = concat_batches(&self.schema, &self.rows).map_err(arrow)?;
            self.rows.clear();
            self.bytes = 0;
            self.writer.write(&batch)?;
            self.progress.update(Done {
                files: self.files,
                chunks: self.chunks,
                tokens: None,
            });
        }
        Ok(())
    }

    fn finish(mut self, db: &Path) -> Result<Outcome, Error> {
        self.flush()?;
        let Self {
            writer,
            files,
            chunks,
            progress,
            ..
        } = self;
        writer.finish()?;
        drop(progress);
        if files == 0 {
            log::warn!("{}: no stored file matches", db.display());
            return Ok(Outcome::Told);
        }
        log::debug!("{}: {files} files with {chunks} chunks", db.display());
        Ok(Outcome::Done)
    }
}

fn arrow(error: ArrowError) -> Error {
    cs_common::Error::Arrow(error).into()
}
