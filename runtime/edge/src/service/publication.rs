//! What is published about a record: a pure function, so that a restart makes the same messages again.
//!
//! Not the sending. Invariant: everything here derives from the record and its place in the audit log.

use super::Identity;
use crate::audit::Link;
use crate::entry::Choice;
use crate::mqtt::topic::OutTopic;
use crate::store::Outgoing;
use crate::wire::{self, AuditMessage, Final, Head, ReviewPending, StepMessage, VerdictMessage};
use r2d_core::id::Id;
use r2d_core::record::{Record, ReplyTo, STAND_IN};
use r2d_core::request::Task;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The messages about `record`, in the order in which they are to go out; the audit log has it at `link`, if it was
/// recorded at all.
pub(crate) fn of_record(who: &Identity, record: &Record, link: Option<Link>) -> Vec<Outgoing> {
    let seq = link.map_or(0, |l| l.seq);
    let id = &record.id;
    let verdict = VerdictMessage::of(record, seq, link.map(|l| l.hash.to_string()), who.valid);
    let mut out = Vec::with_capacity(record.trace.steps.len() + 5);
    if link.is_some() {
        for step in &record.trace.steps {
            let message =
                StepMessage { head: Head::of_record("r2d.step/1", record, seq), step: step.clone() };
            out.push(message_to(who, OutTopic::Step(id), &message));
        }
    }
    let answer = (record.task == Task::Ask).then(|| Final::of(record, seq));
    out.extend(answer.as_ref().map(|a| message_to(who, OutTopic::AnswerFinal(id), a)));
    out.push(message_to(who, OutTopic::Verdict, &verdict));
    let latest = message_to(who, OutTopic::VerdictLatest, &verdict);
    out.push(Outgoing { expiry_s: u32::try_from(who.valid.as_secs()).ok(), ..latest });
    if let Some(link) = link {
        let message = AuditMessage {
            head: Head::of_record("r2d.audit/1", record, seq),
            hash: link.hash.to_string(),
            record: without_withheld(record),
        };
        out.push(message_to(who, OutTopic::Audit, &message));
        if let Some(review) = Review::of(who, record) {
            let pending = ReviewPending::of(record, link.seq, review.until);
            let pending = message_to(who, OutTopic::ReviewPending(id), &pending);
            out.push(Outgoing { expiry_s: u32::try_from(who.review.as_secs()).ok(), ..pending });
        }
    }
    // The asker's own topic comes last: when its message has arrived, all others have.
    if let Some(to) = &record.reply_to {
        out.push(reply(to, answer.map_or_else(|| json(&verdict), |a| json(&a))));
    }
    out
}

/// The record as it may leave the device: what was withheld is in the log alone, and its hash stands for it.
fn without_withheld(record: &Record) -> Record {
    let mut record = record.clone();
    for segment in record.trace.segments.iter_mut().filter(|segment| !segment.released) {
        segment.text = stand_in(&segment.text);
    }
    record
}

/// What is kept of an answered request, for those who ask again with the same id.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// What was asked: see [`asked`].
    pub(crate) asked: String,
    /// Where the answer went besides the device's own topics.
    pub(crate) reply_to: Option<ReplyTo>,
    /// The answer; none for a check.
    answer: Option<Final>,
    verdict: VerdictMessage,
    /// What a person was asked about it, if one was.
    #[serde(default)]
    pub(crate) review: Option<Review>,
}

/// What a person is asked about a request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Review {
    /// The station that waits for it.
    pub(crate) station: Option<Id>,
    /// A decision counts until this moment: RFC 3339, UTC.
    pub(crate) until: String,
    /// The decision, once there is one.
    pub(crate) decided: Option<Choice>,
}

impl Review {
    fn of(who: &Identity, record: &Record) -> Option<Self> {
        let decided_at = humantime::parse_rfc3339(&record.ts).ok().filter(|_| record.asks_person())?;
        let until = wire::timestamp(decided_at + who.review);
        Some(Self { station: record.station.clone(), until, decided: None })
    }
}

impl Kept {
    /// What to keep of `record`.
    pub(crate) fn of(who: &Identity, record: &Record, link: Link) -> Self {
        Self {
            asked: asked(record.task, &record.prompt),
            reply_to: record.reply_to.clone(),
            answer: (record.task == Task::Ask).then(|| Final::of(record, link.seq)),
            verdict: VerdictMessage::of(record, link.seq, Some(link.hash.to_string()), who.valid),
            review: Review::of(who, record),
        }
    }

    /// What the model came to, as it was told.
    pub(crate) fn verdict(&self) -> &VerdictMessage {
        &self.verdict
    }

    /// The messages to one who asks again: the answer, or for a check the verdict with the time it was made.
    pub(crate) fn again(&self, who: &Identity, id: &Id, reply_to: Option<&ReplyTo>) -> Vec<Outgoing> {
        let own = match &self.answer {
            Some(answer) => message_to(who, OutTopic::AnswerFinal(id), answer),
            None => message_to(who, OutTopic::Verdict, &self.verdict),
        };
        let reply = reply_to.map(|to| reply(to, own.payload.clone()));
        [Some(own), reply].into_iter().flatten().collect()
    }
}

/// A message to the topic that the asker named.
fn reply(to: &ReplyTo, payload: Vec<u8>) -> Outgoing {
    Outgoing {
        topic: to.topic.clone(),
        payload,
        retain: false,
        expiry_s: None,
        correlation: to.correlation.as_deref().and_then(from_hex),
    }
}

/// A message on one of the device's own topics.
pub(crate) fn message_to(who: &Identity, topic: OutTopic<'_>, message: &impl Serialize) -> Outgoing {
    Outgoing {
        topic: who.base.topic(topic),
        payload: json(message),
        retain: topic.retain(),
        expiry_s: None,
        correlation: None,
    }
}

/// `message` as JSON; these types always have one.
pub(crate) fn json(message: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(message).unwrap_or_default()
}

/// What tells two requests with one id apart: the hash of task and words.
pub(crate) fn asked(task: Task, prompt: &str) -> String {
    digest(&[if task == Task::Ask { b"ask\n" } else { b"check\n" }, prompt.as_bytes()])
}

/// What stands in the log for words that are too long for it.
pub(crate) fn stand_in(prompt: &str) -> String {
    format!("{STAND_IN}{}", digest(&[prompt.as_bytes()]))
}

/// Whether `known` is of this task and these words, also where a record has only what stands for them.
pub(crate) fn is_asked(known: &str, task: Task, prompt: &str) -> bool {
    known == asked(task, prompt) || known == asked(task, &stand_in(prompt))
}

/// SHA-256 of `parts` one after the other, in hexadecimal digits.
pub(crate) fn digest(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    to_hex(&hash.finalize())
}

/// Bytes as hexadecimal digits.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, b| {
        let _always = write!(text, "{b:02x}");
        text
    })
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::topic::Base;
    use r2d_core::record::{Cost, RECORD_SCHEMA};
    use r2d_core::trace::{Segment, Trace};
    use r2d_core::verdict::{Reason, Verdict};
    use std::time::Duration;

    #[test]
    fn words_that_were_too_long_for_the_log_are_known_again() {
        let then = [asked(Task::Ask, "how?"), asked(Task::Ask, &stand_in("how?"))];
        for known in &then {
            assert!(is_asked(known, Task::Ask, "how?"));
            assert!(!is_asked(known, Task::Check, "how?") && !is_asked(known, Task::Ask, "why?"));
        }
    }

    #[test]
    fn what_was_withheld_goes_out_nowhere() {
        let segment = |index, text: &str, released| Segment {
            index,
            text: text.into(),
            reading: None,
            pivot: None,
            released,
        };
        let id = |text| Id::parse(text).unwrap();
        let segments = vec![segment(1, "Stop the drive.", true), segment(2, "Then bridge it.", false)];
        let record = Record {
            schema: RECORD_SCHEMA.into(),
            id: id("a"),
            ts: "2026-01-01T00:00:00.000Z".into(),
            device: "s/a/l/d".into(),
            boot: id("b"),
            origin: "mqtt".into(),
            station: None,
            task: Task::Ask,
            prompt: "how?".into(),
            lang: None,
            weights: None,
            policy: None,
            trace: Trace { segments, ..Trace::default() },
            verdict: Verdict::refuse(Reason::AnswerUnsafe),
            detail: None,
            cost: Cost::default(),
            reply_to: Some(ReplyTo { topic: "mes/7".into(), correlation: None }),
        };
        let who = Identity {
            base: Base::new(id("s"), &id("a"), &id("l"), &id("d")),
            device: "s/a/l/d".into(),
            boot: id("b"),
            valid: Duration::from_secs(30),
            review: Duration::from_secs(600),
        };
        let out = of_record(&who, &record, Some(Link { seq: 1, ..Link::GENESIS }));
        let all: Vec<String> = out.iter().map(|m| String::from_utf8(m.payload.clone()).unwrap()).collect();
        assert!(all.iter().any(|m| m.contains("Stop the drive.")), "what was released is told: {all:?}");
        assert!(all.iter().all(|m| !m.contains("bridge it")), "{all:?}");
        assert!(all.iter().any(|m| m.contains(&stand_in("Then bridge it."))), "{all:?}");
    }

    #[test]
    fn correlation_data_survives_its_way_through_the_record() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(from_hex(&to_hex(&bytes)), Some(bytes));
        assert_eq!(from_hex("zz"), None);
    }
}
