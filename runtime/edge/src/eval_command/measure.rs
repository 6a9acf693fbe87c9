//! `eval run` and `eval replay`: plan a run, open its model, ask, and write down.
//!
//! The header made here is the run's identity: everything that could change a row is in it. Invariant: the model that
//! is measured is opened as the service opens it.

use super::{Configured, data_folder, runs, summarised, tell, usage};
use crate::cli::ModelChoice;
use crate::config::Config;
use crate::exit::Exit;
use crate::output;
use crate::source::{Source, Use};
use crate::weights::{self, Loading, Opened};
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use r2d_core::policy::{Mode, Policy};
use r2d_core::request::Task;
use r2d_engine::intake::Intake;
use r2d_engine::model::Model;
use r2d_eval::item::Kind;
use r2d_eval::journal::{Journal, Run, run_name};
use r2d_eval::replay;
use r2d_eval::report::visible;
use r2d_eval::run::{self, Header, Next, Planned, RUN_SCHEMA, SuiteInfo};
use r2d_eval::suite::Suite;
use r2d_eval::summary::Summary;
use r2d_eval::wrapper;
use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Suite: a name of `eval suites`, or a manifest of your own (.toml); may be repeated
    #[arg(long = "suite", value_name = "NAME", required = true)]
    suites: Vec<String>,
    /// Put the requests through a wrapper too: its name, a family, or all; may be repeated
    #[arg(long = "wrap", value_name = "NAME")]
    wraps: Vec<String>,
    /// Folder of the suites' data  [key: eval.data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Most items of each suite; pairs and labels stay balanced
    #[arg(long, value_name = "N")]
    limit: Option<NonZeroUsize>,
    /// Which items a limit takes, and which variant a wrapper uses
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
    /// Judge only, without answers: much faster
    #[arg(long)]
    check: bool,
    /// Measure the model by itself, without any check, for comparison
    #[arg(long, conflicts_with = "check")]
    unguarded: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// The log: one JSON object a line
    log: PathBuf,
    /// Field of the prompt; /a/b reaches into objects
    #[arg(long, value_name = "NAME", default_value = "prompt")]
    prompt_field: String,
    /// Field of the response
    #[arg(long, value_name = "NAME", default_value = "response")]
    response_field: String,
    /// Field that entries are counted under
    #[arg(long, value_name = "NAME", default_value = "use_case")]
    use_case_field: String,
    /// Field of the entry's id
    #[arg(long, value_name = "NAME", default_value = "id")]
    id_field: String,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct Common {
    /// Folder of the run; without it one of its own below the state folder
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    model: ModelChoice,
    /// Print the figures as JSON when all is done
    #[arg(long)]
    json: bool,
}

impl RunArgs {
    /// Only verdicts, of plain requests.
    pub(crate) fn verdicts(
        suites: Vec<String>,
        limit: Option<NonZeroUsize>,
        out: PathBuf,
        model: ModelChoice,
    ) -> Self {
        let common = Common { out: Some(out), model, json: false };
        Self { suites, wraps: Vec::new(), data: None, limit, seed: 0, check: true, unguarded: false, common }
    }
}

/// Runs suites and tells the figures.
pub(crate) fn run_suites(args: &RunArgs, home: &Path, config: Configured<'_>) -> anyhow::Result<Exit> {
    let summary = self::suites(args, home, config)?;
    if args.common.json {
        output::json(&summary);
    } else {
        tell(&summary);
    }
    Ok(Exit::Done)
}

/// Runs suites, or what of them is still missing.
pub(crate) fn suites(args: &RunArgs, home: &Path, config: Configured<'_>) -> anyhow::Result<Summary> {
    let RunArgs { suites, wraps, data, limit, seed, check, unguarded, common } = args;
    let (limit, seed) = (limit.map(NonZeroUsize::get), *seed);
    let task = if *check { Task::Check } else { Task::Ask };
    let config = config(&common.model)?;
    let data = data_folder(data.clone(), &config);
    let mut wrappers: Vec<&wrapper::Wrapper> = Vec::new();
    for name in wraps {
        for found in wrapper::named(name).map_err(usage)? {
            if wrappers.iter().all(|w| w.name != found.name) {
                wrappers.push(found);
            }
        }
    }
    let mut infos: Vec<SuiteInfo> = Vec::new();
    let mut planned = VecDeque::new();
    for name in suites {
        let suite = Suite::open(name, data.as_deref()).map_err(usage)?;
        for warning in &suite.warnings {
            output::warn(warning);
        }
        let items = suite.sample(limit, seed);
        let info = suite.info(items.len());
        if items.is_empty() {
            let hint = "hint: its items belong together in groups; raise --limit";
            return Err(usage(format!(
                "--limit {} takes no item of {}; {hint}",
                limit.unwrap_or(0),
                info.name
            ))
            .into());
        }
        if infos.iter().any(|i| i.name == info.name) {
            return Err(usage(format!("the suite {} was named twice", info.name)).into());
        }
        let wrapped: &[&wrapper::Wrapper] = match info.kind {
            Kind::Harmful | Kind::Contrast | Kind::Benign => &wrappers,
            Kind::Choice | Kind::QaExact => &[],
        };
        let plan = |item| Planned { suite: info.name.clone(), item, task, given: None };
        planned.extend(items.iter().cloned().map(plan));
        for wrapper in wrapped {
            planned.extend(items.iter().map(|item| plan(wrapper.apply(item, seed))));
        }
        infos.push(info);
    }
    let header = |weights: &Opened| Header {
        task,
        guarded: !*unguarded,
        seed,
        limit,
        wrappers: wrappers.iter().map(|w| w.name.clone()).collect(),
        ..plain_header(&config, weights, infos.clone())
    };
    let (_, summary) = measure(common, &config, home, header, planned)?;
    Ok(summary)
}

/// Replays a log.
pub(crate) fn replay_log(args: ReplayArgs, home: &Path, config: Configured<'_>) -> anyhow::Result<Exit> {
    let ReplayArgs { log, prompt_field, response_field, use_case_field, id_field, common } = args;
    let config = config(&common.model)?;
    let fields = replay::Fields {
        prompt: prompt_field,
        response: response_field,
        use_case: use_case_field,
        id: id_field,
    };
    let log = replay::read(&log, &fields).map_err(usage)?;
    let header = |weights: &Opened| {
        let header = plain_header(&config, weights, vec![log.info.clone()]);
        // Nothing is enforced, and a response is judged to its end, however long the site let it be.
        let policy = Policy { mode: Mode::Shadow, max_answer_tokens: u16::MAX, ..header.policy };
        Header { policy, ..header }
    };
    let (run, summary) = measure(&common, &config, home, header, log.planned)?;
    if common.json {
        output::json(&summary);
        return Ok(Exit::Done);
    }
    let titles = ["n", "passed", "held", "refused: request", "reasoning", "response"];
    output::line(format!("{:<24} {}", "use case", titles.join("  ")));
    let (all, by_use_case) = replay::tally(&run.rows);
    for (use_case, t) in [("all".to_owned(), all)].into_iter().chain(by_use_case) {
        let counts = [t.n, t.passed, t.held, t.refused_request, t.refused_step, t.refused_answer];
        let cells: Vec<String> =
            titles.iter().zip(counts).map(|(title, n)| format!("{n:>width$}", width = title.len())).collect();
        output::line(format!("{:<24} {}", visible(&use_case).replace('\n', " "), cells.join("  ")));
    }
    Ok(Exit::Done)
}

/// Opens the model, asks what the run still lacks, and reads the whole run back with its figures.
fn measure(
    common: &Common,
    config: &Config,
    home: &Path,
    header: impl FnOnce(&Opened) -> Header,
    planned: VecDeque<Planned>,
) -> anyhow::Result<(Run, Summary)> {
    let weights = weights::open(&Loading { config, home })?;
    let header = header(&weights);
    let folder = common.out.clone().unwrap_or_else(|| runs(home).join(run_name(&header)));
    let mut journal = Journal::open(&folder, &header)?;
    output::note(format!("run {}", folder.display()));
    if journal.n_done() < planned.len() {
        output::note(format!("loading {}", weights.title()));
        let asking = Asking { header: &header, planned, journal: &mut journal };
        weights.source.open(header.system.clone(), asking)?;
    }
    Ok(summarised(Run::read(&folder)?))
}

/// A run that waits for its model.
struct Asking<'a> {
    header: &'a Header,
    planned: VecDeque<Planned>,
    journal: &'a mut Journal,
}

impl Use for Asking<'_> {
    type Output = ();

    fn with<M: Model>(self, model: M, intake: Intake) -> anyhow::Result<()> {
        let bar = bar(self.planned.len(), self.journal.n_done());
        run::run(model, &intake, self.header, self.planned, self.journal, |progress| {
            if let Some(row) = progress.row {
                bar.set_message(row.suite.clone());
            }
            bar.set_position(progress.n_done as u64);
            Next::Go
        })?;
        bar.finish_and_clear();
        Ok(())
    }
}

/// A bar on stderr, when that is a terminal; it counts from `n_done`, so that its estimate is of this part of the run.
fn bar(n_total: usize, n_done: usize) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(n_total as u64), ProgressDrawTarget::stderr());
    // The template is a constant: if it were wrong, the bar would have its default look and nothing else.
    let style = ProgressStyle::with_template("{msg:16} {bar:30} {pos}/{len}  {elapsed} gone, {eta} to go");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.with_position(n_done as u64)
}

/// A header with what the configuration says; suites and tasks are the caller's.
fn plain_header(config: &Config, weights: &Opened, suites: Vec<SuiteInfo>) -> Header {
    Header {
        schema: RUN_SCHEMA.into(),
        version: env!("CARGO_PKG_VERSION").into(),
        weights: weights.named(),
        setting: setting(&weights.source),
        policy: config.policy.rules(),
        task: Task::Ask,
        guarded: true,
        system: config.model.system.clone(),
        refusal: config.refusal_sentence(&config.device.lang).to_owned(),
        seed: 0,
        limit: None,
        n_slots: u32::from(config.model.parallel),
        suites,
        wrappers: Vec::new(),
    }
}

/// What of the model's setting decides its readings; threads do not.
fn setting(source: &Source) -> String {
    match source {
        Source::Scripted { .. } => String::new(),
        Source::Gguf { template, pivots, context, gpu_layers, .. } => serde_json::json!({
            "n_ctx": context.n_ctx,
            "n_batch": context.n_batch,
            "kv_type": context.kv_type,
            "gpu_layers": gpu_layers,
            "chat": template,
            "pivots": pivots,
        })
        .to_string(),
    }
}
