//! Why a suite cannot be read: each error names the file, the place in it, the value and what to do.

use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why a suite cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SuiteError {
    /// There is no such suite.
    #[error("there is no suite {name:?}; hint: {hint}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// Names that look like it, or how to name a site's own.
        hint: String,
    },
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What came back.
        source: std::io::Error,
    },
    /// The data of a suite is not where it is looked for.
    #[error("{suite}: there is no {looked}; hint: {hint}")]
    NoData {
        /// The suite.
        suite: String,
        /// The places.
        looked: String,
        /// Where the data can be had.
        hint: String,
    },
    /// A manifest is no TOML, or has a key or a type that a manifest has not.
    #[error("{path} is no suite manifest: {reason}")]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// Line and key, as the TOML reader tells them.
        reason: String,
    },
    /// A manifest's value cannot be.
    #[error("{path}: {key} = {value:?} cannot be; hint: {hint}")]
    Setting {
        /// The manifest.
        path: PathBuf,
        /// The key, its table included.
        key: String,
        /// Its value.
        value: String,
        /// What could be.
        hint: String,
    },
    /// A file is larger than a suite may be.
    #[error(
        "{path} has {n_bytes} bytes and a suite's file may have {limit}; hint: split it into several suites"
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its bytes.
        n_bytes: u64,
        /// Most bytes.
        limit: u64,
    },
    /// A file has more rows than a suite may have.
    #[error("{path} has more than {limit} rows; hint: split it into several suites")]
    TooManyRows {
        /// The file.
        path: PathBuf,
        /// Most rows.
        limit: usize,
    },
    /// A file is no UTF-8 text.
    #[error("{path} is no UTF-8 text from byte {at} on; hint: save it as UTF-8")]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// Offset of the first byte that is none, from 0.
        at: usize,
    },
    /// A file is not of its format.
    #[error("{path} is no {format}: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// `csv`, `json` or `jsonl`.
        format: &'static str,
        /// Where and why.
        reason: String,
    },
    /// A file has no such column in any row.
    #[error("{path} has no column {column:?}; hint: it has {has}")]
    NoColumn {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// The columns of its first row.
        has: String,
    },
    /// A row's value cannot be used.
    #[error(transparent)]
    Row(Box<BadRow>),
    /// Two rows have one id.
    #[error("{path}, row {row}: the id {id:?} stands in an earlier row too; hint: {hint}")]
    DuplicateId {
        /// The file of the second.
        path: PathBuf,
        /// The second row, from 1.
        row: usize,
        /// The id.
        id: String,
        /// What to do.
        hint: &'static str,
    },
    /// No row became an item.
    #[error(
        "{suite} has no items: {n_skipped} rows were passed over; hint: look at columns.prompt and [[where]]"
    )]
    Empty {
        /// The suite.
        suite: String,
        /// Rows without a prompt, or not asked for.
        n_skipped: usize,
    },
}

/// A row's value that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{path}, row {row}: {column} = {value:?} {reason}; hint: {hint}")]
pub struct BadRow {
    /// The file.
    pub path: PathBuf,
    /// From 1, a heading not counted.
    pub row: usize,
    /// The column, or the manifest's name of it.
    pub column: String,
    /// The value, shortened.
    pub value: String,
    /// What is wrong with it.
    pub reason: String,
    /// What to do.
    pub hint: String,
}

impl SuiteError {
    /// A manifest's value that cannot be.
    pub(super) fn setting(path: &Path, key: &str, value: impl ToString, hint: impl ToString) -> Self {
        Self::Setting {
            path: path.to_owned(),
            key: key.to_owned(),
            value: short(&value.to_string()),
            hint: hint.to_string(),
        }
    }
}

/// The beginning of a value, for a message: a hostile file's value may be a megabyte.
pub(super) fn short(value: &str) -> String {
    const MOST: usize = 80;
    match value.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}…", &value[..at]),
        None => value.to_owned(),
    }
}
