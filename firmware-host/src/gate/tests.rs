//! The gate by itself: what opens it, and everything that does not.

use super::*;
use crate::message::{Pending, Press, Ready, ReasonCode, Wish};
use crate::tick::{SILENCE, Ticks};

fn id(text: &str) -> Id {
    Id::parse(text).unwrap()
}

fn pending(request: &str) -> Message {
    Message::Pending(Pending { station: id("press-4"), request: id(request) })
}

fn ruled(request: &str, ruling: Ruling, as_of: u64, valid: u32) -> Message {
    Message::Ruled(Ruled {
        station: id("press-4"),
        request: id(request),
        ruling,
        reason: ReasonCode(1),
        as_of: Tick(as_of),
        valid: Ticks(valid),
    })
}

/// A gate at tick 10000 that was released and waits for a verdict about `r`.
fn waiting() -> Gate {
    let mut gate = Gate::new(id("press-4"));
    gate.beat(Tick(10_000));
    gate.reset(Tick(10_000)).unwrap();
    gate.apply(Tick(10_000), &pending("r")).unwrap();
    gate
}

fn open() -> Gate {
    let mut gate = waiting();
    gate.apply(Tick(10_000), &ruled("r", Ruling::Allow, 10_000, 60_000)).unwrap();
    assert_eq!(gate.permit(Tick(10_000)), Permit::Open);
    gate
}

#[test]
fn a_gate_is_latched_from_power_up_until_somebody_releases_it() {
    let mut gate = Gate::new(id("press-4"));
    assert_eq!(gate.view(Tick(0)), View::Latched(Cause::PowerUp));
    gate.beat(Tick(1));
    assert_eq!(gate.apply(Tick(1), &pending("r")), Err(Rejection::Latched));
    assert_eq!(gate.apply(Tick(1), &ruled("r", Ruling::Allow, 1, 1_000)), Err(Rejection::Latched));
    assert_eq!(gate.permit(Tick(1)), Permit::Closed);
}

#[test]
fn reset_does_nothing_while_no_beats_arrive() {
    let mut gate = Gate::new(id("press-4"));
    assert_eq!(gate.reset(Tick(5)), Err(ResetError::Silent));
    assert_eq!(gate.view(Tick(5)), View::Latched(Cause::PowerUp));
}

#[test]
fn reset_closes_an_open_gate_and_opens_nothing() {
    let mut gate = open();
    gate.reset(Tick(10_001)).unwrap();
    assert_eq!(gate.view(Tick(10_001)), View::Unsettled);
    let again = ruled("r", Ruling::Allow, 10_001, 60_000);
    assert_eq!(gate.apply(Tick(10_001), &again), Err(Rejection::Request));
}

#[test]
fn an_open_gate_closes_with_the_third_missed_beat_and_is_then_latched() {
    let mut gate = open();
    let third = 10_000 + u64::from(SILENCE.0);
    assert_eq!(gate.permit(Tick(third - 1)), Permit::Open);
    // Without any call between: the answer is a function of the time.
    assert_eq!(gate.permit(Tick(third)), Permit::Closed);
    // The beat that comes then does not open it again.
    gate.beat(Tick(third));
    assert_eq!(gate.view(Tick(third)), View::Latched(Cause::Silence));
    assert_eq!(gate.permit(Tick(third)), Permit::Closed);
}

#[test]
fn an_allow_ends_when_its_time_is_up_and_does_not_latch() {
    let mut gate = waiting();
    gate.apply(Tick(10_400), &ruled("r", Ruling::Allow, 10_000, 500)).unwrap();
    assert_eq!(gate.permit(Tick(10_499)), Permit::Open);
    assert_eq!(gate.permit(Tick(10_500)), Permit::Closed);
    assert_eq!(gate.view(Tick(10_500)), View::Unsettled);
    gate.apply(Tick(10_600), &ruled("r", Ruling::Allow, 10_600, 500)).unwrap();
    assert_eq!(gate.permit(Tick(10_600)), Permit::Open);
}

#[test]
fn no_allow_stands_longer_than_the_longest_validity() {
    let mut gate = waiting();
    gate.apply(Tick(10_000), &ruled("r", Ruling::Allow, 10_000, u32::MAX)).unwrap();
    let end = Tick(10_000).after(MAX_VALIDITY);
    gate.watchdog.feed(Tick(end.0 - 1));
    assert_eq!(gate.permit(Tick(end.0 - 1)), Permit::Open);
    gate.watchdog.feed(end);
    assert_eq!(gate.permit(end), Permit::Closed);
}

#[test]
fn each_thing_that_does_not_match_is_refused_and_closes_an_open_gate() {
    let other = Message::Ruled(Ruled {
        station: id("press-5"),
        request: id("r"),
        ruling: Ruling::Allow,
        reason: ReasonCode(1),
        as_of: Tick(10_000),
        valid: Ticks(1_000),
    });
    let cases = [
        (other, Rejection::Station),
        (Message::Pending(Pending { station: id("press-5"), request: id("r") }), Rejection::Station),
        (Message::Ready(Ready { station: id("press-5") }), Rejection::Station),
        (ruled("q", Ruling::Allow, 10_000, 1_000), Rejection::Request),
        (ruled("r", Ruling::Allow, 10_001, 1_000), Rejection::Stale),
        (ruled("r", Ruling::Allow, 10_000 - u64::from(MAX_AGE.0) - 1, 60_000), Rejection::Stale),
        (ruled("r", Ruling::Allow, 10_000, 0), Rejection::Expired),
        (ruled("r", Ruling::Allow, 9_000, 1_000), Rejection::Expired),
        (Message::Press(Press { station: id("press-4"), wish: Wish::Reset }), Rejection::Direction),
    ];
    for (message, rejection) in cases {
        let mut gate = open();
        assert_eq!(gate.apply(Tick(10_000), &message), Err(rejection), "{message:?}");
        assert_eq!(gate.permit(Tick(10_000)), Permit::Closed, "{message:?}");
    }
}

#[test]
fn a_new_request_or_readiness_ends_the_permission_of_the_last_one() {
    for message in [pending("r2"), Message::Ready(Ready { station: id("press-4") })] {
        let mut gate = open();
        gate.apply(Tick(10_001), &message).unwrap();
        assert_eq!(gate.permit(Tick(10_001)), Permit::Closed);
        let late = ruled("r", Ruling::Allow, 10_001, 1_000);
        assert_eq!(gate.apply(Tick(10_001), &late), Err(Rejection::Request));
    }
}

#[test]
fn no_ruling_but_allow_opens() {
    for ruling in [Ruling::Undecided, Ruling::Refuse, Ruling::Review] {
        let mut gate = open();
        gate.apply(Tick(10_001), &ruled("r", ruling, 10_001, 1_000)).unwrap();
        assert_eq!(gate.permit(Tick(10_001)), Permit::Closed);
        assert_eq!(gate.view(Tick(10_001)), View::Ruled(ruling));
    }
}

#[test]
fn a_refused_request_is_not_allowed_later_but_a_reviewed_one_may_be() {
    for (first, expected) in [(Ruling::Refuse, Err(Rejection::Refused)), (Ruling::Review, Ok(()))] {
        let mut gate = waiting();
        gate.apply(Tick(10_000), &ruled("r", first, 10_000, 1_000)).unwrap();
        assert_eq!(gate.apply(Tick(10_001), &ruled("r", Ruling::Allow, 10_001, 1_000)), expected);
    }
    let mut gate = waiting();
    gate.apply(Tick(10_000), &ruled("r", Ruling::Refuse, 10_000, 100)).unwrap();
    // Its time is up, and it is final all the same.
    assert_eq!(gate.apply(Tick(10_200), &pending("r")), Err(Rejection::Refused));
}

#[test]
fn nothing_but_another_refusal_washes_off_a_refusal() {
    let mut gate = waiting();
    gate.apply(Tick(10_000), &ruled("r", Ruling::Refuse, 10_000, 1_000)).unwrap();
    let ready = Message::Ready(Ready { station: id("press-4") });
    let between: [&dyn Fn(&mut Gate); 4] = [
        // A second time, after the first one closed it.
        &|gate| assert_eq!(gate.apply(Tick(10_001), &pending("r")), Err(Rejection::Refused)),
        &|gate| gate.apply(Tick(10_001), &ready).unwrap(),
        &|gate| gate.reset(Tick(10_001)).unwrap(),
        &|gate| {
            gate.apply(Tick(10_001), &pending("other")).unwrap();
            gate.apply(Tick(10_001), &ruled("other", Ruling::Allow, 10_001, 1_000)).unwrap();
        },
    ];
    for step in between {
        step(&mut gate);
        assert_eq!(gate.apply(Tick(10_001), &pending("r")), Err(Rejection::Refused));
    }
    gate.apply(Tick(10_001), &pending("other")).unwrap();
    gate.apply(Tick(10_001), &ruled("other", Ruling::Refuse, 10_001, 1_000)).unwrap();
    assert_eq!(gate.apply(Tick(10_002), &pending("r")), Ok(()));
}

#[test]
fn stop_latches_and_the_first_cause_is_kept() {
    let mut gate = open();
    gate.latch(Cause::Stop);
    gate.part(Cause::Silence);
    assert_eq!(gate.view(Tick(10_001)), View::Latched(Cause::Stop));
    // The session has ended: a reset has to wait for the next one.
    assert_eq!(gate.reset(Tick(10_001)), Err(ResetError::Silent));
}

#[test]
fn time_that_runs_backwards_closes_and_latches() {
    let mut gate = open();
    assert_eq!(gate.permit(Tick(9_999)), Permit::Closed);
    gate.tick(Tick(9_999));
    assert_eq!(gate.view(Tick(10_001)), View::Latched(Cause::Clock));
}
