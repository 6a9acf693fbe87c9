//! What the model reasoned and said, with every reading: the evidence that a person audits.
//!
//! Plain data. The engine writes it, records keep it, nothing here judges.

use crate::pivot::{Pivot, Reading};
use alloc::{string::String, vec::Vec};
use serde::{Deserialize, Serialize};

/// The pivot on the bare request.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RequestReading {
    /// The three probabilities.
    #[serde(flatten)]
    pub reading: Reading,
    /// What the policy made of them.
    pub pivot: Pivot,
}

/// How a step ended before the runtime read its pivot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum StepEnd {
    /// The model opened a pivot itself.
    Opened,
    /// The model broke the line or ended its turn.
    Newline,
    /// The step's token budget was spent.
    Budget,
}

/// One reasoning step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Step {
    /// From 1.
    pub index: u16,
    /// The step's text, without its pivot.
    pub text: String,
    /// The three probabilities.
    #[serde(flatten)]
    pub reading: Reading,
    /// What the policy made of them; the runtime wrote this pivot behind the step.
    pub pivot: Pivot,
    /// Tokens of the text.
    pub n_tokens: u16,
    /// What ended the text.
    pub end: StepEnd,
    /// The step was taken back after its RETHINK and is not part of the context any more.
    #[serde(default)]
    pub rolled_back: bool,
}

/// One segment of the answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Segment {
    /// From 1.
    pub index: u16,
    /// The text, as released or withheld.
    pub text: String,
    /// The three probabilities; none where a check was not made (unguarded, or a fixed refusal).
    pub reading: Option<Reading>,
    /// What the policy made of them.
    pub pivot: Option<Pivot>,
    /// Whether the text left the device.
    pub released: bool,
}

/// Everything that was read about one request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Trace {
    /// The pivot on the bare request.
    pub request: Option<RequestReading>,
    /// The reasoning steps in order.
    pub steps: Vec<Step>,
    /// The answer's segments in order.
    pub segments: Vec<Segment>,
    /// The answer was cut at its token budget.
    #[serde(default)]
    pub truncated: bool,
}

impl Trace {
    /// The text that left the device.
    #[must_use]
    pub fn released(&self) -> String {
        self.segments.iter().filter(|s| s.released).map(|s| s.text.as_str()).collect()
    }
}
