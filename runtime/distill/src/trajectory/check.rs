//! Whether a trajectory is fit to train on: well formed, in order, and not against itself.
//!
//! Not a judge of truth or taste, and not a comparison with other trajectories (see [`crate::data`]). Invariant: a
//! trajectory that passes has no text of the model's that could pass for a mark of the runtime, and its pivots lead to
//! its label.

use super::{Label, Pivot, Trajectory, refuses, yields};
use r2d_core::untrusted::looks_forged;
use std::fmt;
use thiserror::Error;

/// A part of a trajectory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// `id`.
    Id,
    /// `category`.
    Category,
    /// `pair`.
    Pair,
    /// `prompt`.
    Prompt,
    /// The step of this number, from 1.
    Step(usize),
    /// `answer`.
    Answer,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id => f.write_str("id"),
            Self::Category => f.write_str("category"),
            Self::Pair => f.write_str("pair"),
            Self::Prompt => f.write_str("prompt"),
            Self::Step(n) => write!(f, "step {n}"),
            Self::Answer => f.write_str("answer"),
        }
    }
}

/// Fewest and most words of each part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Of the prompt.
    pub prompt: (usize, usize),
    /// Of a step.
    pub step: (usize, usize),
    /// Of the answer.
    pub answer: (usize, usize),
}

impl Default for Bounds {
    /// Wider than what a teacher is asked for: a little too long is no fault, a page is.
    fn default() -> Self {
        Self { prompt: (2, 160), step: (4, 40), answer: (4, 160) }
    }
}

/// Most bytes of a part, for text that has no blanks.
const MAX_BYTES: usize = 4096;
/// Most bytes of an id, category or pair.
const MAX_NAME_BYTES: usize = 128;

/// Why a trajectory is not fit to train on.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Fault {
    /// A part has no text.
    #[error(
        "{field} is empty; hint: a trajectory needs all of its parts, a labelled request has neither steps nor answer"
    )]
    Empty {
        /// Which.
        field: Field,
    },
    /// A part holds a newline or a control character.
    #[error("{field} holds {found:?}; hint: every part is one line of plain text")]
    NotOneLine {
        /// Which.
        field: Field,
        /// The character.
        found: char,
    },
    /// White space around a part: the runtime trims it, so it would train on other tokens than are seen.
    #[error("{field} begins or ends with white space; hint: trim it")]
    Padded {
        /// Which.
        field: Field,
    },
    /// A step or answer holds what looks like a pivot or a chat marker.
    #[error(
        "{field} holds text that looks like a pivot or a chat marker: {text:?}; hint: pivots stand in fields"
    )]
    ForgedMark {
        /// Which.
        field: Field,
        /// Its beginning.
        text: String,
    },
    /// A step or answer holds a square bracket, with which a pivot opens.
    #[error("{field} holds a square bracket: {text:?}; hint: use other words, a bracket opens a pivot")]
    Bracket {
        /// Which.
        field: Field,
        /// Its beginning.
        text: String,
    },
    /// A part is too short.
    #[error("{field} has {n} words, fewer than {min}; hint: say what is asked, or what follows from it")]
    TooShort {
        /// Which.
        field: Field,
        /// Its words.
        n: usize,
        /// Fewest.
        min: usize,
    },
    /// A part is too long.
    #[error("{field} has {n} words or bytes, more than {max}; hint: a small model learns from short texts")]
    TooLong {
        /// Which.
        field: Field,
        /// How many.
        n: usize,
        /// Most.
        max: usize,
    },
    /// A harmless request with a step that says it is harmful.
    #[error(
        "the label is safe, but step {step} says [UNSAFE]; hint: the teacher contradicts itself, drop it"
    )]
    SafeWithUnsafeStep {
        /// From 1.
        step: usize,
    },
    /// A harmless request that is refused.
    #[error(
        "the label is safe, but the answer refuses ({phrase:?}); hint: the teacher contradicts itself, drop it"
    )]
    SafeRefused {
        /// By what it is known.
        phrase: &'static str,
    },
    /// A harmful request that no step calls harmful.
    #[error("the label is unsafe, but no step says [UNSAFE]; hint: the teacher contradicts itself, drop it")]
    UnsafeWithoutUnsafeStep,
    /// A harmful request that is answered.
    #[error(
        "the label is unsafe, but the answer begins to help ({phrase:?}); hint: never train on it, drop it"
    )]
    UnsafeAnswered {
        /// By what it is known.
        phrase: &'static str,
    },
    /// The steps' pivots stand in an order that is not taught.
    #[error("pivots {found} are not taught for the label {label}; hint: {hint}")]
    PivotOrder {
        /// The label.
        label: Label,
        /// The pivots.
        found: String,
        /// What is.
        hint: String,
    },
    /// The answer does not close with SAFE: an answer that is not safe is no example.
    #[error("the answer closes with {found}; hint: refusals and harmless answers both close with [SAFE]")]
    AnswerPivot {
        /// The pivot.
        found: Pivot,
    },
}

impl Fault {
    /// A name that stays, for counting.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Empty { .. } => "empty",
            Self::NotOneLine { .. } => "not-one-line",
            Self::Padded { .. } => "padded",
            Self::ForgedMark { .. } => "forged-mark",
            Self::Bracket { .. } => "bracket",
            Self::TooShort { .. } => "too-short",
            Self::TooLong { .. } => "too-long",
            Self::SafeWithUnsafeStep { .. } => "safe-with-unsafe-step",
            Self::SafeRefused { .. } => "safe-refused",
            Self::UnsafeWithoutUnsafeStep => "unsafe-without-unsafe-step",
            Self::UnsafeAnswered { .. } => "unsafe-answered",
            Self::PivotOrder { .. } => "pivot-order",
            Self::AnswerPivot { .. } => "answer-pivot",
        }
    }
}

/// The orders of pivots that are taught for `label`.
#[must_use]
pub fn allowed_orders(label: Label) -> &'static [&'static [Pivot]] {
    const S: Pivot = Pivot::Safe;
    const U: Pivot = Pivot::Unsafe;
    const R: Pivot = Pivot::Rethink;
    match label {
        Label::Safe => &[&[S, S], &[S, S, S], &[R, S], &[R, S, S]],
        Label::Unsafe => &[&[U, U], &[R, U], &[S, U], &[R, R, U]],
    }
}

/// Whether `t` is fit to train on.
///
/// # Errors
/// The first [`Fault`]: form before contradiction before order.
pub fn check(t: &Trajectory) -> Result<(), Fault> {
    check_within(t, &Bounds::default())
}

/// Whether a request is fit to become a trajectory, before there is one.
///
/// # Errors
/// The first [`Fault`] of id, category or prompt.
pub fn check_request(id: &str, category: &str, prompt: &str) -> Result<(), Fault> {
    name(Field::Id, id)?;
    name(Field::Category, category)?;
    text(Field::Prompt, prompt, Bounds::default().prompt)
}

/// As [`check`], with other lengths.
///
/// # Errors
/// The first [`Fault`].
pub fn check_within(t: &Trajectory, bounds: &Bounds) -> Result<(), Fault> {
    name(Field::Id, &t.id)?;
    name(Field::Category, &t.category)?;
    if let Some(pair) = &t.pair {
        name(Field::Pair, pair)?;
    }
    text(Field::Prompt, &t.prompt, bounds.prompt)?;
    if !t.is_bare() {
        reasoned(t, bounds)?;
    }
    if t.answer_pivot != Pivot::Safe {
        return Err(Fault::AnswerPivot { found: t.answer_pivot });
    }
    Ok(())
}

/// Whether reasoning and answer are fit to train on.
fn reasoned(t: &Trajectory, bounds: &Bounds) -> Result<(), Fault> {
    if t.steps.is_empty() {
        return Err(Fault::Empty { field: Field::Step(1) });
    }
    for (i, step) in t.steps.iter().enumerate() {
        let field = Field::Step(i + 1);
        text(field, &step.text, bounds.step)?;
        bracket(field, &step.text)?;
    }
    text(Field::Answer, &t.answer, bounds.answer)?;
    bracket(Field::Answer, &t.answer)?;
    contradiction(t)?;
    let found: Vec<Pivot> = t.pivots().collect();
    let allowed = allowed_orders(t.label);
    if !allowed.contains(&found.as_slice()) {
        let taught: Vec<String> = allowed.iter().map(|order| words(order)).collect();
        let found = words(&found[..found.len().min(8)]);
        return Err(Fault::PivotOrder {
            label: t.label,
            found,
            hint: format!("taught are {}", taught.join(", ")),
        });
    }
    Ok(())
}

fn words(order: &[Pivot]) -> String {
    let words: Vec<&str> = order.iter().map(|p| p.word()).collect();
    words.join("-")
}

fn name(field: Field, value: &str) -> Result<(), Fault> {
    form(field, value)?;
    if value.len() > MAX_NAME_BYTES {
        return Err(Fault::TooLong { field, n: value.len(), max: MAX_NAME_BYTES });
    }
    Ok(())
}

fn text(field: Field, value: &str, (min, max): (usize, usize)) -> Result<(), Fault> {
    form(field, value)?;
    let n = value.split_whitespace().count();
    if n < min {
        return Err(Fault::TooShort { field, n, min });
    }
    if n > max {
        return Err(Fault::TooLong { field, n, max });
    }
    if value.len() > MAX_BYTES {
        return Err(Fault::TooLong { field, n: value.len(), max: MAX_BYTES });
    }
    // A user may type anything; the runtime makes it harmless, and so do the samples.
    if field != Field::Prompt && looks_forged(value) {
        return Err(Fault::ForgedMark { field, text: excerpt(value) });
    }
    Ok(())
}

fn form(field: Field, value: &str) -> Result<(), Fault> {
    if value.trim().is_empty() {
        return Err(Fault::Empty { field });
    }
    // U+2028 and U+2029 end a line for many readers.
    if let Some(found) = value.chars().find(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')) {
        return Err(Fault::NotOneLine { field, found });
    }
    if value.trim().len() != value.len() {
        return Err(Fault::Padded { field });
    }
    Ok(())
}

fn bracket(field: Field, value: &str) -> Result<(), Fault> {
    if value.contains(['[', ']']) {
        return Err(Fault::Bracket { field, text: excerpt(value) });
    }
    Ok(())
}

fn contradiction(t: &Trajectory) -> Result<(), Fault> {
    match t.label {
        Label::Safe => {
            if let Some(at) = t.pivots().position(|p| p == Pivot::Unsafe) {
                return Err(Fault::SafeWithUnsafeStep { step: at + 1 });
            }
            refuses(&t.answer).map_or(Ok(()), |phrase| Err(Fault::SafeRefused { phrase }))
        }
        Label::Unsafe => {
            if t.pivots().all(|p| p != Pivot::Unsafe) {
                return Err(Fault::UnsafeWithoutUnsafeStep);
            }
            yields(&t.answer).map_or(Ok(()), |phrase| Err(Fault::UnsafeAnswered { phrase }))
        }
    }
}

fn excerpt(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
