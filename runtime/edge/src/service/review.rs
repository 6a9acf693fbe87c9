//! Reviews: a person decides what the model left undecided.
//!
//! A decision is a record of its own, in the order of all others: recorded, then in the outbox, then told to the panel, then
//! acknowledged. Not a second verdict: what was recorded stays, and no withheld text goes out. Invariant: a request has
//! one decision, the first that came in time for a request that asked for one; everything else changes nothing and is told why.

use super::publication::{self, Kept};
use super::{Service, head};
use crate::audit::{AuditError, Link};
use crate::entry::{Choice, REVIEW_SCHEMA, ReviewRecord, Via};
use crate::mqtt::link::Message;
use crate::mqtt::topic::OutTopic;
use crate::output;
use crate::store::OutboxKey;
use crate::wire::{self, ReviewOutcome};
use anyhow::Context;
use r2d_core::id::Id;
use r2d_core::policy::Review;
use r2d_firmware_host::message::Ruling;
use std::ops::Range;
use std::time::SystemTime;

/// A decision as it came.
pub(super) struct Decision {
    pub(super) choice: Choice,
    pub(super) by: String,
    pub(super) via: Via,
    pub(super) note: Option<String>,
    /// The station whose button it was.
    pub(super) station: Option<Id>,
}

/// Why a decision was not taken, and what holds instead.
pub(super) struct NotTaken {
    pub(super) detail: String,
    holds: Option<Choice>,
}

impl From<String> for NotTaken {
    fn from(detail: String) -> Self {
        Self { detail, holds: None }
    }
}

impl Service<'_> {
    /// A decision came over MQTT.
    pub(super) fn on_decision(&mut self, request: &Id, message: Message) -> anyhow::Result<()> {
        let read = if message.retain {
            let hint = "hint: publish without retain";
            Err(format!("a retained message would decide again at every connection; {hint}"))
        } else {
            wire::parse_decision(&message.payload)
        };
        let taken = match read {
            Ok(d) => {
                let decision =
                    Decision { choice: d.decision, by: d.by, via: Via::Mqtt, note: d.note, station: None };
                self.decide(request, decision)?
            }
            Err(fault) => Err(fault.into()),
        };
        let rows = match taken {
            Ok(rows) => rows,
            Err(NotTaken { detail, holds }) => {
                // The words may quote what came.
                output::warn(format!("a decision on {request} was not taken: {}", detail.escape_debug()));
                let outcome = ReviewOutcome {
                    head: head(&self.who, "r2d.review_outcome/1", request.as_str(), 0),
                    decision: holds,
                    by: None,
                    via: None,
                    audit_hash: None,
                    detail: Some(detail),
                };
                let told = publication::message_to(&self.who, OutTopic::ReviewOutcome(request), &outcome);
                self.store.enqueue(&[told])?
            }
        };
        self.ack_after(rows, vec![message.ack])
    }

    /// Takes a decision, if the request waits for one: gives the outbox rows that tell of it.
    pub(super) fn decide(
        &mut self,
        request: &Id,
        decision: Decision,
    ) -> anyhow::Result<Result<Range<OutboxKey>, NotTaken>> {
        let now = SystemTime::now();
        if self.config.policy.review == Review::None {
            return Ok(Err("nobody decides here: policy.review is none".to_owned().into()));
        }
        let kept = self.kept(request)?;
        let asked = kept.as_ref().and_then(|kept| Some((kept.verdict(), kept.review.as_ref()?)));
        let Some((verdict, review)) = asked else {
            return Ok(Err("no request of this id waits for a person".to_owned().into()));
        };
        if decision.station.is_some() && decision.station != review.station {
            return Ok(Err("the request is not this station's".to_owned().into()));
        }
        if let Some(first) = review.decided {
            let detail = format!("it was decided before: {first}; the first decision holds");
            return Ok(Err(NotTaken { detail, holds: Some(first) }));
        }
        if humantime::parse_rfc3339(&review.until).map_or(true, |until| until < now) {
            return Ok(Err(format!("a decision counted until {}", review.until).into()));
        }
        let record = ReviewRecord {
            schema: REVIEW_SCHEMA.into(),
            id: request.clone(),
            record_seq: verdict.head.seq,
            ts: wire::timestamp(now),
            device: self.who.device.clone(),
            boot: self.who.boot.clone(),
            decision: decision.choice,
            by: decision.by,
            via: decision.via,
            note: decision.note,
        };
        let link = match self.audit.append(&record) {
            Ok(link) => link,
            Err(error @ AuditError::NotWritten { .. }) => {
                return Ok(Err(format!("{error:#}; hint: decide again").into()));
            }
            Err(error) => return Err(error).context("the audit log takes no more records"),
        };
        output::note(format!("{request} was {} by {}", record.decision, record.by));
        let rows = self.project_review(&record, link)?;
        if let Some(station) = &review.station {
            let ruling = match record.decision {
                Choice::Approve => Ruling::Allow,
                Choice::Deny => Ruling::Refuse,
            };
            self.panels.rule(station, request, ruling, verdict.verdict.reason, self.who.valid);
        }
        Ok(Ok(rows))
    }

    /// What is kept of an answered request.
    pub(super) fn kept(&self, request: &Id) -> anyhow::Result<Option<Kept>> {
        let Some(answered) = self.store.answered(request.as_str())? else { return Ok(None) };
        serde_json::from_slice(&answered.payload).context("a stored answer is damaged").map(Some)
    }

    /// Puts a decision's message into the outbox and remembers that the request is decided.
    pub(super) fn project_review(
        &mut self,
        record: &ReviewRecord,
        link: Link,
    ) -> anyhow::Result<Range<OutboxKey>> {
        let outcome = ReviewOutcome::of(record, link.seq, link.hash.to_string());
        let out = [publication::message_to(&self.who, OutTopic::ReviewOutcome(&record.id), &outcome)];
        // Gone when so many answers came since that this one is kept no longer: the decision is told all the same.
        let Some(mut kept) = self.kept(&record.id)? else {
            return Ok(self.store.apply(link.seq, None, &out)?);
        };
        kept.review.iter_mut().for_each(|review| review.decided = Some(record.decision));
        Ok(self.store.amend(link.seq, record.id.as_str(), &publication::json(&kept), &out)?)
    }
}
