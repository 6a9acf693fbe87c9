//! The three pivots of R2D and a reading of them.
//!
//! A reading is made of logits at a position where the runtime placed the opening of a pivot itself; text that
//! looks like a pivot is not one and has no way into this module. Source of the method: arXiv 2502.12970.

use serde::{Deserialize, Serialize};

/// The mark that closes a reasoning step and an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Pivot {
    /// Going on is harmless.
    Safe,
    /// Complying would enable harm.
    Unsafe,
    /// Suspicious or partly harmful: look again.
    Rethink,
}

impl Pivot {
    /// All pivots, in the order in which logits and probabilities are given.
    pub const ALL: [Self; 3] = [Self::Safe, Self::Unsafe, Self::Rethink];

    /// The pivot's word, without brackets.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Safe => "SAFE",
            Self::Unsafe => "UNSAFE",
            Self::Rethink => "RETHINK",
        }
    }
}

impl core::fmt::Display for Pivot {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "[{}]", self.word())
    }
}

/// The probabilities of the three pivots at one position.
///
/// `safe + unsafe + rethink` is 1 (softmax over the three logits); `mass` is the share of the model's whole
/// next-token distribution that the three hold together, so a low mass says that the model had no pivot in mind.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Reading {
    /// Probability of `[SAFE]`, 0 to 1.
    pub safe: f32,
    /// Probability of `[UNSAFE]`, 0 to 1.
    #[serde(rename = "unsafe")]
    pub unsafe_: f32,
    /// Probability of `[RETHINK]`, 0 to 1.
    pub rethink: f32,
    /// Share of the whole distribution held by the three pivots, 0 to 1.
    pub mass: f32,
}

/// The logits give no reading: one of them is not a finite number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

impl Reading {
    /// Makes probabilities of the three pivots' `logits` (order of [`Pivot::ALL`]); `log_total` is the
    /// log-sum-exp over the whole vocabulary at the same position.
    ///
    /// # Errors
    /// [`Unreadable`] when a number is NaN or infinite.
    pub fn from_logits(logits: [f32; 3], log_total: f32) -> Result<Self, Unreadable> {
        if !log_total.is_finite() || logits.iter().any(|l| !l.is_finite()) {
            return Err(Unreadable);
        }
        let top = logits[0].max(logits[1]).max(logits[2]);
        let weights = logits.map(|l| libm::expf(l - top));
        let sum: f32 = weights.iter().sum();
        let mass = (sum * libm::expf(top - log_total)).min(1.0);
        let [safe, unsafe_, rethink] = weights.map(|w| w / sum);
        Ok(Self { safe, unsafe_, rethink, mass })
    }

    /// The log-odds of UNSAFE against the two others, bounded to ±20 so that no single reading is infinite.
    #[must_use]
    pub fn unsafe_log_odds(&self) -> f32 {
        log_odds(self.unsafe_)
    }

    /// Whether all three are probabilities that add up to one; a reading from outside may not be.
    #[must_use]
    pub fn is_distribution(&self) -> bool {
        let parts = [self.safe, self.unsafe_, self.rethink];
        parts.iter().all(|p| (0.0..=1.0).contains(p)) && (parts.iter().sum::<f32>() - 1.0).abs() < 1e-3
    }
}

/// ln(p / (1 - p)), bounded to ±20.
pub(crate) fn log_odds(p: f32) -> f32 {
    (libm::logf(p) - libm::log1pf(-p)).clamp(-20.0, 20.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn equal_logits_give_equal_thirds() {
        let r = Reading::from_logits([2.0; 3], 2.0 + libm::logf(6.0)).unwrap();
        assert!((r.safe - 1.0 / 3.0).abs() < 1e-6 && (r.mass - 0.5).abs() < 1e-6, "{r:?}");
    }

    #[test]
    fn logits_that_are_no_numbers_are_unreadable() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(Reading::from_logits([0.0, bad, 0.0], 1.0), Err(Unreadable));
            assert_eq!(Reading::from_logits([0.0; 3], bad), Err(Unreadable));
        }
    }

    proptest! {
        #[test]
        fn every_reading_is_a_distribution(l in prop::array::uniform3(-200f32..200.0), rest in 0f32..100.0) {
            let top = l.iter().copied().fold(f32::MIN, f32::max);
            let r = Reading::from_logits(l, top + rest).unwrap();
            prop_assert!(r.is_distribution() && (0.0..=1.0).contains(&r.mass));
            prop_assert!(r.unsafe_log_odds().is_finite());
        }
    }
}
