//! Every family of encoders against PyTorch, on small random models.
//!
//! `scripts/references/make-encoder-references.py` made the models and the expected vectors.
//! `--nocapture` prints the table of scripts/bench/results/embed.md.

use std::fs;
use std::path::{Path, PathBuf};

use cs_embed::{
    Dtype, Embedder, EngineName, ModelSpec, Pooling, PrecisionArgs, RecipeArgs, open, open_for,
};
use serde::Deserialize;

/// The most that a number of a vector may differ.
const TOLERANCE: f32 = 1e-4;

const FAMILIES: [&str; 8] = [
    "bert",
    "xlm-roberta",
    "nomic",
    "nomic-native",
    "jina",
    "jina-code",
    "modernbert",
    "qwen3",
];

/// Those that cut a text after about a hundred tokens.
const LIMITED: [&str; 2] = ["bert", "xlm-roberta"];

/// The row of the longest text.
const LONGEST: &str = "10000 tokens";

const ENGINES: [EngineName; 2] = [EngineName::Native, EngineName::Candle];

#[derive(Deserialize)]
struct Reference {
    /// The words that texts by rule are made of.
    words: Vec<String>,
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    name: String,
    text: Option<String>,
    /// For a text by rule: how many words.
    words: Option<usize>,
    /// Which of the model's prompts stands before the text.
    prompt: Option<String>,
    vector: Vec<f32>,
}

fn folder(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/encoders")
        .join(family)
}

/// A text without its prompt.
fn plain(row: &Row, words: &[String]) -> String {
    let word = |k: usize| words[(k * k + 3 * k) % words.len()].as_str();
    match (&row.text, row.words) {
        (Some(text), _) => text.clone(),
        (None, count) => (0..count.unwrap()).map(word).collect::<Vec<_>>().join(" "),
    }
}

/// The rows of a family, each with the text as it is embedded.
fn rows(family: &str, model: &dyn Embedder) -> Vec<(Row, String)> {
    let json = fs::read(folder(family).join("reference.json")).unwrap();
    let reference: Reference = serde_json::from_slice(&json).unwrap();
    let with_text = |row: Row| {
        let prefix = match row.prompt.as_deref() {
            None => "",
            Some("query") => &model.model().query_prefix,
            Some(_) => &model.model().document_prefix,
        };
        let text = format!("{prefix}{}", plain(&row, &reference.words));
        (row, text)
    };
    reference.rows.into_iter().map(with_text).collect()
}

fn model(family: &str, engine: EngineName, recipe: RecipeArgs) -> Box<dyn Embedder> {
    // Some of the models' files ask for 16 bits, which the engine for cards has everywhere.
    let dtype = match engine {
        EngineName::Native => Dtype::Auto,
        EngineName::Candle => Dtype::F32,
    };
    model_in(family, engine, recipe, dtype)
}

fn model_in(
    family: &str,
    engine: EngineName,
    recipe: RecipeArgs,
    dtype: Dtype,
) -> Box<dyn Embedder> {
    let spec = ModelSpec {
        id: folder(family).display().to_string(),
        engine,
        recipe,
        precision: PrecisionArgs {
            dtype,
            ..PrecisionArgs::default()
        },
        ..ModelSpec::default()
    };
    open(&spec).unwrap()
}

fn greatest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let differences = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    // A difference that is no number must not vanish in the maximum.
    differences.fold(0.0, |max, d| if d <= max { max } else { d })
}

/// What a row of the reference is about, as a column of the table.
fn check(row: &Row) -> usize {
    match (row.name.as_str(), &row.prompt) {
        (_, Some(_)) => 5,
        ("empty", _) => 1,
        ("non-ascii", _) => 2,
        ("long", _) => 3,
        (LONGEST, _) => 4,
        _ => 0,
    }
}

/// A family's greatest difference for each check, as far as it has rows of it.
fn conformance(family: &str, engine: EngineName) -> [Option<f32>; 7] {
    let model = model(family, engine, RecipeArgs::default());
    let rows = rows(family, model.as_ref());
    let mut found = [None; 7];
    let mut note = |check: usize, difference: f32| {
        let before: f32 = found[check].unwrap_or(0.0);
        found[check] = Some(if difference <= before {
            before
        } else {
            difference
        });
    };
    // candle's attention over a long text takes a minute: there, a text that is cut stands for it.
    let is_short = |(row, _): &(Row, String)| {
        engine == EngineName::Native || LIMITED.contains(&family) || row.name != LONGEST
    };
    let rows: Vec<(Row, String)> = rows.into_iter().filter(is_short).collect();
    let texts: Vec<&str> = rows.iter().map(|(_, text)| text.as_str()).collect();
    let together = model.embed(&texts).unwrap();
    for ((row, text), in_batch) in rows.iter().zip(&together) {
        note(check(row), greatest_difference(in_batch, &row.vector));
        // The longest text is a batch of its own anyway.
        if row.name != LONGEST {
            let alone = &model.embed(&[text]).unwrap()[0];
            note(check(row), greatest_difference(alone, &row.vector));
            note(6, greatest_difference(alone, in_batch));
        }
    }
    found
}

#[test]
fn every_family_is_what_pytorch_makes_of_it() {
    println!(
        "| engine | family | texts | empty | non-ASCII | 400 words | 10,000 tokens | prompts | batch = single |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let mut failed = Vec::new();
    for engine in ENGINES {
        for family in FAMILIES {
            let found = conformance(family, engine);
            let cells = found.map(|cell| cell.map_or("-".to_owned(), |d| format!("{d:.1e}")));
            println!("| {engine:?} | {family} | {} |", cells.join(" | "));
            let fits = found.iter().flatten().all(|d| *d <= TOLERANCE);
            if !fits {
                failed.push((engine, family));
            }
        }
    }
    assert!(failed.is_empty(), "more than {TOLERANCE}: {failed:?}");
}

/// What cards compute in: on the processor the same code runs, with the same range of numbers.
#[test]
fn sixteen_bits_lose_digits_and_nothing_else() {
    for family in FAMILIES {
        let in_dtype = |dtype| {
            let recipe = RecipeArgs::default();
            model_in(family, EngineName::Candle, recipe, dtype)
        };
        let exact = in_dtype(Dtype::F32);
        let rows = rows(family, exact.as_ref());
        let texts = rows.iter().filter(|(row, _)| row.name != LONGEST);
        let texts: Vec<&str> = texts.map(|(_, text)| text.as_str()).collect();
        let expected = exact.embed(&texts).unwrap();
        // The random models are small and without the order of trained ones, so that digits that
        // are lost show most: bf16 has eight of them.
        for (dtype, name, least) in [(Dtype::F16, "f16", 0.9999), (Dtype::Bf16, "bf16", 0.994)] {
            let short = in_dtype(dtype);
            assert_eq!(short.model().dtype, name);
            let found = short.embed(&texts).unwrap();
            let worst = found.iter().zip(&expected).map(|(a, b)| cosine(a, b));
            println!("{family} {name}: {}", worst.fold(1.0, f32::min));
            for ((found, expected), text) in found.iter().zip(&expected).zip(&texts) {
                let cosine = cosine(found, expected);
                // NaN is not more than anything.
                assert!(cosine > least, "{family} {name}: {cosine} for {text:.40}");
            }
        }
    }
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn recipes_come_from_the_folders_files() {
    let cases = [
        // family, pooling, normalised, tokens, prefixes, dimensions
        ("bert", "cls", true, 96, "", "", 48),
        ("xlm-roberta", "mean", true, 100, "query: ", "passage: ", 31),
        (
            "nomic",
            "mean",
            true,
            10000,
            "search_query: ",
            "search_document: ",
            48,
        ),
        ("nomic-native", "max", false, 10000, "", "", 48),
        ("jina", "mean", false, 10000, "", "", 48),
        ("modernbert", "cls", true, 10000, "", "", 48),
        (
            "qwen3",
            "last",
            true,
            10000,
            "Instruct: Given a question, find code that answers it\nQuery:",
            "",
            48,
        ),
    ];
    for (family, pooling, normalized, tokens, query, document, dim) in cases {
        let opened = model(family, EngineName::default(), RecipeArgs::default());
        let found = opened.model();
        assert_eq!(found.pooling, pooling, "{family}");
        assert_eq!(found.normalized, normalized, "{family}");
        assert_eq!(found.max_tokens, Some(tokens), "{family}");
        assert_eq!(found.query_prefix, query, "{family}");
        assert_eq!(found.document_prefix, document, "{family}");
        assert_eq!(found.dim, dim, "{family}");
        assert_eq!(found.sha256.len(), 64, "{family}");
    }
}

#[test]
fn what_was_asked_for_goes_before_the_files_and_is_asked_again_for_a_question() {
    let recipe = RecipeArgs {
        query_prefix: Some("q: ".to_owned()),
        document_prefix: Some("d: ".to_owned()),
        pooling: Some(Pooling::Mean),
        normalize: Some(false),
        max_tokens: Some(20),
    };
    let own = model("bert", EngineName::default(), RecipeArgs::default());
    let other = model("bert", EngineName::default(), recipe);
    let again = open_for(other.model(), Default::default()).unwrap();
    assert_eq!(again.model(), other.model());
    assert_eq!(again.model().query_prefix, "q: ");
    assert_eq!(again.model().document_prefix, "d: ");
    assert_eq!(again.model().max_tokens, Some(20));

    let text = ["the quick brown fox jumps over the lazy dog ".repeat(5)];
    let text = [text[0].as_str()];
    let vector = &other.embed(&text).unwrap()[0];
    assert_eq!(&again.embed(&text).unwrap()[0], vector);
    assert!(greatest_difference(vector, &own.embed(&text).unwrap()[0]) > 0.01);
    let square: f32 = vector.iter().map(|value| value * value).sum();
    assert!((square - 1.0).abs() > 0.1, "{square} is normalised");
}

/// Opens a copy of a family's folder in which one word of a file is another.
fn open_changed(
    family: &str,
    file: &str,
    old: &str,
    new: &str,
) -> Result<Box<dyn Embedder>, cs_embed::Error> {
    let copy = tempfile::tempdir().unwrap();
    copy_folder(&folder(family), copy.path());
    let path = copy.path().join(file);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(old), "{family}/{file} has no {old}");
    fs::write(&path, text.replacen(old, new, 1)).unwrap();
    open(&ModelSpec {
        id: copy.path().display().to_string(),
        ..ModelSpec::default()
    })
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn what_is_not_done_is_refused_by_the_name_of_its_key() {
    let cases = [
        (
            "bert",
            "config.json",
            r#""model_type":"bert""#,
            r#""model_type":"t5""#,
            "model_type is t5",
        ),
        (
            "bert",
            "config.json",
            r#""is_decoder":false"#,
            r#""is_decoder":true"#,
            "`is_decoder` is true",
        ),
        (
            "bert",
            "config.json",
            r#""hidden_act":"gelu""#,
            r#""hidden_act":"mish""#,
            "`hidden_act` is mish",
        ),
        (
            "bert",
            "config.json",
            r#""num_attention_heads":3"#,
            r#""num_attention_heads":5"#,
            "5 attention heads",
        ),
        (
            "bert",
            "config.json",
            r#""intermediate_size":80"#,
            r#""intermediate_size":81"#,
            "intermediate.dense.weight` has the shape [80, 48], not [81, 48]",
        ),
        (
            "bert",
            "config.json",
            r#""num_hidden_layers":3"#,
            r#""num_hidden_layers":4"#,
            "has no tensor `encoder.layer.3.attention",
        ),
        (
            "bert",
            "1_Pooling/config.json",
            r#""pooling_mode_mean_tokens":false"#,
            r#""pooling_mode_mean_tokens":true"#,
            "`pooling_mode` is cls+mean",
        ),
        (
            "bert",
            "modules.json",
            "models.Normalize",
            "models.CNN",
            "models.CNN",
        ),
        (
            "xlm-roberta",
            "1_Pooling/config.json",
            r#""pooling_mode_lasttoken""#,
            r#""include_prompt":false,"pooling_mode_lasttoken""#,
            "`include_prompt` is false",
        ),
        (
            "xlm-roberta",
            "2_Dense/config.json",
            "Tanh",
            "ReLU6",
            "`activation_function` is ReLU6",
        ),
        (
            "xlm-roberta",
            "2_Dense/config.json",
            r#""in_features":48"#,
            r#""in_features":47"#,
            "linear.weight` has the shape [31, 48], not [31, 47]",
        ),
        (
            "nomic",
            "config.json",
            r#""prenorm":false"#,
            r#""prenorm":true"#,
            "`prenorm` is true",
        ),
        (
            "nomic",
            "config.json",
            r#""causal":false"#,
            r#""causal":false,"num_experts":8"#,
            "`num_experts` is 8",
        ),
        (
            "nomic-native",
            "config.json",
            r#""rope_type":"default""#,
            r#""rope_type":"yarn""#,
            "`rope_type` is yarn",
        ),
        (
            "jina",
            "config.json",
            r#""geglu""#,
            r#""original""#,
            "`feed_forward_type` is original",
        ),
        (
            "qwen3",
            "config.json",
            r#""rope_scaling":null"#,
            r#""rope_scaling":{"rope_type":"dynamic"}"#,
            "`rope_type` is dynamic",
        ),
        (
            "qwen3",
            "config.json",
            r#""use_sliding_window":false"#,
            r#""use_sliding_window":true"#,
            "`use_sliding_window` is true",
        ),
        (
            "qwen3",
            "tokenizer.json",
            r#""<|endoftext|>":0"#,
            r#""<|endoftext|>":0,"beyond":9999"#,
            "`beyond` with the id 9999",
        ),
    ];
    for (family, file, old, new, expected) in cases {
        let message = match open_changed(family, file, old, new) {
            Ok(_) => panic!("{family} with {new} was opened"),
            Err(error) => error.to_string(),
        };
        assert!(message.contains(expected), "{family}: {message}");
    }
}

#[test]
fn lower_case_and_fewer_dimensions_are_heeded() {
    let opened = |file, old, new| open_changed("xlm-roberta", file, old, new).unwrap();
    let texts = ["Read The FILE", "read the file"];
    let file = "sentence_bert_config.json";
    let lower = r#""do_lower_case":true"#;
    let vectors = opened(file, r#""do_lower_case":false"#, lower)
        .embed(&texts)
        .unwrap();
    assert_eq!(vectors[0], vectors[1]);

    let own = model("xlm-roberta", EngineName::default(), RecipeArgs::default());
    let whole = own.embed(&texts).unwrap();
    assert_ne!(whole[0], whole[1]);
    assert_eq!(whole[1], vectors[1]);

    let file = "config_sentence_transformers.json";
    let cut = opened(file, r#"{"prompts""#, r#"{"truncate_dim":8,"prompts""#);
    assert_eq!(cut.model().dim, 8);
    let vector = &cut.embed(&texts).unwrap()[0];
    let square: f32 = vector.iter().map(|value| value * value).sum();
    assert!((square - 1.0).abs() < 1e-5, "{square}");
    let scale = whole[0][0] / vector[0];
    let expected: Vec<f32> = vector.iter().map(|value| value * scale).collect();
    assert!(greatest_difference(&expected, &whole[0][..8]) < 1e-5);
}
