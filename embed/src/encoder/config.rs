//! A model's `config.json`: typed values, and what must not be ignored in it.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::spec::Activation;
use crate::Error;

/// The values of a JSON file, and its path for messages.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    path: PathBuf,
    values: Map<String, Value>,
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be read, [`Error::Model`] if it is no JSON object.
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        let bytes = fs::read(path).map_err(Error::file(path))?;
        let values = serde_json::from_slice(&bytes).map_err(|error| Error::model(path, error))?;
        Ok(Self {
            path: path.to_owned(),
            values,
        })
    }

    /// Reads a file that may be missing.
    ///
    /// # Errors
    /// Those of [`Config::read`] for a file that is there.
    pub(crate) fn read_if_there(path: &Path) -> Result<Self, Error> {
        if path.exists() {
            return Self::read(path);
        }
        Ok(Self {
            path: path.to_owned(),
            values: Map::new(),
        })
    }

    /// Gives values of an older name the name by which they are asked for.
    pub(crate) fn renamed(mut self, names: &[(&str, &str)]) -> Self {
        for (old, new) in names {
            if let Some(value) = self.get(old).cloned() {
                self.values.entry(*new).or_insert(value);
            }
        }
        self
    }

    /// Returns the object below a key as a config of its own, which is empty if there is none.
    pub(crate) fn below(&self, key: &str) -> Self {
        Self {
            path: self.path.clone(),
            values: match self.get(key) {
                Some(Value::Object(values)) => values.clone(),
                _ => Map::new(),
            },
        }
    }

    /// Returns a value that is neither missing nor null.
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key).filter(|value| !value.is_null())
    }

    /// Returns a text.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Value::as_str)
    }

    /// Returns a size.
    ///
    /// # Errors
    /// [`Error::Model`] if it is missing or no positive integer.
    pub(crate) fn size(&self, key: &str) -> Result<usize, Error> {
        let size = self.size_if_there(key)?;
        size.ok_or_else(|| self.error(format!("has no `{key}`")))
    }

    /// Returns a size that may be missing.
    ///
    /// # Errors
    /// [`Error::Model`] if it is no positive integer.
    pub(crate) fn size_if_there(&self, key: &str) -> Result<Option<usize>, Error> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let size = value.as_u64().and_then(|size| usize::try_from(size).ok());
        match size.filter(|size| *size > 0) {
            Some(size) => Ok(Some(size)),
            None => Err(self.error(format!("`{key}` is {value}, which is no size"))),
        }
    }

    /// Returns a number, or another one if it is missing.
    ///
    /// # Errors
    /// [`Error::Model`] if it is no number.
    pub(crate) fn number(&self, key: &str, default: f64) -> Result<f64, Error> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value
                .as_f64()
                .ok_or_else(|| self.error(format!("`{key}` is {value}, which is no number"))),
        }
    }

    /// Returns whether something is so, or the default if that is not said.
    pub(crate) fn flag(&self, key: &str, default: bool) -> bool {
        self.get(key).and_then(Value::as_bool).unwrap_or(default)
    }

    /// Returns the activation that a key names.
    ///
    /// # Errors
    /// [`Error::Model`] for one that no engine has.
    pub(crate) fn activation(&self, key: &str, default: Activation) -> Result<Activation, Error> {
        Ok(match self.text(key) {
            None => default,
            Some("gelu" | "gelu_python" | "geglu") => Activation::Gelu,
            Some("gelu_new" | "gelu_fast" | "gelu_pytorch_tanh") => Activation::GeluTanh,
            Some("silu" | "swish" | "swiglu") => Activation::Silu,
            Some("relu" | "reglu") => Activation::Relu,
            Some(other) => return Err(self.unsupported(key, other)),
        })
    }

    /// Refuses a value that asks for what is not done here; one that is missing asks for nothing.
    ///
    /// # Errors
    /// [`Error::Model`] naming the key and its value.
    pub(crate) fn only(&self, key: &str, allowed: &[&str]) -> Result<(), Error> {
        let Some(value) = self.get(key) else {
            return Ok(());
        };
        let found = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        if allowed.contains(&found.as_str()) {
            return Ok(());
        }
        Err(self.unsupported(key, &found))
    }

    /// Returns an error about a value that is not supported.
    pub(crate) fn unsupported(&self, key: &str, value: &str) -> Error {
        self.error(format!("`{key}` is {value}, which is not supported"))
    }

    /// Returns an error about this file.
    pub(crate) fn error(&self, cause: String) -> Error {
        Error::model(&self.path, cause)
    }
}
