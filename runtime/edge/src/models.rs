//! Named language models: which there are, how they come onto this machine, and whether they are what they claim.
//!
//! Not a loader: it hands out a path and never looks into a GGUF. Invariant: a [`Verified`] exists only for a file
//! whose size and sha256 were right just now. What the store looks like on disk is in `store.rs`.
//!
//! Trust comes from one of three places: a manifest with a sha256; the first use, for manifests marked `unverified`
//! and for files outside the store; or a person's import. A file that is replaced between its check and its load is
//! out of reach of this module: keep the store writable only for the user who pulls.

pub mod adapters;
mod address;
mod chat;
mod digest;
mod error;
mod fetch;
mod http;
mod import;
mod index;
mod manifest;
mod pins;
mod pip;
mod progress;
mod pull;
mod registry;
mod store;
#[cfg(test)]
mod tests;
mod wheel;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

pub use digest::{Digest, digest_of};
pub use error::ModelsError;
pub use manifest::{Licence, Manifest, Source, WheelMember};
pub use progress::{Bar, Progress, Silent};
pub use registry::{DEFAULT_MODEL, Origin};

pub(crate) use digest::{BUFFER, hash_all};
use http::{Client, Retry};
pub(crate) use manifest::{check_name, is_path};
use pins::Pins;
use pip::PipConfig;
use pull::{Pull, check_magic};
use registry::Registry;
pub(crate) use store::{Lock, Scratch, create_folder, need_space, read_toml, sync_folder, write_toml};
use store::{Record, Store, Trust};

/// The models of one home folder.
#[derive(Debug)]
pub struct Models {
    store: Store,
    retry: Retry,
    /// Given by tests; read from the machine when it is first needed otherwise.
    pip: Option<PipConfig>,
}

/// A file that is what it should be.
#[derive(Debug)]
pub struct Verified {
    /// The model's name; for a file without one, its path.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// Its digest, computed just now.
    pub sha256: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// What is known of it; nothing, for a file outside the store that no manifest describes.
    pub manifest: Option<Manifest>,
    /// Whether its digest was pinned by this very call: until now nobody had vouched for it.
    pub first_use: bool,
}

/// One line of the list of models.
#[derive(Debug)]
pub struct Listing {
    /// What is known of the model.
    pub manifest: Manifest,
    /// Who described it.
    pub origin: Origin,
    /// What of it is here.
    pub state: State,
}

/// What of a model is on this machine, as far as can be told without hashing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Nothing.
    Absent,
    /// A download that can go on.
    Partial {
        /// What has arrived so far.
        bytes: u64,
    },
    /// A file of the right size, and no check has failed.
    Present {
        /// Bytes of the file.
        size: u64,
    },
    /// A file that will be refused.
    Damaged {
        /// What is wrong with it.
        reason: String,
    },
}

impl Models {
    /// The models below `home`; folders are created when something is put there.
    pub fn open(home: &Path) -> Result<Self, ModelsError> {
        let home = std::path::absolute(home).map_err(ModelsError::io("find", home))?;
        Ok(Self { store: Store::of_models(&home), retry: Retry::default(), pip: None })
    }

    /// Every known model and what of it is here.
    pub fn list(&self) -> Vec<Listing> {
        let entries = self.registry().into_entries().into_iter();
        entries.map(|(origin, manifest)| Listing { state: self.state(&manifest), manifest, origin }).collect()
    }

    /// User manifests that were set aside, and why.
    pub fn rejected(&self) -> Vec<ModelsError> {
        self.registry().into_rejected()
    }

    /// Brings `name` onto this machine, unless it is here and intact.
    ///
    /// `consent` is asked when the licence demands it, with the notice that came along.
    pub fn pull(
        &self,
        name: &str,
        consent: &mut dyn FnMut(&Licence, Option<&str>) -> bool,
        progress: &mut dyn Progress,
    ) -> Result<Verified, ModelsError> {
        let manifest = self.manifest(name)?;
        let _lock = self.store.lock(name)?;
        if self.store.file(name).exists() {
            match self.check(&manifest) {
                Ok(verified) => return Ok(verified),
                Err(error) => progress.note(&format!("{error}; fetching it again")),
            }
        }
        let expected = self.expected(&manifest);
        let pip = match &self.pip {
            Some(pip) => pip.clone(),
            None => PipConfig::of_this_machine()?,
        };
        let client = Client::new(pip.cert.as_deref(), self.retry)?;
        let pull = Pull { store: &self.store, manifest: &manifest, expected, pip: &pip, client: &client };
        let (path, record) = pull.run(consent, progress)?;
        let first_use = expected.is_none();
        if let (true, Some(reason)) = (first_use, &manifest.unverified) {
            progress
                .note(&format!("trusted on first use ({reason}): sha256 {} is pinned now", record.sha256));
        }
        let Record { sha256, size, .. } = record;
        Ok(Verified { name: name.to_owned(), path, sha256, size, manifest: Some(manifest), first_use })
    }

    /// Takes `file` into the store: as the known model that it is, or as a model of the user's own.
    pub fn import(
        &self,
        file: &Path,
        name: Option<&str>,
        progress: &mut dyn Progress,
    ) -> Result<Verified, ModelsError> {
        import::import(self, file, name, progress)
    }

    /// Hashes the whole file of `name`.
    pub fn verify(&self, name: &str) -> Result<Verified, ModelsError> {
        self.check(&self.manifest(name)?)
    }

    /// The file to load for `spec`, a model's name or a path (with a separator, or ending in `.gguf`).
    ///
    /// A file outside the store is pinned at its first use and refused if it changes.
    pub fn resolve(&self, spec: &str) -> Result<Verified, ModelsError> {
        if !is_path(spec) {
            return self.verify(spec);
        }
        let given = Path::new(spec);
        let path = given.canonicalize().map_err(ModelsError::io("find", given))?;
        if let Some(name) = self.name_of(&path) {
            return self.verify(&name);
        }
        // Before it is pinned: a name that was mistyped should not leave a pin behind.
        check_magic(&path, spec)?;
        let (sha256, size) = hash_file(&path)?;
        let first_use = Pins::of(&self.store).check(&path, sha256, size)?;
        let manifest = self.registry().by_digest(sha256).cloned();
        let name = manifest.as_ref().map_or_else(|| path.display().to_string(), |known| known.name.clone());
        // A file that a manifest describes needs nobody's trust.
        let first_use = first_use && manifest.is_none();
        Ok(Verified { name, path, sha256, size, manifest, first_use })
    }

    /// Forgets that the file at `path` was ever used; one in the store is known by its record and stays so.
    pub(crate) fn forget(&self, path: &Path) -> Result<(), ModelsError> {
        Pins::of(&self.store).forget(path).map(|_was_pinned| ())
    }

    /// Removes the model `spec` and what was pinned for it, or the pin of the path `spec`, whose file stays.
    ///
    /// Says how many bytes are free again.
    pub fn remove(&self, spec: &str) -> Result<u64, ModelsError> {
        if is_path(spec) {
            let given = Path::new(spec);
            let path = given.canonicalize().or_else(|_| std::path::absolute(given));
            let path = path.map_err(ModelsError::io("find", given))?;
            let Some(name) = self.name_of(&path) else {
                return match Pins::of(&self.store).forget(&path)? {
                    true => Ok(0),
                    false => Err(ModelsError::Unknown {
                        name: spec.to_owned(),
                        hint: "no file of this path was used before, so there is nothing to forget".into(),
                    }),
                };
            };
            return self.remove(&name);
        }
        check_name(spec)?;
        let folder = self.store.folder(spec);
        if !folder.exists() {
            let manifest = self.manifest(spec)?;
            return Err(ModelsError::Absent { name: manifest.name });
        }
        let _lock = self.store.lock(spec)?;
        let imported = self.store.record(spec).is_some_and(|record| record.trust == Trust::Imported);
        let freed = store::bytes_below(&folder);
        fs::remove_dir_all(&folder).map_err(ModelsError::io("remove", &folder))?;
        if imported {
            let manifest = self.store.manifests().join(format!("{spec}.toml"));
            fs::remove_file(&manifest).map_err(ModelsError::io("remove", &manifest))?;
        }
        Ok(freed)
    }

    /// Writes a manifest of the user's own, so that a file of its sha256 is known by its name.
    pub(crate) fn describe(&self, manifest: &Manifest) -> Result<(), ModelsError> {
        check_name(&manifest.name)?;
        write_toml(&self.store.manifests().join(format!("{}.toml", manifest.name)), manifest)
    }

    fn store(&self) -> &Store {
        &self.store
    }

    fn registry(&self) -> Registry {
        Registry::load(&self.store.manifests())
    }

    fn manifest(&self, name: &str) -> Result<Manifest, ModelsError> {
        check_name(name)?;
        self.registry().find(name)
    }

    /// The digest that the file of `manifest` must have, if anything says so yet.
    fn expected(&self, manifest: &Manifest) -> Option<Digest> {
        manifest.sha256.or_else(|| self.store.record(&manifest.name).map(|record| record.sha256))
    }

    /// Checks the file of a known model: size first, because that costs nothing, then all of it.
    fn check(&self, manifest: &Manifest) -> Result<Verified, ModelsError> {
        let name = &manifest.name;
        let path = self.store.file(name);
        let length = match fs::metadata(&path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(ModelsError::Absent { name: name.clone() });
            }
            Err(error) => return Err(ModelsError::io("read", &path)(error)),
        };
        let again = match &manifest.source {
            Source::File { path } => format!("run `r2d-edge models import {} --name {name}`", path.display()),
            _ => {
                format!("run `r2d-edge models pull {name}`, or `r2d-edge models rm {name}` to trust it anew")
            }
        };
        let record = self.store.record(name);
        let size = manifest.size.or(record.as_ref().map(|record| record.size));
        if let Some(expected) = size.filter(|expected| *expected != length) {
            let what = path.display().to_string();
            return Err(ModelsError::Size { what, expected, found: length, hint: again });
        }
        let (sha256, size) = hash_file(&path)?;
        let Some(expected) = self.expected(manifest) else {
            return Err(ModelsError::Absent { name: name.clone() });
        };
        if sha256 != expected {
            self.store.mark(name, Some(sha256));
            let what = path.display().to_string();
            return Err(ModelsError::Sha256 { what, expected, found: sha256, hint: again });
        }
        if self.store.marked(name).is_some() {
            self.store.mark(name, None);
        }
        let manifest = Some(manifest.clone());
        Ok(Verified { name: name.clone(), path, sha256, size, manifest, first_use: false })
    }

    fn state(&self, manifest: &Manifest) -> State {
        let name = &manifest.name;
        let Ok(metadata) = fs::metadata(self.store.file(name)) else {
            return match self.store.partial(name) {
                0 => State::Absent,
                bytes => State::Partial { bytes },
            };
        };
        let size = metadata.len();
        let reason = match (self.store.record(name), self.store.marked(name)) {
            (None, _) => "its record is missing or unreadable".to_owned(),
            (Some(record), _) if record.size != size => format!("{size} bytes, not {}", record.size),
            (Some(record), _) if manifest.sha256.is_some_and(|sha256| sha256 != record.sha256) => {
                format!("sha256 {} is not the one in its manifest", record.sha256)
            }
            (Some(record), Some(found)) => format!("sha256 {found}, not {}", record.sha256),
            (Some(_), None) => return State::Present { size },
        };
        State::Damaged { reason }
    }

    /// The model whose file `path` is, if it lies in this store.
    fn name_of(&self, path: &Path) -> Option<String> {
        let root = self.store.root().canonicalize().ok()?;
        let inside = path.strip_prefix(root).ok()?;
        let name = inside.parent()?.to_str()?;
        (inside.file_name()? == "model.gguf" && check_name(name).is_ok()).then(|| name.to_owned())
    }
}

fn hash_file(path: &Path) -> Result<(Digest, u64), ModelsError> {
    let mut file = File::open(path).map_err(ModelsError::io("open", path))?;
    digest::hash_all(&mut file).map_err(ModelsError::io("read", path))
}
