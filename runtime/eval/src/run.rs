//! Asks the items of a run one after another on the engine's own machine, the one that serves requests.
//!
//! Not a judge of what it sees, and not a clock: times are taken beside the results, and a generation's deadline never
//! comes, because a verdict that depends on how busy the machine was could not be repeated. Invariant: the same
//! header gives the same rows in the same order.

use crate::choice;
use crate::item::{Expected, Item, Kind};
use crate::journal::{Journal, JournalError};
use crate::row::{Found, Judged, Row, RowKey, Timing};
use r2d_core::policy::Policy;
use r2d_core::record::Weights;
use r2d_core::request::Task;
use r2d_core::untrusted::Untrusted;
use r2d_engine::intake::{Ask, Intake};
use r2d_engine::model::Model;
use r2d_engine::{Event, Guard, Outcome, Scheduler};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};
use thiserror::Error;

/// The schema name that a header carries.
pub const RUN_SCHEMA: &str = "r2d.eval.run/1";

/// All that decides what a run's rows will be: its identity. Threads are not in it: they change times, not rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// Always [`RUN_SCHEMA`].
    pub schema: String,
    /// Version of the program.
    pub version: String,
    /// Which weights are measured.
    pub weights: Weights,
    /// Under which policy.
    pub policy: Policy,
    /// Whether answers are generated or only verdicts.
    pub task: Task,
    /// Whether pivots are read; false is the model by itself, for comparison.
    pub guarded: bool,
    /// What the model is told before each request.
    pub system: String,
    /// What a refused asker is told.
    pub refusal: String,
    /// Which items of a suite are taken, and how they are wrapped.
    pub seed: u64,
    /// Most items of a suite; none takes all.
    pub limit: Option<usize>,
    /// Requests side by side. More than one may change the last digits of readings.
    pub n_slots: u32,
    /// What else decides what the model does: context, format of the key-value memory, chat format, pivots; as JSON.
    #[serde(default)]
    pub setting: String,
    /// The suites, in the order in which they are run.
    pub suites: Vec<SuiteInfo>,
    /// The wrappers that each suite of requests is put through besides its plain form.
    pub wrappers: Vec<String>,
}

/// What a report says of a suite.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SuiteInfo {
    /// Its name.
    pub name: String,
    /// Its title for people.
    pub title: String,
    /// What it measures.
    pub kind: Kind,
    /// SHA-256 over its manifest and its data, hexadecimal.
    pub sha256: String,
    /// Where it comes from.
    pub origin: String,
    /// Under which licence.
    pub licence: String,
    /// Items taken, each once for the plain form and once per wrapper.
    pub n_items: usize,
    /// Items that it has.
    pub n_available: usize,
}

/// One item of a run.
#[derive(Clone, Debug)]
pub struct Planned {
    /// Its suite's name.
    pub suite: String,
    /// What is asked.
    pub item: Item,
    /// Whether an answer is wanted or only a verdict.
    pub task: Task,
    /// An answer that stands already and is only judged; none lets the model answer.
    pub given: Option<String>,
}

impl Planned {
    fn key(&self) -> RowKey {
        let Item { id, wrapper, .. } = &self.item;
        RowKey { suite: self.suite.clone(), id: id.clone(), wrapper: wrapper.clone() }
    }
}

/// How far a run is.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// Rows that stand, those of an earlier part of the run included.
    pub n_done: usize,
    /// Rows that there will be.
    pub n_total: usize,
    /// The row just written; none at the beginning.
    pub row: Option<&'a Row>,
}

/// Whether a run goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It does.
    Go,
    /// It stops here; what stands can be gone on from.
    Stop,
}

/// Why a run ended early.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunError {
    /// The results cannot be written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// An item's choices cannot be scored.
    #[error("{suite}, item {id}")]
    Score {
        /// The suite.
        suite: String,
        /// The item.
        id: String,
        /// Why.
        source: choice::ScoreError,
    },
}

/// Asks every item of `planned` that `journal` lacks, in their order, and writes the rows in that order.
///
/// Returns whether all are there; `on_progress` may end the run before.
///
/// # Errors
/// [`RunError`]. A request that cannot be judged is no error but a row that says so.
pub fn run<M: Model>(
    model: M,
    intake: &Intake,
    header: &Header,
    planned: VecDeque<Planned>,
    journal: &mut Journal,
    on_progress: impl FnMut(Progress<'_>) -> Next,
) -> Result<bool, RunError> {
    let n_total = planned.len();
    let mut waiting = planned;
    waiting.retain(|p| !journal.is_done(&p.key()));
    let mut desk = Desk {
        scheduler: Scheduler::new(model),
        intake,
        header,
        journal,
        n_total,
        on_progress,
        running: BTreeMap::new(),
        ready: BTreeMap::new(),
        n_begun: 0,
        n_written: 0,
        next: Next::Go,
    };
    desk.next = (desk.on_progress)(Progress { n_done: desk.journal.n_done(), n_total, row: None });
    while desk.next == Next::Go && (!waiting.is_empty() || !desk.running.is_empty()) {
        while desk.takes_more()
            && let Some(planned) = desk.next_of(&mut waiting)
        {
            desk.begin(planned)?;
        }
        desk.tick();
        desk.write()?;
    }
    Ok(desk.next == Next::Go)
}

/// An item that is being judged.
struct Running {
    planned: Planned,
    began: Instant,
    first_text: Option<Duration>,
}

/// The run at work. Items are numbered in the order in which they begin, and written in that order.
struct Desk<'a, M, F> {
    scheduler: Scheduler<M>,
    intake: &'a Intake,
    header: &'a Header,
    journal: &'a mut Journal,
    n_total: usize,
    on_progress: F,
    running: BTreeMap<u64, Running>,
    ready: BTreeMap<u64, (Row, Timing)>,
    n_begun: u64,
    n_written: u64,
    next: Next,
}

/// Rows that may wait in memory for a slower one before them, for each slot.
const MAX_AHEAD: u64 = 8;

impl<M: Model, F: FnMut(Progress<'_>) -> Next> Desk<'_, M, F> {
    /// Whether another request may begin.
    fn takes_more(&self) -> bool {
        let ahead = self.n_begun - self.n_written;
        self.scheduler.has_room() && ahead < MAX_AHEAD * u64::from(self.header.n_slots.max(1))
    }

    /// The next item, unless it is a choice and requests still run: choices are scored on an empty memory.
    fn next_of(&self, waiting: &mut VecDeque<Planned>) -> Option<Planned> {
        let scored = matches!(waiting.front()?.item.expected, Some(Expected::Choice { .. }));
        if scored && !self.running.is_empty() { None } else { waiting.pop_front() }
    }

    fn begin(&mut self, planned: Planned) -> Result<(), RunError> {
        let number = self.n_begun;
        self.n_begun += 1;
        let began = Instant::now();
        if let Some(Expected::Choice { choices, .. }) = &planned.item.expected {
            let model = self.scheduler.model_mut();
            let scores = choice::score(model, &planned.item.prompt, choices).map_err(|source| {
                RunError::Score { suite: planned.suite.clone(), id: planned.item.id.clone(), source }
            })?;
            self.finish(number, Running { planned, began, first_text: None }, Found::Scored { scores });
            return Ok(());
        }
        let ask = Ask {
            prompt: Untrusted::new(planned.item.prompt.as_str()),
            task: planned.task,
            given: planned.given.as_deref().map(Untrusted::new),
            guard: if self.header.guarded { Guard::On } else { Guard::Off },
            policy: self.header.policy,
            refusal: self.header.refusal.clone(),
        };
        let running = Running { planned, began, first_text: None };
        match self.intake.begin(&mut self.scheduler, number, ask, 0) {
            Ok(()) => {
                self.running.insert(number, running);
            }
            Err(outcome) => self.finish(number, running, Found::Judged(judged(*outcome))),
        }
        Ok(())
    }

    fn tick(&mut self) {
        let mut ended = Vec::new();
        let running = &mut self.running;
        // A clock that stands still: no deadline comes, however slow the machine.
        self.scheduler.tick(
            || 0,
            |number, event| match event {
                Event::Verdict(outcome) => ended.push((number, outcome)),
                Event::Segment(segment) if segment.released => {
                    if let Some(running) = running.get_mut(&number) {
                        running.first_text.get_or_insert(running.began.elapsed());
                    }
                }
                _ => {}
            },
        );
        for (number, outcome) in ended {
            if let Some(running) = self.running.remove(&number) {
                self.finish(number, running, Found::Judged(judged(outcome)));
            }
        }
    }

    fn finish(&mut self, number: u64, running: Running, found: Found) {
        let Running { planned, began, first_text } = running;
        let ms = |d: Duration| d.as_secs_f64() * 1e3;
        let row = Row::new(&planned.suite, planned.item, found);
        let RowKey { suite, id, wrapper } = row.key();
        let timing =
            Timing { suite, id, wrapper, ms: ms(began.elapsed()), first_text_ms: first_text.map(ms) };
        self.ready.insert(number, (row, timing));
    }

    /// Writes the rows whose turn it is.
    fn write(&mut self) -> Result<(), JournalError> {
        while let Some((row, timing)) = self.ready.remove(&self.n_written) {
            self.journal.write(&row, &timing)?;
            self.n_written += 1;
            let progress = Progress { n_done: self.journal.n_done(), n_total: self.n_total, row: Some(&row) };
            if (self.on_progress)(progress) == Next::Stop {
                self.next = Next::Stop;
            }
        }
        Ok(())
    }
}

fn judged(outcome: Outcome) -> Judged {
    let Outcome { verdict, detail, answer, truncated, cost, trace } = outcome;
    Judged {
        verdict,
        detail,
        answer,
        truncated,
        n_prompt_tokens: cost.n_prompt_tokens,
        n_tokens: cost.n_tokens,
        trace,
    }
}

#[cfg(test)]
#[path = "run_test.rs"]
mod tests;
