//! `doctor`: gathers the checks of the machine, the model and the broker.
//!
//! The checks themselves are in [`crate::doctor`]; here they get this machine's facts.

use crate::affinity;
use crate::board;
use crate::config::Config;
use crate::doctor::{self, Check, Level};
use crate::exit::Exit;
use crate::models::Models;
use crate::output;
use crate::weights::{Loading, memory_need, n_threads};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Looks everything over and tells.
pub(crate) fn run(loading: &Loading<'_>, json: bool) -> anyhow::Result<Exit> {
    let checks = gather(loading)?;
    if json {
        checks.iter().for_each(output::json);
    } else {
        output::checks(&checks);
    }
    Ok(if doctor::worst(&checks) == Level::Fail { Exit::Refused } else { Exit::Done })
}

/// Prints what the service may use on this board, as a drop-in for its systemd unit.
pub(crate) fn unit(config: &Config) -> anyhow::Result<Exit> {
    let facts = board::Facts::read(Path::new("/"));
    let profile = board::choose(&config.board.profile, &facts)?;
    output::raw(&board::unit(&facts, profile.as_ref(), u64::from(config.model.headroom_mb))?);
    Ok(Exit::Done)
}

fn gather(loading: &Loading<'_>) -> anyhow::Result<Vec<Check>> {
    let (config, root) = (loading.config, Path::new("/"));
    let usable = std::thread::available_parallelism().ok().map(usize::from);
    let facts = board::Facts::read(root);
    let profile = board::choose(&config.board.profile, &facts)?;
    let models = Models::open(loading.home)?;
    let manifests: Vec<_> = models.list().into_iter().map(|l| l.manifest).collect();
    let fits = board::fits(&manifests, facts.ram_mb, u64::from(config.model.headroom_mb));
    let threads = n_threads(config) as usize;
    // A list that is none was refused with the configuration.
    let cores = affinity::parse(&config.model.cores).unwrap_or_default();
    let mut checks = vec![
        doctor::check_board(&facts, profile.as_ref()),
        doctor::check_models(&fits),
        doctor::check_cpu(&doctor::features(root, &r2d_engine::llama::cpu_features())),
        doctor::check_gpu(&r2d_engine::llama::gpus(), config.model.gpu_layers),
        doctor::check_cores(doctor::count_cores(root), usable, threads),
        doctor::check_home(loading.home),
        doctor::check_free_space(doctor::free_bytes(loading.home)),
        doctor::check_clock(SystemTime::now()),
    ];
    checks.extend(doctor::check_core_list(&cores, affinity::try_on(&cores), threads));
    checks.extend(doctor::check_memory_limit(root));
    checks.extend(doctor::check_panel(root, &config.panel.lines, profile.as_ref().map(|p| &p.ports)));
    let mut found = None;
    let name = &config.model.name;
    if name.starts_with("scripted:") {
        found = None;
    } else {
        checks.push(doctor::check_model(name, || {
            let verified = models.resolve(name).map_err(|e| e.to_string())?;
            let told = format!("{} {}", verified.path.display(), verified.sha256);
            found = Some(verified.path);
            Ok(told)
        }));
    }
    if let Some(path) = found {
        let need = memory_need(&path, config)?;
        checks.push(doctor::check_memory(need, doctor::available_memory(root)));
    }
    if let Some(broker) = config.broker() {
        checks.push(doctor::check_broker(&broker.host, broker.port, Duration::from_secs(3)));
    }
    Ok(checks)
}
