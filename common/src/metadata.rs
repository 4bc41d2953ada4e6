//! The schema metadata of a stream: version, provenance, repositories, totals and model.

use std::collections::HashMap;

use arrow_schema::Schema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::Error;

/// The major version of the contract that this crate reads and writes.
pub const WIRE: &str = "1";

const KEY_WIRE: &str = "cs.wire";
const KEY_CHAIN: &str = "cs.chain";
const KEY_REPOS: &str = "cs.repos";
const KEY_TOTALS: &str = "cs.totals";
const KEY_MODEL: &str = "cs.model";

/// One stage that a stream went through.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// The program's name.
    pub tool: String,
    /// The program's version.
    #[serde(default)]
    pub version: String,
    /// Its arguments as typed, without the program's name.
    #[serde(default)]
    pub args: Vec<String>,
    /// What else reproduces the stage's work.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A repository that rows of a stream come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repo {
    /// The short name in the rows' `repo` column.
    pub name: String,
    /// The absolute path of its root on the machine that parsed it.
    pub root: String,
}

/// How much a stream will carry, known before its first batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Files.
    pub files: u64,
    /// Bytes of those files.
    pub bytes: u64,
}

/// The model that made a stream's vectors: all that embeds a question the same way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    /// What names the model: `builtin`, a path, or `ORG/NAME` of the hub, with `@REVISION` if not main.
    pub id: String,
    /// SHA-256 of the model's weights, 64 hex digits; empty if a service keeps them.
    pub sha256: String,
    /// Dimensions of a vector; fewer than the model makes where vectors were cut.
    pub dim: usize,
    /// The arithmetic's type: `f32`, `f16`, `bf16`, `int8`; of a static model its rows' type; of a
    /// service [`UNKNOWN`].
    pub dtype: String,
    /// How token vectors become one: `mean`, `cls`, `last`, `weighted-mean`; of a service
    /// [`UNKNOWN`].
    pub pooling: String,
    /// Whether vectors have length 1.
    pub normalized: bool,
    /// Tokens after which a text is cut, if it is.
    pub max_tokens: Option<usize>,
    /// Text put before a question.
    #[serde(default)]
    pub query_prefix: String,
    /// Text put before a chunk's document.
    #[serde(default)]
    pub document_prefix: String,
    /// The service that runs the model, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Endpoint>,
}

/// What stands where a service does not tell how its model works.
pub const UNKNOWN: &str = "unknown";

/// A service that makes vectors over the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The address that texts are sent to, without user, password or query.
    pub url: String,
    /// Dimensions of the vectors that it sends, of which [`Model::dim`] are kept.
    pub dim: usize,
}

/// The schema metadata of a stream, typed; keys that the contract does not know are kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StreamMetadata {
    /// The stages so far, the first one first.
    pub chain: Vec<Stage>,
    /// The repositories that rows come from.
    pub repos: Vec<Repo>,
    /// The size of the whole, where known.
    pub totals: Option<Totals>,
    /// The model of the vectors, once there are any.
    pub model: Option<Model>,
    /// All other keys, untouched.
    pub other: HashMap<String, String>,
}

impl StreamMetadata {
    /// Reads the metadata of a stream's schema.
    ///
    /// # Errors
    /// [`Error::NoVersion`] or [`Error::Version`] for a stream of no or another major version,
    /// [`Error::Metadata`] for a known key whose value is not what the contract says.
    pub fn from_schema(schema: &Schema) -> Result<Self, Error> {
        let mut other = schema.metadata().clone();
        let found = other.remove(KEY_WIRE).ok_or(Error::NoVersion)?;
        if found.split('.').next() != Some(WIRE) {
            return Err(Error::Version { found });
        }
        Ok(Self {
            chain: take(&mut other, KEY_CHAIN)?.unwrap_or_default(),
            repos: take(&mut other, KEY_REPOS)?.unwrap_or_default(),
            totals: take(&mut other, KEY_TOTALS)?,
            model: take(&mut other, KEY_MODEL)?,
            other,
        })
    }

    /// Returns `schema` with this metadata in place of its own.
    pub fn apply(&self, schema: Schema) -> Schema {
        let mut map = self.other.clone();
        map.insert(KEY_WIRE.to_owned(), WIRE.to_owned());
        put(&mut map, KEY_CHAIN, &self.chain);
        put(&mut map, KEY_REPOS, &self.repos);
        if let Some(totals) = &self.totals {
            put(&mut map, KEY_TOTALS, totals);
        }
        if let Some(model) = &self.model {
            put(&mut map, KEY_MODEL, model);
        }
        schema.with_metadata(map)
    }
}

fn take<T: DeserializeOwned>(
    map: &mut HashMap<String, String>,
    key: &'static str,
) -> Result<Option<T>, Error> {
    map.remove(key)
        .map(|text| serde_json::from_str(&text))
        .transpose()
        .map_err(|source| Error::Metadata { key, source })
}

fn put<T: Serialize>(map: &mut HashMap<String, String>, key: &str, value: &T) {
    // These types hold strings, numbers and JSON values only, which always serialise.
    if let Ok(text) = serde_json::to_string(value) {
        map.insert(key.to_owned(), text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(pairs: &[(&str, &str)]) -> Schema {
        let map = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        Schema::empty().with_metadata(map)
    }

    #[test]
    fn metadata_survives_a_round_trip_with_unknown_keys_and_fields() {
        let before = schema(&[
            ("cs.wire", "1"),
            (
                "cs.chain",
                r#"[{"tool":"x","version":"2","args":["a"],"seed":7}]"#,
            ),
            ("cs.repos", r#"[{"name":"r","root":"/r"}]"#),
            ("cs.totals", r#"{"files":2,"bytes":3}"#),
            ("team.note", "kept"),
        ]);
        let typed = StreamMetadata::from_schema(&before).unwrap();
        assert_eq!(typed.chain[0].extra["seed"], 7);
        let after = typed.apply(Schema::empty());
        assert_eq!(after.metadata()["team.note"], "kept");
        assert_eq!(StreamMetadata::from_schema(&after).unwrap(), typed);
    }

    #[test]
    fn versions_and_values_are_checked() {
        let cases = [
            (schema(&[]), "no `cs.wire`"),
            (schema(&[("cs.wire", "2")]), "wire version 2"),
            (schema(&[("cs.wire", "1"), ("cs.repos", "{")]), "`cs.repos`"),
        ];
        for (schema, expected) in cases {
            let message = StreamMetadata::from_schema(&schema)
                .unwrap_err()
                .to_string();
            assert!(message.contains(expected), "{message}");
        }
        assert!(StreamMetadata::from_schema(&schema(&[("cs.wire", "1.4")])).is_ok());
    }
}
