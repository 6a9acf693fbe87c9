//! How far an end has come with the other one, and what it remembers of a session.
//!
//! Not the machine that moves between phases (`link`). Invariant: what is remembered of a session goes with it.

use crate::frame::{Beat, Data, Hello, Seq};
use crate::message::Message;
use crate::session::{Nonce, Session};
use crate::tick::{SILENCE, Tick};
use crate::watchdog::Watchdog;
use r2d_core::id::Id;

/// How far an end has come.
#[derive(Clone, Debug)]
pub(super) enum Phase {
    /// Nobody answered yet.
    Down,
    /// A panel has heard a host's hello and waits for its first beat.
    Answered(Answered),
    /// A session stands.
    Up(Up),
}

/// A hello that was answered.
#[derive(Clone, Debug)]
pub(super) struct Answered {
    /// The host.
    pub(super) device: Id,
    /// Its nonce.
    pub(super) peer: Nonce,
    /// The session that its first beat must name.
    pub(super) session: Session,
}

/// A session.
#[derive(Clone, Debug)]
pub(super) struct Up {
    pub(super) session: Session,
    /// The other end's nonce.
    pub(super) peer: Nonce,
    /// Fed by beats alone: repeated messages prove nothing.
    pub(super) watchdog: Watchdog,
    /// The other end's newest tick; beats echo it.
    pub(super) heard: Tick,
    /// This end's newest tick that the other end has heard, as its beats echo it.
    pub(super) echoed: Tick,
    /// When the next beat is due.
    pub(super) beat_at: Tick,
    /// The number of the next message.
    pub(super) next: Seq,
    pub(super) ack_due: bool,
    pub(super) nak_due: bool,
    /// Not before this moment is another NAK sent.
    pub(super) nak_at: Option<Tick>,
}

impl Phase {
    /// What a panel with `nonce` makes of a host's hello.
    pub(super) fn answer(nonce: Nonce, hello: Hello) -> Self {
        let session = Session::of(hello.nonce, nonce);
        Self::Answered(Answered { device: hello.device, peer: hello.nonce, session })
    }
}

impl Up {
    /// A session that has just begun.
    pub(super) fn new(now: Tick, session: Session, peer: Nonce, heard: Tick) -> Self {
        let mut watchdog = Watchdog::unfed();
        watchdog.feed(now);
        Self {
            session,
            peer,
            watchdog,
            heard,
            echoed: Tick(0),
            beat_at: now,
            next: Seq(0),
            ack_due: false,
            nak_due: false,
            nak_at: None,
        }
    }

    /// Takes a beat, unless it is old: an earlier one than the last, or one whose echo shows that it waited.
    pub(super) fn hear(&mut self, now: Tick, beat: Beat) -> bool {
        let fresh = beat.at > self.heard && now.is_within(beat.echo, SILENCE);
        if fresh {
            self.heard = beat.at;
            self.echoed = self.echoed.max(beat.echo);
            self.watchdog.feed(now);
        }
        fresh
    }

    /// Takes a message if it is the next one; any other is answered so that the sender goes to the next one.
    pub(super) fn take(&mut self, data: Data) -> Option<Message> {
        match data.seq.cmp(&self.next) {
            core::cmp::Ordering::Less => {
                self.ack_due = true;
                None
            }
            core::cmp::Ordering::Greater => {
                self.nak_due = true;
                None
            }
            core::cmp::Ordering::Equal => {
                self.next = Seq(self.next.0.checked_add(1)?);
                self.ack_due = true;
                Some(data.message)
            }
        }
    }
}
