//! Which vectors may lie in one store, and how a model is named where they may not.

use std::path::Path;

use cs_common::metadata::{Endpoint, Model, Stage};

/// Kinds of arithmetic under which a model's vectors are the same up to 1e-3 a number.
///
/// That moves a cosine by less than what separates two hits. A store made on one machine has to
/// take vectors of another, whose processor has other numbers, and questions are embedded in
/// either. What is not listed is another quantisation, whose vectors may lie elsewhere.
const INTERCHANGEABLE: [&str; 4] = ["f32", "f16", "bf16", "q8_0"];

/// Returns what keeps vectors of two models from lying in one store; nothing if they may.
///
/// After how many tokens a text is cut is no difference: the vectors are of one space either way.
pub(crate) fn differences(a: &Model, b: &Model) -> Vec<&'static str> {
    // A model whose weights nobody hashed is known by its name alone.
    let same_weights = a.sha256 == b.sha256 && (!a.sha256.is_empty() || a.id == b.id);
    let interchangeable = |model: &Model| INTERCHANGEABLE.contains(&model.dtype.as_str());
    let same_numbers = a.dtype == b.dtype || (interchangeable(a) && interchangeable(b));
    [
        (same_weights, "weights"),
        (a.dim == b.dim, "dimensions"),
        (same_numbers, "dtype"),
        (a.pooling == b.pooling, "pooling"),
        (a.normalized == b.normalized, "normalization"),
        (a.query_prefix == b.query_prefix, "query prefix"),
        (a.document_prefix == b.document_prefix, "document prefix"),
        (a.endpoint == b.endpoint, "endpoint"),
    ]
    .into_iter()
    .filter_map(|(same, name)| (!same).then_some(name))
    .collect()
}

/// Names a model for a message.
pub(crate) fn model_name(model: &Model) -> String {
    let hash: String = model.sha256.chars().take(12).collect();
    let Model {
        id,
        dim,
        pooling,
        dtype,
        ..
    } = model;
    if let Some(Endpoint { url, .. }) = &model.endpoint {
        return format!("{id} of {url} ({dim} dimensions)");
    }
    format!("{id} ({dim} dimensions, {pooling} pooling, {dtype}, sha256 {hash})")
}

/// Returns the command that embeds a store's chunks again, as the stage in `chain` would that
/// made vectors of `model`.
pub(crate) fn reembed(db: &Path, model: &Model, chain: &[Stage]) -> String {
    let embed = chain.iter().rev().find(|stage| stage.tool == "cs-embed");
    let args = match embed {
        Some(stage) => stage.args.clone(),
        None => flags(model),
    };
    let embed: String = args.iter().map(|arg| format!(" {}", quoted(arg))).collect();
    let old = db.display().to_string();
    let new = format!("{}-new", old.trim_end_matches('/'));
    format!(
        "cs-store export {} --no-vectors | cs-embed{embed} | cs-store {}",
        quoted(&old),
        quoted(&new)
    )
}

/// Returns what names a model to cs-embed: nothing for the built-in one.
pub(crate) fn flags(model: &Model) -> Vec<String> {
    let flag = |name: &str, value: &str| [name.to_owned(), value.to_owned()];
    let mut flags = Vec::new();
    if let Some(endpoint) = &model.endpoint {
        flags.extend(flag("--endpoint", &endpoint.url));
    }
    if model.endpoint.is_some() || model.id != "builtin" {
        flags.extend(flag("--model", &model.id));
    }
    flags
}

/// Returns a word as a shell takes it.
pub(crate) fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@+%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> Model {
        Model {
            id: "a/b".to_owned(),
            sha256: "00".repeat(32),
            dim: 4,
            dtype: "f32".to_owned(),
            pooling: "mean".to_owned(),
            normalized: true,
            max_tokens: Some(512),
            query_prefix: String::new(),
            document_prefix: String::new(),
            endpoint: None,
        }
    }

    #[test]
    fn what_moves_a_vector_is_a_difference() {
        let change = |change: fn(&mut Model)| {
            let mut other = model();
            change(&mut other);
            differences(&model(), &other)
        };
        assert!(change(|model| model.dtype = "bf16".to_owned()).is_empty());
        assert!(change(|model| model.dtype = "q8_0".to_owned()).is_empty());
        assert!(change(|model| model.id = "/models/b".to_owned()).is_empty());
        assert_eq!(change(|model| model.dtype = "int8".to_owned()), ["dtype"]);
        assert_eq!(change(|model| model.sha256.clear()), ["weights"]);
        assert_eq!(
            change(|model| {
                model.dim = 2;
                model.document_prefix = "passage: ".to_owned();
            }),
            ["dimensions", "document prefix"]
        );
        assert_eq!(
            change(|model| {
                let url = "https://host/v1/embeddings".to_owned();
                model.endpoint = Some(Endpoint { url, dim: 4 });
            }),
            ["endpoint"]
        );
        let nameless = |id: &str| Model {
            id: id.to_owned(),
            sha256: String::new(),
            ..model()
        };
        assert!(differences(&nameless("a"), &nameless("a")).is_empty());
        assert_eq!(differences(&nameless("a"), &nameless("b")), ["weights"]);
    }

    #[test]
    fn the_command_is_one_that_a_shell_takes() {
        let stage = Stage {
            tool: "cs-embed".to_owned(),
            version: String::new(),
            args: vec!["--query-prefix".to_owned(), "it's: ".to_owned()],
            extra: serde_json::Map::new(),
        };
        let command = reembed(Path::new("my db/"), &model(), &[stage]);
        assert_eq!(
            command,
            r"cs-store export 'my db/' --no-vectors | cs-embed --query-prefix 'it'\''s: ' | cs-store 'my db-new'"
        );
        let command = reembed(Path::new("db"), &model(), &[]);
        assert!(
            command.contains("| cs-embed --model a/b | cs-store db-new"),
            "{command}"
        );
        let url = "https://host/v1/embeddings".to_owned();
        let served = Model {
            endpoint: Some(Endpoint { url, dim: 4 }),
            ..model()
        };
        assert_eq!(
            flags(&served).join(" "),
            "--endpoint https://host/v1/embeddings --model a/b"
        );
        assert_eq!(
            model_name(&served),
            "a/b of https://host/v1/embeddings (4 dimensions)"
        );
    }
}
