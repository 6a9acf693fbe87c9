//! `models`: lists, fetches, imports, verifies and removes models.
//!
//! The work is in [`crate::models`]; here are its words and the question for a licence.

use crate::exit::{Exit, UsageError};
use crate::models::{Bar, DEFAULT_MODEL, Licence, Models, Origin, State};
use crate::output;
use clap::Subcommand;
use r2d_distill::gguf::{Gguf, GgufError};
use serde::Serialize;
use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the models that are known, and which are here
    List {
        /// Print the models as JSON lines
        #[arg(long)]
        json: bool,
    },
    /// Fetch a model by its name
    Pull {
        /// Name, as `models list` shows it
        #[arg(default_value = DEFAULT_MODEL)]
        name: String,
        /// Accept the model's licence without being asked
        #[arg(long)]
        accept_licence: bool,
    },
    /// Take a GGUF file in, from a USB stick for example
    Import {
        /// The file
        file: PathBuf,
        /// Name to give it; a file with a known SHA-256 has its name already
        #[arg(long)]
        name: Option<String>,
    },
    /// Compare a model's SHA-256, or that of all models here
    Verify {
        /// Name; all that are here when left out
        name: Option<String>,
    },
    /// Print the path of a verified model
    Path {
        /// Name, or a path to a GGUF file
        #[arg(default_value = DEFAULT_MODEL)]
        name: String,
    },
    /// Remove a model, or forget the pin of a file outside
    Rm {
        /// Name, or the path of a file that was used before
        name: String,
    },
}

#[derive(Serialize)]
struct Line<'a> {
    name: &'a str,
    title: &'a str,
    state: &'static str,
    licence: &'a str,
    size: Option<u64>,
    min_ram_mb: Option<u32>,
    origin: &'static str,
}

/// Does what was asked.
pub(crate) fn run(home: &Path, command: Command) -> anyhow::Result<Exit> {
    let models = Models::open(home)?;
    match command {
        Command::List { json } => list(&models, json),
        Command::Pull { name, accept_licence } => {
            let mut consent = |licence: &Licence, notice: Option<&str>| ask(licence, notice, accept_licence);
            let verified = models.pull(&name, &mut consent, &mut Bar::default())?;
            output::line(format!("{} {} {}", verified.name, verified.sha256, verified.path.display()));
            Ok(Exit::Done)
        }
        Command::Import { file, name } => {
            // llama.cpp would find out at the first request.
            if let Err(damaged @ GgufError::Damaged { .. }) = Gguf::open(&file) {
                return Err(UsageError(format!("{damaged}; hint: copy the file anew")).into());
            }
            let verified = models.import(&file, name.as_deref(), &mut Bar::default())?;
            output::line(format!("{} {} {}", verified.name, verified.sha256, verified.path.display()));
            Ok(Exit::Done)
        }
        Command::Verify { name } => verify(&models, name),
        Command::Path { name } => {
            output::line(models.resolve(&name)?.path.display().to_string());
            Ok(Exit::Done)
        }
        Command::Rm { name } => {
            let freed = models.remove(&name)?;
            output::line(format!("{name} removed, {:.1} MB freed", freed as f64 / 1e6));
            Ok(Exit::Done)
        }
    }
}

fn list(models: &Models, json: bool) -> anyhow::Result<Exit> {
    for listing in models.list() {
        let m = &listing.manifest;
        let (state, size) = match &listing.state {
            State::Absent => ("absent", m.size),
            State::Partial { .. } => ("partial", m.size),
            State::Present { size } => ("present", Some(*size)),
            State::Damaged { .. } => ("damaged", m.size),
        };
        let line = Line {
            name: &m.name,
            title: &m.title,
            state,
            licence: &m.licence.name,
            size,
            min_ram_mb: m.min_ram_mb,
            origin: match listing.origin {
                Origin::BuiltIn => "built-in",
                Origin::User => "user",
            },
        };
        if json {
            output::json(&line);
        } else {
            let size = size.map_or_else(|| "size unknown".into(), |s| format!("{:.0} MB", s as f64 / 1e6));
            let checked = if m.unverified.is_some() { ", not verified by us" } else { "" };
            let ram = m.min_ram_mb.map_or_else(String::new, |mb| format!(", from {mb} MB RAM"));
            output::line(format!(
                "{state:<8} {:<24} {size:>12}  {}{ram} ({}{checked})",
                m.name, m.title, m.licence.name
            ));
        }
        if let State::Damaged { reason } = &listing.state {
            output::warn(format!("{}: {reason}", m.name));
        }
    }
    models.rejected().iter().for_each(|fault| output::warn(fault.to_string()));
    Ok(Exit::Done)
}

fn verify(models: &Models, name: Option<String>) -> anyhow::Result<Exit> {
    let here = |state: &State| !matches!(state, State::Absent);
    let names = match name {
        Some(name) => vec![name],
        None => models.list().into_iter().filter(|l| here(&l.state)).map(|l| l.manifest.name).collect(),
    };
    let mut exit = Exit::Done;
    for name in names {
        match models.verify(&name) {
            Ok(verified) => output::line(format!("ok    {} {}", verified.name, verified.sha256)),
            Err(fault) => {
                output::line(format!("fail  {name}: {fault}"));
                exit = Exit::Refused;
            }
        }
    }
    Ok(exit)
}

/// Shows a licence and asks; without a terminal the answer is no unless it was given before.
fn ask(licence: &Licence, notice: Option<&str>, accepted: bool) -> bool {
    output::note(format!("licence: {} ({})", licence.name, licence.url));
    if let Some(notice) = notice {
        output::note(notice);
    }
    if accepted || !std::io::stdin().is_terminal() {
        return accepted;
    }
    let mut stderr = std::io::stderr();
    let mut answer = String::new();
    let asked = write!(stderr, "Do you accept it? [y/N] ").and_then(|()| stderr.flush());
    asked.is_ok()
        && std::io::stdin().lock().read_line(&mut answer).is_ok()
        && matches!(answer.trim(), "y" | "Y" | "yes")
}
