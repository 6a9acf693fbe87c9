//! `adapters`: lists, shows, takes in, puts in force and removes LoRA adapters.
//!
//! The work is in [`crate::models::adapters`]; here are its words, and the trial of an adapter before it is put in force.
//! A running `serve` sees the change by itself.

use crate::exit::Exit;
use crate::models::adapters::{AUTO, Adapters, NONE};
use crate::models::{Bar, Models};
use crate::output;
use crate::self_test::SelfTest;
use crate::source::Source;
use crate::weights::{self, Loading, Opened};
use clap::Subcommand;
use serde::Serialize;
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the adapters that are here, and which are in force
    List {
        /// Print the adapters as JSON lines
        #[arg(long)]
        json: bool,
    },
    /// Say what an adapter was made of and measured at, as JSON
    Show {
        /// Name, as `adapters list` shows it
        name: String,
    },
    /// Take an adapter file in
    Import {
        /// The file, as `distill train` writes it
        file: PathBuf,
        /// Name to give it; its own when left out
        #[arg(long)]
        name: Option<String>,
    },
    /// Put an adapter in force on the configured model, behind a self-test; `none` runs without
    Activate {
        /// Name
        name: String,
    },
    /// Put that in force which was before
    Rollback,
    /// Remove an adapter that is not in force
    Rm {
        /// Name
        name: String,
    },
}

/// Does what was asked.
pub(crate) fn run(loading: &Loading<'_>, command: &Command) -> anyhow::Result<Exit> {
    let adapters = Adapters::open(loading.home)?;
    match command {
        Command::List { json } => list(loading, &adapters, *json)?,
        Command::Show { name } => show(&adapters, name)?,
        Command::Import { file, name } => {
            let own = || Ok::<_, anyhow::Error>(r2d_distill::adapter::read(file)?.provenance.name);
            let name = name.clone().map_or_else(own, Ok)?;
            let adapter = adapters.import(file, &name, None, &mut Bar::default())?;
            output::line(format!("{} {} {}", adapter.name, adapter.sha256, adapter.path.display()));
        }
        Command::Activate { name } => activate(loading, &adapters, name)?,
        Command::Rollback => {
            let base = weights::base(loading)?;
            let now = adapters.rollback(&base.sha256)?;
            output::line(format!("{}: {} is in force", base.name, now.as_deref().unwrap_or(NONE)));
        }
        Command::Rm { name } => {
            let freed = adapters.remove(name)?;
            output::line(format!("{name} removed, {:.1} MB freed", freed as f64 / 1e6));
        }
    }
    Ok(Exit::Done)
}

fn list(loading: &Loading<'_>, adapters: &Adapters, json: bool) -> anyhow::Result<()> {
    let models = Models::open(loading.home)?.list();
    for listing in adapters.list()? {
        if json {
            output::json(&listing);
            continue;
        }
        let is_base = |m: &&crate::models::Listing| {
            m.manifest.sha256.is_some_and(|sha256| sha256.to_string() == listing.base_sha256)
        };
        let base = models.iter().find(is_base).map_or("an unknown model", |m| m.manifest.name.as_str());
        let state = match (&listing.damaged, &listing.refused, listing.in_force) {
            (Some(why), ..) => format!("damaged: {why}"),
            (None, Some(refused), _) => format!("refused: {}", refused.reason),
            (None, None, true) => "in force".into(),
            (None, None, false) => String::new(),
        };
        let sha256 = listing.sha256.to_string();
        output::line(format!("{:24} {} for {base:24} {state}", listing.name, &sha256[..12]).trim_end());
    }
    Ok(())
}

#[derive(Serialize)]
struct Shown<'a> {
    name: &'a str,
    sha256: String,
    #[serde(flatten)]
    info: r2d_distill::adapter::AdapterInfo,
    /// What `distill run` measured before it offered the adapter.
    measured: Option<serde_json::Value>,
}

fn show(adapters: &Adapters, name: &str) -> anyhow::Result<()> {
    let adapter = adapters.verify(name)?;
    let measured = adapters.measured(name).and_then(|text| serde_json::from_str(&text).ok());
    output::json(&Shown { name, sha256: adapter.sha256.to_string(), info: adapter.info, measured });
    Ok(())
}

fn activate(loading: &Loading<'_>, adapters: &Adapters, name: &str) -> anyhow::Result<()> {
    let base = weights::base(loading)?;
    if name != NONE {
        let adapter = adapters.verify(name)?;
        adapter.info.check_base(&base.sha256).map_err(crate::models::adapters::AdaptersError::from)?;
        try_on(loading, &base.with_adapter(Some(&adapter)))?;
    }
    let before = adapters.activate(name, &base.sha256)?;
    output::line(format!("{}: {name} is in force, behind {}", base.name, before.as_deref().unwrap_or(NONE)));
    if name == NONE {
        base.tell_if_untaught(loading.config);
    }
    if loading.config.model.adapter != AUTO {
        let named = &loading.config.model.adapter;
        output::warn(format!(
            "model.adapter = {named:?} is configured, so this changes nothing; hint: take the key out"
        ));
    }
    Ok(())
}

/// Loads the weights in a process of their own first, then tries them.
fn try_on(loading: &Loading<'_>, weights: &Opened) -> anyhow::Result<()> {
    if let Source::Gguf { path, adapter, .. } = &weights.source {
        weights::try_out(path, adapter.as_deref())?;
    }
    weights
        .source
        .clone()
        .open(loading.config.model.system.clone(), SelfTest { taught: Some(loading.config.policy.min_mass) })
}
