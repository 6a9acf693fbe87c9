//! The microcontroller's end: link, gate, light and buttons as one machine.
//!
//! Not the wiring: the firmware moves bytes, counts ticks, samples contacts and sets outputs as [`Panel::outputs`]
//! says. Invariant: outputs are a function of the gate at `now`, so that a loop that is late closes in time all the
//! same; reports are told to the host, and never needed by the gate; no reset before the host has heard of the stop, and
//! behind it no ruling that the host queued before it had.

use crate::button::Button;
use crate::cause::{Cause, CauseCode, Rejection};
use crate::codec::MAX_WIRE;
use crate::frame::Role;
use crate::gate::{Gate, ResetError, View};
use crate::light::Light;
use crate::link::{Counters, Event, Link, SendError};
use crate::message::{Message, Permit, Press, Report, Ruling, Wish};
use crate::session::Nonce;
use crate::tick::{Tick, Ticks};
use r2d_core::id::Id;

/// What the firmware sets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Outputs {
    /// The relay.
    pub permit: Permit,
    /// The stack light.
    pub light: Light,
}

/// Why a press had no effect, or was not told to the host. Stop always has its effect here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PressError {
    /// Reset: the fault is still there.
    Reset(ResetError),
    /// Reset: the host has not shown yet that it heard the stop.
    StopUnheard,
    /// Approve: nobody asks for it.
    NothingToApprove,
    /// The host was not told.
    Send(SendError),
}

/// How far the host has heard of the last stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StopTold {
    /// It has, and rules as of a later moment; or there was none.
    Heard,
    /// It has; rulings that were on their way are of before this moment.
    Acknowledged(Tick),
    /// It is under way in the session that stands.
    Sent,
    /// It is not: the line had no session or no room, or lost it with the session.
    Owed,
}

/// The microcontroller's end.
#[derive(Clone, Debug)]
pub struct Panel {
    link: Link,
    gate: Gate,
    stop: StopTold,
    /// What the host was told last in this session.
    reported: Option<Report>,
    refused: u32,
    last_refused: Option<Rejection>,
}

impl Panel {
    /// A panel after power-up: no session, gate latched.
    #[must_use]
    pub fn new(device: Id, station: Id, nonce: Nonce) -> Self {
        Self {
            link: Link::new(Role::Panel, device, nonce),
            gate: Gate::new(station),
            stop: StopTold::Heard,
            reported: None,
            refused: 0,
            last_refused: None,
        }
    }

    /// Takes a byte from the line. The event has had its effect; it is given out for logs.
    pub fn receive(&mut self, now: Tick, byte: u8) -> Option<Event> {
        let event = self.link.receive(now, byte)?;
        self.follow(now, &event);
        Some(event)
    }

    /// Lets time pass. Call it at least once a beat; outputs are right without it.
    pub fn tick(&mut self, now: Tick) -> Option<Event> {
        let event = self.link.tick(now);
        if let Some(event) = &event {
            self.follow(now, event);
        }
        self.gate.tick(now);
        // What is still owed is tried at the next tick.
        let _told = self.tell_stop(now);
        self.report(now);
        event
    }

    /// The next bytes for the line, none when nothing is due. Call it until it gives none.
    pub fn transmit<'b>(&mut self, now: Tick, out: &'b mut [u8; MAX_WIRE]) -> Option<&'b [u8]> {
        self.link.transmit(now, out)
    }

    /// A button was pressed.
    ///
    /// # Errors
    /// [`PressError`]; a stop has closed and latched the gate even then, and is told as soon as that is possible. Reset does
    /// nothing before the host has shown that it heard it, and nothing that the host is not told.
    pub fn press(&mut self, now: Tick, button: Button) -> Result<(), PressError> {
        let wish = match button {
            Button::Stop => {
                self.gate.latch(Cause::Stop);
                self.stop = StopTold::Owed;
                return self.tell_stop(now).map_err(PressError::Send);
            }
            Button::Reset => {
                self.tell_stop(now).map_err(PressError::Send)?;
                if self.stop != StopTold::Heard {
                    return Err(PressError::StopUnheard);
                }
                self.gate.may_reset(now).map_err(PressError::Reset)?;
                self.send_press(Wish::Reset).map_err(PressError::Send)?;
                return self.gate.reset(now).map_err(PressError::Reset);
            }
            Button::Approve => match (self.gate.view(now), self.gate.request()) {
                (View::Ruled(Ruling::Review), Some(request)) => Wish::Approve(request.clone()),
                _ => return Err(PressError::NothingToApprove),
            },
            Button::Ask(prompt) => Wish::Ask(prompt),
        };
        self.send_press(wish).map_err(PressError::Send)
    }

    /// The firmware found a fault in itself.
    pub fn fail(&mut self) {
        self.gate.latch(Cause::SelfCheck);
    }

    /// What to set at this moment.
    #[must_use]
    pub fn outputs(&self, now: Tick) -> Outputs {
        Outputs { permit: self.gate.permit(now), light: Light::of(&self.gate.view(now)) }
    }

    /// The gate, to look at.
    #[must_use]
    pub const fn gate(&self) -> &Gate {
        &self.gate
    }

    /// What the link counted.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.link.counters()
    }

    /// How many messages the gate refused, and why the last one.
    #[must_use]
    pub const fn refused(&self) -> (u32, Option<Rejection>) {
        (self.refused, self.last_refused)
    }

    fn send_press(&mut self, wish: Wish) -> Result<(), SendError> {
        let station = self.gate.station().clone();
        self.link.send(Message::Press(Press { station, wish }))
    }

    /// Tells the host of a stop that it may not have heard of. Once it has, rulings that were on their way are void; and once
    /// it has heard a beat from behind that, which comes at once, all that it rules is as of a later moment.
    fn tell_stop(&mut self, now: Tick) -> Result<(), SendError> {
        match self.stop {
            StopTold::Owed => {
                self.send_press(Wish::Stop)?;
                self.stop = StopTold::Sent;
            }
            StopTold::Sent if self.link.is_acknowledged() => {
                let behind = now.after(Ticks(1));
                self.stop = StopTold::Acknowledged(behind);
                self.gate.rule_anew(behind);
                self.link.beat_by(behind);
            }
            StopTold::Acknowledged(behind) if self.link.echoed() >= Some(behind) => {
                self.stop = StopTold::Heard
            }
            StopTold::Sent | StopTold::Acknowledged(_) | StopTold::Heard => {}
        }
        Ok(())
    }

    fn follow(&mut self, now: Tick, event: &Event) {
        match event {
            Event::Up(_) => {
                self.reported = None;
                self.gate.beat(now);
            }
            Event::Beat => self.gate.beat(now),
            Event::Down(down) => {
                self.gate.part(down.cause);
                if self.stop == StopTold::Sent {
                    self.stop = StopTold::Owed;
                }
            }
            Event::Message(message) => {
                if let Err(rejection) = self.gate.apply(now, message) {
                    self.refused = self.refused.saturating_add(1);
                    self.last_refused = Some(rejection);
                }
            }
        }
    }

    /// Tells the host what has changed; what finds no room now is told at the next tick, as it is then.
    fn report(&mut self, now: Tick) {
        let Outputs { permit, light } = self.outputs(now);
        let cause = match self.gate.view(now) {
            View::Latched(cause) => Some(cause),
            _ => None,
        };
        let report = Report {
            station: self.gate.station().clone(),
            permit,
            light,
            cause: CauseCode::from(cause),
            request: self.gate.request().cloned(),
        };
        if self.reported.as_ref() != Some(&report) && self.link.send(Message::Report(report.clone())).is_ok()
        {
            self.reported = Some(report);
        }
    }
}

#[cfg(test)]
mod tests;
