//! Floods: a million random or damaged frames never open a gate and never hang an end.
//!
//! Each flood ends with the one thing that does open the gate, so that none passes because nothing could.
// Tests stop at the first surprise.
#![allow(clippy::unwrap_used, clippy::panic)]

mod line;

use line::{Dice, allow, bytes_of, data, id, pending};
use r2d_firmware_host::button::Button;
use r2d_firmware_host::codec::MAX_WIRE;
use r2d_firmware_host::frame::{Frame, Kind, Role};
use r2d_firmware_host::host::{Host, HostEvent};
use r2d_firmware_host::link::Event;
use r2d_firmware_host::message::{Permit, ReasonCode, Ruling};
use r2d_firmware_host::panel::Panel;
use r2d_firmware_host::session::{Nonce, Session};
use r2d_firmware_host::tick::{Tick, Ticks};
use std::time::{Duration, Instant};

const FRAMES: u64 = 1_000_000;
/// Far more than any of them takes; a hang would pass it.
const LIMIT: Duration = Duration::from_secs(300);

/// A host and a panel on a clean line.
struct Bench {
    host: Host,
    panel: Panel,
    session: Option<Session>,
    acked: u32,
    seq: u32,
    now: u64,
}

impl Bench {
    fn new() -> Self {
        Self {
            host: Host::new(id("edge-1"), Nonce(0x1357_9BDF)),
            panel: Panel::new(id("panel-1"), id("press-4"), Nonce(0x2468_ACE0)),
            session: None,
            acked: 0,
            seq: 0,
            now: 0,
        }
    }

    fn permit(&self) -> Permit {
        self.panel.outputs(Tick(self.now)).permit
    }

    fn give_panel(&mut self, bytes: &[u8]) -> Vec<Event> {
        let now = Tick(self.now);
        bytes.iter().filter_map(|b| self.panel.receive(now, *b)).collect()
    }

    /// One tick with everything carried; gives what the host learned.
    fn step(&mut self) -> Vec<HostEvent> {
        self.now += 1;
        let now = Tick(self.now);
        let mut out = [0; MAX_WIRE];
        let mut learned: Vec<_> = self.host.tick(now).into_iter().collect();
        self.panel.tick(now);
        for _ in 0..16 {
            if let Some(bytes) = self.host.transmit(now, &mut out).map(<[u8]>::to_vec) {
                self.look_at(&bytes);
                self.give_panel(&bytes);
            }
            if let Some(bytes) = self.panel.transmit(now, &mut out) {
                learned.extend(bytes.iter().filter_map(|b| self.host.receive(now, *b)));
            }
        }
        learned
    }

    /// Remembers what a forger at the line would see.
    fn look_at(&mut self, bytes: &[u8]) {
        let frame = bytes.trim_ascii_start();
        let frame: Vec<u8> = frame.iter().copied().filter(|b| *b != 0).collect();
        if let Ok(Frame { kind: Kind::Flow(flow), .. }) = r2d_firmware_host::codec::decode(&frame) {
            self.session = Some(flow.session);
            self.acked = flow.ack.0;
            if let r2d_firmware_host::frame::Packet::Data(data) = flow.packet {
                self.seq = data.seq.0 + 1;
            }
        }
    }

    /// Connected, released, and waiting for a verdict about `r`.
    fn waiting() -> Self {
        let mut bench = Self::new();
        for _ in 0..50 {
            bench.step();
        }
        bench.panel.press(Tick(bench.now), Button::Reset).unwrap();
        bench.host.pending(id("press-4"), id("r")).unwrap();
        for _ in 0..50 {
            bench.step();
        }
        assert_eq!(bench.panel.gate().request(), Some(&id("r")));
        assert_eq!(bench.permit(), Permit::Closed);
        bench
    }

    /// The bytes of the frame that would open the gate now.
    fn opener(&self) -> Vec<u8> {
        let message = allow("r", Tick(self.now), Ticks(60_000));
        bytes_of(&data(self.session.unwrap(), self.acked, self.seq, message))
    }

    fn check_that_the_real_one_opens(mut self) {
        self.give_panel(&[0]);
        let bytes = self.opener();
        self.give_panel(&bytes);
        assert_eq!(self.permit(), Permit::Open, "the flood proved nothing: {:?}", self.panel.gate());
    }
}

fn flood(mut bench: Bench, mut forge: impl FnMut(&Bench, u64) -> Vec<u8>) -> Bench {
    let begun = Instant::now();
    for n in 0..FRAMES {
        let bytes = forge(&bench, n);
        bench.give_panel(&bytes);
        assert_eq!(bench.permit(), Permit::Closed, "frame {n} opened the gate: {bytes:02x?}");
        if n % 256 == 0 {
            bench.give_panel(&[0]);
            bench.step();
            assert_eq!(bench.permit(), Permit::Closed);
            assert!(begun.elapsed() < LIMIT, "hangs at frame {n}");
        }
    }
    for _ in 0..600 {
        bench.give_panel(&[0]);
        bench.step();
    }
    bench
}

#[test]
fn a_million_random_frames_never_open_the_gate() {
    let mut dice = Dice::new(1);
    let bench = flood(Bench::waiting(), |_, _| {
        let mut bytes: Vec<u8> = (0..dice.below(80)).map(|_| dice.byte()).collect();
        bytes.push(0);
        bytes
    });
    bench.check_that_the_real_one_opens();
}

#[test]
fn a_million_damaged_copies_of_the_opening_frame_never_open_the_gate() {
    let mut dice = Dice::new(2);
    let bench = flood(Bench::waiting(), |bench, _| {
        let whole = bench.opener();
        let mut bytes = whole.clone();
        // A zero more or less around the frame leaves it as it was: that is no damage.
        while bytes.split(|b| *b == 0).any(|part| part == &whole[..whole.len() - 1]) {
            bytes = whole.clone();
            dice.damage(&mut bytes);
        }
        // The first zero ends what a former frame without one has left.
        bytes.insert(0, 0);
        bytes.push(0);
        bytes
    });
    bench.check_that_the_real_one_opens();
}

#[test]
fn a_million_well_formed_frames_of_other_sessions_ends_and_numbers_never_open_the_gate() {
    let mut dice = Dice::new(3);
    let bench = flood(Bench::waiting(), |bench, n| {
        let session = bench.session.unwrap();
        let message = allow("r", Tick(bench.now), Ticks(60_000));
        let later = 1 + (dice.next() as u32 >> 8);
        let frame = match n % 4 {
            0 => data(Session(dice.next() as u32), bench.acked, bench.seq, message),
            1 => data(session, bench.acked, bench.seq + later, message),
            2 => data(session, bench.acked + later, bench.seq, message),
            // A message that came before, played again.
            _ => data(session, bench.acked, dice.below(u64::from(bench.seq)) as u32, message),
        };
        assert_ne!(frame.from, Role::Panel);
        bytes_of(&frame)
    });
    bench.check_that_the_real_one_opens();
}

#[test]
fn a_latched_gate_stays_latched_under_any_flood() {
    let mut bench = Bench::waiting();
    bench.panel.press(Tick(bench.now), Button::Stop).unwrap();
    let mut dice = Dice::new(4);
    let bench = flood(bench, |bench, n| match n % 3 {
        // Real ones too.
        0 => bench.opener(),
        1 => bytes_of(&data(bench.session.unwrap(), bench.acked, bench.seq, pending("r"))),
        _ => (0..dice.below(40)).map(|_| dice.byte()).chain([0]).collect(),
    });
    assert_eq!(bench.permit(), Permit::Closed);
}

#[test]
fn a_host_survives_a_million_random_frames_and_goes_on() {
    let mut bench = Bench::waiting();
    let mut dice = Dice::new(5);
    let begun = Instant::now();
    for n in 0..FRAMES {
        let length = dice.below(80);
        for _ in 0..length {
            let byte = dice.byte();
            assert!(bench.host.receive(Tick(bench.now), byte).is_none());
        }
        bench.host.receive(Tick(bench.now), 0);
        if n % 256 == 0 {
            bench.step();
            assert!(begun.elapsed() < LIMIT, "hangs at frame {n}");
        }
    }
    bench.panel.press(Tick(bench.now), Button::Ask(3)).unwrap();
    let learned: Vec<_> = (0..600).flat_map(|_| bench.step()).collect();
    assert!(learned.iter().any(|e| matches!(e, HostEvent::Press(_))), "{learned:?}");
    let rule = bench.host.rule(id("press-4"), id("r"), Ruling::Allow, ReasonCode(1), Ticks(60_000));
    rule.unwrap();
    bench.step();
    assert_eq!(bench.permit(), Permit::Open);
}
