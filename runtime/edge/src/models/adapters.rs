//! Adapters by name: which there are, which one is in force on a base, and which ones were before it.
//!
//! ```text
//! <home>/adapters/
//!   active.toml             for each base, the adapter in force and those before it
//!   <name>/adapter.gguf     the adapter; there only after size and sha256 were right
//!   <name>/adapter.toml     its record, as a model has one
//!   <name>/measured.json    what it was measured at when it was trained; only behind `distill run`
//! ```
//!
//! Not a loader, and not a judge of what an adapter does: that is measured by `eval` and tried by a self-test before it
//! is put in force. Invariants: an adapter is in force only on the base whose SHA-256 it names, and only because it
//! ships with the program or a person said so; its file is hashed at every use.

mod choice;
mod error;
mod shipped;
#[cfg(test)]
pub(crate) mod tests;

use super::digest::Digest;
use super::manifest::check_name;
use super::progress::Progress;
use super::pull::copy_in;
use super::store::{self, Record, Scratch, Store, Trust, create_folder};
use super::{ModelsError, hash_file};
use choice::Choices;
pub use choice::Refused;
pub use error::AdaptersError;
use r2d_distill::adapter::{self, AdapterInfo};
use serde::Serialize;
use shipped::Shipped;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// What stands for "no adapter" where a name is asked for.
pub const NONE: &str = "none";
/// What stands for "the one in force".
pub const AUTO: &str = "auto";

/// The adapters of one home folder.
#[derive(Clone, Debug)]
pub struct Adapters {
    store: Store,
}

/// An adapter whose file is what it should be.
#[derive(Clone, Debug)]
pub struct Adapter {
    /// Name.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// Its digest, computed just now.
    pub sha256: Digest,
    /// What it says of itself.
    pub info: AdapterInfo,
}

/// One line of the list of adapters.
#[derive(Clone, Debug, Serialize)]
pub struct Listing {
    /// Name.
    pub name: String,
    /// Whether it ships with the program.
    pub shipped: bool,
    /// SHA-256 of the file.
    pub sha256: Digest,
    /// SHA-256 of the model it belongs to; empty when its file cannot be read.
    pub base_sha256: String,
    /// Whether requests to that model are answered with it.
    pub in_force: bool,
    /// Why the service took it out of force, if it did.
    pub refused: Option<Refused>,
    /// Why its file cannot be read, if it cannot: then it is of no use, and in the way of nothing.
    pub damaged: Option<String>,
}

impl Adapters {
    /// The adapters below `home`; folders are created when something is put there.
    ///
    /// # Errors
    /// The current folder cannot be found.
    pub fn open(home: &Path) -> Result<Self, AdaptersError> {
        let home = std::path::absolute(home).map_err(ModelsError::io("find", home))?;
        Ok(Self { store: Store::of_adapters(&home) })
    }

    /// Every adapter on record, a damaged one too. Files are not hashed here.
    ///
    /// # Errors
    /// What is written about adapters cannot be read.
    pub fn list(&self) -> Result<Vec<Listing>, AdaptersError> {
        let choices = self.choices()?;
        let mut names: Vec<String> = fs::read_dir(self.store.root())
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| check_name(name).is_ok() && self.store.record(name).is_some())
            .collect();
        names.extend(shipped::all()?.into_iter().map(|s| s.name));
        names.sort();
        names.dedup();
        names.into_iter().map(|name| self.listing(name, &choices)).collect()
    }

    fn listing(&self, name: String, choices: &Choices) -> Result<Listing, AdaptersError> {
        let (sha256, shipped) = (self.recorded(&name)?, shipped::find(&name)?);
        let is_shipped = shipped.is_some();
        let base = match shipped {
            Some(s) => Ok(s.base_sha256),
            None => adapter::read(&self.store.file(&name)).map(|info| info.provenance.base_sha256),
        };
        let (base_sha256, damaged) =
            base.map_or_else(|e| (String::new(), Some(e.to_string())), |b| (b, None));
        let in_force = match &damaged {
            None => Self::chosen(choices, &base_sha256)?.as_deref() == Some(name.as_str()),
            Some(_) => choices.is_in_force(&name),
        };
        let refused = choices.of(&base_sha256).and_then(|c| c.refused.clone()).filter(|r| r.name == name);
        Ok(Listing { name, shipped: is_shipped, sha256, base_sha256, in_force, refused, damaged })
    }

    /// SHA-256 that the file of `name` should have. The file is not looked at.
    ///
    /// # Errors
    /// It is unknown.
    pub(crate) fn recorded(&self, name: &str) -> Result<Digest, AdaptersError> {
        let shipped = shipped::find(name)?.map(|s| s.sha256);
        let recorded = || self.store.record(name).map(|record| record.sha256);
        shipped.or_else(recorded).ok_or_else(|| AdaptersError::Unknown { name: name.to_owned() })
    }

    /// Whether `file`, which may not be there yet, can be taken in under `name`. No other adapter's file is read.
    ///
    /// # Errors
    /// It is no name for an adapter, or another file has it.
    pub fn check_free(&self, name: &str, file: &Path) -> Result<(), AdaptersError> {
        may_be_called(name)?;
        let Some(record) = self.store.record(name) else { return Ok(()) };
        if file.exists() && hash_file(file)?.0 == record.sha256 {
            return Ok(());
        }
        Err(AdaptersError::Taken { name: name.to_owned() })
    }

    /// Takes `file` in under `name`; `measured` is what it was measured at, as JSON text.
    ///
    /// # Errors
    /// It is no adapter, names no base, or the name is taken by another file.
    pub fn import(
        &self,
        file: &Path,
        name: &str,
        measured: Option<&str>,
        progress: &mut dyn Progress,
    ) -> Result<Adapter, AdaptersError> {
        may_be_called(name)?;
        let _lock = self.store.lock(name)?;
        let folder = self.store.folder(name);
        create_folder(&folder)?;
        let (scratch, sha256, size) = copy_in(file, folder.join("adapter.gguf.partial"), progress)?;
        let info = adapter::read(scratch.path())?;
        if info.provenance.base_sha256.is_empty() {
            return Err(AdaptersError::NoBase { file: file.to_owned() });
        }
        if self.store.record(name).is_some_and(|old| old.sha256 != sha256) {
            return Err(AdaptersError::Taken { name: name.to_owned() });
        }
        if let Some(text) = measured {
            let path = folder.join("measured.json");
            fs::write(&path, text).map_err(ModelsError::io("write", &path))?;
        }
        let source = format!("file: {}", file.display());
        let record = Record { sha256, size, source, trust: Trust::Imported };
        let path = self.store.install(name, scratch.path(), &record)?;
        Ok(Adapter { name: name.to_owned(), path, sha256, info })
    }

    /// The adapter `name`, its file hashed just now; one that ships with the program is laid down first.
    ///
    /// # Errors
    /// It is unknown, damaged or altered.
    pub fn verify(&self, name: &str) -> Result<Adapter, AdaptersError> {
        check_name(name)?;
        let path = self.store.file(name);
        let expected = self.recorded(name)?;
        let mut found = path.exists().then(|| hash_file(&path)).transpose()?;
        if let Some(s) = shipped::find(name)?
            && found.is_none_or(|(sha256, _)| sha256 != expected)
        {
            found = Some(self.lay_down(&s)?);
        }
        match found {
            Some((sha256, _)) if sha256 == expected => {
                let info = adapter::read(&path)?;
                Ok(Adapter { name: name.to_owned(), path, sha256, info })
            }
            Some((found, _)) => {
                let hint = format!("`r2d-edge adapters rm {name}`, then import it again");
                Err(ModelsError::Sha256 { what: path.display().to_string(), expected, found, hint }.into())
            }
            None => Err(AdaptersError::Unknown { name: name.to_owned() }),
        }
    }

    /// Writes the file of an adapter that ships with the program.
    fn lay_down(&self, shipped: &Shipped) -> Result<(Digest, u64), AdaptersError> {
        let name = &shipped.name;
        let _lock = self.store.wait_lock(name)?;
        let folder = self.store.folder(name);
        create_folder(&folder)?;
        store::need_space(&folder, shipped.bytes.len() as u64)?;
        let (scratch, mut file) = Scratch::create(folder.join("adapter.gguf.partial"))?;
        file.write_all(shipped.bytes).map_err(ModelsError::io("write", scratch.path()))?;
        let (sha256, size) = hash_file(scratch.path())?;
        let source = "ships with r2d-edge".to_owned();
        self.store.install(name, scratch.path(), &Record { sha256, size, source, trust: Trust::Manifest })?;
        Ok((sha256, size))
    }

    /// What an adapter was measured at when it was trained, as JSON text.
    #[must_use]
    pub fn measured(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.store.folder(name).join("measured.json")).ok()
    }

    /// Name of the adapter in force on the model with SHA-256 `base`.
    ///
    /// # Errors
    /// What is written about adapters cannot be read.
    pub fn in_force(&self, base: &str) -> Result<Option<String>, AdaptersError> {
        Self::chosen(&self.choices()?, base)
    }

    /// What a person put in force on the model with SHA-256 `base`, [`NONE`] included; nothing if nobody did.
    pub(crate) fn chosen_by_hand(&self, base: &str) -> Result<Option<String>, AdaptersError> {
        let choices = self.choices()?;
        Ok(choices.of(base).map(|choice| choice.in_force().unwrap_or(NONE).to_owned()))
    }

    /// Whether `name` ships with this program.
    pub(crate) fn ships(name: &str) -> Result<bool, AdaptersError> {
        Ok(shipped::find(name)?.is_some())
    }

    fn chosen(choices: &Choices, base: &str) -> Result<Option<String>, AdaptersError> {
        match choices.of(base) {
            Some(choice) => Ok(choice.in_force().map(str::to_owned)),
            None => Ok(shipped::of_base(base)?.map(|s| s.name)),
        }
    }

    /// Puts `name` in force on the model with SHA-256 `base`; [`NONE`] leaves it without. Says what was before.
    ///
    /// # Errors
    /// The adapter is unknown, damaged, or belongs to another base.
    pub fn activate(&self, name: &str, base: &str) -> Result<Option<String>, AdaptersError> {
        if name != NONE {
            self.verify(name)?.info.check_base(base)?;
        }
        self.change(base, |choice| {
            choice.put(name);
            Ok(())
        })
    }

    /// Puts that in force which was before; says what it is.
    ///
    /// # Errors
    /// Nothing was before, or it is here no more.
    pub fn rollback(&self, base: &str) -> Result<Option<String>, AdaptersError> {
        self.change(base, |choice| choice.back().map_err(|()| AdaptersError::NothingBefore))?;
        self.in_force(base)
    }

    /// Takes `name` out of force, because the service could not use it, and remembers why.
    ///
    /// # Errors
    /// The choice cannot be written.
    pub fn refuse(&self, name: &str, base: &str, reason: &str) -> Result<(), AdaptersError> {
        let refused = Refused { name: name.to_owned(), reason: reason.to_owned() };
        self.change(base, |choice| {
            choice.refuse(refused);
            Ok(())
        })?;
        Ok(())
    }

    /// Changes the choice for `base` under a lock; says what was in force before.
    fn change(
        &self,
        base: &str,
        change: impl FnOnce(&mut choice::Choice) -> Result<(), AdaptersError>,
    ) -> Result<Option<String>, AdaptersError> {
        let _lock = self.store.wait_lock("active")?;
        let mut choices = self.choices()?;
        let before = Self::chosen(&choices, base)?;
        change(choices.entry(base, before.as_deref()))?;
        store::write_toml(&self.choices_file(), &choices)?;
        Ok(before)
    }

    /// Removes an adapter that is not in force. Says how many bytes are free again.
    ///
    /// # Errors
    /// It is unknown, in force, or ships with the program.
    pub fn remove(&self, name: &str) -> Result<u64, AdaptersError> {
        check_name(name)?;
        let _lock = self.store.lock(name)?;
        if shipped::find(name)?.is_some() {
            return Err(AdaptersError::Shipped { name: name.to_owned() });
        }
        if self.store.record(name).is_none() {
            return Err(AdaptersError::Unknown { name: name.to_owned() });
        }
        let _choices = self.store.wait_lock("active")?;
        let mut choices = self.choices()?;
        if choices.is_in_force(name) {
            return Err(AdaptersError::InForce { name: name.to_owned() });
        }
        choices.forget(name);
        store::write_toml(&self.choices_file(), &choices)?;
        let folder = self.store.folder(name);
        let freed = store::bytes_below(&folder);
        fs::remove_dir_all(&folder).map_err(ModelsError::io("remove", &folder))?;
        Ok(freed)
    }

    fn choices_file(&self) -> PathBuf {
        self.store.root().join("active.toml")
    }

    fn choices(&self) -> Result<Choices, AdaptersError> {
        Ok(store::read_toml(&self.choices_file())?.unwrap_or_default())
    }
}

/// Whether an adapter can have this name: not what means something else, nor what ships with the program.
fn may_be_called(name: &str) -> Result<(), AdaptersError> {
    may_train(name)?;
    if shipped::find(name)?.is_some() {
        return Err(AdaptersError::TakenByShipped { name: name.to_owned() });
    }
    Ok(())
}

/// Whether an adapter may be called so, as the shipped ones are too.
///
/// # Errors
/// [`AdaptersError::Reserved`], and the store's when it is no name.
pub fn may_train(name: &str) -> Result<(), AdaptersError> {
    check_name(name)?;
    if [NONE, AUTO].contains(&name) {
        return Err(AdaptersError::Reserved { name: name.to_owned() });
    }
    Ok(())
}
