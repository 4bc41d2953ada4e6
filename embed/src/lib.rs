//! The embedding stage: adds a vector to each chunk of a stream.
//!
//! It is also how a question becomes a vector: `cs-query` opens the model that a store names by
//! [`open_for`].

mod bert;
mod device;
mod dims;
mod error;
mod fixed;
mod hub;
mod stage;
mod tokens;
mod wordpiece;

use cs_common::metadata::Model;
use cs_common::stream::Format;
use cs_common::tool::{LogArgs, Outcome};

pub use device::DeviceName;
pub use error::Error;
pub use hub::HubEnv;

use bert::{BertEncoder, BertOptions};
use fixed::{Layout, StaticModel};
use stage::Output;

/// Embeds a stream of code chunks: cs-parse REPO | cs-embed | cs-store
///
/// Adds the column `vector` and names the model in the schema's metadata. Rows keep their order,
/// other columns and metadata pass through untouched.
#[derive(Debug, clap::Parser)]
#[command(name = "cs-embed", version)]
pub struct Args {
    /// The model: `builtin`, a folder, or a name in the hub's cache
    ///
    /// A folder has config.json, tokenizer.json and model.safetensors of a BERT encoder, such as
    /// --model ~/models/all-MiniLM-L6-v2, or of a static model as model2vec writes it. A name such as sentence-transformers/all-MiniLM-L6-v2 is
    /// looked up where HF_HUB_CACHE or HF_HOME say; nothing is downloaded.
    #[arg(long, short, default_value = fixed::ID, value_name = "PATH_OR_ID")]
    model: String,

    /// Where an encoder runs: cpu, cuda or cuda:N (the built-in model always runs on the CPU)
    #[arg(long, default_value_t, value_name = "DEVICE")]
    device: DeviceName,

    /// Run on the first CUDA card: --device cuda:0
    #[arg(long, conflicts_with = "device")]
    cuda: bool,

    /// Cut a chunk's text after this many tokens instead of the model's own limit
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(8..))]
    max_tokens: Option<u32>,

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
    log: LogArgs,
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

    /// Returns a vector of [`Model::dim`] numbers for each text, in their order.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] or [`Error::Inference`] if the model cannot take a text.
    fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, Error>;
}

/// Which model is wanted, and how it is to run.
#[derive(Clone, Debug, Default)]
pub struct ModelSpec {
    /// `builtin`, a folder, or a name in the hub's cache.
    pub id: String,
    /// Where an encoder runs.
    pub device: DeviceName,
    /// Tokens after which a text is cut, instead of the model's own limit.
    pub max_tokens: Option<usize>,
    /// How many of a vector's numbers are kept, instead of all.
    pub dims: Option<usize>,
    /// Where the hub's cache is.
    pub hub: HubEnv,
}

/// Opens a model.
///
/// # Errors
/// [`Error::Device`] if the device cannot be had, [`Error::NotFound`], [`Error::File`] or
/// [`Error::Model`] if the model cannot be, [`Error::Dims`] if it has fewer dimensions.
pub fn open(spec: &ModelSpec) -> Result<Box<dyn Embedder>, Error> {
    let embedder = open_whole(spec)?;
    match spec.dims {
        Some(dims) => dims::cut(embedder, dims),
        None => Ok(embedder),
    }
}

fn open_whole(spec: &ModelSpec) -> Result<Box<dyn Embedder>, Error> {
    let device = spec.device.open()?;
    if spec.id == fixed::ID {
        return Ok(Box::new(StaticModel::builtin(spec.max_tokens)?));
    }
    let folder = spec.hub.find(&spec.id)?;
    // A path is stored as it stands in the file system: a question may be asked from elsewhere.
    let id = if std::path::Path::new(&spec.id).is_dir() {
        folder.display().to_string()
    } else {
        spec.id.clone()
    };
    if let Some(layout) = Layout::find(&folder) {
        return Ok(Box::new(StaticModel::open(&id, &layout, spec.max_tokens)?));
    }
    let options = BertOptions {
        max_tokens: spec.max_tokens,
    };
    Ok(Box::new(BertEncoder::load(&id, &folder, device, &options)?))
}

/// Opens the model that made a store's vectors, on the CPU.
///
/// # Errors
/// Those of [`open`], and [`Error::Changed`] if its weights are others now.
pub fn open_for(model: &Model, hub: HubEnv) -> Result<Box<dyn Embedder>, Error> {
    let embedder = open(&ModelSpec {
        id: model.id.clone(),
        max_tokens: model.max_tokens,
        dims: Some(model.dim),
        hub,
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
    let device = if args.cuda {
        DeviceName::Cuda(0)
    } else {
        args.device
    };
    let spec = ModelSpec {
        id: args.model,
        device,
        max_tokens: args.max_tokens.map(|tokens| tokens as usize),
        dims: args.dims.map(|dims| dims as usize),
        hub: HubEnv::read(),
    };
    let output = Output {
        format: args.to,
        vector_type: args.vector_type,
    };
    stage::run(&spec, output, args.threads.map(usize::from))
}
