//! The folder in which models lie, and what is written there.
//!
//! ```text
//! <home>/models/
//!   manifests/<name>.toml   manifests of the user's own, also those that an import made
//!   pins.toml               files outside the store and the sha256 each had at first use
//!   locks/<name>            lock files, never deleted: deleting one would let two holders in
//!   incoming/               the file of an import that is under way
//!   <name>/model.gguf       the model; there only after size and sha256 were right
//!   <name>/model.toml       the record: its sha256 and size, where it came from, and why it is trusted
//!   <name>/notice.txt       the notice that came with its licence
//!   <name>/damaged          a check failed since; says which sha256 was found
//!   <name>/*.part           downloads that can go on
//! ```
//!
//! Adapters lie the same way in `<home>/adapters`, as `adapter.gguf` and `adapter.toml`.
//!
//! Knows nothing of networks. Invariant: `model.gguf` and `model.toml` appear by rename after fsync, the record
//! first, so a crash at any point leaves either nothing usable or all of it.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::error::ModelsError;

/// Room that must stay free for everything else on the disk.
const RESERVE: u64 = 32 << 20;

/// Why a file in the store is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Trust {
    /// Its sha256 is the one in the manifest.
    Manifest,
    /// It was the first file seen under this name; its sha256 was pinned then.
    FirstUse,
    /// A person imported it, and the manifest was made from it.
    Imported,
}

/// What the store knows of a model it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    /// The digest that the file must have.
    pub(crate) sha256: Digest,
    /// The size that the file must have.
    pub(crate) size: u64,
    /// Where it came from, for people.
    pub(crate) source: String,
    /// Why it is trusted.
    pub(crate) trust: Trust,
}

/// The folder `<home>/models`.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    root: PathBuf,
    /// What each file is: `model` or `adapter`.
    kind: &'static str,
}

/// Held while one process works on one model; ends when dropped.
#[derive(Debug)]
pub(crate) struct Lock(File);

impl Lock {
    /// Takes the lock on `file` without waiting; none when another has it.
    pub(crate) fn take(file: File) -> io::Result<Option<Self>> {
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing would not do while a child process that another thread just started still shares the open file.
        let _ = self.0.unlock();
    }
}

impl Store {
    /// The models' store below `home`; nothing is created yet.
    pub(crate) fn of_models(home: &Path) -> Self {
        Self { root: home.join("models"), kind: "model" }
    }

    /// The adapters' store below `home`; nothing is created yet.
    pub(crate) fn of_adapters(home: &Path) -> Self {
        Self { root: home.join("adapters"), kind: "adapter" }
    }

    /// The folder itself.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of the user's own manifests.
    pub(crate) fn manifests(&self) -> PathBuf {
        self.root.join("manifests")
    }

    /// The folder of the model `name`, which [`super::manifest::check_name`] has passed.
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The GGUF file of `name`.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder(name).join(format!("{}.gguf", self.kind))
    }

    fn record_file(&self, name: &str) -> PathBuf {
        self.folder(name).join(format!("{}.toml", self.kind))
    }

    /// What is on record about `name`; a record that cannot be read counts as none.
    pub(crate) fn record(&self, name: &str) -> Option<Record> {
        read_toml(&self.record_file(name)).ok().flatten()
    }

    /// Writes the record of `name`.
    pub(crate) fn write_record(&self, name: &str, record: &Record) -> Result<(), ModelsError> {
        write_toml(&self.record_file(name), record)
    }

    /// Makes the checked file `ready` the file of `name`. Its bytes are durable before its name appears.
    pub(crate) fn install(&self, name: &str, ready: &Path, record: &Record) -> Result<PathBuf, ModelsError> {
        let file = self.file(name);
        create_folder(&self.folder(name))?;
        File::open(ready).and_then(|file| file.sync_all()).map_err(ModelsError::io("write", ready))?;
        self.write_record(name, record)?;
        fs::rename(ready, &file).map_err(ModelsError::io("rename to", &file))?;
        sync_folder(&self.folder(name));
        self.mark(name, None);
        Ok(file)
    }

    /// Remembers that a check found another digest, or that all is well again.
    pub(crate) fn mark(&self, name: &str, found: Option<Digest>) {
        let path = self.folder(name).join("damaged");
        // The mark only makes a later listing better: on a read-only disk the check itself still refuses the file.
        let _ = match found {
            Some(found) => fs::write(&path, format!("{found}\n")),
            None => fs::remove_file(&path),
        };
    }

    /// The digest that a failed check found, if the last check failed.
    pub(crate) fn marked(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.folder(name).join("damaged")).ok().map(|text| text.trim().to_owned())
    }

    /// How many bytes of unfinished downloads `name` has.
    pub(crate) fn partial(&self, name: &str) -> u64 {
        let parts = fs::read_dir(self.folder(name)).into_iter().flatten().flatten();
        parts
            .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "part"))
            .filter_map(|entry| Some(entry.metadata().ok()?.len()))
            .sum()
    }

    /// Takes the lock of `name`; does not wait.
    pub(crate) fn lock(&self, name: &str) -> Result<Lock, ModelsError> {
        let (file, path) = self.lock_file(name)?;
        let lock = Lock::take(file).map_err(ModelsError::io("lock", &path))?;
        lock.ok_or_else(|| ModelsError::Busy { name: name.to_owned() })
    }

    /// Takes the lock of `name` and waits for it; only for work that takes no time.
    pub(crate) fn wait_lock(&self, name: &str) -> Result<Lock, ModelsError> {
        let (file, path) = self.lock_file(name)?;
        file.lock().map_err(ModelsError::io("lock", &path))?;
        Ok(Lock(file))
    }

    fn lock_file(&self, name: &str) -> Result<(File, PathBuf), ModelsError> {
        let folder = self.root.join("locks");
        create_folder(&folder)?;
        let path = folder.join(name);
        let file =
            File::options().create(true).append(true).open(&path).map_err(ModelsError::io("open", &path))?;
        Ok((file, path))
    }
}

/// A file that is deleted again unless it was moved away in time.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// The empty file `path`.
    pub(crate) fn create(path: PathBuf) -> Result<(Self, File), ModelsError> {
        let file = File::create(&path).map_err(ModelsError::io("create", &path))?;
        Ok((Self(path), file))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // After a rename there is nothing left to delete, and that is the good case.
        let _ = fs::remove_file(&self.0);
    }
}

/// Refuses when `folder`'s disk cannot take `needed` more bytes.
pub(crate) fn need_space(folder: &Path, needed: u64) -> Result<(), ModelsError> {
    let disk = rustix::fs::statvfs(folder);
    let disk = disk.map_err(|error| ModelsError::io("ask for free space in", folder)(error.into()))?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if needed.saturating_add(RESERVE) > free {
        return Err(ModelsError::NoSpace {
            path: folder.to_owned(),
            needed: needed.saturating_add(RESERVE),
            free,
        });
    }
    Ok(())
}

/// Creates `path` and the folders above it.
pub(crate) fn create_folder(path: &Path) -> Result<(), ModelsError> {
    fs::create_dir_all(path).map_err(ModelsError::io("create", path))
}

/// Bytes of all files below `folder`.
pub(crate) fn bytes_below(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            // Links are counted as themselves, so what they point to is neither counted nor freed.
            let kind = entry.metadata().ok()?;
            Some(if kind.is_dir() { bytes_below(&entry.path()) } else { kind.len() })
        })
        .sum()
}

/// Reads a TOML file that need not exist.
pub(crate) fn read_toml<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, ModelsError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(ModelsError::io("read", path)(error)),
    };
    let bad = |error: toml::de::Error| ModelsError::BadManifest {
        file: path.display().to_string(),
        reason: error.message().to_owned(),
    };
    toml::from_str(&text).map(Some).map_err(bad)
}

/// Replaces a TOML file in one step: readers see the old or the new, never a mixture.
pub(crate) fn write_toml<T: Serialize>(path: &Path, value: &T) -> Result<(), ModelsError> {
    let invalid = |error: toml::ser::Error| ModelsError::io("write", path)(io::Error::other(error));
    let text = toml::to_string(value).map_err(invalid)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    create_folder(folder)?;
    let (scratch, mut file) = Scratch::create(path.with_extension("toml.new"))?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(scratch.path(), path))
        .map_err(ModelsError::io("write", path))?;
    sync_folder(folder);
    Ok(())
}

/// Makes renames in `folder` durable, where the system can do that.
pub(crate) fn sync_folder(folder: &Path) {
    // Some systems cannot open a folder; there the rename is as durable as they make it.
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
}
