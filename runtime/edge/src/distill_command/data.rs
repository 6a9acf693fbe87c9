//! `distill data`: what is wrong with trajectories, how they are made up, what repeats, what gives a test set away.
//!
//! It never changes a file: `dedup` and `tokens` write to another one. Exit code 1 when something was found.

use crate::eval_command::Configured;
use crate::exit::{Exit, UsageError};
use crate::output;
use anyhow::Context;
use clap::{Args, Subcommand};
use r2d_distill::data::{self, Checked};
use r2d_distill::trajectory::{self, Lines, Trajectory};
use r2d_eval::suite::{self, Presence, Suite};
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Count faulty lines by their fault, with examples
    Check {
        /// Trajectories, one JSON object a line
        file: PathBuf,
        /// Examples of each fault
        #[arg(long, value_name = "N", default_value_t = 3)]
        examples: usize,
        /// Print the counts as JSON
        #[arg(long)]
        json: bool,
    },
    /// Tell how the trajectories are made up, and what of that may be bad for a student; as JSON
    Stats {
        /// Trajectories, one JSON object a line
        file: PathBuf,
    },
    /// Find prompts that repeat others, exactly or nearly
    Dedup {
        /// Trajectories, one JSON object a line
        file: PathBuf,
        /// Write what is kept to this file
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Find prompts that stand in an evaluation suite, exactly, nearly or inside a longer text
    Leak(LeakArgs),
    /// Write the rows that training would see, as token ids with what is learnt of them, step by step
    Tokens(Box<super::tokens::TokensArgs>),
}

#[derive(Debug, Args)]
pub(crate) struct LeakArgs {
    /// Trajectories, one JSON object a line
    file: PathBuf,
    /// Suite: a name of `eval suites`, or a manifest; without one all whose data is there
    #[arg(long = "suite", value_name = "NAME")]
    suites: Vec<String>,
    /// Folder of the suites' data  [key: eval.data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// Does what was asked.
pub(crate) fn run(command: &Command, home: &Path, config: Configured<'_>) -> anyhow::Result<Exit> {
    let clean = match command {
        Command::Check { file, examples, json } => check(file, *examples, *json)?,
        Command::Stats { file } => {
            let stats = data::stats(&read(file)?);
            output::json(&stats);
            stats.warnings.is_empty()
        }
        Command::Dedup { file, out } => dedup(file, out.as_deref())?,
        Command::Leak(args) => leak(args, config)?,
        Command::Tokens(args) => {
            super::tokens::run(args, home, config)?;
            true
        }
    };
    Ok(if clean { Exit::Done } else { Exit::Refused })
}

fn read(file: &Path) -> anyhow::Result<Vec<Trajectory>> {
    Ok(trajectory::read(file).map_err(|e| UsageError(e.to_string()))?)
}

fn check(file: &Path, examples: usize, json: bool) -> anyhow::Result<bool> {
    let open = File::open(file).map_err(|e| UsageError(format!("cannot read {}: {e}", file.display())))?;
    let (checked, _) = Checked::of(Lines::new(BufReader::new(open)), examples);
    if json {
        output::json(&checked);
        return Ok(checked.is_clean());
    }
    for (name, faults) in &checked.faults {
        output::line(format!("{:>6}  {name}", faults.n));
        for example in &faults.examples {
            let id = example.id.as_deref().unwrap_or("-");
            output::line(format!("        line {}, {id}: {}", example.line, example.fault));
        }
    }
    output::line(format!("{} good, {} faulty", checked.n_good, checked.n_faulty));
    if checked.n_good == 0 {
        output::warn(format!("{} has nothing to train on", file.display()));
    }
    Ok(checked.is_clean())
}

fn dedup(file: &Path, out: Option<&Path>) -> anyhow::Result<bool> {
    out.map_or(Ok(()), super::must_be_new)?;
    let trajectories = read(file)?;
    let found = data::dedup(&trajectories);
    for duplicate in &found.dropped {
        output::json(duplicate);
    }
    if let Some(out) = out {
        let kept: Vec<Trajectory> = found.kept.iter().filter_map(|&i| trajectories.get(i)).cloned().collect();
        trajectory::write(out, &kept).with_context(|| format!("cannot write {}", out.display()))?;
    }
    output::note(format!("{} kept, {} repeated", found.kept.len(), found.dropped.len()));
    Ok(found.dropped.is_empty())
}

fn leak(args: &LeakArgs, config: Configured<'_>) -> anyhow::Result<bool> {
    let config = config(&crate::cli::ModelChoice::default())?;
    let folder = crate::eval_command::data_folder(args.data.clone(), &config);
    if let Some(data) = folder.as_deref().filter(|data| !data.is_dir()) {
        let hint = "hint: --data names the folder of the suites' data, see `eval suites`";
        return Err(UsageError(format!("there is no folder {}; {hint}", data.display())).into());
    }
    let names: Vec<String> = if args.suites.is_empty() {
        let there = |s: &&suite::Builtin| {
            matches!(s.presence(folder.as_deref()), Presence::Inside | Presence::Found(_))
        };
        suite::builtin().iter().filter(there).map(|s| s.manifest.name.clone()).collect()
    } else {
        args.suites.clone()
    };
    let mut suites: Vec<(String, Vec<String>)> = Vec::new();
    for name in names {
        let suite = Suite::open(&name, folder.as_deref()).map_err(|e| UsageError(e.to_string()))?;
        // An attack's goal gives as much away as the attack.
        let goals = suite.items.iter().flat_map(|item| [Some(item.prompt.clone()), item.goal.clone()]);
        suites.push((name, goals.flatten().collect()));
    }
    let trajectories = read(&args.file)?;
    let prompts = trajectories.iter().map(|t| (t.id.as_str(), t.prompt.as_str()));
    let against: Vec<data::Suite<'_>> =
        suites.iter().map(|(name, prompts)| data::Suite { name, prompts }).collect();
    let leaks = data::leaks(prompts, &against);
    for leak in &leaks {
        output::json(leak);
    }
    let n: usize = suites.iter().map(|(_, prompts)| prompts.len()).sum();
    output::note(format!(
        "{} leaks of {} prompts into {n} texts of {} suites",
        leaks.len(),
        trajectories.len(),
        suites.len()
    ));
    let there: Vec<&str> = suites.iter().map(|(name, _)| name.as_str()).collect();
    output::note(format!("held against: {}", there.join(", ")));
    let all = suite::builtin().iter().map(|s| s.manifest.name.as_str());
    let missing: Vec<&str> = all.filter(|name| args.suites.is_empty() && !there.contains(name)).collect();
    if !missing.is_empty() {
        output::warn(format!("not here, so nothing is known of leaks into: {}", missing.join(", ")));
    }
    Ok(leaks.is_empty())
}
