//! Stop on a bad line: whatever the line does, nothing that the host ruled before it heard of a stop opens the gate behind
//! that stop, however soon somebody presses reset.
// Tests stop at the first surprise.
#![allow(clippy::unwrap_used, clippy::panic)]

mod line;

use line::{CLEAN, Faults, Wire, faults, id};
use proptest::prelude::*;
use r2d_firmware_host::button::Button;
use r2d_firmware_host::codec::MAX_WIRE;
use r2d_firmware_host::host::{Host, HostEvent};
use r2d_firmware_host::message::{Permit, ReasonCode, Ruling, Wish};
use r2d_firmware_host::panel::Panel;
use r2d_firmware_host::session::Nonce;
use r2d_firmware_host::tick::{Tick, Ticks};

/// A host that allows one request after the other, each named by the last stop that the host had heard of when it came.
struct Run {
    host: Host,
    panel: Panel,
    there: Wire,
    back: Wire,
    now: u64,
    pressed: u32,
    heard: u32,
    /// How often the gate opened.
    opened: u32,
    is_open: bool,
}

impl Run {
    fn new(seed: u64) -> Self {
        Self {
            host: Host::new(id("edge"), Nonce(5)),
            panel: Panel::new(id("panel-1"), id("press-4"), Nonce(6)),
            there: Wire::new(seed),
            back: Wire::new(!seed),
            now: 0,
            pressed: 0,
            heard: 0,
            opened: 0,
            is_open: false,
        }
    }

    fn learn(&mut self, event: HostEvent) {
        if let HostEvent::Press(press) = event
            && press.wish == Wish::Stop
        {
            self.heard = self.pressed;
            let _full = self.host.ready(id("press-4"));
        }
    }

    fn stop(&mut self) {
        // Told or not: it holds, and is told later.
        let _told = self.panel.press(Tick(self.now), Button::Stop);
        // One that is pressed before the last was heard may be heard as one with it.
        self.pressed += u32::from(self.heard == self.pressed);
    }

    fn ask(&mut self) {
        let request = id(&format!("behind-{}", self.heard));
        if self.host.pending(id("press-4"), request.clone()).is_ok() {
            let _full = self.host.rule(id("press-4"), request, Ruling::Allow, ReasonCode(1), Ticks(30_000));
        }
    }

    /// Some ticks; the host asks every `every`, and somebody presses reset as often as `resets` says.
    fn go(&mut self, ticks: u64, every: u64, resets: u64, faults: &Faults) {
        let mut out = [0; MAX_WIRE];
        for _ in 0..ticks {
            self.now += 1;
            let now = Tick(self.now);
            if self.now.is_multiple_of(every) {
                self.ask();
            }
            if self.now.is_multiple_of(resets) {
                let _refused = self.panel.press(now, Button::Reset);
            }
            while let Some(bytes) = self.host.transmit(now, &mut out) {
                self.there.put(self.now, faults, bytes);
            }
            while let Some(bytes) = self.panel.transmit(now, &mut out) {
                self.back.put(self.now, faults, bytes);
            }
            for byte in self.there.take(self.now).concat() {
                self.panel.receive(now, byte);
                self.check(now);
            }
            for byte in self.back.take(self.now).concat() {
                if let Some(event) = self.host.receive(now, byte) {
                    self.learn(event);
                }
            }
            if let Some(event) = self.host.tick(now) {
                self.learn(event);
            }
            self.panel.tick(now);
            self.check(now);
        }
    }

    fn check(&mut self, now: Tick) {
        let is_open = self.panel.outputs(now).permit == Permit::Open;
        if is_open {
            let request = self.panel.gate().request().map(|id| id.as_str().to_owned());
            assert_eq!(request, Some(format!("behind-{}", self.pressed)), "open at {}", now.0);
        }
        self.opened += u32::from(is_open && !self.is_open);
        self.is_open = is_open;
    }
}

fn bad() -> impl Strategy<Value = Faults> {
    faults([0..40, 0..40, 0..30, 0..120, 700..3_000, 0..700])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn nothing_from_before_a_stop_opens_the_gate_behind_it(
        seed: u64,
        faults in bad(),
        every in 40..400_u64,
        resets in 1..200_u64,
        stops in prop::collection::vec(50..1_500_u64, 8),
    ) {
        let mut run = Run::new(seed);
        run.go(1_000, every, resets, &CLEAN);
        for wait in stops {
            run.go(wait, every, resets, &faults);
            run.stop();
        }
        // And on a good line a person gets on with it: stop, reset, a new request.
        run.go(3_000, every, resets, &CLEAN);
        let before = run.opened;
        run.stop();
        run.go(1_000, every, resets, &CLEAN);
        prop_assert!(run.opened > before, "it never opened again");
    }
}
