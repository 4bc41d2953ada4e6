//! Where a model is: a folder, or the hub's cache, to which it is downloaded if it is missing.
//!
//! This file reads the environment and decides between the three. The environment is read as
//! huggingface_hub reads it, and the cache has its layout (source: the pages on the cache and on
//! environment variables in huggingface_hub's documentation). So Python finds a model that was
//! downloaded here, and the reverse. A snapshot that Python has downloaded only in part counts as
//! missing (`cache::missing`).

mod api;
mod blob;
pub(crate) mod cache;
mod download;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::http::Token;
use cache::Repository;

/// The hub that is asked unless `HF_ENDPOINT` names another one.
const ENDPOINT: &str = "https://huggingface.co";

/// The revision that is meant where none is named.
pub(crate) const MAIN: &str = "main";

/// What the environment says about the hub.
#[derive(Clone, Debug)]
pub struct HubEnv {
    /// The cache's folder: `HF_HUB_CACHE`, or `hub` in `HF_HOME`.
    pub(crate) cache: PathBuf,
    /// The hub's URL without a slash at its end: `HF_ENDPOINT`.
    pub(crate) endpoint: String,
    /// `HF_TOKEN`.
    token: Option<Token>,
    /// The file with the token where `HF_TOKEN` is not set: `HF_TOKEN_PATH`, or `token` in
    /// `HF_HOME`. It is read when the network is.
    token_path: PathBuf,
    /// `HF_HUB_OFFLINE`: nothing is asked over the network.
    pub(crate) offline: bool,
}

impl Default for HubEnv {
    /// What holds where the environment says nothing, but without the network.
    fn default() -> Self {
        Self {
            offline: true,
            ..Self::from_vars(|_| None)
        }
    }
}

/// A model's folder, and the name to write down for it.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) id: String,
    pub(crate) folder: PathBuf,
}

impl HubEnv {
    /// Reads the process's environment.
    pub fn read() -> Self {
        Self::from_vars(|name| std::env::var_os(name))
    }

    fn from_vars(var: impl Fn(&str) -> Option<OsString>) -> Self {
        let set = |name: &str| var(name).filter(|value| !value.is_empty());
        let user = set("HOME").map(PathBuf::from).unwrap_or_default();
        let path = |name: &str| {
            let path = PathBuf::from(set(name)?);
            Some(match path.strip_prefix("~") {
                Ok(rest) => user.join(rest),
                Err(_) => path,
            })
        };
        let text = |name: &str| set(name)?.into_string().ok();
        let home = path("HF_HOME").unwrap_or_else(|| {
            path("XDG_CACHE_HOME")
                .unwrap_or_else(|| user.join(".cache"))
                .join("huggingface")
        });
        let endpoint = text("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned());
        let offline = text("HF_HUB_OFFLINE").or_else(|| text("TRANSFORMERS_OFFLINE"));
        Self {
            cache: path("HF_HUB_CACHE")
                .or_else(|| path("HUGGINGFACE_HUB_CACHE"))
                .unwrap_or_else(|| home.join("hub")),
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            token: text("HF_TOKEN")
                .or_else(|| text("HUGGING_FACE_HUB_TOKEN"))
                .and_then(|token| Token::new(&token)),
            token_path: path("HF_TOKEN_PATH").unwrap_or_else(|| home.join("token")),
            offline: offline.is_some_and(|value| {
                ["1", "ON", "YES", "TRUE"].contains(&value.to_ascii_uppercase().as_str())
            }),
        }
    }

    /// Returns the token to show to the hub, if there is one.
    fn token(&self) -> Option<Token> {
        self.token
            .clone()
            .or_else(|| Token::new(&fs::read_to_string(&self.token_path).ok()?))
    }

    /// Returns the folder of a model that is named by path or by `ORG/NAME`, downloading it if it
    /// is not in the cache with all its files.
    ///
    /// # Errors
    /// [`Error::NotFound`] if it is neither a folder nor in the cache and may not be downloaded,
    /// [`Error::Hub`] if the hub does not give it, [`Error::File`] if it cannot be written.
    pub(crate) fn locate(&self, id: &str, revision: Option<&str>) -> Result<Found, Error> {
        let folder = Path::new(id);
        if folder.is_dir() {
            if revision.is_some() {
                return Err(Error::hub(id, "is a folder, which has no --revision"));
            }
            // As it stands in the file system: a question may be asked from elsewhere.
            let folder = fs::canonicalize(folder).map_err(Error::file(folder))?;
            let id = folder.display().to_string();
            return Ok(Found { id, folder });
        }
        let missing = |note: &str| Error::NotFound {
            id: id.to_owned(),
            cache: self.cache.clone(),
            note: note.to_owned(),
        };
        let name = Name::parse(id, revision).ok_or_else(|| missing(""))?;
        let snapshot = Repository::new(&self.cache, &name.repo).snapshot(&name.revision);
        let lacks = snapshot.as_deref().map(cache::missing);
        if let (Some(folder), Some(None)) = (&snapshot, &lacks) {
            let (id, folder) = (name.to_string(), folder.clone());
            return Ok(Found { id, folder });
        }
        match lacks.flatten() {
            Some(file) if self.offline => {
                let note = format!(" with all its files: {file} is missing, {OFFLINE}");
                return Err(missing(&note));
            }
            None if self.offline => return Err(missing(&format!(", {OFFLINE}"))),
            _ if !name.repo.contains('/') => return Err(missing("")),
            _ => {}
        }
        self.download(&name)
    }

    /// Downloads what the cache lacks of a model as it is on the hub now.
    ///
    /// # Errors
    /// Those of [`Self::locate`].
    pub(crate) fn download(&self, name: &Name) -> Result<Found, Error> {
        if self.offline {
            return Err(Error::hub(
                name,
                "HF_HUB_OFFLINE is set, nothing is downloaded",
            ));
        }
        let folder = download::download(self, name)?;
        let id = name.to_string();
        Ok(Found { id, folder })
    }
}

/// Said of what would need the network.
const OFFLINE: &str = "and HF_HUB_OFFLINE is set";

/// The name of a model on the hub: `ORG/NAME`, or `ORG/NAME@REVISION` where it is not the main one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) repo: String,
    pub(crate) revision: String,
}

impl Name {
    /// Reads a name; a revision given beside it must not be in it as well.
    ///
    /// Names become parts of paths and of URLs: what could lead elsewhere is no name.
    pub(crate) fn parse(id: &str, revision: Option<&str>) -> Option<Self> {
        let (repo, revision) = match (id.split_once('@'), revision) {
            (None, revision) => (id, revision.unwrap_or(MAIN)),
            (Some(parts), None) => parts,
            (Some(_), Some(_)) => return None,
        };
        let is_name = |part: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            !part.is_empty() && part.chars().all(plain) && !part.starts_with(['.', '-'])
        };
        let is_step = |part: &str| {
            let odd = |c: char| c.is_control() || c == '\\';
            !part.is_empty() && !part.starts_with('.') && !part.contains(odd)
        };
        let named = repo.split('/').count() <= 2 && repo.split('/').all(is_name);
        let valid = named && !repo.contains("--") && revision.split('/').all(is_step);
        valid.then(|| Self {
            repo: repo.to_owned(),
            revision: revision.to_owned(),
        })
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.repo)?;
        if self.revision == MAIN {
            return Ok(());
        }
        write!(f, "@{}", self.revision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(vars: &[(&str, &str)]) -> HubEnv {
        HubEnv::from_vars(|name| {
            let found = vars.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).into())
        })
    }

    #[test]
    fn the_cache_is_where_huggingface_hub_has_it() {
        for (vars, cache) in [
            (&[("HOME", "/u")][..], "/u/.cache/huggingface/hub"),
            (
                &[("HOME", "/u"), ("XDG_CACHE_HOME", "/x")],
                "/x/huggingface/hub",
            ),
            (&[("XDG_CACHE_HOME", "/x"), ("HF_HOME", "/h")], "/h/hub"),
            (&[("HOME", "/u"), ("HF_HOME", "~/h")], "/u/h/hub"),
            (&[("HF_HOME", "/h"), ("HUGGINGFACE_HUB_CACHE", "/o")], "/o"),
            (
                &[("HUGGINGFACE_HUB_CACHE", "/o"), ("HF_HUB_CACHE", "/c")],
                "/c",
            ),
            (&[("HF_HUB_CACHE", ""), ("HF_HOME", "/h")], "/h/hub"),
        ] {
            assert_eq!(env(vars).cache, Path::new(cache), "{vars:?}");
        }
    }

    #[test]
    fn the_token_is_the_variables_or_the_files() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().to_str().unwrap();
        assert_eq!(env(&[("HF_HOME", path)]).token(), None);
        fs::write(home.path().join("token"), "of-file\n").unwrap();
        assert_eq!(env(&[("HF_HOME", path)]).token(), Token::new("of-file"));
        let both = env(&[("HF_HOME", path), ("HF_TOKEN", "of-variable")]);
        assert_eq!(both.token(), Token::new("of-variable"));
        let other = home.path().join("other");
        fs::write(&other, "of-other").unwrap();
        let named = env(&[
            ("HF_HOME", path),
            ("HF_TOKEN_PATH", other.to_str().unwrap()),
        ]);
        assert_eq!(named.token(), Token::new("of-other"));
    }

    #[test]
    fn offline_and_the_endpoint_are_as_set() {
        for (value, offline) in [("1", true), ("true", true), ("0", false), ("", false)] {
            assert_eq!(env(&[("HF_HUB_OFFLINE", value)]).offline, offline);
        }
        let mirror = env(&[("HF_ENDPOINT", "http://mirror:80/hf/")]);
        assert_eq!(mirror.endpoint, "http://mirror:80/hf");
    }

    #[test]
    fn names_that_could_lead_elsewhere_are_none() {
        for (id, revision, name) in [
            ("a/b", None, Some("a/b")),
            ("a/b", Some("v1"), Some("a/b@v1")),
            ("a/b", Some("main"), Some("a/b")),
            ("a/b@refs/pr/1", None, Some("a/b@refs/pr/1")),
            ("bert-base-uncased", None, Some("bert-base-uncased")),
            ("a/b@v1", Some("v2"), None),
            ("../b", None, None),
            ("/a/b", None, None),
            ("a/b/c", None, None),
            ("a/b", Some("../../x"), None),
            ("a/b", Some("/etc"), None),
            ("a/b?x", None, None),
            ("", None, None),
        ] {
            let parsed = Name::parse(id, revision).map(|name| name.to_string());
            assert_eq!(parsed.as_deref(), name, "{id} {revision:?}");
        }
    }

    #[test]
    fn a_cached_model_is_found_and_a_missing_one_named() {
        let root = tempfile::tempdir().unwrap();
        let cache = root.path().join("hub");
        let vars = [
            ("HF_HUB_CACHE", cache.to_str().unwrap()),
            ("HF_HUB_OFFLINE", "1"),
        ];
        let env = env(&vars);
        let message = env.locate("org/name", None).unwrap_err().to_string();
        assert!(message.contains(vars[0].1) && message.contains("HF_HUB_OFFLINE"));
        let model = cache.join("models--org--name");
        let snapshot = model.join("snapshots/abc");
        fs::create_dir_all(&snapshot).unwrap();
        fs::create_dir_all(model.join("refs")).unwrap();
        fs::write(model.join("refs/main"), "abc\n").unwrap();
        for file in ["config.json", "tokenizer.json", "model.safetensors"] {
            let message = env.locate("org/name", None).unwrap_err().to_string();
            assert!(message.contains(file), "{message}");
            fs::write(snapshot.join(file), "{}").unwrap();
        }
        let found = env.locate("org/name", None).unwrap();
        assert_eq!((found.id.as_str(), &found.folder), ("org/name", &snapshot));
        let as_folder = env.locate(snapshot.to_str().unwrap(), None).unwrap();
        assert_eq!(as_folder.folder, snapshot.canonicalize().unwrap());
        assert_eq!(as_folder.id, as_folder.folder.display().to_string());
    }
}
