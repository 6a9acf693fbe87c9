//! Takes a file that is already on this machine into the store.
//!
//! The way for a USB stick and for sites without a network. The person who imports vouches for the file. Invariants:
//! the file is recognised by its sha256 and never by its name; a known name never gets a file that contradicts its
//! manifest.

use std::path::Path;

use super::chat::PivotStrings;
use super::digest::Digest;
use super::error::ModelsError;
use super::manifest::{Licence, Manifest, Source, check_name, is_path};
use super::progress::Progress;
use super::pull::{check_magic, copy_in};
use super::registry::{Origin, Registry};
use super::store::{Record, Store, Trust, create_folder, write_toml};
use super::{Models, Verified};

/// What an import turns the file into.
struct Adopted {
    manifest: Manifest,
    trust: Trust,
    /// Whether the manifest is to be written, because it was made or changed for this file.
    write: bool,
}

/// Copies `file` in and gives it the name it deserves.
pub(crate) fn import(
    models: &Models,
    file: &Path,
    name: Option<&str>,
    progress: &mut dyn Progress,
) -> Result<Verified, ModelsError> {
    let store = models.store();
    if let Some(name) = name {
        check_name(name)?;
    }
    let file = &std::path::absolute(file).map_err(ModelsError::io("find", file))?;
    let _import = store.lock("incoming")?;
    let incoming = store.root().join("incoming");
    create_folder(&incoming)?;
    let (scratch, sha256, size) = copy_in(file, incoming.join("model.gguf.partial"), progress)?;
    check_magic(scratch.path(), &file.display().to_string())?;
    let adopted = adopt(&models.registry(), file, name, sha256, size)?;
    let known = &adopted.manifest.name;
    let _lock = store.lock(known)?;
    if name.is_some_and(|name| name != known) {
        progress.note(&format!("the file is the known model `{known}` and was imported under that name"));
    }
    let licence = &adopted.manifest.licence;
    if licence.ask {
        progress.note(&format!("`{known}` may be used under the {} only: {}", licence.name, licence.url));
    }
    let first_use =
        adopted.trust != Trust::Manifest && store.record(known).map(|old| old.sha256) != Some(sha256);
    let record = Record { sha256, size, source: format!("file: {}", file.display()), trust: adopted.trust };
    if adopted.write {
        let path = store.manifests().join(format!("{known}.toml"));
        write_toml(&path, &adopted.manifest)?;
        progress.note(&format!(
            "wrote {}: set [chat] there if the template in the file is not right",
            path.display()
        ));
    }
    let path = store.install(known, scratch.path(), &record)?;
    repin(store, file)?;
    Ok(Verified { name: known.clone(), path, sha256, size, manifest: Some(adopted.manifest), first_use })
}

/// Decides which model the file is.
fn adopt(
    registry: &Registry,
    file: &Path,
    name: Option<&str>,
    sha256: Digest,
    size: u64,
) -> Result<Adopted, ModelsError> {
    if let Some(manifest) = registry.by_digest(sha256) {
        let trust = if is_generated(registry, manifest) { Trust::Imported } else { Trust::Manifest };
        return Ok(Adopted { manifest: manifest.clone(), trust, write: false });
    }
    let derived = name.map_or_else(|| derived_name(file), str::to_owned);
    check_name(&derived)?;
    let Some((origin, known)) = registry.get(&derived) else {
        let manifest = generated(&derived, file, sha256, size);
        return Ok(Adopted { manifest, trust: Trust::Imported, write: true });
    };
    match known.sha256 {
        // Named on purpose, and the manifest leaves the digest open: the import is its first use.
        None if name.is_some() && known.size.is_none_or(|expected| expected == size) => {
            Ok(Adopted { manifest: known.clone(), trust: Trust::FirstUse, write: false })
        }
        // A model that an import made may be replaced by another import; what a person set in it stays.
        Some(_) if name.is_some() && is_generated(registry, known) => {
            let source = Source::File { path: file.to_owned() };
            let manifest = Manifest { sha256: Some(sha256), size: Some(size), source, ..known.clone() };
            Ok(Adopted { manifest, trust: Trust::Imported, write: true })
        }
        _ => Err(ModelsError::NameTaken {
            name: derived,
            taken_by: match origin {
                Origin::BuiltIn => "a built-in model",
                Origin::User => "a model of your own",
            },
            found: sha256,
        }),
    }
}

/// Whether an import wrote this manifest: only then does it describe a file by where it once lay.
fn is_generated(registry: &Registry, manifest: &Manifest) -> bool {
    let user = registry.get(&manifest.name).is_some_and(|(origin, _)| *origin == Origin::User);
    user && matches!(manifest.source, Source::File { .. })
}

fn generated(name: &str, file: &Path, sha256: Digest, size: u64) -> Manifest {
    Manifest {
        name: name.to_owned(),
        title: name.to_owned(),
        parameters: None,
        quantisation: None,
        architecture: None,
        n_ctx_train: None,
        size: Some(size),
        sha256: Some(sha256),
        unverified: None,
        min_ram_mb: None,
        licence: Licence { name: "unknown".into(), url: String::new(), ask: false },
        source: Source::File { path: file.to_owned() },
        chat: None,
        pivots: PivotStrings::default(),
    }
}

/// A model name made from a file name.
fn derived_name(file: &Path) -> String {
    let file = file.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let mut stem = file.as_str();
    while is_path(stem) && stem.len() > ".gguf".len() {
        stem = stem.strip_suffix(".gguf").unwrap_or_default();
    }
    let allowed = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_') { c } else { '-' };
    let name: String = stem.chars().map(allowed).take(64).collect();
    name.trim_matches(['.', '_', '-']).replace("..", ".")
}

/// Forgets the old pin of the path: its new content was just vouched for, and is pinned at its next use.
fn repin(store: &Store, file: &Path) -> Result<(), ModelsError> {
    let path = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    // A path that cannot be pinned has no pin to forget.
    if path.to_str().is_some() {
        super::pins::Pins::of(store).forget(&path)?;
    }
    Ok(())
}
