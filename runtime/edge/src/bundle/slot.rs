//! The two slots, the link that says which is in force, and the memory of versions.
//!
//! Moves whole releases about and knows nothing of what is in them. Invariants: a slot has its `bundle.toml` only while
//! all else in it is whole and on the disk; `current` is only ever replaced by rename.

use super::error::BundleError;
use super::manifest::{Manifest, PAGE, SIGNATURE, Version};
use crate::models::{Lock, create_folder, read_toml, sync_folder, write_toml};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// How many installations are remembered.
const HISTORY: usize = 32;

/// One of the two places for a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Slot {
    A,
    B,
}

impl Slot {
    /// Its folder's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }

    /// The other one.
    pub(crate) fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// What is remembered beyond the slots.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct State {
    /// The highest version that was ever in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) highest: Option<Version>,
    /// The version whose adapter was put in force last: else that is still to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) settled: Option<Version>,
    /// What was put in force when, the latest last.
    #[serde(default)]
    pub(crate) installed: Vec<Installed>,
}

/// A release that was put in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Installed {
    /// Which.
    pub(crate) version: Version,
    /// When, in UTC.
    pub(crate) at: String,
}

impl State {
    /// Remembers that `version` is in force.
    pub(super) fn remember(&mut self, version: Version) {
        self.highest = self.highest.max(Some(version));
        let at = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        self.installed.push(Installed { version, at });
        let n = self.installed.len().saturating_sub(HISTORY);
        self.installed.drain(..n);
    }
}

/// The adapter that was in force when a release was left.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Left {
    /// On which model.
    pub(super) base_sha256: String,
    /// Its name, or `none`.
    pub(super) adapter: String,
}

/// The folder `<home>/bundle`.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    root: PathBuf,
}

impl Site {
    /// The folder below `home`; nothing is created yet.
    pub(crate) fn of(home: &Path) -> Result<Self, BundleError> {
        let home = std::path::absolute(home).map_err(BundleError::io("find", home))?;
        Ok(Self { root: home.join("bundle") })
    }

    /// Takes the lock; does not wait.
    pub(super) fn lock(&self) -> Result<Lock, BundleError> {
        create_folder(&self.root)?;
        let path = self.root.join("lock");
        let file =
            File::options().create(true).append(true).open(&path).map_err(BundleError::io("open", &path))?;
        Lock::take(file).map_err(BundleError::io("lock", &path))?.ok_or(BundleError::Busy)
    }

    /// The link that decides.
    pub(crate) fn link(&self) -> PathBuf {
        self.root.join("current")
    }

    /// The folder of `slot`.
    pub(crate) fn folder(&self, slot: Slot) -> PathBuf {
        self.root.join(slot.name())
    }

    /// The slot in force.
    pub(crate) fn current(&self) -> Result<Option<Slot>, BundleError> {
        let link = self.link();
        let target = match fs::read_link(&link) {
            Ok(target) => target,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(BundleError::io("read", &link)(error)),
        };
        let slot = [Slot::A, Slot::B].into_iter().find(|slot| target == Path::new(slot.name()));
        let strange =
            || io::Error::new(io::ErrorKind::InvalidData, format!("it points at {}", target.display()));
        slot.map(Some).ok_or_else(|| BundleError::io("use", &link)(strange()))
    }

    /// The whole release in `slot`; a page that cannot be read counts as none.
    pub(crate) fn release(&self, slot: Slot) -> Option<Manifest> {
        Manifest::parse(&fs::read(self.folder(slot).join(PAGE)).ok()?).ok()
    }

    /// What is remembered.
    pub(crate) fn state(&self) -> Result<State, BundleError> {
        Ok(read_toml(&self.state_file())?.unwrap_or_default())
    }

    pub(super) fn write_state(&self, state: &State) -> Result<(), BundleError> {
        Ok(write_toml(&self.state_file(), state)?)
    }

    fn state_file(&self) -> PathBuf {
        self.root.join("state.toml")
    }

    /// The highest version that was ever in force, also when its being so was not written down any more.
    pub(super) fn highest(&self) -> Result<Option<Version>, BundleError> {
        let in_force = self.current()?.and_then(|slot| self.release(slot)).map(|release| release.version);
        Ok(self.state()?.highest.max(in_force))
    }

    /// The slot in force, or behind `leave` the one that was.
    pub(crate) fn last(&self) -> Result<Option<Slot>, BundleError> {
        if let Some(slot) = self.current()? {
            return Ok(Some(slot));
        }
        let last = self.state()?.installed.last().map(|installed| installed.version);
        let holds = |slot: &Slot| last.is_some() && self.release(*slot).map(|r| r.version) == last;
        Ok([Slot::A, Slot::B].into_iter().find(holds))
    }

    /// Empties `slot`, its page first, and makes its folder anew.
    pub(super) fn clear(&self, slot: Slot) -> Result<(), BundleError> {
        let folder = self.folder(slot);
        let gone = |result: io::Result<()>| match result {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(BundleError::io("remove", &folder)(error))
            }
            _ => Ok(()),
        };
        gone(fs::remove_file(folder.join(PAGE)))?;
        sync_folder(&folder);
        gone(fs::remove_dir_all(&folder))?;
        Ok(create_folder(&folder)?)
    }

    /// Makes everything in `slot` durable, and then says that it is whole.
    pub(super) fn seal(&self, slot: Slot, page: &[u8], signature: &[u8]) -> Result<(), BundleError> {
        let folder = self.folder(slot);
        let write =
            |path: &Path, bytes: &[u8]| fs::write(path, bytes).map_err(BundleError::io("write", path));
        write(&folder.join(SIGNATURE), signature)?;
        let scratch = folder.join("bundle.toml.new");
        write(&scratch, page)?;
        sync_below(&folder)?;
        let named = folder.join(PAGE);
        fs::rename(&scratch, &named).map_err(BundleError::io("rename to", &named))?;
        sync_folder(&folder);
        sync_folder(&self.root);
        Ok(())
    }

    /// Puts `slot` in force, in one step.
    pub(super) fn switch(&self, slot: Slot) -> Result<(), BundleError> {
        let (link, scratch) = (self.link(), self.root.join("current.new"));
        match fs::remove_file(&scratch) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(BundleError::io("remove", &scratch)(error));
            }
            _ => {}
        }
        std::os::unix::fs::symlink(slot.name(), &scratch).map_err(BundleError::io("create", &scratch))?;
        fs::rename(&scratch, &link).map_err(BundleError::io("replace", &link))?;
        sync_folder(&self.root);
        Ok(())
    }

    /// Puts no slot in force, in one step.
    pub(super) fn unlink(&self) -> Result<(), BundleError> {
        let link = self.link();
        fs::remove_file(&link).map_err(BundleError::io("remove", &link))?;
        sync_folder(&self.root);
        Ok(())
    }

    /// What was written down when the release in `slot` was left.
    pub(super) fn left(&self, slot: Slot) -> Result<Option<Left>, BundleError> {
        Ok(read_toml(&self.left_file(slot))?)
    }

    /// Writes down, or forgets, what is in force while the release in `slot` is left.
    pub(super) fn leave(&self, slot: Slot, left: Option<&Left>) -> Result<(), BundleError> {
        let path = self.left_file(slot);
        match left {
            Some(left) => Ok(write_toml(&path, left)?),
            None => match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    Err(BundleError::io("remove", &path)(error))
                }
                _ => Ok(()),
            },
        }
    }

    fn left_file(&self, slot: Slot) -> PathBuf {
        self.folder(slot).join("left.toml")
    }
}

/// Makes every file and folder below `folder` durable.
fn sync_below(folder: &Path) -> Result<(), BundleError> {
    for entry in fs::read_dir(folder).map_err(BundleError::io("read", folder))? {
        let path = entry.map_err(BundleError::io("read", folder))?.path();
        let kind = fs::symlink_metadata(&path).map_err(BundleError::io("read", &path))?.file_type();
        if kind.is_dir() {
            sync_below(&path)?;
        } else if kind.is_file() {
            File::open(&path).and_then(|file| file.sync_all()).map_err(BundleError::io("write", &path))?;
        }
    }
    sync_folder(folder);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_version_never_falls_and_the_history_is_bounded() {
        let mut state = State::default();
        for n in (1..=40u32).chain([3]) {
            state.remember(n.to_string().parse().unwrap());
        }
        assert_eq!(state.highest, Some("40".parse().unwrap()));
        assert_eq!(state.installed.len(), HISTORY);
    }

    #[test]
    fn a_link_to_elsewhere_is_an_error_and_not_a_slot() {
        let home = tempfile::tempdir().unwrap();
        let site = Site::of(home.path()).unwrap();
        assert_eq!(site.current().unwrap(), None);
        let _lock = site.lock().unwrap();
        assert!(matches!(site.lock(), Err(BundleError::Busy)));
        site.switch(Slot::B).unwrap();
        site.switch(Slot::A).unwrap();
        assert_eq!(site.current().unwrap(), Some(Slot::A));
        fs::remove_file(site.link()).unwrap();
        std::os::unix::fs::symlink("/usr", site.link()).unwrap();
        assert!(site.current().is_err());
    }
}
