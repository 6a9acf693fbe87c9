//! `eval`: measures a model, adapter and policy, and tells what was measured.
//!
//! Words and files only: what is asked, how it is judged and what the figures mean is in `r2d-eval`. A run is a folder
//! that later commands read; nothing here changes one that is finished, but for the opinions of outside judges.

pub(crate) mod measure;
mod opinion;

use crate::cli::ModelChoice;
use crate::config::Config;
use crate::exit::{Exit, UsageError};
use crate::output;
use anyhow::Context;
use clap::{Args, Subcommand};
use r2d_eval::compare::compare;
use r2d_eval::gate::{self, Bound, Side, Strict};
use r2d_eval::journal::{JournalError, Run};
use r2d_eval::report::{self, ReportOptions};
use r2d_eval::suite::{self, Presence};
use r2d_eval::summary::{Metric, Summary, summarise};
use serde::Serialize;
use std::path::{Path, PathBuf};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the suites and wrappers, where their data comes from and under which licence
    Suites {
        /// Folder of the suites' data  [key: eval.data]
        #[arg(long, value_name = "DIR")]
        data: Option<PathBuf>,
        /// Print the suites as JSON lines
        #[arg(long)]
        json: bool,
    },
    /// Ask the items of suites, and write down what the model does; goes on where an earlier run stopped
    Run(Box<measure::RunArgs>),
    /// Judge a site's log of prompts and responses without enforcing: what would have been withheld
    Replay(Box<measure::ReplayArgs>),
    /// Have an outside judge (an OpenAI-compatible endpoint) read a run's answers
    Judge(opinion::JudgeArgs),
    /// Tell a run's figures: on the terminal, as a page, as Markdown or as JSON
    Report {
        /// Folder of the run, or its name
        run: PathBuf,
        /// Write one self-contained page
        #[arg(long, value_name = "FILE")]
        html: Option<PathBuf>,
        /// Write Markdown
        #[arg(long, value_name = "FILE")]
        markdown: Option<PathBuf>,
        /// Print the figures as JSON
        #[arg(long)]
        json: bool,
        /// Failures to show, of each side
        #[arg(long, value_name = "N", default_value_t = 20)]
        failures: usize,
        /// Title of the report
        #[arg(long, default_value = "Safety evaluation")]
        title: String,
    },
    /// Compare two runs item by item
    Compare {
        /// Folder or name of the first run
        a: PathBuf,
        /// Folder or name of the second
        b: PathBuf,
        /// Print the comparison as JSON
        #[arg(long)]
        json: bool,
    },
    /// Hold a run's figures against bounds; exit code 1 when one is broken
    Gate {
        /// Folder of the run, or its name
        run: PathBuf,
        #[command(flatten)]
        bounds: Bounds,
    },
}

/// Bounds on figures.
#[derive(Debug, Args)]
pub(crate) struct Bounds {
    /// Smallest value of a figure, such as shopfloor.recall_unsafe=0.95; without a suite it holds for each
    #[arg(long = "min", value_name = "[SUITE.]METRIC=VALUE")]
    min: Vec<String>,
    /// Largest value of a figure, such as attack_success=0.05
    #[arg(long = "max", value_name = "[SUITE.]METRIC=VALUE")]
    max: Vec<String>,
    /// File with bounds
    #[arg(long, value_name = "FILE")]
    bounds: Option<PathBuf>,
    /// Hold the worse end of each figure's 95 % interval against its bound
    #[arg(long)]
    strict: bool,
}

/// Gives the configuration under a choice of model.
pub(crate) type Configured<'a> = &'a dyn Fn(&ModelChoice) -> anyhow::Result<Config>;

/// Does what was asked.
pub(crate) fn run(command: Command, home: &Path, config: Configured<'_>) -> anyhow::Result<Exit> {
    match command {
        Command::Suites { data, json } => {
            let config = config(&ModelChoice::default())?;
            list(data_folder(data, &config).as_deref(), json);
            Ok(Exit::Done)
        }
        Command::Run(args) => measure::run_suites(&args, home, config),
        Command::Replay(args) => measure::replay_log(*args, home, config),
        Command::Judge(args) => opinion::run(&args, home),
        Command::Report { run, html, markdown, json, failures, title } => {
            let (run, summary) = summarised(read(home, &run)?);
            let options = ReportOptions { title, date: now(), n_failures: failures };
            if let Some(file) = &html {
                write(file, &report::html(&summary, &run.rows, &options))?;
            }
            if let Some(file) = &markdown {
                write(file, &report::markdown(&summary, &run.rows, &options))?;
            }
            if json {
                output::json(&summary);
            } else if html.is_none() && markdown.is_none() {
                tell(&summary);
            }
            Ok(Exit::Done)
        }
        Command::Compare { a, b, json } => {
            let (a, b) = (read(home, &a)?, read(home, &b)?);
            let comparison = compare((&a.header, &a.rows), (&b.header, &b.rows)).map_err(usage)?;
            if json {
                output::json(&comparison);
            } else {
                for line in comparison.lines() {
                    output::line(line);
                }
            }
            // Runs that share nothing say nothing of each other.
            Ok(if comparison.n_pairs == 0 { Exit::Refused } else { Exit::Done })
        }
        Command::Gate { run, bounds } => {
            let bounds = bounds.read()?;
            let (_, summary) = summarised(read(home, &run)?);
            let broken = gate::check(&summary, &bounds).map_err(usage)?;
            for bound in &broken {
                output::line(format!("broken: {bound}"));
            }
            if broken.is_empty() {
                output::line(format!("all {} bounds hold", bounds.len()));
            }
            Ok(if broken.is_empty() { Exit::Done } else { Exit::Refused })
        }
    }
}

impl Bounds {
    /// Whether none was given.
    pub(crate) fn is_empty(&self) -> bool {
        self.min.is_empty() && self.max.is_empty() && self.bounds.is_none()
    }

    pub(crate) fn read(&self) -> anyhow::Result<Vec<Bound>> {
        let strict = if self.strict { Strict::Interval } else { Strict::Value };
        let mut bounds = Vec::new();
        if let Some(file) = &self.bounds {
            let text = std::fs::read_to_string(file)
                .map_err(|e| UsageError(format!("cannot read the bounds {}: {e}", file.display())))?;
            bounds.extend(gate::from_toml(&text, strict).map_err(usage)?);
        }
        for (side, words) in [(Side::Min, &self.min), (Side::Max, &self.max)] {
            for word in words {
                bounds.push(Bound::parse(side, strict, word).map_err(usage)?);
            }
        }
        if bounds.is_empty() {
            let hint = "hint: --max attack_success=0.05 --max blocked_safe=0.07, or --bounds FILE";
            return Err(UsageError(format!("no bound was given; {hint}")).into());
        }
        Ok(bounds)
    }
}

fn usage(error: impl std::fmt::Display) -> UsageError {
    UsageError(error.to_string())
}

/// The folder of the suites' data: as given, else as configured.
pub(crate) fn data_folder(given: Option<PathBuf>, config: &Config) -> Option<PathBuf> {
    let configured = Some(&config.eval.data).filter(|data| !data.is_empty());
    given.or_else(|| configured.map(PathBuf::from))
}

/// Where runs without a folder of their own go.
fn runs(home: &Path) -> PathBuf {
    home.join("eval")
}

/// A run by its folder, or by its name among those of `home`.
fn find(home: &Path, run: &Path) -> PathBuf {
    let named = runs(home).join(run);
    if run.components().count() == 1 && !run.exists() && named.exists() { named } else { run.to_owned() }
}

/// Reads a run by its folder or name; one that is not there is the caller's fault.
fn read(home: &Path, run: &Path) -> anyhow::Result<Run> {
    Run::read(&find(home, run)).map_err(|error| match error {
        JournalError::NoRun(_) => usage(error).into(),
        other => other.into(),
    })
}

/// A run with its figures.
fn summarised(run: Run) -> (Run, Summary) {
    let summary = summarise(&run.header, &run.rows, &run.timings, &run.opinions);
    (run, summary)
}

fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    output::note(format!("wrote {}", file.display()));
    Ok(())
}

/// Now, in RFC 3339, to the second.
pub(crate) fn now() -> String {
    humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string()
}

/// Prints a summary for people.
fn tell(summary: &Summary) {
    // Of one part alone, the whole says nothing more.
    let overall = summary.overall.iter().filter(|_| summary.parts.len() > 1);
    for part in summary.parts.iter().chain(overall) {
        let wrapper = part.wrapper.as_ref().map(|w| format!(" + {w}")).unwrap_or_default();
        let missing = match part.n_missing {
            0 => String::new(),
            n => format!(", {n} still missing"),
        };
        output::line(format!("{}{wrapper}: {} items{missing}", part.suite, part.n));
        for (name, metric) in &part.metrics {
            let Metric { value, low, high, n } = metric;
            output::line(format!("  {name:<32} {value:>9.3}  ({low:.3} to {high:.3}, n {n})"));
        }
    }
}

#[derive(Serialize)]
struct Listed<'a> {
    name: &'a str,
    title: &'a str,
    kind: r2d_eval::item::Kind,
    data: String,
    origin: &'a str,
    licence: &'a str,
}

fn list(data: Option<&Path>, json: bool) {
    for suite in suite::builtin() {
        let manifest = &suite.manifest;
        let listed = Listed {
            name: &manifest.name,
            title: &manifest.title,
            kind: manifest.kind,
            data: place(suite.presence(data)),
            origin: &manifest.source.origin,
            licence: &manifest.source.licence,
        };
        if json {
            output::json(&listed);
        } else {
            let Listed { name, title, data, origin, licence, .. } = listed;
            output::line(format!("{name:<18} {title}"));
            output::line(format!("{:18} {data}; {licence}; {origin}", ""));
        }
    }
    if !json {
        output::line("");
        output::line("wrappers (--wrap NAME, FAMILY or all):");
        for wrapper in r2d_eval::wrapper::all() {
            output::line(format!("{:<18} {}", wrapper.name, wrapper.family));
        }
    }
}

/// Where a suite's data is, in words.
fn place(presence: Presence) -> String {
    let names = |files: Vec<PathBuf>| {
        files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ")
    };
    match presence {
        Presence::Inside => "part of the program".into(),
        Presence::Found(files) => format!("found: {}", names(files)),
        Presence::Missing(files) => format!("missing: {}", names(files)),
        Presence::NoFolder => "not looked for; hint: --data DIR".into(),
    }
}
