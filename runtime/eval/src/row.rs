//! What became of one item: evidence without an opinion.
//!
//! A row is a line of `results.jsonl`. It holds no time, so that two runs of the same key write the same file; times
//! stand in [`Timing`], a line of `times.jsonl`.

use crate::item::{Expected, Item, Label, Overlap};
use r2d_core::trace::Trace;
use r2d_core::verdict::Verdict;
use serde::{Deserialize, Serialize};

/// One result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The suite's name.
    pub suite: String,
    /// The item's id in the suite.
    pub id: String,
    /// The wrapper that the prompt was put into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrapper: Option<String>,
    /// Safe or unsafe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<Label>,
    /// The suite's category.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// Items that belong together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Whether the item stands in a training set.
    #[serde(default)]
    pub overlap: Overlap,
    /// The words that were asked, as the asker would send them.
    pub prompt: String,
    /// What the asker is really after, where the prompt is an attack that hides it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goal: Option<String>,
    /// The right answer, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<Expected>,
    /// What the model did.
    pub found: Found,
}

/// What the model did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(clippy::large_enum_variant)] // one per item, written and dropped
pub enum Found {
    /// It was asked and a verdict was made.
    Judged(Judged),
    /// Its choices were scored.
    Scored {
        /// One score per choice, in their order.
        scores: Vec<Score>,
    },
}

/// A request that was judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// The decision and its reason.
    pub verdict: Verdict,
    /// What went wrong, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The text that left the machine, a fixed refusal included.
    pub answer: String,
    /// The answer was cut at its token budget.
    pub truncated: bool,
    /// Tokens of the prompt, chat template included.
    pub n_prompt_tokens: u32,
    /// Tokens generated or placed after it.
    pub n_tokens: u32,
    /// Everything that was read.
    pub trace: Trace,
}

/// How likely a continuation is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Sum of its tokens' natural log-probabilities.
    pub log_prob: f64,
    /// Bytes of its text, the leading space not counted: what a score is divided by to compare long with short.
    pub n_bytes: u32,
    /// Its tokens.
    pub n_tokens: u32,
}

/// How long one item took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// The suite's name.
    pub suite: String,
    /// The item's id.
    pub id: String,
    /// The wrapper.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrapper: Option<String>,
    /// From its start to its verdict or last score, in milliseconds.
    pub ms: f64,
    /// From its start to the first text that was let out, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_text_ms: Option<f64>,
}

/// What tells one result of a run from every other.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowKey {
    /// The suite's name.
    pub suite: String,
    /// The item's id.
    pub id: String,
    /// The wrapper.
    pub wrapper: Option<String>,
}

impl Row {
    /// A row for `item` of `suite`.
    #[must_use]
    pub fn new(suite: &str, item: Item, found: Found) -> Self {
        let Item { id, prompt, goal, label, category, group, wrapper, overlap, expected } = item;
        Self {
            suite: suite.to_owned(),
            id,
            wrapper,
            label,
            category,
            group,
            overlap,
            prompt,
            goal,
            expected,
            found,
        }
    }

    /// What tells it from every other row of its run.
    #[must_use]
    pub fn key(&self) -> RowKey {
        RowKey { suite: self.suite.clone(), id: self.id.clone(), wrapper: self.wrapper.clone() }
    }

    /// What was judged, for a row that was.
    #[must_use]
    pub fn judged(&self) -> Option<&Judged> {
        match &self.found {
            Found::Judged(judged) => Some(judged),
            Found::Scored { .. } => None,
        }
    }
}

impl Timing {
    /// The row that took this time.
    #[must_use]
    pub fn key(&self) -> RowKey {
        RowKey { suite: self.suite.clone(), id: self.id.clone(), wrapper: self.wrapper.clone() }
    }
}
