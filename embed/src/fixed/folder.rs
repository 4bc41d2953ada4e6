//! Static models in a folder, as model2vec and sentence-transformers' `StaticEmbedding` write them.
//!
//! `config.json` says `normalize` and `max_length` (512 where it does not say); the tensors are
//! `embeddings`, of any type that model2vec makes, and after a quantisation of the vocabulary
//! `weights`, one for each id, and `mapping`, the row of each id. The numbers stay in the file,
//! which is mapped.

use std::fs::{self, File};
use std::io::Read as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use cs_common::metadata::Model;
use memmap2::Mmap;
use safetensors::tensor::{Metadata, TensorInfo};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokenizers::Tokenizer;

use super::numbers::{Kind, Numbers};
use super::{Memory, StaticModel, hex};
use crate::Error;
use crate::tokens::Pieces;

/// Tokens after which model2vec cuts a text where a model does not say.
const MAX_LENGTH: u64 = 512;

/// Bytes of the length before the header of a safetensors file.
const LENGTH_BYTES: usize = size_of::<u64>();

/// Where the files of a static model lie.
#[derive(Debug)]
pub(crate) struct Layout {
    config: PathBuf,
    tokenizer: PathBuf,
    weights: PathBuf,
    /// The tensor of the token vectors.
    embeddings: &'static str,
}

impl Layout {
    /// Looks whether a folder is that of a static model, in one of the layouts that model2vec
    /// reads.
    pub(crate) fn find(folder: &Path) -> Option<Self> {
        let sentence = "config_sentence_transformers.json";
        let layouts = [
            ("config.json", "", "embeddings"),
            (sentence, "", "embedding.weight"),
            (sentence, "0_StaticEmbedding", "embedding.weight"),
        ];
        layouts.into_iter().find_map(|(config, inner, embeddings)| {
            let weights = folder.join(inner).join("model.safetensors");
            let header = header(&weights)?;
            header.get(embeddings).is_some().then(|| Self {
                config: folder.join(config),
                tokenizer: folder.join(inner).join("tokenizer.json"),
                weights,
                embeddings,
            })
        })
    }
}

/// Reads the header of a safetensors file, if it is one.
fn header(path: &Path) -> Option<Value> {
    let mut file = File::open(path).ok()?;
    let mut length = [0; LENGTH_BYTES];
    file.read_exact(&mut length).ok()?;
    let header = file.take(u64::from_le_bytes(length));
    serde_json::from_reader(std::io::BufReader::new(header)).ok()
}

impl StaticModel {
    /// Opens the model in a folder, with a limit of tokens in place of its own if one is given.
    ///
    /// # Errors
    /// [`Error::File`] or [`Error::Model`] for a file that is missing or not model2vec's.
    pub(crate) fn open(
        id: &str,
        layout: &Layout,
        max_tokens: Option<usize>,
    ) -> Result<Self, Error> {
        let config = fs::read(&layout.config).map_err(Error::file(&layout.config))?;
        let config: Value =
            serde_json::from_slice(&config).map_err(|e| Error::model(&layout.config, e))?;
        let own = match &config["max_length"] {
            Value::Null if config.get("max_length").is_some() => None,
            length => usize::try_from(length.as_u64().unwrap_or(MAX_LENGTH)).ok(),
        };
        let max_tokens = max_tokens.or(own);

        let path = &layout.tokenizer;
        let json = fs::read(path).map_err(Error::file(path))?;
        let tokenizer = Tokenizer::from_bytes(json).map_err(|e| Error::model(path, e))?;
        let unknown = unknown(&tokenizer);
        let ids = tokenizer.get_vocab(true).into_values();
        let last_id = ids
            .max()
            .ok_or_else(|| Error::model(path, "has no tokens"))?;
        let characters = max_tokens.map_or(usize::MAX, |limit| characters(&tokenizer, limit));

        let path = &layout.weights;
        let file = File::open(path).map_err(Error::file(path))?;
        // SAFETY: the map is only read. Whoever cuts the file short meanwhile ends this process;
        // other changes make other numbers, which are checked before a vector is passed on.
        let map = unsafe { Mmap::map(&file) }.map_err(Error::file(path))?;
        let parts = Parts {
            path,
            id,
            sha256: hex(&Sha256::digest(&map)),
            memory: Memory::File(Arc::new(map)),
            embeddings: layout.embeddings,
            pieces: Pieces::new(tokenizer)?,
            unknown,
            last_id,
            characters,
            max_tokens,
            normalized: config["normalize"] == true,
        };
        parts.model()
    }
}

/// Returns the id of unknown tokens, which each kind of tokenizer names in its own way.
fn unknown(tokenizer: &Tokenizer) -> Option<u32> {
    let model = serde_json::to_value(tokenizer.get_model()).ok()?;
    match model["unk_token"].as_str() {
        Some(token) => tokenizer.token_to_id(token),
        None => u32::try_from(model["unk_id"].as_u64()?).ok(),
    }
}

/// Returns how many characters of a text model2vec looks at for a limit of tokens: as many as
/// that many tokens of the median length have.
pub(super) fn characters(tokenizer: &Tokenizer, limit: usize) -> usize {
    let tokens = tokenizer.get_vocab(true).into_keys();
    let mut lengths: Vec<usize> = tokens.map(|token| token.chars().count()).collect();
    lengths.sort_unstable();
    let (below, above) = ((lengths.len().max(1) - 1) / 2, lengths.len() / 2);
    let at = |at: usize| lengths.get(at).copied().unwrap_or_default();
    limit.saturating_mul((at(below) + at(above)) / 2)
}

/// What a static model is put together from.
pub(super) struct Parts<'a> {
    /// The file of the tensors.
    pub(super) path: &'a Path,
    pub(super) memory: Memory,
    /// The tensor of the token vectors.
    pub(super) embeddings: &'static str,
    pub(super) id: &'a str,
    pub(super) sha256: String,
    pub(super) pieces: Pieces,
    /// The id of unknown tokens.
    pub(super) unknown: Option<u32>,
    /// The highest id that the tokenizer gives.
    pub(super) last_id: u32,
    pub(super) characters: usize,
    pub(super) max_tokens: Option<usize>,
    pub(super) normalized: bool,
}

impl Parts<'_> {
    /// Checks that the tensors belong together and puts the model together.
    ///
    /// # Errors
    /// [`Error::Model`] for what an id of the tokenizer would not be found in.
    pub(super) fn model(self) -> Result<StaticModel, Error> {
        let path = self.path;
        let wrong = |cause: String| Error::model(path, cause);
        let (length, metadata) = SafeTensors::read_metadata(self.memory.bytes())
            .map_err(|error| Error::model(path, error))?;
        let tensors = Tensors {
            memory: &self.memory,
            start: LENGTH_BYTES + length,
            metadata: &metadata,
        };
        let name = self.embeddings;
        let info = metadata.info(name);
        let info = info.ok_or_else(|| wrong(format!("has no tensor {name}")))?;
        let (Some(kind), [rows, dim]) = (Kind::of(info.dtype), info.shape.as_slice()) else {
            let shape = format!("{name} is {:?} of {:?}", info.shape, info.dtype);
            return Err(wrong(format!("{shape}, rows of floats or of int8 are due")));
        };
        let weights = tensors.weights().map_err(wrong)?;
        let mapping = tensors.mapping(*rows).map_err(wrong)?;
        let short = |name: &str, length: usize| {
            let cause = format!("{name} has {length} entries, the tokenizer's last id is");
            let is_short = length <= self.last_id as usize;
            is_short.then(|| wrong(format!("{cause} {}", self.last_id)))
        };
        let found = match &mapping {
            Some(mapping) => short("mapping", mapping.len()),
            None => short(name, *rows),
        };
        let found = found.or_else(|| short("weights", weights.as_ref()?.1));
        if let Some(error) = found {
            return Err(error);
        }
        let rows = Numbers::new(self.memory.clone(), tensors.range(info), kind);
        Ok(StaticModel {
            arch: pulp::Arch::new(),
            rows,
            unknown: self.unknown,
            characters: self.characters,
            pieces: self.pieces,
            tokens: AtomicU64::new(0),
            model: Model {
                id: self.id.to_owned(),
                sha256: self.sha256,
                dim: *dim,
                dtype: kind.name().to_owned(),
                pooling: match &weights {
                    Some(_) => "weighted-mean".to_owned(),
                    None => "mean".to_owned(),
                },
                normalized: self.normalized,
                max_tokens: self.max_tokens,
                query_prefix: String::new(),
                document_prefix: String::new(),
                endpoint: None,
            },
            weights: weights.map(|(numbers, _)| numbers),
            mapping,
        })
    }
}

/// The tensors of a file.
struct Tensors<'a> {
    memory: &'a Memory,
    /// Where their bytes begin.
    start: usize,
    metadata: &'a Metadata,
}

impl Tensors<'_> {
    fn range(&self, info: &TensorInfo) -> Range<usize> {
        let (from, to) = info.data_offsets;
        self.start + from..self.start + to
    }

    /// Returns the factors of ids, and how many there are.
    fn weights(&self) -> Result<Option<(Numbers, usize)>, String> {
        let Some(info) = self.metadata.info("weights") else {
            return Ok(None);
        };
        let (Some(kind), [length]) = (Kind::of(info.dtype), info.shape.as_slice()) else {
            return Err(format!("weights are {:?} of {:?}", info.shape, info.dtype));
        };
        let numbers = Numbers::new(self.memory.clone(), self.range(info), kind);
        Ok(Some((numbers, *length)))
    }

    /// Returns the rows of ids, each checked to be one of `rows`.
    fn mapping(&self, rows: usize) -> Result<Option<Vec<u32>>, String> {
        let Some(info) = self.metadata.info("mapping") else {
            return Ok(None);
        };
        let bytes = &self.memory.bytes()[self.range(info)];
        let numbers: Vec<i64> = match info.dtype {
            Dtype::I32 => {
                let numbers = bytes.as_chunks().0.iter();
                numbers.map(|b| i64::from(i32::from_le_bytes(*b))).collect()
            }
            Dtype::I64 => {
                let numbers = bytes.as_chunks().0.iter();
                numbers.map(|b| i64::from_le_bytes(*b)).collect()
            }
            other => return Err(format!("mapping is of {other:?}, not of I32 or I64")),
        };
        let row = |number: i64| {
            let row = u32::try_from(number).ok();
            row.filter(|row| (*row as usize) < rows)
                .ok_or_else(|| format!("mapping names row {number} of {rows}"))
        };
        numbers
            .into_iter()
            .map(row)
            .collect::<Result<_, _>>()
            .map(Some)
    }
}
