//! The tools: what each is named, takes and answers.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;

use rmcp::model::{JsonObject, Tool, ToolAnnotations, object};
use serde_json::{Value, json};

use super::Refusal;
use crate::args::SearchArgs;
use crate::asker::Asker;
use crate::engine::Engine;
use crate::like;
use crate::place::{PLACE_COLUMNS, Place};
use crate::print::{self, Stores};
use crate::questions::{Line, said};

/// Tokens that an answer with code may have, unless the agent says so.
const TOKENS: u32 = 2_000;

/// Hits whose places are told when their code has no room.
const PLACES: usize = 10;

/// Chunks of an outline.
const OUTLINE: usize = 500;

/// Returns the tools. Their descriptions are as short as can be: they are part of each of an
/// agent's conversations.
pub(super) fn list() -> Vec<Tool> {
    let text = json!({"type": "string"});
    let texts = json!({"type": "array", "items": {"type": "string"}});
    let number = json!({"type": "integer", "minimum": 1});
    let narrowing = |own: Value| {
        let mut properties = own;
        for (name, schema) in [
            ("lang", &texts),
            (
                "path",
                &json!({"type": "array", "items": {"type": "string"}, "description": "globs; !glob leaves out"}),
            ),
            ("kind", &texts),
            ("repo", &texts),
            ("limit", &number),
            (
                "tokens",
                &json!({"type": "integer", "minimum": 1, "description": "of the answer, 2000 by default"}),
            ),
        ] {
            properties[name] = schema.clone();
        }
        properties
    };
    let tool = |name: &'static str, description: &'static str, required: &[&str], properties| {
        let schema = json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false});
        Tool::new(name, description, object(schema))
            .annotate(ToolAnnotations::default().read_only(true))
    };
    vec![
        tool(
            "search",
            "Find code by meaning, words or names. Gives whole functions and classes with \
             path:lines, the best first.",
            &["question"],
            narrowing(json!({"question": text})),
        ),
        tool(
            "similar",
            "Find code like that at a line.",
            &["at"],
            narrowing(json!({"at": {"type": "string", "description": "path:line"}})),
        ),
        tool(
            "symbol",
            "Find where a symbol is defined, such as open or Index.open.",
            &["name"],
            narrowing(json!({"name": text})),
        ),
        tool(
            "outline",
            "List the symbols of a file with their lines.",
            &["path"],
            json!({"path": text}),
        ),
        tool("status", "Tell what is indexed.", &[], json!({})),
    ]
}

/// Calls a tool.
pub(super) fn call(
    asker: &Asker,
    name: &str,
    mut arguments: JsonObject,
    (defaults, here): (&SearchArgs, &Path),
) -> Result<String, Refusal> {
    match name {
        "search" => search(asker, arguments, (defaults, here)),
        "similar" | "symbol" => {
            let (own, field) = match name {
                "similar" => ("at", "like"),
                _ => ("name", "symbol"),
            };
            refuse_field(&arguments, field)?;
            refuse_field(&arguments, "question")?;
            let value = text_of(&mut arguments, own)?;
            arguments.insert(field.to_owned(), value.into());
            search(asker, arguments, (defaults, here))
        }
        "outline" => {
            let path = text_of(&mut arguments, "path")?;
            refuse_others(&arguments)?;
            outline(&asker.engine, Path::new(&path), here)
        }
        "status" => {
            refuse_others(&arguments)?;
            status(&asker.engine).map_err(|error| Refusal::Failed(said(&error)))
        }
        name => Err(Refusal::Arguments(format!("no tool is named {name:?}"))),
    }
}

/// Takes an argument that has to be there.
fn text_of(arguments: &mut JsonObject, name: &str) -> Result<String, Refusal> {
    match arguments.remove(name) {
        Some(Value::String(text)) if !text.trim().is_empty() => Ok(text),
        Some(_) => Err(Refusal::Arguments(format!("`{name}` is no text"))),
        None => Err(Refusal::Arguments(format!("`{name}` is missing"))),
    }
}

fn refuse_field(arguments: &JsonObject, name: &str) -> Result<(), Refusal> {
    match arguments.contains_key(name) {
        true => Err(Refusal::Arguments(format!("unknown argument `{name}`"))),
        false => Ok(()),
    }
}

fn refuse_others(arguments: &JsonObject) -> Result<(), Refusal> {
    match arguments.keys().next() {
        Some(name) => refuse_field(arguments, name),
        None => Ok(()),
    }
}

/// Answers a question whose fields are those of a line of `--batch`.
fn search(
    asker: &Asker,
    mut arguments: JsonObject,
    (defaults, here): (&SearchArgs, &Path),
) -> Result<String, Refusal> {
    let tokens = match arguments.remove("tokens") {
        None => TOKENS,
        Some(value) => value
            .as_u64()
            .and_then(|tokens| u32::try_from(tokens).ok())
            .filter(|tokens| *tokens > 0)
            .ok_or_else(|| Refusal::Arguments("`tokens` is no number from 1".to_owned()))?,
    };
    let line = Value::Object(arguments).to_string();
    let request = Line::read(line.as_bytes(), defaults)
        .strict()
        .request
        .map_err(Refusal::Arguments)?;
    let asked = asker.ask(&request).map_err(|error| match error {
        error @ crate::Error::NoSuchLine(_) => Refusal::Arguments(said(&error)),
        error => Refusal::Failed(said(&error)),
    })?;
    let hits = &asked.hits;
    if hits.is_empty() {
        return Ok("no hit\n".to_owned());
    }
    let stores = Stores {
        stores: asker.engine.stores(),
        here,
    };
    let mut answer = Vec::new();
    for failed in &asked.failed {
        answer
            .extend_from_slice(format!("{} failed: {}\n\n", failed.stage, failed.error).as_bytes());
    }
    // Writing to memory does not fail.
    let left_out = print::context(hits, tokens, stores, &mut answer)
        .map_err(|error| Refusal::Failed(error.to_string()))?;
    if !left_out.is_empty() {
        answer.extend_from_slice(b"more, without their code:\n");
        let places = left_out.into_iter().take(PLACES);
        print::plain(places, (stores, false), &mut answer)
            .map_err(|error| Refusal::Failed(error.to_string()))?;
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Lists the named chunks of a file, each below the one that it is a part of.
fn outline(engine: &Engine, path: &Path, here: &Path) -> Result<String, Refusal> {
    let failed = |error: cs_store::Error| Refusal::Failed(error.to_string());
    for open in engine.stores() {
        for filter in like::files(path, &open.repos, here) {
            let rows = open
                .store
                .matching(&filter, like::FILE_CHUNKS)
                .map_err(failed)?;
            if !rows.is_empty() {
                let batch = open.store.take(&rows, &PLACE_COLUMNS).map_err(failed)?;
                return Ok(outline_of(Place::all(&batch)));
            }
        }
    }
    let path = path.display();
    Err(Refusal::Arguments(format!(
        "{path} is no file of the index"
    )))
}

fn outline_of(mut places: Vec<Place>) -> String {
    places.sort_by_key(|place| (place.start_line, std::cmp::Reverse(place.end_line)));
    let parents: HashMap<String, Option<String>> = places
        .iter()
        .filter_map(|place| Some((place.chunk_id.clone()?, place.parent_id.clone())))
        .collect();
    let depth = |place: &Place| {
        let above = std::iter::successors(place.parent_id.as_ref(), |id| {
            parents.get(*id).and_then(Option::as_ref)
        });
        above.take(8).count()
    };
    let mut text = String::new();
    if let Some(first) = places.first() {
        let language = first.language.as_deref().unwrap_or("text");
        let _ = writeln!(text, "{}/{} ({language})", first.repo, first.path);
    }
    let named: Vec<&Place> = places.iter().filter(|p| p.title().is_some()).collect();
    for place in named.iter().take(OUTLINE) {
        let indent = "  ".repeat(depth(place));
        let (start, end) = (place.start_line.unwrap_or(1), place.end_line.unwrap_or(1));
        let kind = place.kind.as_deref().unwrap_or("chunk");
        let name = place.name.as_deref().or(place.title());
        let named = || format!("{kind} {}", name.unwrap_or_default());
        let declared = place.signature.clone().unwrap_or_else(named);
        let declared: Vec<&str> = declared.split_whitespace().collect();
        let _ = writeln!(text, "{indent}{start}-{end} {}", declared.join(" "));
    }
    if named.len() > OUTLINE {
        let _ = writeln!(text, "and {} more", named.len() - OUTLINE);
    }
    if named.is_empty() {
        text.push_str("no symbols\n");
    }
    text
}

/// Tells of each store what is in it.
fn status(engine: &Engine) -> Result<String, crate::Error> {
    let mut text = String::new();
    for open in engine.stores() {
        let (store, rows) = (open.path.display(), open.store.rows()?);
        let model = &open.store.model().id;
        let _ = writeln!(text, "{store}: {rows} chunks, model {model}");
        if let Some(incomplete) = open.store.incomplete()? {
            let _ = writeln!(text, "{}", incomplete.sentence());
        }
        for repo in &open.repos {
            let _ = writeln!(text, "{} at {}", repo.name, repo.root);
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outline_shows_what_is_part_of_what() {
        let place = |id: &str, parent: Option<&str>, name: &str, lines: (u32, u32)| Place {
            repo: "app".to_owned(),
            path: "a.py".to_owned(),
            language: Some("python".to_owned()),
            kind: Some("class".to_owned()),
            name: Some(name.to_owned()).filter(|name| !name.is_empty()),
            chunk_id: Some(id.to_owned()),
            parent_id: parent.map(str::to_owned),
            start_line: Some(lines.0),
            end_line: Some(lines.1),
            ..Place::default()
        };
        let places = vec![
            place("3", Some("2"), "inner", (4, 5)),
            place("2", Some("1"), "Middle", (3, 9)),
            place("4", None, "", (20, 22)),
            place("1", None, "Outer", (1, 10)),
        ];
        assert_eq!(
            outline_of(places),
            "app/a.py (python)\n1-10 class Outer\n  3-9 class Middle\n    4-5 class inner\n"
        );
    }
}
