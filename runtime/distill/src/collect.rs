//! From what a site's log holds, and what a person says was right, to trajectories.
//!
//! Not a reader of logs: records come from the caller, who has checked their chain. Invariant: a trajectory comes of a
//! record and a decision that agree with each other and with themselves; everything else is put aside for a person, and
//! a record without its words is never used.

use crate::input::{self, InputError};
use crate::teacher::with_split;
use crate::trajectory::{Label, Step, Trajectory, check};
use r2d_core::pivot::Pivot;
use r2d_core::policy::Mode;
use r2d_core::record::{Record, is_stand_in};
use r2d_core::verdict::{Decision as Decided, Reason};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::Path;

/// What a person says of a recorded request.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// The request's id.
    pub id: String,
    /// What the request is.
    pub label: Label,
    /// What should have been answered.
    #[serde(default)]
    pub answer: Option<String>,
    /// Words for whoever completes the trajectory.
    #[serde(default)]
    pub note: Option<String>,
}

/// Reads decisions, one JSON object a line, by their ids.
///
/// # Errors
/// [`InputError`]; two decisions on one id are a fault.
pub fn read_decisions(path: &Path) -> Result<HashMap<String, Decision>, InputError> {
    let bytes = input::bytes(path)?;
    let mut all = HashMap::new();
    for (line, text) in input::lines(&bytes) {
        let fault = |reason| InputError::Line { path: path.into(), line, reason };
        let hint =
            "a line is one JSON object with id, label (safe or unsafe), and answer or note where wanted";
        let decision: Decision = text.and_then(|text| input::json(text, hint)).map_err(fault)?;
        if all.contains_key(&decision.id) {
            let reason = format!("{:?} was decided before; hint: keep the decision that holds", decision.id);
            return Err(fault(reason));
        }
        all.insert(decision.id.clone(), decision);
    }
    if all.is_empty() {
        return Err(InputError::Empty { path: path.into() });
    }
    Ok(all)
}

/// A trajectory that a person has to complete: its fields, what is to be done, and the decision's note.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Todo {
    /// As far as it goes; a missing answer is empty.
    #[serde(flatten)]
    pub trajectory: Trajectory,
    /// What is wrong with it and what to do.
    pub todo: String,
    /// The decision's.
    pub note: Option<String>,
    /// A name that stays, for counting.
    #[serde(skip)]
    pub reason: &'static str,
}

/// What comes of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Collected {
    /// A trajectory, to be confirmed.
    Fit(Box<Trajectory>),
    /// One for a person to complete.
    Todo(Box<Todo>),
    /// The log holds no words of the request but their hash.
    NotStored,
}

/// Whether `record` is what became of the request that carried its id first.
#[must_use]
pub fn is_candidate(record: &Record) -> bool {
    // Under a repeated id other words were asked; a decision on the id is not about them.
    record.verdict.reason != Reason::IdReused
}

/// What comes of `record` under `decision`.
#[must_use]
pub fn collect(record: &Record, decision: &Decision) -> Collected {
    if !is_stored(&record.prompt) {
        return Collected::NotStored;
    }
    let label = decision.label;
    let agreed = match record.verdict.decision {
        Decided::Allow => label == Label::Safe,
        Decided::Refuse => label == Label::Unsafe,
        Decided::Undecided => false,
    };
    let given = decision.answer.as_deref().map(one_line).filter(|a| !a.is_empty());
    let steps = steps(record);
    // Judged on the bare request alone, it is a labelled request, whatever was said.
    let is_own = agreed && given.is_none() && !steps.is_empty();
    let answer = given.unwrap_or_else(|| if is_own { own_answer(record) } else { String::new() });
    let segments = record.trace.segments.iter().filter(|s| s.released && is_own);
    let t = with_split(Trajectory {
        id: record.id.as_str().to_owned(),
        category: format!("site_{label}"),
        label,
        prompt: record.prompt.trim().to_owned(),
        steps,
        answer,
        // A person's answer is taken as harmless, as the site's own sentence is; a labelled request has none.
        answer_pivot: segments.filter_map(|s| s.pivot).find(|p| *p != Pivot::Safe).unwrap_or(Pivot::Safe),
        pair: None,
        split: None,
    });
    let aside = |trajectory, reason, todo: String| {
        let note = decision.note.clone();
        Collected::Todo(Box::new(Todo { trajectory, todo, note, reason }))
    };
    if t.answer.is_empty() && !t.is_bare() {
        let todo = "no answer fits the label; hint: write one and steps that lead to it, or empty the steps to teach \
                    the label alone";
        return aside(t, "answer-missing", todo.to_owned());
    }
    if record.trace.truncated && is_own {
        return aside(t, "answer-truncated", "the answer was cut at its budget; hint: end it".to_owned());
    }
    match check(&t) {
        Ok(()) => Collected::Fit(Box::new(t)),
        Err(fault) => aside(t, fault.name(), fault.to_string()),
    }
}

/// Whether the words are there, and not their hash in place of them.
fn is_stored(prompt: &str) -> bool {
    !is_stand_in(prompt) && !prompt.trim().is_empty()
}

/// The steps that stayed in the context and have words.
fn steps(record: &Record) -> Vec<Step> {
    let stayed = record.trace.steps.iter().filter(|s| !s.rolled_back && !s.text.trim().is_empty());
    stayed.map(|s| Step { text: one_line(&s.text), pivot: s.pivot }).collect()
}

/// What left the device, where that fits the verdict; else nothing.
fn own_answer(record: &Record) -> String {
    let is_shadow = record.policy.as_ref().is_some_and(|p| p.mode == Mode::Shadow);
    // A run that withholds nothing lets harmful words out behind a refusal, and so does an answer that was stopped in
    // its middle.
    let is_begun = is_shadow || record.verdict.reason == Reason::AnswerUnsafe;
    if is_begun && record.verdict.decision == Decided::Refuse {
        return String::new();
    }
    one_line(&record.trace.released())
}

/// The words with single blanks between them: a part of a trajectory is one line.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
#[path = "collect_tests.rs"]
mod tests;
