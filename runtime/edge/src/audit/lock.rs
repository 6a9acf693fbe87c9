//! The lock that keeps a second writer out of a log.
//!
//! Readers do not take it. Invariant: it is the kernel's lock on an open file, so it ends with its process,
//! however that ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

// A process being replaced, or a verification having a look, is gone within this time.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(25);

fn open(dir: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).open(dir.join("lock"))
}

/// Takes the lock; `None` when another holds it.
pub(super) fn take(dir: &Path) -> io::Result<Option<File>> {
    let file = open(dir)?;
    for _ in 0..TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::WouldBlock) => sleep(PAUSE),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Ok(None)
}

/// Whether a writer holds the lock now.
pub(super) fn held(dir: &Path) -> io::Result<bool> {
    let file = match File::open(dir.join("lock")) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}
