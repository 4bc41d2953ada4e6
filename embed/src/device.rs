//! The device that an encoder runs on, as a user names it.

use std::fmt;
use std::str::FromStr;

use candle_core::Device;

use crate::Error;

/// A device by name: `cpu`, `cuda` or `cuda:N`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceName {
    /// The processor.
    #[default]
    Cpu,
    /// A CUDA card by its ordinal.
    Cuda(usize),
}

impl FromStr for DeviceName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "cpu" => Ok(Self::Cpu),
            None if text == "cuda" => Ok(Self::Cuda(0)),
            Some(("cuda", ordinal)) => ordinal
                .parse()
                .map(Self::Cuda)
                .map_err(|_| format!("`{ordinal}` is no card's number")),
            _ => Err("expected cpu, cuda or cuda:N".to_owned()),
        }
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(ordinal) => write!(f, "cuda:{ordinal}"),
        }
    }
}

impl DeviceName {
    /// Opens the device; another one is never taken in its place.
    pub(crate) fn open(self) -> Result<Device, Error> {
        match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Cuda(ordinal) => self.open_cuda(ordinal),
        }
    }

    #[cfg(not(feature = "cuda"))]
    fn open_cuda(self, _ordinal: usize) -> Result<Device, Error> {
        Err(Error::Device {
            device: self.to_string(),
            cause: "this cs-embed was built without CUDA".to_owned(),
            hint: "build it with: cargo install --path embed --features cuda",
        })
    }

    #[cfg(feature = "cuda")]
    fn open_cuda(self, ordinal: usize) -> Result<Device, Error> {
        let fail = |cause: String| Error::Device {
            device: self.to_string(),
            cause,
            hint: "nvidia-smi lists the cards; --device cpu needs none",
        };
        // The loader of the CUDA libraries panics where they are missing.
        std::panic::catch_unwind(|| Device::new_cuda(ordinal))
            .map_err(|_| fail("the CUDA libraries are not there".to_owned()))?
            .map_err(|error| fail(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written_alike() {
        for (text, device) in [
            ("cpu", Some(DeviceName::Cpu)),
            ("cuda", Some(DeviceName::Cuda(0))),
            ("cuda:3", Some(DeviceName::Cuda(3))),
            ("cuda:x", None),
            ("gpu", None),
        ] {
            assert_eq!(text.parse::<DeviceName>().ok(), device, "{text}");
        }
        assert_eq!(DeviceName::Cuda(3).to_string(), "cuda:3");
    }
}
