//! Whether somebody was heard of lately.
//!
//! A pure function of the last beat and `now`: whoever forgets to call a timer still gets the right answer.
//! Invariant: a watchdog that was never fed, was stopped, or sees time run backwards is not fed.

use crate::tick::{SILENCE, Tick};

/// Watches for silence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watchdog {
    fed_at: Option<Tick>,
}

impl Watchdog {
    /// One that nobody has fed.
    #[must_use]
    pub const fn unfed() -> Self {
        Self { fed_at: None }
    }

    /// A beat came.
    pub const fn feed(&mut self, now: Tick) {
        self.fed_at = Some(now);
    }

    /// Forgets every beat.
    pub const fn stop(&mut self) {
        self.fed_at = None;
    }

    /// Whether fewer than three beats are missing.
    #[must_use]
    pub fn is_fed(&self, now: Tick) -> bool {
        self.fed_at.and_then(|at| now.since(at)).is_some_and(|age| age < u64::from(SILENCE.0))
    }

    /// Whether `now` lies before the last beat: the caller's counter is broken.
    #[must_use]
    pub fn is_backwards(&self, now: Tick) -> bool {
        self.fed_at.is_some_and(|at| now < at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tick::Ticks;

    #[test]
    fn a_watchdog_starves_with_the_third_missed_beat_and_not_before() {
        let mut dog = Watchdog::unfed();
        assert!(!dog.is_fed(Tick(0)));
        dog.feed(Tick(10_000));
        let third = Tick(10_000).after(SILENCE);
        assert!(dog.is_fed(Tick(third.0 - 1)));
        assert!(!dog.is_fed(third));
        assert!(!dog.is_fed(third.after(Ticks(1))));
    }

    #[test]
    fn a_watchdog_whose_time_ran_backwards_is_not_fed() {
        let mut dog = Watchdog::unfed();
        dog.feed(Tick(10_000));
        assert!(!dog.is_fed(Tick(9_999)));
        assert!(dog.is_backwards(Tick(9_999)));
        dog.stop();
        assert!(!dog.is_fed(Tick(10_000)));
    }
}
