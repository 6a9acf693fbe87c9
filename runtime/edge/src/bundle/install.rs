//! Puts the release of a bundle in force, step by step, and goes back.
//!
//! The order of [`STEPS`] is what a power cut relies on. Before [`Step::Switch`] nothing that is in force changes: the
//! slot is unused, and the store only gains files. The switch is one rename. After it everything may be done again,
//! and [`catch_up`] does it when the service starts. Invariant: after any prefix of the steps, `current` points at a
//! whole release or at nothing, and no version at or below one that was in force can be installed.

use super::deb;
use super::error::BundleError;
use super::manifest::{Manifest, Package, Payload};
use super::open::Bundle;
use super::sign::PublicKey;
use super::slot::{Site, Slot};
use super::{stock, trial};
use crate::models::{Progress, need_space};
use crate::weights::Loading;
use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

/// How much larger a package may be than its file; programs shrink to a third or fourth.
const UNPACKED: u64 = 5;

/// What is to be installed, where, and by whose word.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Install<'a> {
    pub(crate) loading: &'a Loading<'a>,
    pub(crate) file: &'a Path,
    pub(crate) key: &'a PublicKey,
    /// The configuration that the new program is to be tested under.
    pub(crate) config_file: Option<&'a Path>,
    /// Debian's name of this board's architecture.
    pub(crate) arch: &'a str,
    /// How long the self-test may take.
    pub(crate) limit: Duration,
}

/// One step of an installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Empties the slot and puts the files there.
    Unpack,
    /// Has the new program test itself.
    TryOut,
    /// Takes model and adapter into the store.
    TakeIn,
    /// Writes down what the old release leaves behind.
    Leave,
    /// Makes the slot durable and says that it is whole.
    Seal,
    /// Puts it in force.
    Switch,
    /// Writes down that it is, so that its version counts.
    Remember,
    /// Puts its adapter in force.
    Settle,
}

/// The steps in their order.
pub(super) const STEPS: [Step; 8] = [
    Step::Unpack,
    Step::TryOut,
    Step::TakeIn,
    Step::Leave,
    Step::Seal,
    Step::Switch,
    Step::Remember,
    Step::Settle,
];

/// An installation under way, its bundle verified.
pub(super) struct Running<'a> {
    order: &'a Install<'a>,
    site: &'a Site,
    release: Manifest,
    page: Vec<u8>,
    signature: Vec<u8>,
    slot: Slot,
}

/// Installs a bundle; says what is in force then.
pub(crate) fn install(order: &Install<'_>, progress: &mut dyn Progress) -> Result<Manifest, BundleError> {
    let site = Site::of(order.loading.home)?;
    let _lock = site.lock()?;
    let running = Running::begin(order, &site, progress)?;
    for step in STEPS {
        if let Err(error) = running.step(step, progress) {
            if running.site.current()? != Some(running.slot) {
                // What went wrong first is what counts.
                let _ = site.clear(running.slot);
            }
            return Err(error);
        }
    }
    Ok(running.release)
}

impl<'a> Running<'a> {
    /// Checks all of the bundle and that it may be installed here.
    pub(super) fn begin(
        order: &'a Install<'a>,
        site: &'a Site,
        progress: &mut dyn Progress,
    ) -> Result<Self, BundleError> {
        remember(site)?;
        let bundle = Bundle::open(order.file, order.key)?;
        let (page, signature) = (bundle.page.clone(), bundle.signature.clone());
        let version = bundle.manifest.version;
        if let Some(highest) = site.highest()?.filter(|highest| version <= *highest) {
            return Err(BundleError::NotNewer { version, highest });
        }
        let none = |there| BundleError::NoPackage { arch: order.arch.to_owned(), there };
        bundle.manifest.package(order.arch).map_err(none)?;
        let release = bundle.read(&mut |_| Ok(None), progress)?;
        let slot = site.last()?.map_or(Slot::A, Slot::other);
        Ok(Self { order, site, release, page, signature, slot })
    }

    /// Does one step.
    pub(super) fn step(&self, step: Step, progress: &mut dyn Progress) -> Result<(), BundleError> {
        let home = self.order.loading.home;
        let folder = self.site.folder(self.slot);
        match step {
            Step::Unpack => self.unpack(progress),
            Step::TryOut => {
                let weights = trial::weights(self.order.loading, &self.release, &folder)?;
                trial::run(&folder, &weights, self.order.config_file, self.order.limit)
            }
            Step::TakeIn => stock::take_in(home, &self.release, &folder, progress),
            Step::Leave => match self.site.current()? {
                Some(old) if is_settled(self.site, old)? => {
                    let base = self.release.adapter().map(|adapter| adapter.base_sha256.as_str());
                    let left = base.map(|base| stock::left(home, base)).transpose()?;
                    self.site.leave(old, left.as_ref())
                }
                _ => Ok(()),
            },
            Step::Seal => self.site.seal(self.slot, &self.page, &self.signature),
            Step::Switch => self.site.switch(self.slot),
            Step::Remember => remember(self.site),
            Step::Settle => settle(home, self.site, progress),
        }
    }

    fn unpack(&self, progress: &mut dyn Progress) -> Result<(), BundleError> {
        let home = self.order.loading.home;
        let folder = self.site.folder(self.slot);
        // Asked again, because the bundle may lie on a stick that somebody else can write to.
        let bundle = Bundle::open(self.order.file, self.order.key)?;
        if bundle.page != self.page {
            let file = self.order.file.display().to_string();
            return Err(BundleError::NotBundle { file, reason: "it was exchanged meanwhile".into() });
        }
        let stored = |payload: &Payload| stock::holds(home, payload.sha256());
        let mut needed: u64 = 0;
        for payload in &self.release.files {
            needed = needed.saturating_add(match payload {
                Payload::Package(package) if package.arch != self.order.arch => 0,
                Payload::Package(package) => package.size.saturating_mul(UNPACKED),
                _ if stored(payload)? => payload.size(),
                _ => payload.size().saturating_mul(2),
            });
        }
        self.site.clear(self.slot)?;
        need_space(&folder, needed)?;
        let deb = folder.join("program.deb");
        let mut place = |payload: &Payload| {
            let path = match payload {
                Payload::Package(Package { arch, .. }) if arch == self.order.arch => deb.clone(),
                Payload::Package(_) => return Ok(None),
                Payload::Model(_) => stock::model_file(&folder),
                Payload::Adapter(_) => stock::adapter_file(&folder),
            };
            File::create(&path).map(Some).map_err(BundleError::io("create", &path))
        };
        bundle.read(&mut place, progress)?;
        extract(&deb, &folder)?;
        fs::remove_file(&deb).map_err(BundleError::io("remove", &deb))?;
        check_program(&folder)
    }
}

/// Unpacks a package without running anything of it.
fn extract(package: &Path, folder: &Path) -> Result<(), BundleError> {
    deb::run(&["-x".as_ref(), package.as_os_str(), folder.as_os_str()])?.map(|_| ()).ok_or_else(|| {
        BundleError::Package {
            reason: "dpkg-deb is not on this machine".into(),
            hint: "install dpkg, which every Debian and Ubuntu has",
        }
    })
}

/// Whether the package brought the program, and inside the slot: a link to elsewhere would run the old one.
fn check_program(folder: &Path) -> Result<(), BundleError> {
    let bad = |reason: String| BundleError::Package { reason, hint: deb::PROGRAM };
    let path = trial::program(folder);
    let real = path.canonicalize().map_err(|error| bad(format!("it holds no program: {error}")))?;
    let root = folder.canonicalize().map_err(BundleError::io("find", folder))?;
    if real.starts_with(&root) {
        return Ok(());
    }
    Err(bad(format!("its program is a link to {}", real.display())))
}

/// Goes back to the release in the other slot, or behind [`leave`] to the one that was left; says what is in force then.
pub(crate) fn rollback(home: &Path, progress: &mut dyn Progress) -> Result<Manifest, BundleError> {
    let site = Site::of(home)?;
    let _lock = site.lock()?;
    // First of all, so that the version that is left is never forgotten.
    remember(&site)?;
    let now = site.current()?;
    let before = now.map(Slot::other).or(site.last()?).ok_or(BundleError::NothingBefore)?;
    let release = site.release(before).ok_or(BundleError::NothingBefore)?;
    check_program(&site.folder(before))?;
    if let Some(now) = now
        && is_settled(&site, now)?
    {
        let base = site.left(before)?.map(|left| left.base_sha256);
        let left = base.map(|base| stock::left(home, &base)).transpose()?;
        site.leave(now, left.as_ref())?;
    }
    site.switch(before)?;
    remember(&site)?;
    settle(home, &site, progress)?;
    Ok(release)
}

/// Writes the version in force down, unless it is.
fn remember(site: &Site) -> Result<(), BundleError> {
    let Some(release) = site.current()?.and_then(|slot| site.release(slot)) else { return Ok(()) };
    let mut state = site.state()?;
    if state.installed.last().is_some_and(|last| last.version == release.version) {
        return Ok(());
    }
    state.remember(release.version);
    site.write_state(&state)
}

/// Takes every release out of force: the package's own program is the service's again. What the release took into the
/// store stays, and so does the adapter that is in force.
pub(crate) fn leave(home: &Path) -> Result<(), BundleError> {
    let site = Site::of(home)?;
    let _lock = site.lock()?;
    // The version that is left must never be forgotten.
    remember(&site)?;
    site.current()?.ok_or(BundleError::NothingInForce)?;
    site.unlink()
}

/// Whether the release in `slot` got its adapter. Before that, the adapter in force is another release's.
fn is_settled(site: &Site, slot: Slot) -> Result<bool, BundleError> {
    let settled = site.state()?.settled;
    Ok(site.release(slot).is_some_and(|release| settled == Some(release.version)))
}

/// Puts the adapter of the release in force, unless that was done; what somebody chose since then stays.
fn settle(home: &Path, site: &Site, progress: &mut dyn Progress) -> Result<(), BundleError> {
    let Some(slot) = site.current()? else { return Ok(()) };
    let Some(release) = site.release(slot) else { return Ok(()) };
    if is_settled(site, slot)? {
        return Ok(());
    }
    let mut state = site.state()?;
    // Broken off from here on, the adapter in force may be of either release: neither has its own for certain.
    state.settled = None;
    site.write_state(&state)?;
    stock::take_in(home, &release, &site.folder(slot), progress)?;
    stock::put_in_force(home, &release, site.left(slot)?.as_ref())?;
    state.settled = Some(release.version);
    site.write_state(&state)
}

/// Does what an installation or a rollback that was broken off behind its switch did not get to.
pub(crate) fn catch_up(home: &Path, progress: &mut dyn Progress) -> Result<(), BundleError> {
    let site = Site::of(home)?;
    let Some(slot) = site.current()?.filter(|slot| site.release(*slot).is_some()) else { return Ok(()) };
    if is_settled(&site, slot)? {
        return Ok(());
    }
    let _lock = match site.lock() {
        // Whoever is at it will do it.
        Err(BundleError::Busy) => return Ok(()),
        lock => lock?,
    };
    remember(&site)?;
    settle(home, &site, progress)
}

/// Debian's name of the architecture that this program was built for.
#[must_use]
pub(crate) fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "arm" => "armhf",
        "x86" => "i386",
        other => other,
    }
}
