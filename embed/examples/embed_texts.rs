//! Embeds texts with a model and tells how long that took, for `scripts/bench static-models`:
//! `embed_texts MODEL FILE THREADS`, the file with a JSON string a line.
//!
//! Prints the number of texts, the seconds, and the sum of the vectors' first numbers.

use std::error::Error;
use std::time::Instant;

use cs_embed::{HubEnv, ModelSpec, open};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, model, file, threads] = arguments.as_slice() else {
        return Err("usage: embed_texts MODEL FILE THREADS".into());
    };
    let texts: Vec<String> = std::fs::read_to_string(file)?
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads.parse()?)
        .build_global()?;
    let model = open(&ModelSpec {
        id: model.clone(),
        hub: HubEnv::read(),
        ..ModelSpec::default()
    })?;
    let started = Instant::now();
    let mut sum = 0.0;
    for window in texts.chunks(model.window()) {
        let vectors = model.embed(window)?;
        sum += vectors
            .iter()
            .filter_map(|vector| vector.first())
            .sum::<f32>();
    }
    let seconds = started.elapsed().as_secs_f64();
    println!("{} {seconds:.6} {sum}", texts.len());
    Ok(())
}
