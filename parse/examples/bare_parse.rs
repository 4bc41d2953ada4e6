//! The limit of cs-parse: tree-sitter alone, on files in memory.
//!
//! `bare_parse DIR THREADS` reads the files that cs-parse would take from DIR, parses each with
//! the grammar that cs-parse would use, drops the trees, and prints one JSON object with the
//! files, bytes and seconds of the parsing. Files without a grammar are left out, and counted.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use tree_sitter::{Language, Parser};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args_os().skip(1);
    let folder = PathBuf::from(args.next().ok_or("usage: bare_parse DIR THREADS")?);
    let threads: usize = match args.next() {
        Some(count) => count.to_string_lossy().parse()?,
        None => 1,
    };
    let mut files: Vec<(Language, Vec<u8>)> = Vec::new();
    let mut others = 0;
    for path in cs_parse::files_of(&folder)? {
        let bytes = std::fs::read(&path)?;
        match cs_parse::grammar_of(&path, &bytes) {
            Some(grammar) => files.push((grammar, bytes)),
            None => others += 1,
        }
    }
    let next = AtomicUsize::new(0);
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut parser = Parser::new();
                while let Some((grammar, bytes)) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if parser.set_language(grammar).is_ok() {
                        std::hint::black_box(parser.parse(bytes, None));
                    }
                }
            });
        }
    });
    let seconds = start.elapsed().as_secs_f64();
    let bytes: usize = files.iter().map(|(_, bytes)| bytes.len()).sum();
    let count = files.len();
    println!(
        "{{\"files\":{count},\"bytes\":{bytes},\"seconds\":{seconds:.4},\"without_grammar\":{others}}}"
    );
    Ok(())
}
