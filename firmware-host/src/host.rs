//! The runtime's end of the line.
//!
//! A [`Link`] that speaks as the host, with the messages that a host sends. Not a judge: what it is told to send
//! it sends. Invariant: a ruling is aged from the panel's last beat, never from the moment somebody asked to send.

use crate::codec::MAX_WIRE;
use crate::frame::Role;
use crate::link::{Counters, Down, Event, Link, SendError};
use crate::message::{Message, Pending, Press, Ready, ReasonCode, Report, Ruled, Ruling};
use crate::session::Nonce;
use crate::tick::{Tick, Ticks};
use r2d_core::id::Id;

/// What the host learns from its panel.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HostEvent {
    /// A session stands with this panel.
    Up(Id),
    /// It has ended; what was sent and not acknowledged may or may not have arrived.
    Down(Down),
    /// The panel is alive.
    Beat,
    /// Somebody pressed a button.
    Press(Press),
    /// Light or permit of the panel has changed.
    Report(Report),
}

/// The runtime's end.
#[derive(Clone, Debug)]
pub struct Host {
    link: Link,
}

impl Host {
    /// A host without a session. `nonce` is random.
    #[must_use]
    pub fn new(device: Id, nonce: Nonce) -> Self {
        Self { link: Link::new(Role::Host, device, nonce) }
    }

    /// Takes a byte from the line.
    pub fn receive(&mut self, now: Tick, byte: u8) -> Option<HostEvent> {
        let event = self.link.receive(now, byte)?;
        learn(event)
    }

    /// Lets time pass.
    pub fn tick(&mut self, now: Tick) -> Option<HostEvent> {
        let event = self.link.tick(now)?;
        learn(event)
    }

    /// The next bytes for the line, none when nothing is due. Call it until it gives none.
    pub fn transmit<'b>(&mut self, now: Tick, out: &'b mut [u8; MAX_WIRE]) -> Option<&'b [u8]> {
        self.link.transmit(now, out)
    }

    /// Tells the panel that a request of its station is being judged. An open gate closes.
    ///
    /// # Errors
    /// [`SendError`].
    pub fn pending(&mut self, station: Id, request: Id) -> Result<(), SendError> {
        self.link.send(Message::Pending(Pending { station, request }))
    }

    /// Tells the panel what was ruled about the pending request, valid for `valid` from now at the longest.
    ///
    /// # Errors
    /// [`SendError`].
    pub fn rule(
        &mut self,
        station: Id,
        request: Id,
        ruling: Ruling,
        reason: ReasonCode,
        valid: Ticks,
    ) -> Result<(), SendError> {
        let as_of = self.link.heard().ok_or(SendError::Down)?;
        self.link.send(Message::Ruled(Ruled { station, request, ruling, reason, as_of, valid }))
    }

    /// Tells the panel that nothing is under judgement. An open gate closes.
    ///
    /// # Errors
    /// [`SendError`].
    pub fn ready(&mut self, station: Id) -> Result<(), SendError> {
        self.link.send(Message::Ready(Ready { station }))
    }

    /// Whether a session stands and the panel was heard of lately.
    #[must_use]
    pub fn is_up(&self, now: Tick) -> bool {
        self.link.is_up(now)
    }

    /// What was counted.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.link.counters()
    }
}

fn learn(event: Event) -> Option<HostEvent> {
    match event {
        Event::Up(device) => Some(HostEvent::Up(device)),
        Event::Down(down) => Some(HostEvent::Down(down)),
        Event::Beat => Some(HostEvent::Beat),
        Event::Message(Message::Press(press)) => Some(HostEvent::Press(press)),
        Event::Message(Message::Report(report)) => Some(HostEvent::Report(report)),
        // The codec refuses a host's messages from a panel.
        Event::Message(Message::Pending(_) | Message::Ruled(_) | Message::Ready(_)) => None,
    }
}
