//! `distill data tokens`: what training sees, for other trainers and for those who want to look.
//!
//! Not another way to make rows: samples, tokens and steps come from where `distill train` has them. One JSON object a
//! line: the step that takes the row (from 0), its tokens, the spans that are learnt and the pivots.

use super::encoding;
use crate::cli::ModelChoice;
use crate::eval_command::Configured;
use crate::output;
use crate::weights::{self, Loading};
use anyhow::Context;
use clap::Args;
use r2d_distill::example::Example;
use r2d_distill::trainer;
use r2d_distill::trajectory::Split;
use serde::Serialize;
use std::io::Write as _;
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub(crate) struct TokensArgs {
    /// Trajectories, one JSON object a line
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Recipe; without one the defaults
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,
    #[command(flatten)]
    model: ModelChoice,
    /// The first so many steps of the first epoch; without it all of them
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
    /// Write to this file
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Serialize)]
struct Line<'a> {
    step: usize,
    #[serde(flatten)]
    example: &'a Example,
}

/// Writes the rows.
pub(crate) fn run(args: &TokensArgs, home: &Path, config: Configured<'_>) -> anyhow::Result<()> {
    super::must_be_new(&args.out)?;
    let config = config(&args.model)?;
    let curriculum = super::recipe(args.recipe.as_deref())?;
    let trajectories = encoding::trajectories(&args.files)?;
    let weights = weights::base(&Loading { config: &config, home })?;
    encoding::base_file(&weights.source)?;
    let samples = curriculum.samples(&trajectories, Split::Train)?;
    let system = config.model.system.clone();
    let [examples] = encoding::encode(weights.source, system, &curriculum, [samples])?;
    let file = std::fs::File::create(&args.out);
    let mut out =
        std::io::BufWriter::new(file.with_context(|| format!("cannot write {}", args.out.display()))?);
    let (mut n, mut n_tokens) = (0_usize, 0_usize);
    let order = trainer::order(&examples, &curriculum.train, 0);
    for (step, rows) in order.iter().take(args.steps.unwrap_or(usize::MAX)).enumerate() {
        for example in rows.iter().filter_map(|&i| examples.get(i)) {
            serde_json::to_writer(&mut out, &Line { step, example })?;
            out.write_all(b"\n")?;
            (n, n_tokens) = (n + 1, n_tokens + example.tokens.len());
        }
    }
    out.flush().with_context(|| format!("cannot write {}", args.out.display()))?;
    output::note(format!("{n} rows of {n_tokens} tokens in {}", args.out.display()));
    Ok(())
}
