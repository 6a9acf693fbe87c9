//! What a generation tells while it runs, and what is left when it ends.

use r2d_core::record::Cost;
use r2d_core::trace::{RequestReading, Segment, Step, Trace};
use r2d_core::verdict::Verdict;
use serde::Serialize;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
#[allow(clippy::large_enum_variant)] // a handful per request, read once and dropped
pub enum Event {
    /// The pivot on the bare request was read.
    Request(RequestReading),
    /// A step was closed.
    Step(Step),
    /// A segment of the answer was judged.
    Segment(Segment),
    /// The end: nothing follows.
    Verdict(Outcome),
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// The decision.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// What went wrong, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The text that left the machine, whole.
    pub answer: String,
    /// The answer was cut at its token budget.
    pub truncated: bool,
    /// What it cost.
    pub cost: Cost,
    /// Everything that was read; told piecemeal by the events before.
    #[serde(skip)]
    pub trace: Trace,
}
