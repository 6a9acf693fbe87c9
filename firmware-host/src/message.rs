//! What the two ends tell each other, each message delivered exactly once and in order within a session.
//!
//! Not frames (`frame`) and not what follows from a message (`gate`). Invariant: the order of variants is the
//! wire's numbering, append-only, and no ruling that opens anything is numbered 0.

use crate::cause::CauseCode;
use crate::frame::Role;
use crate::light::Light;
use crate::tick::{Tick, Ticks};
use r2d_core::id::Id;
use r2d_core::verdict::{Decision, Reason};
use serde::{Deserialize, Serialize};

/// One message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// Host to panel: a request of this station is being judged; an earlier permission ends here.
    Pending(Pending),
    /// Host to panel: what was ruled about it.
    Ruled(Ruled),
    /// Host to panel: nothing is under judgement.
    Ready(Ready),
    /// Panel to host: a button was pressed.
    Press(Press),
    /// Panel to host: what the panel shows and permits has changed.
    Report(Report),
}

impl Message {
    /// Who may send it.
    #[must_use]
    pub const fn sender(&self) -> Role {
        match self {
            Self::Pending(_) | Self::Ruled(_) | Self::Ready(_) => Role::Host,
            Self::Press(_) | Self::Report(_) => Role::Panel,
        }
    }
}

/// Judging of a request has begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// The station whose request it is.
    pub station: Id,
    /// The request.
    pub request: Id,
}

/// A verdict on its way to a gate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ruled {
    /// The station that it is for.
    pub station: Id,
    /// The request that it is about.
    pub request: Id,
    /// What was ruled.
    pub ruling: Ruling,
    /// Why, for displays.
    pub reason: ReasonCode,
    /// The panel's own tick that the host had heard last when it sent this: the panel ages the verdict by its own
    /// counter, and waiting lines and retries count.
    pub as_of: Tick,
    /// How long it is valid from `as_of` on.
    pub valid: Ticks,
}

/// Nothing is under judgement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// The station that is ready.
    pub station: Id,
}

/// What was ruled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ruling {
    /// Judging was not finished.
    #[default]
    Undecided,
    /// Unsafe. The panel takes nothing else for this request afterwards.
    Refuse,
    /// Undecided, and a person is asked to look.
    Review,
    /// Every reading passed.
    Allow,
}

impl From<Decision> for Ruling {
    fn from(decision: Decision) -> Self {
        match decision {
            Decision::Allow => Self::Allow,
            Decision::Refuse => Self::Refuse,
            Decision::Undecided => Self::Undecided,
        }
    }
}

/// A reason as it stands on the wire; 0 is one that this version does not name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReasonCode(pub u8);

/// Every reason with its number. Append-only.
const REASONS: [(Reason, u8); 18] = [
    (Reason::Passed, 1),
    (Reason::RequestUnsafe, 2),
    (Reason::StepUnsafe, 3),
    (Reason::AnswerUnsafe, 4),
    (Reason::LooksSpent, 5),
    (Reason::Deadline, 6),
    (Reason::Cancelled, 7),
    (Reason::ContextFull, 8),
    (Reason::Unreadable, 9),
    (Reason::DecodeFailed, 10),
    (Reason::Unguarded, 11),
    (Reason::Busy, 12),
    (Reason::Malformed, 13),
    (Reason::TooLarge, 14),
    (Reason::Retained, 15),
    (Reason::Expired, 16),
    (Reason::IdReused, 17),
    (Reason::PromptTooLong, 18),
];

impl ReasonCode {
    /// The reason, if this version knows it.
    #[must_use]
    pub fn reason(self) -> Option<Reason> {
        REASONS.iter().find(|(_, code)| *code == self.0).map(|(reason, _)| *reason)
    }
}

impl From<Reason> for ReasonCode {
    fn from(reason: Reason) -> Self {
        Self(REASONS.iter().find(|(r, _)| *r == reason).map_or(0, |(_, code)| *code))
    }
}

/// A button was pressed at a station.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Press {
    /// The station.
    pub station: Id,
    /// What the person wants.
    pub wish: Wish,
}

/// What a pressed button asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wish {
    /// Ask the canned prompt of this number.
    Ask(u8),
    /// Stop; the panel has closed and latched its gate already.
    Stop,
    /// The panel was released; it waits for a new verdict.
    Reset,
    /// Approve this request, which the panel showed as waiting for a person.
    Approve(Id),
}

/// What a panel shows and permits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The station.
    pub station: Id,
    /// What its relay does.
    pub permit: Permit,
    /// What its stack light shows.
    pub light: Light,
    /// Why it is latched; 0 when it is not.
    pub cause: CauseCode,
    /// The request that light and permit are about.
    pub request: Option<Id>,
}

/// Whether the relay permits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Permit {
    /// It does not.
    #[default]
    Closed,
    /// It does.
    Open,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_come_back_from_their_codes_and_zero_is_none() {
        for (reason, code) in REASONS {
            assert_eq!(ReasonCode::from(reason), ReasonCode(code));
            assert_eq!(ReasonCode(code).reason(), Some(reason));
        }
        assert_eq!(ReasonCode(0).reason(), None);
    }

    #[test]
    fn only_allow_becomes_allow() {
        assert_eq!(Ruling::from(Decision::Allow), Ruling::Allow);
        assert_eq!(Ruling::from(Decision::Refuse), Ruling::Refuse);
        assert_eq!(Ruling::from(Decision::Undecided), Ruling::Undecided);
        assert_eq!(Ruling::default(), Ruling::Undecided);
    }
}
