//! A release's model and adapter in the ordinary store, where commands and the service look for them.
//!
//! Only by the store's own ways: what comes in is hashed there, and nothing that is there is replaced. So taking in
//! changes nothing that is in force; that is [`put_in_force`] alone. Invariant: both may be done again at any time.

use super::error::BundleError;
use super::manifest::{Manifest, Model};
use super::slot::Left;
use crate::models::adapters::{Adapters, AdaptersError, NONE};
use crate::models::{Digest, Models, Progress, Source, State};
use std::fs;
use std::path::{Path, PathBuf};

/// The model of the release in the slot `folder`.
pub(super) fn model_file(folder: &Path) -> PathBuf {
    folder.join("model.gguf")
}

/// The adapter of the release in the slot `folder`.
pub(super) fn adapter_file(folder: &Path) -> PathBuf {
    folder.join("adapter.gguf")
}

/// Whether the store holds a model with this SHA-256, as far as can be told without hashing.
pub(super) fn holds(home: &Path, sha256: Digest) -> Result<bool, BundleError> {
    let here = |state: &State| matches!(state, State::Present { .. });
    Ok(Models::open(home)?.list().iter().any(|l| l.manifest.sha256 == Some(sha256) && here(&l.state)))
}

/// Takes model and adapter of `release` from its slot into the store, unless they are there.
pub(super) fn take_in(
    home: &Path,
    release: &Manifest,
    folder: &Path,
    progress: &mut dyn Progress,
) -> Result<(), BundleError> {
    if let Some(model) = release.model() {
        let ours = model_file(folder);
        let models = Models::open(home)?;
        let name = stored_name(&models, model)?;
        if models.list().iter().all(|known| known.manifest.name != name) {
            let mut manifest = model.known().map_err(BundleError::Input)?;
            if let Source::File { path } = &mut manifest.source {
                ours.clone_into(path);
            }
            models.describe(&manifest)?;
        }
        let verified = match models.verify(&name) {
            Ok(verified) if verified.sha256 == model.sha256 => verified,
            _ => models.import(&ours, Some(&name), progress)?,
        };
        share(&ours, &verified.path);
    }
    if let Some(part) = release.adapter() {
        let adapters = Adapters::open(home)?;
        let adapter = match adapters.verify(&part.adapter) {
            Ok(found) if found.sha256 == part.sha256 => found,
            Ok(_) => return Err(BundleError::Taken { what: "adapter", name: part.adapter.clone() }),
            Err(AdaptersError::Unknown { .. }) => {
                adapters.import(&adapter_file(folder), &part.adapter, None, progress)?
            }
            Err(error) => return Err(error.into()),
        };
        adapter.info.check_base(&part.base_sha256).map_err(AdaptersError::from)?;
    }
    Ok(())
}

/// The name under which the store holds `model` once it is taken in. Changes nothing.
pub(super) fn stored_name(models: &Models, model: &Model) -> Result<String, BundleError> {
    let taken = || BundleError::Taken { what: "model", name: model.model.clone() };
    let known = models.list();
    let same = |l: &&crate::models::Listing| l.manifest.sha256 == Some(model.sha256);
    let mut same_files = known.iter().filter(same);
    let by_both = same_files.clone().find(|l| l.manifest.name == model.model);
    if let Some(listing) = by_both.or_else(|| same_files.next()) {
        return Ok(listing.manifest.name.clone());
    }
    let Some(namesake) = known.iter().find(|l| l.manifest.name == model.model) else {
        return Ok(model.model.clone());
    };
    let absent = matches!(namesake.state, State::Absent | State::Partial { .. });
    // A manifest without a digest takes the first file that comes; a file that is there has its own.
    let open = namesake.manifest.sha256.is_none();
    if open && (absent || models.verify(&model.model).is_ok_and(|v| v.sha256 == model.sha256)) {
        return Ok(model.model.clone());
    }
    Err(taken())
}

/// Makes the slot's copy one file with the store's, which was hashed just now: a board has no room for three.
fn share(ours: &Path, stored: &Path) {
    let link = ours.with_extension("link");
    // On disks that cannot do this there are two copies, which is as good.
    let _ = fs::hard_link(stored, &link).and_then(|()| fs::rename(&link, ours));
    // A rename between two names of one file leaves both.
    let _ = fs::remove_file(&link);
}

/// What is to be remembered of the adapters while a release is left: what is in force on `base`.
pub(super) fn left(home: &Path, base: &str) -> Result<Left, BundleError> {
    let adapter = Adapters::open(home)?.in_force(base)?.unwrap_or_else(|| NONE.to_owned());
    Ok(Left { base_sha256: base.to_owned(), adapter })
}

/// Puts the adapter in force that belongs to `release`: the one that was in force when it was left, else its own.
pub(super) fn put_in_force(home: &Path, release: &Manifest, left: Option<&Left>) -> Result<(), BundleError> {
    let adapters = Adapters::open(home)?;
    if let Some(Left { base_sha256, adapter }) = left {
        match adapters.activate(adapter, base_sha256) {
            // Somebody removed it meanwhile.
            Err(AdaptersError::Unknown { .. }) => {}
            done => return Ok(done.map(|_before| ())?),
        }
    }
    if let Some(part) = release.adapter() {
        adapters.activate(&part.adapter, &part.base_sha256)?;
    }
    Ok(())
}
