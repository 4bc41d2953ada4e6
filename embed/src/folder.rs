//! What sentence-transformers puts beside an encoder's weights: how its states become vectors.
//!
//! Files that are missing mean what they mean there: no `modules.json` is mean pooling without
//! normalisation, no prompts are empty ones.

use std::fs;
use std::path::{Path, PathBuf};

use cs_common::metadata::Model;
use serde::Deserialize;
use serde_json::Value;

use crate::Error;
use crate::encoder::{Config, Digest, Head, Pooling, Projection, Tensors};

/// The keys of older pooling configs, and the word that is now said instead.
const POOLING_FLAGS: [(&str, &str); 6] = [
    ("pooling_mode_cls_token", "cls"),
    ("pooling_mode_max_tokens", "max"),
    ("pooling_mode_mean_tokens", "mean"),
    ("pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens"),
    ("pooling_mode_weightedmean_tokens", "weightedmean"),
    ("pooling_mode_lasttoken", "lasttoken"),
];

/// The longest limit of tokens that is one: tokenizers without any say 10^30.
const LIMIT: f64 = 1e9;

/// What may be said of an encoder in place of its own files.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
#[command(next_help_heading = "How an encoder embeds (default: as its files say)")]
pub struct RecipeArgs {
    /// Text before each question, such as "query: "
    #[arg(long, value_name = "TEXT")]
    pub query_prefix: Option<String>,

    /// Text before each chunk, such as "passage: "
    #[arg(long, value_name = "TEXT")]
    pub document_prefix: Option<String>,

    /// How the vectors of tokens become one
    #[arg(long, value_enum, value_name = "HOW")]
    pub pooling: Option<Pooling>,

    /// Whether vectors are brought to length 1
    #[arg(long, value_name = "BOOL")]
    pub normalize: Option<bool>,

    /// Cut a text after this many tokens, at most the model's own limit
    #[arg(long, value_name = "N", value_parser = max_tokens)]
    pub max_tokens: Option<usize>,
}

/// Reads a limit of tokens; fewer than 8 leave no room for a text beside special tokens.
fn max_tokens(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(tokens) if tokens >= 8 => Ok(tokens),
        _ => Err("expected a number of at least 8".to_owned()),
    }
}

impl RecipeArgs {
    /// Returns what makes an encoder embed as the model of a store did; nothing for a model that
    /// is no encoder.
    pub(crate) fn of(model: &Model) -> Self {
        match Pooling::from_name(&model.pooling) {
            None => Self {
                max_tokens: model.max_tokens,
                ..Self::default()
            },
            pooling => Self {
                query_prefix: Some(model.query_prefix.clone()),
                document_prefix: Some(model.document_prefix.clone()),
                pooling,
                normalize: Some(model.normalized),
                max_tokens: model.max_tokens,
            },
        }
    }
}

/// How an encoder's states become vectors.
pub(crate) struct Recipe {
    /// The folder of the encoder itself.
    pub(crate) encoder: PathBuf,
    /// How the vectors of tokens become one.
    pub(crate) pooling: Pooling,
    /// What follows.
    pub(crate) head: Head,
    /// What identifies the head's weights, if it has any.
    pub(crate) digest: Option<Digest>,
    /// Tokens after which a text is cut, if that is said.
    pub(crate) max_tokens: Option<usize>,
    /// Whether texts are lower-cased before the tokenizer sees them.
    pub(crate) lower_case: bool,
    /// Text before a question.
    pub(crate) query_prefix: String,
    /// Text before a chunk.
    pub(crate) document_prefix: String,
    /// Whether the model's vectors are made to be compared by their angle.
    by_angle: bool,
}

#[derive(Debug, Deserialize)]
struct Module {
    #[serde(default)]
    path: String,
    #[serde(rename = "type")]
    kind: String,
}

impl Recipe {
    /// Reads a folder; what `args` say goes before what stands there.
    ///
    /// # Errors
    /// [`Error::File`] or [`Error::Model`] for a file that is missing or asks for what is not
    /// done here.
    pub(crate) fn read(folder: &Path, args: &RecipeArgs) -> Result<Self, Error> {
        let mut recipe = Self {
            encoder: folder.to_owned(),
            pooling: args.pooling.unwrap_or_default(),
            head: Head::default(),
            digest: None,
            max_tokens: None,
            lower_case: false,
            query_prefix: String::new(),
            document_prefix: String::new(),
            by_angle: true,
        };
        recipe.read_prompts(folder)?;
        if let Some(prefix) = &args.query_prefix {
            recipe.query_prefix.clone_from(prefix);
        }
        if let Some(prefix) = &args.document_prefix {
            recipe.document_prefix.clone_from(prefix);
        }
        recipe.read_modules(folder, args)?;
        if let Some(normalize) = args.normalize {
            recipe.head.normalize = normalize;
        }
        if !recipe.by_angle && !recipe.head.normalize {
            log::warn!(
                "{}: made to be compared by something else than the angle, which a store compares by",
                folder.display()
            );
        }
        let limits = Limits::read(&recipe.encoder)?;
        recipe.lower_case = limits.lower_case;
        recipe.max_tokens = args.max_tokens.or(limits.max_tokens);
        Ok(recipe)
    }

    /// Reads `config_sentence_transformers.json`: prompts, and how many dimensions are kept.
    fn read_prompts(&mut self, folder: &Path) -> Result<(), Error> {
        let config = Config::read_if_there(&folder.join("config_sentence_transformers.json"))?;
        let prompts = config.below("prompts");
        let default = config.text("default_prompt_name");
        // The names that sentence-transformers tries for questions and for documents.
        let prompt = |names: &[&'static str]| {
            let mut names = names.iter().copied().chain(default);
            let found = names.find_map(|name| prompts.text(name));
            found.unwrap_or_default().to_owned()
        };
        self.query_prefix = prompt(&["query"]);
        self.document_prefix = prompt(&["document", "passage", "corpus"]);
        self.head.dims = config.size_if_there("truncate_dim")?;
        self.by_angle = config
            .text("similarity_fn_name")
            .is_none_or(|name| name == "cosine");
        Ok(())
    }

    /// Reads `modules.json` and what it lists.
    fn read_modules(&mut self, folder: &Path, args: &RecipeArgs) -> Result<(), Error> {
        let path = folder.join("modules.json");
        if !path.exists() {
            return Ok(());
        }
        let bytes = fs::read(&path).map_err(Error::file(&path))?;
        let modules: Vec<Module> =
            serde_json::from_slice(&bytes).map_err(|error| Error::model(&path, error))?;
        for (index, module) in modules.iter().enumerate() {
            let kind = module.kind.rsplit('.').next().unwrap_or_default();
            let own = folder.join(&module.path);
            match (index, kind) {
                (0, "Transformer") => self.encoder = own,
                (1.., "Pooling") if self.head.is_empty() => self.read_pooling(&own, args)?,
                (1.., "Dense") if !self.head.normalize => self.read_dense(&own)?,
                (1.., "Normalize") => self.head.normalize = true,
                _ => {
                    let cause = format!(
                        "module {index} is `{}`; a Transformer is supported, then Pooling, Dense and Normalize",
                        module.kind
                    );
                    return Err(Error::model(&path, cause));
                }
            }
        }
        Ok(())
    }

    fn read_pooling(&mut self, folder: &Path, args: &RecipeArgs) -> Result<(), Error> {
        let config = Config::read(&folder.join("config.json"))?;
        // States of the prompt are left out of the mean: the prompt would have to be counted.
        let prompts = [&self.query_prefix, &self.document_prefix];
        if prompts.iter().any(|prompt| !prompt.is_empty()) {
            config.only("include_prompt", &["true"])?;
        }
        if args.pooling.is_some() {
            return Ok(());
        }
        let mode = match config.get("pooling_mode") {
            Some(Value::Array(modes)) => words(modes.iter().filter_map(Value::as_str)),
            Some(mode) => mode.as_str().unwrap_or_default().to_owned(),
            None => {
                let flags = POOLING_FLAGS.iter();
                words(
                    flags
                        .filter(|(key, _)| config.flag(key, false))
                        .map(|(_, mode)| *mode),
                )
            }
        };
        self.pooling = match mode.as_str() {
            "" | "mean" => Pooling::Mean,
            "cls" => Pooling::Cls,
            "max" => Pooling::Max,
            "lasttoken" => Pooling::Last,
            other => return Err(config.unsupported("pooling_mode", other)),
        };
        Ok(())
    }

    fn read_dense(&mut self, folder: &Path) -> Result<(), Error> {
        let config = Config::read(&folder.join("config.json"))?;
        for key in ["module_input_name", "module_output_name"] {
            config.only(key, &["sentence_embedding"])?;
        }
        let function = config.text("activation_function");
        let tanh = match function.and_then(|name| name.rsplit('.').next()) {
            None | Some("Tanh") => true,
            Some("Identity") => false,
            Some(other) => return Err(config.unsupported("activation_function", other)),
        };
        let tensors = Tensors::open(folder)?;
        let outputs = config.size("out_features")?;
        let bias = config.flag("bias", true);
        let map = tensors.dense(&[("linear", outputs)], config.size("in_features")?, bias)?;
        self.head.projections.push(Projection { map, tanh });
        match &mut self.digest {
            Some(digest) => digest.extend(tensors.digest()),
            digest => *digest = Some(tensors.digest()),
        }
        Ok(())
    }
}

/// What is done to a text before the tokenizer, and after it.
pub(crate) struct Limits {
    /// Whether it is lower-cased.
    pub(crate) lower_case: bool,
    /// Tokens after which it is cut, if that is said.
    pub(crate) max_tokens: Option<usize>,
}

impl Limits {
    /// Reads what an encoder's folder says.
    ///
    /// # Errors
    /// Those of [`Recipe::read`].
    pub(crate) fn read(encoder: &Path) -> Result<Self, Error> {
        let own = Config::read_if_there(&encoder.join("sentence_bert_config.json"))?;
        let mut max_tokens = own.size_if_there("max_seq_length")?;
        if max_tokens.is_none() {
            let tokenizer = Config::read_if_there(&encoder.join("tokenizer_config.json"))?;
            let limit = tokenizer.number("model_max_length", f64::INFINITY)?;
            max_tokens = (limit < LIMIT).then_some(limit as usize);
        }
        Ok(Self {
            lower_case: own.flag("do_lower_case", false),
            max_tokens,
        })
    }
}

fn words<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words.collect::<Vec<_>>().join("+")
}
