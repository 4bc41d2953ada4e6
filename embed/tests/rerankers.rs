//! Every family of cross-encoders against PyTorch, on small random models.
//!
//! `scripts/references/make-rerank-references.py` made the models and the expected logits.
//! `--nocapture` prints the table of scripts/bench/results/rerank.md.

use std::fs;
use std::path::{Path, PathBuf};

use cs_embed::{Dtype, EngineName, ModelSpec, PrecisionArgs, RecipeArgs, Reranker, open_reranker};
use serde::Deserialize;

/// The most that a logit may differ.
const TOLERANCE: f64 = 1e-4;

const FAMILIES: [&str; 3] = ["bert", "xlm-roberta", "modernbert"];

const ENGINES: [EngineName; 2] = [EngineName::Native, EngineName::Candle];

#[derive(Deserialize)]
struct Reference {
    rows: Vec<Row>,
    variants: Vec<Variant>,
}

#[derive(Deserialize)]
struct Row {
    question: String,
    document: String,
    logit: f64,
}

/// Another value of a key in `config.json`, and what comes of it.
#[derive(Deserialize)]
struct Variant {
    key: String,
    from: String,
    to: String,
    logits: Vec<f64>,
}

fn folder(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/rerankers")
        .join(family)
}

fn reference(family: &str) -> Reference {
    let json = fs::read(folder(family).join("reference.json")).unwrap();
    serde_json::from_slice(&json).unwrap()
}

fn open(folder: &Path, engine: EngineName) -> Result<Box<dyn Reranker>, cs_embed::Error> {
    open_reranker(&ModelSpec {
        id: folder.display().to_string(),
        engine,
        precision: PrecisionArgs {
            dtype: Dtype::F32,
            ..PrecisionArgs::default()
        },
        ..ModelSpec::default()
    })
}

/// The scores of each row, one at a time.
fn alone(model: &dyn Reranker, rows: &[Row]) -> Vec<f64> {
    let score = |row: &Row| {
        let text = std::slice::from_ref(&row.document);
        model.scores(&row.question, text).unwrap()[0]
    };
    rows.iter().map(score).collect()
}

fn greatest_difference(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let differences = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    // A difference that is no number must not vanish in the maximum.
    differences.fold(0.0, |max, d| if d <= max { max } else { d })
}

#[test]
fn every_family_gives_the_logits_of_pytorch() {
    println!("| engine | family | logits | batch = single |\n|---|---|---|---|");
    for engine in ENGINES {
        for family in FAMILIES {
            let Reference { rows, .. } = reference(family);
            let expected: Vec<f64> = rows.iter().map(|row| row.logit).collect();
            let model = open(&folder(family), engine).unwrap();
            let found = alone(model.as_ref(), &rows);
            let difference = greatest_difference(&found, &expected);

            // Each question with all documents together: each as if it were alone.
            let texts: Vec<String> = rows.iter().map(|row| row.document.clone()).collect();
            let mut most: f64 = 0.0;
            for row in &rows {
                let together = model.scores(&row.question, &texts).unwrap();
                let alone: Vec<f64> = texts
                    .iter()
                    .map(|text| {
                        let text = std::slice::from_ref(text);
                        model.scores(&row.question, text).unwrap()[0]
                    })
                    .collect();
                most = most.max(greatest_difference(&together, &alone));
            }
            println!("| {engine:?} | {family} | {difference:.1e} | {most:.1e} |");
            assert!(difference <= TOLERANCE, "{engine:?} {family}: {difference}");
            assert!(most <= TOLERANCE, "{engine:?} {family}: {most}");
        }
    }
}

#[test]
fn logits_do_not_saturate_and_keep_their_order() {
    for family in FAMILIES {
        let Reference { rows, .. } = reference(family);
        let ordered = |scores: &[f64]| {
            let mut order: Vec<usize> = (0..scores.len()).collect();
            order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
            order
        };
        let expected: Vec<f64> = rows.iter().map(|row| row.logit).collect();
        let model = open(&folder(family), EngineName::Native).unwrap();
        let found = alone(model.as_ref(), &rows);
        assert_eq!(ordered(&found), ordered(&expected), "{family}");
        let first: Vec<f64> = ordered(&found).iter().map(|at| found[*at]).collect();
        assert!(
            first[0] > 17.0 && first[0] > first[1],
            "{family}: {first:?}"
        );
    }
}

/// Opens a copy of a family's folder in which one word of a file is another.
fn changed(
    family: &str,
    (file, old, new): (&str, &str, &str),
) -> Result<Box<dyn Reranker>, cs_embed::Error> {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(folder(family)).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    let path = copy.path().join(file);
    let text = fs::read_to_string(&path).unwrap_or_default();
    assert!(text.contains(old), "{family}/{file} has no {old}");
    fs::write(&path, text.replacen(old, new, 1)).unwrap();
    open(copy.path(), EngineName::Native)
}

#[test]
fn each_way_to_pool_is_that_of_pytorch() {
    let Reference { rows, variants } = reference("modernbert");
    assert_eq!(variants.len(), 1);
    for variant in variants {
        let word = |value: &str| format!("\"{}\":\"{value}\"", variant.key);
        let words = (word(&variant.from), word(&variant.to));
        let model = changed("modernbert", ("config.json", &words.0, &words.1)).unwrap();
        let difference = greatest_difference(&alone(model.as_ref(), &rows), &variant.logits);
        assert!(difference <= TOLERANCE, "{}: {difference}", words.1);
        let own: Vec<f64> = rows.iter().map(|row| row.logit).collect();
        assert!(greatest_difference(&own, &variant.logits) > 1.0);
    }
}

#[test]
fn a_pair_is_cut_after_fewer_tokens_if_that_is_asked_for() {
    let texts = ["a quick look at the cache".repeat(9)];
    let scores = |max_tokens| {
        let spec = ModelSpec {
            id: folder("bert").display().to_string(),
            recipe: RecipeArgs {
                max_tokens,
                ..RecipeArgs::default()
            },
            ..ModelSpec::default()
        };
        let model = open_reranker(&spec).unwrap();
        model.scores("the cache", &texts).unwrap()[0]
    };
    assert_eq!(scores(None), scores(Some(64)));
    assert_eq!(scores(None), scores(Some(9999)), "the model has no more");
    assert_ne!(scores(None), scores(Some(16)));
}

#[test]
fn what_is_no_cross_encoder_of_one_label_is_refused_by_the_name_of_its_key() {
    let class = "BertForSequenceClassification";
    let own_labels = r#""id2label":{"0":"LABEL_0"}"#;
    let labels = r#""id2label":{"0":"no","1":"yes"}"#;
    let cases = [
        (
            "bert",
            "config.json",
            own_labels,
            labels,
            "`id2label` has 2 labels",
        ),
        (
            "bert",
            "config.json",
            r#""model_type":"bert""#,
            r#""model_type":"bert","num_labels":3"#,
            "`num_labels` has 3 labels",
        ),
        (
            "bert",
            "config.json",
            class,
            "BertModel",
            r#"`architectures` is ["BertModel"]"#,
        ),
        (
            "bert",
            "config.json",
            r#""model_type":"bert""#,
            r#""model_type":"qwen3""#,
            "model_type is qwen3",
        ),
        (
            "bert",
            "config.json",
            r#""model_type":"bert""#,
            r#""model_type":"bert","position_embedding_type":"alibi""#,
            "model_type is bert with alibi positions",
        ),
        (
            "bert",
            "config.json",
            r#""type_vocab_size":2"#,
            r#""type_vocab_size":1"#,
            "has the shape [2, 32], not [1, 32]",
        ),
        (
            "modernbert",
            "config.json",
            r#""classifier_pooling":"mean""#,
            r#""classifier_pooling":"max""#,
            "`classifier_pooling` is max",
        ),
        (
            "modernbert",
            "config.json",
            r#""classifier_bias":false"#,
            r#""classifier_bias":true"#,
            "has no tensor `head.dense.bias`",
        ),
        (
            "xlm-roberta",
            "tokenizer_config.json",
            r#""model_input_names":["input_ids","attention_mask"],"#,
            "",
            "gives a token of a pair the type 1; `type_vocab_size` of config.json is 1",
        ),
        (
            "bert",
            "tokenizer_config.json",
            r#""pad_token""#,
            r#""truncation_side":"left","pad_token""#,
            "`truncation_side` is left",
        ),
        (
            "bert",
            "modules.json",
            "",
            r#"[{"path":"","type":"a.Transformer"},{"path":"1","type":"a.LogitScore"}]"#,
            "modules.json: has more than",
        ),
        (
            "bert",
            "config_sentence_transformers.json",
            "",
            r#"{"default_prompt_name":"query"}"#,
            "`default_prompt_name` is query",
        ),
    ];
    for (family, file, old, new, expected) in cases {
        let message = match changed(family, (file, old, new)) {
            Ok(_) => panic!("{family} with {new} was opened"),
            Err(error) => error.to_string(),
        };
        assert!(message.contains(expected), "{family}: {message}");
        assert!(message.contains(".json") || message.contains(".safetensors"));
    }
    let encoder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/encoders/nomic");
    let message = open(&encoder, EngineName::Native)
        .err()
        .unwrap()
        .to_string();
    assert!(
        message.contains("nomic_bert; cross-encoders of these types"),
        "{message}"
    );
}

#[test]
fn a_folder_as_newer_versions_write_it_is_opened() {
    let modules = r#"[{"idx":0,"name":"0","path":"","type":"sentence_transformers.base.modules.transformer.Transformer"}]"#;
    let model = changed("bert", ("modules.json", "", modules)).unwrap();
    assert_eq!(model.scores("a", &["b".to_owned()]).unwrap().len(), 1);
    assert!(model.scores("a", &[]).unwrap().is_empty());
}
