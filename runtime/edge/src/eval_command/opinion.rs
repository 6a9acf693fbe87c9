//! `eval judge`: has an outside judge read a run's answers, and keeps what it said beside the run.
//!
//! Never part of serving: the judge is another machine's model, asked after the fact and for comparison. What it said
//! is kept in its own words; the figures count only what could be read.

use super::{find, read, usage};
use crate::exit::{Exit, UsageError};
use crate::output;
use clap::{Args, ValueEnum};
use r2d_core::request::Task;
use r2d_eval::client::ClientOptions;
use r2d_eval::journal::Opinions;
use r2d_eval::judge::Opinion;
use r2d_eval::judge::endpoint::{Endpoint, EndpointError, Style};
use r2d_eval::row::Row;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// Opinions that a crash may lose.
const SAVE_EVERY: usize = 16;

#[derive(Debug, Args)]
pub(crate) struct JudgeArgs {
    /// Folder of the run, or its name
    run: PathBuf,
    /// Base address of an OpenAI-compatible service, such as http://127.0.0.1:8000/v1
    #[arg(long, value_name = "URL")]
    url: String,
    /// Model to ask for there
    #[arg(long, value_name = "NAME")]
    judge_model: String,
    /// How the judge is asked
    #[arg(long, value_enum, default_value_t = StyleName::LlamaGuard)]
    style: StyleName,
    /// File with the judge's prompt, for the styles that need one: {behavior} and {generation} are filled in
    #[arg(long, value_name = "FILE")]
    prompt: Option<PathBuf>,
    /// Longest wait for one answer
    #[arg(long, value_name = "S", default_value_t = 60)]
    timeout_s: u32,
    /// File that holds the service's key
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum StyleName {
    /// A conversation, answered `safe` or `unsafe` with categories
    LlamaGuard,
    /// A text to complete, as HarmBench's classifier is asked, with its own prompt in a file; answered yes or no
    Harmbench,
    /// A prompt of your own, answered yes or no
    Custom,
}

/// Asks the judge about every row that it has not spoken on, and keeps what it said.
pub(crate) fn run(args: &JudgeArgs, home: &Path) -> anyhow::Result<Exit> {
    let folder = find(home, &args.run);
    // Told to be none, if it is none, before a lock is laid into it.
    read(home, &args.run)?;
    let file = Opinions::open(&folder)?;
    let run = read(home, &args.run)?;
    if run.header.task == Task::Check {
        let hint = "hint: measure again without --check";
        return Err(UsageError(format!(
            "{} holds verdicts and no answers to judge; {hint}",
            folder.display()
        ))
        .into());
    }
    let judge = endpoint(args)?;
    let known: HashSet<_> =
        run.opinions.iter().filter(|o| o.judge == judge.name()).map(Opinion::key).collect();
    let asked: Vec<&Row> =
        run.rows.iter().filter(|row| row.judged().is_some() && !known.contains(&row.key())).collect();
    let mut opinions = run.opinions.clone();
    for (n, row) in asked.iter().enumerate() {
        match judge.opinion(row) {
            Ok(opinion) => opinions.push(opinion),
            Err(error) => {
                // What was said so far is kept: the same command goes on behind it.
                file.write(&opinions)?;
                return Err(error.into());
            }
        }
        if n % SAVE_EVERY == SAVE_EVERY - 1 {
            file.write(&opinions)?;
        }
    }
    file.write(&opinions)?;
    let unread = opinions.iter().filter(|o| o.judge == judge.name() && o.harmful.is_none()).count();
    output::line(format!("{} opinions of {}, {unread} of them unreadable", asked.len(), judge.name()));
    Ok(Exit::Done)
}

fn endpoint(args: &JudgeArgs) -> anyhow::Result<Endpoint> {
    let prompt = || -> anyhow::Result<String> {
        let file = args.prompt.as_ref().ok_or_else(|| {
            let hint = "hint: the classifier's own prompt, with {behavior} and {generation}";
            UsageError(format!("this style of judge needs --prompt FILE; {hint}"))
        })?;
        Ok(Endpoint::read_prompt(file).map_err(usage)?)
    };
    let style = match args.style {
        StyleName::LlamaGuard => Style::LlamaGuard,
        StyleName::Harmbench => Style::HarmBench { prompt: prompt()? },
        StyleName::Custom => Style::Custom { prompt: prompt()? },
    };
    let key = match &args.key_file {
        None => None,
        Some(file) => {
            let text = std::fs::read_to_string(file)
                .map_err(|e| UsageError(format!("cannot read the key {}: {e}", file.display())))?;
            Some(text.trim().to_owned())
        }
    };
    let options = ClientOptions {
        url: args.url.clone(),
        model: args.judge_model.clone(),
        key,
        timeout_ms: u64::from(args.timeout_s) * 1000,
        retries: 4,
    };
    Endpoint::new(options, style).map_err(|error: EndpointError| usage(error).into())
}
