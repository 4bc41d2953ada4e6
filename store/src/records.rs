//! What the table knows of the streams that made it: repositories, provenance, foreign metadata.
//!
//! It lies in the table's configuration, so that an export can tell again what the streams told.

use std::collections::{BTreeMap, HashMap};

use cs_common::metadata::{Repo, Stage, StreamMetadata};
use cs_common::tool::{SCOPE, SINCE};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::table::Chunks;

const KEY_REPO: &str = "cs.repo.";
const KEY_PROVENANCE: &str = "cs.provenance";

/// What the last stream that brought rows said of its making.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Provenance {
    /// The stages that it went through.
    pub(crate) chain: Vec<Stage>,
    /// Metadata of keys that the contract does not know.
    pub(crate) other: BTreeMap<String, String>,
}

impl Provenance {
    fn of(metadata: &StreamMetadata) -> Self {
        let other = metadata.other.iter();
        Self {
            chain: metadata.chain.clone(),
            other: other.map(|(k, v)| (k.clone(), v.clone())).collect(),
        }
    }

    /// Tells whether another stream was made in the same way, whatever part it brought: each
    /// difference costs a commit.
    fn is_as(&self, other: &Self) -> bool {
        let made = |stages: &[Stage]| -> Vec<Stage> {
            let stages = stages.iter().cloned();
            stages
                .map(|mut stage| {
                    stage.args.clear();
                    stage.extra.remove(SCOPE);
                    stage.extra.remove(SINCE);
                    stage
                })
                .collect()
        };
        made(&self.chain) == made(&other.chain) && self.other == other.other
    }
}

impl Chunks {
    /// Returns the repositories whose files are stored, and the roots they were parsed from.
    pub(crate) async fn repos(&self) -> Result<Vec<Repo>, Error> {
        let dataset = self.dataset().await?;
        let sorted: BTreeMap<_, _> = dataset.config().iter().collect();
        let named = |(key, root): (&String, &String)| {
            let name = key.strip_prefix(KEY_REPO)?.to_owned();
            Some(Repo {
                name,
                root: root.clone(),
            })
        };
        Ok(sorted.into_iter().filter_map(named).collect())
    }

    /// Returns how the stored rows were made; nothing of a store that older versions wrote.
    pub(crate) async fn provenance(&self) -> Result<Provenance, Error> {
        let dataset = self.dataset().await?;
        let known = dataset.config().get(KEY_PROVENANCE);
        let known = known.map(|text| serde_json::from_str(text)).transpose();
        let known = known.map_err(|error| {
            let cause = format!("`{KEY_PROVENANCE}` of its configuration: {error}");
            Error::damaged(self.folder().path(), cause)
        })?;
        Ok(known.unwrap_or_default())
    }

    /// Records where a stream's repositories are and, if it brought rows, how it was made, by a
    /// commit of its own if any of it is new.
    pub(crate) async fn record(
        &self,
        metadata: &StreamMetadata,
        made_rows: bool,
    ) -> Result<(), Error> {
        let known = self.repos().await?;
        let mut pairs = Vec::new();
        for repo in &metadata.repos {
            let before = known.iter().find(|known| known.name == repo.name);
            if let Some(before) = before.filter(|before| before.root != repo.root) {
                log::warn!(
                    "repository {} was at {}, and is taken from {} now",
                    repo.name,
                    before.root,
                    repo.root
                );
            }
            if before != Some(repo) {
                pairs.push((format!("{KEY_REPO}{}", repo.name), repo.root.clone()));
            }
        }
        let made = Provenance::of(metadata);
        if made_rows && !self.provenance().await?.is_as(&made) {
            // These types hold strings and JSON values only, which always serialise.
            let text = serde_json::to_string(&made).unwrap_or_default();
            pairs.push((KEY_PROVENANCE.to_owned(), text));
        }
        if pairs.is_empty() {
            return Ok(());
        }
        let done = self.native()?.update_config(pairs).await;
        done.map_err(|error| self.fail(error))
    }

    /// Forgets where repositories are.
    pub(crate) async fn forget_repos(&self, names: &[&str]) -> Result<(), Error> {
        let known = self.repos().await?;
        let known = known.iter().map(|repo| repo.name.as_str());
        let keys: Vec<String> = known
            .filter(|name| names.contains(name))
            .map(|name| format!("{KEY_REPO}{name}"))
            .collect();
        if keys.is_empty() {
            return Ok(());
        }
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let done = self.native()?.delete_config_keys(&keys).await;
        done.map_err(|error| self.fail(error))
    }
}

impl From<Provenance> for StreamMetadata {
    fn from(provenance: Provenance) -> Self {
        Self {
            chain: provenance.chain,
            other: provenance.other.into_iter().collect::<HashMap<_, _>>(),
            ..Self::default()
        }
    }
}
