//! One request's generation as a state machine: tokens to decode out, logits in, events out.
//!
//! It knows no model, no clock and no I/O: the scheduler decodes what [`Generation::feed`] hands out, gives the
//! logits to [`Generation::take`] and the time to every call. What may leave is decided here and only here; the
//! judging itself is [`r2d_core::policy`]. The answer's half of the machine is in `answer`, the reasoning's in
//! `reason`.
//!
//! Invariants: while a generation is not done, its queue holds a token whose logits are awaited; the pivots in the
//! context are those that this machine wrote behind readings it judged; [`Verdict::allow`] is made in one place.

mod answer;
mod reason;

use crate::event::{Event, Outcome};
use crate::grammar::Grammar;
use crate::model::{BatchToken, Model, Seq, Seqs, Token, log_total};
use r2d_core::pivot::{Reading, Unreadable};
use r2d_core::policy::{Depth, Evidence, Mode, Policy, RefusalKind};
use r2d_core::record::Cost;
use r2d_core::request::Task;
use r2d_core::trace::{Segment, Trace};
use r2d_core::verdict::{Decision, Reason, Verdict};
use std::collections::VecDeque;
use std::sync::Arc;
use thiserror::Error;

/// Whether pivots are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Guard {
    /// They are.
    #[default]
    On,
    /// The model answers straight away and nothing is judged: for comparison only, the verdict stays undecided.
    Off,
}

/// What a generation starts from.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Thresholds and budgets.
    pub policy: Policy,
    /// Whether pivots are read.
    pub guard: Guard,
    /// What is wanted.
    pub task: Task,
    /// The prompt, chat template included.
    pub prompt: Vec<Token>,
    /// An answer that stands already and is only to be judged, segment by segment as if the model had written it; none
    /// lets the model answer.
    pub given: Option<Vec<Token>>,
    /// The site's refusal in the asker's language.
    pub refusal: String,
    /// The runtime's own marks in this vocabulary.
    pub grammar: Arc<Grammar>,
}

/// The prompt leaves no room to generate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "the prompt has {n_prompt} tokens and the context {n_ctx}, of which {reserve} are kept for the answer; \
     hint: shorten the prompt or raise model.n_ctx"
)]
pub struct PromptTooLong {
    /// Tokens of the prompt.
    pub n_prompt: usize,
    /// Tokens that the context holds.
    pub n_ctx: u32,
    /// Tokens kept free.
    pub reserve: u32,
}

/// Tokens kept free for reasoning and answer when a prompt is accepted.
pub const RESERVE: u32 = 64;

/// What the logits behind a token are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The next token of the step or the answer.
    Sample,
    /// The pivot on the bare request.
    ReadRequest,
    /// The pivot of a step.
    ReadStep,
    /// The pivot of an answer segment, on the probe.
    ReadSegment,
    /// The model opened a bracket in its answer: the final pivot, or plain text.
    OpenOrText,
}

/// A change of the model's memory that must come before the next batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryChange {
    /// The probe takes on the main sequence's past.
    Fork,
    /// The probe forgets everything.
    DropProbe,
    /// The main sequence forgets from this position on.
    TrimMain(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Request,
    Reason,
    Answer,
    Done,
}

/// A request being generated.
#[derive(Debug)]
pub struct Generation {
    policy: Policy,
    guard: Guard,
    task: Task,
    refusal: String,
    grammar: Arc<Grammar>,
    main: Seq,
    probe: Seq,
    n_ctx: u32,
    n_prompt: u32,
    started: u64,
    deadline: u64,

    stage: Stage,
    queue: VecDeque<(BatchToken, Option<Purpose>)>,
    changes: Vec<MemoryChange>,
    events: VecDeque<Event>,
    main_pos: u32,
    probe_pos: u32,
    last_main: Token,

    evidence: Evidence,
    looks: u8,
    /// The first verdict of a shadow run; it no longer changes.
    latched: Option<Verdict>,
    /// The model is writing its own refusal, for this reason.
    refusing: Option<Reason>,
    /// That refusal came to its end and passed.
    refusal_passed: bool,
    /// The last step read RETHINK.
    unresolved: bool,
    step: reason::Draft,
    n_steps: u16,
    answer: answer::Draft,
    trace: Trace,
    first_text: Option<u64>,
}

impl Generation {
    /// Sets a request up on two sequences, which must be empty, with `n_ctx` tokens of context for itself.
    ///
    /// # Errors
    /// [`PromptTooLong`] before anything is decoded.
    pub fn new(setup: Setup, main: Seq, probe: Seq, n_ctx: u32, now_ms: u64) -> Result<Self, PromptTooLong> {
        let n_prompt = setup.prompt.len();
        let fits = u32::try_from(n_prompt).is_ok_and(|n| n > 0 && n.saturating_add(RESERVE) <= n_ctx);
        let (Some(&last), true) = (setup.prompt.last(), fits) else {
            return Err(PromptTooLong { n_prompt, n_ctx, reserve: RESERVE });
        };
        let mut this = Self {
            deadline: now_ms.saturating_add(u64::from(setup.policy.deadline_ms)),
            looks: setup.policy.second_looks,
            policy: setup.policy,
            guard: setup.guard,
            task: setup.task,
            refusal: setup.refusal,
            grammar: setup.grammar,
            main,
            probe,
            n_ctx,
            n_prompt: 0,
            started: now_ms,
            stage: Stage::Request,
            queue: VecDeque::with_capacity(n_prompt + 8),
            changes: Vec::new(),
            events: VecDeque::new(),
            main_pos: 0,
            probe_pos: 0,
            last_main: last,
            evidence: Evidence::default(),
            latched: None,
            refusing: None,
            refusal_passed: false,
            unresolved: false,
            step: reason::Draft::default(),
            n_steps: 0,
            answer: answer::Draft::new(setup.given),
            trace: Trace::default(),
            first_text: None,
        };
        match this.guard {
            Guard::On => {
                // The probe shares the prompt from its first token on, so that reading the bare request costs one
                // token more and no copy.
                for &token in &setup.prompt {
                    this.push_both(token, None);
                }
                this.push_probe_opening(Purpose::ReadRequest);
            }
            Guard::Off => {
                this.stage = Stage::Answer;
                this.push_run(&setup.prompt, Purpose::Sample);
            }
        }
        this.n_prompt = this.main_pos;
        Ok(this)
    }

    /// Whether the verdict has been told.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }

    /// The main sequence and the probe.
    #[must_use]
    pub fn seqs(&self) -> (Seq, Seq) {
        (self.main, self.probe)
    }

    /// Ends the request when its deadline has passed.
    pub fn expire(&mut self, now_ms: u64) {
        if now_ms >= self.deadline {
            self.stop(Reason::Deadline, None, now_ms);
        }
    }

    /// Ends the request from outside: cancelled, shutting down, a failed decode.
    pub fn stop(&mut self, reason: Reason, detail: Option<String>, now_ms: u64) {
        if !self.is_done() {
            let verdict = self.latched.unwrap_or(Verdict::undecided(reason));
            self.finish(verdict, detail, now_ms);
        }
    }

    /// The changes of memory that must be made, in order, before the next [`Generation::feed`].
    pub fn take_changes(&mut self) -> std::vec::Drain<'_, MemoryChange> {
        self.changes.drain(..)
    }

    /// Moves up to `room` waiting tokens to `batch`, and notes in `purposes` where logits are awaited (index in the
    /// batch, purpose).
    pub fn feed(&mut self, room: usize, batch: &mut Vec<BatchToken>, mut wanted: impl FnMut(usize, Purpose)) {
        for (token, purpose) in self.queue.drain(..room.min(self.queue.len())) {
            if let Some(purpose) = purpose {
                wanted(batch.len(), purpose);
            }
            batch.push(token);
        }
    }

    /// Takes the logits that were awaited for `purpose`.
    ///
    /// What comes behind the deadline counts no more.
    pub fn take(&mut self, purpose: Purpose, logits: &[f32], model: &impl Model, now_ms: u64) {
        self.expire(now_ms);
        if self.is_done() {
            return;
        }
        match (purpose, self.stage) {
            (Purpose::ReadRequest, _) => self.on_request(logits, now_ms),
            (Purpose::ReadStep, _) => self.on_step_reading(logits, now_ms),
            (Purpose::ReadSegment, _) => self.on_segment_reading(logits, model, now_ms),
            (Purpose::OpenOrText, _) => self.on_answer_opening(logits, model, now_ms),
            (Purpose::Sample, Stage::Reason) => self.on_step_logits(logits, model, now_ms),
            (Purpose::Sample, _) => self.on_answer_logits(logits, model, now_ms),
        }
        // What was queued must fit; a probe's tokens are dropped again and count while they stand.
        let needed = self.main_pos.max(self.probe_pos);
        if !self.is_done() && needed > self.n_ctx {
            self.stop(Reason::ContextFull, None, now_ms);
        }
    }

    /// The next event, oldest first.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    // ---- decisions ----

    /// A verdict that ends the request, unless this is a shadow run: that keeps the first one and goes on.
    /// Returns whether to go on.
    fn decide(&mut self, verdict: Verdict, now_ms: u64) -> bool {
        match self.policy.mode {
            Mode::Shadow => {
                self.latched.get_or_insert(verdict);
                true
            }
            Mode::Enforce => {
                self.finish(verdict, None, now_ms);
                false
            }
        }
    }

    /// Whether the model is to word the refusal itself.
    fn words_own_refusal(&self) -> bool {
        self.policy.refusal == RefusalKind::Model
            && self.policy.mode == Mode::Enforce
            && self.task == Task::Ask
    }

    /// The answer came to its end and every segment of it passed.
    fn complete(&mut self, now_ms: u64) {
        self.refusal_passed = self.refusing.is_some() && self.trace.segments.iter().any(|s| s.released);
        let verdict = match (self.latched, self.guard) {
            (Some(latched), _) => latched,
            (None, Guard::Off) => Verdict::undecided(Reason::Unguarded),
            (None, Guard::On) => Verdict::allow(),
        };
        self.finish(verdict, None, now_ms);
    }

    fn finish(&mut self, verdict: Verdict, detail: Option<String>, now_ms: u64) {
        // A refusal that was being worded is a refusal, whatever became of its wording.
        let verdict = self.refusing.map_or(verdict, Verdict::refuse);
        if verdict.decision == Decision::Refuse
            && self.task == Task::Ask
            && self.policy.mode == Mode::Enforce
            && !self.refusal_passed
        {
            let begun = self.trace.segments.iter().any(|s| s.released);
            let text = if begun { "\n\n" } else { "" }.to_owned() + &self.refusal;
            self.tell_segment(text, None, None, true, now_ms);
        }
        self.stage = Stage::Done;
        self.queue.clear();
        self.changes.clear();
        let trace = std::mem::take(&mut self.trace);
        self.events.push_back(Event::Verdict(Outcome {
            verdict,
            detail,
            answer: trace.released(),
            truncated: trace.truncated,
            cost: Cost {
                n_prompt_tokens: self.n_prompt,
                n_tokens: self.main_pos.saturating_sub(self.n_prompt),
                first_text_ms: self.first_text.map(|t| t.saturating_sub(self.started)),
                verdict_ms: now_ms.saturating_sub(self.started),
            },
            trace,
        }));
    }

    fn tell_segment(
        &mut self,
        text: String,
        reading: Option<Reading>,
        pivot: Option<r2d_core::pivot::Pivot>,
        released: bool,
        now_ms: u64,
    ) {
        if released {
            self.first_text.get_or_insert(now_ms);
        }
        let index = u16::try_from(self.trace.segments.len() + 1).unwrap_or(u16::MAX);
        let segment = Segment { index, text, reading, pivot, released };
        self.trace.segments.push(segment.clone());
        self.events.push_back(Event::Segment(segment));
    }

    // ---- tokens ----

    fn push_main(&mut self, token: Token, purpose: Option<Purpose>) {
        self.push(token, self.main_pos, Seqs::One(self.main), purpose);
        self.main_pos += 1;
        self.last_main = token;
    }

    fn push_both(&mut self, token: Token, purpose: Option<Purpose>) {
        self.push(token, self.main_pos, Seqs::Two(self.main, self.probe), purpose);
        self.main_pos += 1;
        self.probe_pos = self.main_pos;
        self.last_main = token;
    }

    fn push(&mut self, token: Token, pos: u32, seqs: Seqs, purpose: Option<Purpose>) {
        self.queue.push_back((BatchToken { token, pos, seqs, logits: purpose.is_some() }, purpose));
    }

    /// Queues `tokens` on the main sequence; the logits behind the last one are for `purpose`.
    fn push_run(&mut self, tokens: &[Token], purpose: Purpose) {
        for (i, &token) in tokens.iter().enumerate() {
            self.push_main(token, (i + 1 == tokens.len()).then_some(purpose));
        }
    }

    /// Queues a pivot's opening on the probe.
    fn push_probe_opening(&mut self, purpose: Purpose) {
        let grammar = Arc::clone(&self.grammar);
        for (i, &token) in grammar.opening.iter().enumerate() {
            let purpose = (i + 1 == grammar.opening.len()).then_some(purpose);
            self.push(token, self.probe_pos, Seqs::One(self.probe), purpose);
            self.probe_pos += 1;
        }
    }

    fn read(&self, logits: &[f32]) -> Result<Reading, Unreadable> {
        let at = |token: Token| {
            usize::try_from(token.0).ok().and_then(|i| logits.get(i)).copied().unwrap_or(f32::NAN)
        };
        Reading::from_logits(self.grammar.first.map(at), log_total(logits))
    }

    /// How deep this request reasons, for the stages.
    fn depth(&self) -> Depth {
        self.policy.depth
    }
}
