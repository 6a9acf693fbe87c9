//! `ask` and `check`: one request from the command line, on a model loaded for it.
//!
//! The same worker and machine as the service, so what is seen here is what serves. Nothing is recorded: the audit
//! log belongs to the service.

use crate::exit::Exit;
use crate::output::{self, Story};
use crate::weights::{self, Loading};
use crate::worker::{Job, Told, Worker};
use anyhow::Context;
use r2d_core::id::Id;
use r2d_core::request::{Request, Task};
use r2d_core::untrusted::Untrusted;
use r2d_core::verdict::Verdict;
use r2d_engine::{Event, Guard};
use std::io::Read;
use std::sync::mpsc::sync_channel;

/// What was asked on the command line.
#[derive(Debug)]
pub(crate) struct Question {
    /// The words; `-` reads stdin.
    pub(crate) prompt: String,
    /// An answer or only a verdict.
    pub(crate) task: Task,
    /// Whether pivots are read.
    pub(crate) guard: Guard,
    /// Events as JSON lines.
    pub(crate) json: bool,
}

/// Asks and tells what happens.
pub(crate) fn run(loading: &Loading<'_>, question: Question) -> anyhow::Result<Exit> {
    let config = loading.config;
    let max = config.service.max_prompt_bytes as usize;
    let prompt = read_prompt(&question.prompt, max)?;
    let weights = weights::open(loading)?;
    if !question.json {
        output::note(format!("loading {}", weights.title()));
    }
    weights.tell_if_untaught(config);
    let (events, inbox) = sync_channel(64);
    // The receiver lives until the verdict: a failed send means that this command is over.
    let (worker, _) = Worker::start(weights.options(config, false), move |told| {
        if let Told::Job(_, event, _) = told {
            let _sent = events.send(event);
        }
    })?;
    let job = Job {
        key: 0,
        request: Request {
            id: Id::parse("cli").context("the id of a command-line request")?,
            task: question.task,
            prompt: Untrusted::new(prompt),
            lang: None,
            deadline_ms: None,
            station: None,
        },
        guard: question.guard,
        policy: config.policy.rules(),
        refusal: config.refusal_sentence(&config.device.lang).to_owned(),
    };
    worker.submit(job)?;
    let verdict = tell(&inbox, question.json)?;
    Ok(if verdict.is_allow() { Exit::Done } else { Exit::Refused })
}

fn tell(inbox: &std::sync::mpsc::Receiver<Event>, json: bool) -> anyhow::Result<Verdict> {
    let mut story = Story::default();
    for event in inbox {
        if json {
            output::json(&event);
        } else {
            story.tell(&event);
        }
        if let Event::Verdict(outcome) = event {
            return Ok(outcome.verdict);
        }
    }
    anyhow::bail!("the model's thread died before the verdict")
}

fn read_prompt(given: &str, max: usize) -> anyhow::Result<String> {
    let mut text = String::new();
    if given == "-" {
        // One byte more than allowed tells too long from just fitting.
        std::io::stdin()
            .take(max as u64 + 1)
            .read_to_string(&mut text)
            .context("cannot read stdin as UTF-8")?;
    } else {
        text.push_str(given);
    }
    if text.len() > max {
        let hint = "hint: shorten it, or raise service.max_prompt_bytes";
        return Err(crate::exit::UsageError(format!("the prompt is longer than {max} bytes; {hint}")).into());
    }
    if text.trim().is_empty() {
        return Err(crate::exit::UsageError("the prompt is empty".to_owned()).into());
    }
    Ok(text)
}
