//! The link against a broker that misbehaves on demand: a script over a plain socket.
//!
//! Not here: what real brokers do (see `link_test`).

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use super::link::{
    Ack, Farewell, Link, LinkError, LinkEvent, LinkOptions, Login, Password, PublishError, PublishId, Qos,
    Subscription, WINDOW,
};
use super::test_broker::{Subject, bounded, free_port, options, say};

/// The broker's end of one connection, after CONNACK.
struct Script {
    socket: TcpStream,
}

/// A packet from the link.
struct Packet {
    kind: u8,
    body: Vec<u8>,
}

impl Packet {
    /// The packet id of a SUBSCRIBE, PUBACK, or an at-least-once PUBLISH.
    fn id(&self) -> [u8; 2] {
        let at = if self.kind >> 4 == 3 { 2 + usize::from(self.body[1]) } else { 0 };
        [self.body[at], self.body[at + 1]]
    }

    fn holds(&self, text: &str) -> bool {
        self.body.windows(text.len()).any(|part| part == text.as_bytes())
    }
}

impl Script {
    async fn accept(listener: &TcpListener, connack: &[u8]) -> Script {
        let (socket, _) = listener.accept().await.unwrap();
        let mut script = Script { socket };
        assert_eq!(script.read().await.kind >> 4, 1, "not CONNECT");
        script.write(connack).await;
        script
    }

    async fn write(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).await.unwrap();
    }

    async fn read(&mut self) -> Packet {
        let kind = self.socket.read_u8().await.unwrap();
        let (mut length, mut shift) = (0usize, 0);
        loop {
            let byte = self.socket.read_u8().await.unwrap();
            length |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.socket.read_exact(&mut body).await.unwrap();
        Packet { kind, body }
    }

    /// The next packet of a kind; pings and others on the way are left out.
    async fn expect(&mut self, kind: u8) -> Packet {
        loop {
            let packet = self.read().await;
            if packet.kind >> 4 == kind {
                return packet;
            }
        }
    }

    async fn puback(&mut self, id: [u8; 2], code: u8) {
        self.write(&[0x40, 3, id[0], id[1], code]).await;
    }

    /// A message on topic `t`; packet 0 sends it at most once.
    async fn push(&mut self, packet: u8, payload: u8) {
        if packet == 0 {
            self.write(&[0x30, 5, 0, 1, b't', 0, payload]).await;
        } else {
            self.write(&[0x32, 7, 0, 1, b't', 0, packet, 0, payload]).await;
        }
    }
}

const CONNACK: &[u8] = &[0x20, 3, 0, 0, 0];
const PUBLISH: u8 = 3;
const PUBACK: u8 = 4;
const SUBSCRIBE: u8 = 8;
const DISCONNECT: u8 = 14;

async fn start(change: impl FnOnce(&mut LinkOptions)) -> (TcpListener, Subject) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut options = options(listener.local_addr().unwrap().port(), "edge");
    change(&mut options);
    (listener, Subject::start(options))
}

#[tokio::test]
async fn delivered_comes_after_the_puback_and_refused_is_not_delivered() {
    bounded(async {
        let (listener, mut subject) = start(|_| {}).await;
        let mut script = Script::accept(&listener, CONNACK).await;
        subject.up().await;
        for (number, code) in [(1, 0x00), (2, 0x87), (3, 0x10), (4, 0x97)] {
            subject.link.publish(PublishId(number), say("out", "x", Qos::AtLeastOnce)).unwrap();
            let publish = script.expect(PUBLISH).await;
            // The message overtakes the PUBACK, so a report before it would come from nowhere.
            script.push(0, b'm').await;
            let first =
                subject.until(|event| (!matches!(event, LinkEvent::Subscribed)).then_some(event)).await;
            assert!(matches!(first, LinkEvent::Message(_)), "{first:?}");
            script.puback(publish.id(), code).await;
            match subject.until(Some).await {
                LinkEvent::Delivered(id) => assert!(id.0 == number && code < 0x80),
                LinkEvent::Refused { id, code: said } => {
                    assert_eq!((id.0, said), (number, code));
                    assert!(code >= 0x80);
                }
                other => panic!("{other:?}"),
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_publish_without_puback_is_not_repeated_by_the_link() {
    bounded(async {
        let (listener, mut subject) = start(|_| {}).await;
        let mut script = Script::accept(&listener, CONNACK).await;
        subject.up().await;
        subject.link.publish(PublishId(1), say("out", "lost", Qos::AtLeastOnce)).unwrap();
        assert!(script.expect(PUBLISH).await.holds("lost"));
        drop(script);
        subject.down().await;
        // The session is present, so the library on its own would send it again.
        let mut script = Script::accept(&listener, &[0x20, 3, 1, 0, 0]).await;
        assert!(subject.up().await);
        subject.link.publish(PublishId(2), say("out", "next", Qos::AtLeastOnce)).unwrap();
        let publish = script.expect(PUBLISH).await;
        assert!(publish.holds("next") && !publish.holds("lost"));
        script.puback(publish.id(), 0).await;
        assert_eq!(subject.delivered().await, 2);
    })
    .await;
}

#[tokio::test]
async fn the_window_bounds_what_is_in_flight_and_acks_pass_it() {
    bounded(async {
        let (listener, mut subject) = start(|_| {}).await;
        let mut script = Script::accept(&listener, CONNACK).await;
        subject.up().await;
        for number in 0..u64::try_from(WINDOW).unwrap() {
            subject.link.publish(PublishId(number), say("out", "x", Qos::AtLeastOnce)).unwrap();
        }
        let over = subject.link.publish(PublishId(99), say("out", "x", Qos::AtLeastOnce));
        assert_eq!(over, Err(PublishError::Full(WINDOW)));
        script.push(1, b'm').await;
        let message = subject.message().await;
        assert_eq!(subject.link.ack(message.ack), Ack::Sent);
        assert_eq!(script.expect(PUBACK).await.id(), [0, 1]);
        for packet in 1..=u8::try_from(WINDOW).unwrap() {
            script.puback([0, packet], 0).await;
        }
        for number in 0..u64::try_from(WINDOW).unwrap() {
            assert_eq!(subject.delivered().await, number);
        }
        subject.link.publish(PublishId(100), say("out", "x", Qos::AtLeastOnce)).unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_broker_that_pushes_over_the_receive_maximum_is_held_back_and_nothing_is_lost() {
    bounded(async {
        let (listener, mut subject) = start(|options| options.receive_maximum = 2).await;
        let mut script = Script::accept(&listener, CONNACK).await;
        subject.subscribed().await;
        for packet in 1..=50 {
            script.push(packet, packet).await;
        }
        while subject.link.counters().unread < 9 {
            sleep(Duration::from_millis(5)).await;
        }
        sleep(Duration::from_millis(200)).await;
        assert_eq!(subject.link.counters().unread, 9);
        for packet in 1..=50 {
            let message = subject.message().await;
            assert_eq!(message.payload, [packet]);
            assert_eq!(subject.link.ack(message.ack), Ack::Sent);
        }
        for packet in 1..=50 {
            assert_eq!(script.expect(PUBACK).await.id(), [0, packet]);
        }
    })
    .await;
}

#[tokio::test]
async fn a_link_that_is_held_back_can_still_be_closed_in_order() {
    bounded(async {
        let (listener, mut subject) = start(|options| options.receive_maximum = 1).await;
        let mut script = Script::accept(&listener, CONNACK).await;
        subject.subscribed().await;
        for packet in 1..=50 {
            script.push(packet, b'm').await;
        }
        while subject.link.counters().unread < 5 {
            sleep(Duration::from_millis(5)).await;
        }
        let broker = tokio::spawn(async move {
            let publish = script.expect(PUBLISH).await;
            script.puback(publish.id(), 0).await;
            script.expect(DISCONNECT).await;
        });
        let last = say("out", "offline", Qos::AtLeastOnce);
        let farewell = subject.link.close(Some(last), Duration::from_secs(10)).await;
        assert_eq!(farewell, Farewell::Delivered);
        broker.await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn unread_messages_of_a_lost_connection_are_left_to_the_broker() {
    bounded(async {
        let (listener, mut subject) = start(|_| {}).await;
        let mut script = Script::accept(&listener, CONNACK).await;
        subject.subscribed().await;
        script.push(1, b'm').await;
        script.push(0, b'n').await;
        while subject.link.counters().unread < 2 {
            sleep(Duration::from_millis(5)).await;
        }
        drop(script);
        let _script = Script::accept(&listener, &[0x20, 3, 1, 0, 0]).await;
        while subject.link.counters().connections < 2 {
            sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(subject.link.counters().returned_in, 1);
        assert_eq!(subject.message().await.payload, b"n");
        assert!(subject.up().await);
    })
    .await;
}

#[tokio::test]
async fn refused_and_weakened_subscriptions_are_reported() {
    bounded(async {
        let (listener, mut subject) = start(|options| {
            options.subscriptions = ["a", "b", "c", "d"].map(|f| Subscription::new(f.into())).to_vec();
        })
        .await;
        let mut script = Script::accept(&listener, CONNACK).await;
        let id = script.expect(SUBSCRIBE).await.id();
        script.write(&[0x90, 6, id[0], id[1], 0, 1, 0x87, 0]).await;
        let mut refused = Vec::new();
        subject
            .until(|event| match event {
                LinkEvent::SubscriptionRefused { filter, code } => {
                    refused.push((filter, code));
                    None
                }
                LinkEvent::Subscribed => Some(()),
                _ => None,
            })
            .await;
        // `d` was not answered at all.
        let expected = [("b", 0x87), ("c", 0), ("d", 0x80)].map(|(f, code)| (f.to_owned(), code));
        assert_eq!(refused, expected);
    })
    .await;
}

#[tokio::test]
async fn garbage_from_the_broker_ends_one_connection_and_not_the_link() {
    bounded(async {
        let (listener, mut subject) = start(|_| {}).await;
        for garbage in
            [&[0x00, 0x00][..], &[0xff; 32], &[0x40, 2, 0x7f, 0xff], &[0x32, 0xff, 0xff, 0xff, 0x7f]]
        {
            let mut script = Script::accept(&listener, CONNACK).await;
            script.write(garbage).await;
            subject.down().await;
        }
        let mut script = Script::accept(&listener, CONNACK).await;
        subject.up().await;
        subject.link.publish(PublishId(3), say("out", "x", Qos::AtLeastOnce)).unwrap();
        let publish = script.expect(PUBLISH).await;
        script.puback(publish.id(), 0).await;
        assert_eq!(subject.delivered().await, 3);
    })
    .await;
}

#[tokio::test]
async fn a_smaller_window_of_the_next_broker_is_kept() {
    bounded(async {
        let (listener, mut subject) = start(|_| {}).await;
        let mut script = Script::accept(&listener, CONNACK).await;
        subject.up().await;
        for number in 0..10 {
            subject.link.publish(PublishId(number), say("out", "x", Qos::AtLeastOnce)).unwrap();
            script.expect(PUBLISH).await;
        }
        drop(script);
        subject.down().await;
        // Receive maximum 2: a library that kept its state would use packet ids over 10 now.
        let mut script = Script::accept(&listener, &[0x20, 6, 1, 0, 3, 0x21, 0, 2]).await;
        subject.up().await;
        for number in 20..30 {
            subject.link.publish(PublishId(number), say("out", "x", Qos::AtLeastOnce)).unwrap();
        }
        for number in 20..30 {
            let publish = script.expect(PUBLISH).await;
            assert!(publish.id()[1] <= 2);
            script.puback(publish.id(), 0).await;
            assert_eq!(subject.delivered().await, number);
        }
    })
    .await;
}

#[tokio::test]
async fn farewell_without_a_broker_is_undelivered_and_bounded() {
    bounded(async {
        let mut subject = Subject::start(options(free_port(), "edge"));
        let reason = subject.down().await;
        assert!(reason.contains("hint:"), "{reason}");
        let last = say("out", "offline", Qos::AtLeastOnce);
        let farewell = subject.link.close(Some(last), Duration::from_millis(200)).await;
        assert_eq!(farewell, Farewell::Undelivered);
    })
    .await;
    bounded(async {
        // This one takes the farewell and never answers.
        let (listener, mut subject) = start(|_| {}).await;
        let mut script = Script::accept(&listener, CONNACK).await;
        subject.up().await;
        let last = say("out", "offline", Qos::AtLeastOnce);
        let farewell = subject.link.close(Some(last), Duration::from_millis(200)).await;
        assert_eq!(farewell, Farewell::Undelivered);
        assert!(script.expect(PUBLISH).await.holds("offline"));
    })
    .await;
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused_at_start() {
    let refused = |change: fn(&mut LinkOptions)| {
        let mut options = options(1, "edge");
        change(&mut options);
        Link::start(options).map(drop).unwrap_err()
    };
    let setting = |error| matches!(error, LinkError::Setting { .. });
    assert!(setting(refused(|options| options.keep_alive = Duration::from_secs(4))));
    assert!(setting(refused(|options| options.keep_alive = Duration::from_secs(65536))));
    assert!(setting(refused(|options| options.receive_maximum = 0)));
    assert!(setting(refused(|options| options.max_packet = 10)));
    assert!(setting(refused(|options| options.client_id = String::new())));
    assert!(setting(refused(|options| options.backoff.min = Duration::from_secs(60))));
    let filter = refused(|options| options.subscriptions = vec![Subscription::new("a/#/b".into())]);
    assert!(matches!(filter, LinkError::Topic(..)));
}

#[test]
fn a_password_is_not_printed() {
    let mut options = options(1, "edge");
    options.login = Some(Login { username: "op".into(), password: Password::new("hunter2".into()) });
    assert!(!format!("{options:?}").contains("hunter2"));
}
