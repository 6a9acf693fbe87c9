//! The outbox at work: one row with the broker at a time, and what the connection reports.
//!
//! Rows come from records and stay on the disk until the broker has acknowledged them, or until it can be seen that it
//! never will: then a row is given up with a warning, so that the rest does not wait behind it. Invariant: a request is
//! acknowledged only behind the last row that it brought; one that came before brings none while its answer's rows still
//! wait on the disk.

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
/// The reason code of a broker that acknowledges nothing.
const QOS_NOT_SUPPORTED: u8 = 0x9b;
/// How often the oldest row is offered, once a heartbeat, before it is given up.
const MAX_REFUSALS: u32 = 20;

/// How the broker takes the oldest row.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// How often in a row it refused it.
    n: u32,
    /// Until the next heartbeat it is not offered again.
    pub(super) rests: bool,
}

impl Refusals {
    /// Takes note of one; whether the row is to be given up.
    fn note(&mut self, code: u8) -> bool {
        self.n = self.n.saturating_add(1);
        self.rests = !FOR_GOOD.contains(&code) && self.n < MAX_REFUSALS;
        !self.rests
    }
}

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
        while self.state.up && self.state.in_flight.is_none() && !self.state.refusals.rests {
            let Some((key, out)) = self.store.next(None)? else { return Ok(()) };
            let retain = out.retain;
            let publication = Publication {
                topic: out.topic,
                payload: out.payload,
                qos: Qos::AtLeastOnce,
                retain,
                expiry_s: out.expiry_s,
                correlation: out.correlation,
            };
            let Err(error) = self.link.publish(PublishId(key), publication) else {
                self.state.in_flight = Some(key);
                return Ok(());
            };
            let given_up = match error {
                // This message can never go out: the rest must not wait behind it.
                PublishError::TooLarge { .. } | PublishError::Topic(_) | PublishError::Correlation(_) => true,
                // A broker without retained messages takes the others. One that acknowledges nothing takes none, and may
                // be put right before the whole outbox is thrown away.
                PublishError::Unsupported(_) => retain || self.state.refusals.note(QOS_NOT_SUPPORTED),
                // The next connection, report or heartbeat tries again.
                _ => return Ok(()),
            };
            if given_up {
                output::warn(format!("a message was given up: {error}"));
                self.state.counts.refused += 1;
                self.settle(key)?;
            } else {
                output::warn(format!("a message cannot be sent now: {error}"));
            }
        }
        Ok(())
    }

    /// A row is done with.
    pub(super) fn settle(&mut self, key: OutboxKey) -> anyhow::Result<()> {
        self.store.delivered(key)?;
        self.state.refusals = Refusals::default();
        for ack in self.state.acks.remove(&key).unwrap_or_default() {
            self.link.ack(ack);
        }
        Ok(())
    }

    pub(super) fn on_link(&mut self, event: LinkEvent) -> anyhow::Result<()> {
        match event {
            LinkEvent::Up { .. } => {
                self.state.up = true;
                self.state.deaf = false;
                self.state.in_flight = None;
                self.send_next()
            }
            LinkEvent::Subscribed => {
                // Online is said when requests are heard, not before.
                if self.state.deaf {
                    output::warn(
                        "connected to the broker, which lets no requests through: this device stays offline to others",
                    );
                    return self.send_next();
                }
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
            LinkEvent::Refused { id: PublishId(id), code } => self.on_refusal(id, code),
            LinkEvent::SubscriptionRefused { filter, code } => {
                let hint = "hint: its access list must let this device read it";
                output::warn(format!(
                    "the broker refused the subscription {filter} (reason code {code}); {hint}"
                ));
                self.state.deaf |= code >= 0x80 && filter == format!("{}/req/ask", self.who.base.as_str());
                Ok(())
            }
        }
    }

    fn on_refusal(&mut self, id: u64, code: u8) -> anyhow::Result<()> {
        // Status and info are no rows: the next connection sends them anew.
        if self.state.in_flight == Some(id) && !self.state.refusals.note(code) {
            // Its quota, say: the row stays, and the next heartbeat tries again.
            output::warn(format!("the broker does not take a message now (reason code {code})"));
            self.state.in_flight = None;
            return Ok(());
        }
        self.state.counts.refused += 1;
        output::warn(format!("the broker refused a message (reason code {code}); it is given up"));
        self.on_delivery(id)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_is_refused_waits_for_a_heartbeat_and_is_given_up_after_a_bound() {
        let quota = 0x97;
        let mut refusals = Refusals::default();
        for n in 1..MAX_REFUSALS {
            assert!(!refusals.note(quota) && refusals.rests, "{n}");
        }
        assert!(refusals.note(quota) && !refusals.rests);
        for code in FOR_GOOD {
            let mut refusals = Refusals::default();
            assert!(refusals.note(code) && !refusals.rests, "{code}");
        }
    }
}
