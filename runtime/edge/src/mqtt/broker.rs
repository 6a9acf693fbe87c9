//! The embedded broker: crate mqtt5 in this process, for a board that has no broker.
//!
//! Not a broker for a plant: it listens on loopback only and lets everybody in without a name,
//! which is acceptable exactly because only software on this board can reach it. A plant runs
//! mosquitto or any other MQTT 5 broker, with users and access lists, and sets its address.
//!
//! Over a restart it keeps sessions with their subscriptions, retained messages, and queued and
//! unacknowledged messages, as files under its folder. Sessions and retained messages are written with
//! fsync; queued and unacknowledged ones up to a quarter of a second after the publisher got its
//! PUBACK, so a crash (not a stop) can lose those of the last moment.
//!
//! Invariant: no socket is ever bound to an address that is not loopback.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use mqtt5::broker::config::{StorageBackend, StorageConfig};
use mqtt5::broker::{BrokerConfig, BrokerShutdownHandle, MqttBroker};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long the broker may take to become ready; it reads its whole folder.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// How long a session without a client is kept, whatever it asks for.
const SESSION_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// Settings of the embedded broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerOptions {
    /// Where it listens; loopback only. Port 0 takes a free one.
    pub bind: SocketAddr,
    /// The folder of what it keeps; without one, a restart forgets everything.
    pub folder: Option<PathBuf>,
    /// The largest packet in bytes, at least 1024.
    pub max_packet: usize,
    /// How many clients may be connected.
    pub max_clients: usize,
    /// How many messages wait for one client that is away.
    pub max_queued: usize,
}

impl Default for BrokerOptions {
    fn default() -> BrokerOptions {
        BrokerOptions {
            bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 1883)),
            folder: None,
            max_packet: 256 * 1024,
            max_clients: 64,
            max_queued: 1000,
        }
    }
}

/// Why the broker does not run.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// Not a loopback address.
    #[error(
        "the embedded broker will not listen on {0}, only on loopback\nhint: it has no users and no access list; for a network run mosquitto and set mqtt.url"
    )]
    NotLoopback(SocketAddr),
    /// Somebody listens there.
    #[error(
        "{0} is already in use\nhint: another broker runs there? set mqtt.url to use it, or give the embedded one another port"
    )]
    PortInUse(SocketAddr),
    /// The settings or the folder are not usable.
    #[error(
        "the embedded broker does not start: {0}\nhint: check its folder and its limits; a folder serves one broker at a time"
    )]
    Start(String),
    /// It ended by itself.
    #[error("the embedded broker ended: {0}\nhint: restart the service")]
    Ended(String),
    /// It did not end in time and was cut off.
    #[error(
        "the embedded broker did not stop within {0:?} and was cut off\nhint: its newest queued messages may be lost"
    )]
    Stuck(Duration),
}

/// A running broker. Dropping it cuts it off; [`Broker::stop`] ends it in order.
pub struct Broker {
    address: SocketAddr,
    shutdown: BrokerShutdownHandle,
    task: JoinHandle<Result<(), String>>,
}

impl Broker {
    /// Starts a broker inside the current tokio runtime; it accepts clients when this returns.
    ///
    /// # Errors
    /// [`BrokerError`]; nothing is left running.
    pub async fn start(options: BrokerOptions) -> Result<Broker, BrokerError> {
        if !options.bind.ip().is_loopback() {
            return Err(BrokerError::NotLoopback(options.bind));
        }
        let mut inner = match MqttBroker::with_config(config(&options)).await {
            Ok(inner) => inner,
            Err(error) => return Err(why_not(options.bind, error.to_string()).await),
        };
        let address = inner.local_addr().unwrap_or(options.bind);
        let shutdown = inner.shutdown_handle();
        let mut ready = inner.ready_receiver();
        let storage = inner.storage();
        let task = tokio::spawn(async move {
            inner.run().await.map_err(|error| error.to_string())?;
            // The library flushes when the signal comes, and its clients, still ending, write after
            // that; without a second flush their unacknowledged messages are lost now and then.
            match storage {
                Some(storage) => storage.shutdown().await.map_err(|error| error.to_string()),
                None => Ok(()),
            }
        });
        let broker = Broker { address, shutdown, task };
        // An error here is a run that ended early: its reason is in the task.
        match timeout(READY_WITHIN, ready.wait_for(|ready| *ready)).await {
            Ok(Ok(_)) => Ok(broker),
            Ok(Err(_)) => Err(match broker.ended().await {
                BrokerError::Ended(reason) => BrokerError::Start(reason),
                other => other,
            }),
            Err(_) => Err(BrokerError::Start(format!("not ready within {READY_WITHIN:?}"))),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the broker ends by itself, which it should not.
    pub async fn ended(mut self) -> BrokerError {
        match (&mut self.task).await {
            Ok(Ok(())) => BrokerError::Ended("without a reason".to_owned()),
            Ok(Err(reason)) => BrokerError::Ended(reason),
            Err(error) => BrokerError::Ended(error.to_string()),
        }
    }

    /// Disconnects the clients, writes what is queued, and ends.
    ///
    /// # Errors
    /// [`BrokerError::Stuck`] after `within`, [`BrokerError::Ended`] if it failed on the way.
    pub async fn stop(mut self, within: Duration) -> Result<(), BrokerError> {
        self.shutdown.shutdown();
        match timeout(within, &mut self.task).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(reason))) => Err(BrokerError::Ended(reason)),
            Ok(Err(error)) => Err(BrokerError::Ended(error.to_string())),
            Err(_) => Err(BrokerError::Stuck(within)),
        }
    }
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Broker").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // The library's own tasks end by the signal, the accepting one by the abort.
        self.shutdown.shutdown();
        self.task.abort();
    }
}

fn config(options: &BrokerOptions) -> BrokerConfig {
    let storage = match &options.folder {
        Some(folder) => StorageConfig::new().with_base_dir(folder.clone()),
        None => StorageConfig::new().with_backend(StorageBackend::Memory),
    };
    let storage = storage
        .with_max_queued_messages_per_client(options.max_queued)
        .with_max_queued_bytes_per_client(options.max_packet.saturating_mul(64));
    BrokerConfig::new()
        .with_bind_address(options.bind)
        .with_max_clients(options.max_clients)
        .with_max_packet_size(options.max_packet)
        .with_max_subscriptions_per_client(256)
        .with_max_retained_messages(4096)
        .with_max_retained_message_size(options.max_packet)
        .with_client_channel_capacity(options.max_queued)
        .with_session_expiry(SESSION_KEPT)
        .with_sys_topics_enabled(false)
        .with_storage(storage)
}

/// The library tells its reasons as prose, so the usual one is found in it, and by trying.
async fn why_not(bind: SocketAddr, reason: String) -> BrokerError {
    let taken = || async {
        let attempt = TcpListener::bind(bind).await;
        attempt.is_err_and(|error| error.kind() == std::io::ErrorKind::AddrInUse)
    };
    if reason.contains("address already in use") || taken().await {
        BrokerError::PortInUse(bind)
    } else {
        BrokerError::Start(reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anywhere() -> BrokerOptions {
        BrokerOptions { bind: "127.0.0.1:0".parse().unwrap(), ..BrokerOptions::default() }
    }

    #[tokio::test]
    async fn an_address_that_others_reach_is_refused() {
        for bind in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
            let options = BrokerOptions { bind: bind.parse().unwrap(), ..anywhere() };
            let error = Broker::start(options).await.unwrap_err();
            assert!(matches!(error, BrokerError::NotLoopback(_)), "{error}");
        }
    }

    #[tokio::test]
    async fn a_port_in_use_is_named() {
        let first = Broker::start(anywhere()).await.unwrap();
        let options = BrokerOptions { bind: first.address(), ..anywhere() };
        let error = Broker::start(options).await.unwrap_err();
        assert!(matches!(error, BrokerError::PortInUse(at) if at == first.address()), "{error}");
        assert!(error.to_string().contains("mqtt.url"));
        first.stop(Duration::from_secs(10)).await.unwrap();
    }

    #[tokio::test]
    async fn a_folder_serves_one_broker_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let options = BrokerOptions { folder: Some(folder.path().to_owned()), ..anywhere() };
        let first = Broker::start(options.clone()).await.unwrap();
        let error = Broker::start(options.clone()).await.unwrap_err();
        assert!(matches!(error, BrokerError::Start(_)), "{error}");
        first.stop(Duration::from_secs(10)).await.unwrap();
        let again = Broker::start(options).await.unwrap();
        again.stop(Duration::from_secs(10)).await.unwrap();
    }

    #[tokio::test]
    async fn a_stopped_broker_gives_its_port_back() {
        let first = Broker::start(anywhere()).await.unwrap();
        let bind = first.address();
        first.stop(Duration::from_secs(10)).await.unwrap();
        let second = Broker::start(BrokerOptions { bind, ..anywhere() }).await.unwrap();
        assert_eq!(second.address(), bind);
        second.stop(Duration::from_secs(10)).await.unwrap();
    }
}
