//! Functions of long rows: sums, norms, rotary positions, rounding.
//!
//! Everything here is plain Rust over slices, inlined into functions that are compiled for each
//! set of vector instructions. Sums run in [`LANES`] parts, so that they can be vectorised, always
//! in the same order, so that a text's vector does not depend on where it was computed.

use crate::encoder::spec::{Norm, NormWeights};

/// Parts of a sum: the numbers of the widest vector.
const LANES: usize = 16;

/// Added to a number, it leaves the nearest integer in the lowest bits, ties to even;
/// subtracted again, that integer as a number.
pub(super) const ROUND: f32 = 12_582_912.0;

/// Sums `f` of all numbers.
#[inline(always)]
pub(super) fn sum(numbers: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let (whole, rest) = numbers.as_chunks::<LANES>();
    for part in whole {
        for (lane, x) in lanes.iter_mut().zip(part) {
            *lane += f(*x);
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane += f(*x);
    }
    lanes.iter().sum()
}

/// Sums the products of the numbers of two rows of one length.
#[inline(always)]
pub(crate) fn sum_of_products(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let (a_whole, a_rest) = a.as_chunks::<LANES>();
    let (b_whole, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_whole.iter().zip(b_whole) {
        for (lane, (a, b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *lane += a * b;
        }
    }
    for (lane, (a, b)) in lanes.iter_mut().zip(a_rest.iter().zip(b_rest)) {
        *lane += a * b;
    }
    lanes.iter().sum()
}

/// Returns the largest number, or minus infinity.
#[inline(always)]
pub(super) fn max(numbers: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (whole, rest) = numbers.as_chunks::<LANES>();
    for part in whole {
        for (lane, x) in lanes.iter_mut().zip(part) {
            *lane = if *x > *lane { *x } else { *lane };
        }
    }
    let most = |most: f32, x: &f32| if *x > most { *x } else { most };
    rest.iter()
        .fold(lanes.iter().fold(f32::NEG_INFINITY, most), most)
}

/// Normalises one vector in place.
#[inline(always)]
pub(crate) fn normalize(row: &mut [f32], norm: Norm, epsilon: f32, weights: &NormWeights) {
    let count = row.len() as f32;
    let mean = match norm {
        Norm::Layer => sum(row, |x| x) / count,
        Norm::Rms => 0.0,
    };
    let variance = sum(row, |x| (x - mean) * (x - mean)) / count;
    let factor = 1.0 / (variance + epsilon).sqrt();
    for (x, scale) in row.iter_mut().zip(&weights.scale) {
        *x = (*x - mean) * factor * scale;
    }
    if let Some(shift) = &weights.shift {
        for (x, shift) in row.iter_mut().zip(shift) {
            *x += shift;
        }
    }
}

/// Turns the first numbers of a head by its position's angles: pairs `(i, i + n)` for `n` cosines
/// and as many sines.
#[inline(always)]
pub(super) fn rotate(head: &mut [f32], cosines: &[f32], sines: &[f32]) {
    let (low, rest) = head.split_at_mut(cosines.len());
    for (((x, y), cosine), sine) in low.iter_mut().zip(rest).zip(cosines).zip(sines) {
        (*x, *y) = (*x * cosine - *y * sine, *y * cosine + *x * sine);
    }
}

/// Returns the nearest bf16 number's bits, ties to even. Infinite and NaN do not occur: what makes
/// them is an error by itself at the end.
#[inline(always)]
pub(super) fn to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    let odd = (bits >> 16) & 1;
    (bits.wrapping_add(0x7fff + odd) >> 16) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bf16_is_rounded_to_even() {
        for (x, bits) in [(1.0, 0x3f80), (1.003_906_2, 0x3f80), (1.011_718_8, 0x3f82)] {
            assert_eq!(to_bf16(x), bits, "{x}");
        }
    }
}
