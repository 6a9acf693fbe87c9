//! One end of the line: sessions, heartbeats, and messages that arrive exactly once and in order.
//!
//! Bytes and ticks in, bytes and events out; no I/O, no clock. Not what messages mean (`gate`, `host`, `panel`).
//! Invariant: within a session each message of the other end is given out at most once, in the order sent,
//! and none is given out when three beats are missing, whether or not [`Link::tick`] was called.
//!
//! Bounds: [`WINDOW`] messages under way, [`QUEUE`] held, `RETRIES` repetitions, one frame out per frame in and
//! due time. Sequence numbers do not wrap, so duplicates and stragglers of any age are recognised.

mod outbox;
mod phase;

use crate::cause::Cause;
use crate::codec::{self, FrameError, MAX_WIRE};
use crate::deframer::Deframer;
use crate::frame::{Beat, Data, Flow, Frame, Hello, Kind, Packet, Role};
use crate::message::Message;
use crate::session::{Nonce, Session};
use crate::tick::{BEAT, HELLO, NAK_PAUSE, SILENCE, Tick};
use crate::watchdog::Watchdog;
use outbox::Outbox;
use phase::{Phase, Up};
use r2d_core::id::Id;

pub use outbox::{QUEUE, SendError, WINDOW};

/// What an end learns.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A session stands with this device.
    Up(Id),
    /// It has ended.
    Down(Down),
    /// The other end is alive.
    Beat,
    /// A message.
    Message(Message),
}

/// The end of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Down {
    /// Why.
    pub cause: Cause,
    /// So many of this end's messages were not acknowledged: whether they arrived is not known.
    pub unacknowledged: u8,
}

/// What was counted since the link was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames that were read.
    pub frames: u32,
    /// What stood between zeros and was no frame.
    pub damaged: u32,
    /// The newest such error.
    pub last_error: Option<FrameError>,
    /// Frames of this end's own role: the line is shorted to itself.
    pub echoed: u32,
    /// Frames of no, or of another session, with an impossible acknowledgement, and beats that had waited.
    pub stale: u32,
    /// Messages that had come before.
    pub repeated: u32,
}

/// One end of the line.
#[derive(Clone, Debug)]
pub struct Link {
    role: Role,
    device: Id,
    nonce: Nonce,
    phase: Phase,
    deframer: Deframer,
    outbox: Outbox,
    /// When the next hello is due, while no session stands; at once when none.
    hello_at: Option<Tick>,
    counters: Counters,
}

impl Link {
    /// An end without a session. `nonce` should differ from run to run: random, or a counter that is kept.
    #[must_use]
    pub fn new(role: Role, device: Id, nonce: Nonce) -> Self {
        Self {
            role,
            device,
            nonce,
            phase: Phase::Down,
            deframer: Deframer::default(),
            outbox: Outbox::default(),
            hello_at: None,
            counters: Counters::default(),
        }
    }

    /// Takes a byte from the line.
    pub fn receive(&mut self, now: Tick, byte: u8) -> Option<Event> {
        match self.deframer.push(byte)? {
            Ok(frame) => self.accept(now, frame),
            Err(error) => {
                self.counters.damaged = self.counters.damaged.saturating_add(1);
                self.counters.last_error = Some(error);
                if let Phase::Up(up) = &mut self.phase {
                    up.nak_due = true;
                }
                None
            }
        }
    }

    /// Lets time pass: ends a session that went silent or deaf.
    pub fn tick(&mut self, now: Tick) -> Option<Event> {
        let Phase::Up(up) = &self.phase else { return None };
        if let Some(cause) = silence(&up.watchdog, now) {
            Some(self.end(cause))
        } else if self.outbox.is_exhausted(now) {
            Some(self.end(Cause::Unacknowledged))
        } else {
            None
        }
    }

    /// Puts a message into the queue of the session.
    ///
    /// # Errors
    /// [`SendError`]; the message is then not sent at all.
    pub fn send(&mut self, message: Message) -> Result<(), SendError> {
        match self.phase {
            Phase::Up(_) if message.sender() == self.role => self.outbox.push(message),
            Phase::Up(_) => Err(SendError::Direction),
            Phase::Down | Phase::Answered(_) => Err(SendError::Down),
        }
    }

    /// The next bytes for the line, none when nothing is due. Call it until it gives none.
    pub fn transmit<'b>(&mut self, now: Tick, out: &'b mut [u8; MAX_WIRE]) -> Option<&'b [u8]> {
        let frame = self.next_frame(now)?;
        let is_hello = matches!(frame.kind, Kind::Hello(_));
        let wire = codec::encode(&frame, out).ok()?;
        let n = wire.len();
        // A zero before a hello ends whatever noise or half a frame the other end has collected.
        if is_hello && n < MAX_WIRE {
            out.copy_within(..n, 1);
            out[0] = 0;
            return Some(&out[..=n]);
        }
        Some(&out[..n])
    }

    /// Whether a session stands and its other end was heard of lately.
    #[must_use]
    pub fn is_up(&self, now: Tick) -> bool {
        matches!(&self.phase, Phase::Up(up) if up.watchdog.is_fed(now))
    }

    /// Whether the other end has acknowledged all that was put into the queue.
    #[must_use]
    pub fn is_acknowledged(&self) -> bool {
        self.outbox.is_empty()
    }

    /// Has the next beat of a session sent at this moment, if it is not due before.
    pub fn beat_by(&mut self, at: Tick) {
        if let Phase::Up(up) = &mut self.phase {
            up.beat_at = up.beat_at.min(at);
        }
    }

    /// The newest tick of the other end's counter that was heard in this session.
    #[must_use]
    pub const fn heard(&self) -> Option<Tick> {
        match &self.phase {
            Phase::Up(up) => Some(up.heard),
            Phase::Down | Phase::Answered(_) => None,
        }
    }

    /// The newest tick of this end's counter that the other end says it has heard in this session.
    #[must_use]
    pub const fn echoed(&self) -> Option<Tick> {
        match &self.phase {
            Phase::Up(up) => Some(up.echoed),
            Phase::Down | Phase::Answered(_) => None,
        }
    }

    /// What was counted.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    fn end(&mut self, cause: Cause) -> Event {
        let unacknowledged = self.outbox.clear();
        self.nonce = self.nonce.next();
        self.phase = Phase::Down;
        self.hello_at = None;
        Event::Down(Down { cause, unacknowledged })
    }

    fn accept(&mut self, now: Tick, frame: Frame) -> Option<Event> {
        self.counters.frames = self.counters.frames.saturating_add(1);
        if frame.from == self.role {
            self.counters.echoed = self.counters.echoed.saturating_add(1);
            return None;
        }
        // Nothing of a session counts once its silence is complete, even if nobody called `tick` meanwhile.
        if let Phase::Up(up) = &self.phase
            && let Some(cause) = silence(&up.watchdog, now)
        {
            return Some(self.end(cause));
        }
        match frame.kind {
            Kind::Hello(hello) => match self.role {
                Role::Host => self.meet_panel(now, hello),
                Role::Panel => self.meet_host(hello),
            },
            Kind::Flow(flow) => self.follow(now, flow),
        }
    }

    /// A panel's hello, at the host.
    fn meet_panel(&mut self, now: Tick, hello: Hello) -> Option<Event> {
        match &mut self.phase {
            Phase::Up(up) if up.peer == hello.nonce => {
                // It has not heard our beat yet; the next one must not look as if it had waited.
                up.beat_at = now;
                up.heard = up.heard.max(hello.at);
                None
            }
            Phase::Up(_) => Some(self.end(Cause::Restart)),
            Phase::Down | Phase::Answered(_) if hello.answer == Some(self.nonce) => {
                let session = Session::of(self.nonce, hello.nonce);
                self.phase = Phase::Up(Up::new(now, session, hello.nonce, hello.at));
                Some(Event::Up(hello.device))
            }
            Phase::Down | Phase::Answered(_) => None,
        }
    }

    /// A host's hello, at the panel.
    fn meet_host(&mut self, hello: Hello) -> Option<Event> {
        let event = match &self.phase {
            Phase::Up(up) if up.peer == hello.nonce => return None,
            Phase::Up(_) => Some(self.end(Cause::Restart)),
            Phase::Answered(a) if a.peer != hello.nonce => {
                self.nonce = self.nonce.next();
                None
            }
            Phase::Down | Phase::Answered(_) => None,
        };
        self.phase = Phase::answer(self.nonce, hello);
        self.hello_at = None;
        event
    }

    /// A frame of a session.
    fn follow(&mut self, now: Tick, flow: Flow) -> Option<Event> {
        match (&self.phase, &flow.packet) {
            // Only a fresh beat proves that the host knows our nonce of this moment.
            (Phase::Answered(a), Packet::Beat(beat))
                if a.session == flow.session && now.is_within(beat.echo, SILENCE) =>
            {
                let device = a.device.clone();
                self.phase = Phase::Up(Up::new(now, a.session, a.peer, beat.at));
                Some(Event::Up(device))
            }
            (Phase::Up(up), _) if up.session == flow.session => self.follow_up(now, flow),
            _ => self.pass_over(),
        }
    }

    /// A frame of the session that stands.
    fn follow_up(&mut self, now: Tick, flow: Flow) -> Option<Event> {
        let Phase::Up(up) = &mut self.phase else { return None };
        if !self.outbox.acknowledge(now, flow.ack) {
            return self.pass_over();
        }
        match flow.packet {
            Packet::Beat(beat) if up.hear(now, beat) => Some(Event::Beat),
            Packet::Beat(_) => self.pass_over(),
            Packet::Ack => None,
            Packet::Nak => {
                self.outbox.repeat(now);
                None
            }
            Packet::Data(data) => {
                if data.seq < up.next {
                    self.counters.repeated = self.counters.repeated.saturating_add(1);
                }
                up.take(data).map(Event::Message)
            }
        }
    }

    /// A frame that has no effect.
    fn pass_over(&mut self) -> Option<Event> {
        self.counters.stale = self.counters.stale.saturating_add(1);
        None
    }

    fn next_frame(&mut self, now: Tick) -> Option<Frame> {
        let from = self.role;
        let answer = match &self.phase {
            Phase::Answered(a) => Some(a.peer),
            Phase::Down | Phase::Up(_) => None,
        };
        let Phase::Up(up) = &mut self.phase else {
            if self.hello_at.is_some_and(|at| now < at) {
                return None;
            }
            self.hello_at = Some(now.after(HELLO));
            let hello = Hello { device: self.device.clone(), nonce: self.nonce, answer, at: now };
            return Some(Frame { from, kind: Kind::Hello(hello) });
        };
        let packet = if now >= up.beat_at {
            up.beat_at = now.after(BEAT);
            Packet::Beat(Beat { at: now, echo: up.heard })
        } else if up.nak_due && up.nak_at.is_none_or(|at| now >= at) {
            up.nak_due = false;
            up.nak_at = Some(now.after(NAK_PAUSE));
            Packet::Nak
        } else if let Some((seq, message)) = self.outbox.next(now) {
            Packet::Data(Data { seq, message })
        } else if up.ack_due {
            Packet::Ack
        } else {
            return None;
        };
        // Every frame acknowledges.
        up.ack_due = false;
        Some(Frame { from, kind: Kind::Flow(Flow { session: up.session, ack: up.next, packet }) })
    }
}

/// Why nothing more is heard, if so.
fn silence(watchdog: &Watchdog, now: Tick) -> Option<Cause> {
    match () {
        () if watchdog.is_backwards(now) => Some(Cause::Clock),
        () if watchdog.is_fed(now) => None,
        () => Some(Cause::Silence),
    }
}

#[cfg(test)]
mod tests;
