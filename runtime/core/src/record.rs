//! The audit record: all that a person needs to judge a verdict later.
//!
//! Plain data; the hash chain around it is the binary's `audit` module. A record is self-contained: it names the
//! model, the adapter and the whole policy, so that a verdict can be made again from it.

use crate::id::Id;
use crate::policy::{Mode, Policy, Review};
use crate::request::Task;
use crate::trace::Trace;
use crate::verdict::{Decision, Reason, Verdict};
use alloc::string::String;
use serde::{Deserialize, Serialize};

/// The schema name that every record carries.
pub const RECORD_SCHEMA: &str = "r2d.record/1";

/// Which weights judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Weights {
    /// The model's name.
    pub model: String,
    /// SHA-256 of the model file, 64 hexadecimal digits.
    pub model_sha256: String,
    /// SHA-256 of the adapter file, if one was used.
    pub adapter_sha256: Option<String>,
}

/// What it cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Cost {
    /// Tokens of the prompt, chat template included.
    pub n_prompt_tokens: u32,
    /// Tokens generated or placed after the prompt.
    pub n_tokens: u32,
    /// From the start of judging to the first released text, in milliseconds.
    pub first_text_ms: Option<u64>,
    /// From the start of judging to the verdict, in milliseconds.
    pub verdict_ms: u64,
}

/// What a stand-in begins with.
pub const STAND_IN: &str = "sha256:";

/// Whether `prompt` is what stands in a record for words that were too long for it: [`STAND_IN`] and their SHA-256 in
/// hexadecimal digits. Nobody may ask such a thing, or one could pass for the words behind the hash.
#[must_use]
pub fn is_stand_in(prompt: &str) -> bool {
    let digest = prompt.trim().strip_prefix(STAND_IN);
    digest.is_some_and(|d| d.len() == 64 && d.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// One decided request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Record {
    /// Always [`RECORD_SCHEMA`].
    pub schema: String,
    /// The request's id.
    pub id: Id,
    /// When it was decided: RFC 3339, UTC, milliseconds.
    pub ts: String,
    /// The device that decided, as `site/area/line/device`.
    pub device: String,
    /// Id of this run of the runtime.
    pub boot: Id,
    /// How the request came in: `mqtt`, `panel`.
    pub origin: String,
    /// The station that it names; its panel need not have heard of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub station: Option<Id>,
    /// What was wanted.
    pub task: Task,
    /// The asker's words, as they came, or their hash where they were too long for the log: see [`is_stand_in`].
    pub prompt: String,
    /// Language tag of the request.
    pub lang: Option<String>,
    /// Which weights judged; none when the request never reached the model.
    pub weights: Option<Weights>,
    /// The policy in force; none when the request never reached the model.
    pub policy: Option<Policy>,
    /// Everything that was read.
    pub trace: Trace,
    /// The decision.
    pub verdict: Verdict,
    /// What was wrong with the request or the run, in words.
    pub detail: Option<String>,
    /// What it cost.
    pub cost: Cost,
    /// Where the asker wants the answer besides the device's own topics (already checked against the allow-list).
    pub reply_to: Option<ReplyTo>,
}

impl Record {
    /// Whether a person is asked to decide: the policy wants it, the model read the request, and what it left undecided
    /// is a doubt of its own. Never when judging was cut short, which an asker can bring about.
    #[must_use]
    pub fn asks_person(&self) -> bool {
        let wanted = self.policy.is_some_and(|p| p.review == Review::Undecided && p.mode == Mode::Enforce);
        let doubt = matches!(self.verdict.reason, Reason::LooksSpent | Reason::Unreadable);
        let read = self.trace.request.is_some();
        wanted && read && doubt && self.verdict.decision == Decision::Undecided
    }
}

/// An MQTT 5 response topic with its correlation data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ReplyTo {
    /// The topic.
    pub topic: String,
    /// Correlation data, hexadecimal.
    pub correlation: Option<String>,
}
