//! The settings of a link.
//!
//! Not here: how a configuration file spells them, and what the library makes of them.
//!
//! Invariant: no `Debug` output of a setting holds a password.

use std::path::PathBuf;
use std::time::Duration;

use super::url::BrokerUrl;

/// What the broker publishes for us when the connection is lost; at least once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will {
    /// The topic.
    pub topic: String,
    /// The payload.
    pub payload: Vec<u8>,
    /// Whether the broker keeps it.
    pub retain: bool,
}

/// A filter to subscribe to, at least once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// The filter; `$share/{group}/...` is allowed.
    pub filter: String,
    /// Whether messages retained before the subscription are wanted, at every renewal of it.
    pub retained: bool,
}

impl Subscription {
    /// New messages only: a retained request is history, not a request.
    pub fn new(filter: String) -> Subscription {
        Subscription { filter, retained: false }
    }

    /// Retained messages too.
    pub fn with_retained(filter: String) -> Subscription {
        Subscription { filter, retained: true }
    }
}

/// Limits of the pause between two attempts; it doubles from `min` to `max`, with jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The first pause.
    pub min: Duration,
    /// The longest pause.
    pub max: Duration,
}

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Wraps a password.
    pub fn new(text: String) -> Password {
        Password(text)
    }

    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Password(hidden)")
    }
}

/// A user of the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The user name.
    pub username: String,
    /// The password.
    pub password: Password,
}

/// A certificate of our own, as PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The chain, leaf first.
    pub chain_file: PathBuf,
    /// Its private key.
    pub key_file: PathBuf,
}

/// Everything that describes a session.
#[derive(Debug, Clone)]
pub struct LinkOptions {
    /// The broker.
    pub url: BrokerUrl,
    /// The name of the session at the broker; unique there.
    pub client_id: String,
    /// User name and password.
    pub login: Option<Login>,
    /// Certificate authorities as PEM; without it, those of the system.
    pub ca_file: Option<PathBuf>,
    /// A certificate of our own.
    pub certificate: Option<ClientCertificate>,
    /// How often the connection is probed; 5 to 65535 seconds.
    pub keep_alive: Duration,
    /// How long the broker keeps the session after the connection is gone.
    pub session_expiry_s: u32,
    /// How many unacknowledged messages the broker may push.
    pub receive_maximum: u16,
    /// The largest packet in either direction, in bytes.
    pub max_packet: u32,
    /// The last will.
    pub will: Option<Will>,
    /// Renewed at every connection.
    pub subscriptions: Vec<Subscription>,
    /// Pauses between attempts.
    pub backoff: Backoff,
}

impl LinkOptions {
    /// A session with the usual limits, without subscriptions, login and will.
    pub fn new(url: BrokerUrl, client_id: String) -> LinkOptions {
        LinkOptions {
            url,
            client_id,
            login: None,
            ca_file: None,
            certificate: None,
            keep_alive: Duration::from_secs(15),
            session_expiry_s: 24 * 3600,
            receive_maximum: 16,
            max_packet: 256 * 1024,
            will: None,
            subscriptions: Vec::new(),
            backoff: Backoff { min: Duration::from_millis(500), max: Duration::from_secs(30) },
        }
    }
}
