//! The download of a model: which files an encoder needs, added to the cache as one.
//!
//! The hub names the commit of a revision and its files. Each needed file becomes a blob (`blob`).
//! Then come the links of the snapshot, and last the ref.

use std::collections::BTreeSet;
use std::path::PathBuf;

use cs_common::progress::Transfer;

use super::api::{Hub, Remote};
use super::cache::{self, INDEX, Repository, WEIGHTS};
use super::{HubEnv, Name, blob};
use crate::Error;
use crate::models::mib;

/// Files beside the weights that say how a model is run; the first two no model is without.
const CONFIGURATION: [&str; 7] = [
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    MODULES,
];

const MODULES: &str = "modules.json";

/// How many names of a model's files are told at most.
const NAMED: usize = 12;

/// Brings what the cache lacks of a model, and returns its folder there.
///
/// The name of the revision is written last, so that it never leads to a part of a model.
///
/// # Errors
/// [`Error::Hub`], [`Error::File`].
pub(super) fn download(env: &HubEnv, name: &Name) -> Result<PathBuf, Error> {
    let hub = Hub::new(env, name);
    let repository = Repository::new(&env.cache, &name.repo);
    let revision = hub.revision()?;
    let commit = revision.commit.to_ascii_lowercase();
    let files = revision.files();
    let has = |file: &str| files.contains(&file);

    // These two tell which other files there are to bring.
    let task = Task {
        hub: &hub,
        repository: &repository,
        commit: &commit,
    };
    let first: Vec<&str> = [MODULES, INDEX]
        .into_iter()
        .filter(|file| has(file) && !(*file == INDEX && has(WEIGHTS)))
        .collect();
    task.bring(&first, &Transfer::hidden())?;
    let folder = repository.commit(&commit);
    let mut parts = BTreeSet::new();
    if first.contains(&MODULES) {
        let modules = cache::modules(&folder.join(MODULES))?;
        parts.extend(modules.into_iter().map(|module| module.path));
    }
    let shards = if first.contains(&INDEX) {
        cache::shards(&folder.join(INDEX))?
    } else {
        Vec::new()
    };
    let wanted = plan(&files, &parts, &shards).map_err(|cause| Error::hub(name, cause))?;

    let remotes = task.describe(&wanted)?;
    let lacking: u64 = remotes
        .iter()
        .filter(|remote| !repository.blob(&remote.etag).is_file())
        .map(|remote| remote.size)
        .sum();
    if lacking > 0 {
        log::info!("downloading {name} ({})", mib(lacking));
    }
    let transfer = Transfer::start(remotes.iter().map(|remote| remote.size).sum());
    task.fetch(&remotes, &transfer)?;
    repository.point(&name.revision, &commit)?;
    Ok(folder)
}

struct Task<'a> {
    hub: &'a Hub<'a>,
    repository: &'a Repository,
    commit: &'a str,
}

impl Task<'_> {
    fn bring(&self, files: &[&str], transfer: &Transfer) -> Result<(), Error> {
        let remotes = self.describe(files)?;
        self.fetch(&remotes, transfer)
    }

    /// Asks about the files that the commit's folder lacks: what a commit has never changes.
    fn describe(&self, files: &[&str]) -> Result<Vec<Remote>, Error> {
        let folder = self.repository.commit(self.commit);
        files
            .iter()
            .filter(|file| !folder.join(file).is_file())
            .map(|file| self.hub.describe(self.commit, file))
            .collect()
    }

    fn fetch(&self, remotes: &[Remote], transfer: &Transfer) -> Result<(), Error> {
        for remote in remotes {
            blob::fetch(self.hub, self.repository, remote, transfer)?;
        }
        for remote in remotes {
            self.repository
                .link(self.commit, &remote.path, &remote.etag)?;
        }
        Ok(())
    }
}

/// Chooses of a model's files those that an encoder needs.
///
/// # Errors
/// What the model lacks, where it cannot be run without.
fn plan<'a>(
    files: &[&'a str],
    parts: &BTreeSet<String>,
    shards: &[String],
) -> Result<Vec<&'a str>, String> {
    let weights: Vec<&str> = if files.contains(&WEIGHTS) {
        vec![WEIGHTS]
    } else {
        shards.iter().map(String::as_str).collect()
    };
    let lacks = |wanted: &str| {
        let named = files.iter().take(NAMED).copied().collect::<Vec<_>>();
        let more = if files.len() > NAMED { ", …" } else { "" };
        format!("has no {wanted}, only {}{more}", named.join(", "))
    };
    if weights.is_empty() {
        return Err(lacks("weights in safetensors"));
    }
    let needed = weights.iter().chain(&CONFIGURATION[..2]);
    if let Some(file) = needed.copied().find(|file| !files.contains(file)) {
        return Err(lacks(file));
    }
    let is_wanted = |file: &str| {
        let of_part = || {
            let folder = file.strip_suffix("/config.json");
            // A Dense module has weights of its own.
            let folder = folder.or_else(|| file.strip_suffix("/model.safetensors"));
            folder.is_some_and(|folder| parts.contains(folder))
        };
        CONFIGURATION.contains(&file) || weights.contains(&file) || of_part()
    };
    let wanted = files.iter().copied();
    Ok(wanted.filter(|file| is_wanted(file)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_an_encoder_needs_is_chosen() {
        let files = [
            "README.md",
            "config.json",
            "tokenizer.json",
            "modules.json",
            "1_Pooling/config.json",
            "onnx/config.json",
            "onnx/model.onnx",
            "pytorch_model.bin",
            WEIGHTS,
            "model-1.safetensors",
        ];
        let parts = BTreeSet::from([String::new(), "1_Pooling".to_owned()]);
        let wanted = plan(&files, &parts, &[]).unwrap();
        let expected = ["config.json", "tokenizer.json", "modules.json"];
        assert_eq!(wanted[..3], expected);
        assert_eq!(wanted[3..], ["1_Pooling/config.json", WEIGHTS]);

        let shards = ["m-1".to_owned(), "m-2".to_owned()];
        let split = ["config.json", "tokenizer.json", "m-1", "m-2", "m-3"];
        assert_eq!(plan(&split, &parts, &shards).unwrap(), split[..4]);
        let cause = plan(&split[..3], &parts, &shards).unwrap_err();
        assert!(cause.contains("no m-2"), "{cause}");
    }

    #[test]
    fn what_a_model_lacks_is_named_with_what_it_has() {
        let files = ["config.json", "tokenizer.json", "pytorch_model.bin"];
        let cause = plan(&files, &BTreeSet::new(), &[]).unwrap_err();
        assert!(cause.contains("safetensors") && cause.contains("pytorch_model.bin"));
        let cause = plan(&["config.json", WEIGHTS], &BTreeSet::new(), &[]).unwrap_err();
        assert!(cause.contains("no tokenizer.json"), "{cause}");
    }
}
