//! The numbers in which an encoder computes, as a user asks for them.

use candle_core::DType;

use crate::Error;
use crate::cpu::{Machine, Precision};

/// What may be asked of an encoder's arithmetic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::Args)]
#[command(next_help_heading = "How an encoder computes")]
pub struct PrecisionArgs {
    /// The numbers of its products: --dtype bf16 is nearly twice as fast as f32 where the
    /// processor has instructions for it, f16 on CUDA cards several times
    ///
    /// auto takes what the model's config.json says, and f32 where the device has no such
    /// numbers.
    #[arg(long, value_enum, default_value_t)]
    pub dtype: Dtype,

    /// Make products of eight-bit numbers, 32 to a scale: --quantize q8_0
    #[arg(long, value_enum, default_value_t, conflicts_with = "dtype")]
    pub quantize: Quantize,
}

/// A kind of numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Dtype {
    /// What the model's files say, as far as the processor has it.
    #[default]
    Auto,
    /// 32 bits.
    F32,
    /// 16 bits; on CUDA cards only.
    F16,
    /// 16 bits with the range of f32.
    Bf16,
}

/// A quantisation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Quantize {
    /// None.
    #[default]
    None,
    /// Eight bits, 32 numbers of a row to a scale, for weights and states.
    #[value(name = "q8_0")]
    Q8_0,
}

impl PrecisionArgs {
    /// Returns the numbers for a model whose config says `own`.
    ///
    /// # Errors
    /// [`Error::Device`] if the processor has no instructions for what was asked for.
    pub(crate) fn choose(self, own: Option<&str>, machine: &Machine) -> Result<Precision, Error> {
        let wanted = match (self.quantize, self.dtype) {
            (Quantize::Q8_0, _) => Precision::Q8,
            (Quantize::None, Dtype::Bf16) => Precision::Bf16,
            (Quantize::None, Dtype::F32) => Precision::F32,
            (Quantize::None, Dtype::F16) => {
                return Err(Error::Device {
                    device: "cpu".to_owned(),
                    cause: "f16 is for CUDA cards, a processor computes in f32 or bf16".to_owned(),
                    hint: "--dtype f32 runs everywhere",
                });
            }
            (Quantize::None, Dtype::Auto) => {
                let is_bf16 = own == Some("bfloat16") && machine.has(Precision::Bf16);
                return Ok(if is_bf16 {
                    Precision::Bf16
                } else {
                    Precision::F32
                });
            }
        };
        if machine.has(wanted) {
            Ok(wanted)
        } else {
            Err(Error::Device {
                device: "cpu".to_owned(),
                cause: format!("this processor has no instructions for {}", wanted.name()),
                hint: "--dtype f32 runs everywhere",
            })
        }
    }

    /// Returns the numbers for a model whose config says `own`, run by candle's tensors.
    ///
    /// # Errors
    /// [`Error::Device`] if they were to be quantised.
    pub(crate) fn choose_tensors(self, own: Option<&str>, device: &str) -> Result<DType, Error> {
        if self.quantize != Quantize::None {
            return Err(Error::Device {
                device: device.to_owned(),
                cause: "products of eight-bit numbers are for processors".to_owned(),
                hint: "--dtype f16 is fast on cards, --device cpu has --quantize",
            });
        }
        Ok(match (self.dtype, own) {
            (Dtype::F16, _) | (Dtype::Auto, Some("float16")) => DType::F16,
            (Dtype::Bf16, _) | (Dtype::Auto, Some("bfloat16")) => DType::BF16,
            (Dtype::F32 | Dtype::Auto, _) => DType::F32,
        })
    }
}
