//! What is sent to a chat service and what it answers, as OpenAI's API reference has it.

use cs_embed::http::Failure;
use serde::{Deserialize, Serialize};

use super::End;

/// A part of a conversation.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Message {
    /// `system` or `user`.
    role: &'static str,
    content: String,
}

impl Message {
    /// Says how to answer.
    pub(crate) fn system(content: impl Into<String>) -> Self {
        let (role, content) = ("system", content.into());
        Self { role, content }
    }

    /// Says what to answer.
    pub(crate) fn user(content: impl Into<String>) -> Self {
        let (role, content) = ("user", content.into());
        Self { role, content }
    }
}

#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    messages: &'a [Message],
    stream: bool,
}

/// A whole answer, or an event of one that comes bit by bit.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    choices: Vec<Choice>,
    error: Option<Complaint>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(alias = "message")]
    delta: Option<Delta>,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Delta {
    content: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Complaint {
    Text(String),
    Object { message: String },
}

/// What an answer or an event says.
#[derive(Debug, PartialEq)]
pub(super) struct Said {
    pub(super) text: String,
    /// How the answer ends, if it does.
    pub(super) end: Option<End>,
}

/// Returns what asks for an answer. Nothing is said of temperature: some models refuse to be told.
pub(super) fn request(model: &str, messages: &[Message], stream: bool) -> Vec<u8> {
    let request = Request {
        model,
        messages,
        stream,
    };
    // Strings alone, which always serialise.
    serde_json::to_vec(&request).unwrap_or_default()
}

/// Reads an event, or an answer as a whole.
///
/// # Errors
/// [`Failure::Broken`] for what is none, [`Failure::Answer`] if the service complains in it.
pub(super) fn said(url: &str, json: &[u8]) -> Result<Said, Failure> {
    let url = url.to_owned();
    let answer: Answer = match serde_json::from_slice(json) {
        Ok(answer) => answer,
        Err(error) => {
            let cause = format!("the answer is none of a chat service: {error}");
            return Err(Failure::Broken { url, cause });
        }
    };
    if let Some(Complaint::Text(cause) | Complaint::Object { message: cause }) = answer.error {
        return Err(Failure::Answer { url, cause });
    }
    // The last event may have no choice, but say how many tokens there were.
    let choice = answer.choices.into_iter().next();
    let end = choice.as_ref().and_then(|choice| {
        let reason = choice.finish_reason.as_deref()?;
        Some(match reason {
            "length" => End::Cut,
            _ => End::Whole,
        })
    });
    let text = choice.and_then(|choice| choice.delta?.content);
    Ok(Said {
        text: text.unwrap_or_default(),
        end,
    })
}

/// Reads an answer as a whole.
///
/// # Errors
/// As for [`said`], and for an answer that says nothing.
pub(super) fn whole(url: &str, json: &[u8]) -> Result<Said, Failure> {
    let said = said(url, json)?;
    if said.text.trim().is_empty() {
        let (url, cause) = (url.to_owned(), "the model said nothing".to_owned());
        return Err(Failure::Broken { url, cause });
    }
    Ok(said)
}

/// Reads the list of texts that a model was asked for, whatever it says around it: a list as JSON,
/// else a text a line. What it thought aloud before is left out.
pub(crate) fn listed(text: &str) -> Vec<String> {
    let text = text.rsplit("</think>").next().unwrap_or_default();
    let list = text.find('[').zip(text.rfind(']')).and_then(|(from, to)| {
        let list = text.get(from..=to)?;
        serde_json::from_str::<Vec<String>>(list).ok()
    });
    let lines = || {
        let lines = text.lines().filter(|line| !line.starts_with("```"));
        let bare = |line: &str| {
            let line =
                line.trim_start_matches(|c: char| " \t-*•\"'.)".contains(c) || c.is_numeric());
            line.trim_end_matches(['"', '\'', ',', ' ']).to_owned()
        };
        lines.map(bare).collect()
    };
    let all: Vec<String> = list.unwrap_or_else(lines);
    let trimmed = all.iter().map(|text| text.trim().to_owned());
    trimmed.filter(|text| !text.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_and_events_are_read() {
        let text = |json: &str| said("u", json.as_bytes()).unwrap();
        let event = r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":"a"},"finish_reason":null}]}"#;
        assert_eq!((text(event).text.as_str(), text(event).end), ("a", None));
        let last = r#"{"choices":[{"delta":{},"finish_reason":"length"}]}"#;
        assert_eq!(text(last).end, Some(End::Cut));
        let whole = r#"{"choices":[{"message":{"content":"b"},"finish_reason":"stop"}]}"#;
        assert_eq!(
            (text(whole).text.as_str(), text(whole).end),
            ("b", Some(End::Whole))
        );
        assert_eq!(text(r#"{"choices":[],"usage":{}}"#).text, "");
        for json in [r#"{"error":"full"}"#, r#"{"error":{"message":"full"}}"#] {
            let failure = said("u", json.as_bytes()).unwrap_err();
            assert!(failure.to_string().contains("full"), "{failure}");
        }
        assert!(matches!(said("u", b"<html>"), Err(Failure::Broken { .. })));
        assert!(matches!(
            super::whole("u", last.as_bytes()),
            Err(Failure::Broken { .. })
        ));
    }

    #[test]
    fn a_list_is_found_in_what_a_model_says() {
        for text in [
            r#"["a b", "c"]"#,
            "Sure:\n```json\n[\"a b\",\n \"c\"]\n```",
            "<think>[\"x\"]</think>\n1. a b\n2. c\n",
            "- a b\n- \"c\"",
        ] {
            assert_eq!(listed(text), ["a b", "c"], "{text}");
        }
        assert!(listed(" \n").is_empty());
    }
}
