//! Brokers and a peer for tests: the embedded broker, a mosquitto child process, a plain client.
//!
//! Not shipped. Invariant: every broker listens on a loopback port of its own, and ends with its test.

use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, Publish, PublishProperties};
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::broker::{Broker, BrokerError, BrokerOptions};
use super::link::{Link, LinkEvent, LinkEvents, LinkOptions, Message, Publication, Qos};

/// No test runs longer than this.
const TEST_LIMIT: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Embedded,
    Mosquitto,
}

enum Running {
    Embedded(Broker),
    Mosquitto(Child),
}

/// A broker that can be stopped and started again on the same port.
pub(super) struct TestBroker {
    kind: Kind,
    pub(super) port: u16,
    folder: tempfile::TempDir,
    /// Lines of a mosquitto configuration.
    pub(super) extra: String,
    pub(super) max_packet: usize,
    running: Option<Running>,
}

pub(super) async fn bounded(test: impl Future<Output = ()>) {
    timeout(TEST_LIMIT, test).await.expect("the test took too long");
}

pub(super) fn mosquitto_is_missing() -> bool {
    let missing = mosquitto().is_none();
    if missing {
        println!("SKIPPED: mosquitto not installed");
    }
    missing
}

fn mosquitto() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(system)
        .map(|folder| folder.join("mosquitto"))
        .find(|file| file.is_file())
}

/// A port below those the system gives to outgoing connections: one of them, even the retries of the
/// link itself, would else sit on the port while its broker is stopped.
pub(super) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let start = u16::try_from(std::process::id() % 10_000).unwrap();
        let port = 20_000 + (start + step) % 10_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

impl TestBroker {
    pub(super) fn new(kind: Kind) -> TestBroker {
        TestBroker {
            kind,
            port: free_port(),
            folder: tempfile::tempdir().unwrap(),
            extra: String::new(),
            max_packet: 256 * 1024,
            running: None,
        }
    }

    pub(super) async fn started(kind: Kind) -> TestBroker {
        let mut broker = TestBroker::new(kind);
        broker.start().await;
        broker
    }

    pub(super) async fn start(&mut self) {
        self.running = Some(match self.kind {
            Kind::Embedded => {
                let options = BrokerOptions {
                    bind: SocketAddr::from(([127, 0, 0, 1], self.port)),
                    folder: Some(self.folder.path().to_owned()),
                    max_packet: self.max_packet,
                    max_queued: 5000,
                    ..BrokerOptions::default()
                };
                // A child process that another test starts at this moment holds a copy of every
                // socket until it executes its program, the old listener too.
                let broker = loop {
                    match Broker::start(options.clone()).await {
                        Err(BrokerError::PortInUse(_)) => sleep(Duration::from_millis(20)).await,
                        started => break started.unwrap(),
                    }
                };
                Running::Embedded(broker)
            }
            Kind::Mosquitto => Running::Mosquitto(self.spawn_mosquitto().await),
        });
    }

    async fn spawn_mosquitto(&self) -> Child {
        let folder = self.folder.path().display();
        let file = self.folder.path().join("mosquitto.conf");
        let user = std::env::var("USER").unwrap_or_else(|_| "root".to_owned());
        let anonymous = if self.extra.contains("allow_anonymous") { "" } else { "allow_anonymous true\n" };
        let text = format!(
            "listener {} 127.0.0.1\n{anonymous}user {user}\npersistence true\npersistence_location {folder}/\n\
             max_queued_messages 5000\nlog_dest none\nmax_packet_size {}\n{}\n",
            self.port, self.max_packet, self.extra
        );
        std::fs::write(&file, text).unwrap();
        let child = Command::new(mosquitto().unwrap())
            .arg("-c")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
        child
    }

    /// Stops the broker in order; it keeps its folder.
    pub(super) async fn stop(&mut self) {
        match self.running.take() {
            Some(Running::Embedded(broker)) => broker.stop(Duration::from_secs(10)).await.unwrap(),
            Some(Running::Mosquitto(mut child)) => {
                Command::new("kill").arg("-TERM").arg(child.id().to_string()).status().unwrap();
                while child.try_wait().unwrap().is_none() {
                    sleep(Duration::from_millis(20)).await;
                }
            }
            None => {}
        }
    }

    /// Makes the next start a broker that knows nothing.
    pub(super) fn forget(&mut self) {
        self.folder = tempfile::tempdir().unwrap();
    }

    pub(super) fn options(&self, client_id: &str) -> LinkOptions {
        options(self.port, client_id)
    }

    pub(super) async fn peer(&self, filters: &[&str]) -> Peer {
        Peer::connect(self.port, filters).await
    }
}

impl Drop for TestBroker {
    fn drop(&mut self) {
        if let Some(Running::Mosquitto(mut child)) = self.running.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

pub(super) fn options(port: u16, client_id: &str) -> LinkOptions {
    let mut options = LinkOptions::new(format!("mqtt://127.0.0.1:{port}").parse().unwrap(), client_id.into());
    options.backoff.min = Duration::from_millis(50);
    options.backoff.max = Duration::from_millis(400);
    options
}

pub(super) fn say(topic: &str, payload: &str, qos: Qos) -> Publication {
    let (topic, payload) = (topic.to_owned(), payload.as_bytes().to_vec());
    Publication { topic, payload, qos, retain: false, expiry_s: None, correlation: None }
}

/// A link with its events.
pub(super) struct Subject {
    pub(super) link: Link,
    pub(super) events: LinkEvents,
}

impl Subject {
    pub(super) fn start(options: LinkOptions) -> Subject {
        let (link, events) = Link::start(options).unwrap();
        Subject { link, events }
    }

    /// Reads events until one is wanted; the others are forgotten.
    pub(super) async fn until<T>(&mut self, mut wanted: impl FnMut(LinkEvent) -> Option<T>) -> T {
        loop {
            let event = self.events.recv().await.expect("the link ended");
            if let Some(found) = wanted(event) {
                return found;
            }
        }
    }

    pub(super) async fn up(&mut self) -> bool {
        self.until(|event| match event {
            LinkEvent::Up { session_present } => Some(session_present),
            _ => None,
        })
        .await
    }

    pub(super) async fn subscribed(&mut self) {
        self.until(|event| matches!(event, LinkEvent::Subscribed).then_some(())).await;
    }

    pub(super) async fn down(&mut self) -> String {
        self.until(|event| match event {
            LinkEvent::Down { reason, .. } => Some(reason),
            _ => None,
        })
        .await
    }

    pub(super) async fn message(&mut self) -> Message {
        self.until(|event| match event {
            LinkEvent::Message(message) => Some(message),
            _ => None,
        })
        .await
    }

    pub(super) async fn delivered(&mut self) -> u64 {
        self.until(|event| match event {
            LinkEvent::Delivered(id) => Some(id.0),
            _ => None,
        })
        .await
    }
}

/// Another client of the broker: sends, and keeps what it receives.
pub(super) struct Peer {
    client: AsyncClient,
    arrived: mpsc::UnboundedReceiver<Publish>,
    acknowledged: mpsc::UnboundedReceiver<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Peer {
    async fn connect(port: u16, filters: &[&str]) -> Peer {
        let mut options = MqttOptions::new(format!("peer-{}", free_port()), "127.0.0.1", port);
        options.set_max_packet_size(Some(1024 * 1024));
        let (client, mut event_loop) = AsyncClient::new(options, 4000);
        let (to, arrived) = mpsc::unbounded_channel();
        let (ready, mut is_ready) = mpsc::unbounded_channel();
        let (done, acknowledged) = mpsc::unbounded_channel();
        let mut expected = filters.len();
        let task = tokio::spawn(async move {
            while let Ok(event) = event_loop.poll().await {
                let _ = match event {
                    Event::Incoming(Packet::ConnAck(_)) if expected == 0 => ready.send(()).is_ok(),
                    Event::Incoming(Packet::SubAck(_)) => {
                        expected -= 1;
                        expected > 0 || ready.send(()).is_ok()
                    }
                    Event::Incoming(Packet::Publish(publish)) => to.send(publish).is_ok(),
                    Event::Incoming(Packet::PubAck(_)) => done.send(()).is_ok(),
                    _ => true,
                };
            }
        });
        for filter in filters {
            client.subscribe(*filter, QoS::AtLeastOnce).await.unwrap();
        }
        is_ready.recv().await.expect("the peer is not connected");
        Peer { client, arrived, acknowledged, task }
    }

    /// Sends at least once and waits until the broker has it.
    pub(super) async fn send(&mut self, topic: &str, payload: &str, properties: PublishProperties) {
        self.queue(topic, payload, QoS::AtLeastOnce, properties).await;
        self.acknowledged().await;
    }

    pub(super) async fn queue(&self, topic: &str, payload: &str, qos: QoS, properties: PublishProperties) {
        let payload = payload.as_bytes().to_vec();
        self.client.publish_with_properties(topic, qos, false, payload, properties).await.unwrap();
    }

    pub(super) async fn send_retained(&mut self, topic: &str, payload: &str) {
        self.client.publish(topic, QoS::AtLeastOnce, true, payload.as_bytes().to_vec()).await.unwrap();
        self.acknowledged().await;
    }

    pub(super) async fn acknowledged(&mut self) {
        self.acknowledged.recv().await.expect("the peer lost its connection");
    }

    pub(super) async fn receive(&mut self) -> Publish {
        self.arrived.recv().await.expect("the peer lost its connection")
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}
