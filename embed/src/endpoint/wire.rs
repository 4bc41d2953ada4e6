//! What is sent to a service and what it answers: `/v1/embeddings` as OpenAI describes it in its
//! API reference, which text-embeddings-inference, vLLM, llama.cpp and others follow.

use serde::{Deserialize, Serialize};

use crate::http::Failure;

#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    input: &'a [String],
    encoding_format: &'a str,
}

#[derive(Deserialize)]
struct Answer {
    data: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    /// Which of the texts; some services leave it out and keep the order.
    index: Option<usize>,
    embedding: Vec<f32>,
}

/// Returns what asks for the vectors of texts.
pub(super) fn request(model: &str, texts: &[String]) -> Vec<u8> {
    let request = Request {
        model,
        input: texts,
        // Every service knows it; the other one, base64, only some.
        encoding_format: "float",
    };
    // Strings alone, which always serialise.
    serde_json::to_vec(&request).unwrap_or_default()
}

/// Reads the vectors of `count` texts, in the order of the texts.
///
/// # Errors
/// [`Failure::Broken`] for what is no JSON, as after a connection that was cut unseen;
/// [`Failure::Answer`] for another number of vectors, or if it is not told whose they are.
pub(super) fn answer(url: &str, mut json: Vec<u8>, count: usize) -> Result<Vec<Vec<f32>>, Failure> {
    let answer: Answer = simd_json::serde::from_slice(&mut json).map_err(|error| {
        let cause = format!("the answer holds no embeddings: {error}");
        let url = url.to_owned();
        Failure::Broken { url, cause }
    })?;
    let fail = |cause: String| {
        let url = url.to_owned();
        Err(Failure::Answer { url, cause })
    };
    let found = answer.data.len();
    if found != count {
        return fail(format!("{found} vectors came for {count} texts"));
    }
    let mut vectors: Vec<Option<Vec<f32>>> = vec![None; count];
    for (at, item) in answer.data.into_iter().enumerate() {
        let index = item.index.unwrap_or(at);
        match vectors.get_mut(index) {
            Some(slot @ None) => *slot = Some(item.embedding),
            Some(_) => return fail(format!("two vectors came for the text {index}")),
            None => return fail(format!("a vector came for the text {index} of {count}")),
        }
    }
    Ok(vectors.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str, count: usize) -> Result<Vec<Vec<f32>>, String> {
        answer("http://host", json.into(), count).map_err(|failure| failure.to_string())
    }

    #[test]
    fn vectors_come_back_in_the_order_of_the_texts() {
        let json = r#"{"object":"list","model":"m","usage":{"total_tokens":4},"data":[
            {"object":"embedding","index":1,"embedding":[3,-0.25]},
            {"object":"embedding","index":0,"embedding":[1.5e-3,2]}]}"#;
        assert_eq!(read(json, 2).unwrap(), [[1.5e-3, 2.0], [3.0, -0.25]]);
        let bare = r#"{"data":[{"embedding":[1]},{"embedding":[2]}]}"#;
        assert_eq!(read(bare, 2).unwrap(), [[1.0], [2.0]]);
    }

    #[test]
    fn an_answer_that_could_be_taken_wrongly_is_none() {
        for (json, count, cause) in [
            ("", 1, "no embeddings"),
            ("<html>", 1, "no embeddings"),
            (
                r#"{"data":[{"index":0,"embedding":[1.0"#,
                1,
                "no embeddings",
            ),
            (
                r#"{"data":[{"index":0,"embedding":[NaN]}]}"#,
                1,
                "no embeddings",
            ),
            (
                r#"{"data":[{"index":0,"embedding":[null]}]}"#,
                1,
                "no embeddings",
            ),
            (r#"{"data":[{"index":0}]}"#, 1, "no embeddings"),
            (r#"{"error":"no"}"#, 1, "no embeddings"),
            (r#"{"data":[]}"#, 1, "0 vectors came for 1 texts"),
            (
                r#"{"data":[{"index":0,"embedding":[1]},{"index":0,"embedding":[1]}]}"#,
                2,
                "two vectors came for the text 0",
            ),
            (
                r#"{"data":[{"index":1,"embedding":[1]}]}"#,
                1,
                "for the text 1 of 1",
            ),
            (
                r#"{"data":[{"embedding":[1]},{"index":0,"embedding":[1]}]}"#,
                2,
                "two vectors",
            ),
        ] {
            let found = read(json, count).unwrap_err();
            assert!(found.contains(cause), "{json}: {found}");
        }
    }

    #[test]
    fn a_request_is_as_the_reference_has_it() {
        let json = request("m", &["a\n\"b\"".to_owned(), "é".to_owned()]);
        let text = String::from_utf8(json).unwrap();
        assert_eq!(
            text,
            r#"{"model":"m","input":["a\n\"b\"","é"],"encoding_format":"float"}"#
        );
    }
}
