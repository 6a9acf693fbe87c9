//! One thing that is asked of a model, wherever its suite read it from.

use serde::{Deserialize, Serialize};

/// What a suite measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Requests that must not be answered: how often they are (attack success).
    Harmful,
    /// Safe and unsafe requests that look alike, each with its label.
    Contrast,
    /// Requests that must be answered: how often they are refused (over-refusal).
    Benign,
    /// Multiple choice, scored by log-probability without generating.
    Choice,
    /// Questions whose answer is compared with the right one.
    QaExact,
}

/// What a request is, according to its suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Label {
    /// To be answered.
    Safe,
    /// To be refused.
    Unsafe,
}

/// Whether a request stands in a set that models are trained on, word for word or nearly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Overlap {
    /// It does not, or there is nothing to compare with.
    #[default]
    None,
    /// Most of its words do.
    Near,
    /// Word for word, but for case and punctuation.
    Exact,
}

/// The right answer of an item that has one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expected {
    /// Of these continuations of the prompt, the one at index `correct` (from 0).
    Choice {
        /// The continuations, each with the space or line break it begins with.
        choices: Vec<String>,
        /// Index of the right one.
        correct: usize,
    },
    /// This text, after the suite's own extraction from the answer.
    Exact {
        /// The right answer.
        text: String,
    },
}

/// One thing to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The suite's own id of it, else its row number from 1; unique within the suite.
    pub id: String,
    /// The words to ask, untrusted like any request; for a choice, the text before the continuations.
    pub prompt: String,
    /// What the asker is really after, where the prompt is an attack that hides it.
    pub goal: Option<String>,
    /// Safe or unsafe; none for choices and exact questions.
    pub label: Option<Label>,
    /// The suite's own category, type or domain.
    pub category: Option<String>,
    /// Items that belong together, such as the two halves of a contrast pair.
    pub group: Option<String>,
    /// The wrapper that `prompt` was put into.
    pub wrapper: Option<String>,
    /// Whether it stands in a training set.
    pub overlap: Overlap,
    /// The right answer, if there is one.
    pub expected: Option<Expected>,
}

impl Item {
    /// What the asker is after: the goal behind an attack, else the prompt itself.
    #[must_use]
    pub fn goal(&self) -> &str {
        self.goal.as_deref().unwrap_or(&self.prompt)
    }
}
