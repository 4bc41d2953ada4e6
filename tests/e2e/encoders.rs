//! An encoder through the whole pipeline, and each flag that says how it embeds.

use cs_tests::{Home, tiny_bert};
use serde_json::Value;

fn home() -> Home {
    let home = Home::new();
    home.write(
        "repo/upload.rs",
        "/// Tries a failed upload again.\npub fn retry_upload() -> bool {\n    send() || send()\n}\n",
    );
    home.write(
        "repo/dates.py",
        "def parse_date(text):\n    return Date(text)\n",
    );
    for (name, bytes) in tiny_bert::files() {
        home.write(&format!("tiny/{name}"), bytes);
    }
    home.sh("cs-parse repo > chunks.arrows").status(0);
    home
}

/// Embeds and returns what the stream says of the model, and the vectors.
fn embed(home: &Home, flags: &str) -> (Value, Vec<Vec<f64>>) {
    let script = format!("cs-embed --model tiny {flags} --to jsonl < chunks.arrows");
    let text = home.sh(&script).status(0).text();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let model = lines[0]["metadata"]["cs.model"].as_str().expect("a model");
    let vectors = lines.iter().filter_map(|line| line["vector"].as_array());
    let vectors = vectors.map(|vector| vector.iter().filter_map(Value::as_f64).collect());
    (
        serde_json::from_str(model).expect("JSON"),
        vectors.collect(),
    )
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn each_kind_of_numbers_gives_nearly_the_same_vectors() {
    let home = home();
    let (model, exact) = embed(&home, "--dtype f32");
    assert_eq!(model["dtype"], "f32");
    assert_eq!(embed(&home, "").1, exact, "auto is f32 for a model in f32");
    assert_eq!(embed(&home, "-j 1").1, exact);
    for (flags, dtype, least) in [
        ("--dtype bf16", "bf16", 0.999),
        ("--quantize q8_0", "q8_0", 0.995),
    ] {
        let tried = home.sh(&format!(
            "cs-embed --model tiny {flags} < chunks.arrows > out 2> err; echo $?"
        ));
        if tried.text() == "2\n" {
            let said = String::from_utf8(home.read("err")).expect("UTF-8");
            assert!(
                said.contains("this processor has no instructions for"),
                "{said}"
            );
            assert!(said.contains("hint: --dtype f32"), "{said}");
            continue;
        }
        let (model, vectors) = embed(&home, flags);
        assert_eq!(model["dtype"], dtype);
        for (vector, exact) in vectors.iter().zip(&exact) {
            let cosine = cosine(vector, exact);
            assert!(cosine > least && cosine < 1.0, "{flags}: {cosine}");
        }
        home.sh(&format!(
            "cs-embed --model tiny {flags} < chunks.arrows | cs-store db-{dtype}
             cs-query --db db-{dtype} --mode dense 'retry upload'"
        ))
        .status(0);
    }
    home.sh("cs-embed --model tiny --dtype f16 < chunks.arrows")
        .status(2)
        .says("f16 is for CUDA cards");
    home.sh("cs-embed --model tiny --dtype bf16 --quantize q8_0 < chunks.arrows")
        .status(2)
        .says("cannot be used with");
}

#[test]
fn what_is_said_of_an_encoder_goes_before_its_files() {
    let home = home();
    let (model, own) = embed(&home, "");
    assert_eq!(
        (&model["pooling"], &model["normalized"]),
        (&"mean".into(), &true.into())
    );
    for flags in [
        "--pooling cls",
        "--pooling last",
        "--pooling max",
        "--normalize false",
        "--document-prefix 'passage: '",
        "--max-tokens 8",
    ] {
        assert_ne!(embed(&home, flags).1, own, "{flags}");
    }
    // A prefix of questions changes no chunk, and is kept for the question.
    let (model, same) = embed(&home, "--query-prefix 'query: '");
    assert_eq!(same, own);
    assert_eq!(model["query_prefix"], "query: ");
    home.sh(
        "cs-embed --model tiny --query-prefix 'query: ' --pooling cls < chunks.arrows | cs-store db
         cs-query --db db --mode dense 'parse date'",
    )
    .status(0);
    home.sh("cs-embed --pooling cls < chunks.arrows")
        .status(2)
        .says("is a static model");
    home.sh("cs-embed --model tiny --max-tokens 3 < chunks.arrows")
        .status(2)
        .says("at least 8");
}
