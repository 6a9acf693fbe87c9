//! From a request's words to the tokens of a prompt.
//!
//! A chat template is data: fixed text with one slot per part. Fixed text is the runtime's own and may become
//! control tokens; what goes into a slot never does. Invariant: the tokens of a slot are those of the neutralised
//! text alone, cut by themselves, so that no text can join with a marker into another token.

use crate::model::{Model, Token, Trust};
use r2d_core::untrusted::Untrusted;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Where the text goes in a template's part.
const SLOT: &str = "{text}";

/// A model's chat format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChatTemplate {
    /// The system part, with `{text}` where its text goes; empty for a model without one.
    pub system: String,
    /// The user's part, with `{text}`.
    pub user: String,
    /// What opens the model's own part.
    pub assistant: String,
}

/// Why a prompt cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PromptError {
    /// A part of the chat template lacks its slot.
    #[error("the chat template's {part} part has no {{text}}; hint: see [chat] in the model's manifest")]
    NoSlot {
        /// `system` or `user`.
        part: &'static str,
    },
    /// The vocabulary turns a piece of the asker's text into a control token.
    #[error("the text holds {piece:?}, which this model's vocabulary reads as a control token")]
    ControlToken {
        /// The piece.
        piece: String,
    },
    /// The prompt is empty.
    #[error("the prompt is empty")]
    Empty,
}

impl ChatTemplate {
    /// Guesses the format from the chat template that a GGUF file carries: its markers tell the family.
    #[must_use]
    pub fn recognise(jinja: &str) -> Option<Self> {
        let own = |system: &str, user: &str, assistant: &str| {
            Some(Self { system: system.into(), user: user.into(), assistant: assistant.into() })
        };
        if jinja.contains("<|im_start|>") {
            own(
                "<|im_start|>system\n{text}<|im_end|>\n",
                "<|im_start|>user\n{text}<|im_end|>\n",
                "<|im_start|>assistant\n",
            )
        } else if jinja.contains("<start_of_turn>") {
            own(
                "<start_of_turn>user\n{text}<end_of_turn>\n",
                "<start_of_turn>user\n{text}<end_of_turn>\n",
                "<start_of_turn>model\n",
            )
        } else if jinja.contains("<|start_header_id|>") {
            own(
                "<|start_header_id|>system<|end_header_id|>\n\n{text}<|eot_id|>",
                "<|start_header_id|>user<|end_header_id|>\n\n{text}<|eot_id|>",
                "<|start_header_id|>assistant<|end_header_id|>\n\n",
            )
        } else {
            None
        }
    }

    /// The tokens of a prompt: begin marker if the model has one, system text, the asker's words, the opening of
    /// the model's turn.
    ///
    /// # Errors
    /// [`PromptError`]; nothing has been decoded then.
    pub fn prompt(
        &self,
        model: &(impl Model + ?Sized),
        system: &str,
        user: &Untrusted,
    ) -> Result<Vec<Token>, PromptError> {
        let words = user.neutral();
        if words.trim().is_empty() {
            return Err(PromptError::Empty);
        }
        let mut out: Vec<Token> = model.begin().into_iter().collect();
        if !self.system.is_empty() && !system.is_empty() {
            fill(model, "system", &self.system, system, &mut out)?;
        }
        fill(model, "user", &self.user, words.trim(), &mut out)?;
        model.tokenize(&self.assistant, Trust::Ours, &mut out);
        Ok(out)
    }
}

/// Appends `part` with `text` in its slot.
fn fill(
    model: &(impl Model + ?Sized),
    name: &'static str,
    part: &str,
    text: &str,
    out: &mut Vec<Token>,
) -> Result<(), PromptError> {
    let (before, after) = part.split_once(SLOT).ok_or(PromptError::NoSlot { part: name })?;
    model.tokenize(before, Trust::Ours, out);
    let slot = out.len();
    model.tokenize(text, Trust::Outside, out);
    if let Some(&token) = out[slot..].iter().find(|&&t| model.is_control(t) || model.is_end(t)) {
        let mut piece = Vec::new();
        model.piece(token, &mut piece);
        return Err(PromptError::ControlToken { piece: String::from_utf8_lossy(&piece).into_owned() });
    }
    model.tokenize(after, Trust::Ours, out);
    Ok(())
}
