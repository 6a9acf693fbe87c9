//! The link by hand: two ends, no line between them but a vector. Faults are in `tests/link.rs`.

use super::*;
use crate::message::{Press, Ready, Wish};
use crate::tick::{RETRIES, RETRY, Ticks};
use std::vec::Vec;

fn id(text: &str) -> Id {
    Id::parse(text).unwrap()
}

fn host(nonce: u32) -> Link {
    Link::new(Role::Host, id("edge-1"), Nonce(nonce))
}

fn panel(nonce: u32) -> Link {
    Link::new(Role::Panel, id("panel-1"), Nonce(nonce))
}

fn drain(link: &mut Link, now: Tick) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let mut out = [0; MAX_WIRE];
    while let Some(bytes) = link.transmit(now, &mut out) {
        frames.push(bytes.to_vec());
        assert!(frames.len() < 32, "transmit does not come to an end");
    }
    frames
}

fn feed(link: &mut Link, now: Tick, frames: &[Vec<u8>]) -> Vec<Event> {
    frames.iter().flatten().filter_map(|b| link.receive(now, *b)).collect()
}

/// Carries everything both ways until nothing is due, and gives what the host and the panel learned.
fn settle(host: &mut Link, panel: &mut Link, now: Tick) -> (Vec<Event>, Vec<Event>) {
    let (mut at_host, mut at_panel) = (Vec::new(), Vec::new());
    loop {
        let (h, p) = (drain(host, now), drain(panel, now));
        if h.is_empty() && p.is_empty() {
            return (at_host, at_panel);
        }
        at_panel.extend(feed(panel, now, &h));
        at_host.extend(feed(host, now, &p));
    }
}

fn connected() -> (Link, Link) {
    let (mut h, mut p) = (host(1), panel(2));
    settle(&mut h, &mut p, Tick(0));
    assert!(h.is_up(Tick(0)) && p.is_up(Tick(0)));
    (h, p)
}

fn ready(n: u32) -> Message {
    Message::Ready(Ready { station: id(&std::format!("s{n}")) })
}

#[test]
fn two_ends_meet_and_tell_each_other_who_they_are() {
    let (mut h, mut p) = (host(1), panel(2));
    let (at_host, at_panel) = settle(&mut h, &mut p, Tick(0));
    assert_eq!(at_host.first(), Some(&Event::Up(id("panel-1"))));
    assert_eq!(at_panel.first(), Some(&Event::Up(id("edge-1"))));
}

#[test]
fn nothing_can_be_sent_without_a_session_or_against_the_direction() {
    let mut h = host(1);
    assert_eq!(h.send(ready(0)), Err(SendError::Down));
    let (mut h, mut p) = connected();
    assert_eq!(p.send(ready(0)), Err(SendError::Direction));
    let press = Message::Press(Press { station: id("s"), wish: Wish::Stop });
    assert_eq!(h.send(press), Err(SendError::Direction));
}

#[test]
fn messages_arrive_once_and_in_order_and_the_queue_is_bounded() {
    let (mut h, mut p) = connected();
    for n in 0..QUEUE as u32 {
        h.send(ready(n)).unwrap();
    }
    assert_eq!(h.send(ready(99)), Err(SendError::Full));
    let (_, at_panel) = settle(&mut h, &mut p, Tick(1));
    let expected: Vec<_> = (0..QUEUE as u32).map(|n| Event::Message(ready(n))).collect();
    assert_eq!(at_panel, expected);
    assert_eq!(settle(&mut h, &mut p, Tick(2)), (Vec::new(), Vec::new()));
}

#[test]
fn at_most_a_window_is_under_way() {
    let (mut h, _) = connected();
    for n in 0..QUEUE as u32 {
        h.send(ready(n)).unwrap();
    }
    assert_eq!(drain(&mut h, Tick(1)).len(), WINDOW);
}

#[test]
fn an_acknowledgement_lets_the_next_one_go_and_repeats_nothing() {
    let (mut h, mut p) = connected();
    for n in 0..QUEUE as u32 {
        h.send(ready(n)).unwrap();
    }
    let frames = drain(&mut h, Tick(1));
    feed(&mut p, Tick(1), &frames[..1]);
    let acks = drain(&mut p, Tick(1));
    feed(&mut h, Tick(1), &acks);
    assert_eq!(drain(&mut h, Tick(1)).len(), 1);
}

#[test]
fn a_repeated_frame_is_acknowledged_and_not_given_out_again() {
    let (mut h, mut p) = connected();
    h.send(ready(0)).unwrap();
    let frames = drain(&mut h, Tick(1));
    assert_eq!(feed(&mut p, Tick(1), &frames).len(), 1);
    drain(&mut p, Tick(1));
    assert_eq!(feed(&mut p, Tick(2), &frames).len(), 0);
    assert_eq!(p.counters().repeated, 1);
    assert_eq!(drain(&mut p, Tick(2)).len(), 1, "an acknowledgement");
}

#[test]
fn a_gap_and_a_damaged_frame_are_answered_by_a_nak_that_repeats_at_once() {
    for damage in [false, true] {
        let (mut h, mut p) = connected();
        h.send(ready(0)).unwrap();
        h.send(ready(1)).unwrap();
        let mut frames = drain(&mut h, Tick(1));
        if damage {
            frames[0][3] ^= 0x40;
        } else {
            frames.remove(0);
        }
        assert_eq!(feed(&mut p, Tick(1), &frames), []);
        let naks = drain(&mut p, Tick(1));
        feed(&mut h, Tick(1), &naks);
        let (_, at_panel) = settle(&mut h, &mut p, Tick(1));
        assert_eq!(at_panel, [Event::Message(ready(0)), Event::Message(ready(1))], "damage {damage}");
    }
}

#[test]
fn naks_are_few_however_much_noise_comes() {
    let (_, mut p) = connected();
    let mut naks = 0;
    for now in 1..=200 {
        feed(&mut p, Tick(now), &[b"noise\0noise\0".to_vec()]);
        naks += drain(&mut p, Tick(now)).len();
    }
    assert!((1..=200 / NAK_PAUSE.0 as usize).contains(&naks), "{naks}");
}

#[test]
fn retries_are_bounded_and_their_end_ends_the_session() {
    let (mut h, mut p) = connected();
    h.send(ready(0)).unwrap();
    let mut sent = 0;
    let mut ended = None;
    for now in 1..5_000 {
        let now = Tick(now);
        // The panel's beats arrive, so that only the missing acknowledgement is the matter.
        let beats: Vec<_> = drain(&mut p, now);
        feed(&mut h, now, &beats);
        if let Some(event) = h.tick(now) {
            ended = Some((now, event));
            break;
        }
        for frame in drain(&mut h, now) {
            match codec::decode(&frame[..frame.len() - 1]).unwrap().kind {
                Kind::Flow(Flow { packet: Packet::Data(_), .. }) => sent += 1,
                // Only beats are let through.
                _ => {
                    feed(&mut p, now, &[frame]);
                }
            }
        }
    }
    let (now, event) = ended.unwrap();
    assert_eq!(event, Event::Down(Down { cause: Cause::Unacknowledged, unacknowledged: 1 }));
    assert_eq!(sent, 1 + usize::from(RETRIES));
    assert_eq!(now.0, 1 + u64::from(RETRY.0) * (u64::from(RETRIES) + 1));
}

#[test]
fn three_missed_beats_end_a_session_whoever_asks_first() {
    let (mut h, mut p) = connected();
    h.send(ready(0)).unwrap();
    let frames = drain(&mut h, Tick(10));
    assert_eq!(p.tick(Tick(u64::from(SILENCE.0) - 1)), None);
    let silent = Tick(u64::from(SILENCE.0));
    // A message that comes with the end of the silence is not given out.
    let down = Event::Down(Down { cause: Cause::Silence, unacknowledged: 0 });
    assert_eq!(feed(&mut p, silent, &frames), [down]);
    assert!(!p.is_up(silent));
    assert_eq!(p.tick(silent), None);
}

#[test]
fn a_beat_that_waited_somewhere_does_not_count() {
    let (mut h, mut p) = connected();
    let late = Tick(u64::from(BEAT.0));
    let beats = drain(&mut h, late);
    assert_eq!(beats.len(), 1);
    // It echoes what the panel said at 0, and arrives when that is too long ago.
    let mut fresh = p.clone();
    assert_eq!(feed(&mut fresh, late, &beats), [Event::Beat]);
    assert_eq!(feed(&mut fresh, late.after(Ticks(1)), &beats), [], "a repeated beat");
    let Phase::Up(up) = &mut p.phase else { panic!("not up") };
    up.watchdog.feed(Tick(1_400));
    assert_eq!(feed(&mut p, Tick(u64::from(SILENCE.0) + 1), &beats), []);
    assert_eq!(p.counters().stale, 1);
}

#[test]
fn a_restarted_host_ends_the_session_and_old_frames_are_stale() {
    let (mut h, mut p) = connected();
    h.send(ready(0)).unwrap();
    let old = drain(&mut h, Tick(1));
    let mut again = host(77);
    let (_, at_panel) = settle(&mut again, &mut p, Tick(2));
    assert_eq!(at_panel[0], Event::Down(Down { cause: Cause::Restart, unacknowledged: 0 }));
    assert_eq!(at_panel[1], Event::Up(id("edge-1")));
    assert_eq!(feed(&mut p, Tick(3), &old), []);
    assert_eq!(p.counters().stale, 1);
}

#[test]
fn a_restarted_panel_ends_the_session_at_the_host() {
    let (mut h, _) = connected();
    let (at_host, _) = settle(&mut h, &mut panel(99), Tick(2));
    assert_eq!(at_host[0], Event::Down(Down { cause: Cause::Restart, unacknowledged: 0 }));
    assert_eq!(at_host[1], Event::Up(id("panel-1")));
}

#[test]
fn a_whole_conversation_played_again_to_a_restarted_panel_brings_no_session() {
    let (mut h, mut p) = (host(1), panel(2));
    let mut tape = Vec::new();
    for now in 0..2_000 {
        let now = Tick(now);
        let sent = drain(&mut h, now);
        feed(&mut p, now, &sent);
        tape.extend(sent);
        let answers = drain(&mut p, now);
        feed(&mut h, now, &answers);
        if now.0 % 100 == 50 {
            h.send(ready(0)).unwrap();
        }
    }
    let mut other = panel(3);
    assert_eq!(feed(&mut other, Tick(0), &tape), []);
    assert!(!other.is_up(Tick(0)));
}

#[test]
fn a_line_shorted_to_itself_is_nobody() {
    for mut end in [host(1), panel(1)] {
        for now in 0..2_000 {
            let own = drain(&mut end, Tick(now));
            assert_eq!(feed(&mut end, Tick(now), &own), []);
        }
        assert!(end.counters().echoed > 4);
        assert!(!end.is_up(Tick(2_000)));
    }
}

#[test]
fn an_acknowledgement_of_what_was_never_sent_is_not_believed() {
    let (mut h, p) = connected();
    let Phase::Up(up) = &p.phase else { panic!("not up") };
    h.send(ready(0)).unwrap();
    let flow = Flow { session: up.session, ack: crate::frame::Seq(1), packet: Packet::Ack };
    let frame = Frame { from: Role::Panel, kind: Kind::Flow(flow) };
    let wire = codec::encode(&frame, &mut [0; MAX_WIRE]).unwrap().to_vec();
    feed(&mut h, Tick(1), &[wire]);
    assert_eq!(h.outbox.clear(), 1);
}
