//! Time as the caller counts it, and the protocol's periods.
//!
//! Not a clock: nothing here reads the time. A tick is one millisecond since whoever counts was started; two ends
//! of a line count apart, and no tick of one is ever compared with a tick of the other. Invariant: a tick that
//! lies in the future of `now` has no age, so that a clock that ran backwards makes nothing look fresh.

use serde::{Deserialize, Serialize};

/// A moment, in milliseconds since its counter was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tick(pub u64);

/// A length of time in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ticks(pub u32);

impl Tick {
    /// How long ago `earlier` was; none when it lies in the future.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Option<u64> {
        self.0.checked_sub(earlier.0)
    }

    /// Whether `earlier` is in the past and at most `limit` ago.
    #[must_use]
    pub const fn is_within(self, earlier: Self, limit: Ticks) -> bool {
        match self.since(earlier) {
            Some(age) => age <= limit.0 as u64,
            None => false,
        }
    }

    /// The moment `later` from here.
    #[must_use]
    pub const fn after(self, later: Ticks) -> Self {
        Self(self.0.saturating_add(later.0 as u64))
    }
}

/// Each end sends a heartbeat this often.
pub const BEAT: Ticks = Ticks(500);
/// Three missed beats: whoever has heard nothing for so long takes the other end for gone.
pub const SILENCE: Ticks = Ticks(3 * BEAT.0);
/// How often an end without a session says hello.
pub const HELLO: Ticks = Ticks(250);
/// What was sent and not acknowledged is sent again after this time.
pub const RETRY: Ticks = Ticks(250);
/// How often it is sent again before the session is given up: at the latest after `(RETRIES + 1) * RETRY`.
pub const RETRIES: u8 = 5;
/// The least time between two NAKs of one end, and between two repetitions that NAKs ask for.
pub const NAK_PAUSE: Ticks = Ticks(50);
/// A verdict that is older than this when it arrives is stale: waiting beat, queue and every retry are within it.
pub const MAX_AGE: Ticks = Ticks(3_000);
/// The longest that one verdict stands, whatever it says itself.
pub const MAX_VALIDITY: Ticks = Ticks(600_000);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_in_the_future_is_not_fresh() {
        let now = Tick(1_000);
        assert!(now.is_within(Tick(1_000), Ticks(0)));
        assert!(now.is_within(Tick(900), Ticks(100)));
        assert!(!now.is_within(Tick(899), Ticks(100)));
        assert!(!now.is_within(Tick(1_001), Ticks(u32::MAX)));
    }

    #[test]
    fn the_end_of_time_does_not_wrap() {
        assert_eq!(Tick(u64::MAX - 1).after(Ticks(5)), Tick(u64::MAX));
    }

    #[test]
    fn a_verdict_that_took_every_retry_is_still_fresh() {
        let slowest = BEAT.0 + RETRY.0 * (u32::from(RETRIES) + 1);
        assert!(slowest < MAX_AGE.0);
    }
}
