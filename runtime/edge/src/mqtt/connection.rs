//! The task that connects, polls, and connects again.
//!
//! Not here: what the caller sees (`link`) and what is shared with it (`session`).
//!
//! Invariant: this task waits for the network and for time, and for the caller only when the broker has
//! pushed several times the receive maximum and it is unread; the caller can wait for
//! nothing but the events it has not read, so that is no deadlock. Every error, stall or panic of the
//! library ends the event loop and leads to a new one after a bounded pause.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::Duration;

use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, ConnectProperties, ConnectReturnCode, Filter, LastWill, Packet, PubAckReason, RetainForwardRule,
    SubAck, SubscribeReasonCode,
};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions};
use rumqttc::{TlsConfiguration, Transport};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::link::{Backoff, Farewell, LinkError, LinkEvent, LinkOptions, Publication, Subscription};
use super::session::{Limits, REQUESTS, Shared};
use super::tls;

/// TCP, TLS and CONNACK together.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// A connection that lived this long starts the pauses from their minimum again.
const STABLE_AFTER: Duration = Duration::from_secs(10);

/// The limit given to the library: the caller's window and the farewell.
const IN_FLIGHT: u16 = 16;

/// Checked options in the words of the library.
#[derive(Clone)]
pub(super) struct Plan {
    options: MqttOptions,
    keep_alive: Duration,
    subscriptions: Vec<Subscription>,
    backoff: Backoff,
}

impl Plan {
    pub(super) fn new(from: &LinkOptions) -> Result<Plan, LinkError> {
        check(from)?;
        let mut options = MqttOptions::new(&from.client_id, from.url.host(), from.url.port());
        if from.url.is_tls() {
            let config = tls::client_config(from.ca_file.as_deref(), from.certificate.as_ref())?;
            options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(config)));
        }
        let mut connect = ConnectProperties::new();
        connect.session_expiry_interval = Some(from.session_expiry_s);
        connect.receive_maximum = Some(from.receive_maximum);
        connect.max_packet_size = Some(from.max_packet);
        options
            .set_connect_properties(connect)
            .set_clean_start(false)
            .set_manual_acks(true)
            .set_keep_alive(from.keep_alive)
            .set_connection_timeout(CONNECT_WITHIN.as_secs())
            .set_outgoing_inflight_upper_limit(IN_FLIGHT);
        if let Some(login) = &from.login {
            options.set_credentials(&login.username, login.password.reveal());
        }
        if let Some(will) = &from.will {
            let payload = will.payload.clone();
            let will = LastWill::new(&will.topic, payload, QoS::AtLeastOnce, will.retain, None);
            options.set_last_will(will);
        }
        Ok(Plan {
            options,
            keep_alive: from.keep_alive,
            subscriptions: from.subscriptions.clone(),
            backoff: from.backoff,
        })
    }

    fn filters(&self) -> Vec<Filter> {
        let filter = |wanted: &Subscription| Filter {
            // Otherwise a retained request that comes while we are subscribed looks like any other.
            preserve_retain: true,
            retain_forward_rule: if wanted.retained {
                RetainForwardRule::OnEverySubscribe
            } else {
                RetainForwardRule::Never
            },
            ..Filter::new(&wanted.filter, QoS::AtLeastOnce)
        };
        self.subscriptions.iter().map(filter).collect()
    }
}

fn check(from: &LinkOptions) -> Result<(), LinkError> {
    let setting = |name, value: String, range| Err(LinkError::Setting { name, value, range });
    let id = &from.client_id;
    if !(1..=256).contains(&id.len()) || id.chars().any(char::is_control) {
        return setting("client id", format!("`{id}`"), "1 to 256 bytes without control characters");
    }
    if !(5..=65535).contains(&from.keep_alive.as_secs()) {
        return setting("keep alive", format!("{:?}", from.keep_alive), "5 s to 65535 s");
    }
    if from.receive_maximum == 0 {
        return setting("receive maximum", "0".to_owned(), "1 to 65535");
    }
    if !(1024..=64 * 1024 * 1024).contains(&from.max_packet) {
        return setting("packet limit", from.max_packet.to_string(), "1024 to 67108864 bytes");
    }
    if from.backoff.min < Duration::from_millis(1) || from.backoff.min > from.backoff.max {
        return setting(
            "reconnect pause",
            format!("{:?}", from.backoff),
            "min of 1 ms or more, max of min or more",
        );
    }
    Ok(())
}

/// Connects until the link is closed.
pub(super) async fn run(shared: Arc<Shared>, plan: Plan) {
    let mut pause = plan.backoff.min;
    loop {
        let began = Instant::now();
        // A task of its own: a panic of the library is then one more reason to connect again, and
        // the set stops it when this task is stopped.
        let mut attempt = JoinSet::new();
        attempt.spawn(serve(Arc::clone(&shared), plan.clone()));
        let reason = match attempt.join_next().await {
            Some(Ok(reason)) => reason,
            Some(Err(error)) => format!("the client library failed: {error}"),
            None => "the connection task is gone".to_owned(),
        };
        if shared.is_closing() {
            return shared.end();
        }
        if began.elapsed() >= STABLE_AFTER {
            pause = plan.backoff.min;
        }
        let retry_in = jitter(pause);
        shared.down(LinkEvent::Down { reason, retry_in });
        sleep(retry_in).await;
        pause = pause.saturating_mul(2).min(plan.backoff.max);
    }
}

/// Half to the whole of a pause, so that a hall of devices does not come back at one moment.
fn jitter(pause: Duration) -> Duration {
    let random = std::hash::RandomState::new().build_hasher().finish();
    let part = u32::try_from(random % 1000).unwrap_or(0);
    pause / 2 + (pause / 2).mul_f64(f64::from(part) / 1000.0)
}

/// One connection from its first byte to its end; says why it ended.
async fn serve(shared: Arc<Shared>, plan: Plan) -> String {
    let (client, mut event_loop) = AsyncClient::new(plan.options.clone(), REQUESTS);
    // Pings go out every keep alive, so silence of two means that writing hangs, which the
    // library, blocked in the write, cannot see itself.
    let mut patience = CONNECT_WITHIN * 2;
    loop {
        shared.room().await;
        let event = match timeout(patience, event_loop.poll()).await {
            Ok(Ok(event)) => event,
            Ok(Err(error)) => {
                // What was read together with the failure still counts, or it would be sent twice.
                for event in event_loop.state.events.drain(..) {
                    settle(&shared, &event);
                }
                return describe(&error);
            }
            Err(_) => return format!("no progress on the connection for {} s", patience.as_secs()),
        };
        settle(&shared, &event);
        match event {
            Event::Incoming(Packet::ConnAck(connack)) => {
                patience = greet(&mut event_loop, &plan, &connack) * 2 + CONNECT_WITHIN;
                let filters = plan.filters();
                let subscribed = filters.is_empty() || client.try_subscribe_many(filters).is_ok();
                shared.up(client.clone(), limits(&connack), connack.session_present);
                if !subscribed {
                    return "the subscriptions could not be sent".to_owned();
                }
                if plan.subscriptions.is_empty() {
                    shared.report(LinkEvent::Subscribed);
                }
            }
            Event::Incoming(Packet::SubAck(suback)) => report_subscriptions(&shared, &plan, &suback),
            // A link that is closing leaves them unacknowledged, for the next one.
            Event::Incoming(Packet::Publish(publish)) if !shared.is_closing() => shared.arrived(publish),
            _ => {}
        }
    }
}

/// What decides the fate of a publish or an acknowledgement.
fn settle(shared: &Shared, event: &Event) {
    match event {
        Event::Outgoing(Outgoing::Publish(packet)) => shared.written(*packet),
        Event::Outgoing(Outgoing::PubAck(_) | Outgoing::PubRec(_)) => shared.ack_written(),
        Event::Incoming(Packet::PubAck(puback)) => {
            shared.acknowledged(puback.pkid, puback_code(puback.reason));
        }
        _ => {}
    }
}

/// The keep alive in force. A broker may set its own, and 0 for "none", of which the library would
/// make a ping without pause.
fn greet(event_loop: &mut EventLoop, plan: &Plan, connack: &ConnAck) -> Duration {
    match connack.properties.as_ref().and_then(|properties| properties.server_keep_alive) {
        Some(0) => {
            event_loop.options.set_keep_alive(plan.keep_alive);
            plan.keep_alive
        }
        Some(seconds) => Duration::from_secs(u64::from(seconds)),
        None => plan.keep_alive,
    }
}

fn limits(connack: &ConnAck) -> Limits {
    let said = connack.properties.as_ref();
    Limits {
        max_packet: said.and_then(|properties| properties.max_packet_size),
        retain: said.and_then(|properties| properties.retain_available) != Some(0),
        at_least_once: said.and_then(|properties| properties.max_qos) != Some(0),
    }
}

fn report_subscriptions(shared: &Shared, plan: &Plan, suback: &SubAck) {
    for (at, wanted) in plan.subscriptions.iter().enumerate() {
        // A filter that the broker did not answer is as good as refused.
        let code = suback.return_codes.get(at).map_or(0x80, |code| suback_code(*code));
        if code != 0x01 {
            shared.report(LinkEvent::SubscriptionRefused { filter: wanted.filter.clone(), code });
        }
    }
    shared.report(LinkEvent::Subscribed);
}

fn puback_code(reason: PubAckReason) -> u8 {
    match reason {
        PubAckReason::Success => 0x00,
        PubAckReason::NoMatchingSubscribers => 0x10,
        PubAckReason::UnspecifiedError => 0x80,
        PubAckReason::ImplementationSpecificError => 0x83,
        PubAckReason::NotAuthorized => 0x87,
        PubAckReason::TopicNameInvalid => 0x90,
        PubAckReason::PacketIdentifierInUse => 0x91,
        PubAckReason::QuotaExceeded => 0x97,
        PubAckReason::PayloadFormatInvalid => 0x99,
    }
}

fn suback_code(reason: SubscribeReasonCode) -> u8 {
    match reason {
        SubscribeReasonCode::Success(qos) => qos as u8,
        SubscribeReasonCode::Failure | SubscribeReasonCode::Unspecified => 0x80,
        SubscribeReasonCode::ImplementationSpecific => 0x83,
        SubscribeReasonCode::NotAuthorized => 0x87,
        SubscribeReasonCode::TopicFilterInvalid => 0x8f,
        SubscribeReasonCode::PkidInUse => 0x91,
        SubscribeReasonCode::QuotaExceeded => 0x97,
        SubscribeReasonCode::SharedSubscriptionsNotSupported => 0x9e,
        SubscribeReasonCode::SubscriptionIdNotSupported => 0xa1,
        SubscribeReasonCode::WildcardSubscriptionsNotSupported => 0xa2,
    }
}

fn describe(error: &ConnectionError) -> String {
    let hint = match error {
        ConnectionError::ConnectionRefused(
            ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized,
        ) => "\nhint: check the user name, the password and the broker's access list",
        ConnectionError::Io(cause) if cause.kind() == std::io::ErrorKind::ConnectionRefused => {
            "\nhint: is a broker running at the configured address?"
        }
        ConnectionError::Tls(_) => {
            "\nhint: check mqtt.ca_file, and that the certificate names the host of the url"
        }
        _ => "",
    };
    format!("{error}{hint}")
}

/// Sends the last message and waits for its acknowledgement.
pub(super) async fn say_farewell(shared: &Shared, last: Option<Publication>, deadline: Instant) -> Farewell {
    match shared.part(last) {
        Err(_) => Farewell::Undelivered,
        Ok(None) => Farewell::NotAsked,
        Ok(Some(receipt)) => match tokio::time::timeout_at(deadline, receipt).await {
            Ok(Ok(code)) if code < 0x80 => Farewell::Delivered,
            Ok(Ok(code)) => Farewell::Refused(code),
            _ => Farewell::Undelivered,
        },
    }
}
