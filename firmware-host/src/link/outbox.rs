//! Messages on their way: the queue, the window, and how often they are sent again.
//!
//! Go back n: after a NAK or a time-out everything not acknowledged is sent again from the first on. Invariant: a
//! message leaves the queue only when it was acknowledged or the session has ended, and what is not acknowledged
//! within `(RETRIES + 1) * RETRY` exhausts the session.

use crate::frame::Seq;
use crate::message::Message;
use crate::tick::{NAK_PAUSE, RETRIES, RETRY, Tick};
use heapless::Deque;

/// So many messages may be under way.
pub const WINDOW: usize = 4;
/// So many messages are held, those under way included.
pub const QUEUE: usize = 8;

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum SendError {
    /// No session stands.
    Down = 1,
    /// The queue is full.
    Full = 2,
    /// The other end sends such messages.
    Direction = 3,
}

impl core::fmt::Display for SendError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Down => "no session stands on the line",
            Self::Full => "the line's queue is full",
            Self::Direction => "the other end of the line sends such messages",
        })
    }
}

impl core::error::Error for SendError {}

/// Messages on their way.
#[derive(Clone, Debug, Default)]
pub(super) struct Outbox {
    queue: Deque<Message, QUEUE>,
    /// The number of the queue's first message.
    first: Seq,
    /// The queue's first so many have been sent since the last going back.
    sent: usize,
    /// The queue's first so many have been sent at all.
    reached: usize,
    /// When the first one was not acknowledged in time; none while nothing is under way.
    overdue_at: Option<Tick>,
    /// How often that happened without any progress.
    tries: u8,
    /// Not before this moment does a NAK send everything again.
    repeat_at: Option<Tick>,
}

impl Outbox {
    pub(super) fn push(&mut self, message: Message) -> Result<(), SendError> {
        // Numbers do not wrap: a session that has used them up takes no more.
        let room = self.first.0.checked_add(QUEUE as u32).is_some();
        if room { self.queue.push_back(message).map_err(|_| SendError::Full) } else { Err(SendError::Full) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Forgets everything and says how many had not been acknowledged.
    pub(super) fn clear(&mut self) -> u8 {
        let n = self.queue.len();
        *self = Self::default();
        u8::try_from(n).unwrap_or(u8::MAX)
    }

    /// Takes the other end's next expected number; false when it acknowledges what was never sent.
    pub(super) fn acknowledge(&mut self, now: Tick, next: Seq) -> bool {
        // A straggler that acknowledges less than is known already says nothing.
        let n = next.0.saturating_sub(self.first.0) as usize;
        if n > self.reached {
            return false;
        }
        if n > 0 {
            for _ in 0..n {
                self.queue.pop_front();
            }
            self.first = next;
            self.sent = self.sent.saturating_sub(n);
            self.reached -= n;
            self.tries = 0;
            self.overdue_at = (self.reached > 0).then(|| now.after(RETRY));
        }
        true
    }

    /// A NAK: sends again what is under way. The time that exhausts a session runs on.
    pub(super) fn repeat(&mut self, now: Tick) {
        if self.repeat_at.is_none_or(|at| now >= at) {
            self.repeat_at = Some(now.after(NAK_PAUSE));
            self.sent = 0;
        }
    }

    /// The next message to send.
    pub(super) fn next(&mut self, now: Tick) -> Option<(Seq, Message)> {
        if self.overdue_at.is_some_and(|at| now >= at) && self.tries < RETRIES {
            self.tries += 1;
            self.sent = 0;
            self.overdue_at = Some(now.after(RETRY));
        }
        if self.sent >= WINDOW {
            return None;
        }
        let message = self.queue.iter().nth(self.sent)?.clone();
        let seq = Seq(self.first.0 + self.sent as u32);
        self.sent += 1;
        self.reached = self.reached.max(self.sent);
        self.overdue_at.get_or_insert(now.after(RETRY));
        Some((seq, message))
    }

    /// Whether everything was tried.
    pub(super) fn is_exhausted(&self, now: Tick) -> bool {
        self.tries >= RETRIES && self.overdue_at.is_some_and(|at| now >= at)
    }
}
