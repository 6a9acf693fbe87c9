//! Medians and percentiles of times and token counts.
//!
//! Not a histogram: all values are kept. Invariant: a quantile lies between the smallest and the largest value.

use super::interval::{Interval, bootstrap};

/// The `q` quantile (0 to 1) of `values`, linear between neighbouring ranks; none when there are none.
///
/// Rank h = (n - 1) q counted from 0, value x[⌊h⌋] + (h - ⌊h⌋)(x[⌊h⌋ + 1] - x[⌊h⌋]): type 7 of Hyndman and Fan, The
/// American Statistician 50 (1996) 361-365. The median of an even count is the mean of the middle two. Values that are
/// not finite are left out.
#[must_use]
pub fn quantile(values: &[f64], q: f64) -> Option<f64> {
    let sorted = sorted(values);
    at(sorted.len(), q, |rank| sorted.get(rank).copied())
}

/// The quantile with its bootstrapped 95 % interval and the number of values.
#[must_use]
pub fn quantile_with_interval(values: &[f64], q: f64) -> Option<(f64, Interval, usize)> {
    let sorted = sorted(values);
    let n = sorted.len();
    let estimate = at(n, q, |rank| sorted.get(rank).copied())?;
    let mut counts = vec![0_usize; n];
    let interval = bootstrap(n, estimate, |indices| {
        counts.fill(0);
        for &i in indices {
            if let Some(count) = counts.get_mut(i) {
                *count += 1;
            }
        }
        // Indices into sorted values: counting them sorts the resample.
        at(n, q, |rank| {
            let mut seen = 0;
            let place = counts.iter().position(|&count| {
                seen += count;
                seen > rank
            })?;
            sorted.get(place).copied()
        })
    })?;
    Some((estimate, interval, n))
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted
}

/// The `q` quantile of `n` values that `value` gives by rank.
fn at(n: usize, q: f64, value: impl Fn(usize) -> Option<f64>) -> Option<f64> {
    let last = n.checked_sub(1)?;
    let h = last as f64 * q.clamp(0.0, 1.0);
    let below = (h.floor() as usize).min(last);
    let low = value(below)?;
    let part = h - h.floor();
    if part == 0.0 {
        return Some(low);
    }
    let high = value(below + 1)?;
    Some((low + part * (high - low)).clamp(low, high))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quantiles_are_what_counting_gives() {
        assert_eq!(quantile(&[4.0, 1.0, 3.0, 2.0], 0.5), Some(2.5));
        assert_eq!(quantile(&[5.0, 1.0, 3.0], 0.5), Some(3.0));
        // Rank 19 · 0.95 = 18.05 counted from 0: 19 + 0.05.
        let to_twenty: Vec<f64> = (1..=20).map(f64::from).collect();
        assert!((quantile(&to_twenty, 0.95).unwrap() - 19.05).abs() < 1e-12);
        assert_eq!(quantile(&[7.0], 0.95), Some(7.0));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn values_that_are_no_numbers_are_left_out() {
        assert_eq!(quantile(&[f64::NAN, 2.0, f64::INFINITY], 0.5), Some(2.0));
        assert_eq!(quantile_with_interval(&[f64::NAN], 0.5), None);
    }

    proptest! {
        #[test]
        fn a_quantile_lies_in_its_interval_and_among_its_values(
            values in prop::collection::vec(0.0f64..1e6, 1..40), q in 0.0f64..=1.0,
        ) {
            let (value, interval, n) = quantile_with_interval(&values, q).unwrap();
            let low = values.iter().copied().fold(f64::MAX, f64::min);
            let high = values.iter().copied().fold(f64::MIN, f64::max);
            prop_assert!(low <= interval.low && interval.low <= value && value <= interval.high);
            prop_assert!(interval.high <= high && n == values.len());
        }

        #[test]
        fn quantiles_rise_with_their_level(values in prop::collection::vec(-1e3f64..1e3, 1..40), q in 0.0f64..0.9) {
            prop_assert!(quantile(&values, q) <= quantile(&values, q + 0.1));
        }
    }
}
