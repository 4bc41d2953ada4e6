//! The asking tool: finds the chunks of a store that answer a question.

mod answer;
mod args;
mod asker;
mod batch;
mod chat;
mod engine;
mod error;
mod eval;
mod hit;
mod like;
mod mcp;
mod place;
mod plan;
mod print;
mod profile;
mod questions;
mod rank;
mod request;
mod rerank;
mod side_by_side;

use std::io::IsTerminal as _;
use std::mem::ManuallyDrop;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::thread;

use cs_common::stream::{Format, refuse_terminal};
use cs_common::tool::Outcome;
use cs_store::{Location, Store};

pub use args::Args;
pub use error::Error;

use answer::Answered;
use asker::{Asked, Asker};
use chat::Chat;
use engine::Engine;
use print::{Answer, Stores, Style, Told};
use profile::Stage;
use rank::Question;
use request::Request;

/// Hits that are tried for a context, unless -n says how many.
const CONTEXT_LIMIT: usize = 100;

/// Hits from which a model answers, unless -n says how many: about as many as have room.
const ANSWER_LIMIT: usize = 30;

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
    let asker = || open(&args, &here);
    if let (Some(queries), Some(qrels)) = (&args.many.eval, &args.many.qrels) {
        let set = eval::Set::read(queries, qrels, &args.many.by, &args.search)?;
        return eval::run(asker()?, set, threads, args.output.json);
    }
    if args.many.batch {
        let settings = batch::Settings {
            search: &args.search,
            output: &args.output,
            tokens: args.chat.llm_context,
            threads,
            here: &here,
        };
        return batch::run(asker()?, &settings);
    }
    if args.many.mcp {
        return mcp::run(asker()?, args.search, &here);
    }
    let mut request = Request::new(&args.text.join(" "), &args.search)?;
    if args.search.limit.is_none() {
        request.limit = match (args.output.context, args.output.answer) {
            (Some(_), _) => CONTEXT_LIMIT,
            (None, true) => ANSWER_LIMIT,
            (None, false) => request.limit,
        };
    }
    // To take apart what it read takes longer than to end, which gives back all of it.
    let asker = ManuallyDrop::new(asker()?);
    let mut asked = asker.ask(&request)?;
    let answered = match args.output.answer {
        true => answer_question(&args, &request, &mut asked, (&asker, &here))?,
        false => None,
    };
    let is_sound = answered.as_ref().is_none_or(Answered::is_sound);
    let is_whole = is_sound && asked.failed.is_empty();
    // Behind an answer only the places that it cites are of interest.
    if let Some(answered) = answered.as_ref().filter(|_| is_sound && !args.output.json) {
        asked.hits = answered.cited_of(&asked.hits);
    }
    let found = print_hits(&args, request, (asked, answered), (&asker.engine, &here))?;
    if args.output.profile {
        asker.engine.profile().report().tell();
    }
    Ok(match found && is_whole {
        true => Outcome::Done,
        false => Outcome::Told,
    })
}

/// Has a question answered; unless that is to be in an object, shows the answer as it comes.
fn answer_question(
    args: &Args,
    request: &Request,
    asked: &mut Asked,
    (asker, here): (&Asker, &Path),
) -> Result<Option<Answered>, Error> {
    let stores = Stores {
        stores: asker.engine.stores(),
        here,
    };
    let is_shown = !args.output.json;
    let mut printed = Ok(());
    let show = |text: &str| {
        if is_shown {
            printed = cs_common::stream::print(text.as_bytes());
        }
        match printed {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    };
    let room = (stores, args.chat.llm_context);
    let answered = asker.answer(&request.text, asked, room, show);
    printed?;
    if is_shown
        && answered
            .as_ref()
            .is_some_and(|answered| !answered.text.is_empty())
    {
        cs_common::stream::print(b"\n\n")?;
    }
    Ok(answered)
}

/// Opens what is asked, and the models that help to ask.
fn open(args: &Args, here: &Path) -> Result<Asker, Error> {
    let engine = Engine::open(&stores(args, here)?, here)?;
    let rerank = &args.search.rerank;
    let reranker = match rerank.top() {
        Some(_) => engine.profile().time(Stage::Rerank, || rerank.open())?,
        None => None,
    };
    Ok(Asker {
        engine,
        chat: Chat::new(&args.chat),
        reranker,
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
    (asked, answer): (Asked, Option<Answered>),
    (engine, here): (&Engine, &Path),
) -> Result<bool, Error> {
    let stores = Stores {
        stores: engine.stores(),
        here,
    };
    let mut found = !asked.hits.is_empty();
    if !found {
        engine.tell_no_hit(&request)?;
    }
    let hits = &asked.hits;
    if args.output.arrow {
        print::arrow(hits, request.offset, stores)?;
        return Ok(found);
    }
    let explain = args.output.explain;
    let mut text = Vec::new();
    let printed = if args.output.json {
        let answered = Answer::Hits(Box::new(request), asked);
        let told = Told {
            explain,
            answer,
            profile: args.output.profile.then(|| engine.profile().report()),
            ..Told::default()
        };
        print::json(&answered, told, stores, &mut text)
    } else if args.output.files {
        print::files(hits, stores, &mut text)
    } else if let Some(tokens) = args.output.context {
        print::context(hits, tokens, stores, &mut text).map(|left_out| {
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
            hits,
            &Question::new(&request.text),
            (stores, style),
            &mut text,
        )
    } else {
        print::plain(hits, (stores, explain), &mut text)
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
