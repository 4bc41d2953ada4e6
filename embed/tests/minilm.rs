//! all-MiniLM-L6-v2 on its real weights, against sentence-transformers.
//!
//! `scripts/test` fetches the weights and names their folder in `CS_MINILM`;
//! `scripts/references/make-minilm-reference.py` made the expected vectors.

use cs_embed::{Embedder, Environment, ModelSpec, RecipeArgs, open};
use serde::Deserialize;

#[derive(Deserialize)]
struct Reference {
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    text: String,
    vector: Vec<f32>,
}

fn reference() -> Vec<Row> {
    let text = include_str!("data/minilm-reference.json");
    serde_json::from_str::<Reference>(text).unwrap().rows
}

fn minilm(max_tokens: Option<usize>) -> Option<Box<dyn Embedder>> {
    let Ok(id) = std::env::var("CS_MINILM") else {
        // In CI every test runs.
        assert!(std::env::var_os("CI").is_none(), "CS_MINILM is not set");
        println!("skipped: CS_MINILM names no folder with the weights (scripts/test sets it)");
        return None;
    };
    let spec = ModelSpec {
        id,
        recipe: RecipeArgs {
            max_tokens,
            ..RecipeArgs::default()
        },
        env: Environment::default(),
        ..ModelSpec::default()
    };
    Some(open(&spec).unwrap())
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn two_hundred_texts_are_what_sentence_transformers_makes_of_them() {
    let Some(model) = minilm(None) else { return };
    let rows = reference();
    assert_eq!(rows.len(), 200);
    let texts: Vec<&str> = rows.iter().map(|row| row.text.as_str()).collect();
    let vectors = model.embed(&texts).unwrap();
    for (row, vector) in rows.iter().zip(&vectors) {
        let cosine = cosine(&row.vector, vector);
        let start: String = row.text.chars().take(40).collect();
        assert!(cosine > 0.9999, "{cosine} for {start:?}");
    }
}

#[test]
fn a_batch_is_as_good_as_each_text_alone() {
    let Some(model) = minilm(None) else { return };
    let rows = reference();
    let texts: Vec<&str> = rows.iter().map(|row| row.text.as_str()).collect();
    let together = model.embed(&texts).unwrap();
    // Every tenth serves: among them are the shortest and the longest.
    for (text, expected) in texts.iter().zip(&together).step_by(10) {
        let alone = model.embed(&[text]).unwrap();
        for (a, b) in alone[0].iter().zip(expected) {
            assert!((a - b).abs() < 1e-5, "{a} {b} for {text:?}");
        }
    }
}

#[test]
fn text_after_the_limit_changes_nothing_and_before_it_does() {
    let Some(model) = minilm(None) else { return };
    assert_eq!(model.model().max_tokens, Some(256));
    let long = "upload ".repeat(254);
    let texts = [
        long.clone(),
        format!("{long} parser"),
        format!("parser {long}"),
    ];
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let vectors = model.embed(&texts).unwrap();
    assert!(cosine(&vectors[0], &vectors[1]) > 0.999_999);
    assert!(cosine(&vectors[0], &vectors[2]) < 0.999);

    let Some(short) = minilm(Some(16)) else {
        return;
    };
    let vectors = short
        .embed(&["upload ".repeat(14).as_str(), texts[1]])
        .unwrap();
    assert!(cosine(&vectors[0], &vectors[1]) > 0.999_999);
}

#[test]
fn the_published_vector_of_a_sentence() {
    let Some(model) = minilm(None) else { return };
    let vector = &model.embed(&["how to read a file in python"]).unwrap()[0];
    let expected = [
        0.014708, 0.074474, -0.100490, 0.006120, -0.031142, -0.085116,
    ];
    for (got, expected) in vector.iter().zip(expected) {
        assert!((got - expected).abs() < 1e-5, "{got} {expected}");
    }
}
