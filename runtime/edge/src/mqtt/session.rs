//! What caller and polling task share: the current connection, its window, the unread events.
//!
//! Not here: sockets, and when to connect.
//!
//! Invariant: the lock is never held over an await, and nothing under it waits; the request queue
//! has room for every request that is let through, so handing one over cannot fail on a living loop.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rumqttc::v5::AsyncClient;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Publish, PublishProperties};
use tokio::sync::{Notify, oneshot};

use super::link::{
    Ack, AckToken, LinkCounters, LinkEvent, Message, Publication, PublishError, PublishId, Qos, WINDOW,
};
use super::mailbox::Mailbox;
use super::topic;

/// How many at-most-once publishes wait for the socket before more are dropped.
const QUEUED_AT_MOST_ONCE: usize = 64;

/// How many acknowledgements are in the library's request queue; more wait here.
const QUEUED_ACKS: usize = 64;

/// Room in the library's request queue: acknowledgements, all publishes, the farewell, SUBSCRIBE and
/// DISCONNECT.
pub(super) const REQUESTS: usize = QUEUED_ACKS + WINDOW + QUEUED_AT_MOST_ONCE + 3;

/// What the broker said it can do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) max_packet: Option<u32>,
    pub(super) retain: bool,
    pub(super) at_least_once: bool,
}

/// Who wants to hear of a PUBACK.
#[derive(Debug)]
enum Ticket {
    Caller(PublishId),
    Farewell(oneshot::Sender<u8>),
}

/// One connection.
#[derive(Debug)]
struct Session {
    client: AsyncClient,
    limits: Limits,
    /// Queued, in the order in which the library will give them packet ids.
    sent: VecDeque<Ticket>,
    in_flight: HashMap<u16, Ticket>,
    queued_at_most_once: usize,
    queued_acks: usize,
    /// Given by the caller and not yet to the library: packet id and quality of service.
    waiting_acks: VecDeque<(u16, u8)>,
    /// At-least-once messages that arrived and whose acknowledgement is not written.
    unacknowledged: usize,
}

#[derive(Debug)]
struct State {
    mailbox: Mailbox,
    session: Option<Session>,
    receive_maximum: usize,
    generation: u64,
    counters: LinkCounters,
    /// No more publishes.
    closing: bool,
    /// No more events either.
    ended: bool,
}

/// Shared by `Link`, `LinkEvents` and the polling task.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    arrived: Notify,
    /// The polling task may have something to read for again.
    room: Notify,
    max_packet: u32,
}

impl Shared {
    pub(super) fn new(receive_maximum: u16, max_packet: u32) -> Shared {
        let state = State {
            mailbox: Mailbox::new(receive_maximum),
            session: None,
            receive_maximum: usize::from(receive_maximum),
            generation: 0,
            counters: LinkCounters::default(),
            closing: false,
            ended: false,
        };
        Shared { state: Mutex::new(state), arrived: Notify::new(), room: Notify::new(), max_packet }
    }

    /// A panic elsewhere leaves counts at worst one off; the link goes on.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn next_event(&self) -> Option<LinkEvent> {
        loop {
            let arrived = self.arrived.notified();
            {
                let mut state = self.lock();
                if let Some(event) = state.mailbox.pop() {
                    state.pass_acks();
                    self.room.notify_one();
                    return Some(event);
                }
                if state.ended {
                    return None;
                }
            }
            arrived.await;
        }
    }

    pub(super) fn counters(&self) -> LinkCounters {
        let state = self.lock();
        LinkCounters { unread: state.mailbox.unread(), ..state.counters }
    }

    pub(super) fn is_closing(&self) -> bool {
        self.lock().closing
    }

    /// The link is over: its events end after those that are queued.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        state.session = None;
        state.closing = true;
        state.ended = true;
        drop(state);
        self.arrived.notify_one();
        self.room.notify_one();
    }

    /// Returns once the unread messages are within their bound; at once for a broker that keeps the
    /// receive maximum. Not reading on is what holds one back that does not.
    pub(super) async fn room(&self) {
        loop {
            let room = self.room.notified();
            {
                let state = self.lock();
                if state.closing || !state.mailbox.is_over() {
                    return;
                }
            }
            room.await;
        }
    }

    // What the caller does.

    pub(super) fn publish(&self, id: PublishId, publication: Publication) -> Result<(), PublishError> {
        let mut state = self.lock();
        if state.closing {
            return Err(PublishError::Closed);
        }
        let unread = state.mailbox.unread_reports();
        let State { session, counters, .. } = &mut *state;
        let session = session.as_mut().ok_or(PublishError::Down)?;
        match publication.qos {
            Qos::AtLeastOnce => {
                let pending = session.sent.len() + session.in_flight.len() + unread;
                if pending >= WINDOW {
                    return Err(PublishError::Full(pending));
                }
                session.hand_over(publication, self.max_packet)?;
                session.sent.push_back(Ticket::Caller(id));
            }
            Qos::AtMostOnce => {
                if session.queued_at_most_once >= QUEUED_AT_MOST_ONCE {
                    counters.dropped_out += 1;
                    return Err(PublishError::Full(session.queued_at_most_once));
                }
                session.hand_over(publication, self.max_packet)?;
                session.queued_at_most_once += 1;
            }
        }
        Ok(())
    }

    pub(super) fn ack(&self, token: &AckToken) -> Ack {
        if token.qos == 0 {
            return Ack::Sent;
        }
        let mut state = self.lock();
        let current = state.generation == token.generation;
        match state.session.as_mut().filter(|_| current) {
            Some(session) => {
                session.waiting_acks.push_back((token.packet, token.qos));
                state.pass_acks();
                Ack::Sent
            }
            None => Ack::Stale,
        }
    }

    /// Stops publishing and queues the farewell; the receiver yields the code of its PUBACK.
    pub(super) fn part(
        &self,
        last: Option<Publication>,
    ) -> Result<Option<oneshot::Receiver<u8>>, PublishError> {
        let mut state = self.lock();
        state.closing = true;
        self.room.notify_one();
        let session = state.session.as_mut().ok_or(PublishError::Down)?;
        let Some(last) = last else { return Ok(None) };
        session.hand_over(Publication { qos: Qos::AtLeastOnce, ..last }, self.max_packet)?;
        let (sender, receiver) = oneshot::channel();
        session.sent.push_back(Ticket::Farewell(sender));
        Ok(Some(receiver))
    }

    /// Queues DISCONNECT.
    pub(super) fn disconnect(&self) -> bool {
        self.lock().session.as_ref().is_some_and(|session| session.client.try_disconnect().is_ok())
    }

    // What the polling task reports.

    pub(super) fn up(&self, client: AsyncClient, limits: Limits, session_present: bool) {
        let mut state = self.lock();
        state.generation += 1;
        state.counters.connections += 1;
        state.session = Some(Session {
            client,
            limits,
            sent: VecDeque::new(),
            in_flight: HashMap::new(),
            queued_at_most_once: 0,
            queued_acks: 0,
            waiting_acks: VecDeque::new(),
            unacknowledged: 0,
        });
        state.mailbox.push(LinkEvent::Up { session_present });
        drop(state);
        self.arrived.notify_one();
    }

    pub(super) fn down(&self, event: LinkEvent) {
        let mut state = self.lock();
        state.session = None;
        let returned = state.mailbox.push_down(event);
        state.counters.returned_in += returned;
        drop(state);
        self.arrived.notify_one();
    }

    pub(super) fn report(&self, event: LinkEvent) {
        self.lock().mailbox.push(event);
        self.arrived.notify_one();
    }

    /// The library wrote a publish; 0 is an at-most-once one.
    pub(super) fn written(&self, packet: u16) {
        let mut state = self.lock();
        let Some(session) = state.session.as_mut() else { return };
        if packet == 0 {
            session.queued_at_most_once = session.queued_at_most_once.saturating_sub(1);
        } else if let Some(ticket) = session.sent.pop_front() {
            session.in_flight.insert(packet, ticket);
        }
    }

    /// The library wrote an acknowledgement.
    pub(super) fn ack_written(&self) {
        let mut state = self.lock();
        if let Some(session) = state.session.as_mut() {
            session.queued_acks = session.queued_acks.saturating_sub(1);
            session.unacknowledged = session.unacknowledged.saturating_sub(1);
            state.pass_acks();
        }
    }

    /// The broker answered a publish with this reason code.
    pub(super) fn acknowledged(&self, packet: u16, code: u8) {
        let mut state = self.lock();
        let Some(session) = state.session.as_mut() else { return };
        let Some(ticket) = session.in_flight.remove(&packet) else { return };
        let taken = code < 0x80;
        match ticket {
            Ticket::Caller(id) if taken => state.mailbox.push(LinkEvent::Delivered(id)),
            Ticket::Caller(id) => state.mailbox.push(LinkEvent::Refused { id, code }),
            // A closer that no longer waits has nothing to learn.
            Ticket::Farewell(sender) => drop(sender.send(code)),
        }
        drop(state);
        self.arrived.notify_one();
    }

    pub(super) fn arrived(&self, publish: Publish) {
        let mut state = self.lock();
        let qos = publish.qos as u8;
        if qos > 0
            && let Some(session) = state.session.as_mut()
        {
            session.unacknowledged += 1;
        }
        let ack = AckToken { generation: state.generation, packet: publish.pkid, qos };
        let Ok(topic) = String::from_utf8(publish.topic.to_vec()) else {
            // Nobody can act on it, so it must not come again.
            state.counters.dropped_in += 1;
            drop(state);
            self.ack(&ack);
            return;
        };
        let properties = publish.properties.unwrap_or_default();
        let message = Message {
            topic,
            payload: publish.payload.into(),
            retain: publish.retain,
            dup: publish.dup,
            response_topic: properties.response_topic,
            correlation: properties.correlation_data.map(Into::into),
            expiry_s: properties.message_expiry_interval,
            ack,
        };
        if !state.mailbox.push_message(message) {
            state.counters.dropped_in += 1;
        }
        drop(state);
        self.arrived.notify_one();
    }
}

impl State {
    /// Gives acknowledgements to the library.
    ///
    /// Freely for a broker that keeps the receive maximum. mosquitto 2.0.11 does not: while it has a
    /// queue, each acknowledgement makes it push a whole window more. Then they go one by one, each
    /// when everything is read, or its flood would keep the library from writing anything else.
    fn pass_acks(&mut self) {
        let all_read = self.mailbox.unread_at_least_once() == 0;
        let Some(session) = self.session.as_mut() else { return };
        let room =
            if session.unacknowledged <= self.receive_maximum { QUEUED_ACKS } else { usize::from(all_read) };
        while session.queued_acks < room {
            let Some((packet, qos)) = session.waiting_acks.pop_front() else { return };
            let qos = if qos == 1 { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
            let mut named = Publish::new("", qos, Vec::new(), None);
            named.pkid = packet;
            if session.client.try_ack(&named).is_err() {
                // The loop is gone; `Down` follows, and the broker delivers again.
                return;
            }
            session.queued_acks += 1;
        }
    }
}

impl Session {
    fn hand_over(&mut self, publication: Publication, own_max: u32) -> Result<(), PublishError> {
        let Publication { topic, payload, qos, retain, expiry_s, correlation } = publication;
        if !topic::is_concrete(&topic) {
            return Err(PublishError::Topic(topic));
        }
        if let Some(length) = correlation.as_ref().map(Vec::len).filter(|l| *l > usize::from(u16::MAX)) {
            return Err(PublishError::Correlation(length));
        }
        if retain && !self.limits.retain {
            return Err(PublishError::Unsupported("retained"));
        }
        let qos = match qos {
            Qos::AtMostOnce => QoS::AtMostOnce,
            Qos::AtLeastOnce if self.limits.at_least_once => QoS::AtLeastOnce,
            Qos::AtLeastOnce => return Err(PublishError::Unsupported("acknowledged")),
        };
        let properties = PublishProperties {
            message_expiry_interval: expiry_s,
            correlation_data: correlation.map(Into::into),
            ..PublishProperties::default()
        };
        let mut packet = Publish::new(topic.as_str(), qos, payload, Some(properties.clone()));
        // Any id that is not 0 makes the library count the two bytes that the id will take.
        packet.pkid = 1;
        let max = u32::min(own_max, self.limits.max_packet.unwrap_or(u32::MAX));
        let (size, max) = (packet.size(), usize::try_from(max).unwrap_or(usize::MAX));
        if size > max {
            return Err(PublishError::TooLarge { topic, size, max });
        }
        self.client
            .try_publish_with_properties(topic, qos, retain, packet.payload, properties)
            .map_err(|_| PublishError::Down)
    }
}
