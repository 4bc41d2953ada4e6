//! The run of the embedding stage: a window of rows in, the same rows with vectors out.
//!
//! Four threads overlap: one reads, one makes texts ready, one runs the model, one writes. At most
//! one window waits between two threads. So memory stays bounded, and the pipes of the process slow
//! a faster stage down.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Instant;

use arrow_array::{ArrayRef, FixedSizeListArray, Float16Array, Float32Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use crossbeam_channel::bounded;
use cs_common::document::{content_hash, document};
use cs_common::meter;
use cs_common::progress::Progress;
use cs_common::report::{Count, Figures, MeterArgs};
use cs_common::rows::{Op, Rows, VECTOR};
use cs_common::stream::{Format, StreamReader, StreamWriter, refuse_terminal};
use cs_common::tool::{self, Outcome};
use half::f16;
use half::slice::HalfFloatSliceExt as _;

use crate::cache::{Cache, CacheArgs, Key};
use crate::inlet::{Ending, Inlet};
use crate::output::{Made, Next, Output, TOOL, VERSION};
use crate::{Embedder, Error, ModelSpec, Prepared, VectorType};

/// What is done with the stream, beside the model.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    pub(crate) format: Format,
    pub(crate) vector_type: VectorType,
    pub(crate) threads: Option<usize>,
    pub(crate) cache: CacheArgs,
    pub(crate) figures: MeterArgs,
    /// Whether the stream ends without this stage's report.
    pub(crate) no_report: bool,
}

/// What makes a text's vector, or has it already.
struct Source {
    embedder: Box<dyn Embedder>,
    cache: Option<Cache>,
}

impl Source {
    /// Writes down what the cache does not have yet.
    fn keep(&self) {
        if let Some(cache) = &self.cache {
            cache.finish();
        }
    }
}

/// Embeds the stream on standard input onto standard output.
pub(crate) fn run(spec: &ModelSpec, work: &Work) -> Result<Outcome, Error> {
    refuse_terminal(work.format)?;
    let figures = Figures::start(&work.figures, TOOL)?;
    let entered = figures.meter.lane("embed").enter();
    meter::work("start");
    if let Some(threads) = work.threads {
        // The pool is made once, and by nobody before this place.
        let _ = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build_global();
    }
    // Before the input, whose first bytes may be long in coming: what cannot be had is told at once.
    let embedder = crate::open(spec)?;
    let cache = Cache::open(&work.cache, embedder.as_ref())?;
    let source = Arc::new(Source { embedder, cache });
    let input = StreamReader::stdin()?;
    let schema = output_schema(&input, source.embedder.as_ref(), work.vector_type);
    let output = Output {
        stream: StreamWriter::stdout(work.format, &schema)?,
        progress: (!std::io::stdout().is_terminal())
            .then(|| Progress::start(input.metadata().totals)),
        count: Count::default(),
        figures: figures.clone(),
        device: match spec.endpoint.endpoint {
            Some(_) => "service".to_owned(),
            None => spec.device.to_string(),
        },
        no_report: work.no_report,
    };

    let ending = Ending::default();
    // A batch is handed over when it is wanted: none waits in between.
    let (batches, read) = bounded(0);
    let inlet = Inlet {
        input,
        batches,
        ending: ending.clone(),
    };
    let (keeper, clock) = (Arc::clone(&source), figures.meter.clone());
    // Nobody waits for this thread: it may be in a read that ends with the stage before.
    thread::spawn(move || {
        let _entered = clock.lane("read").enter();
        inlet.read(|| keeper.keep());
    });
    let (windows, ready) = sync_channel(WAITING);
    let (preparer, clock) = (Arc::clone(&source), figures.meter.clone());
    thread::spawn(move || {
        let _entered = clock.lane("prepare").enter();
        prepare(&read, &preparer, &windows);
    });
    let (batches, next) = sync_channel(WAITING);
    let clock = figures.meter.clone();
    let writer = thread::spawn(move || {
        let _entered = clock.lane("write").enter();
        output.write(&next)
    });

    let started = Instant::now();
    let mut made = Made::default();
    let ran = embed((&ready, &ending), &batches, (&source, &schema), &mut made);
    drop(batches);
    meter::idle();
    let wrote = writer
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    let seconds = started.elapsed().as_secs_f64();
    // A model that takes texts as they are may not tell.
    let tokens = match made.tokens {
        0 => String::new(),
        tokens => format!(" of {tokens} tokens"),
    };
    log::debug!("embedded {} texts{tokens} in {seconds:.2} s", made.texts);
    // After a failure as well: what was made by then is not made again.
    source.keep();
    drop(entered);
    figures.end();
    ran.and(wrote).map(|()| Outcome::Done)
}

/// Runs the model on windows, until their end or until nobody takes what it makes.
fn embed(
    (ready, ending): (&Receiver<Result<Option<Window>, Error>>, &Ending),
    batches: &SyncSender<Next>,
    (source, schema): (&Source, &SchemaRef),
    made: &mut Made,
) -> Result<(), Error> {
    loop {
        meter::idle();
        // A thread that panics ends its windows without a word: that is no seal.
        let window = ready.recv().map_err(|_| Error::Thread)?;
        let Some(window) = window? else {
            return match ending.take() {
                Some(error) => Err(error.into()),
                None if ending.is_sealed() => {
                    // A writer that has failed says why.
                    let _ = batches.send(Next::Seal(*made));
                    Ok(())
                }
                None => Err(Error::Thread),
            };
        };
        meter::batch("embed", window.batch.num_rows());
        let batch = window.embed(schema, source, made)?;
        meter::idle();
        if batches.send(Next::Rows(batch, *made)).is_err() {
            // The writer has failed, and says why.
            return Ok(());
        }
    }
}

/// Windows that wait for the next thread.
const WAITING: usize = 1;

/// Cuts batches into windows and makes their texts ready, until an error, or until nobody takes
/// them.
fn prepare(
    batches: &crossbeam_channel::Receiver<RecordBatch>,
    source: &Source,
    windows: &SyncSender<Result<Option<Window>, Error>>,
) {
    for batch in batches {
        let mut start = 0;
        while start < batch.num_rows() {
            let length = source.embedder.window().min(batch.num_rows() - start);
            meter::batch("prepare", length);
            let window = Window::new(batch.slice(start, length), source);
            let is_last = window.is_err();
            meter::idle();
            if windows.send(window.map(Some)).is_err() || is_last {
                return;
            }
            start += length;
        }
    }
    // Nobody takes it where the model has failed.
    let _ = windows.send(Ok(None));
}

fn output_schema(
    input: &StreamReader,
    embedder: &dyn Embedder,
    vector_type: VectorType,
) -> SchemaRef {
    let mut metadata = input.metadata().clone();
    let model = embedder.model();
    let mut stage = tool::stage(TOOL, VERSION);
    stage
        .extra
        .insert("model".to_owned(), model.id.as_str().into());
    stage
        .extra
        .insert("model_sha256".to_owned(), model.sha256.as_str().into());
    metadata.chain.push(stage);
    metadata.model = Some(model.clone());
    let mut fields: Vec<Arc<Field>> = input.schema().fields().to_vec();
    if fields.iter().any(|field| field.name() == VECTOR) {
        log::warn!("the input has vectors already, they are replaced");
        fields.retain(|field| field.name() != VECTOR);
    }
    let number = match vector_type {
        VectorType::F32 => DataType::Float32,
        VectorType::F16 => DataType::Float16,
    };
    let item = Field::new("item", number, true);
    let width = i32::try_from(model.dim).unwrap_or(i32::MAX);
    let vector = DataType::FixedSizeList(Arc::new(item), width);
    fields.push(Arc::new(Field::new(VECTOR, vector, true)));
    Arc::new(metadata.apply(Schema::new(fields)))
}

/// Some rows of a batch, ready for the model.
struct Window {
    batch: RecordBatch,
    /// Which of them are embedded.
    puts: Vec<usize>,
    /// The vectors of those that the cache had.
    vectors: Vec<Option<Vec<f32>>>,
    /// What the others are called in the cache, if there is one.
    keys: Vec<Key>,
    /// The texts of the others.
    texts: Prepared,
}

impl Window {
    /// Takes the texts of rows.
    ///
    /// # Errors
    /// [`Error::Stream`] for rows of another shape, [`Error::Chunk`] for one without content,
    /// [`Error::Tokenizer`].
    fn new(batch: RecordBatch, source: &Source) -> Result<Self, Error> {
        let rows = Rows::new(&batch)?;
        let puts: Vec<usize> = (0..rows.len())
            .filter(|row| rows.op(*row) == Op::Put)
            .collect();
        let prefix = &source.embedder.model().document_prefix;
        let mut vectors = Vec::with_capacity(puts.len());
        let mut keys = Vec::new();
        let mut texts = Vec::new();
        for row in &puts {
            let content = rows.content(*row).ok_or_else(|| Error::Chunk {
                chunk: rows.locate(*row),
                cause: "has no content to embed".to_owned(),
                hint: None,
            })?;
            let (path, symbol) = (rows.path(*row), rows.symbol(*row));
            if let Some(cache) = &source.cache {
                // Not the row's own hash: a stage of somebody else's may have changed the text.
                let key = Key::of(&content_hash(path, symbol, content));
                let known = cache.get(key);
                let is_known = known.is_some();
                vectors.push(known);
                if is_known {
                    continue;
                }
                keys.push(key);
            } else {
                vectors.push(None);
            }
            texts.push(format!("{prefix}{}", document(path, symbol, content)));
        }
        Ok(Self {
            puts,
            vectors,
            keys,
            texts: source.embedder.prepare(texts)?,
            batch,
        })
    }

    /// Returns the rows with their vectors, null where there is nothing to embed, and adds to what
    /// the model `made`.
    fn embed(
        self,
        schema: &SchemaRef,
        source: &Source,
        made: &mut Made,
    ) -> Result<RecordBatch, Error> {
        let rows = Rows::new(&self.batch)?;
        let missing: Vec<usize> = (0..self.puts.len())
            .filter(|at| self.vectors[*at].is_none())
            .collect();
        let run = || {
            let (texts, tokens) = self.texts.size();
            let began = Instant::now();
            let vectors = source.embedder.run(self.texts);
            made.ran += began.elapsed();
            made.texts += texts as u64;
            made.tokens += tokens as u64;
            vectors.map_err(|error| error.of_chunk(|at| rows.locate(self.puts[missing[at]])))
        };
        let new = match missing.is_empty() {
            true => Vec::new(),
            false => run()?,
        };
        made.tokens += source.embedder.take_tokens();
        let mut vectors = self.vectors;
        for (at, vector) in missing.iter().zip(new) {
            vectors[*at] = Some(vector);
        }
        // One that is missing still has no numbers, which is refused like any other wrong number.
        let vectors: Vec<Vec<f32>> = vectors.into_iter().map(Option::unwrap_or_default).collect();
        let mut columns: Vec<ArrayRef> = schema
            .fields()
            .iter()
            .filter(|field| field.name() != VECTOR)
            .filter_map(|field| self.batch.column_by_name(field.name()).cloned())
            .collect();
        let dim = source.embedder.model().dim;
        let made = (self.puts.as_slice(), vectors.as_slice());
        columns.push(Arc::new(column(&rows, schema, dim, made)?));
        if let Some(cache) = &source.cache {
            let made = self
                .keys
                .iter()
                .zip(missing.iter().map(|at| vectors[*at].as_slice()));
            cache.put(made);
        }
        RecordBatch::try_new(Arc::clone(schema), columns)
            .map_err(|error| cs_common::Error::Arrow(error).into())
    }
}

/// Returns the column of the vectors that were `made` for some rows, null for the others.
fn column(
    rows: &Rows<'_>,
    schema: &SchemaRef,
    dim: usize,
    (puts, made): (&[usize], &[Vec<f32>]),
) -> Result<FixedSizeListArray, Error> {
    let (item, width) = match schema.field_with_name(VECTOR).map(Field::data_type) {
        Ok(DataType::FixedSizeList(item, width)) => (item, *width),
        _ => {
            return Err(Error::Stream(cs_common::Error::Column {
                column: VECTOR.to_owned(),
                cause: "is not in the output's schema".to_owned(),
            }));
        }
    };
    let vector_type = match item.data_type() {
        DataType::Float16 => VectorType::F16,
        _ => VectorType::F32,
    };
    let mut values = vec![0.0_f32; rows.len() * dim];
    let mut valid = vec![false; rows.len()];
    for (row, vector) in puts.iter().zip(made) {
        check(vector, dim, vector_type).map_err(|cause| Error::Chunk {
            chunk: rows.locate(*row),
            cause,
            hint: None,
        })?;
        values[row * dim..(row + 1) * dim].copy_from_slice(vector);
        valid[*row] = true;
    }
    let values: ArrayRef = match vector_type {
        VectorType::F32 => Arc::new(Float32Array::from(values)),
        VectorType::F16 => {
            let mut halves = vec![f16::ZERO; values.len()];
            halves.convert_from_f32_slice(&values);
            Arc::new(Float16Array::from(halves))
        }
    };
    FixedSizeListArray::try_new(Arc::clone(item), width, values, Some(valid.into()))
        .map_err(|error| cs_common::Error::Arrow(error).into())
}

/// The least number that f16 rounds to infinity: half a step above its largest, 65504.
const F16_INFINITE: f32 = 65520.0;

/// The largest number that f16 rounds to zero: half its smallest.
const F16_ZERO: f32 = 1.0 / 33_554_432.0;

/// Tells what is wrong with a vector, if it must not be passed on.
fn check(vector: &[f32], dim: usize, vector_type: VectorType) -> Result<(), String> {
    if vector.len() != dim {
        return Err(format!(
            "its vector has {} numbers, not {dim}",
            vector.len()
        ));
    }
    if !vector.iter().all(|value| value.is_finite()) {
        return Err("its vector is not finite".to_owned());
    }
    if vector.iter().all(|value| *value == 0.0) {
        return Err("its vector is all zeros".to_owned());
    }
    if vector_type == VectorType::F16 {
        if vector.iter().any(|value| value.abs() >= F16_INFINITE) {
            return Err("its vector has a number that f16 cannot hold".to_owned());
        }
        if vector.iter().all(|value| value.abs() <= F16_ZERO) {
            return Err("its vector is all zeros in f16".to_owned());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_that_mean_nothing_are_refused() {
        for vector_type in [VectorType::F32, VectorType::F16] {
            assert!(check(&[0.0, 1.0], 2, vector_type).is_ok());
            for (vector, cause) in [
                (&[1.0][..], "1 numbers"),
                (&[f32::NAN, 1.0], "not finite"),
                (&[f32::NEG_INFINITY, 1.0], "not finite"),
                (&[0.0, -0.0], "all zeros"),
            ] {
                let found = check(vector, 2, vector_type).unwrap_err();
                assert!(found.contains(cause), "{found}");
            }
        }
    }

    #[test]
    fn vectors_that_f16_would_spoil_are_refused() {
        let below = |value: f32| f32::from_bits(value.to_bits() - 1);
        let above = |value: f32| f32::from_bits(value.to_bits() + 1);
        for value in [F16_INFINITE, below(F16_INFINITE), F16_ZERO, above(F16_ZERO)] {
            let half = f16::from_f32(value);
            let is_good = half.is_finite() && half != f16::ZERO;
            let found = check(&[value, 0.0], 2, VectorType::F16);
            assert_eq!(found.is_ok(), is_good, "{value}");
            assert!(check(&[value, 0.0], 2, VectorType::F32).is_ok());
        }
    }
}
