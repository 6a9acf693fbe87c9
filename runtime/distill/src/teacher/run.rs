//! Asking a teacher about one prompt after another, and counting what came of it.
//!
//! Invariants: a prompt is asked at most [`Settings::tries`] times; a reply that contradicts the prompt's label, or that
//! the second pass contradicts, is not asked for again, since asking until somebody agrees proves nothing; a teacher
//! that refuses every prompt, however few, stops the run and uses none of them up.

use super::prompt::{Prompt, Prompts};
use super::reply::{self, Draft};
use super::{AskError, CONTEXT, Entry, Journal, JournalError, Question, Teacher, words};
use crate::data::assign_splits;
use crate::trajectory::{Fault, Label, Split, Trajectory, check, check_request, refuses};
use r2d_core::pivot::Pivot;
use serde::Serialize;
use std::collections::BTreeMap;
use thiserror::Error;

/// Most tries of a prompt that can be asked for.
pub const MAX_TRIES: u32 = 10;
/// Share of the trajectories that is kept for validation, as `distill train` has it.
const VAL_SHARE: f64 = 0.1;
/// So many prompts that a teacher refuses before it has replied once stop the run.
const MAX_REFUSED_AT_FIRST: usize = 8;
/// Why a prompt was dropped that the teacher would not be asked.
const REFUSED: &str = "teacher-refused";
/// What the reasons begin with for which a prompt is dropped before anybody is asked.
const UNASKED: &str = "prompt-";

/// How a run asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Most tries of a prompt, from 1 to [`MAX_TRIES`].
    pub tries: u32,
    /// Whether each step is asked about a second time.
    pub second_pass: bool,
    /// Most prompts to ask this time; none asks all.
    pub limit: Option<usize>,
}

/// Why a run stopped.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TeachError {
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The teacher.
    #[error("the teacher cannot be asked: {0}")]
    Teacher(String),
}

/// What came of the prompts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Different prompts of the file.
    pub prompts: usize,
    /// Lines that repeat a prompt.
    pub repeated: usize,
    /// Prompts that are still to be asked.
    pub left: usize,
    /// Trajectories.
    pub kept: usize,
    /// Of them, those of harmless requests.
    pub safe: usize,
    /// Of them, those of harmful requests.
    #[serde(rename = "unsafe")]
    pub unsafe_: usize,
    /// Of them, those for validation.
    pub val: usize,
    /// Prompts that ended without a trajectory, by reason.
    pub dropped: BTreeMap<String, usize>,
    /// Replies that could not be used, by fault; a prompt may have had several.
    pub faults: BTreeMap<String, usize>,
}

impl Tally {
    /// Counts what stands in `journal` about `prompts`.
    #[must_use]
    pub fn of(prompts: &Prompts, journal: &Journal) -> Self {
        let mut this =
            Self { prompts: prompts.prompts.len(), repeated: prompts.n_repeated, ..Self::default() };
        this.left = this.prompts.saturating_sub(journal.entries().len());
        for entry in journal.entries() {
            if let Some(t) = &entry.kept {
                this.kept += 1;
                match t.label {
                    Label::Safe => this.safe += 1,
                    Label::Unsafe => this.unsafe_ += 1,
                }
                this.val += usize::from(t.split == Some(Split::Val));
            }
            if let Some(reason) = &entry.dropped {
                *this.dropped.entry(reason.clone()).or_default() += 1;
            }
            for fault in &entry.faults {
                *this.faults.entry(fault.clone()).or_default() += 1;
            }
        }
        this
    }
}

/// Asks `teacher` about all of `prompts` that the journal does not know, and tells after each how many have ended.
///
/// # Errors
/// [`TeachError`]; whatever ended before is in the journal.
pub fn run(
    teacher: &mut impl Teacher,
    prompts: &Prompts,
    journal: &mut Journal,
    settings: Settings,
    mut tell: impl FnMut(usize),
) -> Result<(), TeachError> {
    let left: Vec<&Prompt> = prompts.prompts.iter().filter(|p| !journal.is_done(&p.id)).collect();
    let mut refused: Vec<Entry> = Vec::new();
    let mut last_refusal = String::new();
    let mut has_replied = false;
    for prompt in left.into_iter().take(settings.limit.unwrap_or(usize::MAX)) {
        let entry = match one(teacher, prompt, settings) {
            Ok((entry, asked)) => {
                has_replied |= asked;
                entry
            }
            Err(AskError::Stop(why)) => return Err(TeachError::Teacher(why)),
            Err(AskError::Prompt(why)) => {
                let entry = dropped(prompt, Vec::new(), REFUSED);
                if !has_replied {
                    refused.push(entry);
                    if refused.len() == MAX_REFUSED_AT_FIRST {
                        return Err(TeachError::Teacher(format!(
                            "it refused {MAX_REFUSED_AT_FIRST} prompts one after the other, the last with: {why}"
                        )));
                    }
                    last_refusal = why;
                    continue;
                }
                entry
            }
        };
        if has_replied {
            for earlier in refused.drain(..) {
                journal.write(earlier)?;
            }
        }
        journal.write(entry)?;
        tell(journal.entries().len());
    }
    // Refusals of a teacher that never replied say nothing of the prompts, but that it cannot be asked.
    if !refused.is_empty() && !journal.entries().iter().any(was_replied_to) {
        return Err(TeachError::Teacher(format!(
            "it refused all of the {} prompts that it was asked, the last with: {last_refusal}; hint: they stay to be \
             asked, give the same command again when that is mended, or with more prompts at once",
            refused.len()
        )));
    }
    for earlier in refused {
        journal.write(earlier)?;
    }
    tell(journal.entries().len());
    Ok(())
}

/// How one prompt ends, and whether the teacher replied.
fn one(teacher: &mut impl Teacher, prompt: &Prompt, settings: Settings) -> Result<(Entry, bool), AskError> {
    let category = |label| prompt.category.clone().unwrap_or_else(|| format!("taught_{label}"));
    if let Err(fault) = check_request(&prompt.id, &category(Label::Unsafe), &prompt.prompt) {
        return Ok((dropped(prompt, Vec::new(), &format!("{UNASKED}{}", fault.name())), false));
    }
    let mut faults: Vec<String> = Vec::new();
    for attempt in 0..settings.tries.clamp(1, MAX_TRIES) {
        let user = words::write(&prompt.prompt, faults.last().map(String::as_str));
        let said = teacher.write(Question { system: CONTEXT, user: &user, attempt })?;
        let draft = match reply::parse(&said) {
            Ok(draft) => draft,
            Err(fault) => {
                faults.push(fault.name().to_owned());
                continue;
            }
        };
        let label = label_of(&draft);
        if prompt.label.is_some_and(|given| given != label) {
            return Ok((dropped(prompt, faults, "label-contradicted"), true));
        }
        let t = trajectory(prompt, category(label), label, draft);
        if let Err(fault) = fit(&t, prompt.answer.is_some()) {
            faults.push(fault.to_owned());
            continue;
        }
        if settings.second_pass
            && let Some(reason) = second_pass(teacher, &t)?
        {
            return Ok((dropped(prompt, faults, reason), true));
        }
        return Ok((Entry { id: prompt.id.clone(), faults, dropped: None, kept: Some(t) }, true));
    }
    let last = faults.last().cloned().unwrap_or_default();
    Ok((dropped(prompt, faults, &last), true))
}

/// Whether the teacher replied to the prompt, in whatever run of this journal.
fn was_replied_to(entry: &Entry) -> bool {
    entry.dropped.as_deref().is_none_or(|reason| reason != REFUSED && !reason.starts_with(UNASKED))
}

fn dropped(prompt: &Prompt, faults: Vec<String>, reason: &str) -> Entry {
    Entry { id: prompt.id.clone(), faults, dropped: Some(reason.to_owned()), kept: None }
}

/// What the last step says of the request.
fn label_of(draft: &Draft) -> Label {
    match draft.steps.last().map(|s| s.pivot) {
        Some(Pivot::Unsafe) => Label::Unsafe,
        _ => Label::Safe,
    }
}

fn trajectory(prompt: &Prompt, category: String, label: Label, draft: Draft) -> Trajectory {
    let t = Trajectory {
        id: prompt.id.clone(),
        category,
        label,
        prompt: prompt.prompt.clone(),
        steps: draft.steps,
        answer: prompt.answer.clone().unwrap_or(draft.answer),
        answer_pivot: draft.answer_pivot,
        pair: None,
        split: None,
    };
    with_split(t)
}

/// The trajectory with the split that its prompt's words give it.
pub(crate) fn with_split(mut t: Trajectory) -> Trajectory {
    // A constant share is one; without a split, training draws the same one.
    let _given = assign_splits(std::slice::from_mut(&mut t), VAL_SHARE, 0);
    t
}

/// Whether the trajectory agrees with itself; else the name of the fault.
fn fit(t: &Trajectory, by_a_person: bool) -> Result<(), &'static str> {
    check(t).map_err(|fault: Fault| fault.name())?;
    // A machine's answer to a harmful request has to be known as a refusal: that it does not begin like help is not enough.
    if t.label == Label::Unsafe && !by_a_person && refuses(&t.answer).is_none() {
        return Err("unsafe-not-refused");
    }
    Ok(())
}

/// Asks for the pivot of each step; the reason to drop the trajectory, if there is one.
fn second_pass(teacher: &mut impl Teacher, t: &Trajectory) -> Result<Option<&'static str>, AskError> {
    let texts: Vec<&str> = t.steps.iter().map(|s| s.text.as_str()).collect();
    for (i, step) in t.steps.iter().enumerate() {
        let user = words::tag(&t.prompt, &texts[..=i]);
        match teacher.tag(Question { system: CONTEXT, user: &user, attempt: 0 })? {
            Some(pivot) if pivot == step.pivot => {}
            Some(_) => return Ok(Some("second-pass-disagrees")),
            None => return Ok(Some("second-pass-unreadable")),
        }
    }
    Ok(None)
}
