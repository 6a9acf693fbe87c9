//! The JSON that goes over MQTT: what is accepted, and what is published.
//!
//! Not the topics (see [`crate::mqtt::topic`]) and not the decisions. Every payload names its `schema`; unknown
//! fields are ignored; a change that breaks readers takes a new number. The schemas in `schema/` are generated from
//! these types. Invariant: a payload that cannot be read gives a [`Fault`] that names what is wrong, never a
//! request.

mod review;

pub use review::{ReviewDecision, ReviewOutcome, ReviewPending, parse_decision};

use crate::entry::{PanelRecord, ReviewRecord};
use r2d_core::id::Id;
use r2d_core::policy::{Mode, Policy};
use r2d_core::record::{Record, Weights, is_stand_in};
use r2d_core::request::Task;
use r2d_core::trace::{RequestReading, Step};
use r2d_core::verdict::{Decision, Reason, Verdict};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::{Duration, SystemTime};

/// A request for an answer (`req/ask`) or for a verdict only (`req/check`).
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
pub struct Ask {
    /// `r2d.ask/1`; may be left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// The asker's own id for this request: a second one with the same id gets the first one's answer.
    pub id: Id,
    /// The words.
    pub prompt: String,
    /// Language tag for a fixed refusal; the device's language when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lang: Option<String>,
    /// Shortens the site's deadline, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u32>,
    /// RFC 3339; the request is not begun after this moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<String>,
    /// The station whose panel is to show the verdict and to permit by it; without one no panel hears of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub station: Option<Id>,
}

/// Ends a request early (`req/cancel`).
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
pub struct Cancel {
    /// `r2d.cancel/1`; may be left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// The request's id.
    pub id: Id,
}

/// What every published payload begins with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Head {
    /// Name and number of the payload's schema.
    pub schema: String,
    /// The request's id; the device's own name where there is no request.
    pub id: String,
    /// When it was made: RFC 3339, UTC.
    pub ts: String,
    /// `site/area/line/device`.
    pub device: String,
    /// Id of this run of the runtime.
    pub boot: Id,
    /// For what was recorded, the number of its audit record; else a count of this run's messages of this kind.
    pub seq: u64,
}

/// `status`: retained, and the last will.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// `r2d.status/1`
    #[serde(flatten)]
    pub head: Head,
    /// Whether the device serves.
    pub state: State,
}

/// Whether a device serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It does.
    Online,
    /// It does not.
    Offline,
}

/// `info`: retained; what judges here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Info {
    /// `r2d.info/1`
    #[serde(flatten)]
    pub head: Head,
    /// Version of r2d-edge.
    pub version: String,
    /// The weights.
    pub weights: Weights,
    /// The policy in force.
    pub policy: Policy,
}

/// `health`: the heartbeat.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    /// `r2d.health/1`
    #[serde(flatten)]
    pub head: Head,
    /// Seconds since the start.
    pub uptime_s: u64,
    /// Requests waiting or running.
    pub in_hand: u64,
    /// Messages on disk that the broker has not acknowledged.
    pub outbox: u64,
    /// Verdicts of this run.
    pub verdicts: u64,
    /// Requests answered busy in this run.
    pub busy: u64,
    /// Messages that the broker refused in this run; each was given up.
    pub refused: u64,
    /// Verdicts that wait for the disk to take their record.
    pub unrecorded: u64,
    /// The model makes no progress.
    pub stalled: bool,
    /// Resident memory, in bytes.
    pub rss_bytes: Option<u64>,
}

/// `ans/{req}/chunk`: a released segment of the answer, as it passes. May be lost; `final` has the whole text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Chunk {
    /// `r2d.chunk/1`
    #[serde(flatten)]
    pub head: Head,
    /// The segment's place, from 1; withheld segments are missing.
    pub index: u16,
    /// The text.
    pub text: String,
}

/// `ans/{req}/final`: the whole answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Final {
    /// `r2d.final/1`
    #[serde(flatten)]
    pub head: Head,
    /// The decision.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// The text that was released; the site's sentence when refused.
    pub text: String,
    /// The answer was cut at its token budget.
    pub truncated: bool,
    /// What was wrong, in words.
    pub detail: Option<String>,
}

/// `step/{req}`: one reasoning step with its pivot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StepMessage {
    /// `r2d.step/1`
    #[serde(flatten)]
    pub head: Head,
    /// The step.
    pub step: Step,
}

/// `verdict` and, retained for displays only, `verdict/latest`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct VerdictMessage {
    /// `r2d.verdict/1`
    #[serde(flatten)]
    pub head: Head,
    /// What was wanted.
    pub task: Option<Task>,
    /// The decision.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// Whether what did not pass was withheld; false in shadow mode.
    pub enforced: bool,
    /// The verdict holds until this moment: RFC 3339, UTC.
    pub valid_until: String,
    /// The pivot on the bare request.
    pub request: Option<RequestReading>,
    /// How many reasoning steps were read.
    pub n_steps: u16,
    /// Which weights judged.
    pub weights: Option<Weights>,
    /// Hash of the audit record, which fixes the log up to it; none when nothing was recorded (busy).
    pub audit_hash: Option<String>,
    /// What was wrong, in words.
    pub detail: Option<String>,
    /// From acceptance to verdict, in milliseconds.
    pub verdict_ms: u64,
}

/// `audit`: the record itself with its place in the chain, for a witness elsewhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AuditMessage {
    /// `r2d.audit/1`
    #[serde(flatten)]
    pub head: Head,
    /// The chain's hash at this record.
    pub hash: String,
    /// The record.
    pub record: Record,
}

/// Why a payload is no request.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// The request's id, as far as it could be read.
    pub id: Option<Id>,
    /// Which kind of fault.
    pub reason: Reason,
    /// What is wrong, in words.
    pub detail: String,
}

/// How the ids begin that the service itself gives: to what a panel's button asks, and to a message whose own id cannot be
/// read. An asker who could take one would be answered in another's name.
pub(crate) const PANEL_ID: &str = "panel-";
pub(crate) const NAMELESS_ID: &str = "unnamed-";

/// Longest language tag.
const MAX_LANG: usize = 35;
/// Longest description of a fault, in characters: it may quote what came.
const MAX_DETAIL: usize = 300;

impl Ask {
    /// Milliseconds from `now` until the request must not be begun any more.
    #[must_use]
    pub fn ms_left(&self, now: SystemTime) -> Option<u32> {
        let until = humantime::parse_rfc3339_weak(self.valid_until.as_deref()?).ok()?;
        let left = until.duration_since(now).unwrap_or_default().as_millis();
        Some(u32::try_from(left).unwrap_or(u32::MAX).max(1))
    }
}

/// Reads a request.
///
/// # Errors
/// [`Fault`] with the first thing that is wrong.
pub fn parse_ask(payload: &[u8], max_prompt: usize, now: SystemTime) -> Result<Ask, Fault> {
    // JSON may spell a byte in six (\u0041); more than that is not a prompt of the allowed length.
    if payload.len() > max_prompt.saturating_mul(6).saturating_add(1024) {
        let detail = format!("the message has {} bytes, the longest prompt {max_prompt}", payload.len());
        return Err(Fault { id: None, reason: Reason::TooLarge, detail });
    }
    let ask: Ask = serde_json::from_slice(payload).map_err(|error| {
        let what: String = error.to_string().chars().take(MAX_DETAIL).collect();
        let detail = format!("{what}; hint: a request reads {{\"id\":\"ask-1\",\"prompt\":\"…\"}}");
        Fault { id: read_id(payload), reason: Reason::Malformed, detail }
    })?;
    if is_reserved(&ask.id) {
        // Without its id, which is not the asker's to have.
        let detail = format!(
            "ids that begin with {PANEL_ID} or {NAMELESS_ID} are given by the service; hint: begin the id otherwise"
        );
        return Err(Fault { id: None, reason: Reason::Malformed, detail });
    }
    let fault = |reason, detail| Err(Fault { id: Some(ask.id.clone()), reason, detail });
    if ask.schema.as_deref().is_some_and(|s| s != "r2d.ask/1") {
        return fault(Reason::Malformed, "the schema is not r2d.ask/1".into());
    }
    if ask.prompt.len() > max_prompt {
        let detail = format!("the prompt has {} bytes, allowed are {max_prompt}", ask.prompt.len());
        return fault(Reason::TooLarge, detail);
    }
    if ask.prompt.trim().is_empty() {
        return fault(Reason::Malformed, "the prompt is empty".into());
    }
    if is_stand_in(&ask.prompt) {
        let detail =
            "the prompt is a hash as it stands in the log for long words; hint: send the words themselves";
        return fault(Reason::Malformed, detail.into());
    }
    if ask.lang.as_ref().is_some_and(|l| l.len() > MAX_LANG) {
        return fault(Reason::Malformed, format!("lang is longer than {MAX_LANG} characters"));
    }
    if ask.deadline_ms == Some(0) {
        return fault(Reason::Malformed, "deadline_ms is 0".into());
    }
    match ask.valid_until.as_deref().map(humantime::parse_rfc3339_weak) {
        Some(Err(_)) => {
            fault(Reason::Malformed, "valid_until is not RFC 3339 such as 2026-01-31T12:00:00Z".into())
        }
        Some(Ok(until)) if until < now => fault(Reason::Expired, "valid_until has passed".into()),
        _ => Ok(ask),
    }
}

/// Reads which request to end.
///
/// # Errors
/// What is wrong, in words.
pub fn parse_cancel(payload: &[u8]) -> Result<Cancel, serde_json::Error> {
    serde_json::from_slice(payload)
}

/// The id of a payload that is otherwise unreadable, if it has one.
fn read_id(payload: &[u8]) -> Option<Id> {
    #[derive(Deserialize)]
    struct OnlyId {
        id: Id,
    }
    serde_json::from_slice::<OnlyId>(payload).ok().map(|o| o.id).filter(|id| !is_reserved(id))
}

fn is_reserved(id: &Id) -> bool {
    [PANEL_ID, NAMELESS_ID].iter().any(|prefix| id.as_str().starts_with(prefix))
}

/// A moment as payloads write it.
#[must_use]
pub fn timestamp(at: SystemTime) -> String {
    humantime::format_rfc3339_millis(at).to_string()
}

impl Head {
    /// The head of a payload about `record`.
    #[must_use]
    pub fn of_record(schema: &str, record: &Record, seq: u64) -> Self {
        Self {
            schema: schema.to_owned(),
            id: record.id.to_string(),
            ts: record.ts.clone(),
            device: record.device.clone(),
            boot: record.boot.clone(),
            seq,
        }
    }
}

impl Final {
    /// The answer of `record`.
    #[must_use]
    pub fn of(record: &Record, seq: u64) -> Self {
        Self {
            head: Head::of_record("r2d.final/1", record, seq),
            verdict: record.verdict,
            text: record.trace.released(),
            truncated: record.trace.truncated,
            detail: record.detail.clone(),
        }
    }
}

impl VerdictMessage {
    /// The verdict of `record`, which stands in the audit log with `hash`.
    #[must_use]
    pub fn of(record: &Record, seq: u64, hash: Option<String>, valid: Duration) -> Self {
        let made = humantime::parse_rfc3339_weak(&record.ts).unwrap_or(SystemTime::UNIX_EPOCH);
        Self {
            head: Head::of_record("r2d.verdict/1", record, seq),
            task: Some(record.task),
            verdict: record.verdict,
            enforced: record.policy.is_none_or(|p| p.mode == Mode::Enforce),
            valid_until: timestamp(made + valid),
            request: record.trace.request,
            n_steps: u16::try_from(record.trace.steps.len()).unwrap_or(u16::MAX),
            weights: record.weights.clone(),
            audit_hash: hash,
            detail: record.detail.clone(),
            verdict_ms: record.cost.verdict_ms,
        }
    }

    /// Whether the answer may be acted on.
    #[must_use]
    pub fn is_allow(&self) -> bool {
        self.verdict.decision == Decision::Allow
    }
}

/// Every schema as (file name, JSON), for the files in `schema/` and the tests that hold traffic against them.
#[must_use]
pub fn schemas() -> Vec<(&'static str, serde_json::Value)> {
    fn of<T: JsonSchema>() -> serde_json::Value {
        schemars::schema_for!(T).to_value()
    }
    vec![
        ("ask", of::<Ask>()),
        ("cancel", of::<Cancel>()),
        ("status", of::<Status>()),
        ("info", of::<Info>()),
        ("health", of::<Health>()),
        ("chunk", of::<Chunk>()),
        ("final", of::<Final>()),
        ("step", of::<StepMessage>()),
        ("verdict", of::<VerdictMessage>()),
        ("audit", of::<AuditMessage>()),
        ("record", of::<Record>()),
        ("panel", of::<PanelRecord>()),
        ("review", of::<ReviewRecord>()),
        ("review_pending", of::<ReviewPending>()),
        ("review_decision", of::<ReviewDecision>()),
        ("review_outcome", of::<ReviewOutcome>()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(payload: &str) -> Result<Ask, Fault> {
        parse_ask(payload.as_bytes(), 100, SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000))
    }

    #[test]
    fn a_request_needs_an_id_and_words() {
        let ask = parse(r#"{"id":"a-1","prompt":"how?","more":[1]}"#).unwrap();
        assert_eq!((ask.id.as_str(), ask.prompt.as_str()), ("a-1", "how?"));
        // Else it could get the verdict for words that were too long for the log, or lend them its own.
        let hash_as_prompt = format!(r#"{{"id":"a","prompt":"sha256:{}"}}"#, "0a".repeat(32));
        for (bad, reason, id) in [
            ("", Reason::Malformed, None),
            ("[]", Reason::Malformed, None),
            (r#"{"prompt":"x"}"#, Reason::Malformed, None),
            (r#"{"id":"a/b","prompt":"x"}"#, Reason::Malformed, None),
            (r#"{"id":"a"}"#, Reason::Malformed, Some("a")),
            (r#"{"id":"a","prompt":" "}"#, Reason::Malformed, Some("a")),
            (r#"{"id":"a","prompt":7}"#, Reason::Malformed, Some("a")),
            (r#"{"id":"a","prompt":"x","schema":"r2d.ask/2"}"#, Reason::Malformed, Some("a")),
            (r#"{"id":"a","prompt":"x","deadline_ms":0}"#, Reason::Malformed, Some("a")),
            (&hash_as_prompt, Reason::Malformed, Some("a")),
            (r#"{"id":"a","prompt":"x","valid_until":"soon"}"#, Reason::Malformed, Some("a")),
            (r#"{"id":"a","prompt":"x","valid_until":"2020-01-01T00:00:00Z"}"#, Reason::Expired, Some("a")),
        ] {
            let fault = parse(bad).unwrap_err();
            assert_eq!((fault.reason, fault.id.as_ref().map(Id::as_str)), (reason, id), "{bad}");
            assert!(!fault.detail.is_empty());
        }
    }

    #[test]
    fn the_services_own_ids_are_not_to_be_had() {
        for id in ["panel-0123456789abcdef-7", "panel-", "unnamed-0123456789abcdef"] {
            // Nor by a request that is faulty besides, whose fault would be recorded under its id.
            for rest in [r#""prompt":"x""#, r#""prompt":" ""#, r#""prompt":7"#, r#""more":1"#] {
                let fault = parse(&format!(r#"{{"id":"{id}",{rest}}}"#)).unwrap_err();
                assert_eq!((fault.reason, &fault.id), (Reason::Malformed, &None), "{id} {rest}");
            }
            let fault = parse(&format!(r#"{{"id":"{id}","prompt":"x"}}"#)).unwrap_err();
            assert!(fault.detail.contains("hint: begin the id otherwise"), "{}", fault.detail);
        }
        assert!(parse(r#"{"id":"panel","prompt":"x"}"#).is_ok());
    }

    #[test]
    fn what_is_too_large_is_told_so() {
        let long = format!(r#"{{"id":"a","prompt":"{}"}}"#, "x".repeat(101));
        assert_eq!(parse(&long).unwrap_err().reason, Reason::TooLarge);
        let longer = "x".repeat(5000);
        assert_eq!(parse(&longer).unwrap_err().reason, Reason::TooLarge);
    }
}
