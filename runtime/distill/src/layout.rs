//! A sample as pieces of text, cut where the runtime cuts, so that training tokens are the tokens it will see.
//!
//! Not a tokeniser: [`encode`] is given one, turns each [`Piece`] into tokens *by itself* and puts them one behind the
//! other. The cuts are those of the engine's prompt, grammar and generation:
//!
//! - The model's begin marker, if it has one, stands before all pieces; it is no text.
//! - A part of the chat template is three pieces: what stands before its slot, the slot's text, what stands behind. The
//!   slot's text is tokenised as text from outside, which never becomes a control token.
//! - `<think>\n` and `</think>\n` are one piece each.
//! - A pivot that closes a step is one piece with its line's end, such as `" [SAFE]\n"`. Its first tokens, those that all
//!   three pivots share, are the opening; the one behind them is the telling token, where the pivots' logits are read.
//!   Both numbers come from the engine's grammar (`opening.len()`, `first`).
//! - Step and answer text is a piece of its own, without the blank that belongs to the pivot behind it.
//! - The pivot that closes an answer has no line's end; the model's end of turn follows as a piece.
//!
//! Which of the tokens are learnt is in [`Piece::learn`]. What the runtime always places by itself is context; the full
//! form alone teaches it, for other runtimes, which place nothing.
//!
//! Invariant: the pieces' texts in order are the whole sequence; a [`Role::Probe`] piece is the last one.

mod encode;

pub use encode::{EncodeError, Marks, encode};

use crate::augment::{Form, Sample};
use crate::example::Part;
use crate::trajectory::Pivot;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Where a piece's text comes from, which decides whether it may become control tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// The runtime's own marks: control tokens are recognised.
    Ours,
    /// Everything else, the model's words included: text and nothing but text.
    Outside,
}

/// What a piece is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Of the prompt.
    Prompt,
    /// A border of the reasoning.
    Mark,
    /// A step's words.
    Reasoning,
    /// An answer's words.
    Answer,
    /// A pivot in the model's own text, with what it is.
    Pivot(Pivot),
    /// A pivot that the runtime asks for on a fork. Keep the opening and the telling token, and drop the rest; only the
    /// telling token is learnt, since the runtime placed the opening.
    Probe(Pivot),
    /// The end of the model's turn.
    End,
}

/// A piece of the sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// Its text, to be tokenised by itself.
    pub text: &'a str,
    /// Where that comes from.
    pub trust: Trust,
    /// What it is.
    pub role: Role,
    /// For which half of the loss the model learns to write its tokens; none for context.
    pub learn: Option<Part>,
}

/// Whether pivots are written: without them for the paper's ablation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pivots {
    /// They are.
    #[default]
    Written,
    /// A step ends with its line, an answer with the turn, and forms that are nothing but a pivot have no pieces.
    LeftOut,
}

/// A chat template or pivots that cannot be laid out.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FrameError {
    /// A part lacks its slot.
    #[error(
        "the chat template's {part} part {text:?} has no {{text}}; hint: see [chat] in the model's manifest"
    )]
    NoSlot {
        /// `system` or `user`.
        part: &'static str,
        /// The part.
        text: String,
    },
    /// Nothing ends a turn.
    #[error(
        "the chat template's user part {text:?} ends with its slot, so what ends a turn is not known; hint: put the model's end-of-turn marker behind {{text}}"
    )]
    NoEnd {
        /// The part.
        text: String,
    },
    /// A pivot is empty.
    #[error("an empty pivot string; hint: see [pivots] in the model's manifest")]
    NoPivot,
}

/// What stands around a sample: a model's chat template and pivot strings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Before and behind the system text; none for a model without a system part.
    system: Option<(String, String)>,
    user: (String, String),
    assistant: String,
    end: String,
    /// In the order of [`Pivot::ALL`].
    pivots: [String; 3],
    pivot_lines: [String; 3],
}

const SLOT: &str = "{text}";
const THINK: &str = "<think>\n";
const END_THINK: &str = "</think>\n";

impl Frame {
    /// From the parts of a manifest's `[chat]` (`system` may be empty) and its pivot strings, each with the blank before
    /// it, in the order SAFE, UNSAFE, RETHINK.
    ///
    /// # Errors
    /// [`FrameError`].
    pub fn new(system: &str, user: &str, assistant: &str, pivots: [&str; 3]) -> Result<Self, FrameError> {
        let split = |part: &'static str, text: &str| match text.split_once(SLOT) {
            Some((before, behind)) => Ok((before.to_owned(), behind.to_owned())),
            None => Err(FrameError::NoSlot { part, text: text.into() }),
        };
        let user_part = split("user", user)?;
        // The model's own turn ends as the user's does; what follows the marker (a newline) is the template's.
        let end = user_part.1.trim().to_owned();
        if end.is_empty() {
            return Err(FrameError::NoEnd { text: user.into() });
        }
        if pivots.iter().any(|p| p.trim().is_empty()) {
            return Err(FrameError::NoPivot);
        }
        Ok(Self {
            system: if system.is_empty() { None } else { Some(split("system", system)?) },
            user: user_part,
            assistant: assistant.to_owned(),
            end,
            pivots: pivots.map(str::to_owned),
            pivot_lines: pivots.map(|p| format!("{p}\n")),
        })
    }

    /// The frame of models with ChatML markers (SmolLM2, Qwen) and the pivots as they are written.
    ///
    /// # Errors
    /// None: the frame is right.
    pub fn chatml() -> Result<Self, FrameError> {
        Self::new(
            "<|im_start|>system\n{text}<|im_end|>\n",
            "<|im_start|>user\n{text}<|im_end|>\n",
            "<|im_start|>assistant\n",
            [" [SAFE]", " [UNSAFE]", " [RETHINK]"],
        )
    }

    /// The pieces of `sample`, in order.
    #[must_use]
    pub fn layout<'a>(&'a self, sample: &'a Sample, pivots: Pivots) -> Vec<Piece<'a>> {
        let mut out = Pieces { frame: self, pivots, out: Vec::new() };
        let probes_only = matches!(sample.form, Form::None | Form::Probe);
        if probes_only && pivots == Pivots::LeftOut {
            return out.out;
        }
        out.prompt(sample);
        let (reasoning, answer) = (Some(Part::Reasoning), Some(Part::Answer));
        // Only where all steps stand does the model learn when to begin and to end them.
        let border = reasoning.filter(|_| sample.form == Form::Full);
        match sample.form {
            Form::None => out.probe(sample.request_pivot, Part::Reasoning),
            Form::Probe => {
                out.mark(THINK, None);
                out.mark(END_THINK, None);
                out.put(&sample.answer, Trust::Outside, Role::Answer, None);
                out.probe(sample.answer_pivot, Part::Answer);
            }
            Form::Full | Form::Brief | Form::Direct => {
                out.mark(THINK, border);
                for step in &sample.steps {
                    out.put(&step.text, Trust::Outside, Role::Reasoning, reasoning);
                    out.step_pivot(step.pivot, reasoning);
                }
                // A model that refuses without steps does so behind the request's own pivot.
                if sample.form == Form::Direct && sample.request_pivot == Pivot::Unsafe {
                    out.step_pivot(sample.request_pivot, None);
                }
                out.mark(END_THINK, border);
                out.put(&sample.answer, Trust::Outside, Role::Answer, answer);
                if pivots == Pivots::Written {
                    let text = &self.pivots[sample.answer_pivot as usize];
                    out.put(text, Trust::Ours, Role::Pivot(sample.answer_pivot), answer);
                }
                out.put(&self.end, Trust::Ours, Role::End, answer);
            }
        }
        out.out
    }
}

struct Pieces<'a> {
    frame: &'a Frame,
    pivots: Pivots,
    out: Vec<Piece<'a>>,
}

impl<'a> Pieces<'a> {
    fn put(&mut self, text: &'a str, trust: Trust, role: Role, learn: Option<Part>) {
        if !text.is_empty() {
            self.out.push(Piece { text, trust, role, learn });
        }
    }

    fn prompt(&mut self, sample: &'a Sample) {
        let frame = self.frame;
        let mut part = |(before, behind): &'a (String, String), text: &'a str| {
            self.put(before, Trust::Ours, Role::Prompt, None);
            self.put(text, Trust::Outside, Role::Prompt, None);
            self.put(behind, Trust::Ours, Role::Prompt, None);
        };
        // As the runtime: without text, no system part at all.
        if let (Some(around), Some(text)) =
            (&frame.system, sample.system.as_deref().filter(|s| !s.is_empty()))
        {
            part(around, text);
        }
        part(&frame.user, &sample.prompt);
        self.put(&frame.assistant, Trust::Ours, Role::Prompt, None);
    }

    fn mark(&mut self, text: &'static str, learn: Option<Part>) {
        self.put(text, Trust::Ours, Role::Mark, learn);
    }

    fn step_pivot(&mut self, pivot: Pivot, learn: Option<Part>) {
        match self.pivots {
            Pivots::Written => {
                let line = &self.frame.pivot_lines[pivot as usize];
                self.put(line, Trust::Ours, Role::Pivot(pivot), learn);
            }
            // An empty thought needs no line's end.
            Pivots::LeftOut if learn.is_some() => self.mark("\n", learn),
            Pivots::LeftOut => {}
        }
    }

    fn probe(&mut self, pivot: Pivot, part: Part) {
        let line = &self.frame.pivot_lines[pivot as usize];
        self.put(line, Trust::Ours, Role::Probe(pivot), Some(part));
    }
}

#[cfg(test)]
mod tests;
