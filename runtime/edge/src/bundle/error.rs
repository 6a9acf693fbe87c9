//! What can go wrong with a bundle, and how the command then ends.
//!
//! Invariant: whatever the bundle itself is to blame for is a refusal, exit code 1.

use crate::exit::Exit;
use crate::models::adapters::AdaptersError;
use crate::models::{Digest, ModelsError};
use std::io;
use std::path::{Path, PathBuf};

use super::manifest::Version;

/// Why a bundle could not be made, checked, installed or left.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum BundleError {
    /// The file is not built as a bundle is.
    #[error("{file} is no whole bundle: {reason}; hint: copy it again, or make it anew with `bundle create`")]
    NotBundle { file: String, reason: String },
    /// The signature is not one of this key on this page.
    #[error(
        "the signature of {file} is not good: {reason}; hint: this bundle was not made by the key's holder"
    )]
    Signature { file: String, reason: String },
    /// A payload is not what the signed page says.
    #[error(
        "{name} in the bundle has sha256 {found}, not {expected}: damaged or altered; hint: copy it again"
    )]
    Altered { name: String, expected: Digest, found: Digest },
    /// Going back by installing is not allowed.
    #[error(
        "version {version} is not above {highest}, the highest that was ever in force here; hint: `bundle rollback` \
         goes back, `bundle create --version` with a higher number goes on"
    )]
    NotNewer { version: Version, highest: Version },
    /// There is no program for this board.
    #[error(
        "the bundle holds no package for {arch}, only for {there}; hint: add one with `bundle create --deb`"
    )]
    NoPackage { arch: String, there: String },
    /// The name belongs to something else here.
    #[error(
        "another {what} is called `{name}` here; hint: remove it, or make the bundle with the {what} under another name"
    )]
    Taken { what: &'static str, name: String },
    /// The new release does not work on this board.
    #[error("the new release failed its self-test, the old one stays in force: {reason}; hint: {hint}")]
    SelfTest { reason: String, hint: &'static str },
    /// The service would have no model to run.
    #[error(
        "the new release would have no model, the old one stays in force: model.name is {name:?}, the bundle \
         brings {brought}, and on this board: {reason}; hint: set model.name to a model that is here, import \
         this one (`r2d-edge models import`), or put it into the bundle"
    )]
    NoModel { name: String, brought: String, reason: String },
    /// The package cannot be unpacked.
    #[error("the package cannot be unpacked: {reason}; hint: {hint}")]
    Package { reason: String, hint: &'static str },
    /// A key that cannot be used.
    #[error(
        "{what}: {reason}; hint: on a board it is the key of whoever made the release; `r2d-edge bundle keygen` makes a new pair"
    )]
    Key { what: String, reason: String },
    /// Something to put into a bundle that cannot go there.
    #[error("{0}")]
    Input(String),
    /// There is no release to go back to.
    #[error("the other slot holds no whole release; hint: `r2d-edge bundle status` says what is here")]
    NothingBefore,
    /// There is no release to take out of force.
    #[error("no release of a bundle is in force; hint: the service runs its package's program already")]
    NothingInForce,
    /// Another process is at it.
    #[error("another r2d-edge is changing the release; hint: wait until it has finished")]
    Busy,
    /// The operating system refused.
    #[error("cannot {action} {path}: {source}; hint: {hint}", path = path.display(), hint = io_hint(source))]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    /// The models' store.
    #[error(transparent)]
    Models(ModelsError),
    /// The adapters' store.
    #[error(transparent)]
    Adapters(#[from] AdaptersError),
}

impl BundleError {
    /// The exit code.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::NotBundle { .. }
            | Self::Signature { .. }
            | Self::Altered { .. }
            | Self::NotNewer { .. }
            | Self::NoPackage { .. }
            | Self::Taken { .. }
            | Self::SelfTest { .. } => Exit::Refused,
            Self::NoModel { .. }
            | Self::Key { .. }
            | Self::Input(_)
            | Self::NothingBefore
            | Self::NothingInForce => Exit::Usage,
            Self::Models(error) if error.is_usage() => Exit::Usage,
            Self::Adapters(error) if error.is_usage() => Exit::Usage,
            Self::Package { .. } | Self::Busy | Self::Io { .. } | Self::Models(_) | Self::Adapters(_) => {
                Exit::Failed
            }
        }
    }

    /// For `map_err`: what was being done to which path.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }
}

impl From<ModelsError> for BundleError {
    fn from(error: ModelsError) -> Self {
        match error {
            // The store's hint is the same whatever the system said.
            ModelsError::Io { action, path, source } => Self::Io { action, path, source },
            error => Self::Models(error),
        }
    }
}

fn io_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "check the path",
        _ => "check the permissions and the disk",
    }
}
