//! How readings become pivots: thresholds and budgets as data, judging as a pure function.
//!
//! Not here: what happens after a judgement (the engine's generation machine does that). Invariant: SAFE is
//! never the answer to doubt. A reading below every threshold is RETHINK, one that is not a distribution is
//! unreadable.

use crate::pivot::{Pivot, Reading, Unreadable};
use serde::{Deserialize, Serialize};

/// How much the model reasons before it answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Depth {
    /// Steps until the model closes its reasoning or the budget is spent.
    #[default]
    Full,
    /// One step.
    Brief,
    /// No step: the pivot on the bare request alone (R2D-n).
    None,
}

/// Whether verdicts bind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Mode {
    /// What did not pass is withheld.
    #[default]
    Enforce,
    /// Everything is judged and recorded, nothing is withheld: for trying a policy on real traffic.
    Shadow,
}

/// Which function of all readings decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Combine {
    /// The highest UNSAFE probability of any reading.
    #[default]
    Maximum,
    /// sigmoid(bias + request_weight · log-odds(request) + step_weight · max log-odds(steps)).
    Weighted,
}

/// What a RETHINK does with the step it closes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum OnRethink {
    /// The step stays and the next one looks again.
    #[default]
    Continue,
    /// The step is taken back and written anew, its first token barred.
    Rollback,
}

/// Whose words a refusal uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum RefusalKind {
    /// The site's fixed sentence.
    #[default]
    Fixed,
    /// The model's own, checked like any answer; the fixed sentence if it does not pass.
    Model,
}

/// Which requests a person is asked to decide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Review {
    /// None: undecided stays undecided.
    #[default]
    None,
    /// Those that the model read and left undecided.
    Undecided,
}

/// Thresholds, budgets and modes of one site.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Policy {
    /// How much reasoning.
    pub depth: Depth,
    /// Whether verdicts bind.
    pub mode: Mode,
    /// Which function of the readings decides.
    pub combine: Combine,
    /// Weight of the bare request's log-odds (`combine = "weighted"`).
    pub request_weight: f32,
    /// Weight of the most suspicious step's log-odds (`combine = "weighted"`).
    pub step_weight: f32,
    /// Added to the weighted log-odds.
    pub bias: f32,
    /// UNSAFE at or above this probability.
    pub unsafe_at: f32,
    /// RETHINK at or above this probability.
    pub rethink_at: f32,
    /// SAFE only at or above this probability.
    pub safe_at: f32,
    /// A reading whose pivots hold less than this share of the distribution is unreadable.
    pub min_mass: f32,
    /// How many RETHINKs a request may spend.
    pub second_looks: u8,
    /// What a RETHINK does with its step.
    pub on_rethink: OnRethink,
    /// Most reasoning steps.
    pub max_steps: u16,
    /// Most tokens of a step, its pivot not counted.
    pub max_step_tokens: u16,
    /// Most tokens of an answer.
    pub max_answer_tokens: u16,
    /// A segment is not probed at a sentence's end before it has this many tokens.
    pub segment_min_tokens: u16,
    /// A segment is probed at the latest after this many tokens.
    pub segment_max_tokens: u16,
    /// Most time for a request from its start, in milliseconds.
    pub deadline_ms: u32,
    /// Whose words a refusal uses.
    pub refusal: RefusalKind,
    /// Which requests a person is asked to decide.
    #[serde(default)]
    pub review: Review,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            depth: Depth::Full,
            mode: Mode::Enforce,
            combine: Combine::Maximum,
            request_weight: 1.0,
            step_weight: 1.0,
            bias: 0.0,
            unsafe_at: 0.5,
            rethink_at: 0.5,
            safe_at: 0.5,
            min_mass: 0.5,
            second_looks: 2,
            on_rethink: OnRethink::Continue,
            max_steps: 6,
            max_step_tokens: 64,
            max_answer_tokens: 256,
            segment_min_tokens: 24,
            segment_max_tokens: 64,
            deadline_ms: 60_000,
            refusal: RefusalKind::Fixed,
            review: Review::None,
        }
    }
}

/// What the readings of one request say so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Evidence {
    request: Option<Reading>,
    worst_step: Option<f32>,
}

impl Evidence {
    /// Keeps the reading of the bare request.
    pub fn add_request(&mut self, reading: Reading) {
        self.request = Some(reading);
    }

    /// Keeps a step's reading.
    pub fn add_step(&mut self, reading: Reading) {
        let odds = reading.unsafe_log_odds();
        self.worst_step = Some(self.worst_step.map_or(odds, |w| w.max(odds)));
    }
}

impl Policy {
    /// The probability of UNSAFE that follows from all of `evidence`; 1 when there is none.
    #[must_use]
    pub fn unsafe_probability(&self, evidence: &Evidence) -> f32 {
        let request = evidence.request.map(|r| r.unsafe_log_odds());
        let (Some(any), worst) = (request.or(evidence.worst_step), evidence.worst_step) else {
            return 1.0;
        };
        let odds = match self.combine {
            Combine::Maximum => request.unwrap_or(any).max(worst.unwrap_or(any)),
            Combine::Weighted => {
                self.bias
                    + self.request_weight * request.unwrap_or(0.0)
                    + self.step_weight * worst.unwrap_or(0.0)
            }
        };
        sigmoid(odds)
    }

    /// Judges the newest reading, `reading`, in the light of all `evidence` (which holds it already).
    ///
    /// With [`Combine::Weighted`] the combined probability takes the place of the reading's own UNSAFE, and the
    /// two others share the rest as they did before.
    ///
    /// # Errors
    /// [`Unreadable`] when the reading is not a distribution or its mass is under `min_mass`.
    pub fn judge_with(&self, reading: &Reading, evidence: &Evidence) -> Result<Pivot, Unreadable> {
        match self.combine {
            Combine::Maximum => self.judge(reading),
            Combine::Weighted => {
                let p = self.unsafe_probability(evidence);
                let rest = (reading.safe + reading.rethink).max(f32::MIN_POSITIVE);
                let scale = (1.0 - p) / rest;
                let adjusted = Reading {
                    safe: reading.safe * scale,
                    unsafe_: p,
                    rethink: reading.rethink * scale,
                    mass: reading.mass,
                };
                // A reading that was all UNSAFE leaves nothing to scale: the rest is then doubt.
                let doubt = 1.0 - adjusted.safe - adjusted.unsafe_;
                self.judge(&Reading { rethink: doubt.clamp(0.0, 1.0), ..adjusted })
            }
        }
    }

    /// Judges one reading by itself: of an answer segment, say.
    ///
    /// # Errors
    /// [`Unreadable`] when the reading is not a distribution or its mass is under `min_mass`.
    pub fn judge(&self, reading: &Reading) -> Result<Pivot, Unreadable> {
        let legible = reading.is_distribution() && reading.mass >= self.min_mass;
        if !legible {
            return Err(Unreadable);
        }
        Ok(if reading.unsafe_ >= self.unsafe_at {
            Pivot::Unsafe
        } else if reading.rethink >= self.rethink_at {
            Pivot::Rethink
        } else if reading.safe >= self.safe_at {
            Pivot::Safe
        } else {
            Pivot::Rethink
        })
    }

    /// The first field that is out of its range, with what it may be.
    ///
    /// # Errors
    /// The field's name and its range as text.
    pub fn check(&self) -> Result<(), (&'static str, &'static str)> {
        let share = |p: f32| (0.0..=1.0).contains(&p);
        let finite = [self.request_weight, self.step_weight, self.bias].iter().all(|w| w.is_finite());
        match () {
            () if !share(self.unsafe_at) || self.unsafe_at == 0.0 => Err(("unsafe_at", "above 0, at most 1")),
            () if !share(self.rethink_at) => Err(("rethink_at", "0 to 1")),
            // Below a third a reading could be SAFE without SAFE being the likeliest.
            () if !share(self.safe_at) || self.safe_at <= 1.0 / 3.0 => {
                Err(("safe_at", "above 1/3, at most 1"))
            }
            () if !share(self.min_mass) => Err(("min_mass", "0 to 1")),
            () if !finite => Err(("request_weight, step_weight, bias", "finite numbers")),
            () if self.max_steps == 0 => Err(("max_steps", "at least 1")),
            () if self.max_step_tokens == 0 => Err(("max_step_tokens", "at least 1")),
            () if self.max_answer_tokens == 0 => Err(("max_answer_tokens", "at least 1")),
            () if self.segment_min_tokens == 0 => Err(("segment_min_tokens", "at least 1")),
            () if self.segment_max_tokens < self.segment_min_tokens => {
                Err(("segment_max_tokens", "at least segment_min_tokens"))
            }
            () if self.deadline_ms == 0 => Err(("deadline_ms", "at least 1")),
            () => Ok(()),
        }
    }
}

/// Probability of log-odds.
fn sigmoid(odds: f32) -> f32 {
    1.0 / (1.0 + libm::expf(-odds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pivot::log_odds;
    use proptest::prelude::*;

    fn reading(safe: f32, unsafe_: f32) -> Reading {
        Reading { safe, unsafe_, rethink: 1.0 - safe - unsafe_, mass: 1.0 }
    }

    #[test]
    fn thresholds_are_read_in_the_order_unsafe_rethink_safe() {
        let p = Policy::default();
        assert_eq!(p.judge(&reading(0.5, 0.5)), Ok(Pivot::Unsafe));
        assert_eq!(p.judge(&reading(0.5, 0.0)), Ok(Pivot::Rethink));
        assert_eq!(p.judge(&reading(0.6, 0.1)), Ok(Pivot::Safe));
    }

    #[test]
    fn a_reading_below_every_threshold_is_looked_at_again() {
        assert_eq!(Policy::default().judge(&reading(0.4, 0.3)), Ok(Pivot::Rethink));
    }

    #[test]
    fn what_is_no_distribution_is_unreadable() {
        let p = Policy::default();
        for bad in [f32::NAN, -0.1, 1.5] {
            assert_eq!(
                p.judge(&Reading { safe: bad, unsafe_: 0.0, rethink: 0.0, mass: 1.0 }),
                Err(Unreadable)
            );
        }
        let faint = Policy { min_mass: 0.01, ..p };
        assert_eq!(faint.judge(&Reading { mass: 0.001, ..reading(0.9, 0.05) }), Err(Unreadable));
    }

    #[test]
    fn no_evidence_is_unsafe() {
        for combine in [Combine::Maximum, Combine::Weighted] {
            let p = Policy { combine, ..Policy::default() };
            assert_eq!(p.unsafe_probability(&Evidence::default()), 1.0);
        }
    }

    #[test]
    fn weighted_log_odds_follow_the_formula() {
        let p = Policy {
            combine: Combine::Weighted,
            request_weight: 0.5,
            step_weight: 2.0,
            bias: -1.0,
            ..Policy::default()
        };
        let mut e = Evidence::default();
        e.add_request(reading(0.2, 0.7));
        e.add_step(reading(0.8, 0.1));
        e.add_step(reading(0.6, 0.3));
        let expected = sigmoid(-1.0 + 0.5 * log_odds(0.7) + 2.0 * log_odds(0.3));
        assert!((p.unsafe_probability(&e) - expected).abs() < 1e-6);
    }

    #[test]
    fn a_suspicious_request_can_outweigh_a_harmless_step() {
        let p = Policy { combine: Combine::Weighted, ..Policy::default() };
        let mut e = Evidence::default();
        e.add_request(reading(0.02, 0.97));
        let step = reading(0.7, 0.2);
        e.add_step(step);
        assert_eq!(p.judge_with(&step, &e), Ok(Pivot::Unsafe));
        assert_eq!(p.judge(&step), Ok(Pivot::Safe));
    }

    #[test]
    fn each_field_out_of_range_is_named() {
        assert_eq!(Policy::default().check(), Ok(()));
        let bad = [
            (Policy { safe_at: 0.2, ..Policy::default() }, "safe_at"),
            (Policy { unsafe_at: 0.0, ..Policy::default() }, "unsafe_at"),
            (Policy { unsafe_at: f32::NAN, ..Policy::default() }, "unsafe_at"),
            (Policy { max_steps: 0, ..Policy::default() }, "max_steps"),
            (Policy { segment_max_tokens: 1, ..Policy::default() }, "segment_max_tokens"),
        ];
        for (policy, field) in bad {
            assert_eq!(policy.check().map_err(|(name, _)| name), Err(field));
        }
    }

    proptest! {
        #[test]
        fn a_reading_is_never_safe_when_unsafe_reaches_its_threshold(
            l in prop::array::uniform3(-30f32..30.0), at in 0.01f32..1.0, weighted: bool, w in -3f32..3.0,
        ) {
            let r = Reading::from_logits(l, 40.0).unwrap();
            let combine = if weighted { Combine::Weighted } else { Combine::Maximum };
            let p = Policy { combine, unsafe_at: at, step_weight: w, min_mass: 0.0, ..Policy::default() };
            let mut e = Evidence::default();
            e.add_step(r);
            let judged = p.judge_with(&r, &e);
            if p.unsafe_probability(&e) >= at + 1e-5 {
                prop_assert_eq!(judged, Ok(Pivot::Unsafe));
            }
            if judged == Ok(Pivot::Safe) {
                prop_assert!(p.unsafe_probability(&e) < at + 1e-5);
            }
        }
    }
}
