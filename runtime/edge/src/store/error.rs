//! Why the store refused or failed.
//!
//! It sorts the errors of redb into those a person can act upon.
//! Invariant: an error that says the file may be deleted is given for damage alone, never for a busy file, a
//! full disk or a lack of rights.

use std::io;
use std::path::{Path, PathBuf};

/// Errors of the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process has the file.
    #[error("store {} is open in another process\nhint: stop that process, or give this one its own folder", path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// The file is not a store, or not as it was written.
    #[error("store {} is damaged: {what}\nhint: it may be deleted while the service is stopped, and a new one begins behind the last audit record; messages it still held are not sent then", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A record other than the next was to be applied.
    #[error(
        "store expects audit record {expected}, {given} was given\nhint: apply the records between them first"
    )]
    Gap {
        /// The record that is due.
        expected: u64,
        /// The record given.
        given: u64,
    },
    /// The outbox has no room for all of the messages; none was taken.
    #[error(
        "outbox holds {depth} messages, {added} more exceed its bound of {max}\nhint: check the connection to the broker; messages leave the outbox when it acknowledges them"
    )]
    OutboxFull {
        /// Messages in it.
        depth: u64,
        /// Messages to be added.
        added: usize,
        /// The bound.
        max: u64,
    },
    /// Records can be skipped only before the first is applied.
    #[error("store has applied audit record {applied} and cannot skip\nhint: apply the records that follow")]
    NotNew {
        /// The last record applied.
        applied: u64,
    },
    /// A message cannot be written as a row.
    #[error("message cannot be stored: {0}")]
    Encode(#[source] postcard::Error),
    /// The file could not be used.
    #[error("cannot {action} store {}: {source}\nhint: free space on the disk or check it, then restart; nothing recorded is lost", path.display())]
    Database {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the database said.
        source: Box<redb::Error>,
    },
}

pub(super) fn at<E: Into<redb::Error>>(action: &'static str, path: &Path) -> impl FnOnce(E) -> StoreError {
    let path = path.to_owned();
    move |error| match error.into() {
        redb::Error::DatabaseAlreadyOpen => StoreError::Busy { path },
        redb::Error::Corrupted(what) => StoreError::Damaged { path, what },
        redb::Error::Io(error) if is_damage(&error) => StoreError::Damaged { path, what: error.to_string() },
        error @ (redb::Error::UpgradeRequired(_)
        | redb::Error::TableTypeMismatch { .. }
        | redb::Error::TypeDefinitionChanged { .. }) => StoreError::Damaged { path, what: error.to_string() },
        source => StoreError::Database { action, path, source: Box::new(source) },
    }
}

// Foreign content and a file cut short come as errors of the file.
fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}
