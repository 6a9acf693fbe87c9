//! `distill teach`: has a teacher write trajectories for prompts, in a file that can be taken up again.
//!
//! Words and files only: what is asked, read and dropped is in `r2d_distill::teacher`. The teacher is a local model or
//! a named service; prompts leave the machine for the latter alone.

mod local;
mod remote;

use crate::cli::ModelChoice;
use crate::eval_command::Configured;
use crate::exit::{Exit, UsageError};
use crate::output;
use crate::source::Source;
use crate::weights::{self, Loading};
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use r2d_core::record::Weights;
use r2d_distill::teacher::{
    self, CONTEXT, Header, Journal, JournalError, MAX_TRIES, Prompts, Settings, TEACH_SCHEMA, Tally, Teacher,
};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub(crate) struct TeachArgs {
    /// Prompts: one a line as text, or as JSON with prompt and, where known, id, label, category
    #[arg(long, value_name = "FILE")]
    prompts: PathBuf,
    /// File of the trajectories; the run's journal stands beside it
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    model: ModelChoice,
    /// Base address of an OpenAI-compatible service that teaches in place of a local model
    #[arg(long, value_name = "URL", requires = "endpoint_model")]
    endpoint: Option<String>,
    /// Model to ask for there
    #[arg(long, value_name = "NAME", requires = "endpoint")]
    endpoint_model: Option<String>,
    /// Environment variable that holds the service's key
    #[arg(long, value_name = "VAR", requires = "endpoint")]
    key_env: Option<String>,
    /// Longest wait for one reply of the service
    #[arg(long, value_name = "S", default_value_t = 120)]
    timeout_s: u32,
    /// Most tries of a prompt whose reply cannot be used
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_TRIES)))]
    tries: u32,
    /// Do not ask for each step's pivot a second time
    #[arg(long)]
    no_second_pass: bool,
    /// Ask at most N prompts this time; the same command goes on
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Print the counts as JSON
    #[arg(long)]
    json: bool,
}

/// Asks the teacher about every prompt that has not ended, and tells what came of all of them.
pub(crate) fn run(args: &TeachArgs, home: &Path, config: Configured<'_>) -> anyhow::Result<Exit> {
    let prompts = Prompts::read(&args.prompts).map_err(usage)?;
    let asking = Asking { args, prompts: &prompts };
    let tally = match (&args.endpoint, &args.endpoint_model) {
        (Some(url), Some(model)) => {
            if args.model.names_a_model() {
                return Err(usage("--model and --endpoint name two teachers; hint: give one of them").into());
            }
            let mut teacher = remote::Remote::new(url, model, args.key_env.as_deref(), args.timeout_s)?;
            let mut journal = asking.journal(format!("{model} at {url}"))?;
            asking.ask(&mut teacher, &mut journal)?
        }
        _ => {
            let config = config(&args.model)?;
            let weights = weights::open(&Loading { config: &config, home })?;
            let Weights { model, model_sha256, adapter_sha256 } = weights.named();
            let adapter = adapter_sha256.map_or_else(String::new, |a| format!(" with adapter {a}"));
            let mut journal = asking.journal(format!("{model} {model_sha256}{adapter}"))?;
            let is_script = matches!(weights.source, Source::Scripted { .. });
            let wait = local::Waiting { asking: &asking, journal: &mut journal, needs_system: !is_script };
            // The teacher's context is its system text; what the site tells its own model is no part of it.
            weights.source.open(String::new(), wait)?
        }
    };
    if args.json {
        output::json(&tally);
    } else {
        table(&tally);
    }
    Ok(if tally.left == 0 && tally.kept > 0 { Exit::Done } else { Exit::Refused })
}

/// Prompts that wait for a teacher.
struct Asking<'a> {
    args: &'a TeachArgs,
    prompts: &'a Prompts,
}

impl Asking<'_> {
    fn journal(&self, teacher: String) -> anyhow::Result<Journal> {
        let header = Header {
            schema: TEACH_SCHEMA.into(),
            prompts_sha256: self.prompts.sha256.clone(),
            teacher,
            context_sha256: Sha256::digest(CONTEXT).iter().map(|b| format!("{b:02x}")).collect(),
            second_pass: !self.args.no_second_pass,
            tries: self.args.tries,
        };
        let journal = Journal::open(&self.args.out, &header).map_err(|error| match error {
            JournalError::OtherRun { .. } | JournalError::Foreign { .. } => usage(error).into(),
            other => anyhow::Error::from(other),
        })?;
        if !journal.entries().is_empty() {
            let (n, all) = (journal.entries().len(), self.prompts.prompts.len());
            output::note(format!("going on behind prompt {n} of {all}"));
        }
        Ok(journal)
    }

    fn ask(&self, teacher: &mut impl Teacher, journal: &mut Journal) -> anyhow::Result<Tally> {
        let bar = bar(self.prompts.prompts.len(), journal.entries().len());
        let settings = Settings {
            tries: self.args.tries,
            second_pass: !self.args.no_second_pass,
            limit: self.args.limit,
        };
        let asked = teacher::run(teacher, self.prompts, journal, settings, |n| bar.set_position(n as u64));
        bar.finish_and_clear();
        asked?;
        Ok(Tally::of(self.prompts, journal))
    }
}

fn bar(n_total: usize, n_done: usize) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(n_total as u64), ProgressDrawTarget::stderr());
    // The template is a constant: if it were wrong, the bar would have its default look and nothing else.
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len}  {elapsed} gone, {eta} to go");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.with_position(n_done as u64)
}

fn table(tally: &Tally) {
    let Tally { prompts, repeated, left, kept, safe, unsafe_, val, dropped, faults } = tally;
    output::line(format!("{kept:>6}  kept: {safe} safe, {unsafe_} unsafe; {val} of them to validate on"));
    for (reason, n) in dropped {
        output::line(format!("{n:>6}  dropped: {reason}"));
    }
    for (fault, n) in faults {
        output::line(format!("{n:>6}  replies not used: {fault}"));
    }
    if *repeated > 0 {
        output::line(format!("{repeated:>6}  lines repeat a prompt"));
    }
    if *left > 0 {
        output::line(format!("{left:>6}  still to ask; the same command goes on"));
    }
    output::line(format!("{prompts:>6}  prompts"));
}

fn usage(error: impl std::fmt::Display) -> UsageError {
    UsageError(error.to_string())
}
