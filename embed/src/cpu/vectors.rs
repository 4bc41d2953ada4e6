//! The functions of attention and feed-forward parts, a vector of numbers at a time.
//!
//! They are written once for all widths of vectors (pulp chooses when the program runs): loops of
//! plain Rust over a tile's short rows are unrolled into single numbers by the compiler.

use pulp::{Simd, WithSimd};

use crate::encoder::spec::Activation;

/// Replaces scores by `exp(scale * score - most)`, and returns their sum.
pub(super) struct Weigh<'a> {
    pub(super) scores: &'a mut [f32],
    pub(super) scale: f32,
    pub(super) most: f32,
}

impl WithSimd for Weigh<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f32 {
        let Self {
            scores,
            scale,
            most,
        } = self;
        let (scale, most) = (simd.splat_f32s(scale), simd.splat_f32s(-most));
        let (whole, rest) = S::as_mut_simd_f32s(scores);
        let mut sum = simd.splat_f32s(0.0);
        for score in whole {
            *score = exp(simd, simd.mul_add_e_f32s(*score, scale, most));
            sum = simd.add_f32s(sum, *score);
        }
        let mut total = simd.reduce_sum_f32s(sum);
        let scaled = simd.mul_add_e_f32s(simd.partial_load_f32s(rest), scale, most);
        let weighed = exp(simd, scaled);
        simd.partial_store_f32s(rest, weighed);
        for weight in rest {
            total += *weight;
        }
        total
    }
}

/// Adds `shifts` to `numbers`, from the first one on, as far as both go.
#[inline(always)]
pub(super) fn shift<S: Simd>(simd: S, numbers: &mut [f32], shifts: &[f32]) {
    let count = numbers.len().min(shifts.len());
    let (whole, rest) = S::as_mut_simd_f32s(&mut numbers[..count]);
    let (shifts, last) = S::as_simd_f32s(&shifts[..count]);
    for (x, y) in whole.iter_mut().zip(shifts) {
        *x = simd.add_f32s(*x, *y);
    }
    for (x, y) in rest.iter_mut().zip(last) {
        *x += y;
    }
}

/// Replaces numbers by an activation function's values.
#[inline(always)]
pub(crate) fn activate<S: Simd>(simd: S, activation: Activation, numbers: &mut [f32]) {
    match activation {
        Activation::Gelu => replace(
            simd,
            numbers,
            #[inline(always)]
            |x| {
                let half = simd.mul_f32s(simd.splat_f32s(0.5), x);
                let z = simd.mul_f32s(x, simd.splat_f32s(std::f32::consts::FRAC_1_SQRT_2));
                simd.mul_add_e_f32s(half, erf(simd, z), half)
            },
        ),
        // 0.5 (1 + tanh z) is the logistic function of 2 z.
        Activation::GeluTanh => replace(
            simd,
            numbers,
            #[inline(always)]
            |x| {
                let square = simd.mul_f32s(x, x);
                let factor = polynomial(simd, square, [1.595_769 * 0.044_715, 1.595_769]);
                simd.mul_f32s(x, logistic(simd, simd.mul_f32s(x, factor)))
            },
        ),
        Activation::Silu => replace(
            simd,
            numbers,
            #[inline(always)]
            |x| simd.mul_f32s(x, logistic(simd, x)),
        ),
        Activation::Relu => replace(
            simd,
            numbers,
            #[inline(always)]
            |x| simd.max_f32s(x, simd.splat_f32s(0.0)),
        ),
    }
}

#[inline(always)]
fn replace<S: Simd>(simd: S, numbers: &mut [f32], f: impl Fn(S::f32s) -> S::f32s) {
    let (whole, rest) = S::as_mut_simd_f32s(numbers);
    for x in whole {
        *x = f(*x);
    }
    if !rest.is_empty() {
        let x = f(simd.partial_load_f32s(rest));
        simd.partial_store_f32s(rest, x);
    }
}

#[inline(always)]
fn logistic<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let one = simd.splat_f32s(1.0);
    let negative = simd.sub_f32s(simd.splat_f32s(0.0), x);
    let e = exp(simd, simd.min_f32s(negative, simd.splat_f32s(88.0)));
    simd.div_f32s(one, simd.add_f32s(one, e))
}

/// Evaluates a polynomial, its highest coefficient first.
#[inline(always)]
fn polynomial<S: Simd, const N: usize>(simd: S, x: S::f32s, coefficients: [f32; N]) -> S::f32s {
    let mut sum = simd.splat_f32s(coefficients[0]);
    for coefficient in &coefficients[1..] {
        sum = simd.mul_add_e_f32s(sum, x, simd.splat_f32s(*coefficient));
    }
    sum
}

/// Returns the exponential function of numbers not above 88, with a relative error below 3e-7; of
/// those below -87, about 1e-38.
///
/// `2^n * exp(r)` with the polynomial of Cephes' `expf` for the rest `r` (Moshier, 1989).
#[inline(always)]
fn exp<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    /// Added to a number, it leaves the nearest integer in the lowest bits; subtracted again, that
    /// integer as a number.
    const ROUND: f32 = 12_582_912.0;
    let x = simd.max_f32s(x, simd.splat_f32s(-87.0));
    let log2 = simd.splat_f32s(std::f32::consts::LOG2_E);
    let shifted = simd.mul_add_e_f32s(x, log2, simd.splat_f32s(ROUND));
    let n = simd.sub_f32s(shifted, simd.splat_f32s(ROUND));
    // ln 2 in two parts, the first with few digits: n times it is exact.
    let r = simd.mul_add_e_f32s(n, simd.splat_f32s(-0.693_359_4), x);
    let r = simd.mul_add_e_f32s(n, simd.splat_f32s(2.121_944_4e-4), r);
    let p = polynomial(
        simd,
        r,
        [
            1.987_569_2e-4,
            1.398_2e-3,
            8.333_452e-3,
            4.166_579_6e-2,
            1.666_666_6e-1,
            0.5,
        ],
    );
    let square = simd.mul_f32s(r, r);
    let p = simd.mul_add_e_f32s(p, square, simd.add_f32s(r, simd.splat_f32s(1.0)));
    // The integer stands in the low bits; shifted up, it is an exponent.
    let bits = simd.transmute_u32s_f32s(shifted);
    let bits = simd.wrapping_dyn_shl_u32s(bits, simd.splat_u32s(23));
    let power = simd.add_u32s(bits, simd.splat_u32s(1.0_f32.to_bits()));
    simd.mul_f32s(p, simd.transmute_f32s_u32s(power))
}

/// Returns the error function with an absolute error below 3e-7: a rational function on [-4, 4]
/// (coefficients of Eigen's `generic_fast_erf_float`), beyond which it is 1 in f32.
#[inline(always)]
fn erf<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let x = simd.max_f32s(x, simd.splat_f32s(-4.0));
    let x = simd.min_f32s(x, simd.splat_f32s(4.0));
    let square = simd.mul_f32s(x, x);
    let p = polynomial(
        simd,
        square,
        [
            -2.726_142_3e-10,
            2.770_681_4e-8,
            -2.101_024_1e-6,
            -5.692_506_6e-5,
            -7.349_906_3e-4,
            -2.954_6e-3,
            -1.609_603_3e-2,
        ],
    );
    let q = polynomial(
        simd,
        square,
        [
            -1.456_607_2e-5,
            -2.133_740_6e-4,
            -1.682_827e-3,
            -7.373_329_2e-3,
            -1.426_473_9e-2,
        ],
    );
    simd.div_f32s(simd.mul_f32s(x, p), q)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::machine::Machine;

    struct Activate<'a>(Activation, &'a mut [f32]);

    impl WithSimd for Activate<'_> {
        type Output = ();

        fn with_simd<S: Simd>(self, simd: S) {
            activate(simd, self.0, self.1);
        }
    }

    struct Shift<'a>(&'a mut [f32], &'a [f32]);

    impl WithSimd for Shift<'_> {
        type Output = ();

        fn with_simd<S: Simd>(self, simd: S) {
            shift(simd, self.0, self.1);
        }
    }

    fn activated(machine: Machine, activation: Activation, x: &[f32]) -> Vec<f32> {
        let mut numbers = x.to_vec();
        machine.arch.dispatch(Activate(activation, &mut numbers));
        numbers
    }

    #[test]
    fn weights_are_near_the_library_s_exponential_function() {
        for machine in Machine::all() {
            let scores: Vec<f32> = (-87_000..=0).map(|step| step as f32 / 500.0).collect();
            let mut weights = scores.clone();
            let sum = machine.arch.dispatch(Weigh {
                scores: &mut weights,
                scale: 0.5,
                most: -1.0,
            });
            let mut expected_sum = 0.0;
            for (score, weight) in scores.iter().zip(&weights) {
                let expected = (f64::from(*score) * 0.5 + 1.0).exp();
                let error = (f64::from(*weight) - expected).abs() / expected;
                assert!(error < 1e-6 || expected < 1e-37, "{score}: {error}");
                expected_sum += expected;
            }
            assert!((f64::from(sum) / expected_sum - 1.0).abs() < 1e-5);
            let mut far = [f32::NEG_INFINITY, -1e30, 0.0];
            machine.arch.dispatch(Weigh {
                scores: &mut far,
                scale: 1.0,
                most: 0.0,
            });
            assert!(far[0] < 1e-37 && far[1] < 1e-37 && (far[2] - 1.0).abs() < 1e-6);
        }
    }

    #[test]
    fn activations_are_near_their_definitions() {
        // The error function by its series: the sum of (-1)^n x^(2n+1) / (n! (2n+1)).
        let erf = |x: f64| {
            let (mut sum, mut power) = (0.0, x);
            for n in 0..200 {
                sum += power / f64::from(2 * n + 1);
                power *= -x * x / f64::from(n + 1);
            }
            sum * 2.0 / std::f64::consts::PI.sqrt()
        };
        let numbers: Vec<f32> = (-500..=500).map(|step| step as f32 / 100.0).collect();
        for machine in Machine::all() {
            for activation in [
                Activation::Gelu,
                Activation::GeluTanh,
                Activation::Silu,
                Activation::Relu,
            ] {
                let found = activated(machine, activation, &numbers);
                for (x, found) in numbers.iter().zip(&found) {
                    let x = f64::from(*x);
                    let tanh = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
                    let expected = match activation {
                        Activation::Gelu => 0.5 * x * (1.0 + erf(x / 2.0_f64.sqrt())),
                        Activation::GeluTanh => 0.5 * x * (1.0 + tanh.tanh()),
                        Activation::Silu => x / (1.0 + (-x).exp()),
                        Activation::Relu => x.max(0.0),
                    };
                    let error = (f64::from(*found) - expected).abs();
                    assert!(error < 2e-6, "{activation:?}({x}): {error}");
                }
                let far = activated(machine, activation, &[-1e4, 1e4]);
                assert!(far[0].abs() < 1e-6 && (far[1] - 1e4).abs() < 1e-2);
            }
        }
    }

    #[test]
    fn shifts_go_as_far_as_both() {
        let mut numbers = vec![1.0; 37];
        let shifts: Vec<f32> = (0..35).map(|x| x as f32).collect();
        Machine::detect()
            .arch
            .dispatch(Shift(&mut numbers, &shifts));
        assert_eq!((numbers[34], numbers[35]), (35.0, 1.0));
    }
}
