//! The permission: a relay that is open only while everything speaks for it.
//!
//! Not the link and not the wiring. Its mutators belong to [`crate::panel::Panel`], so that nothing but a frame of
//! an established session reaches them. Invariant: the gate is open exactly while it is not latched, beats arrive,
//! and an unexpired `allow` for its station and its pending request stands; a refused message closes it; a fault
//! latches it until a person presses reset, and reset opens nothing; no ruling from before the host heard of a stop counts
//! behind it.

use crate::cause::{Cause, Rejection};
use crate::message::{Message, Permit, Ruled, Ruling};
use crate::tick::{MAX_AGE, MAX_VALIDITY, Tick};
use crate::watchdog::Watchdog;
use r2d_core::id::Id;

/// The gate of one station.
#[derive(Clone, Debug)]
pub struct Gate {
    station: Id,
    watchdog: Watchdog,
    state: State,
    /// The request that was refused last. Nothing but the next refusal replaces it, not even reset.
    refused: Option<Id>,
    /// Rulings as of an earlier moment count no more.
    rulings_since: Tick,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Latched(Cause),
    /// Released, or closed by something it did not accept; nothing is known.
    Unsettled,
    Ready,
    Judging(Id),
    Standing(Standing),
}

/// A ruling that stands.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Standing {
    request: Id,
    ruling: Ruling,
    /// The first moment at which it stands no more, by this end's own counter.
    until: Tick,
}

/// What can be seen of a gate: what its light is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum View {
    /// Latched.
    Latched(Cause),
    /// Three beats are missing, and nobody has told the gate yet.
    Silent,
    /// Nothing is known, or what was known has expired.
    Unsettled,
    /// Nothing is under judgement.
    Ready,
    /// A request is being judged.
    Judging,
    /// A ruling stands.
    Ruled(Ruling),
}

/// Why a reset did nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum ResetError {
    /// No beats arrive: the fault is still there.
    Silent = 1,
}

impl Gate {
    /// A gate after power-up: latched. What was permitted before a power cut is not permitted after it.
    #[must_use]
    pub const fn new(station: Id) -> Self {
        Self {
            station,
            watchdog: Watchdog::unfed(),
            state: State::Latched(Cause::PowerUp),
            refused: None,
            rulings_since: Tick(0),
        }
    }

    /// The station.
    #[must_use]
    pub const fn station(&self) -> &Id {
        &self.station
    }

    /// Whether the relay permits at this moment.
    #[must_use]
    pub fn permit(&self, now: Tick) -> Permit {
        match self.view(now) {
            View::Ruled(Ruling::Allow) => Permit::Open,
            _ => Permit::Closed,
        }
    }

    /// What can be seen at this moment.
    #[must_use]
    pub fn view(&self, now: Tick) -> View {
        match &self.state {
            State::Latched(cause) => View::Latched(*cause),
            _ if !self.watchdog.is_fed(now) => View::Silent,
            State::Unsettled => View::Unsettled,
            State::Ready => View::Ready,
            State::Judging(_) => View::Judging,
            State::Standing(s) if now < s.until => View::Ruled(s.ruling),
            State::Standing(_) => View::Unsettled,
        }
    }

    /// The request that is pending or ruled about.
    #[must_use]
    pub const fn request(&self) -> Option<&Id> {
        match &self.state {
            State::Judging(request) | State::Standing(Standing { request, .. }) => Some(request),
            State::Latched(_) | State::Unsettled | State::Ready => None,
        }
    }

    /// A session began, or a beat came.
    pub(crate) fn beat(&mut self, now: Tick) {
        // A beat after the silence must not hide that there was one.
        self.tick(now);
        self.watchdog.feed(now);
    }

    /// Latches when three beats are missing or time ran backwards.
    pub(crate) fn tick(&mut self, now: Tick) {
        if self.watchdog.is_backwards(now) {
            self.latch(Cause::Clock);
        } else if !self.watchdog.is_fed(now) {
            self.latch(Cause::Silence);
        }
    }

    /// A fault, or somebody pressed stop. The first cause is kept until reset.
    pub(crate) fn latch(&mut self, cause: Cause) {
        if !matches!(self.state, State::Latched(_)) {
            self.state = State::Latched(cause);
        }
    }

    /// The session has ended: no reset before the next one.
    pub(crate) fn part(&mut self, cause: Cause) {
        self.watchdog.stop();
        self.latch(cause);
    }

    /// Whether a reset would do anything.
    pub(crate) fn may_reset(&self, now: Tick) -> Result<(), ResetError> {
        if self.watchdog.is_fed(now) { Ok(()) } else { Err(ResetError::Silent) }
    }

    /// A person pressed reset. Closes and releases; a new request must come before anything opens.
    pub(crate) fn reset(&mut self, now: Tick) -> Result<(), ResetError> {
        self.may_reset(now)?;
        self.state = State::Unsettled;
        Ok(())
    }

    /// From now on a ruling counts only if it was made with this end's `moment` in mind, or a later one.
    pub(crate) fn rule_anew(&mut self, moment: Tick) {
        self.rulings_since = moment;
    }

    /// Takes a message of the established session. What is refused closes the gate.
    pub(crate) fn apply(&mut self, now: Tick, message: &Message) -> Result<(), Rejection> {
        self.tick(now);
        if matches!(self.state, State::Latched(_)) {
            return Err(Rejection::Latched);
        }
        let next = match message {
            Message::Pending(p) if p.station != self.station => Err(Rejection::Station),
            // Asking anew does not wash off a refusal.
            Message::Pending(p) if self.is_refused(&p.request) => Err(Rejection::Refused),
            Message::Pending(p) => Ok(State::Judging(p.request.clone())),
            Message::Ready(r) if r.station != self.station => Err(Rejection::Station),
            Message::Ready(_) => Ok(State::Ready),
            Message::Ruled(ruled) => self.weigh(now, ruled).map(State::Standing),
            Message::Press(_) | Message::Report(_) => Err(Rejection::Direction),
        };
        match next {
            Ok(state) => {
                if let State::Standing(Standing { request, ruling: Ruling::Refuse, .. }) = &state {
                    self.refused = Some(request.clone());
                }
                self.state = state;
                Ok(())
            }
            Err(rejection) => {
                self.state = State::Unsettled;
                Err(rejection)
            }
        }
    }

    fn is_refused(&self, request: &Id) -> bool {
        self.refused.as_ref() == Some(request)
    }

    /// Whether a ruling may stand here, and until when.
    fn weigh(&self, now: Tick, ruled: &Ruled) -> Result<Standing, Rejection> {
        if ruled.station != self.station {
            return Err(Rejection::Station);
        }
        if self.request() != Some(&ruled.request) {
            return Err(Rejection::Request);
        }
        if ruled.as_of < self.rulings_since || !now.is_within(ruled.as_of, MAX_AGE) {
            return Err(Rejection::Stale);
        }
        let until = ruled.as_of.after(ruled.valid.min(MAX_VALIDITY));
        if until <= now {
            return Err(Rejection::Expired);
        }
        if ruled.ruling != Ruling::Refuse && self.is_refused(&ruled.request) {
            return Err(Rejection::Refused);
        }
        Ok(Standing { request: ruled.request.clone(), ruling: ruled.ruling, until })
    }
}

#[cfg(test)]
mod tests;
