//! The command line: what can be said, and which module does it.
//!
//! No work is done here beyond turning words into arguments. Every configuration key is reachable by `--set`; the
//! options with names of their own are shorthands for the same keys.

use crate::board;
use crate::config::{self, Config, Loaded, Platform, Sources};
use crate::exit::{Exit, UsageError};
use crate::weights::Loading;
use crate::{
    adapters_command, ask, audit_command, bench, bundle_command, check_up, distill_command, eval_command,
    models_command, output, self_test, serve,
};
use anyhow::Context;
use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use r2d_core::request::Task;
use r2d_engine::Guard;
use std::path::PathBuf;

/// Pivot-checked language models on boards beside machines.
///
/// The model reasons in steps, each closed by [SAFE], [UNSAFE] or [RETHINK]; the runtime reads these pivots, lets
/// out only what passed and publishes the verdict over MQTT. Verdicts are advice, never a safety function.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Exit codes: 0 done or allowed, 1 refused or a check failed, 2 usage or configuration, 3 failure at run time."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Global {
    /// Configuration file
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set a configuration key for this run (see `config show`)
    #[arg(long = "set", global = true, value_name = "KEY=VALUE")]
    sets: Vec<String>,
}

/// Shorthands for keys that differ from run to run.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ModelChoice {
    /// Model: a name of `models list`, a .gguf file, or scripted:FILE  [key: model.name]
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// LoRA adapter on the model: auto, none, a name of `adapters list`, or a .gguf file  [key: model.adapter]
    #[arg(long, value_name = "NAME")]
    adapter: Option<String>,
    /// How much to reason: full, brief, none  [key: policy.depth]
    #[arg(long, value_name = "DEPTH")]
    depth: Option<String>,
    /// File with policy keys, as in the configuration's [policy] section
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
}

impl ModelChoice {
    /// The same choice with `adapter`.
    pub(crate) fn with_adapter(&self, adapter: &str) -> Self {
        Self { adapter: Some(adapter.to_owned()), ..self.clone() }
    }

    /// Whether a model or an adapter was named on the command line.
    pub(crate) fn names_a_model(&self) -> bool {
        self.model.is_some() || self.adapter.is_some()
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Ask a question: steps, pivots, answer and verdict appear as they come
    Ask {
        /// The question; - reads it from stdin
        prompt: String,
        #[command(flatten)]
        model: ModelChoice,
        /// Print the events as JSON lines
        #[arg(long)]
        json: bool,
        /// Answer without any check, for comparison; the verdict stays undecided
        #[arg(long)]
        unguarded: bool,
    },
    /// Judge a request without answering it
    Check {
        /// The request; - reads it from stdin
        prompt: String,
        #[command(flatten)]
        model: ModelChoice,
        /// Print the events as JSON lines
        #[arg(long)]
        json: bool,
    },
    /// Serve requests over MQTT
    Serve {
        #[command(flatten)]
        model: ModelChoice,
    },
    /// Look over the machine, the model and the broker
    Doctor {
        /// Print the checks as JSON lines
        #[arg(long)]
        json: bool,
        /// Print the limits of this board for the systemd unit, and check nothing
        #[arg(long, conflicts_with = "json")]
        unit: bool,
    },
    /// Measure speed, memory and what guarding costs
    Bench {
        #[command(flatten)]
        model: ModelChoice,
        /// Print the report as JSON
        #[arg(long)]
        json: bool,
        /// Rounds that count; the medians are told
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=100))]
        rounds: u8,
    },
    /// Measure safety, over-refusal, usefulness and time
    #[command(subcommand)]
    Eval(eval_command::Command),
    /// Make trajectories, look over them, and train an adapter on the model's own quantised file
    #[command(subcommand)]
    Distill(distill_command::Command),
    /// Read and verify the audit log
    #[command(subcommand)]
    Audit(audit_command::Command),
    /// List, take in, put in force and remove adapters
    #[command(subcommand)]
    Adapters(adapters_command::Command),
    /// List, fetch, import, verify and remove models
    #[command(subcommand)]
    Models(models_command::Command),
    /// Make, verify and install signed bundles that bring a board without a network to a new release
    #[command(subcommand)]
    Bundle(bundle_command::Command),
    /// Check and show the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print a completion script for a shell
    Completions {
        /// bash, zsh, fish, elvish or powershell
        shell: Shell,
    },
    /// Write the manual pages, one for each command
    #[command(hide = true)]
    Man {
        /// Folder
        folder: PathBuf,
    },
    /// Try the configured weights as a service does before it judges with them; exit code 0 or 1
    SelfTest {
        #[command(flatten)]
        model: ModelChoice,
        /// End with whoever holds stdin open, and say `passed N` behind success: a bundle's trial asks so
        #[arg(long, value_name = "N", hide = true)]
        token: Option<String>,
    },
    /// Load a model file and end: the trial of a file that was never seen before
    #[command(name = crate::weights::TRY_OUT, hide = true)]
    TryModel {
        /// The file
        file: PathBuf,
        /// An adapter on it
        adapter: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Check the configuration and say what is wrong
    Check,
    /// Show every key with its value and where that came from
    Show {
        /// Print the keys as JSON lines
        #[arg(long)]
        json: bool,
    },
    /// Print a configuration file with every key and its default
    Example,
}

impl Cli {
    /// Does what was asked.
    pub(crate) fn run(self) -> anyhow::Result<Exit> {
        let Self { global, command } = self;
        let home = config::state_home(&lookup, Platform::here());
        match command {
            Command::Completions { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut Self::command(), "r2d-edge", &mut script);
                output::raw(&String::from_utf8_lossy(&script));
                Ok(Exit::Done)
            }
            Command::Man { folder } => {
                clap_mangen::generate_to(Self::command().name("r2d-edge"), &folder)
                    .with_context(|| format!("cannot write manual pages to {}", folder.display()))?;
                Ok(Exit::Done)
            }
            Command::TryModel { file, adapter } => {
                crate::weights::load_once(&file, adapter.as_deref()).map(|()| Exit::Done)
            }
            Command::Config(command) => configure(&global, &command),
            Command::Eval(command) => {
                eval_command::run(command, &home, &|choice| Ok(global.load(choice)?.config))
            }
            Command::Distill(command) => {
                distill_command::run(command, &home, &|choice| Ok(global.load(choice)?.config))
            }
            Command::Audit(command) => audit_command::run(&home, &command),
            Command::Adapters(command) => {
                let config = global.load(&ModelChoice::default())?.config;
                adapters_command::run(&Loading { config: &config, home: &home }, &command)
            }
            Command::Models(command) => models_command::run(&home, command),
            Command::Bundle(command) => {
                bundle_command::run(&command, &home, global.file().as_deref(), &|| {
                    Ok(global.load(&ModelChoice::default())?.config)
                })
            }
            Command::SelfTest { model, token } => {
                let config = global.load(&model)?.config;
                self_test::command(&Loading { config: &config, home: &home }, token.as_deref())
            }
            Command::Doctor { json, unit } => {
                let config = global.load(&ModelChoice::default())?.config;
                if unit {
                    return check_up::unit(&config);
                }
                check_up::run(&Loading { config: &config, home: &home }, json)
            }
            Command::Ask { prompt, model, json, unguarded } => {
                let config = global.load(&model)?.config;
                let guard = if unguarded { Guard::Off } else { Guard::On };
                let question = ask::Question { prompt, task: Task::Ask, guard, json };
                ask::run(&Loading { config: &config, home: &home }, question)
            }
            Command::Check { prompt, model, json } => {
                let config = global.load(&model)?.config;
                let question = ask::Question { prompt, task: Task::Check, guard: Guard::On, json };
                ask::run(&Loading { config: &config, home: &home }, question)
            }
            Command::Serve { model } => {
                let config = global.load(&model)?.config;
                serve::run(&Loading { config: &config, home: &home })
            }
            Command::Bench { model, json, rounds } => {
                let config = global.load(&model)?.config;
                let tell = |round| {
                    if !json {
                        output::note(if round == 0 { "warming up".into() } else { format!("round {round}") });
                    }
                };
                let report =
                    bench::run(&Loading { config: &config, home: &home }, usize::from(rounds), tell)?;
                if json {
                    output::json(&report)
                } else {
                    output::line(report.table())
                }
                Ok(Exit::Done)
            }
        }
    }
}

fn lookup(name: &str) -> Option<std::ffi::OsString> {
    std::env::var_os(name)
}

impl Global {
    /// The configuration file, if there is one.
    fn file(&self) -> Option<PathBuf> {
        config::config_file(self.config.as_deref(), &lookup, Platform::here(), &|p| p.exists())
    }

    /// The configuration from all its sources, the shorthands as flags of their own.
    fn load(&self, model: &ModelChoice) -> anyhow::Result<Loaded> {
        let mut sets = Vec::new();
        if let Some(file) = &model.policy {
            sets.extend(policy_keys(file)?);
        }
        let shorthands = [
            ("model.name", model.model.clone()),
            ("model.adapter", model.adapter.clone()),
            ("policy.depth", model.depth.clone()),
        ];
        sets.extend(shorthands.into_iter().filter_map(|(key, value)| Some(format!("{key}={}", value?))));
        sets.extend(self.sets.iter().cloned());
        let mut sources = Sources {
            file: self.file(),
            env: std::env::vars_os().collect(),
            sets,
            board: None,
            host_name: config::host_name(),
        };
        // The profile's name is a key itself, so the keys are read once without a profile.
        let name = Config::load(&sources)?.config.board.profile;
        let facts = board::Facts::read(std::path::Path::new("/"));
        let profile = board::choose(&name, &facts).map_err(|e| UsageError(e.to_string()))?;
        sources.board = profile.map(|p| p.defaults());
        Ok(Config::load(&sources)?)
    }
}

/// The keys of a policy file as `--set` words, so that they are checked like any other.
fn policy_keys(file: &std::path::Path) -> anyhow::Result<Vec<String>> {
    let text = std::fs::read_to_string(file)
        .map_err(|e| UsageError(format!("cannot read the policy {}: {e}", file.display())))?;
    let table: toml::Table =
        text.parse().map_err(|e| UsageError(format!("{} is not TOML: {e}", file.display())))?;
    let table = match table.get("policy") {
        Some(toml::Value::Table(inner)) if table.len() == 1 => inner.clone(),
        _ => table,
    };
    let word = |value: &toml::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    Ok(table.iter().map(|(key, value)| format!("policy.{key}={}", word(value))).collect())
}

fn configure(global: &Global, command: &ConfigCommand) -> anyhow::Result<Exit> {
    match command {
        ConfigCommand::Example => output::raw(&Config::example()),
        ConfigCommand::Check => {
            global.load(&ModelChoice::default()).context("the configuration is not valid")?;
            output::line("the configuration is valid");
        }
        ConfigCommand::Show { json } => {
            for key in global.load(&ModelChoice::default())?.keys() {
                if *json {
                    output::json(&key);
                } else {
                    output::line(format!("{} = {}  # {}", key.key, key.value_text(), key.origin));
                }
            }
        }
    }
    Ok(Exit::Done)
}
