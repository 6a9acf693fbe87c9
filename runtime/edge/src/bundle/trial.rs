//! The trial of a release before it is put in force: its own program tests itself on the weights it would run with.
//!
//! Only the process is looked after here; what the self-test asks is in [`crate::self_test`]. Invariant: the new
//! program gets a home of its own, so it cannot change what the old one lives on.

use super::error::BundleError;
use super::manifest::Manifest;
use super::stock::{adapter_file, model_file};
use crate::models::adapters::{AUTO, Adapters, NONE};
use crate::models::{self, Models, create_folder, is_path};
use crate::weights::Loading;
use rustix::process::{Pid, Signal, kill_process_group};
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How often the child is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// Most bytes of what it said that are looked at.
const SAID: usize = 4096;

/// What helps most often: a trial needs the memory of a second model.
const HINT: &str = "if memory is short, stop the service first; else try the release on a spare board";

/// The program of the release in the slot `folder`.
pub(super) fn program(folder: &Path) -> PathBuf {
    folder.join("usr/bin/r2d-edge")
}

/// What the new program is tested on.
#[derive(Debug, PartialEq)]
pub(super) struct Weights {
    pub(super) model: String,
    pub(super) adapter: String,
    /// What is known of the model, for the program's own home.
    known: Option<models::Manifest>,
}

/// The model and adapter that a service under the new release would run with.
pub(super) fn weights(
    loading: &Loading<'_>,
    release: &Manifest,
    folder: &Path,
) -> Result<Weights, BundleError> {
    let config = &loading.config.model;
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let (model, known, base) = match release.model() {
        Some(part) => {
            let known = part.known().map_err(BundleError::Input)?;
            (text(&model_file(folder)), Some(known), part.sha256.to_string())
        }
        None if config.name.starts_with("scripted:") => (config.name.clone(), None, String::new()),
        None => {
            let verified = Models::open(loading.home)?.resolve(&config.name)?;
            (text(&verified.path), verified.manifest, verified.sha256.to_string())
        }
    };
    let adapter = match release.adapter() {
        Some(part) if part.base_sha256 == base => text(&adapter_file(folder)),
        Some(part) => {
            let reason = format!("`{}` is an adapter on another model than {}", part.adapter, config.name);
            return Err(BundleError::SelfTest { reason, hint: "put the model into the bundle too" });
        }
        None => adapter_here(&config.adapter, &base, loading.home)?,
    };
    Ok(Weights { model, adapter, known })
}

/// The adapter that is used here, in words that hold in another home.
fn adapter_here(spec: &str, base: &str, home: &Path) -> Result<String, BundleError> {
    let adapters = Adapters::open(home)?;
    let chosen = if spec == AUTO { adapters.chosen_by_hand(base)? } else { Some(spec.to_owned()) };
    Ok(match chosen {
        // The new program has its own idea of what goes with a model.
        None => AUTO.to_owned(),
        Some(path) if is_path(&path) => {
            let path = Path::new(&path);
            std::path::absolute(path).map_err(BundleError::io("find", path))?.to_string_lossy().into_owned()
        }
        Some(name) if name == NONE || Adapters::ships(&name)? => name,
        Some(name) => adapters.verify(&name)?.path.to_string_lossy().into_owned(),
    })
}

/// Runs the self-test of the program in the slot `folder`.
pub(super) fn run(
    folder: &Path,
    weights: &Weights,
    config_file: Option<&Path>,
    limit: Duration,
) -> Result<(), BundleError> {
    let home = folder.join("home");
    create_folder(&home)?;
    if let Some(known) = &weights.known {
        Models::open(&home)?.describe(known)?;
    }
    let log = folder.join("self-test.log");
    let said = File::create(&log).map_err(BundleError::io("create", &log))?;
    let too = said.try_clone().map_err(BundleError::io("open", &log))?;
    let mut command = Command::new(program(folder));
    command
        .args(["self-test", "--model", &weights.model, "--adapter", &weights.adapter])
        .env("R2D_HOME", &home)
        .stdin(Stdio::null())
        .stdout(said)
        .stderr(too)
        // A group of its own, so that what it starts ends with it.
        .process_group(0);
    if let Some(file) = config_file {
        command.env("R2D_CONFIG", file);
    }
    let failed = |reason: String| BundleError::SelfTest { reason, hint: HINT };
    let mut child = command.spawn().map_err(|e| failed(format!("its program does not start: {e}")))?;
    match wait(&mut child, limit).map_err(BundleError::io("wait for", &program(folder)))? {
        Some(status) if status.success() => {}
        Some(status) => return Err(failed(format!("{} ({status})", last_words(&log)))),
        None => return Err(failed(format!("it was not done after {} s", limit.as_secs()))),
    }
    fs::remove_dir_all(&home).map_err(BundleError::io("remove", &home))?;
    fs::remove_file(&log).map_err(BundleError::io("remove", &log))
}

/// Waits for the end, or ends the child and all it started.
fn wait(child: &mut Child, limit: Duration) -> std::io::Result<Option<ExitStatus>> {
    let began = Instant::now();
    while began.elapsed() < limit {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        std::thread::sleep(LOOK);
    }
    kill_process_group(Pid::from_child(child), Signal::KILL)?;
    child.wait()?;
    Ok(None)
}

/// The line that says most: the last error, else the last line.
fn last_words(log: &Path) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(SAID)..]).into_owned();
    let mut lines = text.lines().rev().map(str::trim).filter(|line| !line.is_empty());
    let error = lines.clone().find(|line| line.contains("error:"));
    let line = error.or_else(|| lines.next()).unwrap_or("it gave no reason");
    line.trim_start_matches("error: ").to_owned()
}
