//! The state folder: whether it takes files, and how much room there is.
//!
//! Not its contents. Invariant: the file that a check writes is gone when it returns.

use super::{Check, mebibytes};
use std::io::Write;
use std::path::Path;
use std::time::SystemTime;

/// Below this the audit log may soon be full.
const LOW_BYTES: u64 = 1 << 30;

/// Whether `home` takes files.
#[must_use]
pub fn check_home(home: &Path) -> Check {
    const NAME: &str = "state folder";
    let shown = home.display();
    if !home.exists() {
        return Check::warn(
            NAME,
            format!("{shown} is not there"),
            "it is made at the first start; or set R2D_HOME",
        );
    }
    match try_write(home) {
        Ok(()) => Check::ok(NAME, format!("{shown} takes files")),
        Err(e) => Check::fail(
            NAME,
            format!("{shown}: {e}"),
            "give this user the folder, or set R2D_HOME to another",
        ),
    }
}

fn try_write(home: &Path) -> std::io::Result<()> {
    // The time as well as the process: in a container every run may have the same number.
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let path = home.join(format!(".doctor-{}-{}", std::process::id(), now.as_nanos()));
    // Not overwritten: a file that is there already is somebody else's.
    let mut file = std::fs::File::create_new(&path)?;
    // A full disk may tell only when it really has to write.
    let written = file.write_all(b"r2d-edge doctor\n").and_then(|()| file.sync_all());
    drop(file);
    std::fs::remove_file(&path).and(written)
}

/// Bytes that this user may still write below `folder`, or below the nearest folder above it that exists.
#[must_use]
pub fn free_bytes(folder: &Path) -> Option<u64> {
    let existing = folder.ancestors().find(|path| path.exists())?;
    let disk = rustix::fs::statvfs(existing).ok()?;
    disk.f_bavail.checked_mul(disk.f_frsize)
}

/// Whether `free` bytes are enough.
#[must_use]
pub fn check_free_space(free: Option<u64>) -> Check {
    const NAME: &str = "disk";
    const HINT: &str = "free some, or move the state with R2D_HOME";
    match free {
        None => Check::warn(NAME, "cannot tell how much is free", HINT),
        Some(free) if free < LOW_BYTES => {
            Check::warn(NAME, format!("{} free, under {}", mebibytes(free), mebibytes(LOW_BYTES)), HINT)
        }
        Some(free) => Check::ok(NAME, format!("{} free", mebibytes(free))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn a_folder_that_takes_files_passes_and_is_left_empty() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(check_home(home.path()).level, Level::Ok);
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_that_is_missing_warns_and_a_file_in_its_place_fails() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(check_home(&home.path().join("absent")).level, Level::Warn);
        let file = home.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(check_home(&file).level, Level::Fail);
    }

    #[test]
    fn little_room_warns() {
        assert_eq!(check_free_space(Some(LOW_BYTES)).level, Level::Ok);
        assert_eq!(check_free_space(Some(LOW_BYTES - 1)).level, Level::Warn);
        assert_eq!(check_free_space(None).level, Level::Warn);
    }

    #[test]
    fn room_is_measured_where_the_folder_will_be() {
        let home = tempfile::tempdir().unwrap();
        assert!(free_bytes(&home.path().join("not/yet")).is_some());
    }
}
