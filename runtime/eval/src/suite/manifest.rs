//! What a suite is and how its data becomes items, as its TOML manifest says it.
//!
//! Not a reader of data. Invariant: a [`Manifest`] out of [`Manifest::parse`] has what its kind needs, and its
//! patterns are patterns.

use super::error::SuiteError;
use crate::item::Kind;
use regex_lite::Regex;
use serde::Deserialize;
use std::path::Path;

/// Largest manifest, in bytes.
pub const MAX_MANIFEST_BYTES: u64 = 256 << 10;

/// A suite's manifest. A column is a column's name; in JSON also a pointer (`/choices/text`). Where a text is made of
/// several, it is a template: `"{index}@{@file}"`. `@file` is the data file's name without its extension, from behind
/// its last `__`; `@row` is the row in it, from 1.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Its name: small letters, digits, `-` and `_`.
    pub name: String,
    /// Its title for people.
    pub title: String,
    /// What it measures.
    pub kind: Kind,
    /// The data file, or several that are read one after another, relative to the data folder.
    pub file: OneOrMore,
    /// Other names of a single `file`, tried in their order when it is not there.
    #[serde(default)]
    pub file_or: Vec<String>,
    /// The files' format; by default what their names end in.
    pub format: Option<Format>,
    /// JSON pointer to the array of rows; by default the whole file is the array.
    pub records: Option<String>,
    /// Whether a row whose prompt stands in an earlier row is passed over.
    #[serde(default)]
    pub unique: bool,
    /// What stands in which column.
    pub columns: Columns,
    /// Which values of `columns.label` mean what; for contrast suites.
    pub labels: Option<Labels>,
    /// Only rows that fulfil all of these are taken.
    #[serde(default, rename = "where")]
    pub filters: Vec<Filter>,
    /// How a row becomes a choice; for choice suites.
    pub choice: Option<Choice>,
    /// How answers are compared; for qa-exact suites.
    pub exact: Option<Exact>,
    /// Where the data comes from.
    pub source: Source,
    /// Which other suite's items count as known from training.
    pub overlap: Option<OverlapWith>,
}

/// One text or several.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum OneOrMore {
    /// One.
    One(String),
    /// Several.
    More(Vec<String>),
}

impl OneOrMore {
    /// All of them.
    #[must_use]
    pub fn all(&self) -> &[String] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::More(more) => more,
        }
    }
}

/// How a data file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Comma-separated values with a heading.
    Csv,
    /// An array of objects.
    Json,
    /// One object a line.
    Jsonl,
}

/// What stands in which column.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Columns {
    /// The words to ask, or the question of a choice. A row whose prompt is null or blank is passed over.
    pub prompt: String,
    /// Put before the prompt where it is not blank.
    pub context: Option<String>,
    /// Stands between context and prompt.
    #[serde(default = "two_breaks")]
    pub context_gap: String,
    /// The row's id; by default its number.
    pub id: Option<String>,
    /// Safe or unsafe, in the words of `[labels]`.
    pub label: Option<String>,
    /// What figures are broken down by.
    pub category: Option<String>,
    /// Items of the same group belong together.
    pub group: Option<String>,
    /// The plain request behind an attack's prompt; what `[overlap]` compares.
    pub goal: Option<String>,
    /// The right answer, for choice and qa-exact.
    pub answer: Option<String>,
}

fn two_breaks() -> String {
    "\n\n".to_owned()
}

/// Which values mean what.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Labels {
    /// Values of a request to be answered.
    pub safe: Vec<String>,
    /// Values of a request to be refused.
    #[serde(rename = "unsafe")]
    pub unsafe_: Vec<String>,
}

/// A condition on a row.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// Of this column,
    pub column: String,
    /// the value is (one of) this,
    pub equals: Option<OneOrMore>,
    /// or is not (one of) this.
    pub not: Option<OneOrMore>,
}

/// How a row becomes a choice. The choices come from exactly one of `columns`, `column`, `mark` and `fixed`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    /// Each choice has its own column.
    pub columns: Option<Vec<String>>,
    /// A JSON array of texts, or of objects with a `text`.
    pub column: Option<String>,
    /// A pattern of what stands before each choice in a prompt that holds them all, such as `Answer\d+:`.
    pub mark: Option<String>,
    /// With `mark`: a pattern of what stands behind the last choice.
    pub end: Option<String>,
    /// The same choices for each row.
    pub fixed: Option<Vec<String>>,
    /// A pattern whose first group is the question in `columns.prompt`; by default all of it is.
    pub question: Option<String>,
    /// What the choices continue; `{question}` is the question.
    #[serde(default = "question_answer")]
    pub template: String,
    /// Each continuation; `{choice}` is the choice.
    #[serde(default = "space_choice")]
    pub continuation: String,
    /// How `columns.answer` names the right choice.
    #[serde(default)]
    pub answer_by: AnswerBy,
    /// A pattern whose first group is the answer in `columns.answer`; by default all of it is.
    pub answer_pattern: Option<String>,
    /// With `answer_by = "value"`: the answer that stands for each choice, in their order.
    #[serde(default)]
    pub values: Vec<String>,
}

fn question_answer() -> String {
    "Question: {question}\nAnswer:".to_owned()
}

fn space_choice() -> String {
    " {choice}".to_owned()
}

/// How an answer names a choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AnswerBy {
    /// By its text.
    #[default]
    Text,
    /// By its letter: A is the first.
    Letter,
    /// By its number: 1 is the first.
    Number,
    /// By its index: 0 is the first.
    Index,
    /// By one of `values`.
    Value,
}

/// How a right answer and a given one are found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exact {
    /// A pattern whose first group is the right answer in `columns.answer`; by default all of it is.
    pub right: Option<String>,
    /// A pattern whose first group is the answer in a model's text, its last match counting; by default the number
    /// that a reader would take for the answer.
    pub given: Option<String>,
}

/// Where data comes from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// An address, or words.
    pub origin: String,
    /// Its licence, or what is known of it.
    pub licence: String,
    /// What a reader of its figures should know.
    #[serde(default)]
    pub note: String,
    /// Whether this project wrote it.
    #[serde(default)]
    pub ours: bool,
}

/// Whose items count as known from training.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OverlapWith {
    /// The other suite's name.
    pub suite: String,
    /// Its column to compare `columns.goal` with, or the prompt where there is no goal.
    pub column: String,
}

impl Manifest {
    /// Reads the manifest `text`; `path` is told in errors.
    ///
    /// # Errors
    /// [`SuiteError::Manifest`] or [`SuiteError::Setting`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, SuiteError> {
        let manifest: Self = toml::from_str(text)
            .map_err(|e| SuiteError::Manifest { path: path.to_owned(), reason: e.to_string() })?;
        super::check::check(&manifest, path)?;
        Ok(manifest)
    }

    /// The answer in a model's `text`: the last match of `exact.given`, else the number that reads as the answer.
    /// Thousands separators, currency signs and a final dot are left out.
    #[must_use]
    pub fn extract_answer(&self, text: &str) -> Option<String> {
        let given = self.exact.as_ref().and_then(|e| e.given.as_deref());
        let Some(pattern) = given.and_then(|p| Regex::new(p).ok()) else {
            return super::answer::last_number(text);
        };
        let last = pattern.captures_iter(text).last()?;
        Some(super::answer::plain(last.get(1).or_else(|| last.get(0))?.as_str()))
    }
}
