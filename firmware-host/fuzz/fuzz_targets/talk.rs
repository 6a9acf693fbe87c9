//! A host and a panel on a line that the fuzzer rules: it drops, doubles, delays and damages what they say.
//!
//! Messages come at most once and in order, and the gate is never open without a ruling that was really sent.
#![no_main]

use libfuzzer_sys::fuzz_target;
use r2d_firmware_host::Id;
use r2d_firmware_host::button::Button;
use r2d_firmware_host::codec::MAX_WIRE;
use r2d_firmware_host::host::{Host, HostEvent};
use r2d_firmware_host::message::{Permit, ReasonCode, Ruling, Wish};
use r2d_firmware_host::panel::Panel;
use r2d_firmware_host::session::Nonce;
use r2d_firmware_host::tick::{SILENCE, Tick, Ticks};
use std::collections::VecDeque;

fn id(text: &str) -> Id {
    Id::parse(text).expect("an id")
}

fn say(queue: &mut VecDeque<Vec<u8>>, bytes: Option<&[u8]>) -> bool {
    if queue.len() < 32
        && let Some(bytes) = bytes
    {
        queue.push_back(bytes.to_vec());
        return true;
    }
    false
}

fuzz_target!(|input: &[u8]| {
    let mut host = Host::new(id("edge-1"), Nonce(1));
    let mut panel = Panel::new(id("panel-1"), id("press-4"), Nonce(2));
    let (mut there, mut back) = (VecDeque::new(), VecDeque::new());
    let mut now = Tick(0);
    let mut asked = 0_u8;
    let mut heard = 0_u8;
    let mut allowed_until = Tick(0);
    let mut out = [0; MAX_WIRE];
    for pair in input.chunks_exact(2) {
        let (op, n) = (pair[0], pair[1]);
        let mut learned = Vec::new();
        match op % 10 {
            0 | 1 => {
                now = now.after(Ticks(u32::from(n)));
                learned.extend(host.tick(now));
                let _ = panel.tick(now);
            }
            2 => while say(&mut there, host.transmit(now, &mut out)) {},
            3 => while say(&mut back, panel.transmit(now, &mut out)) {},
            4 => {
                for byte in there.pop_front().unwrap_or_default() {
                    let _ = panel.receive(now, byte);
                }
            }
            5 => {
                for byte in back.pop_front().unwrap_or_default() {
                    learned.extend(host.receive(now, byte));
                }
            }
            6 => {
                // The line: drop, double, overtake, damage.
                let queue = if n & 1 == 0 { &mut there } else { &mut back };
                let Some(mut frame) = queue.pop_front() else { continue };
                match n >> 1 & 3 {
                    0 => {}
                    1 => {
                        queue.push_back(frame.clone());
                        queue.push_front(frame);
                    }
                    2 => queue.push_back(frame),
                    _ => {
                        let at = usize::from(n >> 3) % frame.len();
                        frame[at] ^= op | 1;
                        queue.push_front(frame);
                    }
                }
            }
            7 => {
                let _ = host.pending(id("press-4"), id("r"));
            }
            8 => {
                let rulings = [Ruling::Allow, Ruling::Undecided, Ruling::Refuse, Ruling::Review];
                let ruling = rulings[usize::from(n) % 4];
                let sent = host.rule(id("press-4"), id("r"), ruling, ReasonCode(1), Ticks(5_000));
                if sent.is_ok() && ruling == Ruling::Allow {
                    allowed_until = now.after(Ticks(5_000));
                }
            }
            _ => match n % 3 {
                0 if asked < u8::MAX => {
                    asked += 1;
                    let _ = panel.press(now, Button::Ask(asked));
                }
                1 => {
                    let _ = panel.press(now, Button::Reset);
                }
                _ => {
                    let _ = panel.press(now, Button::Stop);
                    assert_eq!(panel.outputs(now).permit, Permit::Closed);
                }
            },
        }
        for event in learned {
            if let HostEvent::Press(press) = event
                && let Wish::Ask(number) = press.wish
            {
                assert!(number > heard && number <= asked, "{number} after {heard} of {asked}");
                heard = number;
            }
        }
        if panel.outputs(now).permit == Permit::Open {
            assert!(now < allowed_until);
        }
        let late = now.after(SILENCE);
        assert_eq!(panel.outputs(late).permit, Permit::Closed);
    }
});
