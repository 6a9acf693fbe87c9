//! A message as a broker hands it over: the first line is its topic, the rest its payload.
//!
//! No bytes panic; what is read keeps the bounds and names that the service relies on, and reads the same when written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use r2d_core::id::Id;
use r2d_core::verdict::Reason;
use r2d_edge::mqtt::topic::{Base, InTopic, OutTopic};
use r2d_edge::wire::{parse_ask, parse_cancel, parse_decision};
use std::time::{Duration, SystemTime};

const MAX_PROMPT: usize = 200;

fn id(text: &str) -> Id {
    Id::parse(text).expect("an id")
}

/// A name from outside stays one level of the topics that are built with it.
fn stays_in_place(base: &Base, id: &Id) {
    for topic in [
        OutTopic::AnswerChunk(id),
        OutTopic::AnswerFinal(id),
        OutTopic::Step(id),
        OutTopic::ReviewPending(id),
        OutTopic::ReviewOutcome(id),
    ] {
        let name = base.topic(topic);
        let n_levels = if matches!(topic, OutTopic::Step(_)) { 2 } else { 3 };
        let tail =
            name.strip_prefix(base.as_str()).and_then(|t| t.strip_prefix('/')).expect("below the base");
        assert_eq!(tail.split('/').count(), n_levels, "{name}");
        assert!(!name.contains(['+', '#', '$', '\0']), "{name}");
        assert_eq!(base.parse(&name, None), None, "{name} comes back in");
    }
}

fuzz_target!(|input: &[u8]| {
    let at = input.iter().position(|b| *b == b'\n').unwrap_or(input.len());
    let (topic, payload) = (&input[..at], input.get(at + 1..).unwrap_or_default());
    let (base, pool) = (Base::new(id("plant"), &id("hall"), &id("line"), &id("edge")), id("p"));
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);

    // The fuzzer finds payloads sooner than topics: each payload is read as every kind.
    if let Some(InTopic::Decision(request)) =
        std::str::from_utf8(topic).ok().and_then(|topic| base.parse(topic, Some(&pool)))
    {
        stays_in_place(&base, &request);
    }
    match parse_ask(payload, MAX_PROMPT, now) {
        Ok(ask) => {
            assert!(ask.prompt.len() <= MAX_PROMPT && !ask.prompt.trim().is_empty());
            assert!(ask.lang.as_ref().is_none_or(|lang| lang.len() <= 35));
            assert!(ask.deadline_ms != Some(0) && ask.ms_left(now) != Some(0));
            stays_in_place(&base, &ask.id);
            if let Some(station) = &ask.station {
                stays_in_place(&base, station);
            }
            let again = serde_json::to_vec(&ask).expect("JSON");
            // Written anew it may be longer than it came, but not so long that it is refused for that.
            assert_eq!(parse_ask(&again, MAX_PROMPT, now).as_ref(), Ok(&ask));
        }
        Err(fault) => {
            assert!(matches!(fault.reason, Reason::Malformed | Reason::TooLarge | Reason::Expired));
            assert!(fault.detail.chars().count() < 500, "{}", fault.detail);
            if let Some(id) = &fault.id {
                stays_in_place(&base, id);
            }
        }
    }
    if let Ok(cancel) = parse_cancel(payload) {
        stays_in_place(&base, &cancel.id);
    }
    match parse_decision(payload) {
        Ok(decision) => {
            assert!(!decision.by.trim().is_empty() && decision.by.chars().count() <= 64);
            assert!(decision.note.as_ref().is_none_or(|note| note.chars().count() <= 500));
            let again = serde_json::to_vec(&decision).expect("JSON");
            assert_eq!(parse_decision(&again), Ok(decision));
        }
        Err(fault) => assert!(fault.chars().count() < 500, "{fault}"),
    }
});
