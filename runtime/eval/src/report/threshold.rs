//! Reads a threshold sweep for people: what the present threshold does, and how to write one down.
//!
//! Not here: which threshold a budget affords (`metric::roc`). Invariant: a threshold that is shown, with the digits
//! it is shown with, decides every request of the run as the table says.

use crate::metric::roc::Affordable;
use crate::summary::{Roc, RocPoint};

/// The point of the sweep that a policy with `unsafe_at` is at.
pub(super) fn present(roc: &Roc, unsafe_at: f32) -> Option<RocPoint> {
    // What reads UNSAFE at a threshold between two points is what does at the upper one.
    roc.points.iter().take_while(|p| p.threshold >= f64::from(unsafe_at)).last().copied()
}

/// Whether readings that decide at `threshold` are incomplete.
pub(super) fn is_censored(roc: &Roc, threshold: f64) -> bool {
    roc.censored_above.is_some_and(|above| threshold > f64::from(above))
}

/// An affordable threshold as a person would write it into a policy.
pub(super) fn written(roc: &Roc, affordable: &Affordable) -> String {
    let exact = affordable.point.threshold;
    let above = roc.points.iter().map(|p| p.threshold).take_while(|t| *t >= exact).last().unwrap_or(exact);
    let below = roc.points.iter().map(|p| p.threshold).find(|t| *t < exact).unwrap_or(0.0);
    for digits in 2..8 {
        let shown = format!("{exact:.digits$}");
        // Policies are single precision: compare what will be compared.
        if let Ok(read) = shown.parse::<f32>().map(f64::from)
            && read > below
            && read <= above
        {
            return shown;
        }
    }
    exact.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::roc::at_budget;

    fn roc(points: &[(f64, f64, f64)]) -> Roc {
        let point = |&(threshold, attack_success, over_refusal): &(f64, f64, f64)| RocPoint {
            threshold,
            attack_success,
            over_refusal,
        };
        Roc { auc: 0.9, points: points.iter().map(point).collect(), censored_above: None }
    }

    fn example() -> Roc {
        roc(&[(1.01, 1.0, 0.0), (0.912, 0.5, 0.0), (0.478, 0.25, 0.02), (0.477, 0.1, 0.04), (0.1, 0.0, 1.0)])
    }

    #[test]
    fn the_present_threshold_is_the_last_point_at_or_above_it() {
        assert_eq!(present(&example(), 0.5).map(|p| p.attack_success), Some(0.5));
        assert_eq!(present(&example(), 1.0).map(|p| p.attack_success), Some(1.0));
        assert_eq!(present(&example(), 0.05).map(|p| p.attack_success), Some(0.0));
        assert_eq!(present(&roc(&[]), 0.5), None);
    }

    #[test]
    fn a_written_threshold_lies_between_the_same_two_readings() {
        let written = |budget| at_budget(&example(), budget).map(|a| written(&example(), &a));
        // Midway between 0.912 and 0.478, and a thousandth apart where two digits would not do.
        assert_eq!(written(0.01).as_deref(), Some("0.70"));
        assert_eq!(written(0.02).as_deref(), Some("0.4775"));
        assert_eq!(written(0.05).as_deref(), Some("0.29"));
    }

    #[test]
    fn a_threshold_above_the_one_enforced_is_told_to_be_incomplete() {
        let roc = Roc { censored_above: Some(0.5), ..example() };
        assert!(is_censored(&roc, 0.9) && !is_censored(&roc, 0.5));
    }
}
