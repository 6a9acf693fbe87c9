//! Host and panel on a perfect line: what people see and press, and what the host learns of it.

use super::*;
use crate::gate::ResetError;
use crate::host::{Host, HostEvent};
use crate::message::ReasonCode;
use crate::tick::{SILENCE, Ticks};
use std::vec::Vec;

fn id(text: &str) -> Id {
    Id::parse(text).unwrap()
}

struct Pair {
    host: Host,
    panel: Panel,
    now: Tick,
}

impl Pair {
    fn new() -> Self {
        let panel = Panel::new(id("panel-1"), id("press-4"), Nonce(2));
        Self { host: Host::new(id("edge-1"), Nonce(1)), panel, now: Tick(0) }
    }

    fn released() -> Self {
        let mut pair = Self::new();
        pair.step();
        pair.panel.press(pair.now, Button::Reset).unwrap();
        pair.step();
        pair
    }

    /// One tick with everything carried; gives what the host learned.
    fn step(&mut self) -> Vec<HostEvent> {
        self.now = self.now.after(Ticks(1));
        let mut out = [0; MAX_WIRE];
        let mut learned: Vec<_> = self.host.tick(self.now).into_iter().collect();
        self.panel.tick(self.now);
        for _ in 0..16 {
            for byte in self.host.transmit(self.now, &mut out).unwrap_or_default() {
                self.panel.receive(self.now, *byte);
            }
            for byte in self.panel.transmit(self.now, &mut out).unwrap_or_default() {
                learned.extend(self.host.receive(self.now, *byte));
            }
        }
        learned
    }

    fn rule(&mut self, request: &str, ruling: Ruling) {
        self.host.pending(id("press-4"), id(request)).unwrap();
        self.host.rule(id("press-4"), id(request), ruling, ReasonCode(1), Ticks(30_000)).unwrap();
        self.step();
    }

    fn outputs(&self) -> (Permit, Light) {
        let outputs = self.panel.outputs(self.now);
        (outputs.permit, outputs.light)
    }
}

#[test]
fn a_verdict_sets_relay_and_light_and_the_host_is_told() {
    let mut pair = Pair::released();
    for (request, ruling, outputs) in [
        ("a", Ruling::Allow, (Permit::Open, Light::Green)),
        ("b", Ruling::Refuse, (Permit::Closed, Light::Red)),
        ("c", Ruling::Review, (Permit::Closed, Light::Blue)),
        ("d", Ruling::Undecided, (Permit::Closed, Light::Yellow)),
    ] {
        pair.rule(request, ruling);
        assert_eq!(pair.outputs(), outputs, "{request}");
        let learned = pair.step();
        let told = learned.iter().any(|e| {
            matches!(e, HostEvent::Report(r)
                if (r.permit, r.light) == outputs && r.request == Some(id(request)))
        });
        assert!(told, "{learned:?}");
    }
    pair.host.ready(id("press-4")).unwrap();
    pair.step();
    assert_eq!(pair.outputs(), (Permit::Closed, Light::Green));
}

#[test]
fn a_panel_starts_latched_and_says_so_as_soon_as_somebody_listens() {
    let mut pair = Pair::new();
    assert_eq!(pair.outputs(), (Permit::Closed, Light::Latched));
    assert_eq!(pair.panel.press(Tick(0), Button::Reset), Err(PressError::Reset(ResetError::Silent)));
    let mut learned = pair.step();
    learned.extend(pair.step());
    let power_up = CauseCode::from(Some(Cause::PowerUp));
    assert!(learned.iter().any(|e| matches!(e, HostEvent::Report(r) if r.cause == power_up)));
}

#[test]
fn stop_closes_at_once_with_or_without_a_host() {
    let mut pair = Pair::released();
    pair.rule("a", Ruling::Allow);
    pair.panel.press(pair.now, Button::Stop).unwrap();
    assert_eq!(pair.outputs(), (Permit::Closed, Light::Latched));
    assert!(pair.step().iter().any(|e| matches!(e, HostEvent::Press(p) if p.wish == Wish::Stop)));

    let mut alone = Panel::new(id("panel-1"), id("press-4"), Nonce(2));
    assert_eq!(alone.press(Tick(0), Button::Stop), Err(PressError::Send(SendError::Down)));
    assert_eq!(alone.outputs(Tick(0)).permit, Permit::Closed);
}

#[test]
fn stop_closes_even_when_the_queue_to_the_host_is_full() {
    let mut pair = Pair::released();
    pair.rule("a", Ruling::Allow);
    while pair.panel.press(pair.now, Button::Ask(1)).is_ok() {}
    assert_eq!(pair.panel.press(pair.now, Button::Stop), Err(PressError::Send(SendError::Full)));
    assert_eq!(pair.outputs(), (Permit::Closed, Light::Latched));
    // The report that found no room comes when there is some.
    let learned: Vec<_> = (0..4).flat_map(|_| pair.step()).collect();
    let stop = CauseCode::from(Some(Cause::Stop));
    assert!(learned.iter().any(|e| matches!(e, HostEvent::Report(r) if r.cause == stop)), "{learned:?}");
}

#[test]
fn a_stop_that_the_line_lost_is_told_before_any_reset() {
    for under_way in [true, false] {
        let mut pair = Pair::released();
        pair.rule("a", Ruling::Allow);
        if under_way {
            pair.panel.press(pair.now, Button::Stop).unwrap();
        }
        pair.now = pair.now.after(SILENCE);
        pair.panel.tick(pair.now);
        if !under_way {
            let untold = pair.panel.press(pair.now, Button::Stop);
            assert_eq!(untold, Err(PressError::Send(SendError::Down)));
        }
        assert_eq!(pair.panel.press(pair.now, Button::Reset), Err(PressError::Send(SendError::Down)));
        let mut presses = Vec::new();
        for n in 0..1800 {
            if n == 1200 {
                pair.panel.press(pair.now, Button::Reset).unwrap();
            }
            let learned = pair.step().into_iter();
            presses.extend(learned.filter_map(|e| match e {
                HostEvent::Press(press) => Some(press.wish),
                _ => None,
            }));
        }
        assert_eq!(presses, [Wish::Stop, Wish::Reset], "under way: {under_way}");
    }
}

#[test]
fn approve_names_the_request_that_the_blue_light_is_about_and_nothing_else() {
    let mut pair = Pair::released();
    assert_eq!(pair.panel.press(pair.now, Button::Approve), Err(PressError::NothingToApprove));
    pair.rule("a", Ruling::Review);
    pair.panel.press(pair.now, Button::Approve).unwrap();
    let learned = pair.step();
    assert!(learned.iter().any(|e| matches!(e, HostEvent::Press(p) if p.wish == Wish::Approve(id("a")))));
    pair.rule("b", Ruling::Undecided);
    assert_eq!(pair.panel.press(pair.now, Button::Approve), Err(PressError::NothingToApprove));
}

#[test]
fn a_host_that_comes_back_finds_the_panel_latched_until_somebody_releases_it() {
    let mut pair = Pair::released();
    pair.rule("a", Ruling::Allow);
    let gone = pair.now;
    pair.now = gone.after(SILENCE);
    assert_eq!(pair.outputs().0, Permit::Closed);
    pair.host = Host::new(id("edge-1"), Nonce(77));
    for _ in 0..600 {
        pair.step();
    }
    pair.rule("b", Ruling::Allow);
    assert_eq!(pair.outputs(), (Permit::Closed, Light::Latched));
    pair.panel.press(pair.now, Button::Reset).unwrap();
    pair.step();
    assert_eq!(pair.outputs(), (Permit::Closed, Light::Yellow));
    pair.rule("c", Ruling::Allow);
    assert_eq!(pair.outputs(), (Permit::Open, Light::Green));
}

#[test]
fn a_host_that_restarts_within_a_beat_closes_and_latches_all_the_same() {
    let mut pair = Pair::released();
    pair.rule("a", Ruling::Allow);
    assert_eq!(pair.outputs().0, Permit::Open);
    pair.host = Host::new(id("edge-1"), Nonce(77));
    pair.step();
    assert_eq!(pair.outputs(), (Permit::Closed, Light::Latched));
    assert_eq!(pair.panel.gate().view(pair.now), View::Latched(Cause::Restart));
}

#[test]
fn a_fault_that_the_firmware_finds_latches() {
    let mut pair = Pair::released();
    pair.rule("a", Ruling::Allow);
    pair.panel.fail();
    assert_eq!(pair.outputs(), (Permit::Closed, Light::Latched));
}

#[test]
fn both_ends_fit_into_little_memory() {
    assert!(size_of::<Panel>() <= 4_096, "{}", size_of::<Panel>());
    assert!(size_of::<Host>() <= 4_096, "{}", size_of::<Host>());
}
