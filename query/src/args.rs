//! The arguments as typed.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use cs_common::tool::LogArgs;
use cs_store::StorageArgs;
use serde::{Deserialize, Serialize};

use crate::chat::ChatArgs;
use crate::rerank::RerankArgs;

/// Finds code by meaning: cs-query "where are failed uploads retried?"
///
/// Exits with 0 if there are hits, 1 if there is none, 2 on failure.
#[derive(Debug, Parser)]
#[command(
    name = "cs-query",
    version,
    after_help = "Examples:
  cs-query 'where are failed uploads retried?'
  cs-query Index.open --lang rust --path '!tests/' -n 5
  cs-query --like src/upload.rs:120                      code that is similar
  cs-query --db a.cs --db b.cs 'parse a date' --json | jq -r '.hits[].path'
  cs-query 'how are sessions stored' --context 4000      whole chunks, for a language model
  printf '%s\\n' 'parse a date' 'open a file' | cs-query --batch"
)]
pub struct Args {
    /// The question: a sentence, words, a symbol, a path, or a piece of code
    #[arg(required_unless_present_any = ["like", "symbol", "batch", "eval", "mcp"])]
    pub(crate) text: Vec<String>,

    /// The store: a folder, or an address such as s3://bucket/prefix [default: the nearest .cs]
    ///
    /// The nearest .cs is looked for from the working directory upwards.
    ///
    /// Repeatable: several stores are searched as if they were one, even if their models differ.
    #[arg(long, env = "CS_DB", value_name = "DB", value_delimiter = None)]
    pub(crate) db: Vec<PathBuf>,

    #[command(flatten)]
    pub(crate) storage: StorageArgs,

    #[command(flatten)]
    pub(crate) search: SearchArgs,

    #[command(flatten)]
    pub(crate) output: OutputArgs,

    #[command(flatten)]
    pub(crate) chat: ChatArgs,

    #[command(flatten)]
    pub(crate) many: ManyArgs,

    #[command(flatten)]
    pub(crate) log: LogArgs,
}

impl AsRef<LogArgs> for Args {
    fn as_ref(&self) -> &LogArgs {
        &self.log
    }
}

/// How to search, and for what; each question of a batch may say it anew.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Search")]
pub(crate) struct SearchArgs {
    /// How to search
    #[arg(long, value_enum, default_value_t)]
    pub(crate) mode: Mode,

    /// How many hits to give at most [default: 10; with --answer 30, with --context 100]
    #[arg(long, short = 'n', value_name = "N",
          value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) limit: Option<u16>,

    /// How many hits to leave out first
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) offset: u16,

    /// Leave out hits with a smaller score, as printed
    #[arg(long, value_name = "SCORE")]
    pub(crate) min_score: Option<f32>,

    /// Only chunks in these languages, such as rust,python
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) lang: Vec<String>,

    /// Only files whose path matches a glob as in .gitignore, such as 'src/**/*.rs' (repeatable)
    ///
    /// A glob with ! before it leaves out what it matches: --path '!tests/'
    #[arg(long, value_name = "GLOB")]
    pub(crate) path: Vec<String>,

    /// Only chunks of these kinds, such as function,method,class
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    pub(crate) kind: Vec<String>,

    /// Only files of this repository (repeatable)
    #[arg(long, value_name = "NAME")]
    pub(crate) repo: Vec<String>,

    /// Only files of the project in this folder, . for the root (repeatable)
    ///
    /// A project's folder is the nearest one with a Cargo.toml, package.json, pyproject.toml …
    #[arg(long, value_name = "FOLDER")]
    pub(crate) project: Vec<String>,

    /// Only chunks with this plain or qualified name, such as open or Index.open
    ///
    /// If nothing has the name, what has a symbol that ends so. Without a question: where the symbol
    /// is defined.
    #[arg(long, value_name = "NAME")]
    pub(crate) symbol: Option<String>,

    /// Only hits whose text matches a regular expression
    ///
    /// It is applied to what the search found, the first 1,000 chunks, and does not search itself.
    #[arg(long, value_name = "REGEX")]
    pub(crate) grep: Option<String>,

    /// Find code that is similar to the chunk at a line, such as src/upload.rs:120
    ///
    /// The file has to be in the store, in any state; with a question both are looked for.
    #[arg(long, value_name = "FILE:LINE")]
    pub(crate) like: Option<String>,

    /// Also search for what the code would say: base forms, what is written short (config, ctx)
    ///
    /// With --llm, for up to three queries in which a language model words the question anew.
    #[arg(long)]
    pub(crate) rewrite: bool,

    /// Also ask the questions that the question is made of, each for itself, and fuse the hits
    ///
    /// "how are uploads retried, and where are sessions stored?" is two. With --llm a language model
    /// parts it. The score is then the mean of a hit's shares of the best scores: half of it that of
    /// the question, the rest those of its parts.
    #[arg(long)]
    pub(crate) decompose: bool,

    #[command(flatten)]
    pub(crate) rerank: RerankArgs,
}

/// What is printed of the hits.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArgs {
    /// Print one JSON object; query/README.md lists its fields
    #[arg(long, group = "form")]
    pub(crate) json: bool,

    /// Write the hits as an Arrow stream: the store's columns, and rank and score
    ///
    /// Files are in the order of their best hits, rows of one file stay together.
    #[arg(long, group = "form")]
    pub(crate) arrow: bool,

    /// Print the paths of the files only, each once
    #[arg(long, group = "form")]
    pub(crate) files: bool,

    /// Print whole chunks with their places, up to about N tokens, as context for a language model
    ///
    /// A token is taken for three bytes, so that the true number is seldom larger. A chunk that
    /// does not fit is left out, and smaller ones behind it are tried; -n says how many at most.
    #[arg(long, group = "form", value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) context: Option<u32>,

    /// Tell why each hit stands where it does
    #[arg(long, conflicts_with_all = ["arrow", "files", "context"])]
    pub(crate) explain: bool,

    /// Have a language model answer the question from what was found, with the places that say so
    ///
    /// --answer --llm http://localhost:11434 --llm-model qwen3. The answer is printed as it comes,
    /// then the places that it cites. The model says so if the code holds no answer: then, and if the
    /// service fails, the hits are printed, and the status is 1.
    #[arg(long, requires = "llm", conflicts_with_all = ["arrow", "files", "context", "eval", "mcp"])]
    pub(crate) answer: bool,

    /// Tell on standard error how long each stage took; with --json in the object, as `profile`
    ///
    /// open: the stores; decompose, rewrite: what to search for; embed: the question; dense and
    /// text: the two searches, at the same time; rank: ranking, and reading what is needed for it;
    /// rerank: the second look, and opening its model; read: the hits that are given; answer: the
    /// language model's. Of a batch the times of all questions are added up.
    #[arg(long, conflicts_with_all = ["eval", "mcp"])]
    pub(crate) profile: bool,
}

/// Many questions at once.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Many questions")]
pub(crate) struct ManyArgs {
    /// Read questions from standard input, one a line, and print a JSON object for each
    ///
    /// A line that begins with { is an object: {"id": 7, "question": "…", "limit": 3, "lang":
    /// ["rust"]}; its further fields are named as the flags for searching and go before them. A
    /// question that fails is answered with an object that has an error; then the status is 1.
    #[arg(long, conflicts_with_all = ["text", "form", "like", "eval"])]
    pub(crate) batch: bool,

    /// Serve coding agents: the Model Context Protocol on standard input and output
    ///
    /// Its tools are search, similar, symbol, outline and status. What is said of the search here,
    /// such as --lang, holds for what an agent does not say. query/README.md shows how to configure
    /// an agent.
    #[arg(long, conflicts_with_all = ["text", "form", "like", "symbol", "eval", "batch", "explain"])]
    pub(crate) mcp: bool,

    /// Measure how well the questions of a file are answered (JSON Lines, see query/README.md)
    #[arg(long, value_name = "QUERIES", requires = "qrels",
          conflicts_with_all = ["text", "arrow", "files", "context", "explain", "like"])]
    pub(crate) eval: Option<PathBuf>,

    /// The right answers to the questions of --eval (JSON Lines)
    #[arg(long, value_name = "QRELS", requires = "eval")]
    pub(crate) qrels: Option<PathBuf>,

    /// Also tell the figures of --eval by a field of the questions, such as language
    #[arg(long, value_name = "FIELD", requires = "eval")]
    pub(crate) by: Vec<String>,

    /// Questions that are answered at the same time (default: one for each core)
    #[arg(long, short = 'j', value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) threads: Option<u16>,
}

/// The ways to search.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    /// By meaning and by words, ranked by all that is known; the score is 1 for a chunk that is
    /// first in both, and more where names fit
    #[default]
    Hybrid,
    /// By meaning alone; the score is the cosine
    Dense,
    /// By words alone, without the model; the score is BM25's
    Text,
}
