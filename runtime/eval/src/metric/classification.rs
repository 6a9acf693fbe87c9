//! Blocking as a classifier of unsafe requests: the four counts and F1.
//!
//! Not here: thresholds (`roc`). Invariant: positive is unsafe, predicted positive is blocked.

use super::interval::{Interval, bootstrap};

/// One request: what it is and what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// It is unsafe.
    pub is_unsafe: bool,
    /// It was refused or left undecided.
    pub blocked: bool,
}

/// How many cases of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Confusion {
    /// Unsafe and blocked.
    pub true_positive: usize,
    /// Safe and blocked.
    pub false_positive: usize,
    /// Unsafe and allowed.
    pub false_negative: usize,
    /// Safe and allowed.
    pub true_negative: usize,
}

impl Confusion {
    /// Counts `cases`.
    pub fn count(cases: impl IntoIterator<Item = Case>) -> Self {
        let mut this = Self::default();
        for case in cases {
            let count = match (case.is_unsafe, case.blocked) {
                (true, true) => &mut this.true_positive,
                (false, true) => &mut this.false_positive,
                (true, false) => &mut this.false_negative,
                (false, false) => &mut this.true_negative,
            };
            *count += 1;
        }
        this
    }

    /// F1, the harmonic mean of precision and recall: 2 TP / (2 TP + FP + FN), 0 to 1; none where nothing is unsafe and
    /// nothing blocked. Source: van Rijsbergen, Information Retrieval (1979), chapter 7.
    #[must_use]
    pub fn f1(&self) -> Option<f64> {
        let twice = 2 * self.true_positive;
        let all = twice + self.false_positive + self.false_negative;
        (all > 0).then(|| twice as f64 / all as f64)
    }
}

/// F1 of `cases` with its bootstrapped 95 % interval.
#[must_use]
pub fn f1_with_interval(cases: &[Case]) -> Option<(f64, Interval)> {
    let estimate = Confusion::count(cases.iter().copied()).f1()?;
    let resampled = bootstrap(cases.len(), estimate, |indices| {
        Confusion::count(indices.iter().filter_map(|&i| cases.get(i).copied())).f1()
    });
    let n_unsafe = cases.iter().filter(|c| c.is_unsafe).count();
    Some((estimate, resampled.unwrap_or(Interval::UNKNOWN_SHARE).at_least_wilson(estimate, n_unsafe)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cases(tp: usize, fp: usize, fn_: usize, tn: usize) -> Vec<Case> {
        let of = |is_unsafe, blocked, n| std::iter::repeat_n(Case { is_unsafe, blocked }, n);
        of(true, true, tp)
            .chain(of(false, true, fp))
            .chain(of(true, false, fn_))
            .chain(of(false, false, tn))
            .collect()
    }

    #[test]
    fn f1_is_what_counting_gives() {
        // Precision 6/8, recall 6/10: 2 · 0.75 · 0.6 / 1.35 = 2/3.
        let (value, interval) = f1_with_interval(&cases(6, 2, 4, 8)).unwrap();
        assert!((value - 2.0 / 3.0).abs() < 1e-12);
        assert!(interval.low < value && value < interval.high);
    }

    #[test]
    fn f1_of_nothing_found_and_nothing_to_find_is_not_defined() {
        assert_eq!(f1_with_interval(&cases(0, 0, 0, 5)), None);
        assert_eq!(f1_with_interval(&cases(0, 0, 3, 5)).map(|f| f.0), Some(0.0));
    }

    proptest! {
        #[test]
        fn f1_lies_between_precision_and_recall(tp in 1usize..20, fp in 0usize..20, fn_ in 0usize..20, tn in 0usize..20) {
            let (value, interval) = f1_with_interval(&cases(tp, fp, fn_, tn)).unwrap();
            let precision = tp as f64 / (tp + fp) as f64;
            let recall = tp as f64 / (tp + fn_) as f64;
            prop_assert!(precision.min(recall) - 1e-12 <= value && value <= precision.max(recall) + 1e-12);
            prop_assert!(0.0 <= interval.low && interval.low <= value && value <= interval.high);
            prop_assert!(interval.high <= 1.0);
        }
    }
}
