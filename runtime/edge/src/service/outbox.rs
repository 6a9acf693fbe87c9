//! The outbox at work: one row with the broker at a time, and what the connection reports.
//!
//! Rows come from records and stay on the disk until the broker has acknowledged them. Invariant: a request is
//! acknowledged only behind its last row.

use super::Service;
use crate::mqtt::link::{AckToken, LinkEvent, Publication, PublishError, PublishId, Qos};
use crate::output;
use crate::store::OutboxKey;
use crate::wire::State;

/// Publish ids at and above this are not outbox rows: status and info, which the next connection sends anew.
pub(super) const OWN_IDS: u64 = 1 << 62;

/// Reason codes of MQTT 5 that the same message would meet again: not authorised, topic name invalid, packet too large,
/// payload format invalid, retain not supported.
const FOR_GOOD: [u8; 5] = [0x87, 0x90, 0x95, 0x99, 0x9a];

impl Service<'_> {
    /// Acknowledges requests when the last of `rows` is delivered.
    pub(super) fn ack_after(
        &mut self,
        rows: std::ops::Range<OutboxKey>,
        acks: Vec<AckToken>,
    ) -> anyhow::Result<()> {
        match last_of(&rows) {
            Some(last) => self.state.acks.entry(last).or_default().extend(acks),
            None => acks.into_iter().for_each(|ack| {
                self.link.ack(ack);
            }),
        }
        self.send_next()
    }

    /// Publishes the oldest row, if the broker has the one before.
    pub(super) fn send_next(&mut self) -> anyhow::Result<()> {
        while self.state.up && self.state.in_flight.is_none() {
            let Some((key, out)) = self.store.next(None)? else { return Ok(()) };
            let publication = Publication {
                topic: out.topic,
                payload: out.payload,
                qos: Qos::AtLeastOnce,
                retain: out.retain,
                expiry_s: out.expiry_s,
                correlation: out.correlation,
            };
            match self.link.publish(PublishId(key), publication) {
                Ok(()) => self.state.in_flight = Some(key),
                Err(
                    error @ (PublishError::TooLarge { .. }
                    | PublishError::Topic(_)
                    | PublishError::Correlation(_)),
                ) => {
                    // This message can never go out: the rest must not wait behind it.
                    output::warn(format!("a message was given up: {error}"));
                    self.state.counts.refused += 1;
                    self.settle(key)?;
                }
                // The next connection, report or heartbeat tries again.
                Err(_) => return Ok(()),
            }
        }
        Ok(())
    }

    /// A row is done with.
    pub(super) fn settle(&mut self, key: OutboxKey) -> anyhow::Result<()> {
        self.store.delivered(key)?;
        for ack in self.state.acks.remove(&key).unwrap_or_default() {
            self.link.ack(ack);
        }
        Ok(())
    }

    pub(super) fn on_link(&mut self, event: LinkEvent) -> anyhow::Result<()> {
        match event {
            LinkEvent::Up { .. } => {
                self.state.up = true;
                self.state.in_flight = None;
                self.send_next()
            }
            LinkEvent::Subscribed => {
                // Online is said when requests are heard, not before.
                output::note("connected to the broker, listening for requests");
                let online = self.status(State::Online);
                let info = self.info();
                for (n, publication) in (0..).zip([online, info]) {
                    if let Err(error) = self.link.publish(PublishId(OWN_IDS + n), publication) {
                        output::warn(format!("status was not published: {error}"));
                    }
                }
                self.send_next()
            }
            LinkEvent::Down { reason, retry_in } => {
                if std::mem::take(&mut self.state.up) {
                    output::warn(format!("connection lost: {reason}"));
                } else {
                    output::note(format!(
                        "no connection: {reason}; next try in {:.1} s",
                        retry_in.as_secs_f64()
                    ));
                }
                self.state.in_flight = None;
                // The broker delivers them again.
                self.state.held.clear();
                Ok(())
            }
            LinkEvent::Message(message) => self.on_message(message),
            LinkEvent::Delivered(PublishId(id)) => self.on_delivery(id),
            LinkEvent::Refused { id: PublishId(id), code } => {
                self.state.counts.refused += 1;
                if FOR_GOOD.contains(&code) {
                    output::warn(format!(
                        "the broker refused a message (reason code {code}); it is given up"
                    ));
                    self.on_delivery(id)
                } else {
                    // Its quota, say: the row stays, and the next heartbeat tries again.
                    output::warn(format!("the broker does not take a message now (reason code {code})"));
                    self.state.in_flight.take_if(|key| *key == id);
                    Ok(())
                }
            }
            LinkEvent::SubscriptionRefused { filter, code } => {
                output::warn(format!("the broker refused the subscription {filter} (reason code {code})"));
                Ok(())
            }
        }
    }

    pub(super) fn on_delivery(&mut self, id: u64) -> anyhow::Result<()> {
        if let Some(key) = self.state.in_flight.take_if(|key| *key == id) {
            self.settle(key)?;
        }
        self.send_next()
    }
}

fn last_of(rows: &std::ops::Range<OutboxKey>) -> Option<OutboxKey> {
    (rows.start < rows.end).then(|| rows.end - 1)
}
