//! An answer that comes bit by bit, as server-sent events (HTML Living Standard, 9.2).

use std::ops::ControlFlow;

use cs_embed::http::{Failure, Lines};

use super::{End, wire};

/// The data of the event that ends an answer.
const DONE: &str = "[DONE]";

/// Hands over the texts of an answer as they come. A service that sends all of it at once, as JSON,
/// is understood as well.
///
/// # Errors
/// [`Failure::Broken`] for an answer that ends before its end, and for events that are none; those
/// of the connection.
pub(super) fn read(
    url: &str,
    mut lines: Lines,
    mut hear: impl FnMut(&str) -> ControlFlow<()>,
) -> Result<End, Failure> {
    let mut end = None;
    let mut data = String::new();
    while let Some(line) = lines.next_line()? {
        if data.is_empty() && line.starts_with('{') {
            return whole(url, line, lines, hear);
        }
        if let Some(more) = line.strip_prefix("data:") {
            if !data.is_empty() {
                data.push('\n');
            }
            data.push_str(more.strip_prefix(' ').unwrap_or(more));
        }
        // Other fields and comments, which keep the connection open, say nothing.
        if !line.is_empty() || data.is_empty() {
            continue;
        }
        if data == DONE {
            return Ok(end.unwrap_or(End::Whole));
        }
        let said = wire::said(url, std::mem::take(&mut data).as_bytes())?;
        end = said.end.or(end);
        if !said.text.is_empty() && hear(&said.text).is_break() {
            return Ok(End::Left);
        }
    }
    // Some services end without the last event, none without saying why.
    end.ok_or_else(|| Failure::Broken {
        url: url.to_owned(),
        cause: "the answer broke off".to_owned(),
    })
}

/// Reads an answer that is one JSON object.
fn whole(
    url: &str,
    first: String,
    mut lines: Lines,
    mut hear: impl FnMut(&str) -> ControlFlow<()>,
) -> Result<End, Failure> {
    let mut json = first;
    while let Some(line) = lines.next_line()? {
        json.push('\n');
        json.push_str(&line);
    }
    let said = wire::whole(url, json.as_bytes())?;
    Ok(match hear(&said.text) {
        ControlFlow::Continue(()) => said.end.unwrap_or(End::Whole),
        ControlFlow::Break(()) => End::Left,
    })
}
