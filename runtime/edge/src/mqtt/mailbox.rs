//! The queue between the polling task and the caller.
//!
//! Not a channel: a channel that is full makes its sender wait or lose; here each kind of event has its
//! own bound, and messages of a lost connection leave the queue, since the broker sends them again.
//!
//! Invariant: at most [`WINDOWS`] x receive maximum + 1 + [`UNREAD_AT_MOST_ONCE`] messages, `WINDOW` reports, one
//! `Down`, one `Up`, and one refusal per subscription are queued, whatever the caller does not read.
//! For the first bound the polling task asks [`Mailbox::is_over`] before it reads on.

use std::collections::VecDeque;

use super::link::{LinkEvent, Message};

/// How many at-most-once messages wait for the caller before more are dropped.
pub(super) const UNREAD_AT_MOST_ONCE: usize = 64;

/// How many times the receive maximum may be unread before the socket is left alone: more than one,
/// since mosquitto 2.0.11 pushes a window for each acknowledgement, and a link that does not read its
/// socket does not write to it either.
const WINDOWS: usize = 4;

/// Unread events.
#[derive(Debug)]
pub(super) struct Mailbox {
    queue: VecDeque<LinkEvent>,
    receive_maximum: usize,
    reports: usize,
    at_least_once: usize,
    at_most_once: usize,
}

impl Mailbox {
    pub(super) fn new(receive_maximum: u16) -> Mailbox {
        Mailbox {
            queue: VecDeque::new(),
            receive_maximum: usize::from(receive_maximum),
            reports: 0,
            at_least_once: 0,
            at_most_once: 0,
        }
    }

    /// `Delivered` and `Refused` that the caller has not read.
    pub(super) fn unread_reports(&self) -> usize {
        self.reports
    }

    pub(super) fn unread(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn unread_at_least_once(&self) -> usize {
        self.at_least_once
    }

    /// More unread than a broker that keeps the receive maximum could cause.
    pub(super) fn is_over(&self) -> bool {
        self.at_least_once > WINDOWS * self.receive_maximum
    }

    /// Queues a message; `false` when it was dropped, which only an at-most-once one is.
    pub(super) fn push_message(&mut self, message: Message) -> bool {
        if message.ack.qos == 0 {
            if self.at_most_once >= UNREAD_AT_MOST_ONCE {
                return false;
            }
            self.at_most_once += 1;
        } else {
            self.at_least_once += 1;
        }
        self.queue.push_back(LinkEvent::Message(message));
        true
    }

    /// Queues an event that is not a message; the caller of this bounds reports by the window.
    pub(super) fn push(&mut self, event: LinkEvent) {
        if matches!(event, LinkEvent::Delivered(_) | LinkEvent::Refused { .. }) {
            self.reports += 1;
        }
        self.queue.push_back(event);
    }

    /// Queues a `Down` and removes what it makes void; says how many messages went.
    pub(super) fn push_down(&mut self, down: LinkEvent) -> u64 {
        let before = self.at_least_once;
        self.queue.retain(|event| match event {
            LinkEvent::Message(message) => message.ack.qos == 0,
            LinkEvent::Delivered(_) | LinkEvent::Refused { .. } => true,
            LinkEvent::Up { .. }
            | LinkEvent::Subscribed
            | LinkEvent::Down { .. }
            | LinkEvent::SubscriptionRefused { .. } => false,
        });
        self.at_least_once = 0;
        self.queue.push_back(down);
        u64::try_from(before).unwrap_or(u64::MAX)
    }

    pub(super) fn pop(&mut self) -> Option<LinkEvent> {
        let event = self.queue.pop_front()?;
        match &event {
            LinkEvent::Message(message) if message.ack.qos == 0 => self.at_most_once -= 1,
            LinkEvent::Message(_) => self.at_least_once -= 1,
            LinkEvent::Delivered(_) | LinkEvent::Refused { .. } => self.reports -= 1,
            _ => {}
        }
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::mqtt::link::{AckToken, PublishId};

    fn message(qos: u8) -> Message {
        Message {
            topic: "t".into(),
            payload: Vec::new(),
            retain: false,
            dup: false,
            response_topic: None,
            correlation: None,
            expiry_s: None,
            ack: AckToken { generation: 1, packet: 1, qos },
        }
    }

    fn down() -> LinkEvent {
        LinkEvent::Down { reason: "test".into(), retry_in: Duration::ZERO }
    }

    #[test]
    fn each_kind_of_message_has_its_own_bound() {
        let mut mailbox = Mailbox::new(2);
        for _ in 0..2 * WINDOWS {
            assert!(mailbox.push_message(message(1)));
        }
        assert!(!mailbox.is_over());
        assert!(mailbox.push_message(message(1)));
        assert!(mailbox.is_over());
        for _ in 0..UNREAD_AT_MOST_ONCE {
            assert!(mailbox.push_message(message(0)));
        }
        assert!(!mailbox.push_message(message(0)));
        assert!(mailbox.pop().is_some());
        assert!(!mailbox.is_over());
    }

    #[test]
    fn down_returns_unread_messages_but_keeps_reports_and_makes_room() {
        let mut mailbox = Mailbox::new(0);
        mailbox.push(LinkEvent::Up { session_present: false });
        mailbox.push(LinkEvent::Delivered(PublishId(7)));
        assert!(mailbox.push_message(message(1)) && mailbox.is_over());
        assert_eq!(mailbox.push_down(down()), 1);
        assert!(!mailbox.is_over());
        assert!(mailbox.push_message(message(1)));
        assert!(matches!(mailbox.pop(), Some(LinkEvent::Delivered(PublishId(7)))));
        assert_eq!(mailbox.unread_reports(), 0);
        assert!(matches!(mailbox.pop(), Some(LinkEvent::Down { .. })));
        assert!(matches!(mailbox.pop(), Some(LinkEvent::Message(_))));
        assert!(mailbox.pop().is_none());
    }

    #[test]
    fn a_flapping_connection_does_not_fill_the_queue() {
        let mut mailbox = Mailbox::new(1);
        for _ in 0..1000 {
            mailbox.push(LinkEvent::Up { session_present: true });
            mailbox.push(LinkEvent::Subscribed);
            mailbox.push_down(down());
        }
        assert_eq!(mailbox.queue.len(), 1);
    }
}
