//! How figures look: shares as percentages, times in the unit a person would say, a dash for what is no number.

use crate::metric::JUDGE_PREFIX;
use crate::summary::Metric;

/// Stands where there is no figure.
pub(super) const NONE: &str = "–";
/// Between a number and its unit: the two stay on one line.
pub(super) const GAP: char = '\u{a0}';

/// What a figure counts, told from its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// A share of rows, shown as a percentage.
    Share,
    /// A score from 0 to 1 that is no share of anything, such as F1.
    Score,
    /// Milliseconds.
    Time,
    /// Tokens.
    Tokens,
}

impl Unit {
    /// The unit of the figure called `name`.
    pub(super) fn of(name: &str) -> Self {
        let has = |part: &str| name.split('_').any(|word| word == part);
        // A judge may be called anything.
        if name.starts_with(JUDGE_PREFIX) {
            Self::Share
        } else if has("ms") {
            Self::Time
        } else if has("tokens") {
            Self::Tokens
        } else if has("f1") || has("auc") || has("ece") {
            Self::Score
        } else {
            Self::Share
        }
    }

    /// `value` with its unit.
    pub(super) fn show(self, value: f64) -> String {
        if !value.is_finite() {
            return NONE.to_owned();
        }
        match self {
            Self::Share => format!("{}{GAP}%", tenths(100.0 * value)),
            Self::Score => format!("{value:.3}"),
            Self::Time if value < 1e3 => format!("{value:.0}{GAP}ms"),
            Self::Time if value < 1e5 => format!("{:.1}{GAP}s", value / 1e3),
            Self::Time => format!("{:.0}{GAP}s", value / 1e3),
            Self::Tokens => format!("{value:.0}"),
        }
    }

    /// The interval of `metric`, its unit said once.
    pub(super) fn range(self, metric: &Metric) -> String {
        if !metric.low.is_finite() || !metric.high.is_finite() {
            return NONE.to_owned();
        }
        let (low, high) = (self.show(metric.low), self.show(metric.high));
        match (low.split_once(GAP), high.split_once(GAP)) {
            (Some((low, unit)), Some((_, same))) if unit == same => format!("{low} to {high}"),
            _ => format!("{low} to {high}"),
        }
    }
}

/// With one decimal, and never as minus nothing.
fn tenths(value: f64) -> String {
    let shown = format!("{value:.1}");
    if shown == "-0.0" { "0.0".to_owned() } else { shown }
}

/// How many of its rows a share is.
pub(super) fn count(metric: &Metric) -> usize {
    // Rows are far fewer than 2^52, and a float that is no number becomes 0.
    (metric.value * metric.n as f64).round().max(0.0) as usize
}

/// A whole number with its digits in groups of three.
pub(super) fn whole(n: usize) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_is_told_from_the_name() {
        assert_eq!(Unit::of("attack_success"), Unit::Share);
        assert_eq!(Unit::of("verdict_ms_p95"), Unit::Time);
        assert_eq!(Unit::of("f1"), Unit::Score);
        assert_eq!(Unit::of("n_tokens_median"), Unit::Tokens);
        assert_eq!(Unit::of("attack_success_ms_f1"), Unit::Share);
    }

    #[test]
    fn figures_read_as_people_write_them() {
        assert_eq!(Unit::Share.show(0.05), "5.0\u{a0}%");
        assert_eq!(Unit::Share.show(-1e-9), "0.0\u{a0}%");
        assert_eq!(Unit::Time.show(412.4), "412\u{a0}ms");
        assert_eq!(Unit::Time.show(1_340.0), "1.3\u{a0}s");
        assert_eq!(Unit::Share.show(f64::NAN), NONE);
        let metric = Metric { value: 0.05, low: 0.017, high: 0.137, n: 60 };
        assert_eq!(Unit::Share.range(&metric), "1.7 to 13.7\u{a0}%");
        let times = Metric { value: 900.0, low: 840.0, high: 912.0, n: 9 };
        assert_eq!(Unit::Time.range(&times), "840 to 912\u{a0}ms");
        assert_eq!(Unit::Time.range(&Metric { high: 1_200.0, ..times }), "840\u{a0}ms to 1.2\u{a0}s");
        assert_eq!(count(&metric), 3);
        assert_eq!(whole(1_234_567), "1,234,567");
    }
}
