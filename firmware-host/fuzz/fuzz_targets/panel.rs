//! Any bytes, times and buttons into a panel that has a session and waits for a verdict: the gate stays closed.
//!
//! The bytes come raw, and as bodies that get the right session, CRC and stuffing, so that the fuzzer gets behind
//! them. The one message that may open the gate, an `allow` for its station and request, is left out.
#![no_main]

use libfuzzer_sys::fuzz_target;
use r2d_firmware_host::Id;
use r2d_firmware_host::button::Button;
use r2d_firmware_host::codec::{MAX_WIRE, decode, encode};
use r2d_firmware_host::frame::{Flow, Frame, Kind, Packet, Role};
use r2d_firmware_host::host::Host;
use r2d_firmware_host::message::{Message, Permit, Ruling};
use r2d_firmware_host::panel::Panel;
use r2d_firmware_host::session::{Nonce, Session};
use r2d_firmware_host::tick::{Tick, Ticks};

fn id(text: &str) -> Id {
    Id::parse(text).expect("an id")
}

/// One tick with everything carried.
fn step(host: &mut Host, panel: &mut Panel, now: Tick) {
    let mut out = [0; MAX_WIRE];
    let _ = (host.tick(now), panel.tick(now));
    for _ in 0..16 {
        for byte in host.transmit(now, &mut out).unwrap_or_default() {
            let _ = panel.receive(now, *byte);
        }
        for byte in panel.transmit(now, &mut out).unwrap_or_default() {
            let _ = host.receive(now, *byte);
        }
    }
}

fn waiting() -> (Host, Panel, Tick) {
    let mut host = Host::new(id("edge-1"), Nonce(1));
    let mut panel = Panel::new(id("panel-1"), id("press-4"), Nonce(2));
    let mut now = Tick(0);
    step(&mut host, &mut panel, now);
    panel.press(now, Button::Reset).expect("beats arrive");
    host.pending(id("press-4"), id("r")).expect("a session stands");
    for _ in 0..4 {
        now = now.after(Ticks(1));
        step(&mut host, &mut panel, now);
    }
    assert_eq!(panel.gate().request(), Some(&id("r")));
    (host, panel, now)
}

/// A frame that the fuzzer may send: its body with the session, the role and the CRC set right.
fn dress(body: &[u8]) -> Option<Vec<u8>> {
    let mut out = [0; MAX_WIRE];
    let mut whole = vec![1];
    whole.extend(body);
    whole.extend(crc32c(&whole).to_le_bytes());
    let mut frame = decode(&stuff(&whole)).ok()?;
    frame.from = Role::Host;
    if let Kind::Flow(flow) = &mut frame.kind {
        flow.session = Session::of(Nonce(1), Nonce(2));
        if opens(flow) {
            return None;
        }
    }
    encode(&frame, &mut out).ok().map(<[u8]>::to_vec)
}

fn opens(flow: &Flow) -> bool {
    matches!(&flow.packet, Packet::Data(d) if matches!(&d.message, Message::Ruled(r) if r.ruling == Ruling::Allow))
}

fn stuff(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for part in body.split(|b| *b == 0) {
        let part = &part[..part.len().min(253)];
        out.push(part.len() as u8 + 1);
        out.extend(part);
    }
    out
}

fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, b| {
        (0..8).fold(crc ^ u32::from(*b), |c, _| if c & 1 == 1 { c >> 1 ^ 0x82F6_3B78 } else { c >> 1 })
    })
}

fuzz_target!(|input: &[u8]| {
    let (_, mut panel, mut now) = waiting();
    let mut rest = input;
    while let [op, length, tail @ ..] = rest {
        let (part, tail) = tail.split_at(tail.len().min(usize::from(*length)));
        rest = tail;
        let bytes = match op % 4 {
            0 => part.to_vec(),
            1 => dress(part).unwrap_or_default(),
            2 => {
                now = now.after(Ticks(u32::from(*length) * 8));
                let _ = panel.tick(now);
                continue;
            }
            _ => {
                let button = [Button::Stop, Button::Reset, Button::Approve, Button::Ask(*length)];
                let _ = panel.press(now, button[usize::from(*length) % 4]);
                continue;
            }
        };
        // Raw bytes may hold the opening frame only if the fuzzer made it: then it is no finding.
        let forged = bytes
            .split(|b| *b == 0)
            .any(|p| matches!(decode(p), Ok(Frame { kind: Kind::Flow(flow), .. }) if opens(&flow)));
        if forged {
            return;
        }
        for byte in &bytes {
            let _ = panel.receive(now, *byte);
            assert_eq!(panel.outputs(now).permit, Permit::Closed);
        }
        let mut out = [0; MAX_WIRE];
        let n = (0..64).take_while(|_| panel.transmit(now, &mut out).is_some()).count();
        assert!(n < 64, "transmit does not come to an end");
    }
});
