//! Where a model lies: a folder, or a snapshot in the hub's cache, which is read and never written.
//!
//! Layout of the cache: `models--ORG--NAME/refs/main` names a revision, whose files are links in
//! `models--ORG--NAME/snapshots/REVISION` (source: the file system section of huggingface_hub's
//! documentation).

use std::fs;
use std::path::{Path, PathBuf};

use crate::Error;

/// The environment that decides where the cache is.
#[derive(Clone, Debug, Default)]
pub struct HubEnv {
    /// `HF_HUB_CACHE`.
    pub cache: Option<PathBuf>,
    /// `HF_HOME`.
    pub home: Option<PathBuf>,
    /// `HOME`.
    pub user: Option<PathBuf>,
}

impl HubEnv {
    /// Reads the process's environment.
    pub fn read() -> Self {
        let path = |name| {
            std::env::var_os(name)
                .filter(|v| !v.is_empty())
                .map(PathBuf::from)
        };
        Self {
            cache: path("HF_HUB_CACHE"),
            home: path("HF_HOME"),
            user: path("HOME"),
        }
    }

    fn folder(&self) -> PathBuf {
        let home = || match (&self.home, &self.user) {
            (Some(home), _) => home.clone(),
            (None, Some(user)) => user.join(".cache/huggingface"),
            (None, None) => PathBuf::from(".cache/huggingface"),
        };
        self.cache.clone().unwrap_or_else(|| home().join("hub"))
    }

    /// Returns the folder of a model that is named by path or by `ORG/NAME`.
    ///
    /// # Errors
    /// [`Error::NotFound`] if it is neither.
    pub fn find(&self, id: &str) -> Result<PathBuf, Error> {
        let folder = Path::new(id);
        if folder.is_dir() {
            return fs::canonicalize(folder).map_err(Error::file(folder));
        }
        let cache = self.folder();
        let missing = || Error::NotFound {
            id: id.to_owned(),
            cache: cache.clone(),
        };
        let model = cache.join(format!("models--{}", id.replace('/', "--")));
        let revision = fs::read_to_string(model.join("refs/main")).map_err(|_| missing())?;
        let snapshot = model.join("snapshots").join(revision.trim());
        if snapshot.is_dir() {
            Ok(snapshot)
        } else {
            Err(missing())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_found_by_path_and_in_each_place_of_the_cache() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        let envs = [
            (
                at("a"),
                HubEnv {
                    cache: Some(at("a")),
                    ..HubEnv::default()
                },
            ),
            (
                at("b/hub"),
                HubEnv {
                    home: Some(at("b")),
                    ..HubEnv::default()
                },
            ),
            (
                at("c/.cache/huggingface/hub"),
                HubEnv {
                    user: Some(at("c")),
                    ..HubEnv::default()
                },
            ),
        ];
        for (cache, env) in envs {
            let message = env.find("org/name").unwrap_err().to_string();
            assert!(message.contains(&cache.display().to_string()), "{message}");
            let model = cache.join("models--org--name");
            fs::create_dir_all(model.join("snapshots/abc")).unwrap();
            fs::create_dir_all(model.join("refs")).unwrap();
            fs::write(model.join("refs/main"), "abc\n").unwrap();
            assert_eq!(env.find("org/name").unwrap(), model.join("snapshots/abc"));
            assert_eq!(
                env.find(model.to_str().unwrap()).unwrap(),
                model.canonicalize().unwrap()
            );
        }
    }
}
