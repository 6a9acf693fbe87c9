//! Two ends on a bad line: each message at most once and in order whatever happens, and exactly once while the
//! line stays within the bounds that the protocol states.
// Tests stop at the first surprise.
#![allow(clippy::unwrap_used, clippy::panic)]

mod line;

use line::{CLEAN, Faults, Wire, faults, id};
use proptest::prelude::*;
use r2d_firmware_host::codec::MAX_WIRE;
use r2d_firmware_host::frame::Role;
use r2d_firmware_host::link::{Event, Link};
use r2d_firmware_host::message::{Message, Press, Ready, Wish};
use r2d_firmware_host::session::Nonce;
use r2d_firmware_host::tick::Tick;

/// One end with what it sent and what it was given, by number.
struct End {
    link: Link,
    role: Role,
    taken: Vec<u32>,
    given: Vec<u32>,
    ups: u32,
    downs: u32,
    lost: u32,
    transmitted: u64,
}

fn message(role: Role, n: u32) -> Message {
    let text = id(&format!("n{n}"));
    match role {
        Role::Host => Message::Ready(Ready { station: text }),
        Role::Panel => Message::Press(Press { station: text, wish: Wish::Ask(1) }),
    }
}

fn number(message: &Message) -> u32 {
    let station = match message {
        Message::Ready(m) => &m.station,
        Message::Press(m) => &m.station,
        other => panic!("{other:?} was never sent"),
    };
    station.as_str()[1..].parse().unwrap()
}

impl End {
    fn new(role: Role, nonce: u32) -> Self {
        let link = Link::new(role, id("end"), Nonce(nonce));
        Self { link, role, taken: vec![], given: vec![], ups: 0, downs: 0, lost: 0, transmitted: 0 }
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::Up(_) => self.ups += 1,
            Event::Down(down) => {
                self.downs += 1;
                self.lost += u32::from(down.unacknowledged);
            }
            Event::Message(m) => self.given.push(number(&m)),
            _ => {}
        }
    }

    fn offer(&mut self, n: u32) {
        if self.link.send(message(self.role, n)).is_ok() {
            self.taken.push(n);
        }
    }

    fn turn(&mut self, now: u64, faults: &Faults, from: &mut Wire, to: &mut Wire) {
        for bytes in from.take(now) {
            for byte in bytes {
                if let Some(event) = self.link.receive(Tick(now), byte) {
                    self.note(event);
                }
            }
        }
        if let Some(event) = self.link.tick(Tick(now)) {
            self.note(event);
        }
        let mut out = [0; MAX_WIRE];
        let mut frames = 0;
        while let Some(bytes) = self.link.transmit(Tick(now), &mut out) {
            to.put(now, faults, bytes);
            frames += 1;
            assert!(frames <= 16, "one turn gives too many frames");
        }
        self.transmitted += frames;
    }
}

struct Run {
    host: End,
    panel: End,
    there: Wire,
    back: Wire,
    now: u64,
    n: u32,
}

impl Run {
    fn new(seed: u64) -> Self {
        let (there, back) = (Wire::new(seed), Wire::new(!seed));
        Self { host: End::new(Role::Host, 5), panel: End::new(Role::Panel, 6), there, back, now: 0, n: 0 }
    }

    fn go(&mut self, ticks: u64, every: u64, faults: &Faults) {
        for _ in 0..ticks {
            if every > 0 && self.now.is_multiple_of(every) {
                self.n += 1;
                self.host.offer(self.n);
                self.panel.offer(self.n);
            }
            self.host.turn(self.now, faults, &mut self.back, &mut self.there);
            self.panel.turn(self.now, faults, &mut self.there, &mut self.back);
            self.now += 1;
        }
    }

    fn check_once_and_in_order(&self) {
        for (sender, receiver) in [(&self.host, &self.panel), (&self.panel, &self.host)] {
            let rising = receiver.given.windows(2).all(|w| w[0] < w[1]);
            assert!(rising, "given twice or out of order: {:?}", receiver.given);
            let missing = sender.taken.iter().filter(|n| !receiver.given.contains(n)).count() as u32;
            assert!(missing <= sender.lost, "{missing} are missing and {} were reported", sender.lost);
        }
    }
}

fn bad() -> impl Strategy<Value = Faults> {
    faults([0..60, 0..50, 0..50, 0..400, 1_000..9_000, 0..3_000])
}

/// What the protocol promises to live with: short outages, and delays within them.
fn bearable() -> impl Strategy<Value = Faults> {
    faults([0..1, 0..30, 0..1, 0..80, 1_200..3_000, 0..400])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn on_any_line_messages_come_at_most_once_in_order_and_none_is_lost_unreported(
        seed: u64, faults in bad(), every in 20..400_u64,
    ) {
        let mut run = Run::new(seed);
        run.go(20_000, every, &faults);
        run.go(3_000, 0, &CLEAN);
        run.check_once_and_in_order();
        // After the faults both ends find each other again.
        prop_assert!(run.host.link.is_up(Tick(run.now)) && run.panel.link.is_up(Tick(run.now)));
    }

    #[test]
    fn on_a_bearable_line_no_session_ends_and_everything_arrives_exactly_once(
        seed: u64, faults in bearable(), every in 150..400_u64,
    ) {
        let mut run = Run::new(seed);
        run.go(1_000, 0, &CLEAN);
        run.go(20_000, every, &faults);
        run.go(3_000, 0, &CLEAN);
        prop_assert_eq!((run.host.downs, run.panel.downs), (0, 0));
        prop_assert_eq!((run.host.ups, run.panel.ups), (1, 1));
        prop_assert_eq!(&run.panel.given, &run.host.taken);
        prop_assert_eq!(&run.host.given, &run.panel.taken);
        prop_assert!(run.host.taken.len() > 40);
    }

    #[test]
    fn a_line_of_noise_makes_no_end_talk_much(seed: u64) {
        let mut run = Run::new(seed);
        run.go(1_000, 0, &CLEAN);
        let before = run.panel.transmitted;
        let mut dice = line::Dice::new(seed);
        for _ in 0..5_000 {
            let noise: Vec<u8> = (0..dice.below(40)).map(|_| dice.byte() & dice.byte()).collect();
            run.there.put(run.now, &CLEAN, &noise);
            run.go(1, 0, &CLEAN);
        }
        // At most a NAK each 50, a beat each 500 or a hello each 250 ticks.
        prop_assert!(run.panel.transmitted - before <= 5_000 / 50 + 5_000 / 500 + 5_000 / 250 + 8);
    }
}
