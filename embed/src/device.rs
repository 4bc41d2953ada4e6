//! The devices that an encoder runs on, as a user names them.

use std::fmt;
use std::str::FromStr;

use candle_core::Device;

use crate::Error;

/// Where an encoder runs, by name: `cpu`, `cuda`, `cuda:N`, or `cuda:N,M` for several cards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DeviceName {
    /// The processor.
    #[default]
    Cpu,
    /// CUDA cards by their ordinals, each once; they share the work.
    Cuda(Vec<usize>),
}

impl FromStr for DeviceName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "cpu" => Ok(Self::Cpu),
            None if text == "cuda" => Ok(Self::Cuda(vec![0])),
            Some(("cuda", ordinals)) => {
                let mut cards = Vec::new();
                for ordinal in ordinals.split(',') {
                    let card = ordinal.trim().parse();
                    let card = card.map_err(|_| format!("`{ordinal}` is no card's number"))?;
                    if cards.contains(&card) {
                        return Err(format!("the card {card} is named twice"));
                    }
                    cards.push(card);
                }
                Ok(Self::Cuda(cards))
            }
            _ => Err("expected cpu, cuda, cuda:N or cuda:N,M".to_owned()),
        }
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(cards) => {
                let cards: Vec<String> = cards.iter().map(usize::to_string).collect();
                write!(f, "cuda:{}", cards.join(","))
            }
        }
    }
}

impl DeviceName {
    /// Opens the devices, each with its name; others are never taken in their place.
    ///
    /// # Errors
    /// [`Error::Device`] naming the one that cannot be had.
    pub(crate) fn open(&self) -> Result<Vec<(String, Device)>, Error> {
        match self {
            Self::Cpu => Ok(vec![("cpu".to_owned(), Device::Cpu)]),
            Self::Cuda(cards) => {
                let open = |card: &usize| {
                    let name = format!("cuda:{card}");
                    open_cuda(&name, *card).map(|device| (name, device))
                };
                cards.iter().map(open).collect()
            }
        }
    }
}

#[cfg(not(feature = "cuda"))]
fn open_cuda(name: &str, _card: usize) -> Result<Device, Error> {
    Err(Error::Device {
        device: name.to_owned(),
        cause: "this cs-embed was built without CUDA".to_owned(),
        hint: "build one with: scripts/check/gpu-check --build-only",
    })
}

/// Opens a card with a stream of its own, which waits for no other thread's work.
#[cfg(feature = "cuda")]
fn open_cuda(name: &str, card: usize) -> Result<Device, Error> {
    let fail = |cause: String| Error::Device {
        device: name.to_owned(),
        cause,
        hint: "nvidia-smi lists the cards; LD_LIBRARY_PATH has to name the folders of libcuda, libcublas and libcurand; --device cpu needs none of it",
    };
    // The loader of the CUDA libraries panics where they are missing, and tells where it looked.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let opened = std::panic::catch_unwind(|| Device::new_cuda_with_stream(card));
    std::panic::set_hook(hook);
    let missing = "the CUDA libraries are not on this machine";
    opened
        .map_err(|_| fail(missing.to_owned()))?
        .map_err(|error| fail(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written_alike() {
        for (text, device) in [
            ("cpu", Some(DeviceName::Cpu)),
            ("cuda:0", Some(DeviceName::Cuda(vec![0]))),
            ("cuda:3", Some(DeviceName::Cuda(vec![3]))),
            ("cuda:2,0", Some(DeviceName::Cuda(vec![2, 0]))),
            ("cuda:0,0", None),
            ("cuda:0,", None),
            ("cuda:x", None),
            ("gpu", None),
        ] {
            assert_eq!(text.parse::<DeviceName>().ok(), device, "{text}");
            if let Some(device) = device {
                assert_eq!(device.to_string(), text);
            }
        }
        assert_eq!("cuda".parse(), Ok(DeviceName::Cuda(vec![0])));
    }
}
