//! `distill train`: from trajectories and a recipe to an adapter file, in a folder that can be taken up again.
//!
//! The folder holds `checkpoint`, `log.jsonl`, `loss.svg` and, when the run is done, `adapter.gguf`. Invariant: the same data,
//! recipe, model, parent and threads give the same weights to the bit, however often the run was broken off; a run that is
//! over leaves its adapter alone.

use crate::board;
use crate::cli::ModelChoice;
use crate::distill_command::encoding;
use crate::eval_command::Configured;
use crate::exit::{Exit, UsageError};
use crate::models::{Lock, adapters};
use crate::output;
use crate::weights::{self, Loading};
use anyhow::{Context, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use r2d_distill::adapter::{self, AdapterFormat, Provenance};
use r2d_distill::base::Base;
use r2d_distill::curriculum::Curriculum;
use r2d_distill::journal::Journal;
use r2d_distill::layout::Pivots;
use r2d_distill::plot;
use r2d_distill::trainer::{Ending, Heat, Limits, Losses, Observer, Row, Settings, Stop, Trainer};
use r2d_distill::trajectory::{Split, Trajectory};
use serde::Serialize;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Debug, Args)]
pub(crate) struct TrainArgs {
    /// Trajectories, one JSON object a line; may be repeated
    #[arg(long, value_name = "FILE", required = true)]
    pub(super) data: Vec<PathBuf>,
    /// Recipe; without one the defaults
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,
    /// Go on from this adapter instead of from nothing: of the same base, rank, alpha and targets
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Folder of the run
    #[arg(long, value_name = "DIR")]
    pub(super) out: PathBuf,
    /// Name of the adapter
    #[arg(long, default_value = "adapter")]
    pub(super) name: String,
    #[command(flatten)]
    pub(super) model: ModelChoice,
    /// Threads; 0 takes one for each physical core
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
    /// Most memory that the run may plan for, in MB; without it what the board's profile says, or 1150
    #[arg(long, value_name = "MB")]
    max_memory_mb: Option<u64>,
    /// Stop after so many minutes; the same command goes on
    #[arg(long, value_name = "MIN")]
    max_minutes: Option<u64>,
    /// Stop after so many steps; the same command goes on
    #[arg(long, value_name = "N")]
    max_steps: Option<u64>,
    /// Pause while the machine is hotter, until it is 5 degrees below; stop when that takes ten minutes. Without it
    /// what the board's profile says
    #[arg(long, value_name = "CELSIUS", value_parser = clap::value_parser!(u16).range(20..=150))]
    max_temperature: Option<u16>,
    /// Steps between two checkpoints
    #[arg(long, value_name = "N", default_value_t = 25)]
    checkpoint_every: u64,
    /// Ablation: without the contrast of pivots
    #[arg(long)]
    no_cpo: bool,
    /// Ablation: without pivots in the text
    #[arg(long)]
    no_pivot: bool,
}

/// Memory of a run on a board that no profile fits, in MB.
const MAX_MEMORY_MB: u64 = 1150;

/// Trains.
pub(crate) fn run(args: &TrainArgs, home: &Path, config: Configured<'_>) -> anyhow::Result<Exit> {
    on(&encoding::trajectories(&args.data)?, args, home, config)
}

/// Trains on `trajectories`, which were read from the files that `args` name.
pub(super) fn on(
    trajectories: &[Trajectory],
    args: &TrainArgs,
    home: &Path,
    config: Configured<'_>,
) -> anyhow::Result<Exit> {
    // What cannot be taken in afterwards should not be trained for hours first.
    adapters::may_train(&args.name)?;
    let config = config(&args.model)?;
    let curriculum = curriculum(args)?;
    // The frozen base is the file itself: whatever adapter is in force is not trained on top of.
    let weights = weights::base(&Loading { config: &config, home })?;
    let path = encoding::base_file(&weights.source)?;
    let [train, val] = [Split::Train, Split::Val].map(|split| curriculum.samples(trajectories, split));
    let system = config.model.system.clone();
    let [train, val] = encoding::encode(weights.source, system, &curriculum, [train?, val?])?;

    std::fs::create_dir_all(&args.out).with_context(|| format!("cannot make {}", args.out.display()))?;
    let lock = args.out.join("lock");
    let file = File::create(&lock).with_context(|| format!("cannot write {}", lock.display()))?;
    let Some(_lock) = Lock::take(file).with_context(|| format!("cannot lock {}", lock.display()))? else {
        let hint = "hint: wait until it has ended, or give another --out";
        return Err(UsageError(format!("another run writes to {}; {hint}", args.out.display())).into());
    };
    let n_threads = match args.threads {
        0 => weights::n_threads(&config) as usize,
        n => n,
    };
    let board =
        board::choose(&config.board.profile, &board::Facts::read(Path::new("/")))?.map(|p| p.training);
    let max_memory_mb = args.max_memory_mb.or(board.map(|b| b.max_memory_mb)).unwrap_or(MAX_MEMORY_MB);
    let max_bytes = max_memory_mb.saturating_mul(1_000_000);
    let settings = Settings { n_threads, max_bytes: Some(max_bytes) };
    let max_temperature = args.max_temperature.or(board.and_then(|b| b.max_temperature));
    let n_tokens: usize = train.iter().map(|e| e.tokens.len()).sum();
    output::note(format!("{} examples of {n_tokens} tokens, {} to validate on", train.len(), val.len()));
    let mut trainer = Trainer::new(Base::open(&path)?, curriculum.train.clone(), train, settings)?;
    output::note(format!("memory: {}", trainer.estimate()));
    if let Some(parent) = &args.from {
        trainer.start_from(parent).map_err(|e| UsageError(e.to_string()))?;
        output::note(format!("from {}", parent.display()));
    }
    let (checkpoint, adapter) = (args.out.join("checkpoint"), args.out.join("adapter.gguf"));
    if !checkpoint.exists() && adapter.exists() {
        let hint = "hint: give another --out, or move it away";
        return Err(
            UsageError(format!("{} is there already, of another run; {hint}", adapter.display())).into()
        );
    }
    if checkpoint.exists() {
        trainer.resume(&checkpoint)?;
        output::note(format!("going on behind step {} of {}", trainer.position(), trainer.n_steps()));
    }
    let was_over = trainer.position() == trainer.n_steps();
    let limits = Limits {
        time: args.max_minutes.map(|m| Duration::from_secs(m.saturating_mul(60))),
        n_steps: args.max_steps,
        heat: max_temperature.map(|c| Heat::below(f32::from(c))),
        checkpoint: Some((checkpoint, args.checkpoint_every)),
        // The plan keeps below the limit. Whoever holds an eighth more was planned wrong, and the board has other work.
        resident_bytes: Some(max_bytes.saturating_add(max_bytes / 8)),
    };
    let log = args.out.join("log.jsonl");
    let journal = Journal::open(&log, &trainer.identity(), trainer.position())
        .with_context(|| format!("cannot write {}", log.display()))?;
    let bar = bar(trainer.n_steps(), trainer.position());
    let mut watch = Watch { journal, bar, out: &args.out, held: 0 };
    let ending = trainer.run(&limits, &mut watch)?;
    watch.draw();
    watch.bar.finish_and_clear();
    if watch.held > 0 {
        output::note(format!("held at most {} MB", watch.held.div_ceil(1_000_000)));
    }
    if let Ending::Stopped(stop) = ending {
        let why = match stop {
            Stop::Time => "its time is up".to_owned(),
            Stop::Heat(celsius) => format!("the machine stays at {celsius:.0} °C"),
            Stop::Memory(held) => format!(
                "the process holds {} MB, where {max_memory_mb} MB and an eighth are allowed (lower micro_tokens or --threads, \
                 or raise --max-memory-mb)",
                held / 1_000_000
            ),
            Stop::Steps => "it has made its steps".to_owned(),
            Stop::Asked(reason) => bail!("the run stopped: {reason}"),
        };
        let (done, all) = (trainer.position(), trainer.n_steps());
        output::line(format!("stopped behind step {done} of {all}: {why}; the same command goes on"));
        return Ok(Exit::Refused);
    }
    let provenance = provenance(args, &curriculum, &trainer)?;
    if was_over && came_of(&adapter, &provenance) {
        output::note("the run was over before; its adapter stays as it is, to the bit");
    } else {
        let losses = if val.is_empty() { None } else { Some(trainer.evaluate(&val)?) };
        finish(&adapter, provenance, &trainer, losses)?;
    }
    output::line(format!("{}", adapter.display()));
    Ok(Exit::Done)
}

fn curriculum(args: &TrainArgs) -> anyhow::Result<Curriculum> {
    let mut curriculum = super::recipe(args.recipe.as_deref())?;
    if args.no_cpo {
        curriculum.train.cpo = 0.0;
    }
    if args.no_pivot {
        curriculum.pivots = Pivots::LeftOut;
        curriculum.train.cpo = 0.0;
    }
    Ok(curriculum)
}

/// Logs each step, draws the bar and the losses.
struct Watch<'a> {
    journal: Journal,
    bar: ProgressBar,
    out: &'a Path,
    /// The most bytes that a step held.
    held: u64,
}

impl Watch<'_> {
    /// Draws the losses as far as the log has them. A drawing that fails ends no run.
    fn draw(&self) {
        let drawn = Journal::read(&self.out.join("log.jsonl"))
            .and_then(|rows| plot::write(&self.out.join("loss.svg"), &rows));
        if let Err(e) = drawn {
            self.note(&format!("cannot draw {}: {e}", self.out.join("loss.svg").display()));
        }
    }

    fn note(&self, words: &str) {
        self.bar.suspend(|| output::note(words));
    }
}

impl Observer for Watch<'_> {
    fn on_checkpoint(&mut self, _: u64) {
        self.draw();
    }

    fn on_heat(&mut self, celsius: Option<f32>) {
        match celsius {
            None => self.note("no temperature can be read here, so --max-temperature does nothing"),
            Some(c) => self.note(&format!("{c:.0} °C: waiting until it is cooler")),
        }
    }

    fn on_step(&mut self, row: &Row) -> Option<String> {
        self.held = self.held.max(row.resident_bytes.unwrap_or(0));
        let held = row.resident_bytes.map_or_else(String::new, |b| format!("  {} MB", b / 1_000_000));
        self.bar.set_message(format!(
            "loss {:.3} (text {:.3}, pivots {:.3})  {:.0} tokens/s{held}",
            row.loss, row.swrd, row.cpo, row.tokens_per_s
        ));
        self.bar.set_position(row.step);
        self.journal.add(row).err().map(|e| format!("the log cannot be written: {e}"))
    }
}

fn bar(n_steps: u64, position: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(n_steps), ProgressDrawTarget::stderr());
    // The template is a constant: if it were wrong, the bar would have its default look and nothing else.
    let style = ProgressStyle::with_template("{bar:24} {pos}/{len}  {msg}  {eta} to go");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.with_position(position)
}

/// What the run came to, in the adapter's own file.
#[derive(Serialize)]
struct Metrics {
    steps: u64,
    validation: Option<Losses>,
}

/// Where the run's adapter comes from; figures and date are those of its writing.
fn provenance(args: &TrainArgs, curriculum: &Curriculum, trainer: &Trainer) -> anyhow::Result<Provenance> {
    Ok(Provenance {
        name: args.name.clone(),
        base_sha256: trainer.base().sha256().to_owned(),
        data_sha256: trainer.data_sha256().to_owned(),
        parent_sha256: trainer.identity().parent_sha256.unwrap_or_default(),
        recipe: toml::to_string(curriculum).context("cannot write the recipe")?,
        ..Provenance::default()
    })
}

/// Whether `file` is an adapter of this provenance. One that is there is known to others by its SHA-256 by now, as a pin
/// or in a measurement, which another writing of the same numbers would change.
fn came_of(file: &Path, wanted: &Provenance) -> bool {
    adapter::read(file).is_ok_and(|info| {
        let (metrics, date) = Default::default();
        Provenance { metrics, date, ..info.provenance } == *wanted
    })
}

fn finish(
    file: &Path,
    provenance: Provenance,
    trainer: &Trainer,
    validation: Option<Losses>,
) -> anyhow::Result<()> {
    let metrics = Metrics { steps: trainer.n_steps(), validation };
    let metrics = serde_json::to_string(&metrics).context("cannot write the figures")?;
    let provenance = Provenance { metrics, date: crate::eval_command::now(), ..provenance };
    adapter::write(file, trainer.base(), trainer.lora(), AdapterFormat::F16, &provenance)?;
    if let Some(Losses { swrd, cpo }) = validation {
        output::line(format!("validation: text {swrd:.4}, pivots {cpo:.4}"));
    }
    Ok(())
}
