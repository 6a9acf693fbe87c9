//! Two runs on the same items: McNemar's test and the interval of the difference.
//!
//! Not here: which items pair (`compare`). Invariant: only pairs with different outcomes speak; those that agree
//! widen nothing and decide nothing but the difference's scale.

use super::interval::{Interval, bootstrap, wilson};
use serde::{Deserialize, Serialize};

/// McNemar's test of two shares over the same rows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct McNemar {
    /// Pairs where the first has the outcome and the second does not.
    pub b: usize,
    /// Pairs where the second has it and the first does not.
    pub c: usize,
    /// Two-sided exact p-value, 0 to 1: how often chance alone would split b + c at least as unevenly.
    pub p: f64,
    /// The same with half of the observed split's own probability taken off each side. The exact test is
    /// conservative; this one is close to its nominal level.
    pub p_mid: f64,
}

/// McNemar's exact conditional test: b out of b + c is Binomial(b + c, 1/2) when neither is better.
///
/// With n = b + c and m = min(b, c): p = min(1, 2 Σ_{k ≤ m} C(n, k) / 2^n), and 1 when b = c;
/// p_mid = p - C(n, m) / 2^n, and 1 - C(n, m) / 2^(n+1) when b = c. Source: McNemar, Psychometrika 12 (1947) 153-157;
/// Fagerland, Lydersen and Laake, BMC Medical Research Methodology 13 (2013) 91.
#[must_use]
pub fn mcnemar(b: usize, c: usize) -> McNemar {
    let (n, m) = (b + c, b.min(c));
    if n == 0 {
        return McNemar { b, c, p: 1.0, p_mid: 1.0 };
    }
    let at_m = half_binomial(n, m);
    if b == c {
        return McNemar { b, c, p: 1.0, p_mid: 1.0 - at_m / 2.0 };
    }
    // Downwards from m: C(n, k - 1) = C(n, k) · k / (n - k + 1).
    let mut term = at_m;
    let mut tail = 0.0;
    for k in (0..=m).rev() {
        tail += term;
        term *= k as f64 / (n - k + 1) as f64;
    }
    let p = (2.0 * tail).min(1.0);
    McNemar { b, c, p, p_mid: (p - at_m).max(0.0) }
}

/// C(n, m) / 2^n. Halvings are spread over the product: taken all at once they would underflow, and so would the
/// product overflow.
fn half_binomial(n: usize, m: usize) -> f64 {
    let mut product = 1.0_f64;
    let mut halvings = n;
    for i in 1..=m {
        product *= (n - m + i) as f64 / i as f64;
        while product > 1.0 && halvings > 0 {
            product /= 2.0;
            halvings -= 1;
        }
    }
    product * 0.5_f64.powi(i32::try_from(halvings).unwrap_or(i32::MAX))
}

/// A difference of two shares over the same rows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// The first share, 0 to 1.
    pub a: f64,
    /// The second share, 0 to 1.
    pub b: f64,
    /// Second minus first, -1 to 1.
    pub difference: f64,
    /// Its 95 % interval.
    pub interval: Interval,
    /// Pairs.
    pub n: usize,
    /// The test of it.
    pub test: McNemar,
}

/// Compares the outcomes of `pairs` (first, second); none when there are none.
///
/// The interval is the percentile bootstrap over pairs, which keeps what the two have in common; where no pair differs,
/// Wilson's upper end of 0 in n to both sides.
#[must_use]
pub fn difference(pairs: &[(bool, bool)]) -> Option<Difference> {
    let n = pairs.len();
    if n == 0 {
        return None;
    }
    let share = |k: usize| k as f64 / n as f64;
    let count = |of: fn(&(bool, bool)) -> bool| pairs.iter().filter(|p| of(p)).count();
    let (a, b) = (share(count(|p| p.0)), share(count(|p| p.1)));
    let test = mcnemar(count(|p| p.0 && !p.1), count(|p| !p.0 && p.1));
    let gains: Vec<i32> = pairs.iter().map(|p| i32::from(p.1) - i32::from(p.0)).collect();
    // Counted whole and divided once: a minus b would carry the rounding of both.
    let mean = |sum: i32| f64::from(sum) / n as f64;
    let difference = mean(gains.iter().sum());
    let resampled =
        bootstrap(n, difference, |indices| Some(mean(indices.iter().filter_map(|&i| gains.get(i)).sum())));
    let interval = if gains.iter().all(|&gain| gain == 0) {
        // No pair differs, and resampling finds none either: up to so many of all pairs may still do so.
        let unseen = wilson(0, n).high;
        Interval { low: -unseen, high: unseen }
    } else {
        resampled.unwrap_or(Interval { low: -1.0, high: 1.0 })
    };
    Some(Difference { a, b, difference, interval, n, test })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn published_tests_are_met() {
        // Armitage and Berry 1994, p. 127: two media for culturing tubercle bacilli, 12 and 2 discordant specimens;
        // exact two-sided P 0.0129.
        let culture = mcnemar(12, 2);
        assert!((culture.p - 0.0129).abs() < 5e-5, "{culture:?}");
        // Bentur et al., in Fagerland et al. 2013: airway hyper-responsiveness in 21 children, 1 and 7 discordant; exact
        // p 0.0703, mid-p 0.0391.
        let airway = mcnemar(1, 7);
        assert!((airway.p - 0.0703).abs() < 5e-5 && (airway.p_mid - 0.0391).abs() < 5e-5, "{airway:?}");
    }

    #[test]
    fn small_tests_are_what_counting_gives() {
        // 2 · (1 + 14 + 91) / 2^14 and less by 91 / 2^14.
        let found = mcnemar(2, 12);
        assert_eq!((found.p, found.p_mid), (212.0 / 16384.0, (212.0 - 91.0) / 16384.0));
        assert_eq!((mcnemar(0, 0).p, mcnemar(5, 5).p, mcnemar(0, 1).p), (1.0, 1.0, 1.0));
        assert_eq!(mcnemar(0, 6).p, 2.0 / 64.0);
        assert_eq!(mcnemar(1, 1).p_mid, 0.75);
    }

    #[test]
    fn large_counts_neither_overflow_nor_underflow_early() {
        let even = mcnemar(50_000, 50_001);
        assert!((even.p - 1.0).abs() < 1e-9, "{even:?}");
        // Normal approximation with continuity: z = (|b - c| - 1) / √(b + c) = 3.15 gives 0.0016.
        let found = mcnemar(4_841, 5_157);
        assert!((found.p - 0.00163).abs() < 2e-5, "{found:?}");
        assert_eq!(mcnemar(0, 5_000).p, 0.0);
    }

    #[test]
    fn a_difference_is_what_counting_gives() {
        let mut pairs = vec![(true, true); 3];
        pairs.extend([(true, false); 4]);
        pairs.extend([(false, true); 1]);
        pairs.extend([(false, false); 2]);
        let found = difference(&pairs).unwrap();
        assert_eq!((found.a, found.b, found.difference, found.n), (0.7, 0.4, -0.3, 10));
        assert_eq!((found.test.b, found.test.c, found.test.p), (4, 1, 12.0 / 32.0));
        assert!(found.interval.low < -0.3 && found.interval.high > -0.3);
    }

    #[test]
    fn two_equal_runs_differ_by_nothing_as_far_as_three_pairs_can_tell() {
        let found = difference(&[(true, true), (false, false), (true, true)]).unwrap();
        // Wilson's upper end of 0 in 3: z² / (3 + z²).
        let unseen = 3.841_458_820_694_124 / 6.841_458_820_694_124;
        assert_eq!(found.difference, 0.0);
        assert!((found.interval.high - unseen).abs() < 1e-6 && (found.interval.low + unseen).abs() < 1e-6);
        assert_eq!(difference(&[]), None);
    }

    proptest! {
        #[test]
        fn a_test_is_a_probability_and_takes_no_side(b in 0usize..3000, c in 0usize..3000) {
            let (found, swapped) = (mcnemar(b, c), mcnemar(c, b));
            prop_assert!(0.0 <= found.p_mid && found.p_mid <= found.p && found.p <= 1.0);
            prop_assert_eq!((found.p, found.p_mid), (swapped.p, swapped.p_mid));
        }

        #[test]
        fn a_more_uneven_split_is_less_likely(b in 0usize..200, c in 0usize..200) {
            let (low, high) = (b.min(c), b.max(c));
            if low > 0 {
                prop_assert!(mcnemar(low - 1, high + 1).p <= mcnemar(low, high).p);
            }
        }

        #[test]
        fn a_difference_lies_in_its_interval_and_turns_its_sign(
            pairs in prop::collection::vec((any::<bool>(), any::<bool>()), 1..60),
        ) {
            let found = difference(&pairs).unwrap();
            prop_assert!(found.interval.low <= found.difference && found.difference <= found.interval.high);
            prop_assert!(-1.0 <= found.interval.low && found.interval.high <= 1.0);
            let swapped: Vec<_> = pairs.iter().map(|p| (p.1, p.0)).collect();
            prop_assert_eq!(difference(&swapped).unwrap().difference, -found.difference);
        }
    }
}
