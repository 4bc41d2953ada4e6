//! The embedding stage: adds a vector to each chunk of a stream.
//!
//! It is also how a question becomes a vector: `cs-query` opens the model that a store names by
//! [`open_for`].

mod cache;
mod cpu;
mod device;
mod dims;
mod encoder;
mod endpoint;
mod error;
mod fixed;
mod folder;
pub mod http;
mod hub;
mod inlet;
mod models;
mod output;
mod precision;
mod rerank;
mod stage;
mod tokens;
mod wordpiece;

use std::path::Path;

use cs_common::metadata::Model;
use cs_common::report::MeterArgs;
use cs_common::stream::Format;
use cs_common::tool::{LogArgs, Outcome};

pub use device::DeviceName;
pub use encoder::{EngineName, Pooling};
pub use endpoint::{EndpointArgs, EndpointEnv};
pub use error::Error;
pub use folder::RecipeArgs;
pub use hub::HubEnv;
pub use precision::{Dtype, PrecisionArgs, Quantize};
pub use rerank::{Reranker, open_reranker};

use cache::CacheArgs;
use encoder::EncoderModel;
use fixed::{Layout, StaticModel};
use hub::Found;
use stage::Work;

/// Embeds a stream of code chunks: cs-parse REPO | cs-embed | cs-store
///
/// Adds the column `vector` and names the model in the schema's metadata. Rows keep their order,
/// other columns and metadata pass through untouched.
#[derive(Debug, clap::Parser)]
#[command(
    name = "cs-embed",
    version,
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  cs-parse . | cs-embed | cs-store
  cs-parse . | cs-embed --model ~/models/all-MiniLM-L6-v2 --dtype bf16 | cs-store
  cs-parse . | cs-embed --model org/name --cache ~/.cache/cs/vectors | cs-store
  cs-parse . | cs-embed --endpoint http://localhost:8080 --model bge-m3 | cs-store
  cs-store export .cs --no-vectors | cs-embed --model org/name | cs-store other.cs
  cs-embed models                                        what can be run, and where it lies"
)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,

    /// The model: `builtin`, a folder, ORG/NAME on the hub, or with --endpoint its name there
    ///
    /// A folder has config.json, tokenizer.json and model.safetensors of an encoder (BERT,
    /// XLM-RoBERTa, NomicBERT, JinaBERT v2, ModernBERT, Qwen3), such as
    /// --model ~/models/all-MiniLM-L6-v2, or of a static model as model2vec writes it. A name such
    /// as sentence-transformers/all-MiniLM-L6-v2 is looked up in the hub's cache, where
    /// HF_HUB_CACHE or HF_HOME say, and downloaded to it if it is not there; HF_HUB_OFFLINE=1
    /// forbids that.
    #[arg(long, short, default_value = fixed::ID, value_name = "PATH_OR_ID")]
    model: String,

    /// The branch, tag or commit of a model of the hub (default: main)
    #[arg(long, value_name = "REV", requires = "model")]
    revision: Option<String>,

    /// Where an encoder runs: cpu, cuda, cuda:N, or cuda:0,1 for two cards that share the work
    ///
    /// The built-in model always runs on the CPU. A card that cannot be had, or is lost on the
    /// way, is an error. CUDA is in builds with `--features cuda` (scripts/check/gpu-check).
    #[arg(long, default_value_t, value_name = "DEVICE")]
    device: DeviceName,

    /// Run on the first CUDA card: --device cuda:0
    #[arg(long, conflicts_with = "device")]
    cuda: bool,

    /// Keep the first N numbers of each vector (Matryoshka models); a store keeps to its N
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    dims: Option<u32>,

    /// The numbers of a vector on the wire and in the store; f16 takes half the space
    #[arg(long, value_enum, default_value_t, value_name = "TYPE")]
    vector_type: VectorType,

    /// The form of the output
    #[arg(long, value_enum, default_value_t)]
    to: Format,

    /// Threads that compute (default: one for each core)
    #[arg(long, short = 'j', value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,

    #[command(flatten)]
    recipe: RecipeArgs,

    #[command(flatten)]
    precision: PrecisionArgs,

    #[command(flatten)]
    endpoint: EndpointArgs,

    #[command(flatten)]
    cache: CacheArgs,

    /// Write no report row before the seal: equal input gives equal bytes
    #[arg(long)]
    no_report: bool,

    #[command(flatten)]
    figures: MeterArgs,

    #[command(flatten)]
    log: LogArgs,
}

/// What the tool does beside its work.
#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Tell which models there are and where, or download one
    Models(models::Args),
}

impl AsRef<LogArgs> for Args {
    fn as_ref(&self) -> &LogArgs {
        &self.log
    }
}

/// The type of a vector's numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum VectorType {
    #[default]
    F32,
    F16,
}

/// A model that makes vectors of texts.
pub trait Embedder: Send + Sync {
    /// Returns what names the model and says how it embeds.
    fn model(&self) -> &Model;

    /// Returns how many texts are best given at once.
    fn window(&self) -> usize;

    /// Returns what, beside all that [`model`](Self::model) says, decides about its vectors;
    /// nothing if it makes them faster than a cache could.
    ///
    /// # Errors
    /// [`Error::File`] if that cannot be read.
    fn cache_key(&self) -> Result<Option<String>, Error>;

    /// Does for texts what can be done while the model runs others.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the model cannot take a text.
    fn prepare(&self, texts: Vec<String>) -> Result<Prepared, Error>;

    /// Returns a vector of [`Model::dim`] numbers for each of the texts that this model prepared,
    /// in their order.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] or [`Error::Inference`] if the model fails.
    fn run(&self, texts: Prepared) -> Result<Vec<Vec<f32>>, Error>;

    /// Returns how many tokens were in the texts that [`run`](Self::run) took since the last call,
    /// of those that [`prepare`](Self::prepare) left as they were.
    fn take_tokens(&self) -> u64 {
        0
    }

    /// Does both.
    ///
    /// # Errors
    /// Those of the two.
    fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, Error> {
        let texts = texts.iter().map(|text| (*text).to_owned()).collect();
        self.run(self.prepare(texts)?)
    }
}

/// Texts as a model takes them.
#[derive(Debug)]
pub enum Prepared {
    /// As they are, for a model to which their tokens are no work of their own.
    Texts(Vec<String>),
    /// The ids of each one's tokens.
    Ids(Vec<Vec<u32>>),
}

impl Prepared {
    /// Returns how many texts there are, and of how many tokens as far as that is known.
    fn size(&self) -> (usize, usize) {
        match self {
            Self::Texts(texts) => (texts.len(), 0),
            Self::Ids(ids) => (ids.len(), ids.iter().map(Vec::len).sum()),
        }
    }
}

/// Which model is wanted, and how it is to run.
#[derive(Clone, Debug, Default)]
pub struct ModelSpec {
    /// `builtin`, a folder, or a name on the hub: `ORG/NAME` or `ORG/NAME@REVISION`.
    pub id: String,
    /// The branch, tag or commit of a model on the hub, where the name has none.
    pub revision: Option<String>,
    /// Where an encoder runs.
    pub device: DeviceName,
    /// What computes an encoder.
    pub engine: EngineName,
    /// How an encoder embeds, where that is not as its files say.
    pub recipe: RecipeArgs,
    /// The numbers in which an encoder computes.
    pub precision: PrecisionArgs,
    /// How many of a vector's numbers are kept, instead of all.
    pub dims: Option<usize>,
    /// The service that runs the model, if its address is there.
    pub endpoint: EndpointArgs,
    /// Where the hub and its cache are, and what services want to know.
    pub env: Environment,
}

/// What the environment says about models.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// Where the hub and its cache are.
    pub hub: HubEnv,
    /// What services want to know.
    pub endpoint: EndpointEnv,
}

impl Environment {
    /// Reads the process's environment.
    pub fn read() -> Self {
        Self {
            hub: HubEnv::read(),
            endpoint: EndpointEnv::read(),
        }
    }
}

/// Opens a model, downloading it if it is one of the hub that is not in the cache.
///
/// # Errors
/// [`Error::Device`] if the device cannot be had, [`Error::NotFound`], [`Error::Hub`],
/// [`Error::File`] or [`Error::Model`] if the model cannot be, [`Error::Endpoint`] if the service
/// does not answer, [`Error::Dims`] if the model has fewer dimensions.
pub fn open(spec: &ModelSpec) -> Result<Box<dyn Embedder>, Error> {
    if let Some(address) = &spec.endpoint.endpoint {
        return Ok(Box::new(endpoint::open(spec, address)?));
    }
    let embedder = open_whole(spec)?;
    match spec.dims {
        Some(dims) => dims::cut(embedder, dims),
        None => Ok(embedder),
    }
}

fn open_whole(spec: &ModelSpec) -> Result<Box<dyn Embedder>, Error> {
    if spec.id == fixed::ID {
        let name = Path::new("the built-in model");
        if spec.revision.is_some() {
            return Err(Error::model(name, "has no --revision"));
        }
        return Ok(Box::new(StaticModel::builtin(static_limit(spec, name)?)?));
    }
    let Found { id, folder } = spec.env.hub.locate(&spec.id, spec.revision.as_deref())?;
    if let Some(layout) = Layout::find(&folder) {
        let limit = static_limit(spec, &folder)?;
        return Ok(Box::new(StaticModel::open(&id, &layout, limit)?));
    }
    Ok(Box::new(EncoderModel::open(&id, &folder, spec)?))
}

/// Returns the limit of tokens for a static model; what such a model cannot heed is refused.
fn static_limit(spec: &ModelSpec, name: &Path) -> Result<Option<usize>, Error> {
    spec.device.open()?;
    let limit = spec.recipe.max_tokens;
    let heeded = RecipeArgs {
        max_tokens: limit,
        ..RecipeArgs::default()
    };
    if spec.recipe != heeded || spec.precision != PrecisionArgs::default() {
        let cause = "is a static model: of what is said about encoders, it has only --max-tokens";
        return Err(Error::model(name, cause));
    }
    Ok(limit)
}

/// Opens the model that made a store's vectors, on the CPU, or by the service that did.
///
/// # Errors
/// Those of [`open`], and [`Error::Changed`] if its weights are others now.
pub fn open_for(model: &Model, env: Environment) -> Result<Box<dyn Embedder>, Error> {
    if let Some(stored) = &model.endpoint {
        return Ok(Box::new(endpoint::open_for(model, stored, &env.endpoint)?));
    }
    let embedder = open(&ModelSpec {
        id: model.id.clone(),
        recipe: RecipeArgs::of(model),
        dims: Some(model.dim),
        env,
        ..ModelSpec::default()
    })?;
    let found = embedder.model();
    if found.sha256 != model.sha256 {
        return Err(Error::Changed {
            id: model.id.clone(),
            found: found.sha256.clone(),
            expected: model.sha256.clone(),
        });
    }
    Ok(embedder)
}

/// Runs the tool.
///
/// # Errors
/// As [`Error`] says; a stream that could not be embedded whole is not sealed.
pub fn run(args: Args) -> Result<Outcome, Error> {
    if let Some(Command::Models(args)) = args.command {
        return models::run(&args, &HubEnv::read());
    }
    let device = if args.cuda {
        DeviceName::Cuda(vec![0])
    } else {
        args.device
    };
    let spec = ModelSpec {
        id: args.model,
        revision: args.revision,
        device,
        recipe: args.recipe,
        precision: args.precision,
        dims: args.dims.map(|dims| dims as usize),
        endpoint: args.endpoint,
        env: Environment::read(),
        ..ModelSpec::default()
    };
    let work = Work {
        format: args.to,
        vector_type: args.vector_type,
        threads: args.threads.map(usize::from),
        cache: args.cache,
        figures: args.figures,
        no_report: args.no_report,
    };
    stage::run(&spec, &work)
}
