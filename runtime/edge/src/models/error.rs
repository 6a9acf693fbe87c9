//! What can go wrong between a model's name and a file that is safe to parse.
//!
//! Invariant: no message contains credentials; addresses come as [`super::address::Address`] shows them.

use std::io;
use std::path::{Path, PathBuf};

use super::digest::Digest;

/// Why a model could not be listed, fetched, checked or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelsError {
    /// The name cannot be a model's name.
    #[error("`{name}` is no model name: {reason}; hint: use a-z, 0-9, `.`, `_` and `-`, up to 64 characters")]
    BadName {
        /// The name.
        name: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// No manifest has this name.
    #[error("unknown model `{name}`; hint: {hint}")]
    Unknown {
        /// The name.
        name: String,
        /// What may help.
        hint: String,
    },
    /// A manifest does not say what it must, or says what it must not.
    #[error("manifest {file}: {reason}; hint: correct the file or remove it")]
    BadManifest {
        /// The manifest.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// The name belongs to a manifest that describes another file.
    #[error("`{name}` is {taken_by} and not the file of sha256 {found}; hint: choose a name with --name")]
    NameTaken {
        /// The name.
        name: String,
        /// Who has it.
        taken_by: &'static str,
        /// What was found.
        found: Digest,
    },
    /// A setting of pip's, or an address, that cannot be used.
    #[error("{what}: {reason}; hint: {hint}")]
    BadConfig {
        /// What it is about.
        what: String,
        /// What is wrong.
        reason: String,
        /// What may help.
        hint: &'static str,
    },
    /// The model is known and not on this machine.
    #[error("model `{name}` is not on this machine; hint: run `r2d-edge models pull {name}`")]
    Absent {
        /// The name.
        name: String,
    },
    /// The licence needs an explicit yes, and there was none.
    #[error(
        "the licence of `{name}` ({licence}) was not accepted; hint: read {url}, then pass --accept-licence"
    )]
    LicenceRefused {
        /// The name.
        name: String,
        /// The licence.
        licence: String,
        /// Where to read it.
        url: String,
    },
    /// Another process works on the same model.
    #[error("another r2d-edge is working on `{name}`; hint: wait until it has finished")]
    Busy {
        /// The name.
        name: String,
    },
    /// The operating system refused.
    #[error("cannot {action} {path}: {source}; hint: check the permissions and the disk", path = path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The disk cannot hold what is to come.
    #[error(
        "{needed} bytes are needed in {path} and {free} are free; hint: free some space, or use another --home",
        path = path.display()
    )]
    NoSpace {
        /// Where.
        path: PathBuf,
        /// Bytes that are needed.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// The transfer broke off and its retries are spent.
    #[error("cannot fetch {from}: {reason}; hint: run the same command again, it goes on where it stopped")]
    Network {
        /// The address, without credentials.
        from: String,
        /// What is wrong.
        reason: String,
    },
    /// The server said no.
    #[error("{from} answered {status}; hint: {}", status_hint(*status))]
    Status {
        /// The address, without credentials.
        from: String,
        /// The HTTP status.
        status: u16,
    },
    /// The package index does not have what the manifest names.
    #[error(
        "{from} has no usable wheel of {package} {version}: {reason}; hint: check the index that pip uses"
    )]
    NoWheel {
        /// The address, without credentials.
        from: String,
        /// The package.
        package: String,
        /// Its version.
        version: String,
        /// What is wrong.
        reason: String,
    },
    /// A wheel does not contain what the manifest says.
    #[error("{wheel}: {reason}; hint: the package was changed or the manifest is wrong")]
    BadWheel {
        /// The wheel.
        wheel: String,
        /// What is wrong.
        reason: String,
    },
    /// A file has another size than promised.
    #[error("{what} has {found} bytes, not {expected}: truncated or altered; hint: {hint}")]
    Size {
        /// What it is about.
        what: String,
        /// What was promised.
        expected: u64,
        /// What was found.
        found: u64,
        /// What may help.
        hint: String,
    },
    /// A file has another sha256 than promised.
    #[error("{what} has sha256 {found}, not {expected}: damaged or altered; hint: {hint}")]
    Sha256 {
        /// What it is about.
        what: String,
        /// What was promised.
        expected: Digest,
        /// What was found.
        found: Digest,
        /// What may help.
        hint: String,
    },
    /// The file does not begin as a GGUF file does.
    #[error("{what} is not a GGUF file; hint: give a file that llama.cpp can load")]
    NotGguf {
        /// What it is about.
        what: String,
    },
}

impl ModelsError {
    /// Whether the caller can set it right by asking differently (exit code 2); else it is a failure (3).
    pub fn is_usage(&self) -> bool {
        match self {
            Self::BadName { .. }
            | Self::Unknown { .. }
            | Self::BadManifest { .. }
            | Self::NameTaken { .. }
            | Self::BadConfig { .. }
            | Self::Absent { .. }
            | Self::LicenceRefused { .. }
            | Self::NotGguf { .. } => true,
            Self::Busy { .. }
            | Self::Io { .. }
            | Self::NoSpace { .. }
            | Self::Network { .. }
            | Self::Status { .. }
            | Self::NoWheel { .. }
            | Self::BadWheel { .. }
            | Self::Size { .. }
            | Self::Sha256 { .. } => false,
        }
    }

    /// For `map_err`: what was being done to which path.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }
}

fn status_hint(status: u16) -> &'static str {
    match status {
        401 | 403 => "check the credentials and the rights of the account",
        404 | 410 => "check the address in the manifest, or the index that pip uses",
        _ => "ask whoever runs the server",
    }
}
