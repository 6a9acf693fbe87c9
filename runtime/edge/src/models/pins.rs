//! Files outside the store, and the sha256 that each had when it was first used.
//!
//! Keeps no copy of any file and never deletes one. Invariant: a path is pinned at most once, and a pin changes only
//! when a person asks for it (`models import`, `models rm`).

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::error::ModelsError;
use super::store::{Store, read_toml, write_toml};

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PinFile {
    #[serde(default)]
    pin: Vec<Pin>,
}

/// One path and what it held.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pin {
    path: String,
    sha256: Digest,
    size: u64,
}

/// The pins of a store.
pub(crate) struct Pins<'a> {
    store: &'a Store,
}

impl<'a> Pins<'a> {
    /// The pins of `store`.
    pub(crate) fn of(store: &'a Store) -> Self {
        Self { store }
    }

    /// Compares with the pin of `path`, or makes one; says whether this was the first use.
    pub(crate) fn check(&self, path: &Path, found: Digest, size: u64) -> Result<bool, ModelsError> {
        let key = key(path)?;
        let known = |file: &PinFile| file.pin.iter().find(|pin| pin.path == key).map(|pin| pin.sha256);
        let judge = |pinned: Digest| {
            if pinned == found {
                return Ok(false);
            }
            let shown = path.display();
            Err(ModelsError::Sha256 {
                what: shown.to_string(),
                expected: pinned,
                found,
                hint: format!(
                    "if you changed it, `r2d-edge models import {shown}` or `r2d-edge models rm {shown}` forgets the old sha256"
                ),
            })
        };
        // Looked at without the lock first: a service with a read-only store must be able to use a pinned file.
        if let Some(pinned) = known(&self.read()?) {
            return judge(pinned);
        }
        let _lock = self.store.wait_lock("pins.toml")?;
        let mut file = self.read()?;
        if let Some(pinned) = known(&file) {
            return judge(pinned);
        }
        file.pin.push(Pin { path: key, sha256: found, size });
        write_toml(&self.path(), &file)?;
        Ok(true)
    }

    /// Forgets `path`; says whether it was pinned.
    pub(crate) fn forget(&self, path: &Path) -> Result<bool, ModelsError> {
        let key = key(path)?;
        if !self.read()?.pin.iter().any(|pin| pin.path == key) {
            return Ok(false);
        }
        let _lock = self.store.wait_lock("pins.toml")?;
        let mut file = self.read()?;
        file.pin.retain(|pin| pin.path != key);
        write_toml(&self.path(), &file)?;
        Ok(true)
    }

    fn read(&self) -> Result<PinFile, ModelsError> {
        Ok(read_toml(&self.path())?.unwrap_or_default())
    }

    fn path(&self) -> PathBuf {
        self.store.root().join("pins.toml")
    }
}

fn key(path: &Path) -> Result<String, ModelsError> {
    path.to_str().map(str::to_owned).ok_or_else(|| ModelsError::BadConfig {
        what: path.display().to_string(),
        reason: "the path is not UTF-8".into(),
        hint: "rename the file, or import it with `r2d-edge models import FILE --name NAME`",
    })
}
