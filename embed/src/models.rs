//! `cs-embed models`: which models there are and where, and the download ahead of an offline run.

use std::fs;
use std::io::Write;
use std::path::Path;

use cs_common::tool::Outcome;
use serde::Serialize;
use serde_json::Value;

use crate::hub::{HubEnv, Name, cache};
use crate::{Embedder as _, Error, encoder, fixed};

/// What `models` is asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print one JSON object a line
    ///
    /// Of the kind `model`: model, family, dim, max_tokens, bytes, path, runs, cause. Of the kind
    /// `family`: family. Of the kind `hub`: cache, endpoint, offline.
    #[arg(long)]
    json: bool,

    /// Download ORG/NAME as it is on the hub now, and print its folder
    #[arg(long, value_name = "ORG/NAME", conflicts_with = "json")]
    download: Option<String>,

    /// With --download: a branch, tag or commit (default: main)
    #[arg(long, value_name = "REV", requires = "download")]
    revision: Option<String>,
}

/// What models of one vector a token are called.
const STATIC: &str = "static";

/// Returns the families that can be run: `model_type` of config.json, and [`STATIC`].
fn families() -> Vec<&'static str> {
    [STATIC].into_iter().chain(encoder::families()).collect()
}

/// A line of the list.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Line<'a> {
    Model(Entry),
    Family {
        family: &'a str,
    },
    Hub {
        cache: &'a Path,
        endpoint: &'a str,
        offline: bool,
    },
}

/// A model.
#[derive(Debug, Serialize)]
struct Entry {
    /// What `--model` takes.
    model: String,
    /// The model's own word for it, also where it is none that can be run.
    family: Option<String>,
    /// Dimensions of a vector.
    dim: Option<u64>,
    /// Tokens after which a text is cut.
    max_tokens: Option<u64>,
    /// Of its files, as far as they are there.
    bytes: u64,
    /// Its folder; none of the built-in model.
    path: Option<String>,
    runs: bool,
    /// Why it cannot be run.
    cause: Option<String>,
}

/// Lists the models, or downloads one.
///
/// # Errors
/// [`Error::Hub`], [`Error::NotFound`] or [`Error::File`] if a download fails, [`Error::Stream`] if
/// standard output cannot be written.
pub(crate) fn run(args: &Args, hub: &HubEnv) -> Result<Outcome, Error> {
    let mut text = Vec::new();
    let written = match &args.download {
        Some(id) => {
            let name = Name::parse(id, args.revision.as_deref())
                .filter(|name| name.repo.contains('/'))
                .ok_or_else(|| Error::hub(id, "is no name on the hub: those are ORG/NAME"))?;
            writeln!(text, "{}", hub.download(&name)?.folder.display())
        }
        None if args.json => print_json(hub, &mut text),
        None => print_people(hub, &mut text),
    };
    written
        .map_err(cs_common::Error::from_output)
        .and_then(|()| cs_common::stream::print(&text))?;
    Ok(Outcome::Done)
}

fn entries(hub: &HubEnv) -> Vec<Entry> {
    let cached = cache::models(&hub.cache).into_iter();
    let cached = cached.map(|(repo, revision, folder)| {
        let name = Name { repo, revision };
        Entry::cached(name.to_string(), &folder)
    });
    std::iter::once(Entry::built_in()).chain(cached).collect()
}

impl Entry {
    fn built_in() -> Self {
        let loaded = fixed::StaticModel::builtin(None);
        let model = loaded.as_ref().ok().map(|loaded| loaded.model());
        Self {
            model: fixed::ID.to_owned(),
            family: Some(STATIC.to_owned()),
            dim: model.map(|model| model.dim as u64),
            max_tokens: model.and_then(|model| model.max_tokens).map(|n| n as u64),
            bytes: fixed::BYTES,
            path: None,
            runs: loaded.is_ok(),
            cause: loaded.as_ref().err().map(Error::to_string),
        }
    }

    fn cached(model: String, folder: &Path) -> Self {
        let config = json(&folder.join("config.json"));
        let sentence = json(&folder.join("sentence_bert_config.json"));
        let first = |value: &Value, names: &[&str]| names.iter().find_map(|n| value[n].as_u64());
        let is_static = fixed::Layout::find(folder).is_some();
        let named = config["model_type"].as_str().map(str::to_owned);
        let is_known = named
            .as_deref()
            .is_none_or(|name| families().contains(&name));
        let cause = match cache::missing(folder) {
            // A file that is missing is told first only where it would help to bring it.
            Some(file) if is_static || is_known => Some(format!("{file} is missing")),
            _ if is_static => None,
            _ => encoder::check(folder).err().map(|error| error.to_string()),
        };
        Self {
            model,
            family: if is_static {
                Some(STATIC.to_owned())
            } else {
                named
            },
            dim: first(&config, &["hidden_size", "n_embd", "hidden_dim"]),
            max_tokens: first(&sentence, &["max_seq_length"])
                .or_else(|| first(&config, &["max_position_embeddings", "n_positions"])),
            bytes: cache::size(folder),
            path: Some(folder.display().to_string()),
            runs: cause.is_none(),
            cause,
        }
    }
}

fn print_json(hub: &HubEnv, out: &mut impl Write) -> std::io::Result<()> {
    let models = entries(hub).into_iter().map(Line::Model);
    let families = families();
    let families = families.iter().map(|family| Line::Family { family });
    let place = Line::Hub {
        cache: &hub.cache,
        endpoint: &hub.endpoint,
        offline: hub.offline,
    };
    for line in models.chain(families).chain([place]) {
        serde_json::to_writer(&mut *out, &line)?;
        writeln!(out)?;
    }
    Ok(())
}

/// Prints a table, then what can be run and where is looked.
fn print_people(hub: &HubEnv, out: &mut impl Write) -> std::io::Result<()> {
    let header = ["MODEL", "FAMILY", "DIM", "TOKENS", "SIZE", "WHERE"].map(str::to_owned);
    let number = |value: Option<u64>| value.map_or("-".to_owned(), |value| value.to_string());
    let rows = entries(hub).into_iter().map(|entry| {
        let place = entry.path.unwrap_or_else(|| "in the binary".to_owned());
        let place = match entry.cause {
            None => place,
            Some(cause) => format!("cannot be run: {cause}; {place}"),
        };
        [
            entry.model,
            entry.family.unwrap_or_else(|| "-".to_owned()),
            number(entry.dim),
            number(entry.max_tokens),
            mib(entry.bytes),
            place,
        ]
    });
    let rows: Vec<[String; 6]> = std::iter::once(header).chain(rows).collect();
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max();
    let [model, family, dim, tokens, size] = [0, 1, 2, 3, 4].map(|at| width(at).unwrap_or(0));
    for [m, f, d, t, s, place] in &rows {
        writeln!(
            out,
            "{m:model$}  {f:family$}  {d:>dim$}  {t:>tokens$}  {s:>size$}  {place}"
        )?;
    }
    writeln!(out, "families  {}", families().join(", "))?;
    writeln!(out, "cache     {}", hub.cache.display())?;
    let offline = if hub.offline {
        ", not asked: HF_HUB_OFFLINE is set"
    } else {
        ""
    };
    writeln!(out, "hub       {}{offline}", hub.endpoint)
}

/// Reads a file of JSON; null if there is none.
fn json(path: &Path) -> Value {
    let bytes = fs::read(path).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

/// Writes a number of bytes for people.
pub(crate) fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
