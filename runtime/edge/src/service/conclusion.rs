//! The end of a request: its record, its messages, its panel.
//!
//! Not the verdict itself, which comes from the worker. What the disk does not take waits here, withheld from everybody,
//! and is tried again at every heartbeat and once more at the end. Invariants: nothing is told of a verdict before its
//! record is on the disk; however late that is, a verdict holds from when it was made.

use super::{Service, publication};
use crate::audit::{AuditError, Link};
use crate::mqtt::link::AckToken;
use crate::store::OutboxKey;
use crate::{output, wire};
use anyhow::Context;
use r2d_core::record::{Cost, RECORD_SCHEMA, Record, ReplyTo};
use r2d_core::request::Request;
use r2d_core::trace::Trace;
use r2d_core::verdict::{Decision, Reason, Verdict};
use r2d_engine::Outcome;
use std::ops::Range;
use std::time::{Instant, SystemTime};

/// A verdict on its way to the disk.
pub(super) struct Decided {
    pub(super) record: Record,
    pub(super) acks: Vec<AckToken>,
    /// When the verdict was made.
    pub(super) made: Instant,
    /// No panel hears of it: see [`super::Pending`]; of what never reached the model neither.
    pub(super) silent: bool,
}

impl Service<'_> {
    pub(super) fn record(
        &self,
        request: &Request,
        origin: &str,
        reply_to: Option<ReplyTo>,
        outcome: Outcome,
        made: Instant,
    ) -> Record {
        // Without a decoded prompt the model had no part in it.
        let judged = outcome.cost.n_prompt_tokens > 0;
        Record {
            schema: RECORD_SCHEMA.into(),
            id: request.id.clone(),
            ts: wire::timestamp(SystemTime::now() - made.elapsed()),
            device: self.who.device.clone(),
            boot: self.who.boot.clone(),
            origin: origin.into(),
            station: request.station.clone(),
            task: request.task,
            prompt: request.prompt.as_received().to_owned(),
            lang: request.lang.clone(),
            weights: judged.then(|| self.adapters.weights()),
            policy: judged.then(|| self.config.policy.rules()),
            trace: outcome.trace,
            verdict: outcome.verdict,
            detail: outcome.detail,
            cost: outcome.cost,
            reply_to,
        }
    }

    /// Records a request that never reached the model, and tells it to who asked.
    pub(super) fn conclude_unjudged(
        &mut self,
        request: &Request,
        reply_to: Option<ReplyTo>,
        outcome: Outcome,
        ack: AckToken,
    ) -> anyhow::Result<()> {
        let made = Instant::now();
        let record = self.record(request, "mqtt", reply_to, outcome, made);
        self.conclude(Decided { record, acks: vec![ack], made, silent: true })
    }

    /// Records a verdict and sends it on its way.
    pub(super) fn conclude(&mut self, mut decided: Decided) -> anyhow::Result<()> {
        let mut appended = self.audit.append(&decided.record);
        if matches!(appended, Err(AuditError::TooLarge { .. })) {
            // The words are the only part without a small bound; their hash stands for them.
            decided.record.prompt = publication::stand_in(&decided.record.prompt);
            appended = self.audit.append(&decided.record);
        }
        if matches!(appended, Err(AuditError::TooLarge { .. })) {
            // Budgets near their highest values. What cannot be recorded is not told.
            decided.record.trace = Trace::default();
            decided.record.verdict = Verdict::undecided(Reason::TooLarge);
            let hint = "hint: lower policy.max_steps and the budgets of steps and answers";
            decided.record.detail = Some(format!("what was read is larger than a record may be; {hint}"));
            appended = self.audit.append(&decided.record);
        }
        let link = match appended {
            Ok(link) => link,
            Err(error) => {
                let passes = matches!(error, AuditError::NotWritten { .. });
                if passes {
                    let id = &decided.record.id;
                    output::warn(format!("{error:#}; request {id} is withheld until its record is written"));
                }
                // Kept in any case, so that it is known at the end what was dropped.
                self.state.unrecorded.push_back(decided);
                return if passes {
                    Ok(())
                } else {
                    Err(error).context("the audit log takes no more records")
                };
            }
        };
        let Decided { record, acks, made, silent } = decided;
        self.state.counts.verdicts += 1;
        tell(&record);
        if let Some(slower) = self.state.pace.note(&record.cost, Instant::now()) {
            output::warn(format!(
                "the model decodes {slower:.0} times slower than it did; hint: where other programs use its cores, set \
                 model.threads below their number"
            ));
        }
        let rows = self.project(&record, link)?;
        if !silent {
            self.rule(&record, made.elapsed());
        }
        self.ack_after(rows, acks)
    }

    /// Puts a record's messages into the outbox and remembers its id.
    pub(super) fn project(&self, record: &Record, link: Link) -> anyhow::Result<Range<OutboxKey>> {
        let out = publication::of_record(&self.who, record, Some(link));
        let kept = publication::json(&publication::Kept::of(&self.who, record, link));
        Ok(self.store.apply(link.seq, Some((record.id.as_str(), &kept)), &out)?)
    }

    /// Tries again to record what the disk did not take.
    pub(super) fn record_again(&mut self) -> anyhow::Result<()> {
        for _ in 0..self.state.unrecorded.len() {
            if let Some(decided) = self.state.unrecorded.pop_front() {
                self.conclude(decided)?;
                self.panels.beat();
            }
        }
        Ok(())
    }

    /// The last try before the end, which names what is dropped.
    pub(crate) fn record_at_last(&mut self) {
        if self.state.unrecorded.is_empty() {
            return;
        }
        // Nobody would hear a stop any more.
        self.panels.silence();
        if let Err(error) = self.record_again() {
            output::warn(format!("{error:#}"));
        }
        let dropped: Vec<&str> = self.state.unrecorded.iter().map(|d| d.record.id.as_str()).collect();
        if !dropped.is_empty() {
            output::warn(format!(
                "the disk did not confirm a record of {}: where there is none, what was decided is dropped, and the broker gives \
                 what came with QoS 1 to the next run; hint: free space on the disk or check it",
                dropped.join(", ")
            ));
        }
    }
}

/// The end of a request that never reached the model.
pub(super) fn unjudged(reason: Reason, detail: String) -> Outcome {
    Outcome {
        verdict: Verdict::undecided(reason),
        detail: Some(detail),
        answer: String::new(),
        truncated: false,
        cost: Cost::default(),
        trace: Trace::default(),
    }
}

/// One line per verdict for the journal: no word of the prompt.
fn tell(record: &Record) {
    let decision = match record.verdict.decision {
        Decision::Allow => "allow",
        Decision::Refuse => "refuse",
        Decision::Undecided => "undecided",
    };
    let reason = serde_json::to_value(record.verdict.reason).ok();
    let reason = reason.as_ref().and_then(|r| r.as_str()).unwrap_or_default();
    let asked = if record.asks_person() { ", a person is asked" } else { "" };
    output::note(format!("{} {decision} ({reason}) in {} ms{asked}", record.id, record.cost.verdict_ms));
}
