//! An MQTT 5 session that reconnects for ever, with rumqttc behind it.
//!
//! Not here: durability. A message handed to [`Link::publish`] lives in memory until its PUBACK; the
//! caller keeps what must not be lost and sends it again after [`LinkEvent::Down`].
//!
//! What the library does, and what follows from it:
//! - It keeps nothing on disk, and drops its unacknowledged publishes when the broker answers
//!   "no session". So its memory is never relied on: after every error its event loop is thrown away
//!   and built anew, and it repeats nothing by itself. Only the caller repeats, so the number of
//!   duplicates is at most what was in flight ([`WINDOW`]; one for a caller with one in flight).
//!   Such a repeat carries a new packet id and no DUP flag: receivers tell duplicates by the payload's id.
//! - Kept over a reconnect, its state goes wrong: a packet id collision is never cleared
//!   (`CollisionTimeout` for ever), unread events of the old connection come up in the new one, and a
//!   smaller receive maximum of the broker leaves packet ids out of range. A new loop has none of it.
//! - A packet that is larger than the broker allows ends the connection, and would be repeated after
//!   it: its size is checked before it is queued.
//! - Requests wait in one bounded queue that only the polling task empties. Nobody waits for room: the
//!   queue has room for every publish of the window, and the rest is refused.
//! - `poll` is not safe to cancel, so it has a task of its own, and the caller's methods never wait for it.
//!
//! The caller keeps reading events. mosquitto 2.0.11 ignores the receive maximum once it has a queue: it
//! pushes a whole window for each acknowledgement. Against that, acknowledgements are paced while too
//! much is unacknowledged, and the socket is not read while four times the receive maximum is unread.
//!
//! Invariant: `Delivered(id)` is reported exactly when the broker's PUBACK said success; memory is
//! bounded by a multiple of receive maximum x packet size, whatever broker and caller do.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::Mutex;
use tokio::task::{AbortHandle, JoinHandle};

pub use super::options::{Backoff, ClientCertificate, LinkOptions, Login, Password, Subscription, Will};
use super::session::Shared;
use super::tls::TlsError;
use super::{connection, topic};

/// How many acknowledged publishes may be in flight or unread by the caller.
///
/// One below the limit given to the library, where the farewell of [`Link::close`] still fits.
pub const WINDOW: usize = 15;

/// Names one publish of the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublishId(pub u64);

/// Quality of service; exactly-once is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qos {
    /// May be lost.
    AtMostOnce,
    /// Arrives, perhaps twice.
    AtLeastOnce,
}

/// A message to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// The topic, without wildcards.
    pub topic: String,
    /// The payload.
    pub payload: Vec<u8>,
    /// The quality of service.
    pub qos: Qos,
    /// Whether the broker keeps it for later subscribers.
    pub retain: bool,
    /// After how many seconds the broker drops it.
    pub expiry_s: Option<u32>,
    /// Correlation data of the request it answers.
    pub correlation: Option<Vec<u8>>,
}

/// What happened on the link.
#[derive(Debug)]
pub enum LinkEvent {
    /// Connected; publishing is possible, subscriptions are on their way.
    Up {
        /// Whether the broker still had the session. Subscriptions are renewed either way.
        session_present: bool,
    },
    /// The broker answered every subscription; refusals were reported before this.
    Subscribed,
    /// The connection is gone, or an attempt failed. What was not `Delivered` by now is not in flight any more.
    Down {
        /// Why, for people; never holds credentials.
        reason: String,
        /// When the next attempt starts.
        retry_in: Duration,
    },
    /// A message arrived. It stays at the broker until its token is given to [`Link::ack`].
    Message(Message),
    /// The broker took this publish over.
    Delivered(PublishId),
    /// The broker answered this publish with a failure; sending it again will likely fail again.
    Refused {
        /// The publish.
        id: PublishId,
        /// The MQTT 5 reason code of the PUBACK.
        code: u8,
    },
    /// A subscription is not in force, or weaker than asked.
    SubscriptionRefused {
        /// The filter.
        filter: String,
        /// The MQTT 5 reason code; 0 means granted, but at most once only.
        code: u8,
    },
}

/// A message that arrived.
#[derive(Debug)]
pub struct Message {
    /// The topic.
    pub topic: String,
    /// The payload.
    pub payload: Vec<u8>,
    /// Whether its publisher asked the broker to keep it.
    pub retain: bool,
    /// Whether the broker delivered it before.
    pub dup: bool,
    /// Where the sender wants the answer; untrusted, see [`super::ReplyAllowList`].
    pub response_topic: Option<String>,
    /// What the sender wants back with the answer.
    pub correlation: Option<Vec<u8>>,
    /// Seconds of life left when the broker sent it.
    pub expiry_s: Option<u32>,
    /// To be given to [`Link::ack`] when the message is done with.
    pub ack: AckToken,
}

/// The right to acknowledge one message, once, on the connection it came by.
///
/// After a reconnect it is void: the broker delivers the message again, with a new token.
#[derive(Debug)]
#[must_use = "the broker keeps the message, and a place of the receive window, until it is acknowledged"]
pub struct AckToken {
    pub(super) generation: u64,
    pub(super) packet: u16,
    pub(super) qos: u8,
}

impl AckToken {
    /// Whether the broker keeps the message until it is acknowledged.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.qos > 0
    }
}

/// What became of an acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ack {
    /// Queued for the broker (or none was due).
    Sent,
    /// The connection of the message is gone; the broker will deliver it again.
    Stale,
}

/// Counts since the start of the link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LinkCounters {
    /// Connections made.
    pub connections: u64,
    /// At-most-once publishes that found no room and were dropped.
    pub dropped_out: u64,
    /// Arrived at-most-once messages that the caller did not fetch in time, and unreadable ones.
    pub dropped_in: u64,
    /// Events that wait for the caller now; bounded, so a number that stays high means a slow caller.
    pub unread: usize,
    /// At-least-once messages taken from the unread queue since the broker will deliver them again.
    pub returned_in: u64,
}

/// Why a publish was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PublishError {
    /// No connection now.
    #[error("no connection to the broker\nhint: publish again after the next `Up`")]
    Down,
    /// Too much in flight, or too many reports unread.
    #[error("{0} publishes are in flight or unread\nhint: read the link's events before publishing more")]
    Full(usize),
    /// The packet is larger than we or the broker allow.
    #[error(
        "packet of {size} bytes to `{topic}` is over the limit of {max}\nhint: raise the packet limit of the broker and ours, or send less"
    )]
    TooLarge {
        /// Where it was to go.
        topic: String,
        /// Bytes on the wire.
        size: usize,
        /// The limit.
        max: usize,
    },
    /// Not a topic one can publish to.
    #[error("`{0}` is not a topic to publish to\nhint: no wildcards, not empty, at most 65535 bytes")]
    Topic(String),
    /// Correlation data that no packet can hold.
    #[error("correlation data has {0} bytes\nhint: MQTT allows 65535")]
    Correlation(usize),
    /// The broker said at connect that it takes neither retained nor acknowledged messages.
    #[error("the broker does not take {0} messages\nhint: enable them in the broker")]
    Unsupported(&'static str),
    /// [`Link::close`] was called.
    #[error("the link is closed")]
    Closed,
}

/// Why a link cannot start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LinkError {
    /// A setting is out of its range.
    #[error("{name} is {value}, not {range}\nhint: see the mqtt section of the configuration")]
    Setting {
        /// The setting.
        name: &'static str,
        /// Its value.
        value: String,
        /// What is allowed.
        range: &'static str,
    },
    /// A filter or topic is not valid.
    #[error("`{0}` is not a valid {1}\nhint: `+` stands alone in its level, `#` alone in the last one")]
    Topic(String, &'static str),
    /// Certificates or keys cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// What became of the last message of [`Link::close`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Farewell {
    /// There was none to send; the session was ended in order.
    NotAsked,
    /// The broker took it over.
    Delivered,
    /// The broker answered it with this failure code.
    Refused(u8),
    /// No connection, or not acknowledged in time: the broker publishes the last will instead.
    Undelivered,
}

/// A session with a broker. Dropping it cuts the connection, and the broker publishes the will.
#[derive(Debug)]
pub struct Link {
    shared: Arc<Shared>,
    task: Mutex<Option<JoinHandle<()>>>,
    abort: AbortHandle,
}

/// The events of a link, in order.
#[derive(Debug)]
pub struct LinkEvents {
    shared: Arc<Shared>,
}

impl LinkEvents {
    /// The next event; `None` once the link is closed or dropped. Safe to cancel.
    pub async fn recv(&mut self) -> Option<LinkEvent> {
        self.shared.next_event().await
    }
}

impl Link {
    /// Starts a session inside the current tokio runtime and keeps it until `close` or drop.
    ///
    /// # Errors
    /// [`LinkError`] for settings or files that no broker could make right. That no broker answers is
    /// an event, not an error.
    pub fn start(options: LinkOptions) -> Result<(Link, LinkEvents), LinkError> {
        for subscription in &options.subscriptions {
            if !topic::is_filter(&subscription.filter) {
                return Err(LinkError::Topic(subscription.filter.clone(), "topic filter"));
            }
        }
        if let Some(will) = options.will.as_ref().filter(|will| !topic::is_concrete(&will.topic)) {
            return Err(LinkError::Topic(will.topic.clone(), "topic of a last will"));
        }
        let plan = connection::Plan::new(&options)?;
        let shared = Arc::new(Shared::new(options.receive_maximum, options.max_packet));
        let task = tokio::spawn(connection::run(Arc::clone(&shared), plan));
        let abort = task.abort_handle();
        let events = LinkEvents { shared: Arc::clone(&shared) };
        Ok((Link { shared, task: Mutex::new(Some(task)), abort }, events))
    }

    /// Queues a publish; never waits.
    ///
    /// At least once: `Ok` is followed by `Delivered`, `Refused` or `Down`. At most once: `Ok` says
    /// nothing about arrival.
    ///
    /// # Errors
    /// [`PublishError`]; the link is as usable as before.
    pub fn publish(&self, id: PublishId, publication: Publication) -> Result<(), PublishError> {
        self.shared.publish(id, publication)
    }

    /// Acknowledges a message; never waits, and is harmless after a reconnect.
    pub fn ack(&self, token: AckToken) -> Ack {
        self.shared.ack(&token)
    }

    /// What was counted so far.
    pub fn counters(&self) -> LinkCounters {
        self.shared.counters()
    }

    /// Publishes `last` (always at least once), waits for its acknowledgement, and disconnects in
    /// order, so that the will is not published. All of it within the given time; at its end the
    /// connection is cut. Messages that were not acknowledged stay in the session at the broker.
    pub async fn close(&self, last: Option<Publication>, within: Duration) -> Farewell {
        let deadline = tokio::time::Instant::now() + within;
        let Some(task) = self.task.lock().await.take() else {
            return Farewell::Undelivered;
        };
        let farewell = connection::say_farewell(&self.shared, last, deadline).await;
        if farewell != Farewell::Undelivered && self.shared.disconnect() {
            // The broker closes the connection as its answer; one that does not is not waited for long.
            let grace = deadline.min(tokio::time::Instant::now() + Duration::from_secs(1));
            let _ = tokio::time::timeout_at(grace, task).await;
        }
        self.abort.abort();
        self.shared.end();
        farewell
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.abort.abort();
        self.shared.end();
    }
}
