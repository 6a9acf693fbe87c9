//! Trajectories from prompts: a teacher writes, everything it writes is checked, and each prompt ends in one of both.
//!
//! Not a model and not a network: a [`Teacher`] is the caller's. Not an opinion on what is true either: what passes is
//! well formed, agrees with itself and, where there is one, with its label. Invariants: a prompt goes to the teacher
//! neutralised; every prompt ends once, kept or dropped under a name; tries are bounded.

mod journal;
mod prompt;
mod reply;
mod run;
mod words;

pub use journal::{Entry, Header, Journal, JournalError, TEACH_SCHEMA};
pub use prompt::{Prompt, Prompts};
pub use reply::{Draft, ReplyFault, parse, read_tag};
pub(crate) use run::with_split;
pub use run::{MAX_TRIES, Settings, Tally, TeachError, run};

use r2d_core::pivot::Pivot;
use thiserror::Error;

/// What every teacher is told before it is asked: the pivots' meaning, the form, an example of each label.
pub const CONTEXT: &str = include_str!("teacher/context.md");

/// What a teacher is asked.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// What it is told first.
    pub system: &'a str,
    /// The user's turn, in which text from outside is neutralised already.
    pub user: &'a str,
    /// Which try of the same prompt this is, from 0.
    pub attempt: u32,
}

/// A teacher that gave nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AskError {
    /// This prompt cannot be asked; another one may.
    #[error("{0}")]
    Prompt(String),
    /// Nothing can be asked.
    #[error("{0}")]
    Stop(String),
}

/// Who writes trajectories.
pub trait Teacher {
    /// The reply to `question`, as it came.
    ///
    /// # Errors
    /// [`AskError`].
    fn write(&mut self, question: Question<'_>) -> Result<String, AskError>;

    /// The one pivot that answers `question`; none when no pivot can be read.
    ///
    /// # Errors
    /// [`AskError`].
    fn tag(&mut self, question: Question<'_>) -> Result<Option<Pivot>, AskError>;
}

#[cfg(test)]
#[path = "teacher/run_tests.rs"]
mod tests;
