//! Why a session ended or a gate is latched, and why a gate took no notice of a message.
//!
//! Numbered for wires and logs; the numbers are append-only and 0 means none. Not errors of one operation: those
//! stand beside it.

use serde::{Deserialize, Serialize};

/// Why a session ended or a gate is latched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum Cause {
    /// The panel was started; nobody has released it since.
    PowerUp = 1,
    /// Three beats were missed.
    Silence = 2,
    /// The other end began anew.
    Restart = 3,
    /// A message was repeated as often as allowed and never acknowledged.
    Unacknowledged = 4,
    /// Somebody pressed stop.
    Stop = 5,
    /// The caller's ticks ran backwards.
    Clock = 6,
    /// The firmware found a fault in itself.
    SelfCheck = 7,
}

impl Cause {
    /// Every cause there is.
    pub const ALL: [Self; 7] = [
        Self::PowerUp,
        Self::Silence,
        Self::Restart,
        Self::Unacknowledged,
        Self::Stop,
        Self::Clock,
        Self::SelfCheck,
    ];
}

/// A cause as it stands on the wire: a code of a later version is kept, not refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CauseCode(pub u8);

impl CauseCode {
    /// The cause, if there is one and this version knows it.
    #[must_use]
    pub fn cause(self) -> Option<Cause> {
        Cause::ALL.into_iter().find(|c| *c as u8 == self.0)
    }
}

impl From<Option<Cause>> for CauseCode {
    fn from(cause: Option<Cause>) -> Self {
        Self(cause.map_or(0, |c| c as u8))
    }
}

/// Why a gate refused a message; whatever it refuses closes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum Rejection {
    /// The gate is latched.
    Latched = 1,
    /// The message is for another station.
    Station = 2,
    /// The verdict is about a request that is not the one under judgement.
    Request = 3,
    /// The verdict is too old, or from the future.
    Stale = 4,
    /// The verdict was valid for no time at all.
    Expired = 5,
    /// The request was refused before; it cannot be allowed under the same id.
    Refused = 6,
    /// The message is one that only a panel sends.
    Direction = 7,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_causes_come_back_and_unknown_ones_are_no_cause() {
        for cause in Cause::ALL {
            assert_eq!(CauseCode::from(Some(cause)).cause(), Some(cause));
        }
        assert_eq!(CauseCode::from(None), CauseCode(0));
        for code in [0, 8, 255] {
            assert_eq!(CauseCode(code).cause(), None);
        }
    }

    #[test]
    fn numbers_of_causes_never_change() {
        assert_eq!(Cause::ALL.map(|c| c as u8), [1, 2, 3, 4, 5, 6, 7]);
        assert_eq!([Rejection::Latched as u8, Rejection::Direction as u8], [1, 7]);
    }
}
