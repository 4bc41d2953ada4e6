//! Embeds texts with a model and tells how long that took, for `scripts/bench/run.py`:
//! `embed_texts MODEL FILE THREADS [NUMBERS [VECTORS]]`, the file with a JSON string a line,
//! NUMBERS one of f32, bf16 and q8_0, and VECTORS a file for the vectors, as f32 in the machine's
//! order of bytes.
//!
//! Prints the number of texts, the seconds until they were ready for the model, the seconds of the
//! model itself, and the sum of the vectors' first numbers.

use std::error::Error;
use std::fs;
use std::io::{BufWriter, Write as _};
use std::time::{Duration, Instant};

use cs_embed::{Dtype, Environment, ModelSpec, PrecisionArgs, Quantize, open};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, model, file, threads, rest @ ..] = arguments.as_slice() else {
        return Err("usage: embed_texts MODEL FILE THREADS [NUMBERS [VECTORS]]".into());
    };
    let texts: Vec<String> = fs::read_to_string(file)?
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads.parse()?)
        .build_global()?;
    let model = open(&ModelSpec {
        id: model.clone(),
        precision: precision(rest.first().map(String::as_str))?,
        env: Environment::read(),
        ..ModelSpec::default()
    })?;
    let mut out = match rest.get(1) {
        Some(path) => Some(BufWriter::new(fs::File::create(path)?)),
        None => None,
    };
    let (mut preparing, mut running) = (Duration::ZERO, Duration::ZERO);
    let mut sum = 0.0;
    for window in texts.chunks(model.window()) {
        let window = window.to_vec();
        let started = Instant::now();
        let ready = model.prepare(window)?;
        preparing += started.elapsed();
        let started = Instant::now();
        let vectors = model.run(ready)?;
        running += started.elapsed();
        sum += vectors
            .iter()
            .filter_map(|vector| vector.first())
            .sum::<f32>();
        if let Some(out) = &mut out {
            for value in vectors.iter().flatten() {
                out.write_all(&value.to_ne_bytes())?;
            }
        }
    }
    if let Some(out) = &mut out {
        out.flush()?;
    }
    let (preparing, running) = (preparing.as_secs_f64(), running.as_secs_f64());
    println!("{} {preparing:.6} {running:.6} {sum}", texts.len());
    Ok(())
}

fn precision(numbers: Option<&str>) -> Result<PrecisionArgs, Box<dyn Error>> {
    let (dtype, quantize) = match numbers {
        None => Default::default(),
        Some("f32") => (Dtype::F32, Quantize::None),
        Some("bf16") => (Dtype::Bf16, Quantize::None),
        Some("q8_0") => (Dtype::Auto, Quantize::Q8_0),
        Some(other) => return Err(format!("{other} is none of f32, bf16, q8_0").into()),
    };
    Ok(PrecisionArgs { dtype, quantize })
}
