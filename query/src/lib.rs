//! The asking tool: finds the chunks of a store that answer a question.

mod args;
mod batch;
mod engine;
mod error;
mod eval;
mod hit;
mod like;
mod mcp;
mod place;
mod print;
mod profile;
mod questions;
mod rank;
mod request;

use std::io::IsTerminal as _;
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::thread;

use cs_common::stream::{Format, refuse_terminal};
use cs_common::tool::Outcome;
use cs_store::{Location, Store};

pub use args::Args;
pub use error::Error;

use engine::Engine;
use hit::Hit;
use print::{Answer, Stores, Style, Told};
use rank::Question;
use request::Request;

/// Hits that are tried for a context, unless -n says how many.
const CONTEXT_LIMIT: usize = 100;

/// Runs the tool.
///
/// # Errors
/// As [`Error`] says.
pub fn run(args: Args) -> Result<Outcome, Error> {
    if args.output.arrow {
        refuse_terminal(Format::Arrow)?;
    }
    let here = std::env::current_dir().map_err(Error::Folder)?;
    let threads = match args.many.threads {
        Some(threads) => usize::from(threads),
        None => thread::available_parallelism().map_or(1, usize::from),
    };
    if let (Some(queries), Some(qrels)) = (&args.many.eval, &args.many.qrels) {
        let set = eval::Set::read(queries, qrels, &args.many.by, &args.search)?;
        let engine = Engine::open(&stores(&args, &here)?, &here)?;
        return eval::run(engine, set, threads, args.output.json);
    }
    if args.many.batch {
        let engine = Engine::open(&stores(&args, &here)?, &here)?;
        return batch::run(engine, &args.search, threads, (&here, &args.output));
    }
    if args.many.mcp {
        let engine = Engine::open(&stores(&args, &here)?, &here)?;
        return mcp::run(engine, args.search, &here);
    }
    let mut request = Request::new(&args.text.join(" "), &args.search)?;
    if args.output.context.is_some() && args.search.limit.is_none() {
        request.limit = CONTEXT_LIMIT;
    }
    // To take apart what it read takes longer than to end, which gives back all of it.
    let engine = ManuallyDrop::new(Engine::open(&stores(&args, &here)?, &here)?);
    let hits = engine.ask(&request)?;
    let found = print_hits(&args, request, hits, &engine, &here)?;
    if args.output.profile {
        engine.profile().report().tell();
    }
    Ok(match found {
        true => Outcome::Done,
        false => Outcome::Told,
    })
}

/// Returns the stores that are asked: those that were named, or the nearest one.
fn stores(args: &Args, here: &Path) -> Result<Vec<Location>, Error> {
    let at = |path: &PathBuf| args.storage.location(path.clone());
    if !args.db.is_empty() {
        return Ok(args.db.iter().map(at).collect());
    }
    let nearest = Store::nearest(here).ok_or_else(|| Error::NoStore(here.to_owned()))?;
    Ok(vec![at(&nearest)])
}

/// Prints the hits in the form that is asked for; tells whether there were any.
fn print_hits(
    args: &Args,
    request: Request,
    hits: Vec<Hit>,
    engine: &Engine,
    here: &Path,
) -> Result<bool, Error> {
    let stores = Stores {
        stores: engine.stores(),
        here,
    };
    let mut found = !hits.is_empty();
    if !found {
        engine.tell_no_hit(&request)?;
    }
    if args.output.arrow {
        print::arrow(&hits, request.offset, stores)?;
        return Ok(found);
    }
    let explain = args.output.explain;
    let mut text = Vec::new();
    let printed = if args.output.json {
        let answer = Answer::Hits(Box::new(request), hits);
        let told = Told {
            explain,
            profile: args.output.profile.then(|| engine.profile().report()),
            ..Told::default()
        };
        print::json(&answer, told, stores, &mut text)
    } else if args.output.files {
        print::files(&hits, stores, &mut text)
    } else if let Some(tokens) = args.output.context {
        print::context(&hits, tokens, stores, &mut text).map(|left_out| {
            let written = left_out.len() < hits.len();
            if found && !written {
                log::warn!("none of the {} hits fits in {tokens} tokens", hits.len());
            }
            found = written;
        })
    } else if let Some(colors) = terminal() {
        let style = Style {
            colors,
            explain,
            grep: request.grep.as_ref(),
        };
        print::people(
            &hits,
            &Question::new(&request.text),
            (stores, style),
            &mut text,
        )
    } else {
        print::plain(&hits, (stores, explain), &mut text)
    };
    printed.map_err(cs_common::Error::from_output)?;
    cs_common::stream::print(&text)?;
    Ok(found)
}

/// Tells whether people are to read the output, and if so, whether in colours.
fn terminal() -> Option<bool> {
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    if is_dumb || !std::io::stdout().is_terminal() {
        return None;
    }
    Some(std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()))
}
