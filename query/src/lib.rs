//! The asking tool: finds the chunks of a store that answer a question.

mod error;
mod print;
mod rank;

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use cs_common::tool::{LogArgs, Outcome};
use cs_embed::Environment;
use cs_store::{Hit, Store};

pub use error::Error;

use rank::Weights;

/// Hits that each side of a search brings for the fusion, at least.
const CANDIDATES: usize = 100;

/// Finds code by meaning: cs-query "where are failed uploads retried?"
///
/// Exits with 0 if there are hits, 1 if there is none, 2 on failure.
#[derive(Debug, Parser)]
#[command(name = "cs-query", version)]
pub struct Args {
    /// The question: a sentence, words, or a symbol
    #[arg(required = true)]
    text: Vec<String>,

    /// The store's folder (default: the nearest .cs from here upwards)
    #[arg(long, env = "CS_DB", value_name = "FOLDER")]
    db: Option<PathBuf>,

    /// How many hits to print
    #[arg(long, short = 'n', default_value_t = 10, value_name = "N",
          value_parser = clap::value_parser!(u16).range(1..))]
    limit: u16,

    /// How to search
    #[arg(long, value_enum, default_value_t)]
    mode: Mode,

    /// Print one JSON object a line: rank, score, repo, root, path, start_line, end_line,
    /// language, kind, name, symbol, signature, doc, chunk_id, content
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    log: LogArgs,
}

/// The ways to search.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// By meaning and by words, fused
    #[default]
    Hybrid,
    /// By meaning alone; the score is the cosine
    Dense,
    /// By words alone, without the model; the score is BM25's
    Text,
}

impl AsRef<LogArgs> for Args {
    fn as_ref(&self) -> &LogArgs {
        &self.log
    }
}

/// Runs the tool.
///
/// # Errors
/// As [`Error`] says.
pub fn run(args: Args) -> Result<Outcome, Error> {
    let question = args.text.join(" ");
    if question.trim().is_empty() {
        return Err(Error::Empty);
    }
    let here = std::env::current_dir().map_err(Error::Folder)?;
    let db = match args.db {
        Some(db) => db,
        None => Store::nearest(&here).ok_or_else(|| Error::NoStore(here.clone()))?,
    };
    let store = Store::open(&db)?;
    if let Some(incomplete) = store.incomplete()? {
        log::warn!("{}: {}", db.display(), incomplete.sentence());
        if incomplete.ended() {
            log::warn!(
                "complete it with: {}",
                incomplete.remedy(&db, store.model())
            );
        }
    }
    let limit = usize::from(args.limit);
    let mut hits = search(&store, &question, args.mode, limit)?;
    hits.truncate(limit);

    let repos = store.repos()?;
    let mut text = Vec::new();
    let printed = if args.json {
        print::json(&hits, &repos, &mut text)
    } else {
        print::people(&hits, &repos, &here, &mut text)
    };
    printed
        .map_err(cs_common::Error::from_output)
        .and_then(|()| cs_common::stream::print(&text))?;
    if hits.is_empty() {
        log::info!("no hit");
        return Ok(Outcome::Told);
    }
    Ok(Outcome::Done)
}

fn search(store: &Store, question: &str, mode: Mode, limit: usize) -> Result<Vec<Hit>, Error> {
    let wanted = match mode {
        Mode::Hybrid => limit.max(CANDIDATES),
        Mode::Dense | Mode::Text => limit,
    };
    let dense = match mode {
        Mode::Text => Vec::new(),
        Mode::Hybrid | Mode::Dense => store.dense(&embed(store, question)?, wanted)?,
    };
    let text = match mode {
        Mode::Dense => Vec::new(),
        Mode::Hybrid | Mode::Text => store.text(question, wanted)?,
    };
    Ok(match mode {
        Mode::Dense => dense,
        Mode::Text => text,
        Mode::Hybrid => rank::fuse(dense, text, Weights::for_question(question)),
    })
}

/// Embeds a question with the model that the store names.
fn embed(store: &Store, question: &str) -> Result<Vec<f32>, Error> {
    let model = store.model();
    let embedder = cs_embed::open_for(model, Environment::read()).map_err(Error::Model)?;
    let text = format!("{}{question}", model.query_prefix);
    let vectors = embedder.embed(&[&text]).map_err(Error::Model)?;
    Ok(vectors.into_iter().next().unwrap_or_default())
}
