//! Makes a bundle of packages, and of a model and an adapter from the store.
//!
//! Streams: each file is read once for its SHA-256 and once into the bundle, and both must agree. Invariant: the
//! bundle gets its name only when it is whole.

use super::archive::Writer;
use super::deb;
use super::error::BundleError;
use super::manifest::{Adapter, Manifest, Model, PAGE, Package, Payload, SIGNATURE, Version};
use super::sign::SecretKey;
use crate::models::adapters::{Adapters, AdaptersError};
use crate::models::{Digest, Models, Progress, Scratch, Source, sync_folder};
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What goes into a bundle.
#[derive(Debug)]
pub(crate) struct Contents<'a> {
    pub(crate) home: &'a Path,
    pub(crate) version: Version,
    pub(crate) packages: &'a [PathBuf],
    pub(crate) model: Option<&'a str>,
    pub(crate) adapter: Option<&'a str>,
}

/// Writes the bundle `out`.
pub(crate) fn create(
    contents: &Contents<'_>,
    out: &Path,
    key: &SecretKey,
    progress: &mut dyn Progress,
) -> Result<Manifest, BundleError> {
    let mut sources: Vec<PathBuf> = Vec::new();
    let mut files = Vec::new();
    for path in contents.packages {
        files.push(Payload::Package(package(path)?));
        sources.push(path.clone());
    }
    if let Some(name) = contents.model {
        let (model, path) = model(contents.home, name)?;
        files.push(Payload::Model(model));
        sources.push(path);
    }
    if let Some(name) = contents.adapter {
        let (adapter, path) = adapter(contents.home, name)?;
        files.push(Payload::Adapter(adapter));
        sources.push(path);
    }
    let created = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let input = |reason: String| BundleError::Input(format!("cannot make this bundle: {reason}"));
    let manifest = Manifest::new(contents.version, created, files).map_err(input)?;
    let page = manifest.render().map_err(input)?;
    let signature = key.sign(page.as_bytes(), contents.version)?;

    let partial = PathBuf::from(format!("{}.partial", out.display()));
    let (scratch, file) = Scratch::create(partial)?;
    let write = BundleError::io;
    let mut writer = Writer::new(BufWriter::new(file));
    for (name, text) in [(PAGE, &page), (SIGNATURE, &signature)] {
        writer
            .add(name, text.len() as u64, &mut text.as_bytes(), &mut |_| ())
            .map_err(write("write", scratch.path()))?;
    }
    for (payload, path) in manifest.files.iter().zip(&sources) {
        let mut from = File::open(path).map_err(BundleError::io("open", path))?;
        progress.start(payload.name(), Some(payload.size()));
        let found = writer.add(payload.name(), payload.size(), &mut from, &mut |n| progress.advance(n));
        progress.finish();
        let (found, expected) = (found.map_err(write("copy", path))?, payload.sha256());
        if found != expected {
            return Err(BundleError::Altered { name: payload.name().to_owned(), expected, found });
        }
    }
    let file = writer.finish().map_err(write("write", scratch.path()))?;
    let file = file.into_inner().map_err(|e| write("write", scratch.path())(e.into_error()))?;
    file.sync_all().map_err(write("write", scratch.path()))?;
    fs::rename(scratch.path(), out).map_err(write("rename to", out))?;
    sync_folder(out.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")));
    Ok(manifest)
}

/// A package by its name, which says the architecture as Debian has it: `NAME_VERSION_ARCH.deb`.
fn package(path: &Path) -> Result<Package, BundleError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let arch = package_arch(path)?;
    let (sha256, size) = hash(path)?;
    Ok(Package { name, size, sha256, arch })
}

fn package_arch(path: &Path) -> Result<String, BundleError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let arch = name.strip_suffix(".deb").and_then(|stem| stem.rsplit_once('_'));
    arch.map(|(_, arch)| arch.to_owned()).ok_or_else(|| {
        BundleError::Input(format!(
            "{} does not say its architecture; hint: name it as Debian does, NAME_VERSION_ARCH.deb",
            path.display()
        ))
    })
}

/// Has dpkg look into a package: whether it is one for the architecture of its name, with the program in it. Where there
/// is no dpkg, the board's own look at installation is the only one.
pub(crate) fn look_into(path: &Path) -> Result<(), BundleError> {
    let named = package_arch(path)?;
    fs::metadata(path).map_err(BundleError::io("open", path))?;
    let deb = path.as_os_str();
    let Some(arch) = deb::run(&["--showformat=${Architecture}".as_ref(), "--show".as_ref(), deb])? else {
        return Ok(());
    };
    if arch.trim() != named {
        return Err(BundleError::Input(format!(
            "{} is a package for {}, by its name for {named}; hint: give it the name that it was built with",
            path.display(),
            arch.trim()
        )));
    }
    let list = deb::run(&["--contents".as_ref(), deb])?.unwrap_or_default();
    if !list.split_whitespace().any(|word| word == "./usr/bin/r2d-edge") {
        let reason = format!("{} holds no usr/bin/r2d-edge", path.display());
        return Err(BundleError::Package { reason, hint: deb::PROGRAM });
    }
    Ok(())
}

fn hash(path: &Path) -> Result<(Digest, u64), BundleError> {
    let mut file = File::open(path).map_err(BundleError::io("open", path))?;
    crate::models::hash_all(&mut file).map_err(BundleError::io("read", path))
}

fn model(home: &Path, name: &str) -> Result<(Model, PathBuf), BundleError> {
    let verified = Models::open(home)?.verify(name)?;
    let unknown = || BundleError::Input(format!("nothing is known of `{name}`; hint: import it first"));
    let mut known = verified.manifest.ok_or_else(unknown)?;
    // What was pinned at first use is pinned for all boards, and where a file once lay is no matter of theirs.
    (known.sha256, known.size, known.unverified) = (Some(verified.sha256), Some(verified.size), None);
    if let Source::File { path } = &mut known.source {
        *path = Path::new("/").join(path.file_name().unwrap_or_default());
    }
    let model = Model::new(&known, verified.size, verified.sha256).map_err(BundleError::Input)?;
    Ok((model, verified.path))
}

fn adapter(home: &Path, name: &str) -> Result<(Adapter, PathBuf), BundleError> {
    let adapter = Adapters::open(home)?.verify(name)?;
    let base_sha256 = adapter.info.provenance.base_sha256.clone();
    if base_sha256.is_empty() {
        return Err(AdaptersError::NoBase { file: adapter.path }.into());
    }
    let size = fs::metadata(&adapter.path).map_err(BundleError::io("read", &adapter.path))?.len();
    let file = format!("{name}.adapter.gguf");
    let part = Adapter { name: file, size, sha256: adapter.sha256, adapter: name.to_owned(), base_sha256 };
    Ok((part, adapter.path))
}
