//! Static models in folders, against model2vec.
//!
//! `scripts/references/make-model2vec-reference.py` made the folders and the expected vectors.

use std::path::{Path, PathBuf};

use cs_embed::{Embedder, ModelSpec, RecipeArgs, open};
use serde_json::Value;

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/model2vec")
}

fn model(folder: &Path, max_tokens: Option<usize>) -> Box<dyn Embedder> {
    let spec = ModelSpec {
        id: folder.display().to_string(),
        recipe: RecipeArgs {
            max_tokens,
            ..RecipeArgs::default()
        },
        ..ModelSpec::default()
    };
    open(&spec).unwrap()
}

fn numbers(value: &Value) -> Vec<f32> {
    let numbers = value.as_array().unwrap().iter();
    numbers
        .map(|value| value.as_f64().unwrap() as f32)
        .collect()
}

#[test]
fn vectors_are_those_of_model2vec() {
    let expected = std::fs::read_to_string(data().join("expected.json")).unwrap();
    let expected: Value = serde_json::from_str(&expected).unwrap();
    let texts = expected["texts"].as_array().unwrap().iter();
    let texts: Vec<&str> = texts.map(|text| text.as_str().unwrap()).collect();
    let models = expected["models"].as_object().unwrap();
    assert_eq!(models.len(), 6);
    for (name, vectors) in models {
        let model = model(&data().join(name), None);
        // model2vec rounds the vectors of a model in f16 to f16.
        let (absolute, relative) = match model.model().dtype.as_str() {
            "f16" => (1e-6, 1.0 / 2048.0),
            _ => (1e-5, 0.0),
        };
        let found = model.embed(&texts).unwrap();
        for ((text, found), vector) in texts.iter().zip(&found).zip(vectors.as_array().unwrap()) {
            let expected = numbers(vector);
            assert_eq!(found.len(), expected.len());
            if expected.iter().all(|value| *value == 0.0) {
                // No known token: here that has the row of the unknown one, if there is any.
                let is_zero = found.iter().all(|value| *value == 0.0);
                assert_eq!(is_zero, name == "bpe", "{name}: {text:?}");
                continue;
            }
            for (found, expected) in found.iter().zip(&expected) {
                let limit = absolute + relative * expected.abs();
                let error = (found - expected).abs();
                assert!(error <= limit, "{name}: {found} {expected} for {text:?}");
            }
        }
    }
}

#[test]
fn a_folder_says_what_it_is() {
    for (name, dtype, pooling, normalized, max_tokens) in [
        ("plain", "f32", "mean", true, Some(512)),
        ("humps", "f16", "mean", false, None),
        ("quantised", "int8", "weighted-mean", true, Some(16)),
        ("unigram", "f32", "mean", true, Some(512)),
        ("bpe", "f64", "weighted-mean", true, Some(512)),
        ("nested", "f32", "mean", false, Some(512)),
    ] {
        let model = model(&data().join(name), None);
        let model = model.model();
        let found = (model.dtype.as_str(), model.pooling.as_str());
        assert_eq!(found, (dtype, pooling), "{name}");
        assert_eq!(model.normalized, normalized, "{name}");
        assert_eq!((model.dim, model.max_tokens), (16, max_tokens), "{name}");
    }
}

#[test]
fn a_limit_of_tokens_can_be_asked_for() {
    let text = "how to read a file in python ".repeat(100);
    for folder in [data().join("plain"), PathBuf::from("builtin")] {
        let (short, whole) = (model(&folder, Some(8)), model(&folder, None));
        assert_eq!(short.model().max_tokens, Some(8));
        let vectors = |text: &str| {
            let one = |model: &dyn Embedder| model.embed(&[text]).unwrap().remove(0);
            (one(short.as_ref()), one(whole.as_ref()))
        };
        let (a, b) = vectors(&text);
        assert_ne!(a, b);
        let (a, b) = vectors("read");
        assert_eq!(a, b);
    }
}

#[test]
fn the_built_in_model_is_such_a_folder() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("model");
    let (folder, builtin) = (model(&folder, None), model(Path::new("builtin"), None));
    assert_eq!(folder.model().sha256, builtin.model().sha256);
    let long = "fn parse_date(text: &str) ".repeat(1000);
    let texts = [
        "fn readLine(maxBytes: usize)",
        "größe 漢字",
        "",
        "\u{0}",
        &long,
    ];
    let vectors = folder.embed(&texts).unwrap();
    assert_eq!(vectors, builtin.embed(&texts).unwrap());
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let copy = |from: &str, name: &str| {
        std::fs::copy(data().join(from).join(name), folder.path().join(name)).unwrap();
    };
    let message = || {
        let spec = ModelSpec {
            id: folder.path().display().to_string(),
            ..ModelSpec::default()
        };
        open(&spec).err().unwrap().to_string()
    };
    copy("plain", "model.safetensors");
    copy("plain", "config.json");
    assert!(message().contains("tokenizer.json"), "{}", message());
    copy("bpe", "tokenizer.json");
    assert!(
        message().contains("the tokenizer's last id is"),
        "{}",
        message()
    );
    copy("plain", "tokenizer.json");
    copy("quantised", "model.safetensors");
    assert!(
        open(&ModelSpec {
            id: folder.path().display().to_string(),
            ..ModelSpec::default()
        })
        .is_ok()
    );
    let path = folder.path().join("model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.pop();
    std::fs::write(&path, bytes).unwrap();
    assert!(message().contains("model.safetensors"), "{}", message());
}
