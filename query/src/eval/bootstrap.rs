//! How far a mean may be off: the bootstrap over questions (Efron, 1979).

/// Samples that are drawn.
const SAMPLES: usize = 2000;

/// Returns the bounds between which 95 % of the means of samples lie; the same on every run.
pub(super) fn interval(values: &[f64]) -> (f64, f64) {
    if values.is_empty() {
        return (0.0, 0.0);
    }
    // xorshift64* (Vigna, 2016): any fixed seed will do.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize
    };
    let count = values.len();
    let mut means: Vec<f64> = (0..SAMPLES)
        .map(|_| (0..count).map(|_| values[next() % count]).sum::<f64>() / count as f64)
        .collect();
    means.sort_by(f64::total_cmp);
    let at = |share: f64| means[((SAMPLES - 1) as f64 * share).round() as usize];
    (at(0.025), at(0.975))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_that_of_a_mean() {
        // Half ones, half zeros: the mean's standard error is 0.5 / sqrt(400).
        let values: Vec<f64> = (0..400).map(|n| f64::from(n % 2)).collect();
        let (low, high) = interval(&values);
        assert!(
            (low - 0.451).abs() < 0.01 && (high - 0.549).abs() < 0.01,
            "{low} {high}"
        );
        assert_eq!(interval(&values), (low, high));
        assert_eq!(interval(&[1.0; 5]), (1.0, 1.0));
        assert_eq!(interval(&[]), (0.0, 0.0));
    }
}
