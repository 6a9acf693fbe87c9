//! `distill`: trains a LoRA adapter on the model's own quantised file, and makes and looks after the data for it.
//!
//! Words, files and the tokeniser only: losses, gradients and samples are in `r2d-distill`. Not here: judging whether an
//! adapter is any good (`eval`).

mod collect;
mod data;
mod encoding;
mod run;
mod teach;
mod tokens;
mod train;

use crate::eval_command::Configured;
use crate::exit::{Exit, UsageError};
use clap::Subcommand;
use r2d_distill::curriculum::Curriculum;
use std::path::{Path, PathBuf};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Train an adapter; goes on where an earlier run in the same folder stopped
    Train(Box<train::TrainArgs>),
    /// Train, measure on the val split and on suites, and take the adapter in if it holds
    Run(Box<run::RunArgs>),
    /// Have a teacher write trajectories for prompts; goes on where an earlier run with the same file stopped
    Teach(Box<teach::TeachArgs>),
    /// Turn reviewed requests of the audit log into trajectories
    Collect(collect::CollectArgs),
    /// Look over trajectories before they are trained on
    #[command(subcommand)]
    Data(data::Command),
    /// Say what an adapter file says of itself
    Show {
        /// The file
        adapter: PathBuf,
    },
}

/// Does what was asked.
pub(crate) fn run(command: Command, home: &Path, config: Configured<'_>) -> anyhow::Result<Exit> {
    match command {
        Command::Train(args) => train::run(&args, home, config),
        Command::Run(args) => run::run(&args, home, config),
        Command::Data(command) => data::run(&command, home, config),
        Command::Teach(args) => teach::run(&args, home, config),
        Command::Collect(args) => collect::run(&args, home),
        Command::Show { adapter } => {
            crate::output::json(&r2d_distill::adapter::read(&adapter)?);
            Ok(Exit::Done)
        }
    }
}

/// The recipe in `file`, or the default one.
fn recipe(file: Option<&Path>) -> Result<Curriculum, UsageError> {
    let Some(file) = file else { return Ok(Curriculum::default()) };
    Curriculum::read(file).map_err(|e| UsageError(format!("the recipe {}: {e}", file.display())))
}

/// Refuses to write to a file that is there.
fn must_be_new(out: &Path) -> Result<(), UsageError> {
    if !out.exists() {
        return Ok(());
    }
    let hint = "hint: give another --out; a file that somebody may have worked on is never replaced";
    Err(UsageError(format!("{} is there already; {hint}", out.display())))
}
