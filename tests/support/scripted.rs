//! A request run on the scripted model, without threads or clocks.

use r2d_core::policy::Policy;
use r2d_core::request::Task;
use r2d_core::untrusted::Untrusted;
use r2d_core::verdict::Reason;
use r2d_engine::generation::{Guard, Setup};
use r2d_engine::grammar::{Grammar, PivotStrings};
use r2d_engine::model::{Model, Trust};
use r2d_engine::prompt::ChatTemplate;
use r2d_engine::scripted::Scripted;
use r2d_engine::{Event, Outcome, Scheduler};
use std::cell::Cell;
use std::sync::Arc;

/// Chat format of the scripted model.
pub fn template() -> ChatTemplate {
    ChatTemplate {
        system: "<|system|>{text}<|end|>".into(),
        user: "<|user|>{text}<|end|>".into(),
        assistant: "<|assistant|>".into(),
    }
}

/// What a run is to do.
pub struct Run<'a> {
    pub script: &'a str,
    pub policy: Policy,
    pub task: Task,
    pub guard: Guard,
    pub prompt: &'a str,
    /// An answer to judge instead of the model's own.
    pub given: Option<&'a str>,
    /// Milliseconds that each decode takes.
    pub decode_ms: u64,
    /// Cancel when the clock has reached this.
    pub cancel_at: Option<u64>,
}

impl<'a> Run<'a> {
    pub fn new(script: &'a str) -> Self {
        Self {
            script,
            policy: Policy { segment_min_tokens: 4, ..Policy::default() },
            task: Task::Ask,
            guard: Guard::On,
            prompt: "a question",
            given: None,
            decode_ms: 1,
            cancel_at: None,
        }
    }

    /// All events in order, the last one a verdict.
    pub fn events(&self) -> Vec<Event> {
        let model = Scripted::parse(self.script, 1).unwrap();
        let grammar = Arc::new(Grammar::look_up(&model, &PivotStrings::default()).unwrap());
        let prompt = template().prompt(&model, "", &Untrusted::new(self.prompt)).unwrap();
        let given = self.given.map(|answer| {
            let mut tokens = Vec::new();
            model.tokenize(answer, Trust::Outside, &mut tokens);
            tokens
        });
        let mut scheduler = Scheduler::new(model);
        let setup = Setup {
            policy: self.policy,
            guard: self.guard,
            task: self.task,
            prompt,
            given,
            refusal: "No.".into(),
            grammar,
        };
        let clock = Cell::new(0);
        let mut events = Vec::new();
        scheduler.admit(7, setup, 0).unwrap();
        for _ in 0..100_000 {
            if scheduler.is_idle() {
                return events;
            }
            if self.cancel_at.is_some_and(|at| clock.get() >= at) {
                scheduler.stop(7, Reason::Cancelled, clock.get());
            }
            let step = self.decode_ms;
            scheduler.tick(
                || {
                    clock.set(clock.get() + step);
                    clock.get()
                },
                |key, event| {
                    assert_eq!(key, 7);
                    events.push(event);
                },
            );
        }
        panic!("the generation does not end");
    }

    /// How it ended.
    pub fn outcome(&self) -> Outcome {
        match self.events().pop() {
            Some(Event::Verdict(outcome)) => outcome,
            other => panic!("the last event is {other:?}"),
        }
    }
}
