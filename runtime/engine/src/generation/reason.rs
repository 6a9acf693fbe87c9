//! The reasoning half: the pivot on the bare request, then steps, each closed by a pivot that the runtime reads and
//! writes.
//!
//! Not here: the answer. Invariant: the answer begins only behind a SAFE, be it of the last step or, without steps,
//! of the bare request (in a shadow run behind anything, with the verdict kept; a refusal in the model's own words
//! behind its UNSAFE).

use super::{Generation, MemoryChange, Purpose, Stage};
use crate::event::Event;
use crate::model::{Model, Token, argmax};
use r2d_core::pivot::{Pivot, Reading, Unreadable};
use r2d_core::policy::{Combine, Depth, OnRethink};
use r2d_core::request::Task;
use r2d_core::trace::{RequestReading, Step, StepEnd};
use r2d_core::verdict::{Reason, Verdict};

/// A step being written.
#[derive(Debug)]
pub(super) struct Draft {
    text: Vec<u8>,
    n_tokens: u16,
    end: StepEnd,
    /// The main sequence's position of the step's first token.
    start: u32,
    /// The token before it, whose logits gave that first token.
    before: Token,
    first: Option<Token>,
    /// First tokens of this step's earlier versions.
    barred: Vec<Token>,
    /// The model wants no further step.
    closing: bool,
}

impl Default for Draft {
    fn default() -> Self {
        Self {
            text: Vec::new(),
            n_tokens: 0,
            end: StepEnd::Budget,
            start: 0,
            before: Token(0),
            first: None,
            barred: Vec::new(),
            closing: false,
        }
    }
}

/// Kinds of blank tokens that are passed over before a step's first word.
const MAX_BLANKS: usize = 8;

/// What a pivot means for the way on.
enum Way {
    /// Reasoning may close.
    Passed,
    /// Look again.
    Again,
    /// The request is over.
    Ended,
}

impl Generation {
    pub(super) fn on_request(&mut self, logits: &[f32], now_ms: u64) {
        self.changes.push(MemoryChange::DropProbe);
        let judged = self.read(logits).and_then(|reading| {
            self.evidence.add_request(reading);
            Ok((reading, self.policy.judge_with(&reading, &self.evidence)?))
        });
        let Ok((reading, pivot)) = judged else {
            return self.unreadable(now_ms);
        };
        let request = RequestReading { reading, pivot };
        self.trace.request = Some(request);
        self.events.push_back(Event::Request(request));

        let depth = self.depth();
        // With weights, the request's reading decides together with the steps' unless there are none.
        let decisive = self.policy.combine == Combine::Maximum || depth == Depth::None;
        match (pivot, depth) {
            (Pivot::Unsafe, _) if decisive => {
                if self.words_own_refusal() {
                    self.refusing = Some(Reason::RequestUnsafe);
                    // The model refuses behind its own pivot, not behind an empty thought.
                    let g = std::sync::Arc::clone(&self.grammar);
                    let pivot = g.closing(Pivot::Unsafe);
                    self.begin_answer(&[&g.think, &g.opening, pivot, &g.end_think], now_ms);
                } else if self.decide(Verdict::refuse(Reason::RequestUnsafe), now_ms) {
                    self.reason_or_answer(depth, now_ms);
                }
            }
            // A doubtful request buys one step of reasoning.
            (Pivot::Rethink, Depth::None) if self.looks > 0 => {
                self.looks -= 1;
                self.policy.depth = Depth::Brief;
                self.begin_steps();
            }
            (Pivot::Rethink, Depth::None) => {
                if self.decide(Verdict::undecided(Reason::LooksSpent), now_ms) {
                    self.answer_without_steps(now_ms);
                }
            }
            _ => self.reason_or_answer(depth, now_ms),
        }
    }

    fn reason_or_answer(&mut self, depth: Depth, now_ms: u64) {
        match depth {
            Depth::None => self.answer_without_steps(now_ms),
            Depth::Brief | Depth::Full => self.begin_steps(),
        }
    }

    fn answer_without_steps(&mut self, now_ms: u64) {
        let grammar = std::sync::Arc::clone(&self.grammar);
        self.begin_answer(&[&grammar.think, &grammar.end_think], now_ms);
    }

    fn begin_steps(&mut self) {
        self.stage = Stage::Reason;
        let grammar = std::sync::Arc::clone(&self.grammar);
        self.push_run(&grammar.think, Purpose::Sample);
        self.new_draft(Vec::new());
    }

    fn new_draft(&mut self, barred: Vec<Token>) {
        let mut text = std::mem::take(&mut self.step.text);
        text.clear();
        self.step = Draft { text, start: self.main_pos, before: self.last_main, barred, ..Draft::default() };
    }

    /// Ends reasoning: queues `runs` and the answer's first logits, or tells the verdict when only that is wanted.
    fn begin_answer(&mut self, runs: &[&[Token]], now_ms: u64) {
        if self.task == Task::Check {
            return self.complete(now_ms);
        }
        self.stage = Stage::Answer;
        let run: Vec<Token> = runs.concat();
        self.push_run(&run, Purpose::Sample);
    }

    pub(super) fn on_step_logits(&mut self, logits: &[f32], model: &impl Model, now_ms: u64) {
        let Some(token) = self.sample_step(logits, model) else {
            return self.stop(Reason::DecodeFailed, Some("the logits are no numbers".into()), now_ms);
        };
        if self.step.n_tokens == 0 {
            self.step.first = Some(token);
        }
        if token == self.grammar.opening[0] {
            return self.end_step(StepEnd::Opened);
        }
        if model.is_end(token) {
            self.step.closing = true;
            return self.end_step(StepEnd::Newline);
        }
        let before = self.step.text.len();
        model.piece(token, &mut self.step.text);
        if self.step.text.trim_ascii_start().starts_with(b"</") {
            return self.close_reasoning(now_ms);
        }
        let piece = &self.step.text[before..];
        if piece.contains(&b'\n') {
            // Not decoded: a pivot stands before the line's end, and the runtime writes both.
            let keep = before + piece.iter().position(|&b| b == b'\n').unwrap_or(0);
            self.step.text.truncate(keep);
            return self.end_step(StepEnd::Newline);
        }
        self.step.n_tokens += 1;
        if ends_in_mark(&self.step.text) {
            self.step.closing = true;
            self.push_main(token, None);
            self.end_step(StepEnd::Newline);
        } else if self.step.n_tokens >= self.policy.max_step_tokens {
            self.push_main(token, None);
            self.end_step(StepEnd::Budget);
        } else {
            self.push_main(token, Some(Purpose::Sample));
        }
    }

    /// The likeliest next token of the step. A step begins with words: blank tokens before them are passed over, and
    /// first tokens of its earlier versions are barred.
    fn sample_step(&mut self, logits: &[f32], model: &impl Model) -> Option<Token> {
        if self.step.n_tokens > 0 {
            return argmax(logits, &[]);
        }
        let n_earlier = self.step.barred.len();
        let token = loop {
            let token = argmax(logits, &self.step.barred)?;
            let mut piece = Vec::new();
            model.piece(token, &mut piece);
            let blank = piece.contains(&b'\n') && piece.trim_ascii().is_empty();
            if !blank || self.step.barred.len() >= n_earlier + MAX_BLANKS {
                break token;
            }
            self.step.barred.push(token);
        };
        self.step.barred.truncate(n_earlier);
        Some(token)
    }

    /// The model begins the end of reasoning. What it has written of the mark is taken back (nothing, where the
    /// vocabulary begins it with one token): the runtime writes the whole mark in one batch.
    fn close_reasoning(&mut self, now_ms: u64) {
        self.step.text.clear();
        if self.step.n_tokens > 0 {
            self.step.n_tokens = 0;
            self.main_pos = self.step.start;
            self.changes.push(MemoryChange::TrimMain(self.main_pos));
        }
        if self.n_steps == 0 || self.unresolved {
            // No request goes unread and no second look is dropped: a model that wants no step has an empty one
            // judged.
            self.step.closing = true;
            return self.end_step(StepEnd::Newline);
        }
        let grammar = std::sync::Arc::clone(&self.grammar);
        self.begin_answer(&[&grammar.end_think], now_ms);
    }

    /// Opens the pivot behind the step.
    fn end_step(&mut self, end: StepEnd) {
        self.step.end = end;
        let grammar = std::sync::Arc::clone(&self.grammar);
        self.push_run(&grammar.opening, Purpose::ReadStep);
    }

    pub(super) fn on_step_reading(&mut self, logits: &[f32], now_ms: u64) {
        let judged = self.read(logits).and_then(|reading| {
            self.evidence.add_step(reading);
            Ok((reading, self.policy.judge_with(&reading, &self.evidence)?))
        });
        let Ok((reading, pivot)) = judged else {
            return self.unreadable(now_ms);
        };
        let looks_left = self.looks > 0;
        let rolls_back =
            pivot == Pivot::Rethink && looks_left && self.policy.on_rethink == OnRethink::Rollback;
        self.unresolved = pivot == Pivot::Rethink;
        self.tell_step(reading, pivot, rolls_back);
        if rolls_back {
            self.looks -= 1;
            return self.write_again();
        }
        self.n_steps += 1;
        let n_max = self.policy.max_steps;
        let way = match pivot {
            Pivot::Safe => Way::Passed,
            Pivot::Unsafe if self.words_own_refusal() => {
                self.refusing = Some(Reason::StepUnsafe);
                Way::Passed
            }
            Pivot::Unsafe => self.go_on(Verdict::refuse(Reason::StepUnsafe), now_ms),
            // A look needs a step to look with.
            Pivot::Rethink if looks_left && self.n_steps < n_max => {
                self.looks -= 1;
                Way::Again
            }
            Pivot::Rethink => self.go_on(Verdict::undecided(Reason::LooksSpent), now_ms),
        };
        let grammar = std::sync::Arc::clone(&self.grammar);
        let closing = grammar.closing(pivot);
        let last = self.step.closing
            || self.n_steps >= n_max
            || self.depth() == Depth::Brief
            || self.refusing.is_some();
        match way {
            Way::Ended => {}
            Way::Passed if last => self.begin_answer(&[closing, &grammar.end_think], now_ms),
            Way::Passed | Way::Again => {
                self.push_run(closing, Purpose::Sample);
                self.new_draft(Vec::new());
            }
        }
    }

    fn go_on(&mut self, verdict: Verdict, now_ms: u64) -> Way {
        if self.decide(verdict, now_ms) { Way::Passed } else { Way::Ended }
    }

    /// Takes the step back and asks for another beginning.
    fn write_again(&mut self) {
        let mut barred = std::mem::take(&mut self.step.barred);
        barred.extend(self.step.first);
        let (start, before) = (self.step.start, self.step.before);
        // The token before the step is decoded once more: its logits gave the first token.
        self.main_pos = start - 1;
        self.changes.push(MemoryChange::TrimMain(self.main_pos));
        self.push_main(before, Some(Purpose::Sample));
        self.new_draft(barred);
    }

    fn tell_step(&mut self, reading: Reading, pivot: Pivot, rolled_back: bool) {
        let step = Step {
            index: u16::try_from(self.trace.steps.len() + 1).unwrap_or(u16::MAX),
            text: String::from_utf8_lossy(&self.step.text).trim().to_owned(),
            reading,
            pivot,
            n_tokens: self.step.n_tokens,
            end: self.step.end,
            rolled_back,
        };
        self.trace.steps.push(step.clone());
        self.events.push_back(Event::Step(step));
    }

    pub(super) fn unreadable(&mut self, now_ms: u64) {
        let Unreadable = Unreadable;
        self.stop(Reason::Unreadable, None, now_ms);
    }
}

/// Whether the model has just written the end of reasoning into the middle of a step.
fn ends_in_mark(text: &[u8]) -> bool {
    let tail = &text[text.len().saturating_sub(24)..];
    tail.windows(8).any(|w| w == b"</think>")
}
