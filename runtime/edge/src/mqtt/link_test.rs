//! The link against real brokers: every test runs with the embedded one and with mosquitto.
//!
//! Not here: faults that no real broker makes on demand (see `fault_test`).

use std::collections::HashSet;
use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::PublishProperties;
use tokio::time::sleep;

use super::link::{Ack, Farewell, LinkEvent, Publication, PublishError, PublishId, Qos, Subscription, Will};
use super::test_broker::{Kind, Subject, TestBroker, bounded, mosquitto_is_missing, say};

const ASK: &str = "r2d/v1/s/a/l/d/req/ask";
const STATUS: &str = "r2d/v1/s/a/l/d/status";

macro_rules! with_both_brokers {
    ($($name:ident)*) => { $(
        mod $name {
            use super::*;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn embedded() {
                bounded(super::$name(Kind::Embedded)).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn mosquitto() {
                if !mosquitto_is_missing() {
                    bounded(super::$name(Kind::Mosquitto)).await;
                }
            }
        }
    )* };
}

with_both_brokers! {
    a_request_and_its_answer_carry_their_properties
    an_unacknowledged_message_comes_again_after_a_restart_and_its_old_token_is_void
    messages_sent_while_away_arrive_even_after_a_restart
    subscriptions_are_renewed_when_the_broker_forgot_the_session
    a_dropped_link_leaves_its_will
    a_closed_link_says_farewell_and_leaves_no_will
    a_message_over_our_limit_does_not_end_the_session
    a_publish_over_the_limit_of_the_broker_is_refused_here
    a_flood_with_a_slow_reader_loses_and_piles_up_nothing
    unread_at_most_once_messages_are_dropped_and_counted
    retained_messages_are_marked_and_only_sent_where_wanted
    a_shared_subscription_delivers_under_the_plain_topic
}

fn asking(broker: &TestBroker) -> super::link::LinkOptions {
    let mut options = broker.options("edge");
    options.subscriptions = vec![Subscription::new(ASK.into())];
    options
}

async fn a_request_and_its_answer_carry_their_properties(kind: Kind) {
    let broker = TestBroker::started(kind).await;
    let mut subject = Subject::start(asking(&broker));
    assert!(!subject.up().await, "a new session cannot be present");
    subject.subscribed().await;
    let mut peer = broker.peer(&["mes/reply"]).await;
    let properties = PublishProperties {
        response_topic: Some("mes/reply".into()),
        correlation_data: Some(vec![0, 255, 7].into()),
        message_expiry_interval: Some(60),
        ..PublishProperties::default()
    };
    peer.send(ASK, "why?", properties).await;
    let message = subject.message().await;
    assert_eq!((message.topic.as_str(), message.payload.as_slice()), (ASK, b"why?".as_slice()));
    assert_eq!(message.response_topic.as_deref(), Some("mes/reply"));
    assert_eq!(message.correlation.as_deref(), Some([0, 255, 7].as_slice()));
    assert!(message.expiry_s.is_some_and(|seconds| (1..=60).contains(&seconds)));
    assert!(!message.retain && !message.dup);
    assert_eq!(subject.link.ack(message.ack), Ack::Sent);

    let answer = Publication {
        correlation: message.correlation,
        expiry_s: Some(90),
        ..say("mes/reply", "because", Qos::AtLeastOnce)
    };
    subject.link.publish(PublishId(5), answer).unwrap();
    assert_eq!(subject.delivered().await, 5);
    let received = peer.receive().await;
    assert_eq!(received.payload.as_ref(), b"because");
    let properties = received.properties.unwrap();
    assert_eq!(properties.correlation_data.as_deref(), Some([0, 255, 7].as_slice()));
    assert!(properties.message_expiry_interval.is_some_and(|seconds| (1..=90).contains(&seconds)));
}

async fn an_unacknowledged_message_comes_again_after_a_restart_and_its_old_token_is_void(kind: Kind) {
    let mut broker = TestBroker::started(kind).await;
    let mut subject = Subject::start(asking(&broker));
    subject.subscribed().await;
    broker.peer(&[]).await.send(ASK, "first", PublishProperties::default()).await;
    let old = subject.message().await;
    broker.stop().await;
    subject.down().await;
    broker.start().await;
    assert!(subject.up().await, "the session must outlive the restart");
    let again = subject.message().await;
    assert_eq!(again.payload, b"first");
    assert_ne!(old.ack.generation, again.ack.generation);
    assert_eq!(subject.link.ack(old.ack), Ack::Stale);
    assert_eq!(subject.link.ack(again.ack), Ack::Sent);
    // The broker reads in order: with this PUBACK it has the acknowledgement too.
    subject.link.publish(PublishId(1), say("mes/sync", "", Qos::AtLeastOnce)).unwrap();
    subject.delivered().await;

    broker.stop().await;
    subject.down().await;
    broker.start().await;
    subject.subscribed().await;
    broker.peer(&[]).await.send(ASK, "second", PublishProperties::default()).await;
    assert_eq!(subject.message().await.payload, b"second", "an acknowledged message came again");
}

async fn messages_sent_while_away_arrive_even_after_a_restart(kind: Kind) {
    let mut broker = TestBroker::started(kind).await;
    let mut subject = Subject::start(asking(&broker));
    subject.subscribed().await;
    assert_eq!(subject.link.close(None, Duration::from_secs(5)).await, Farewell::NotAsked);
    let mut peer = broker.peer(&[]).await;
    for payload in ["one", "two", "three"] {
        peer.send(ASK, payload, PublishProperties::default()).await;
    }
    drop(peer);
    broker.stop().await;
    broker.start().await;
    let mut subject = Subject::start(asking(&broker));
    assert!(subject.up().await);
    for payload in ["one", "two", "three"] {
        let message = subject.message().await;
        assert_eq!(message.payload, payload.as_bytes());
        subject.link.ack(message.ack);
    }
}

async fn subscriptions_are_renewed_when_the_broker_forgot_the_session(kind: Kind) {
    let mut broker = TestBroker::started(kind).await;
    let mut subject = Subject::start(asking(&broker));
    subject.subscribed().await;
    broker.stop().await;
    broker.forget();
    subject.down().await;
    let refused = subject.link.publish(PublishId(1), say("mes/x", "", Qos::AtLeastOnce));
    assert_eq!(refused, Err(PublishError::Down));
    broker.start().await;
    assert!(!subject.up().await);
    subject.subscribed().await;
    broker.peer(&[]).await.send(ASK, "hello", PublishProperties::default()).await;
    assert_eq!(subject.message().await.payload, b"hello");
}

fn with_will(broker: &TestBroker) -> super::link::LinkOptions {
    let mut options = broker.options("edge");
    options.will = Some(Will { topic: STATUS.into(), payload: b"lost".to_vec(), retain: true });
    options
}

async fn a_dropped_link_leaves_its_will(kind: Kind) {
    let broker = TestBroker::started(kind).await;
    let mut peer = broker.peer(&[STATUS]).await;
    let mut subject = Subject::start(with_will(&broker));
    subject.up().await;
    drop(subject);
    assert_eq!(peer.receive().await.payload.as_ref(), b"lost");
    // It is retained: a late subscriber finds it.
    assert_eq!(broker.peer(&[STATUS]).await.receive().await.payload.as_ref(), b"lost");
}

async fn a_closed_link_says_farewell_and_leaves_no_will(kind: Kind) {
    let broker = TestBroker::started(kind).await;
    let mut peer = broker.peer(&[STATUS]).await;
    let mut subject = Subject::start(with_will(&broker));
    subject.subscribed().await;
    let offline = Publication { retain: true, ..say(STATUS, "offline", Qos::AtLeastOnce) };
    assert_eq!(subject.link.close(Some(offline), Duration::from_secs(10)).await, Farewell::Delivered);
    assert_eq!(peer.receive().await.payload.as_ref(), b"offline");
    assert!(subject.events.recv().await.is_none());
    let late = subject.link.publish(PublishId(1), say(STATUS, "zombie", Qos::AtLeastOnce));
    assert_eq!(late, Err(PublishError::Closed));
    peer.send(STATUS, "marker", PublishProperties::default()).await;
    assert_eq!(peer.receive().await.payload.as_ref(), b"marker", "the will was published");
}

async fn a_message_over_our_limit_does_not_end_the_session(kind: Kind) {
    let broker = TestBroker::started(kind).await;
    let mut subject = Subject::start(super::link::LinkOptions { max_packet: 4096, ..asking(&broker) });
    subject.subscribed().await;
    let mut peer = broker.peer(&[]).await;
    peer.send(ASK, &"x".repeat(10_000), PublishProperties::default()).await;
    peer.send(ASK, "small", PublishProperties::default()).await;
    assert_eq!(subject.message().await.payload, b"small");
    assert_eq!(subject.link.counters().connections, 1);
}

async fn a_publish_over_the_limit_of_the_broker_is_refused_here(kind: Kind) {
    let mut broker = TestBroker::new(kind);
    broker.max_packet = 2048;
    broker.start().await;
    let mut subject = Subject::start(broker.options("edge"));
    subject.subscribed().await;
    let large = say("mes/x", &"x".repeat(2048), Qos::AtLeastOnce);
    let error = subject.link.publish(PublishId(1), large).unwrap_err();
    assert!(matches!(error, PublishError::TooLarge { max: 2048, .. }), "{error}");
    // The largest that fits: header 1, length 2, topic 2 + 5, packet id 2, property length 1.
    subject.link.publish(PublishId(2), say("mes/x", &"x".repeat(2048 - 13), Qos::AtLeastOnce)).unwrap();
    assert_eq!(subject.delivered().await, 2);
    assert_eq!(subject.link.counters().connections, 1);
}

async fn a_flood_with_a_slow_reader_loses_and_piles_up_nothing(kind: Kind) {
    const FLOOD: usize = 2000;
    let broker = TestBroker::started(kind).await;
    let mut subject = Subject::start(asking(&broker));
    subject.subscribed().await;
    let mut peer = broker.peer(&[]).await;
    for number in 0..FLOOD {
        peer.queue(ASK, &number.to_string(), QoS::AtLeastOnce, PublishProperties::default()).await;
    }
    for _ in 0..FLOOD {
        peer.acknowledged().await;
    }
    let mut seen = HashSet::new();
    let (mut answers, mut answered) = (0, 0);
    while seen.len() < FLOOD || answered < answers {
        match subject.events.recv().await.unwrap() {
            LinkEvent::Message(message) => {
                let number: usize = String::from_utf8(message.payload).unwrap().parse().unwrap();
                assert!(seen.insert(number), "{number} came twice on one connection");
                if number.is_multiple_of(50) {
                    // A slow reader; what waits meanwhile is bounded by four times the receive
                    // maximum of 16, one over it, and the reports of its own publishes.
                    sleep(Duration::from_millis(5)).await;
                    let unread = subject.link.counters().unread;
                    assert!(unread <= 80, "{unread} events wait");
                    let answer = say("mes/answer", "", Qos::AtLeastOnce);
                    // A PUBACK waits behind what the broker has pushed already, so the window may fill.
                    match subject.link.publish(PublishId(1), answer) {
                        Ok(()) => answers += 1,
                        Err(error) => assert!(matches!(error, PublishError::Full(_)), "{error}"),
                    }
                }
                assert_eq!(subject.link.ack(message.ack), Ack::Sent);
            }
            LinkEvent::Delivered(_) => answered += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(answers > 0);
    assert_eq!(subject.link.counters().connections, 1);
}

async fn unread_at_most_once_messages_are_dropped_and_counted(kind: Kind) {
    let broker = TestBroker::started(kind).await;
    let mut subject = Subject::start(asking(&broker));
    subject.subscribed().await;
    let peer = broker.peer(&[]).await;
    // The reader sleeps; a broker may drop some of these itself, so they are sent until it shows here.
    while subject.link.counters().dropped_in < 100 {
        for _ in 0..200 {
            peer.queue(ASK, "x", QoS::AtMostOnce, PublishProperties::default()).await;
        }
        sleep(Duration::from_millis(10)).await;
    }
    assert!(subject.link.counters().unread <= 64);
    subject.link.publish(PublishId(9), say("mes/x", "", Qos::AtLeastOnce)).unwrap();
    assert_eq!(subject.delivered().await, 9);
}

async fn retained_messages_are_marked_and_only_sent_where_wanted(kind: Kind) {
    let broker = TestBroker::started(kind).await;
    let mut peer = broker.peer(&[]).await;
    peer.send_retained(ASK, "old request").await;
    peer.send_retained("r2d/v1/s/a/l/d/config/desired", "config").await;
    let mut options = asking(&broker);
    options.subscriptions.push(Subscription::with_retained("r2d/v1/s/a/l/d/config/desired".into()));
    let mut subject = Subject::start(options);
    let first = subject.message().await;
    assert_eq!((first.payload.as_slice(), first.retain), (b"config".as_slice(), true));
    peer.send_retained(ASK, "new request").await;
    let second = subject.message().await;
    assert_eq!((second.payload.as_slice(), second.retain), (b"new request".as_slice(), true));
}

async fn a_shared_subscription_delivers_under_the_plain_topic(kind: Kind) {
    const POOL: &str = "r2d/v1/s/pool/p/req/ask";
    let broker = TestBroker::started(kind).await;
    let mut options = broker.options("edge");
    options.subscriptions = vec![Subscription::new(format!("$share/workers/{POOL}"))];
    let mut subject = Subject::start(options);
    let refused = subject
        .until(|event| match event {
            LinkEvent::SubscriptionRefused { filter, code } => Some(Some((filter, code))),
            LinkEvent::Subscribed => Some(None),
            _ => None,
        })
        .await;
    assert_eq!(refused, None);
    broker.peer(&[]).await.send(POOL, "any of you", PublishProperties::default()).await;
    assert_eq!(subject.message().await.topic, POOL);
}
