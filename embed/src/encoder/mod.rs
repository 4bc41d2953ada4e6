//! Transformer encoders: a family's files become one description, which an engine runs.
//!
//! Three parts read a folder. `folder.rs` reads the files of sentence-transformers: pooling, the
//! maps after it, prefixes, limits. Flags take precedence over files. `families` turns
//! `config.json` and the names of tensors into the description in `spec`. `tensors` reads
//! safetensors. `pooling` is shared by all engines.
//!
//! There are two engines. `cpu` is for processors. `candle` runs candle's tensors. It is for cards,
//! and the other engine is tested against it. candle-transformers is not used: its models pad, each
//! in its own way, and support neither packing nor every family.
//!
//! Texts are given to an engine from the longest to the shortest, so that texts that run together
//! have about the same length. A text's vector does not depend on the texts that it runs with.

mod candle;
mod checkpoint;
mod classifier;
mod config;
mod families;
mod pooling;
pub(crate) mod spec;
mod tensors;

use std::fs;
use std::path::{Path, PathBuf};

use cs_common::metadata::Model;
use tokenizers::Tokenizer;
use tokenizers::normalizers::{Lowercase, NormalizerWrapper, Sequence};

pub(crate) use families::names as families;
pub use pooling::Pooling;

pub(crate) use checkpoint::Checkpoint;
pub(crate) use classifier::Classifier;
pub(crate) use config::Config;
pub(crate) use pooling::{Head, Projection};
pub(crate) use tensors::{Digest, Tensors};

use crate::cpu::{CpuEngine, Machine};
use crate::folder::{Recipe, RecipeArgs};
use crate::tokens::Encoder;
use crate::{DeviceName, Embedder, Error, ModelSpec, Prepared};
use candle::CandleEngine;

/// What computes an encoder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EngineName {
    /// Our own kernels on the processor, candle's on a card.
    #[default]
    Native,
    /// candle's tensors wherever it runs.
    Candle,
}

/// Texts that a card is given at once: a stream's batches have hardly more.
const CARD_WINDOW: usize = 2048;

/// The tokens of a text, or of a pair of texts, special ones included.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text<'a> {
    /// Their ids.
    pub(crate) ids: &'a [u32],
    /// The segment of each one, which of a pair's texts it is of; empty where all are of the first.
    pub(crate) segments: &'a [u32],
}

impl<'a> Text<'a> {
    /// Takes a text that is no pair.
    pub(crate) fn single(ids: &'a [u32]) -> Self {
        let segments = &[];
        Self { ids, segments }
    }

    /// Returns how many tokens there are.
    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    /// Returns the segment of a token.
    #[inline(always)]
    pub(crate) fn segment(&self, token: usize) -> usize {
        self.segments
            .get(token)
            .map_or(0, |segment| *segment as usize)
    }
}

/// Texts, the longest first; none is empty.
pub(crate) type Batch<'a> = [Text<'a>];

/// Computes an encoder.
pub(crate) trait Engine: Send + Sync {
    /// Returns the pooled state of each text.
    ///
    /// # Errors
    /// [`Error::Inference`] if the arithmetic fails, [`Error::Device`] if a card does,
    /// [`Error::Text`] for one for which there is no room.
    fn run(&self, batch: &Batch<'_>, pooling: Pooling) -> Result<Vec<Vec<f32>>, Error>;
}

/// An encoder with its tokenizer and all that makes a vector of a text.
pub(crate) struct EncoderModel {
    tokens: Encoder,
    engine: Box<dyn Engine>,
    pooling: Pooling,
    head: Head,
    model: Model,
    /// Texts that are given at once.
    window: usize,
    folder: PathBuf,
}

impl EncoderModel {
    /// Opens a folder with `config.json`, `tokenizer.json`, weights in safetensors, and what
    /// sentence-transformers puts beside them.
    ///
    /// # Errors
    /// [`Error::File`] or [`Error::Model`] for a file that is missing or asks for what is not
    /// done here, [`Error::Device`] if the device cannot be had or cannot hold the model.
    pub(crate) fn open(id: &str, folder: &Path, spec: &ModelSpec) -> Result<Self, Error> {
        let recipe = Recipe::read(folder, &spec.recipe)?;
        let checkpoint = Checkpoint::open(&recipe.encoder)?;
        let mut digest = checkpoint.digest();
        if let Some(other) = recipe.digest {
            digest.extend(other);
        }
        let architecture = checkpoint.architecture();
        let hidden = architecture.hidden;
        recipe
            .head
            .check(hidden)
            .map_err(|cause| Error::model(folder, cause))?;
        let limit = architecture.max_tokens;
        let max_tokens = recipe.max_tokens.map_or(limit, |own| own.min(limit));
        let tokenizer = read_tokenizer(&recipe.encoder, folder, recipe.lower_case)?;
        check_vocabulary(
            &tokenizer,
            checkpoint.ends()?.tokens.rows(),
            &recipe.encoder,
        )?;
        let (engine, dtype) = load(&checkpoint, &recipe.encoder, spec)?;
        Ok(Self {
            tokens: Encoder::new(tokenizer, Some(max_tokens))?,
            engine,
            pooling: recipe.pooling,
            window: match spec.device {
                DeviceName::Cpu => 256,
                DeviceName::Cuda(_) => CARD_WINDOW,
            },
            model: Model {
                id: id.to_owned(),
                sha256: digest.finish()?,
                dim: recipe.head.dim(hidden),
                dtype: dtype.to_owned(),
                pooling: recipe.pooling.name().to_owned(),
                normalized: recipe.head.normalize,
                max_tokens: Some(max_tokens),
                query_prefix: recipe.query_prefix,
                document_prefix: recipe.document_prefix,
                endpoint: None,
            },
            head: recipe.head,
            folder: folder.to_owned(),
        })
    }
}

impl Embedder for EncoderModel {
    fn model(&self) -> &Model {
        &self.model
    }

    fn window(&self) -> usize {
        self.window
    }

    fn cache_key(&self) -> Result<Option<String>, Error> {
        settings_hash(&self.folder).map(Some)
    }

    fn prepare(&self, texts: Vec<String>) -> Result<Prepared, Error> {
        Ok(Prepared::Ids(self.tokens.encode_all(&texts)?))
    }

    fn run(&self, texts: Prepared) -> Result<Vec<Vec<f32>>, Error> {
        let ids = match texts {
            Prepared::Ids(ids) => ids,
            Prepared::Texts(texts) => self.tokens.encode_all(&texts)?,
        };
        let texts: Vec<Text<'_>> = ids.iter().map(|ids| Text::single(ids)).collect();
        let pooled = run_all(self.engine.as_ref(), &texts, self.pooling)?;
        let vector = |pooled: Vec<f32>| match pooled.is_empty() {
            // Zeros are never passed on.
            true => vec![0.0; self.model.dim],
            false => self.head.finish(pooled),
        };
        Ok(pooled.into_iter().map(vector).collect())
    }
}

/// Loads an encoder into the engine that is wanted, and says in which numbers it computes.
///
/// # Errors
/// Those of the engines.
pub(crate) fn load(
    checkpoint: &Checkpoint,
    folder: &Path,
    spec: &ModelSpec,
) -> Result<(Box<dyn Engine>, &'static str), Error> {
    let machine = Machine::detect();
    let config = Config::read(&folder.join("config.json"))?;
    let own = config.text("dtype").or(config.text("torch_dtype"));
    if spec.engine == EngineName::Native && spec.device == DeviceName::Cpu {
        let precision = spec.precision.choose(own, &machine)?;
        let engine = CpuEngine::load(checkpoint, precision, machine)?;
        return Ok((Box::new(engine), precision.name()));
    }
    let device = spec.device.to_string();
    let dtype = spec.precision.choose_tensors(own, &device)?;
    let engine = CandleEngine::load(checkpoint, &spec.device, dtype)?;
    Ok((Box::new(engine), dtype.as_str()))
}

/// Runs texts and returns their pooled states, in their order; nothing for one of no tokens.
///
/// # Errors
/// Those of [`Engine::run`].
pub(crate) fn run_all(
    engine: &dyn Engine,
    texts: &[Text<'_>],
    pooling: Pooling,
) -> Result<Vec<Vec<f32>>, Error> {
    let mut order: Vec<usize> = (0..texts.len())
        .filter(|text| texts[*text].len() > 0)
        .collect();
    order.sort_by_key(|text| std::cmp::Reverse(texts[*text].len()));
    let batch: Vec<Text<'_>> = order.iter().map(|text| texts[*text]).collect();
    let made = engine.run(&batch, pooling);
    let made = made.map_err(|error| error.moved(|at| order[at]))?;
    let mut pooled = vec![Vec::new(); texts.len()];
    for (text, made) in order.into_iter().zip(made) {
        pooled[text] = made;
    }
    Ok(pooled)
}

/// Tells whether a folder's model can be run, by its configuration and the names of its tensors.
///
/// # Errors
/// Those of [`EncoderModel::open`].
pub(crate) fn check(folder: &Path) -> Result<(), Error> {
    let recipe = Recipe::read(folder, &RecipeArgs::default())?;
    Checkpoint::open(&recipe.encoder).map(drop)
}

/// Returns a hash over everything in a model's folder that decides about vectors and is no weight:
/// tokenizer, configuration, pooling.
fn settings_hash(folder: &Path) -> Result<String, Error> {
    let mut files = json_files(folder)?;
    for entry in entries(folder)? {
        if entry.is_dir() {
            files.extend(json_files(&entry)?);
        }
    }
    files.sort();
    let mut hasher = blake3::Hasher::new();
    for path in files {
        let bytes = fs::read(&path).map_err(Error::file(&path))?;
        let name = path.strip_prefix(folder).unwrap_or(&path);
        hasher.update(name.as_os_str().as_encoded_bytes());
        hasher.update(blake3::hash(&bytes).as_bytes());
    }
    Ok(hasher.finalize().to_hex().to_string())
}

fn json_files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let is_json = |path: &PathBuf| path.extension().is_some_and(|end| end == "json");
    let mut files = entries(folder)?;
    files.retain(|path| is_json(path) && path.is_file());
    Ok(files)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = fs::read_dir(folder).map_err(Error::file(folder))?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    paths.collect::<Result<_, _>>().map_err(Error::file(folder))
}

/// Reads the tokenizer, which lies with the weights or in the model's folder.
///
/// # Errors
/// [`Error::File`], [`Error::Model`] for what is no tokenizer.
pub(crate) fn read_tokenizer(
    encoder: &Path,
    folder: &Path,
    lower_case: bool,
) -> Result<Tokenizer, Error> {
    let beside = encoder.join("tokenizer.json");
    let path = if beside.exists() {
        beside
    } else {
        folder.join("tokenizer.json")
    };
    let bytes = fs::read(&path).map_err(Error::file(&path))?;
    let mut tokenizer = Tokenizer::from_bytes(bytes).map_err(|error| Error::model(&path, error))?;
    if lower_case {
        let mut steps = vec![NormalizerWrapper::from(Lowercase)];
        steps.extend(tokenizer.get_normalizer().cloned());
        tokenizer
            .with_normalizer(Some(Sequence::new(steps)))
            .map_err(Error::Tokenizer)?;
    }
    Ok(tokenizer)
}

/// Refuses a tokenizer that has tokens without a row.
///
/// # Errors
/// [`Error::Model`].
pub(crate) fn check_vocabulary(
    tokenizer: &Tokenizer,
    rows: usize,
    folder: &Path,
) -> Result<(), Error> {
    let vocabulary = tokenizer.get_vocab(true);
    match vocabulary.iter().find(|(_, id)| **id as usize >= rows) {
        None => Ok(()),
        Some((token, id)) => {
            let cause = format!(
                "its tokenizer has the token `{token}` with the id {id}, its weights have {rows} rows of tokens"
            );
            Err(Error::model(folder, cause))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Reference {
        rows: Vec<Row>,
    }

    #[derive(Deserialize)]
    struct Row {
        text: Option<String>,
        prompt: Option<String>,
        tokens: usize,
        ids: Option<Vec<u32>>,
    }

    #[test]
    fn token_ids_are_those_of_transformers() {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/encoders");
        let mut seen = 0;
        for entry in fs::read_dir(data).unwrap() {
            let folder = entry.unwrap().path();
            let spec = ModelSpec::default();
            let model = EncoderModel::open("id", &folder, &spec).unwrap();
            let json = fs::read(folder.join("reference.json")).unwrap();
            let reference: Reference = serde_json::from_slice(&json).unwrap();
            for row in reference.rows.iter().filter(|row| row.prompt.is_none()) {
                let (Some(text), Some(expected)) = (&row.text, &row.ids) else {
                    continue;
                };
                let ids = model.tokens.encode(text).unwrap();
                assert_eq!(&ids, expected, "{text:?} in {}", folder.display());
                assert_eq!(ids.len(), row.tokens);
                seen += 1;
            }
        }
        assert!(seen > 30, "{seen}");
    }
}
