//! BERT encoders: a sentence-transformers folder, run by candle.
//!
//! Texts are sorted by their number of tokens and run in batches of about equal length, so that
//! little padding is computed; a text's vector does not depend on the batch that it is in.

use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{D, DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config};
use cs_common::metadata::Model;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use tokenizers::Tokenizer;

use crate::fixed::hex;
use crate::tokens::Encoder;
use crate::{Embedder, Error};

/// Tokens of one batch, padding included.
const BATCH_TOKENS: usize = 4096;

/// How the vectors of a text's tokens become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pooling {
    Mean,
    Cls,
}

/// A BERT encoder with its tokenizer.
pub(crate) struct BertEncoder {
    encoder: Encoder,
    bert: BertModel,
    pooling: Pooling,
    device: Device,
    model: Model,
}

/// What may be asked of an encoder beyond its own files.
#[derive(Clone, Debug, Default)]
pub(crate) struct BertOptions {
    /// Tokens after which a text is cut, instead of the model's own limit.
    pub(crate) max_tokens: Option<usize>,
}

#[derive(Debug, Deserialize)]
struct Architecture {
    model_type: Option<String>,
    max_position_embeddings: usize,
}

#[derive(Debug, Deserialize)]
struct Module {
    path: String,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Debug, Default, Deserialize)]
struct SentenceConfig {
    max_seq_length: Option<usize>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PoolingConfig {
    pooling_mode_cls_token: bool,
    pooling_mode_mean_tokens: bool,
}

impl BertEncoder {
    /// Loads `config.json`, `tokenizer.json`, `model.safetensors` and what sentence-transformers
    /// adds to them (`modules.json`, `sentence_bert_config.json`, the pooling's `config.json`).
    ///
    /// # Errors
    /// [`Error::File`] or [`Error::Model`] for a file that is missing or of another family.
    pub(crate) fn load(
        id: &str,
        folder: &Path,
        device: Device,
        options: &BertOptions,
    ) -> Result<Self, Error> {
        let config_path = folder.join("config.json");
        let architecture: Architecture = read_json(&config_path)?;
        let family = architecture.model_type.as_deref().unwrap_or("bert");
        if family != "bert" {
            let cause = format!("its model_type is {family}; encoders of type bert are supported");
            return Err(Error::model(&config_path, cause));
        }
        let config: Config = read_json(&config_path)?;
        let (pooling, normalized) = read_modules(folder)?;
        let sentence: SentenceConfig =
            read_json_or_default(&folder.join("sentence_bert_config.json"))?;
        let positions = architecture.max_position_embeddings;
        let own = sentence.max_seq_length.unwrap_or(positions).min(positions);
        let max_tokens = options
            .max_tokens
            .map_or(own, |wanted| wanted.min(positions));

        let path = folder.join("tokenizer.json");
        let bytes = fs::read(&path).map_err(Error::file(&path))?;
        let tokenizer = Tokenizer::from_bytes(bytes).map_err(|error| Error::model(&path, error))?;
        let encoder = Encoder::new(tokenizer, Some(max_tokens))?;

        let path = folder.join("model.safetensors");
        let weights = fs::read(&path).map_err(Error::file(&path))?;
        let sha256 = hex(&Sha256::digest(&weights));
        let tensors = VarBuilder::from_buffered_safetensors(weights, DType::F32, &device)
            .map_err(|error| Error::model(&path, error))?;
        let bert = BertModel::load(tensors, &config).map_err(|error| Error::model(&path, error))?;
        Ok(Self {
            encoder,
            bert,
            pooling,
            device,
            model: Model {
                id: id.to_owned(),
                sha256,
                dim: config.hidden_size,
                dtype: "f32".to_owned(),
                pooling: match pooling {
                    Pooling::Mean => "mean".to_owned(),
                    Pooling::Cls => "cls".to_owned(),
                },
                normalized,
                max_tokens: Some(max_tokens),
                query_prefix: String::new(),
                document_prefix: String::new(),
            },
        })
    }

    /// Runs texts of `ids`, padded to the longest, and returns a vector each.
    fn run(&self, batch: &[&[u32]]) -> Result<Vec<Vec<f32>>, Error> {
        let longest = batch.iter().map(|ids| ids.len()).max().unwrap_or_default();
        let shape = (batch.len(), longest);
        let mut ids = vec![0_u32; batch.len() * longest];
        let mut mask = vec![0_u32; batch.len() * longest];
        for (row, text) in batch.iter().enumerate() {
            let at = row * longest;
            ids[at..at + text.len()].copy_from_slice(text);
            mask[at..at + text.len()].fill(1);
        }
        let ids = Tensor::from_vec(ids, shape, &self.device)?;
        let mask = Tensor::from_vec(mask, shape, &self.device)?;
        let hidden = self.bert.forward(&ids, &ids.zeros_like()?, Some(&mask))?;
        let pooled = match self.pooling {
            Pooling::Cls => hidden.narrow(1, 0, 1)?.squeeze(1)?,
            Pooling::Mean => {
                let mask = mask.to_dtype(DType::F32)?.unsqueeze(2)?;
                let sum = hidden.broadcast_mul(&mask)?.sum(1)?;
                sum.broadcast_div(&mask.sum(1)?)?
            }
        };
        let pooled = if self.model.normalized {
            let norm = pooled.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?;
            // The smallest norm of torch.nn.functional.normalize.
            pooled.broadcast_div(&norm.maximum(1e-12)?)?
        } else {
            pooled
        };
        Ok(pooled.to_vec2()?)
    }
}

impl Embedder for BertEncoder {
    fn model(&self) -> &Model {
        &self.model
    }

    fn window(&self) -> usize {
        256
    }

    fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, Error> {
        let ids = self.encoder.encode_all(texts)?;
        let mut order: Vec<usize> = (0..ids.len()).collect();
        order.sort_by_key(|text| std::cmp::Reverse(ids[*text].len()));
        let mut vectors = vec![Vec::new(); ids.len()];
        let mut rest = order.as_slice();
        while let Some(first) = rest.first() {
            let longest = ids[*first].len().max(1);
            let count = (BATCH_TOKENS / longest).clamp(1, rest.len());
            let (now, later) = rest.split_at(count);
            let batch: Vec<&[u32]> = now.iter().map(|text| ids[*text].as_slice()).collect();
            for (text, vector) in now.iter().zip(self.run(&batch)?) {
                vectors[*text] = vector;
            }
            rest = later;
        }
        Ok(vectors)
    }
}

/// Reads how vectors are pooled and whether they are normalised; as sentence-transformers does,
/// a folder without `modules.json` is taken for mean pooling without normalisation.
fn read_modules(folder: &Path) -> Result<(Pooling, bool), Error> {
    let path = folder.join("modules.json");
    if !path.exists() {
        return Ok((Pooling::Mean, false));
    }
    let modules: Vec<Module> = read_json(&path)?;
    let of_kind = |kind: &str| modules.iter().find(|module| module.kind.ends_with(kind));
    let pooling = match of_kind(".Pooling") {
        None => Pooling::Mean,
        Some(module) => {
            let path: PathBuf = folder.join(&module.path).join("config.json");
            let config: PoolingConfig = read_json(&path)?;
            match (
                config.pooling_mode_mean_tokens,
                config.pooling_mode_cls_token,
            ) {
                (true, false) => Pooling::Mean,
                (false, true) => Pooling::Cls,
                _ => return Err(Error::model(&path, "pooling is neither mean nor cls alone")),
            }
        }
    };
    Ok((pooling, of_kind(".Normalize").is_some()))
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let bytes = fs::read(path).map_err(Error::file(path))?;
    serde_json::from_slice(&bytes).map_err(|error| Error::model(path, error))
}

fn read_json_or_default<T: DeserializeOwned + Default>(path: &Path) -> Result<T, Error> {
    if path.exists() {
        read_json(path)
    } else {
        Ok(T::default())
    }
}
