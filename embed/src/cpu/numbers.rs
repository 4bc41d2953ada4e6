//! Functions of many numbers: exponential, error function, norms, rotary positions.
//!
//! Everything here is plain Rust over slices, inlined into functions that are compiled for each
//! set of vector instructions. Sums run in [`LANES`] parts, so that they can be vectorised, always
//! in the same order, so that a text's vector does not depend on where it was computed.

use crate::encoder::spec::{Activation, Norm, NormWeights};

/// Parts of a sum: the numbers of the widest vector.
const LANES: usize = 16;

/// Added to a number, it leaves the nearest integer in the lowest bits, ties to even;
/// subtracted again, that integer as a number.
pub(super) const ROUND: f32 = 12_582_912.0;

/// Returns the exponential function of a number that is not above 88, with a relative error below
/// 2e-7; of one below -87 it returns about 1e-38.
///
/// `2^n * exp(r)` with the polynomial of Cephes' `expf` for the rest `r` (Moshier, 1989).
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    let x = x.max(-87.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    // ln 2 in two parts, the first with few digits: n times it is exact.
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let p = 1.987_569_2e-4;
    let p = p * r + 1.398_2e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_6e-1;
    let p = p * r + 0.5;
    let p = p * r * r + r + 1.0;
    // The integer stands in the low bits of `shifted`; shifted up, it is an exponent.
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0_f32.to_bits()));
    p * power
}

/// Returns the error function with an absolute error below 2e-7: a rational function on [-4, 4]
/// (coefficients of Eigen's `generic_fast_erf_float`), beyond which it is 1 in f32.
#[inline(always)]
fn erf(x: f32) -> f32 {
    let x = x.clamp(-4.0, 4.0);
    let s = x * x;
    let p = -2.726_142_3e-10;
    let p = p * s + 2.770_681_4e-8;
    let p = p * s - 2.101_024_1e-6;
    let p = p * s - 5.692_506_6e-5;
    let p = p * s - 7.349_906_3e-4;
    let p = p * s - 2.954_6e-3;
    let p = p * s - 1.609_603_3e-2;
    let q = -1.456_607_2e-5;
    let q = q * s - 2.133_740_6e-4;
    let q = q * s - 1.682_827e-3;
    let q = q * s - 7.373_329_2e-3;
    let q = q * s - 1.426_473_9e-2;
    x * p / q
}

/// Replaces numbers by an activation function's values.
#[inline(always)]
pub(super) fn activate(activation: Activation, numbers: &mut [f32]) {
    // The function is chosen before the loop: one that chooses each time is not vectorised.
    match activation {
        Activation::Gelu => replace(numbers, gelu),
        Activation::GeluTanh => replace(numbers, gelu_tanh),
        Activation::Silu => replace(numbers, |x| x * logistic(x)),
        Activation::Relu => replace(numbers, |x| x.max(0.0)),
    }
}

#[inline(always)]
fn replace(numbers: &mut [f32], f: impl Fn(f32) -> f32) {
    for x in numbers {
        *x = f(*x);
    }
}

#[inline(always)]
fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

#[inline(always)]
fn gelu_tanh(x: f32) -> f32 {
    // 0.5 (1 + tanh z) is the logistic function of 2 z.
    x * logistic(1.595_769 * (x + 0.044_715 * x * x * x))
}

#[inline(always)]
fn logistic(x: f32) -> f32 {
    1.0 / (1.0 + exp((-x).min(88.0)))
}

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
pub(super) fn normalize(row: &mut [f32], norm: Norm, epsilon: f32, weights: &NormWeights) {
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
    fn the_exponential_function_is_near_the_library_s() {
        for step in -87_000..88_000 {
            let x = step as f32 / 1000.0;
            let expected = f64::from(x).exp();
            let error = (f64::from(exp(x)) - expected).abs() / expected;
            assert!(error < 2e-7, "exp({x}): {error}");
        }
        assert!(exp(-1e30) < 1e-37 && exp(f32::NEG_INFINITY) < 1e-37);
    }

    #[test]
    fn activations_are_near_their_definitions() {
        // 1 + erf by its series: sum of (-1)^n x^(2n+1) / (n! (2n+1)).
        let erf = |x: f64| {
            let (mut sum, mut power) = (0.0, x);
            for n in 0..200 {
                sum += power / f64::from(2 * n + 1);
                power *= -x * x / f64::from(n + 1);
            }
            sum * 2.0 / std::f64::consts::PI.sqrt()
        };
        for step in -500..=500 {
            let x = f64::from(step) / 100.0;
            let tanh = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
            for (activation, expected) in [
                (Activation::Gelu, 0.5 * x * (1.0 + erf(x / 2.0_f64.sqrt()))),
                (Activation::GeluTanh, 0.5 * x * (1.0 + tanh.tanh())),
                (Activation::Silu, x / (1.0 + (-x).exp())),
                (Activation::Relu, x.max(0.0)),
            ] {
                let mut found = [x as f32];
                activate(activation, &mut found);
                let error = (f64::from(found[0]) - expected).abs();
                assert!(error < 2e-6, "{activation:?}({x}): {error}");
            }
        }
        for activation in [Activation::Gelu, Activation::GeluTanh, Activation::Silu] {
            let mut far = [-1e4, 1e4];
            activate(activation, &mut far);
            assert!(far[0].abs() < 1e-6 && (far[1] - 1e4).abs() < 1e-2);
        }
    }

    #[test]
    fn bf16_is_rounded_to_even() {
        for (x, bits) in [(1.0, 0x3f80), (1.003_906_2, 0x3f80), (1.011_718_8, 0x3f82)] {
            assert_eq!(to_bf16(x), bits, "{x}");
        }
    }
}
