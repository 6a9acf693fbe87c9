//! What was decided about a request, and why.
//!
//! A verdict is advice to people and software, never a safety function. Invariant: `Allow` is only made by
//! [`Verdict::allow`], which the engine calls in one place; every other constructor refuses or leaves undecided.

use serde::{Deserialize, Serialize};

/// The three decisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Decision {
    /// Every reading passed.
    Allow,
    /// A reading was UNSAFE.
    Refuse,
    /// Judging was not finished: the answer is withheld, and nothing is said about the request.
    Undecided,
}

/// Why a decision was made. Wire names are append-only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub enum Reason {
    /// Allow: request, steps and answer were all judged SAFE.
    Passed,
    /// Refuse: the bare request read UNSAFE.
    RequestUnsafe,
    /// Refuse: a reasoning step read UNSAFE.
    StepUnsafe,
    /// Refuse: a segment of the answer read UNSAFE.
    AnswerUnsafe,
    /// Undecided: the second looks are spent.
    LooksSpent,
    /// Undecided: the deadline passed.
    Deadline,
    /// Undecided: somebody cancelled the request.
    Cancelled,
    /// Undecided: the context has no room for more tokens.
    ContextFull,
    /// Undecided: a pivot could not be read.
    Unreadable,
    /// Undecided: the model failed to decode.
    DecodeFailed,
    /// Undecided: generated without any check, for comparison.
    Unguarded,
    /// Undecided: the waiting line is full; ask again later.
    Busy,
    /// Undecided: the request is not one.
    Malformed,
    /// Undecided: the request is larger than the site allows.
    TooLarge,
    /// Undecided: the request came as a retained message.
    Retained,
    /// Undecided: the request was too old when it was read.
    Expired,
    /// Undecided: the id belongs to an earlier request with other words.
    IdReused,
    /// Undecided: the prompt does not fit the model's context.
    PromptTooLong,
}

/// A decision with its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Verdict {
    /// What was decided.
    pub decision: Decision,
    /// Why.
    pub reason: Reason,
}

impl Verdict {
    /// Every reading passed.
    #[must_use]
    pub const fn allow() -> Self {
        Self { decision: Decision::Allow, reason: Reason::Passed }
    }

    /// A reading was UNSAFE.
    #[must_use]
    pub const fn refuse(reason: Reason) -> Self {
        Self { decision: Decision::Refuse, reason }
    }

    /// Judging was not finished.
    #[must_use]
    pub const fn undecided(reason: Reason) -> Self {
        Self { decision: Decision::Undecided, reason }
    }

    /// Whether the answer may be acted on.
    #[must_use]
    pub const fn is_allow(&self) -> bool {
        matches!(self.decision, Decision::Allow)
    }
}
