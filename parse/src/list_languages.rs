//! `--list-languages`: the table of languages, for people and for scripts.

use std::fmt::Write as _;

use cs_common::stream;
use serde_json::json;

use crate::language::{Cut, Language, Outline, all};

/// Prints every language: its name, how it is cut, and the signs by which it is told.
pub(crate) fn print(as_json: bool) -> Result<(), cs_common::Error> {
    let mut languages: Vec<&Language> = all().iter().map(|row| row.language).collect();
    languages.sort_by_key(|language| (matches!(language.cut, Cut::Lines), language.name));
    let text = if as_json {
        let rows = languages.iter().map(|language| {
            json!({
                "name": language.name,
                "cut": cut(language),
                "extensions": language.extensions,
                "file_names": language.file_names,
                "shebangs": language.shebangs,
            })
        });
        format!("{}\n", serde_json::Value::Array(rows.collect()))
    } else {
        table(&languages)
    };
    stream::print(text.as_bytes())
}

fn table(languages: &[&Language]) -> String {
    let mut text = String::new();
    for language in languages {
        let extensions = language
            .extensions
            .iter()
            .map(|ending| format!(".{ending}"));
        let names = language.file_names.iter().map(|name| (*name).to_owned());
        let shebangs = language.shebangs.iter().map(|name| format!("#!{name}"));
        let signs: Vec<String> = extensions.chain(names).chain(shebangs).collect();
        // A string takes whatever is written to it.
        let _ = writeln!(
            text,
            "{:<16} {:<9} {}",
            language.name,
            cut(language),
            signs.join(" ")
        );
    }
    text
}

/// Names the way in which a language's files are cut.
fn cut(language: &Language) -> &'static str {
    match &language.cut {
        Cut::Syntax(grammar) if grammar.outline == Outline::Headings => "headings",
        Cut::Syntax(_) | Cut::Prepared(..) => "syntax",
        Cut::Notebook => "cells",
        Cut::Lines => "lines",
    }
}
