//! The trial of a release before it is put in force: its own program tests itself on the weights it would run with.
//!
//! Only the process is looked after here, from both ends; what the self-test asks is in [`crate::self_test`].
//! Invariants: the new program gets a home of its own, so it cannot change what the old one lives on; it
//! passes only by saying so with the token of this very trial; it ends with the process that began it, which
//! holds its stdin.

use super::error::BundleError;
use super::manifest::Manifest;
use super::stock::{adapter_file, model_file, stored_name};
use crate::exit::Exit;
use crate::models::adapters::{AUTO, Adapters, NONE};
use crate::models::{self, Models, ModelsError, create_folder, is_path};
use crate::weights::Loading;
use rustix::process::{Pid, Signal, getpid, kill_process_group};
use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How often the child is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// Most bytes of what it said that are looked at, of stdout and of stderr.
const SAID: u64 = 4096;
/// What a program says that knows no self-test, or none with a token.
const TOO_OLD: [&str; 2] = ["unexpected argument '--token'", "unrecognized subcommand 'self-test'"];

/// What helps most often: a trial needs the memory of a second model.
const HINT: &str = "if memory is short, stop the service first; else try the release on a spare board";
/// What helps where the program is none of this trial's.
const NEWER: &str = "make the bundle with a package whose program is as new as this one, or newer";

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
    let models = Models::open(loading.home)?;
    let stored = release.model().map(|part| stored_name(&models, part)).transpose()?;
    let (model, known, base) = match release.model() {
        _ if config.name.starts_with("scripted:") => (config.name.clone(), None, String::new()),
        Some(part) if stored.as_ref() == Some(&config.name) => {
            // A model that is here under this name keeps what is known of it here.
            let here = models.resolve(&config.name).ok().and_then(|verified| verified.manifest);
            let known = here.map_or_else(|| part.known().map_err(BundleError::Input), Ok)?;
            (text(&model_file(folder)), Some(known), part.sha256.to_string())
        }
        _ => {
            let verified = models.resolve(&config.name);
            let verified = verified.map_err(|error| no_model(error, &config.name, stored.as_deref()))?;
            (text(&verified.path), verified.manifest, verified.sha256.to_string())
        }
    };
    let used = |name: &str| config.adapter == AUTO || config.adapter == name;
    let adapter = match release.adapter() {
        Some(part) if part.base_sha256 == base && used(&part.adapter) => text(&adapter_file(folder)),
        Some(part) if part.base_sha256 != base && release.model().is_none() => {
            let reason = format!("`{}` is an adapter on another model than {}", part.adapter, config.name);
            return Err(BundleError::SelfTest { reason, hint: "put the model into the bundle too" });
        }
        // None, or one that the configuration passes over.
        _ => adapter_here(&config.adapter, &base, loading.home)?,
    };
    Ok(Weights { model, adapter, known })
}

/// What a configured model is that can be found neither here nor in the bundle, which brings `brought`.
fn no_model(error: ModelsError, name: &str, brought: Option<&str>) -> BundleError {
    let absent = match &error {
        ModelsError::Io { source, .. } => source.kind() == ErrorKind::NotFound,
        other => other.is_usage(),
    };
    if !absent {
        return error.into();
    }
    // The hint is the bundle's own.
    let reason = error.to_string().split("; hint:").next().unwrap_or_default().to_owned();
    let brought = brought.map_or_else(|| "no model".to_owned(), |name| format!("the model `{name}`"));
    BundleError::NoModel { name: name.to_owned(), brought, reason }
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
    let trial = folder.join("trial");
    let home = trial.join("home");
    create_folder(&home)?;
    if let Some(known) = &weights.known {
        Models::open(&home)?.describe(known)?;
    }
    let [out, err] = ["stdout", "stderr"].map(|name| trial.join(name));
    let create = |path: &Path| File::create(path).map_err(BundleError::io("create", path));
    let token = format!("{:016x}", RandomState::new().build_hasher().finish());
    let mut command = Command::new(program(folder));
    command
        .args(["self-test", "--model", &weights.model, "--adapter", &weights.adapter, "--token", &token])
        .env("R2D_HOME", &home)
        // Held and never written to: it ends when this process does, however that comes about.
        .stdin(Stdio::piped())
        .stdout(create(&out)?)
        .stderr(create(&err)?)
        // A group of its own, so that what it starts ends with it.
        .process_group(0);
    if let Some(file) = config_file {
        command.env("R2D_CONFIG", file);
    }
    let failed = |reason: String, hint| BundleError::SelfTest { reason, hint };
    let mut child = command.spawn().map_err(|e| failed(format!("its program does not start: {e}"), HINT))?;
    let ended = wait(&mut child, limit).map_err(BundleError::io("wait for", &program(folder)))?;
    let said = tail(&out);
    match ended {
        Some(status) if status.success() && said.lines().any(|line| line == passed(&token)) => {}
        Some(status) if status.success() => {
            let reason = "its program ended well without this trial's token on a line of stdout";
            return Err(failed(reason.to_owned(), NEWER));
        }
        Some(status) => {
            let said = format!("{said}\n{}", tail(&err));
            let words = last_words(&said);
            let old = status.code() == Some(Exit::Usage as i32) && TOO_OLD.iter().any(|w| words.contains(w));
            let (what, hint) = if old { ("its program knows no such test: ", NEWER) } else { ("", HINT) };
            return Err(failed(format!("{what}{words} ({status})"), hint));
        }
        None => return Err(failed(format!("it was not done after {} s", limit.as_secs()), HINT)),
    }
    fs::remove_dir_all(&trial).map_err(BundleError::io("remove", &trial))
}

/// The line by which a program says that it passed the trial of this token.
pub(crate) fn passed(token: &str) -> String {
    format!("passed {token}")
}

/// Has this process, and what it started, end with whoever holds its stdin open: the child's side of a trial.
pub(crate) fn end_with_stdin() -> io::Result<()> {
    std::thread::Builder::new().name("stdin".into()).spawn(watch_stdin).map(|_handle| ())
}

fn watch_stdin() {
    // Nobody writes there: there is an end, sooner or later, or an error.
    let _read = io::copy(&mut io::stdin(), &mut io::sink());
    // Only a group that this process leads, as in a trial: else there is none of that number.
    let _killed = kill_process_group(getpid(), Signal::KILL);
    std::process::exit(Exit::Failed as i32);
}

/// Waits for the end, or ends the child and all it started.
fn wait(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let began = Instant::now();
    while began.elapsed() < limit {
        if let Some(status) = child.try_wait()? {
            // What it left behind, if anything: the slot is not its own any more.
            let _none = kill_process_group(Pid::from_child(child), Signal::KILL);
            return Ok(Some(status));
        }
        std::thread::sleep(LOOK);
    }
    kill_process_group(Pid::from_child(child), Signal::KILL)?;
    child.wait()?;
    Ok(None)
}

/// The end of what was said to `file`.
fn tail(file: &Path) -> String {
    let read = || {
        let mut file = File::open(file)?;
        let start = file.metadata()?.len().saturating_sub(SAID);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.take(SAID).read_to_end(&mut bytes)?;
        Ok::<_, io::Error>(bytes)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}

/// The line that says most: the last error, else the last line.
fn last_words(said: &str) -> String {
    let mut lines = said.lines().rev().map(str::trim).filter(|line| !line.is_empty());
    let error = lines.clone().find(|line| line.contains("error:"));
    let line = error.or_else(|| lines.next()).unwrap_or("it gave no reason");
    line.trim_start_matches("error: ").to_owned()
}
