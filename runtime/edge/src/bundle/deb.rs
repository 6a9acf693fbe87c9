//! dpkg-deb, which reads packages for us.
//!
//! Nothing of a package is run here. Invariant: what dpkg-deb finds wrong is an error in its own words.

use super::error::BundleError;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::process::{Command, Stdio};

/// What a package without the program is told.
pub(super) const PROGRAM: &str = "a package of r2d-edge has usr/bin/r2d-edge";

/// Runs dpkg-deb and gives what it prints; none when it is not on this machine.
pub(super) fn run(words: &[&OsStr]) -> Result<Option<String>, BundleError> {
    let bad = |reason: String| BundleError::Package { reason, hint: "look at it with `dpkg-deb --contents`" };
    match Command::new("dpkg-deb").args(words).stdin(Stdio::null()).output() {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(bad(format!("dpkg-deb does not start: {error}"))),
        Ok(out) if out.status.success() => Ok(Some(String::from_utf8_lossy(&out.stdout).into_owned())),
        Ok(out) => Err(bad(String::from_utf8_lossy(&out.stderr).trim().replace('\n', "; "))),
    }
}
