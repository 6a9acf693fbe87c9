//! A teacher that is a model on this machine: plain greedy text, and one reading of the three pivots for a tag.
//!
//! Not judged generation: no pivot is placed while it writes, so nothing that it says may leave but through the
//! teacher's checks. Invariants: a reply has at most [`MAX_REPLY_TOKENS`]; prompts are tokenised as outside text.

use super::Asking;
use crate::source::Use;
use anyhow::bail;
use r2d_core::pivot::{Pivot, Reading};
use r2d_core::untrusted::Untrusted;
use r2d_distill::teacher::{AskError, Journal, Question, Tally, Teacher};
use r2d_engine::intake::Intake;
use r2d_engine::model::{BatchToken, Model, Seq, Seqs, Token, argmax, log_total};

/// Most tokens of a reply.
const MAX_REPLY_TOKENS: usize = 512;
/// Holds what is asked.
const SEQ: Seq = Seq(0);

/// Prompts that wait for a local model.
pub(super) struct Waiting<'a> {
    pub(super) asking: &'a Asking<'a>,
    pub(super) journal: &'a mut Journal,
    /// Whether a model without a system part is refused: it would never hear the context.
    pub(super) needs_system: bool,
}

impl Use for Waiting<'_> {
    type Output = Tally;

    fn with<M: Model>(self, model: M, intake: Intake) -> anyhow::Result<Tally> {
        if self.needs_system && intake.template.system.is_empty() {
            bail!(
                "this model's chat format has no system part for the teacher's context; hint: take another model"
            );
        }
        self.asking.ask(&mut Local { model, intake, held: Vec::new(), place: 0 }, self.journal)
    }
}

struct Local<M> {
    model: M,
    intake: Intake,
    /// What the sequence holds: the context before each question is read once.
    held: Vec<Token>,
    /// Where in the last batch its last token stood.
    place: usize,
}

impl<M: Model> Local<M> {
    /// The question's tokens, when `room` more fit the context.
    fn tokens(&self, question: Question<'_>, room: usize) -> Result<Vec<Token>, AskError> {
        let user = Untrusted::new(question.user);
        let tokens = self.intake.template.prompt(&self.model, question.system, &user);
        let tokens = tokens.map_err(|e| AskError::Prompt(e.to_string()))?;
        let (n, n_ctx) = (tokens.len() + room, self.model.n_ctx());
        if u32::try_from(n).map_or(true, |n| n > n_ctx) {
            let hint = "hint: raise model.n_ctx";
            return Err(AskError::Prompt(format!(
                "context, prompt and reply take {n} tokens of {n_ctx}; {hint}"
            )));
        }
        Ok(tokens)
    }

    /// Reads `tokens` from an empty sequence on, or behind what it holds of them already; their last logits are there then.
    fn read(&mut self, tokens: &[Token]) -> Result<(), AskError> {
        let same = self.held.iter().zip(tokens).take_while(|(a, b)| a == b).count();
        // Without a context of some length nothing is won; the last token is always read, for its logits.
        let mut keep =
            if self.intake.template.system.is_empty() { 0 } else { same.min(tokens.len().saturating_sub(1)) };
        let position = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        if self.model.trim(SEQ, position(keep)).is_err() {
            // Some models forget all or nothing.
            keep = 0;
            self.model.trim(SEQ, 0).map_err(stop)?;
        }
        self.held.truncate(keep);
        self.go_on(&tokens[keep..])
    }

    /// Decodes `tokens` behind what the sequence holds, with the logits of the last one.
    fn go_on(&mut self, tokens: &[Token]) -> Result<(), AskError> {
        let n_batch = self.model.n_batch().max(1);
        let mut left = tokens.len();
        for part in tokens.chunks(n_batch) {
            left -= part.len();
            let start = self.held.len();
            let entry = |(i, &token): (usize, &Token)| BatchToken {
                token,
                pos: u32::try_from(start + i).unwrap_or(u32::MAX),
                seqs: Seqs::One(SEQ),
                logits: left == 0 && i + 1 == part.len(),
            };
            let batch: Vec<BatchToken> = part.iter().enumerate().map(entry).collect();
            if let Err(error) = self.model.decode(&batch) {
                self.held.clear();
                self.model.trim(SEQ, 0).map_err(stop)?;
                return Err(stop(error));
            }
            self.held.extend_from_slice(part);
            self.place = part.len() - 1;
        }
        Ok(())
    }

    /// The logits behind the last token that was decoded.
    fn last(&self) -> &[f32] {
        self.model.logits(self.place)
    }
}

impl<M: Model> Teacher for Local<M> {
    fn write(&mut self, question: Question<'_>) -> Result<String, AskError> {
        let tokens = self.tokens(question, MAX_REPLY_TOKENS)?;
        self.read(&tokens)?;
        let mut bytes = Vec::new();
        for _ in 0..MAX_REPLY_TOKENS {
            let no_number = || AskError::Stop("the model's logits are no numbers".into());
            let token = argmax(self.last(), &[]).ok_or_else(no_number)?;
            // A control token has no text: a reply that goes on behind one is none.
            if self.model.is_end(token) || self.model.is_control(token) {
                break;
            }
            self.model.piece(token, &mut bytes);
            self.go_on(&[token])?;
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn tag(&mut self, question: Question<'_>) -> Result<Option<Pivot>, AskError> {
        let opening = self.intake.grammar.opening.clone();
        let mut tokens = self.tokens(question, opening.len())?;
        tokens.extend(opening);
        self.read(&tokens)?;
        let logits = self.last();
        let own =
            |t: Token| usize::try_from(t.0).ok().and_then(|i| logits.get(i)).copied().unwrap_or(f32::NAN);
        let Ok(reading) = Reading::from_logits(self.intake.grammar.first.map(own), log_total(logits)) else {
            return Ok(None);
        };
        let Reading { safe, unsafe_, rethink, .. } = reading;
        let most = [safe, unsafe_, rethink].into_iter().zip(Pivot::ALL).max_by(|a, b| a.0.total_cmp(&b.0));
        Ok(most.map(|(_, pivot)| pivot))
    }
}

fn stop(error: impl std::fmt::Display) -> AskError {
    AskError::Stop(error.to_string())
}
