//! Many questions, answered in their order: embedded in one batch, searched concurrently.
//!
//! What has arrived is answered immediately, 64 questions at most, so a program may keep the tool
//! running and ask one question after the other. The tool never waits for a second question before
//! it answers the first. After 32 questions the short columns of all rows are in memory
//! (`store/src/kept.rs`).

use std::io::{self, BufRead, Read as _};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use cs_common::tool::Outcome;

use crate::Error;
use crate::args::{OutputArgs, SearchArgs};
use crate::asker::{Asked, Asker};
use crate::print::{self, Answer, Stores, Told};
use crate::questions::{Line, MAX_LINE, said};
use crate::request::Request;
use crate::side_by_side::side_by_side;

/// How long a version of the stores is asked; after ten minutes it may be gone.
const VERSION_LIFE: Duration = Duration::from_secs(60);

/// Questions after which as many more are expected that it pays to keep columns in memory.
pub(crate) const MANY: usize = 32;

/// Questions that are taken together at most.
const WINDOW: usize = 64;

/// How a batch is answered.
pub(crate) struct Settings<'a> {
    /// What holds where a question does not say it.
    pub(crate) search: &'a SearchArgs,
    pub(crate) output: &'a OutputArgs,
    /// Tokens of code for a model that answers.
    pub(crate) tokens: u32,
    /// Questions that are answered at the same time.
    pub(crate) threads: usize,
    /// The current folder.
    pub(crate) here: &'a Path,
}

/// How many questions came out how.
#[derive(Default)]
struct Counts {
    found: u64,
    failed: u64,
    /// Answered, but not by all stages that were asked for.
    in_part: u64,
}

/// Answers the questions on standard input.
///
/// Tells if a question failed or lacks a stage, or if none had a hit.
///
/// # Errors
/// Those of reading the input and writing the answers; a question that fails is answered so.
pub(crate) fn run(mut asker: Asker, settings: &Settings<'_>) -> Result<Outcome, Error> {
    let mut opened = Instant::now();
    let lines = read_lines();
    let mut counts = Counts::default();
    let mut asked = 0;
    while let Some(window) = next_window(&lines)? {
        let lines: Vec<Line> = window
            .iter()
            .map(|line| Line::read(line, settings.search).strict())
            .collect();
        if opened.elapsed() > VERSION_LIFE {
            asker.engine.refresh()?;
            opened = Instant::now();
        }
        if asked >= MANY {
            asker.engine.keep_columns()?;
        }
        asked += lines.len();
        let text = answer_window(&asker, lines, settings, &mut counts)?;
        cs_common::stream::print(&text)?;
    }
    if counts.failed > 0 {
        let failed = counts.failed;
        log::warn!("{failed} questions failed: their answers have an error");
    }
    if counts.in_part > 0 {
        let in_part = counts.in_part;
        log::warn!("{in_part} answers lack a stage: `failed` in them tells why");
    }
    if settings.output.profile {
        asker.engine.profile().report().tell();
    }
    Ok(
        match counts.failed + counts.in_part == 0 && counts.found > 0 {
            true => Outcome::Done,
            false => Outcome::Told,
        },
    )
}

/// Returns the answers to some questions, a line each.
fn answer_window(
    asker: &Asker,
    lines: Vec<Line>,
    settings: &Settings<'_>,
    counts: &mut Counts,
) -> Result<Vec<u8>, Error> {
    let stores = Stores {
        stores: asker.engine.stores(),
        here: settings.here,
    };
    let mut answers = answer_all(asker, &lines, settings.threads);
    let mut said = Vec::new();
    if settings.output.answer {
        let asked = lines.iter().zip(&mut answers).collect();
        said = side_by_side(asked, settings.threads, |(line, asked)| {
            let (request, asked) = (line.request.as_ref().ok()?, asked.as_mut().ok()?);
            let hear = |_: &str| ControlFlow::Continue(());
            asker.answer(&request.text, asked, (stores, settings.tokens), hear)
        });
    }
    let mut said = said.into_iter();
    let mut text = Vec::new();
    for (line, answer) in lines.into_iter().zip(answers) {
        let said = said.next().flatten();
        let answer = match (line.request, answer) {
            (Ok(request), Ok(asked)) => {
                counts.found += u64::from(!asked.hits.is_empty());
                counts.in_part += u64::from(!asked.failed.is_empty());
                Answer::Hits(Box::new(request), asked)
            }
            (Err(error), _) | (_, Err(error)) => {
                counts.failed += 1;
                Answer::Failed {
                    question: line.text,
                    error,
                }
            }
        };
        let told = Told {
            id: line.id.as_ref(),
            explain: settings.output.explain,
            answer: said,
            profile: None,
        };
        print::json(&answer, told, stores, &mut text).map_err(cs_common::Error::from_output)?;
    }
    Ok(text)
}

/// Answers questions side by side, in their order; what could not be read is answered by why.
pub(crate) fn answer_all(
    asker: &Asker,
    lines: &[Line],
    threads: usize,
) -> Vec<Result<Asked, String>> {
    let requests = lines.iter().filter_map(|line| line.request.as_ref().ok());
    let requests: Vec<&Request> = requests.collect();
    let mut answers = asker.ask_all(&requests, threads).into_iter();
    let own = |line: &Line| match &line.request {
        Err(error) => Err(error.clone()),
        Ok(_) => match answers.next() {
            Some(answer) => answer.map_err(|error| said(&error)),
            None => Err("not answered".to_owned()),
        },
    };
    lines.iter().map(own).collect()
}

/// Reads lines by a thread of its own, a window ahead at most.
fn read_lines() -> Receiver<io::Result<Vec<u8>>> {
    let (sender, receiver) = mpsc::sync_channel(WINDOW);
    thread::spawn(move || {
        let mut input = io::stdin().lock();
        loop {
            let line = match read_line(&mut input) {
                Ok(Some(line)) => Ok(line),
                Ok(None) => return,
                Err(error) => Err(error),
            };
            let is_over = line.is_err();
            // Whoever no longer listens has failed.
            if sender.send(line).is_err() || is_over {
                return;
            }
        }
    });
    receiver
}

/// Returns the next line without its end; of one that is too long, one byte more than may be.
fn read_line(input: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let limit = MAX_LINE as u64 + 1;
    if input.by_ref().take(limit).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if line.len() > MAX_LINE {
        input.skip_until(b'\n')?;
    }
    Ok(Some(line))
}

/// Waits for a line, and takes what others are there; `None` at the end of the input.
fn next_window(lines: &Receiver<io::Result<Vec<u8>>>) -> Result<Option<Vec<Vec<u8>>>, Error> {
    let Ok(first) = lines.recv() else {
        return Ok(None);
    };
    let mut window = vec![first.map_err(Error::Input)?];
    while window.len() < WINDOW {
        match lines.try_recv() {
            Ok(line) => window.push(line.map_err(Error::Input)?),
            Err(_) => break,
        }
    }
    Ok(Some(window))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_one_by_one_and_bounded() {
        let mut text = b"a\n\nb".to_vec();
        text.push(b'\n');
        text.extend(vec![b'x'; MAX_LINE + 100]);
        text.extend(b"\nlast");
        let mut input = text.as_slice();
        let mut lines = Vec::new();
        while let Some(line) = read_line(&mut input).unwrap() {
            lines.push(line.len());
        }
        assert_eq!(lines, [1, 0, 1, MAX_LINE + 1, 4]);
    }
}
