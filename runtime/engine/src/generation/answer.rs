//! The answer's half: text is held in segments and released behind a reading made on a fork of the sequence.
//!
//! A segment ends with a sentence or after so many tokens. Its last token and the pivot's opening go into one
//! batch, the opening on the probe alone, so that the main sequence never sees the question. Invariant: with the
//! guard on and the policy enforced, no byte is released that did not stand before a SAFE.

use super::{Generation, MemoryChange, Purpose};
use crate::model::{Model, Token, argmax};
use r2d_core::pivot::{Pivot, Reading, Unreadable};
use r2d_core::policy::Mode;
use r2d_core::untrusted::{Untrusted, looks_forged};
use r2d_core::verdict::{Reason, Verdict};
use std::collections::VecDeque;

use super::Guard;

/// The segment being held.
#[derive(Debug, Default)]
pub(super) struct Draft {
    held: Vec<u8>,
    /// Tokens since the segment's beginning or its last reading.
    n_held: u16,
    n_tokens: u16,
    probe: Probe,
    /// The token behind a probed one, sampled in the same batch and used once the segment has passed.
    next: Option<Token>,
    /// What is left of an answer that is only judged.
    given: Option<VecDeque<Token>>,
}

impl Draft {
    /// An answer for the model to write, or one that is `given`.
    pub(super) fn new(given: Option<Vec<Token>>) -> Self {
        Self { given: given.map(VecDeque::from), ..Self::default() }
    }
}

/// Whether a reading of the held segment is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Probe {
    #[default]
    Idle,
    /// The answer goes on behind the segment.
    Between,
    /// The segment is the last.
    Last,
}

/// The three pivots together must hold this much of the distribution for a bracket to be the answer's final pivot.
const CLOSING_MASS: f32 = 0.5;

impl Generation {
    pub(super) fn on_answer_logits(&mut self, logits: &[f32], model: &impl Model, now_ms: u64) {
        if self.answer.given.is_some() {
            return self.feed_given(model, now_ms);
        }
        let Some(token) = argmax(logits, &[]) else {
            return self.stop(Reason::DecodeFailed, Some("the logits are no numbers".into()), now_ms);
        };
        if self.answer.probe == Probe::Idle {
            self.on_answer_token(token, model, now_ms);
        } else {
            self.answer.next = Some(token);
        }
    }

    fn on_answer_token(&mut self, token: Token, model: &impl Model, now_ms: u64) {
        let guarded = self.guard == Guard::On;
        if model.is_end(token) {
            return self.end_answer(now_ms);
        }
        if guarded && self.grammar.opening == [token] {
            return self.push_main(token, Some(Purpose::OpenOrText));
        }
        let (ends, full) = self.hold(token, model);
        match (ends, guarded) {
            (false, _) => self.push_main(token, Some(Purpose::Sample)),
            (true, true) => {
                self.changes.push(MemoryChange::Fork);
                self.push_both(token, (!full).then_some(Purpose::Sample));
                self.push_probe_opening(Purpose::ReadSegment);
                self.answer.probe = if full { Probe::Last } else { Probe::Between };
            }
            (true, false) => {
                self.release(None, None, full, now_ms);
                if full {
                    self.complete(now_ms);
                } else {
                    self.push_main(token, Some(Purpose::Sample));
                }
            }
        }
    }

    /// Queues the next segment of a given answer, whole: its tokens are known, so they share their batches.
    ///
    /// The probe takes them along, since it forks before any of them is decoded.
    fn feed_given(&mut self, model: &impl Model, now_ms: u64) {
        let Some(mut given) = self.answer.given.take_if(|given| !given.is_empty()) else {
            return self.end_answer(now_ms);
        };
        self.changes.push(MemoryChange::Fork);
        self.answer.probe = Probe::Last;
        while let Some(token) = given.pop_front() {
            let (ends, full) = self.hold(token, model);
            self.push_both(token, None);
            if ends {
                if !full && !given.is_empty() {
                    self.answer.probe = Probe::Between;
                }
                break;
            }
        }
        self.answer.given = Some(given);
        self.push_probe_opening(Purpose::ReadSegment);
    }

    /// The model ended its turn.
    fn end_answer(&mut self, now_ms: u64) {
        if self.guard == Guard::Off {
            self.release(None, None, true, now_ms);
            self.complete(now_ms);
        } else if self.answer.held.is_empty() && !self.trace.segments.is_empty() {
            self.complete(now_ms);
        } else {
            self.probe_here(Probe::Last);
        }
    }

    /// Reads the held segment behind what the main sequence holds.
    fn probe_here(&mut self, probe: Probe) {
        self.changes.push(MemoryChange::Fork);
        self.probe_pos = self.main_pos;
        self.push_probe_opening(Purpose::ReadSegment);
        self.answer.probe = probe;
    }

    /// Adds a token's text to the segment; returns whether the segment ends with it, and whether the answer does.
    fn hold(&mut self, token: Token, model: &impl Model) -> (bool, bool) {
        let answer = &mut self.answer;
        model.piece(token, &mut answer.held);
        answer.n_held = answer.n_held.saturating_add(1);
        answer.n_tokens = answer.n_tokens.saturating_add(1);
        let full = answer.n_tokens >= self.policy.max_answer_tokens;
        let ends = full
            || answer.n_held >= self.policy.segment_max_tokens
            || answer.n_held >= self.policy.segment_min_tokens && ends_sentence(&answer.held);
        self.trace.truncated = full;
        (ends, full)
    }

    /// The model opened a bracket: its final pivot if the pivots hold the distribution, else text like any other.
    pub(super) fn on_answer_opening(&mut self, logits: &[f32], model: &impl Model, now_ms: u64) {
        match self.read(logits) {
            Err(Unreadable) => self.unreadable(now_ms),
            Ok(reading) if reading.mass >= CLOSING_MASS => {
                self.answer.probe = Probe::Last;
                self.judge_segment(reading, model, now_ms);
            }
            Ok(_) => match self.hold(self.grammar.opening[0], model) {
                (false, _) => self.on_answer_logits(logits, model, now_ms),
                (true, true) => self.probe_here(Probe::Last),
                (true, false) => {
                    self.probe_here(Probe::Between);
                    self.on_answer_logits(logits, model, now_ms);
                }
            },
        }
    }

    pub(super) fn on_segment_reading(&mut self, logits: &[f32], model: &impl Model, now_ms: u64) {
        self.changes.push(MemoryChange::DropProbe);
        self.probe_pos = 0;
        match self.read(logits) {
            Err(Unreadable) => self.unreadable(now_ms),
            Ok(reading) => self.judge_segment(reading, model, now_ms),
        }
    }

    fn judge_segment(&mut self, reading: Reading, model: &impl Model, now_ms: u64) {
        let last = std::mem::take(&mut self.answer.probe) == Probe::Last;
        let Ok(pivot) = self.policy.judge(&reading) else {
            return self.unreadable(now_ms);
        };
        let shadow = self.policy.mode == Mode::Shadow;
        let verdict = match pivot {
            Pivot::Safe => None,
            Pivot::Unsafe => Some(Verdict::refuse(Reason::AnswerUnsafe)),
            Pivot::Rethink if self.looks > 0 && !last => {
                // The look: hold what there is and read again when more of the answer stands.
                self.looks -= 1;
                self.answer.n_held = 0;
                return self.next_token(model, now_ms);
            }
            Pivot::Rethink => Some(Verdict::undecided(Reason::LooksSpent)),
        };
        if verdict.is_some() && !shadow {
            let text = String::from_utf8_lossy(&std::mem::take(&mut self.answer.held)).into_owned();
            self.tell_segment(text, Some(reading), Some(pivot), false, now_ms);
        } else {
            self.release(Some(reading), Some(pivot), last, now_ms);
        }
        if verdict.is_some_and(|v| !self.decide(v, now_ms)) {
            return;
        }
        if last {
            self.complete(now_ms);
        } else {
            self.next_token(model, now_ms);
        }
    }

    fn next_token(&mut self, model: &impl Model, now_ms: u64) {
        if self.answer.given.is_some() {
            self.feed_given(model, now_ms);
        } else if let Some(token) = self.answer.next.take() {
            self.on_answer_token(token, model, now_ms);
        }
    }

    /// Lets the held text out, but for a character that is still incomplete.
    fn release(&mut self, reading: Option<Reading>, pivot: Option<Pivot>, last: bool, now_ms: u64) {
        let held = std::mem::take(&mut self.answer.held);
        self.answer.n_held = 0;
        let (text, rest) = match std::str::from_utf8(&held) {
            Err(e) if !last && e.error_len().is_none() => held.split_at(e.valid_up_to()),
            _ => (held.as_slice(), &[][..]),
        };
        let mut text = String::from_utf8_lossy(text).into_owned();
        // A pivot that the model wrote as text is not the machine's word, and must not look like it, also where one segment
        // has its beginning and the next its end.
        if self.guard == Guard::On && self.answer.given.is_none() {
            if let Some(at) = text.rfind('[').filter(|at| !last && text.len() - at <= 16)
                && !text[at..].contains(']')
            {
                self.answer.held.extend_from_slice(&text.as_bytes()[at..]);
                text.truncate(at);
            }
            if looks_forged(&text) {
                text = Untrusted::new(text).neutral();
            }
        }
        self.answer.held.extend_from_slice(rest);
        if !text.is_empty() || reading.is_some() {
            self.tell_segment(text, reading, pivot, true, now_ms);
        }
    }
}

/// Whether `text` stops where a reader would take breath.
fn ends_sentence(text: &[u8]) -> bool {
    text.ends_with(b"\n") || matches!(text.trim_ascii_end().last(), Some(b'.' | b'!' | b'?' | b':' | b';'))
}
