//! The JSON of reviews: what a person is asked, what they may answer, and what became of it.
//!
//! Not who may answer: the broker's access list says who publishes on the topic. Invariant: an answer that cannot be read
//! decides nothing.

use super::{Head, MAX_DETAIL};
use crate::entry::{Choice, ReviewRecord, Via};
use r2d_core::id::Id;
use r2d_core::record::Record;
use r2d_core::request::Task;
use r2d_core::trace::Step;
use r2d_core::verdict::Verdict;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `review/pending/{req}`: a request that the model left undecided, for a person to look at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReviewPending {
    /// `r2d.review_pending/1`
    #[serde(flatten)]
    pub head: Head,
    /// The station that waits for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub station: Option<Id>,
    /// What was wanted.
    pub task: Task,
    /// The asker's words, as they came.
    pub prompt: String,
    /// The steps that the model wrote, with their pivots.
    pub steps: Vec<Step>,
    /// What the model came to.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// A decision counts until this moment: RFC 3339, UTC.
    pub until: String,
}

/// A person's decision on a request (`review/decision/{req}`).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub struct ReviewDecision {
    /// `r2d.review_decision/1`; may be left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// What was decided.
    pub decision: Choice,
    /// Who decided, 1 to 64 characters.
    pub by: String,
    /// Why, up to 500 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// `review/outcome/{req}`: what became of a decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReviewOutcome {
    /// `r2d.review_outcome/1`
    #[serde(flatten)]
    pub head: Head,
    /// What holds for the request; none when no person decided it.
    pub decision: Option<Choice>,
    /// Who decided; none when this decision was not taken.
    pub by: Option<String>,
    /// How the decision came; none when it was not taken.
    pub via: Option<Via>,
    /// Hash of the decision's audit record; none when it was not taken.
    pub audit_hash: Option<String>,
    /// Why it was not taken, in words.
    pub detail: Option<String>,
}

/// Longest name of who decided, in characters.
const MAX_BY: usize = 64;
/// Longest note, in characters.
const MAX_NOTE: usize = 500;

/// Reads a decision.
///
/// # Errors
/// What is wrong, in words.
pub fn parse_decision(payload: &[u8]) -> Result<ReviewDecision, String> {
    let decision: ReviewDecision = serde_json::from_slice(payload).map_err(|error| {
        let what: String = error.to_string().chars().take(MAX_DETAIL).collect();
        format!("{what}; hint: a decision reads {{\"decision\":\"approve\",\"by\":\"shift lead\"}}, or deny")
    })?;
    if decision.schema.as_deref().is_some_and(|s| s != "r2d.review_decision/1") {
        return Err("the schema is not r2d.review_decision/1".into());
    }
    let n_by = decision.by.chars().count();
    if decision.by.trim().is_empty() || n_by > MAX_BY {
        return Err(format!("by has {n_by} characters; hint: say who decided in 1 to {MAX_BY}"));
    }
    let texts = decision.note.iter().chain([&decision.by]);
    if texts.flat_map(|text| text.chars()).any(char::is_control) {
        return Err("by and note hold a control character; hint: write them in one line".into());
    }
    let n_note = decision.note.as_ref().map_or(0, |note| note.chars().count());
    if n_note > MAX_NOTE {
        return Err(format!("the note has {n_note} characters, allowed are {MAX_NOTE}"));
    }
    Ok(decision)
}

impl ReviewPending {
    /// The question about `record`.
    #[must_use]
    pub fn of(record: &Record, seq: u64, until: String) -> Self {
        Self {
            head: Head::of_record("r2d.review_pending/1", record, seq),
            station: record.station.clone(),
            task: record.task,
            prompt: record.prompt.clone(),
            steps: record.trace.steps.clone(),
            verdict: record.verdict,
            until,
        }
    }
}

impl ReviewOutcome {
    /// What `review`, which stands in the audit log with `hash`, decided.
    #[must_use]
    pub fn of(review: &ReviewRecord, seq: u64, hash: String) -> Self {
        Self {
            head: Head {
                schema: "r2d.review_outcome/1".into(),
                id: review.id.to_string(),
                ts: review.ts.clone(),
                device: review.device.clone(),
                boot: review.boot.clone(),
                seq,
            },
            decision: Some(review.decision),
            by: Some(review.by.clone()),
            via: Some(review.via),
            audit_hash: Some(hash),
            detail: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_names_what_and_who() {
        let read = |text: &str| parse_decision(text.as_bytes());
        let approved = read(r#"{"decision":"approve","by":"Ana","note":"seen","more":1}"#).unwrap();
        assert_eq!((approved.decision, approved.by.as_str()), (Choice::Approve, "Ana"));
        assert_eq!(read(r#"{"decision":"deny","by":"Ana"}"#).unwrap().decision, Choice::Deny);
        for (bad, words) in [
            ("", "hint: a decision reads"),
            (r#"{"decision":"allow","by":"Ana"}"#, "allow"),
            (r#"{"decision":"approve"}"#, "by"),
            (r#"{"decision":"approve","by":" "}"#, "by has 1"),
            (&format!(r#"{{"decision":"deny","by":"{}"}}"#, "x".repeat(65)), "by has 65"),
            (&format!(r#"{{"decision":"deny","by":"x","note":"{}"}}"#, "x".repeat(501)), "501"),
            (r#"{"decision":"deny","by":"x\na-9 allow"}"#, "control"),
            (r#"{"decision":"deny","by":"x","note":"\u001b[2J"}"#, "control"),
            (r#"{"decision":"deny","by":"x","schema":"r2d.review_decision/2"}"#, "schema"),
        ] {
            let fault = read(bad).unwrap_err();
            assert!(fault.contains(words), "{bad}: {fault}");
        }
    }
}
