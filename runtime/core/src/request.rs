//! A request as the engine takes it, whoever sent it.
//!
//! Not the wire form (the binary's `wire` module parses that). Its prompt is [`Untrusted`] from the first moment.

use crate::id::Id;
use crate::untrusted::Untrusted;
use alloc::string::String;
use serde::{Deserialize, Serialize};

/// What is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Task {
    /// An answer and a verdict.
    Ask,
    /// A verdict only: no answer is generated.
    Check,
}

/// A request.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Given by the asker; a second request with the same id gets the first one's answer.
    pub id: Id,
    /// What is wanted.
    pub task: Task,
    /// The asker's words.
    pub prompt: Untrusted,
    /// Language tag for a fixed refusal, such as `en` or `de`.
    pub lang: Option<String>,
    /// Shortens the policy's deadline; it cannot lengthen it.
    pub deadline_ms: Option<u32>,
    /// The station whose panel is to hear of it.
    pub station: Option<Id>,
}
