//! A bad line for tests: loses, doubles, delays, reorders and damages what is sent, all from one seed.
//!
//! Each test file compiles it anew and uses its own part of it.
#![allow(dead_code, unreachable_pub, missing_docs)]

use proptest::prelude::*;
use r2d_firmware_host::Id;
use r2d_firmware_host::codec::{MAX_WIRE, encode};
use r2d_firmware_host::frame::{Data, Flow, Frame, Kind, Packet, Role, Seq};
use r2d_firmware_host::message::{Message, Pending, ReasonCode, Ruled, Ruling};
use r2d_firmware_host::session::Session;
use r2d_firmware_host::tick::{Tick, Ticks};
use std::ops::Range;

pub fn id(text: &str) -> Id {
    Id::parse(text).unwrap()
}

/// Small, fast and the same everywhere (xorshift64*).
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// 0 to `n` - 1.
    pub fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 11) % n
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub fn byte(&mut self) -> u8 {
        (self.next() >> 33) as u8
    }

    /// Damages `bytes` in one of the ways of real lines: flipped bits, lost, doubled, added bytes, cut ends.
    pub fn damage(&mut self, bytes: &mut Vec<u8>) {
        let at = self.below(bytes.len() as u64) as usize;
        match self.below(6) {
            0 => bytes[at] ^= 1 << self.below(8),
            1 => bytes[at] = self.byte(),
            2 => drop(bytes.remove(at)),
            3 => bytes.insert(at, self.byte()),
            4 => bytes.truncate(at),
            _ => {
                for _ in 0..1 + self.below(8) {
                    let at = self.below(bytes.len() as u64) as usize;
                    bytes[at] ^= self.byte();
                }
            }
        }
    }
}

/// How bad a line is; chances in percent.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    pub loss: u64,
    pub doubling: u64,
    pub damage: u64,
    /// Longest delay in ticks; frames overtake each other within it.
    pub delay: u64,
    /// Every so many ticks …
    pub outage_every: u64,
    /// … the line carries nothing for so long.
    pub outage: u64,
}

/// Lines with faults in these ranges, in the order of the fields.
pub fn faults(ranges: [Range<u64>; 6]) -> impl Strategy<Value = Faults> {
    ranges.prop_map(|[loss, doubling, damage, delay, outage_every, outage]| Faults {
        loss,
        doubling,
        damage,
        delay,
        outage_every,
        outage,
    })
}

pub const CLEAN: Faults = Faults { loss: 0, doubling: 0, damage: 0, delay: 0, outage_every: 0, outage: 0 };

/// One direction of a line.
pub struct Wire {
    dice: Dice,
    under_way: Vec<(u64, Vec<u8>)>,
}

impl Wire {
    pub fn new(seed: u64) -> Self {
        Self { dice: Dice::new(seed), under_way: Vec::new() }
    }

    pub fn put(&mut self, now: u64, faults: &Faults, bytes: &[u8]) {
        if faults.outage_every > 0 && now % faults.outage_every < faults.outage {
            return;
        }
        if self.dice.chance(faults.loss) {
            return;
        }
        let copies = 1 + usize::from(self.dice.chance(faults.doubling));
        for _ in 0..copies {
            let mut bytes = bytes.to_vec();
            if self.dice.chance(faults.damage) {
                self.dice.damage(&mut bytes);
            }
            let delay = self.dice.below(faults.delay + 1);
            self.under_way.push((now + delay, bytes));
        }
    }

    /// What arrives by `now`, in any order.
    pub fn take(&mut self, now: u64) -> Vec<Vec<u8>> {
        let (due, later) = self.under_way.drain(..).partition(|(at, _)| *at <= now);
        self.under_way = later;
        let mut due: Vec<(u64, Vec<u8>)> = due;
        due.sort_by_key(|(at, _)| *at);
        due.into_iter().map(|(_, bytes)| bytes).collect()
    }
}

pub fn bytes_of(frame: &Frame) -> Vec<u8> {
    encode(frame, &mut [0; MAX_WIRE]).unwrap().to_vec()
}

pub fn data(session: Session, ack: u32, seq: u32, message: Message) -> Frame {
    let packet = Packet::Data(Data { seq: Seq(seq), message });
    Frame { from: Role::Host, kind: Kind::Flow(Flow { session, ack: Seq(ack), packet }) }
}

pub fn pending(request: &str) -> Message {
    Message::Pending(Pending { station: id("press-4"), request: id(request) })
}

pub fn allow(request: &str, as_of: Tick, valid: Ticks) -> Message {
    Message::Ruled(Ruled {
        station: id("press-4"),
        request: id(request),
        ruling: Ruling::Allow,
        reason: ReasonCode(1),
        as_of,
        valid,
    })
}
