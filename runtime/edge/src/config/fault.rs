//! What is wrong with a configuration, said so that it can be put right.
//!
//! Not the search for faults (see `layer` and `rule`). Invariant: a problem names its key, its value unless that
//! is secret, where it came from and a hint; at most [`MAX_PROBLEMS`] are kept, the rest is counted.

use serde::Serialize;
use std::{fmt, path::PathBuf};

/// Most problems that are reported at once.
pub const MAX_PROBLEMS: usize = 20;

/// Where a value came from, weakest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum Origin {
    /// Built in.
    Default,
    /// The name of the machine.
    HostName,
    /// The board profile.
    Board {
        /// Its name.
        profile: String,
    },
    /// The configuration file.
    File {
        /// Its path.
        path: PathBuf,
        /// Line of the key, from 1; 0 when no line can be named.
        line: usize,
    },
    /// An environment variable.
    Environment {
        /// Its name.
        variable: String,
    },
    /// `--set` on the command line.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::HostName => f.write_str("host name"),
            Self::Board { profile } => write!(f, "board profile {profile}"),
            Self::File { path, line: 0 } => write!(f, "{}", path.display()),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment { variable } => write!(f, "environment {variable}"),
            Self::Flag => f.write_str("--set"),
        }
    }
}

/// What is wrong with one value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// There is no such key.
    #[error("unknown key")]
    UnknownKey,
    /// The value is of another type.
    #[error("not {wanted}")]
    Type {
        /// The type the key has.
        wanted: &'static str,
    },
    /// The value is of the right type but not one of those allowed.
    #[error("not allowed")]
    Value,
    /// The value is not UTF-8.
    #[error("not UTF-8")]
    Encoding,
    /// The argument of `--set` has no equals sign.
    #[error("no '=' after the key")]
    NoValue,
    /// A board profile cannot set this key.
    #[error("not for a board profile")]
    NotForBoard,
    /// Two keys contradict each other.
    #[error("{0}")]
    Conflict(String),
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// The file is not TOML.
    #[error("not TOML: {0}")]
    Syntax(String),
}

/// One fault with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key as it was written; empty when the fault is the whole file's.
    pub key: String,
    /// The value as it may be shown; empty when there is none.
    pub value: String,
    /// Where it came from.
    pub origin: Origin,
    /// What is wrong.
    pub fault: Fault,
    /// The values that would be right; empty when that is no question of values.
    pub allowed: String,
    /// How to put it right.
    pub hint: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        match (self.key.as_str(), self.value.as_str()) {
            ("", _) => {}
            (key, "") => write!(f, "{key}: ")?,
            (key, value) => write!(f, "{key} = {value}: ")?,
        }
        write!(f, "{}", self.fault)?;
        if !self.allowed.is_empty() {
            write!(f, ", wants {}", self.allowed)?;
        }
        write!(f, "; hint: {}", self.hint)
    }
}

/// All that is wrong with a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigErrors {
    /// The first problems, in the order of their sources.
    pub problems: Vec<Problem>,
    /// How many more there are.
    pub omitted: usize,
}

impl ConfigErrors {
    /// Keeps `problem`, or counts it when there are enough.
    pub(super) fn add(&mut self, problem: Problem) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(problem);
        } else {
            self.omitted += 1;
        }
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.problems.iter().enumerate() {
            let line_end = if i == 0 { "" } else { "\n" };
            write!(f, "{line_end}{problem}")?;
        }
        if self.omitted > 0 {
            write!(f, "\nand {} more", self.omitted)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
