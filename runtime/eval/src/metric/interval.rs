//! 95 % intervals: Wilson's for shares, the percentile bootstrap for everything else.
//!
//! Rows are taken as independent draws; where they are not (the two halves of a contrast pair, one request under many
//! wrappers) the true uncertainty is larger. Not here: tests of a difference (`paired`). Invariants: an interval
//! contains its estimate, and the same rows in the same order give the same interval on every machine.

use serde::{Deserialize, Serialize};

/// The 97.5th percentile of the normal distribution, for two-sided 95 %.
const Z: f64 = 1.959_963_984_540_054;

/// Resamples of a bootstrap.
pub const N_RESAMPLES: usize = 2000;

/// Where every bootstrap's random numbers begin. One value for all, so that figures of the same rows share resamples.
const SEED: u64 = 0x5232_445F_4556_414C;

/// A 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Interval {
    /// All that a share can be: nothing is known.
    pub const UNKNOWN_SHARE: Self = Self { low: 0.0, high: 1.0 };
}

/// Wilson's score interval, without continuity correction, for `k` of `n`; [`Interval::UNKNOWN_SHARE`] when `n` is 0.
///
/// With p = k/n and z = 1.96: (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n). Source: Wilson, Journal of the
/// American Statistical Association 22 (1927) 209-212; method 3 of Newcombe, Statistics in Medicine 17 (1998) 857-872.
/// It keeps its coverage where shares are near 0 or 1, as attack success should be.
#[must_use]
pub fn wilson(k: usize, n: usize) -> Interval {
    if n == 0 {
        return Interval::UNKNOWN_SHARE;
    }
    let n = n as f64;
    let p = (k as f64 / n).min(1.0);
    let z2 = Z * Z;
    let centre = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt() / (1.0 + z2 / n);
    // At 0 and n the ends meet the estimate exactly in theory and nearly in floating point.
    Interval { low: (centre - half).max(0.0).min(p), high: (centre + half).min(1.0).max(p) }
}

/// Percentile bootstrap of a figure of `n` rows: `statistic` is given the indices of each resample, drawn with
/// replacement, and says none where the figure is not defined (no unsafe row among them, say); such resamples are
/// left out. None when there is no other.
///
/// The ends are the nearest-rank 2.5th and 97.5th percentiles of [`N_RESAMPLES`] resamples. Source: Efron and
/// Tibshirani, An Introduction to the Bootstrap (1993), chapter 13. A figure with a bias, such as a calibration error,
/// can lie outside of its own percentiles: the interval is then widened to hold `estimate`.
pub fn bootstrap(
    n: usize,
    estimate: f64,
    mut statistic: impl FnMut(&[usize]) -> Option<f64>,
) -> Option<Interval> {
    if n == 0 {
        return None;
    }
    let mut random = SplitMix64::new(SEED);
    let mut indices = vec![0; n];
    let mut found: Vec<f64> = (0..N_RESAMPLES)
        .filter_map(|_| {
            indices.fill_with(|| random.below(n));
            statistic(&indices).filter(|f| f.is_finite())
        })
        .collect();
    found.sort_unstable_by(f64::total_cmp);
    // Nearest rank in thousandths, so that no rounding decides which resample is the end.
    let rank = |per_mille: usize| (found.len() * per_mille).div_ceil(1000).saturating_sub(1);
    let (low, high) = (*found.get(rank(25))?, *found.get(rank(975))?);
    Some(Interval { low: low.min(estimate), high: high.max(estimate) })
}

impl Interval {
    /// This interval, widened where Wilson's for the share `share` of `n` rows reaches further.
    ///
    /// A bootstrap of few or perfect rows has no width, which says nothing of what it does not know.
    #[must_use]
    pub fn at_least_wilson(self, share: f64, n: usize) -> Self {
        let k = (share.clamp(0.0, 1.0) * n as f64).round() as usize;
        let other = wilson(k.min(n), n);
        Self { low: self.low.min(other.low), high: self.high.max(other.high) }
    }
}

/// A small generator of random numbers: not for secrets.
///
/// Source: Steele, Lea and Flood, Fast splittable pseudorandom number generators, OOPSLA 2014; constants of Vigna's
/// `splitmix64.c` (public domain, prng.di.unimi.it).
#[derive(Clone, Debug)]
pub struct SplitMix64 {
    state: u64,
}

impl SplitMix64 {
    /// A generator that always gives the same numbers for the same `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next 64 bits.
    pub const fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number under `n`, which must not be 0 (0 is given then). Multiply and shift: the bias is under n / 2^64.
    pub fn below(&mut self, n: usize) -> usize {
        let wide = u128::from(self.draw()) * n as u128;
        usize::try_from(wide >> 64).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mean(values: &[f64], indices: &[usize]) -> f64 {
        indices.iter().map(|&i| values[i]).sum::<f64>() / indices.len() as f64
    }

    #[test]
    fn wilson_intervals_are_those_that_newcombe_published() {
        // Newcombe 1998, table I, method 3 (score, uncorrected).
        let published = [
            (81, 263, 0.2553, 0.3662),
            (15, 148, 0.0624, 0.1605),
            (0, 20, 0.0000, 0.1611),
            (1, 29, 0.0061, 0.1718),
        ];
        for (k, n, low, high) in published {
            let found = wilson(k, n);
            assert!((found.low - low).abs() < 5e-5 && (found.high - high).abs() < 5e-5, "{k}/{n}: {found:?}");
        }
    }

    #[test]
    fn nothing_out_of_nothing_says_nothing() {
        assert_eq!(wilson(0, 0), Interval::UNKNOWN_SHARE);
        assert_eq!(bootstrap(0, 0.0, |_| Some(1.0)), None);
        assert_eq!(bootstrap(3, 0.0, |_| None), None);
    }

    #[test]
    fn the_generator_gives_the_reference_sequence() {
        // The five numbers that the reference implementation gives for this seed.
        let mut random = SplitMix64::new(1_234_567);
        let reference = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ];
        assert_eq!(reference.map(|_| random.draw()), reference);
    }

    #[test]
    fn a_bootstrapped_share_is_near_its_wilson_interval() {
        let values: Vec<f64> = (0..400).map(|i| f64::from(u8::from(i % 5 == 0))).collect();
        let found = bootstrap(400, 0.2, |i| Some(mean(&values, i))).unwrap();
        let exact = wilson(80, 400);
        assert!((found.low - exact.low).abs() < 0.01 && (found.high - exact.high).abs() < 0.01, "{found:?}");
    }

    #[test]
    fn an_interval_is_widened_to_hold_a_biased_estimate() {
        assert_eq!(bootstrap(5, 0.1, |_| Some(0.5)), Some(Interval { low: 0.1, high: 0.5 }));
    }

    #[test]
    fn resamples_without_the_figure_are_left_out() {
        // With two rows, one in four resamples holds no row 0.
        let found = bootstrap(2, 1.0, |i| i.contains(&0).then_some(1.0)).unwrap();
        assert_eq!(found, Interval { low: 1.0, high: 1.0 });
    }

    #[test]
    fn an_interval_without_width_is_widened_to_wilsons() {
        let perfect = Interval { low: 1.0, high: 1.0 }.at_least_wilson(1.0, 2);
        assert_eq!(perfect, wilson(2, 2));
        let wide = Interval { low: 0.1, high: 0.9 };
        assert_eq!(wide.at_least_wilson(0.5, 1000), wide);
    }

    proptest! {
        #[test]
        fn wilson_contains_its_estimate_stays_a_share_and_shrinks(k in 0usize..2000, more in 0usize..2000) {
            let n = (k + more).max(1);
            let k = k.min(n);
            let found = wilson(k, n);
            let p = k as f64 / n as f64;
            prop_assert!(0.0 <= found.low && found.low <= p && p <= found.high && found.high <= 1.0);
            let larger = wilson(4 * k, 4 * n);
            prop_assert!(larger.high - larger.low < found.high - found.low);
        }

        #[test]
        fn wilson_is_symmetric(k in 0usize..500, more in 1usize..500) {
            let (one, other) = (wilson(k, k + more), wilson(more, k + more));
            prop_assert!((one.low - (1.0 - other.high)).abs() < 1e-12);
        }

        #[test]
        fn a_bootstrap_contains_its_estimate_and_repeats(values in prop::collection::vec(0.0f64..1.0, 1..40)) {
            let all: Vec<usize> = (0..values.len()).collect();
            let estimate = mean(&values, &all);
            let run = || bootstrap(values.len(), estimate, |i| Some(mean(&values, i))).unwrap();
            let found = run();
            prop_assert!(found.low <= estimate && estimate <= found.high);
            prop_assert!(0.0 <= found.low && found.high <= 1.0);
            prop_assert_eq!(found, run());
        }

        #[test]
        fn every_index_is_in_range(seed: u64, n in 1usize..1000) {
            let mut random = SplitMix64::new(seed);
            prop_assert!((0..100).all(|_| random.below(n) < n));
        }
    }
}
