//! Many questions, answered in their order: embedded together, searched for side by side.
//!
//! What has arrived is answered at once, so that a program may keep the tool running and ask one
//! question after the other; what has not yet been asked for is not read.

use std::io::{self, BufRead, Read as _};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use cs_common::tool::Outcome;

use crate::Error;
use crate::args::{OutputArgs, SearchArgs};
use crate::engine::{Engine, Vectors};
use crate::hit::Hit;
use crate::print::{self, Answer, Stores, Told};
use crate::questions::{Line, MAX_LINE, said};
use crate::request::Request;

/// How long a version of the stores is asked; after ten minutes it may be gone.
const VERSION_LIFE: Duration = Duration::from_secs(60);

/// Questions after which as many more are expected that it pays to keep columns in memory.
pub(crate) const MANY: usize = 32;

/// Questions that are taken together at most.
const WINDOW: usize = 64;

/// Answers the questions on standard input.
///
/// Tells if a question failed, or if none had a hit.
///
/// # Errors
/// Those of reading the input and writing the answers; a question that fails is answered so.
pub(crate) fn run(
    mut engine: Engine,
    defaults: &SearchArgs,
    threads: usize,
    (here, output): (&Path, &OutputArgs),
) -> Result<Outcome, Error> {
    let mut opened = Instant::now();
    let lines = read_lines();
    let (mut found, mut failed) = (0_u64, 0_u64);
    let mut asked = 0;
    while let Some(window) = next_window(&lines)? {
        let lines: Vec<Line> = window
            .iter()
            .map(|line| Line::read(line, defaults).strict())
            .collect();
        if opened.elapsed() > VERSION_LIFE {
            engine.refresh()?;
            opened = Instant::now();
        }
        if asked >= MANY {
            engine.keep_columns()?;
        }
        asked += lines.len();
        let answers = answer_all(&engine, &lines, threads);
        let stores = Stores {
            stores: engine.stores(),
            here,
        };
        let mut text = Vec::new();
        for (line, answer) in lines.into_iter().zip(answers) {
            let answer = match (line.request, answer) {
                (Ok(request), Ok(hits)) => {
                    found += u64::from(!hits.is_empty());
                    Answer::Hits(Box::new(request), hits)
                }
                (Err(error), _) | (_, Err(error)) => {
                    failed += 1;
                    Answer::Failed {
                        question: line.text,
                        error,
                    }
                }
            };
            let told = Told {
                id: line.id.as_ref(),
                explain: output.explain,
                profile: None,
            };
            print::json(&answer, told, stores, &mut text).map_err(cs_common::Error::from_output)?;
        }
        cs_common::stream::print(&text)?;
    }
    if failed > 0 {
        log::warn!("{failed} questions failed: their answers have an error");
    }
    if output.profile {
        engine.profile().report().tell();
    }
    Ok(match failed == 0 && found > 0 {
        true => Outcome::Done,
        false => Outcome::Told,
    })
}

/// Answers questions side by side, in their order; what could not be read has no answer.
pub(crate) fn answer_all(
    engine: &Engine,
    lines: &[Line],
    threads: usize,
) -> Vec<Result<Vec<Hit>, String>> {
    let requests: Vec<Option<&Request>> = lines
        .iter()
        .map(|line| line.request.as_ref().ok())
        .collect();
    let vectors = embed(engine, &requests);
    let answers: Vec<OnceLock<Result<Vec<Hit>, String>>> = vec![OnceLock::new(); lines.len()];
    let next = AtomicUsize::new(0);
    let work = || loop {
        let at = next.fetch_add(1, Ordering::Relaxed);
        let Some(answer) = answers.get(at) else {
            return;
        };
        let result = match (requests[at], &vectors[at]) {
            (Some(request), Ok(vectors)) => engine
                .answer(request, vectors)
                .map_err(|error| said(&error)),
            (_, Err(error)) => Err(error.clone()),
            (None, _) => Err(String::new()),
        };
        // Each place is taken by one thread only.
        let _ = answer.set(result);
    };
    thread::scope(|scope| {
        for _ in 1..threads.min(lines.len()) {
            scope.spawn(work);
        }
        work();
    });
    let done = answers.into_iter().map(OnceLock::into_inner);
    done.map(|answer| answer.unwrap_or_else(|| Err("not answered".to_owned())))
        .collect()
}

/// Embeds questions together; if that fails, each alone, so that one spoils no other.
fn embed(engine: &Engine, requests: &[Option<&Request>]) -> Vec<Result<Vectors, String>> {
    let valid: Vec<&Request> = requests.iter().copied().flatten().collect();
    let mut vectors: Vec<Result<Vectors, String>> = match engine.vectors(&valid) {
        Ok(vectors) => vectors.into_iter().map(Ok).collect(),
        Err(_) => valid
            .iter()
            .map(|request| {
                let own = engine.vectors_of(request);
                own.map_err(|error| said(&error))
            })
            .collect(),
    };
    let mut vectors = vectors.drain(..);
    let own = |request: &Option<&Request>| match request {
        Some(_) => vectors.next().unwrap_or_else(|| Ok(Vec::new())),
        None => Ok(Vec::new()),
    };
    requests.iter().map(own).collect()
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
