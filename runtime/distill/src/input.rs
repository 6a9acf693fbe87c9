//! Files of lines that a person hands in: prompts and decisions.
//!
//! Not trajectories (see [`crate::trajectory::Lines`]). Invariant: memory stays bounded by [`MAX_BYTES`], and every
//! complaint names its line.

use crate::trajectory::MAX_LINE_BYTES;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Largest file, in bytes.
pub const MAX_BYTES: u64 = 64 << 20;

/// Why a file of lines cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InputError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}; hint: check the path and the file's rights", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is too large.
    #[error("{} is larger than {MAX_BYTES} bytes; hint: split it", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// A line is faulty.
    #[error("{}:{line}: {reason}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong and what to do.
        reason: String,
    },
    /// It holds nothing.
    #[error("{} is empty; hint: look whether it is the right file", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// All of the file at `path`.
pub(crate) fn bytes(path: &Path) -> Result<Vec<u8>, InputError> {
    let io = |source| InputError::Io { path: path.into(), source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(io)?;
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(InputError::TooLarge { path: path.into() });
    }
    Ok(bytes)
}

/// The lines that are not blank, trimmed, with their numbers from 1; a line that is too long is its fault.
pub(crate) fn lines(bytes: &[u8]) -> impl Iterator<Item = (usize, Result<&[u8], String>)> {
    let lines = bytes.split(|&b| b == b'\n').map(<[u8]>::trim_ascii).enumerate();
    lines.filter(|(_, line)| !line.is_empty()).map(|(i, line)| {
        let fits = line.len() <= MAX_LINE_BYTES;
        let fault = || format!("longer than {MAX_LINE_BYTES} bytes; hint: one line for each");
        (i + 1, if fits { Ok(line) } else { Err(fault()) })
    })
}

/// What stands in a JSON line, or why it cannot be read.
pub(crate) fn json<T: DeserializeOwned>(line: &[u8], hint: &str) -> Result<T, String> {
    serde_json::from_slice(line).map_err(|e| {
        // What the parser quotes may be long and hostile.
        let said: String = e.to_string().chars().filter(|c| !c.is_control()).take(200).collect();
        format!("{said}; hint: {hint}")
    })
}
