//! What is sent to a service that reranks, and what it answers.
//!
//! There are two shapes. The one that Cohere made, which Jina, vLLM and others follow, has
//! `documents` and `results`; that of text-embeddings-inference has `texts`, and a bare list.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::http::Failure;

/// How a request is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Cohere's.
    Documents,
    /// That of text-embeddings-inference.
    Texts,
}

#[derive(Serialize)]
struct OfDocuments<'a> {
    model: &'a str,
    query: &'a str,
    documents: &'a [String],
    top_n: usize,
    return_documents: bool,
}

#[derive(Serialize)]
struct OfTexts<'a> {
    query: &'a str,
    texts: &'a [String],
    /// Logits: of what its sigmoid makes of them many are equal.
    raw_scores: bool,
    truncate: bool,
}

#[derive(Deserialize)]
struct Item {
    index: usize,
    #[serde(alias = "score")]
    relevance_score: f64,
}

/// Returns what asks for the scores of texts.
pub(super) fn request(shape: Shape, model: &str, query: &str, texts: &[String]) -> Vec<u8> {
    let json = match shape {
        Shape::Documents => serde_json::to_vec(&OfDocuments {
            model,
            query,
            documents: texts,
            top_n: texts.len(),
            return_documents: false,
        }),
        Shape::Texts => serde_json::to_vec(&OfTexts {
            query,
            texts,
            raw_scores: true,
            truncate: true,
        }),
    };
    // Strings and numbers, which always serialise.
    json.unwrap_or_default()
}

/// Reads the scores of `count` texts, in the order of the texts.
///
/// # Errors
/// [`Failure::Broken`] for what is no JSON, as after a connection that was cut unseen;
/// [`Failure::Answer`] if not each text has one score that is a number.
pub(super) fn answer(url: &str, json: &[u8], count: usize) -> Result<Vec<f64>, Failure> {
    let fail = |cause: String| {
        let url = url.to_owned();
        Failure::Answer { url, cause }
    };
    let answer: Value = serde_json::from_slice(json).map_err(|error| Failure::Broken {
        url: url.to_owned(),
        cause: format!("the answer holds no scores: {error}"),
    })?;
    let list = answer.as_array().or_else(|| answer["results"].as_array());
    let list = list.ok_or_else(|| fail("the answer holds no scores".to_owned()))?;
    let mut scores: Vec<Option<f64>> = vec![None; count];
    for item in list {
        let Item {
            index,
            relevance_score,
        } = Item::deserialize(item).map_err(|error| fail(format!("of a score: {error}")))?;
        // What is printed of it is a number of 32 bits.
        if !(relevance_score as f32).is_finite() {
            return Err(fail(format!(
                "the text {index} has the score {relevance_score}"
            )));
        }
        match scores.get_mut(index) {
            Some(slot @ None) => *slot = Some(relevance_score),
            Some(_) => return Err(fail(format!("two scores came for the text {index}"))),
            None => {
                return Err(fail(format!(
                    "a score came for the text {index} of {count}"
                )));
            }
        }
    }
    let found = list.len();
    let scores: Option<Vec<f64>> = scores.into_iter().collect();
    scores.ok_or_else(|| fail(format!("{found} scores came for {count} texts")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str, count: usize) -> Result<Vec<f64>, String> {
        answer("http://host", json.as_bytes(), count).map_err(|failure| failure.to_string())
    }

    #[test]
    fn scores_come_back_in_the_order_of_the_texts() {
        let cohere = r#"{"id":"x","results":[{"index":1,"relevance_score":0.9,"document":null},
            {"index":0,"relevance_score":-2}],"meta":{}}"#;
        assert_eq!(read(cohere, 2).unwrap(), [-2.0, 0.9]);
        let bare = r#"[{"index":0,"score":0.25},{"index":1,"score":1e-3}]"#;
        assert_eq!(read(bare, 2).unwrap(), [0.25, 1e-3]);
    }

    #[test]
    fn an_answer_that_could_be_taken_wrongly_is_none() {
        for (json, count, cause) in [
            ("", 1, "no scores"),
            ("<html>", 1, "no scores"),
            (r#"{"error":"no"}"#, 1, "no scores"),
            (r#"[{"index":0,"score":NaN}]"#, 1, "no scores"),
            (r#"[{"index":0,"score":1e999}]"#, 1, "no scores"),
            (r#"[{"index":0,"score":1e99}]"#, 1, "has the score"),
            (r#"[{"index":0,"score":null}]"#, 1, "of a score"),
            (r#"[{"index":0,"score":"1"}]"#, 1, "of a score"),
            (r#"[{"index":-1,"score":1}]"#, 1, "of a score"),
            (r#"[{"score":1}]"#, 1, "`index`"),
            (r#"{"results":[{"index":0}]}"#, 1, "`relevance_score`"),
            ("[]", 1, "0 scores came for 1 texts"),
            (r#"[{"index":1,"score":1}]"#, 2, "1 scores came for 2"),
            (r#"[{"index":2,"score":1}]"#, 2, "for the text 2 of 2"),
            (
                r#"[{"index":0,"score":1},{"index":0,"score":1}]"#,
                2,
                "two scores came for the text 0",
            ),
        ] {
            let found = read(json, count).unwrap_err();
            assert!(found.contains(cause), "{json}: {found}");
        }
    }

    #[test]
    fn requests_are_as_services_have_them() {
        let texts = ["a\n\"b\"".to_owned(), "é".to_owned()];
        let text = |shape| String::from_utf8(request(shape, "m", "q", &texts)).unwrap();
        assert_eq!(
            text(Shape::Documents),
            r#"{"model":"m","query":"q","documents":["a\n\"b\"","é"],"top_n":2,"return_documents":false}"#
        );
        assert_eq!(
            text(Shape::Texts),
            r#"{"query":"q","texts":["a\n\"b\"","é"],"raw_scores":true,"truncate":true}"#
        );
    }
}
