//! The figures as a table, or as JSON.

use std::io::Write as _;

use serde_json::{Map, Value, json};

use super::bootstrap::interval;
use super::figures::Figures;
use super::{Judged, parted};
use crate::Error;

/// Writes the figures of all questions, and of each group of them.
pub(super) fn report(judged: &[Judged], by: &[String], as_json: bool) -> Result<Vec<u8>, Error> {
    let all: Vec<Figures> = judged.iter().map(|one| one.figures).collect();
    if as_json {
        return as_json_object(judged, &all, by);
    }
    let mut text = Vec::new();
    let written = table(judged, &all, by, &mut text);
    written.map_err(cs_common::Error::from_output)?;
    Ok(text)
}

fn table(
    judged: &[Judged],
    all: &[Figures],
    by: &[String],
    out: &mut Vec<u8>,
) -> std::io::Result<()> {
    writeln!(
        out,
        "{:<24} {:>9}  ndcg@10 (95 %)         mrr@10 (95 %)          recall@10 (95 %)",
        "", "questions"
    )?;
    row("all", all, out)?;
    for (at, field) in by.iter().enumerate() {
        writeln!(out, "\nby {field}")?;
        let parts = parted(judged, at);
        for (name, figures) in &parts {
            row(if name.is_empty() { "-" } else { name }, figures, out)?;
        }
        let means: Vec<Figures> = parts
            .values()
            .map(|figures| Figures::mean(figures))
            .collect();
        let mean = Figures::mean(&means);
        writeln!(
            out,
            "{:<24} {:>9}  {:.3}                  {:.3}                  {:.3}",
            format!("mean of {}", parts.len()),
            "",
            mean.ndcg,
            mean.mrr,
            mean.recall
        )?;
    }
    Ok(())
}

fn row(name: &str, figures: &[Figures], out: &mut Vec<u8>) -> std::io::Result<()> {
    write!(out, "{name:<24} {:>9}", figures.len())?;
    for (at, (_, mean)) in Figures::mean(figures).named().into_iter().enumerate() {
        let values: Vec<f64> = figures.iter().map(|one| one.named()[at].1).collect();
        let (low, high) = interval(&values);
        write!(out, "  {mean:.3} ({low:.3}-{high:.3})  ")?;
    }
    writeln!(out)
}

fn as_json_object(judged: &[Judged], all: &[Figures], by: &[String]) -> Result<Vec<u8>, Error> {
    let mut object = summary(all);
    let mut groups = Map::new();
    for (at, field) in by.iter().enumerate() {
        let parts = parted(judged, at);
        let parts = parts
            .iter()
            .map(|(name, figures)| ((*name).to_owned(), summary(figures).into()));
        groups.insert(field.clone(), Value::Object(parts.collect()));
    }
    object.insert("by".to_owned(), groups.into());
    let each = judged.iter().map(|one| {
        let figures = one
            .figures
            .named()
            .into_iter()
            .map(|(name, value)| (name.to_owned(), json!(value)));
        let id = [("id".to_owned(), json!(one.id))];
        Value::Object(id.into_iter().chain(figures).collect())
    });
    object.insert("each".to_owned(), each.collect());
    let mut text =
        serde_json::to_vec(&object).map_err(|error| cs_common::Error::from_output(error.into()))?;
    text.push(b'\n');
    Ok(text)
}

fn summary(figures: &[Figures]) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("questions".to_owned(), figures.len().into());
    for (at, (name, mean)) in Figures::mean(figures).named().into_iter().enumerate() {
        let values: Vec<f64> = figures.iter().map(|one| one.named()[at].1).collect();
        let (low, high) = interval(&values);
        object.insert(
            name.to_owned(),
            json!({"mean": mean, "low": low, "high": high}),
        );
    }
    object
}
