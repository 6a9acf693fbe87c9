//! Buttons, and the calming of their contacts.
//!
//! Not what a press leads to (`panel`). Invariant: one press gives one event, however much its contact bounces.

use crate::tick::{Tick, Ticks};

/// The buttons of a panel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Button {
    /// Ask the canned prompt of this number.
    Ask(u8),
    /// Close and latch.
    Stop,
    /// Release a latched panel.
    Reset,
    /// Approve what the blue lamp asks about.
    Approve,
}

/// A contact counts as changed after it has been quiet for so long.
pub const QUIET: Ticks = Ticks(20);

/// One contact.
#[derive(Clone, Copy, Debug, Default)]
pub struct Contact {
    closed: bool,
    changed_at: Option<Tick>,
}

impl Contact {
    /// Takes the contact's level and says whether a press has just become certain.
    ///
    /// A stop button's caller should not wait for this: closing at the first touch is the safe side.
    pub fn sample(&mut self, now: Tick, closed: bool) -> bool {
        if closed == self.closed {
            self.changed_at = None;
            return false;
        }
        let since = *self.changed_at.get_or_insert(now);
        let quiet = now.since(since).is_some_and(|age| age >= u64::from(QUIET.0));
        if quiet {
            self.closed = closed;
            self.changed_at = None;
        }
        quiet && closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bouncing_contact_gives_one_press() {
        let mut contact = Contact::default();
        let mut presses = 0;
        for now in 0..200_u64 {
            let closed = match now {
                10..20 => now % 2 == 0,
                20..100 => true,
                100..110 => now % 3 == 0,
                _ => false,
            };
            presses += u32::from(contact.sample(Tick(now), closed));
        }
        assert_eq!(presses, 1);
    }

    #[test]
    fn a_spike_shorter_than_the_quiet_time_is_no_press() {
        let mut contact = Contact::default();
        assert!((0..100).all(|now| !contact.sample(Tick(now), (10..25).contains(&now))));
    }
}
