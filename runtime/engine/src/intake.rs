//! The way of a request into the scheduler, the same for the service, the command line and a measurement.
//!
//! Not a queue and not a judge: a request that cannot start ends at once, with the verdict that says why. Invariant:
//! the asker's words, and an answer from outside, are tokenised as outside text.

use crate::event::Outcome;
use crate::generation::{Guard, Setup};
use crate::grammar::Grammar;
use crate::model::{Model, Trust};
use crate::prompt::ChatTemplate;
use crate::scheduler::{AdmitError, Scheduler};
use r2d_core::policy::Policy;
use r2d_core::record::Cost;
use r2d_core::request::Task;
use r2d_core::trace::Trace;
use r2d_core::untrusted::Untrusted;
use r2d_core::verdict::{Reason, Verdict};
use std::sync::Arc;

/// What all requests to one model have in common.
#[derive(Clone, Debug)]
pub struct Intake {
    /// The model's chat format.
    pub template: ChatTemplate,
    /// The runtime's own marks in its vocabulary.
    pub grammar: Arc<Grammar>,
    /// What the model is told before each request.
    pub system: String,
}

/// One request, as far as generating it goes.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The asker's words.
    pub prompt: Untrusted,
    /// What is wanted.
    pub task: Task,
    /// An answer that stands already and is only to be judged; none lets the model answer.
    pub given: Option<Untrusted>,
    /// Whether pivots are read.
    pub guard: Guard,
    /// Thresholds and budgets.
    pub policy: Policy,
    /// The site's refusal in the asker's language.
    pub refusal: String,
}

impl Intake {
    /// Starts `ask` on a free slot of `scheduler`; its events will carry `key`. `now_ms` is when its deadline began.
    ///
    /// # Errors
    /// The outcome of a request that could not start: malformed, too long for the context, or no slot was free.
    pub fn begin<M: Model>(
        &self,
        scheduler: &mut Scheduler<M>,
        key: u64,
        ask: Ask,
        now_ms: u64,
    ) -> Result<(), Box<Outcome>> {
        let Ask { prompt, task, given, guard, policy, refusal } = ask;
        let model = scheduler.model();
        let prompt = self
            .template
            .prompt(model, &self.system, &prompt)
            .map_err(|e| Box::new(unstarted(Reason::Malformed, Some(e.to_string()))))?;
        let given = given.map(|answer| {
            let mut tokens = Vec::new();
            model.tokenize(&answer.neutral(), Trust::Outside, &mut tokens);
            tokens
        });
        let grammar = Arc::clone(&self.grammar);
        let setup = Setup { policy, guard, task, prompt, given, refusal, grammar };
        scheduler.admit(key, setup, now_ms).map_err(|error| {
            let reason = match error {
                AdmitError::TooLong(_) => Reason::PromptTooLong,
                AdmitError::Full(_) => Reason::Busy,
            };
            Box::new(unstarted(reason, Some(error.to_string())))
        })
    }
}

/// The outcome of a request that never reached the model.
#[must_use]
pub fn unstarted(reason: Reason, detail: Option<String>) -> Outcome {
    Outcome {
        verdict: Verdict::undecided(reason),
        detail,
        answer: String::new(),
        truncated: false,
        cost: Cost::default(),
        trace: Trace::default(),
    }
}
