//! Requests that end early: somebody cancelled one, or pressed stop at its station.
//!
//! Not the record of the press (see `panel`). Invariants: what is to end is told to the worker until it has heard it; what
//! still waits for the disk or the broker is over before it begins; and a panel hears no more of any request that the service
//! had taken before its station's stop. One that a broker still has looks like one that was made behind the stop, unless the
//! broker sent it before (`dup`): of such a one no panel hears.

use super::Service;
use crate::mqtt::link::Message;
use crate::mqtt::topic::InTopic;
use crate::{output, wire};
use r2d_core::id::Id;
use r2d_core::verdict::Reason;
use std::collections::VecDeque;
use std::time::SystemTime;

/// Most ids that are remembered as over: as many messages as a broker ever hands over unacknowledged.
const MAX_OVER: usize = 65_535;
/// Most waiting requests that the record of a stop names; a record has to fit into the log.
const MAX_NAMED: usize = 1024;

/// Requests that are over before they began. They are remembered until they are taken up, which may be on another
/// connection than the one that they were heard on.
#[derive(Debug, Default)]
pub(super) struct Over(VecDeque<Id>);

impl Over {
    fn add(&mut self, id: Id) {
        if self.0.contains(&id) {
            return;
        }
        self.0.push_back(id);
        if self.0.len() > MAX_OVER
            && let Some(oldest) = self.0.pop_front()
        {
            output::warn(format!("too many requests are over before they began; {oldest} is forgotten"));
        }
    }

    /// Whether this request is over; it is asked once.
    pub(super) fn take(&mut self, id: &Id) -> bool {
        let at = self.0.iter().position(|over| over == id);
        at.is_some_and(|at| self.0.remove(at).is_some())
    }
}

impl Service<'_> {
    /// A cancel came over MQTT.
    pub(super) fn on_cancel(&mut self, message: Message) {
        if let Ok(cancel) = wire::parse_cancel(&message.payload)
            && !message.retain
        {
            self.cancel(cancel.id);
        }
        self.link.ack(message.ack);
    }

    fn cancel(&mut self, id: Id) {
        let key = self.state.by_id.get(&id).copied();
        if let Some(pending) = key.and_then(|key| self.state.running.get_mut(&key)) {
            pending.to_end = true;
            self.end_what_is_to();
        } else if self.held_asks().any(|ask| ask.id == id) {
            output::note(format!("{id} is cancelled before it began"));
            self.state.over.add(id);
        }
    }

    /// Tells the worker which requests are to end; for what its line has no room for, the next heartbeat tries again.
    pub(super) fn end_what_is_to(&mut self) {
        for (key, pending) in self.state.running.iter_mut().filter(|(_, pending)| pending.to_end) {
            pending.to_end = !self.worker.stop(*key, Reason::Cancelled);
            if pending.to_end {
                let id = &pending.request.id;
                output::warn(format!("{id} is not told to end yet: the model has too many orders"));
            }
        }
    }

    /// Stop was pressed: gives the requests of the station that end.
    pub(super) fn stop_requests_of(&mut self, station: &Id) -> Vec<Id> {
        self.panels.stopped(station);
        let mut ended = Vec::new();
        for pending in self.state.running.values_mut() {
            if pending.request.station.as_ref() == Some(station) {
                (pending.silent, pending.to_end) = (true, true);
                ended.push(pending.request.id.clone());
            }
        }
        self.end_what_is_to();
        for decided in &mut self.state.unrecorded {
            decided.silent |= decided.record.station.as_ref() == Some(station);
        }
        let waiting = self.held_asks().filter(|ask| ask.station.as_ref() == Some(station));
        let waiting: Vec<Id> =
            waiting.map(|ask| ask.id).filter(|id| !self.state.by_id.contains_key(id)).collect();
        ended.extend(waiting.iter().take(MAX_NAMED).cloned());
        waiting.into_iter().for_each(|id| self.state.over.add(id));
        output::note(format!("stop was pressed at {station}: {} requests end", ended.len()));
        ended
    }

    /// What waits for the disk or the broker and is a request.
    fn held_asks(&self) -> impl Iterator<Item = wire::Ask> {
        let max_prompt = self.config.service.max_prompt_bytes as usize;
        let asks = self.state.held.iter().filter(move |message| {
            let kind = self.who.base.parse(&message.topic, self.pool.as_ref());
            !message.retain && matches!(kind, Some(InTopic::Ask | InTopic::PoolAsk | InTopic::Check))
        });
        asks.filter_map(move |message| wire::parse_ask(&message.payload, max_prompt, SystemTime::now()).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_is_so_once_and_its_number_is_bounded() {
        let id = |n: usize| Id::parse(&format!("r{n}")).unwrap();
        let mut over = Over::default();
        over.add(id(1));
        over.add(id(1));
        assert!(!over.take(&id(2)) && over.take(&id(1)) && !over.take(&id(1)));
        (0..=MAX_OVER).for_each(|n| over.add(id(n)));
        assert_eq!(over.0.len(), MAX_OVER);
        assert!(!over.take(&id(0)) && over.take(&id(1)) && over.take(&id(MAX_OVER)));
    }
}
