//! Hits as a stream of the contract: the store's columns, and how each row was ranked.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, Float32Array, RecordBatch, StringArray, UInt32Array};
use arrow_schema::{DataType, Field, Schema};
use cs_common::metadata::StreamMetadata;
use cs_common::rows::VECTOR;
use cs_common::stream::{Format, StreamWriter};
use cs_common::tool::{self, Scope};

use super::Stores;
use crate::Error;
use crate::hit::Hit;

/// Writes hits to standard output, `rank` and `score` behind the store's columns.
///
/// Rows of a file stay together, as the contract wants it; files are in the order of their best
/// hits. Of several stores the columns are those of the first one, and there are vectors only if
/// all have the same model.
pub(crate) fn arrow(hits: &[Hit], offset: usize, stores: Stores<'_>) -> Result<(), Error> {
    let Some(first) = stores.stores.first() else {
        return Ok(());
    };
    let mut metadata = metadata(stores)?;
    let is_one_model = metadata.model.is_some();
    let mut stage = tool::stage("cs-query", env!("CARGO_PKG_VERSION"));
    let scope = (tool::SCOPE.to_owned(), Scope::Part.as_str().into());
    stage.extra.extend([scope]);
    metadata.chain.push(stage);

    let stored = first.store.schema();
    let kept = stored.fields().iter();
    let kept = kept.filter(|field| field.name() != VECTOR || is_one_model);
    let mut fields = vec![Arc::new(Field::new("op", DataType::Utf8, false))];
    fields.extend(
        kept.filter(|field| !["rank", "score"].contains(&field.name().as_str()))
            .cloned(),
    );
    let columns: Vec<&str> = fields[1..]
        .iter()
        .map(|field| field.name().as_str())
        .collect();
    let ranked = [("rank", DataType::UInt32), ("score", DataType::Float32)];
    let ranked = ranked.map(|(name, data_type)| Arc::new(Field::new(name, data_type, false)));
    let schema = Arc::new(metadata.apply(Schema::new(
        fields.iter().cloned().chain(ranked).collect::<Vec<_>>(),
    )));

    let mut writer = StreamWriter::stdout(Format::Arrow, &schema)?;
    for run in runs(hits) {
        let open = &stores.stores[hits[run[0]].store];
        let rows: Vec<u64> = run.iter().map(|at| hits[*at].row).collect();
        let taken = open.store.take(&rows, &columns)?;
        let mut arrays: Vec<ArrayRef> = vec![Arc::new(StringArray::from(vec!["put"; run.len()]))];
        for field in &fields[1..] {
            let array = taken.column_by_name(field.name()).cloned();
            arrays.push(
                array.unwrap_or_else(|| arrow_array::new_null_array(field.data_type(), run.len())),
            );
        }
        let ranks = run
            .iter()
            .map(|at| u32::try_from(offset + at + 1).unwrap_or(u32::MAX));
        arrays.push(Arc::new(UInt32Array::from_iter_values(ranks)));
        let scores = run.iter().map(|at| hits[*at].score);
        arrays.push(Arc::new(Float32Array::from_iter_values(scores)));
        let batch = RecordBatch::try_new(Arc::clone(&schema), arrays);
        writer.write(&batch.map_err(cs_common::Error::Arrow)?)?;
    }
    Ok(writer.finish()?)
}

/// Returns where the rows come from: chain and further keys of the first store, all repositories,
/// and the model if it is one.
fn metadata(stores: Stores<'_>) -> Result<StreamMetadata, Error> {
    let mut metadata: Option<StreamMetadata> = None;
    for open in stores.stores {
        let own = open.store.metadata()?;
        match &mut metadata {
            None => metadata = Some(own),
            Some(all) => {
                let new = own
                    .repos
                    .into_iter()
                    .filter(|repo| !all.repos.contains(repo));
                let new: Vec<_> = new.collect();
                all.repos.extend(new);
                if all.model != own.model {
                    all.model = None;
                }
            }
        }
    }
    Ok(metadata.unwrap_or_default())
}

/// Returns the places of the hits of each file, files in the order of their best hits.
fn runs(hits: &[Hit]) -> Vec<Vec<usize>> {
    let mut runs: Vec<Vec<usize>> = Vec::new();
    let mut files: HashMap<(usize, &str, &str), usize> = HashMap::new();
    for (at, hit) in hits.iter().enumerate() {
        let file = (hit.store, hit.place.repo.as_str(), hit.place.path.as_str());
        let run = *files.entry(file).or_insert(runs.len());
        match runs.get_mut(run) {
            Some(run) => run.push(at),
            None => runs.push(vec![at]),
        }
    }
    runs
}
