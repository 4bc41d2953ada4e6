//! Tensors of static models, read where they lie, in any of the types that model2vec writes.

use std::ops::Range;

use safetensors::Dtype;

use super::Memory;

/// A tensor's numbers.
pub(crate) struct Numbers {
    memory: Memory,
    range: Range<usize>,
    kind: Kind,
}

/// The types of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    F64,
    F32,
    F16,
    I8,
}

impl Kind {
    /// Returns the kind of a tensor, if it can be one of a static model.
    pub(crate) fn of(dtype: Dtype) -> Option<Self> {
        match dtype {
            Dtype::F64 => Some(Self::F64),
            Dtype::F32 => Some(Self::F32),
            Dtype::F16 => Some(Self::F16),
            Dtype::I8 => Some(Self::I8),
            _ => None,
        }
    }

    /// Returns the name that a stream bears.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::F64 => "f64",
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::I8 => "int8",
        }
    }
}

/// One type of numbers, little-endian, at any address.
pub(crate) trait Number {
    /// Bytes of a number.
    const BYTES: usize;

    /// Reads a number from its bytes.
    fn read(bytes: &[u8]) -> f32;
}

/// What is done with numbers once their type is known.
pub(crate) trait Visitor {
    /// Takes the bytes of all numbers.
    fn visit<N: Number>(self, bytes: &[u8]);
}

impl Numbers {
    /// Takes the bytes of a tensor.
    pub(crate) fn new(memory: Memory, range: Range<usize>, kind: Kind) -> Self {
        Self {
            memory,
            range,
            kind,
        }
    }

    /// Hands the numbers to a visitor.
    #[inline(always)]
    pub(crate) fn visit(&self, visitor: impl Visitor) {
        let bytes = &self.memory.bytes()[self.range.clone()];
        match self.kind {
            Kind::F64 => visitor.visit::<F64>(bytes),
            Kind::F32 => visitor.visit::<F32>(bytes),
            Kind::F16 => visitor.visit::<F16>(bytes),
            Kind::I8 => visitor.visit::<I8>(bytes),
        }
    }

    /// Returns one number.
    #[inline(always)]
    pub(crate) fn get(&self, index: usize) -> f32 {
        let bytes = &self.memory.bytes()[self.range.clone()];
        match self.kind {
            Kind::F64 => F64::read(&bytes[index * F64::BYTES..]),
            Kind::F32 => F32::read(&bytes[index * F32::BYTES..]),
            Kind::F16 => F16::read(&bytes[index * F16::BYTES..]),
            Kind::I8 => I8::read(&bytes[index * I8::BYTES..]),
        }
    }
}

struct F64;

impl Number for F64 {
    const BYTES: usize = 8;

    #[inline(always)]
    fn read(bytes: &[u8]) -> f32 {
        let [a, b, c, d, e, f, g, h] = [0, 1, 2, 3, 4, 5, 6, 7].map(|at| bytes[at]);
        f64::from_le_bytes([a, b, c, d, e, f, g, h]) as f32
    }
}

struct F32;

impl Number for F32 {
    const BYTES: usize = 4;

    #[inline(always)]
    fn read(bytes: &[u8]) -> f32 {
        f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    }
}

struct F16;

impl Number for F16 {
    const BYTES: usize = 2;

    /// Shifts exponent and fraction into their places of an f32 and scales by the difference of
    /// the biases, which is right for subnormal numbers as well; a loop over it is vectorised,
    /// other than one over the `half` crate's conversion.
    #[inline(always)]
    fn read(bytes: &[u8]) -> f32 {
        let bits = u32::from(u16::from_le_bytes([bytes[0], bytes[1]]));
        let finite = f32::from_bits((bits & 0x7fff) << 13) * f32::from_bits(0x7780_0000);
        let special = if bits & 0x7c00 == 0x7c00 {
            0x7f80_0000
        } else {
            0
        };
        f32::from_bits(finite.to_bits() | special | (bits & 0x8000) << 16)
    }
}

struct I8;

impl Number for I8 {
    const BYTES: usize = 1;

    #[inline(always)]
    fn read(bytes: &[u8]) -> f32 {
        f32::from(bytes[0] as i8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_f16_is_read_as_the_half_crate_reads_it() {
        for bits in 0..=u16::MAX {
            let (got, expected) = (F16::read(&bits.to_le_bytes()), half::f16::from_bits(bits));
            let same = got.to_bits() == expected.to_f32().to_bits();
            assert!(
                same || got.is_nan() && expected.is_nan(),
                "{bits:#x}: {got}"
            );
        }
    }
}
