//! What a stack light shows.
//!
//! The mapping from a gate to its light is one function, so that a lamp and a relay cannot be told different
//! things. Invariant: green is shown only when the gate is open or nothing is under judgement.

use crate::gate::View;
use crate::message::Ruling;
use serde::{Deserialize, Serialize};

/// The lamp of a stack light that burns. The order is the wire's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Light {
    /// Yellow, blinking: latched, somebody must press reset.
    #[default]
    Latched,
    /// Yellow: undecided, being judged, or stale.
    Yellow,
    /// Red: unsafe.
    Red,
    /// Blue: a person is asked to look.
    Blue,
    /// Green: allowed, or ready.
    Green,
}

impl Light {
    /// The light of a gate.
    #[must_use]
    pub const fn of(view: &View) -> Self {
        match view {
            View::Latched(_) => Self::Latched,
            View::Silent | View::Unsettled | View::Judging => Self::Yellow,
            View::Ready => Self::Green,
            View::Ruled(ruling) => match ruling {
                Ruling::Allow => Self::Green,
                Ruling::Refuse => Self::Red,
                Ruling::Review => Self::Blue,
                Ruling::Undecided => Self::Yellow,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::Cause;

    #[test]
    fn each_state_of_a_gate_has_its_light() {
        for (view, light) in [
            (View::Latched(Cause::Stop), Light::Latched),
            (View::Silent, Light::Yellow),
            (View::Unsettled, Light::Yellow),
            (View::Judging, Light::Yellow),
            (View::Ready, Light::Green),
            (View::Ruled(Ruling::Undecided), Light::Yellow),
            (View::Ruled(Ruling::Refuse), Light::Red),
            (View::Ruled(Ruling::Review), Light::Blue),
            (View::Ruled(Ruling::Allow), Light::Green),
        ] {
            assert_eq!(Light::of(&view), light, "{view:?}");
        }
    }
}
