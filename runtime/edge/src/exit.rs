//! Exit codes.

use crate::bundle::BundleError;
use crate::models::ModelsError;
use crate::models::adapters::AdaptersError;
use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Done = 0,
    /// The request was not allowed, or a check failed.
    Refused = 1,
    /// Wrong usage or configuration.
    Usage = 2,
    /// A failure at run time.
    Failed = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Marks an error as the caller's fault.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UsageError(pub(crate) String);

impl Exit {
    /// The code for an error: the caller's faults are usage, the rest are failures, unless it says so itself.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        if let Some(error) = error.chain().find_map(|e| e.downcast_ref::<BundleError>()) {
            return error.exit();
        }
        let usage = error.chain().any(|e| {
            e.is::<UsageError>()
                || e.is::<crate::config::ConfigErrors>()
                || e.downcast_ref::<ModelsError>().is_some_and(ModelsError::is_usage)
                || e.downcast_ref::<AdaptersError>().is_some_and(AdaptersError::is_usage)
        });
        if usage { Self::Usage } else { Self::Failed }
    }
}
