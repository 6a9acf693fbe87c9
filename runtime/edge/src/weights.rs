//! From the configuration's model name to weights that may be loaded: found, verified, and small enough.
//!
//! Nothing is parsed here before its SHA-256 was compared. A file that was never seen before is tried in a child
//! process first, because llama.cpp aborts on some damaged files: then the child dies and this process says why.

use crate::config::Config;
use crate::doctor::{self, Level};
use crate::exit::UsageError;
use crate::models::adapters::{AUTO, Adapter, Adapters, AdaptersError, NONE};
use crate::models::{Digest, Models, Verified, digest_of, is_path};
use crate::source::Source;
use crate::worker::{Candidate, Options};
use anyhow::{Context, bail};
use r2d_core::record::Weights;
use r2d_engine::llama::{ContextOptions, FileInfo};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What opening weights needs to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loading<'a> {
    /// The configuration.
    pub(crate) config: &'a Config,
    /// The state folder.
    pub(crate) home: &'a Path,
}

/// Verified weights.
#[derive(Clone, Debug)]
pub(crate) struct Opened {
    /// The model's name.
    pub(crate) name: String,
    /// SHA-256 of the model.
    pub(crate) sha256: String,
    /// Name, or path, of the adapter.
    pub(crate) adapter: Option<String>,
    /// SHA-256 of the adapter.
    pub(crate) adapter_sha256: Option<String>,
    /// The model itself.
    pub(crate) source: Source,
}

impl Opened {
    /// How a worker runs them; `try_first` as there, but a script has nothing to try.
    pub(crate) fn options(&self, config: &Config, try_first: bool) -> Options {
        Options {
            try_first: try_first && matches!(self.source, Source::Gguf { .. }),
            min_mass: config.policy.min_mass,
            first: self.candidate(),
            // A list that is none was refused with the configuration.
            cores: crate::affinity::parse(&config.model.cores).unwrap_or_default(),
            system: config.model.system.clone(),
            capacity: usize::from(config.service.queue) + usize::from(config.model.parallel),
        }
    }

    /// Warns where no adapter teaches the model its pivots.
    pub(crate) fn tell_if_untaught(&self, config: &Config) {
        if self.adapter.is_none()
            && matches!(self.source, Source::Gguf { .. })
            && config.policy.min_mass > 0.0
        {
            crate::output::warn(format!(
                "{} has no adapter: unless its own weights were taught pivots, all requests will be left undecided; hint: \
                 train one (`r2d-edge distill run`), or read it all the same with policy.min_mass=0",
                self.name
            ));
        }
    }

    /// The weights for a worker.
    pub(crate) fn candidate(&self) -> Candidate {
        Candidate { source: self.source.clone(), weights: self.named() }
    }

    /// The same model with `other` for its adapter; a script has none and stays as it is.
    pub(crate) fn with_adapter(&self, other: Option<&Adapter>) -> Self {
        let mut this = self.clone();
        if let Source::Gguf { adapter, .. } = &mut this.source {
            *adapter = other.map(|a| a.path.clone());
            this.adapter = other.map(|a| a.name.clone());
            this.adapter_sha256 = other.map(|a| a.sha256.to_string());
        }
        this
    }

    /// Model and adapter for people.
    pub(crate) fn title(&self) -> String {
        match &self.adapter {
            Some(adapter) => format!("{} with {adapter}", self.name),
            None => self.name.clone(),
        }
    }

    /// What a record says of them.
    pub(crate) fn named(&self) -> Weights {
        Weights {
            model: self.name.clone(),
            model_sha256: self.sha256.clone(),
            adapter_sha256: self.adapter_sha256.clone(),
        }
    }
}

/// Threads to decode with: as configured, else one for each core that the model is kept on, else for each
/// physical one that this process may use. A profile's number was cut to the usable cores where it was
/// chosen; one that a person set is taken at its word.
pub(crate) fn n_threads(config: &Config) -> u32 {
    let physical = || doctor::count_cores(Path::new("/")).map(|c| c.physical);
    let usable = || std::thread::available_parallelism().ok().map(usize::from);
    let kept = crate::affinity::parse(&config.model.cores).map_or(0, |cores| cores.len());
    match config.model.threads {
        0 if kept > 0 => u32::try_from(kept).unwrap_or(1),
        // A container may see more cores than it may use.
        0 => {
            let least = [physical(), usable()].into_iter().flatten().min();
            least.and_then(|n| u32::try_from(n).ok()).unwrap_or(1)
        }
        n => u32::from(n),
    }
}

/// How the context is made: the configured length for each of the requests side by side.
pub(crate) fn context(config: &Config) -> ContextOptions {
    let model = &config.model;
    ContextOptions {
        n_ctx: model.n_ctx.saturating_mul(u32::from(model.parallel)),
        n_batch: model.n_batch,
        n_slots: u32::from(model.parallel),
        n_threads: n_threads(config),
        kv_type: model.kv_type,
    }
}

/// Finds and verifies the configured model and adapter.
pub(crate) fn open(loading: &Loading<'_>) -> anyhow::Result<Opened> {
    let config = loading.config;
    if let Some(file) = config.model.name.strip_prefix("scripted:") {
        return scripted(Path::new(file), config);
    }
    check_cpu()?;
    let models = Models::open(loading.home)?;
    let verified = models.resolve(&config.model.name)?;
    let base = verified.sha256.to_string();
    let mut untried = Untried::new(&models);
    untried.add(&verified);
    let adapter = adapter_of(&config.model.adapter, &base, &mut untried, loading.home)?;
    untried.passed(&verified.path, adapter.as_ref().map(|a| a.path.as_path()))?;
    check_memory(&verified.path, config)?;
    Ok(without_adapter(verified, config).with_adapter(adapter.as_ref()))
}

/// Finds and verifies the configured model alone, a script excepted.
pub(crate) fn base(loading: &Loading<'_>) -> anyhow::Result<Opened> {
    let config = loading.config;
    if config.model.name.starts_with("scripted:") {
        return Err(UsageError("a scripted model takes no adapter; hint: set model.name".into()).into());
    }
    check_cpu()?;
    let models = Models::open(loading.home)?;
    let verified = models.resolve(&config.model.name)?;
    let mut untried = Untried::new(&models);
    untried.add(&verified);
    untried.passed(&verified.path, None)?;
    Ok(without_adapter(verified, config))
}

fn without_adapter(verified: Verified, config: &Config) -> Opened {
    let (template, pivots) = verified.manifest.map_or_else(Default::default, |m| (m.chat, m.pivots));
    Opened {
        name: verified.name,
        sha256: verified.sha256.to_string(),
        adapter: None,
        adapter_sha256: None,
        source: Source::Gguf {
            path: verified.path,
            adapter: None,
            template,
            pivots,
            context: context(config),
            gpu_layers: u32::from(config.model.gpu_layers),
        },
    }
}

/// The adapter that `spec` means on the base with SHA-256 `base`.
fn adapter_of(
    spec: &str,
    base: &str,
    untried: &mut Untried<'_>,
    home: &Path,
) -> anyhow::Result<Option<Adapter>> {
    let adapters = Adapters::open(home)?;
    if is_path(spec) {
        // An adapter decides as much as its model: it is pinned on its first use like a model outside the store.
        let path = std::path::absolute(spec).with_context(|| format!("cannot find {spec}"))?;
        let verified = untried.models.resolve(&path.to_string_lossy())?;
        untried.add(&verified);
        let info = r2d_distill::adapter::read(&verified.path).map_err(AdaptersError::from)?;
        // Adapters from elsewhere name no base; llama.cpp then compares shapes.
        if !info.provenance.base_sha256.is_empty() {
            info.check_base(base).map_err(AdaptersError::from)?;
        }
        let Verified { name, path, sha256, .. } = verified;
        return Ok(Some(Adapter { name, path, sha256, info }));
    }
    let name = match spec {
        NONE => None,
        AUTO => adapters.in_force(base)?,
        name => Some(name.to_owned()),
    };
    let Some(name) = name else { return Ok(None) };
    let adapter = adapters.verify(&name)?;
    adapter.info.check_base(base).map_err(AdaptersError::from)?;
    Ok(Some(adapter))
}

fn scripted(file: &Path, config: &Config) -> anyhow::Result<Opened> {
    let script = std::fs::read_to_string(file)
        .with_context(|| format!("cannot read the script {}", file.display()))?;
    Ok(Opened {
        name: format!("scripted:{}", file.display()),
        sha256: sha256_of(file)?.to_string(),
        adapter: None,
        adapter_sha256: None,
        source: Source::Scripted { script, n_slots: u32::from(config.model.parallel) },
    })
}

fn sha256_of(path: &Path) -> anyhow::Result<Digest> {
    digest_of(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Refuses to run kernels that this CPU cannot run: the first of them would end the process without a word.
fn check_cpu() -> anyhow::Result<()> {
    let features = doctor::features(Path::new("/"), &r2d_engine::llama::cpu_features());
    let check = doctor::check_cpu(&features);
    match check.level {
        Level::Fail => bail!("{}; hint: {}", check.detail, check.hint.unwrap_or_default()),
        Level::Warn | Level::Ok => Ok(()),
    }
}

/// Refuses a model that does not fit the memory that is free, with the sum.
fn check_memory(path: &Path, config: &Config) -> anyhow::Result<()> {
    let check = doctor::check_memory(memory_need(path, config)?, doctor::available_memory(Path::new("/")));
    match check.level {
        Level::Fail => bail!("{}; hint: {}", check.detail, check.hint.unwrap_or_default()),
        Level::Warn => crate::output::warn(check.detail),
        Level::Ok => {}
    }
    Ok(())
}

/// What the model at `path` needs under `config`.
pub(crate) fn memory_need(path: &Path, config: &Config) -> anyhow::Result<doctor::MemoryNeed> {
    let model = std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len();
    let context = context(config);
    let info = FileInfo::read(path)
        .with_context(|| format!("{} is not a GGUF model that is known", path.display()))?;
    Ok(doctor::MemoryNeed {
        model,
        kv: info.kv_bytes(context.n_ctx, context.kv_type),
        headroom: u64::from(config.model.headroom_mb) << 20,
    })
}

/// Name of the hidden command that loads a file and ends.
pub(crate) const TRY_OUT: &str = "try-model";

/// Files that nobody vouched for until they were tried. What is dropped before [`Untried::passed`] is forgotten: it is new
/// the next time too, and this process never parses it.
struct Untried<'a> {
    models: &'a Models,
    paths: Vec<PathBuf>,
}

impl<'a> Untried<'a> {
    fn new(models: &'a Models) -> Self {
        Self { models, paths: Vec::new() }
    }

    fn add(&mut self, verified: &Verified) {
        self.paths.extend(verified.first_use.then(|| verified.path.clone()));
    }

    /// Tries model and adapter, if one of them is new.
    fn passed(mut self, model: &Path, adapter: Option<&Path>) -> anyhow::Result<()> {
        if !self.paths.is_empty() {
            try_out(model, adapter)?;
            self.paths.clear();
        }
        Ok(())
    }
}

impl Drop for Untried<'_> {
    fn drop(&mut self) {
        for path in &self.paths {
            if let Err(error) = self.models.forget(path) {
                crate::output::warn(format!("{} stays pinned: {error}", path.display()));
            }
        }
    }
}

/// Loads the files in a child process.
pub(crate) fn try_out(path: &Path, adapter: Option<&Path>) -> anyhow::Result<()> {
    let me = std::env::current_exe().context("cannot find this program's own file")?;
    let child = Command::new(me)
        .arg(TRY_OUT)
        .arg(path)
        .args(adapter)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .context("cannot start a process to try the model in")?;
    if child.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&child.stderr);
    // llama.cpp's assertions stand on one of the first lines, before its backtrace.
    let line = words.lines().map(str::trim).find(|l| l.contains("error:") || l.contains("GGML_ASSERT"));
    let line =
        line.or_else(|| words.lines().next()).unwrap_or("no reason given").trim_start_matches("error: ");
    bail!("{} cannot be used: {line} ({})", path.display(), child.status)
}

/// Loads `path` and decodes one token: the child's side of [`open`]'s trial.
pub(crate) fn load_once(path: &Path, adapter: Option<&Path>) -> anyhow::Result<()> {
    use r2d_engine::model::{BatchToken, Model, Seq, Seqs, Token};
    let mut llama = r2d_engine::llama::Llama::load(path, adapter, 0)?;
    let options =
        ContextOptions { n_ctx: 64, n_batch: 8, n_slots: 1, n_threads: 1, kv_type: Default::default() };
    let mut session = llama.session(options)?;
    let token = BatchToken { token: Token(0), pos: 0, seqs: Seqs::One(Seq(0)), logits: true };
    session.decode(&[token])?;
    if r2d_engine::model::argmax(session.logits(0), &[]).is_none() {
        bail!("its first token's logits are no numbers");
    }
    Ok(())
}
