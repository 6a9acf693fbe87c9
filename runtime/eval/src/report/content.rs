//! What a report is made of besides prose: tables and lists of facts, before anyone decides how they look.
//!
//! The HTML page and the Markdown document both dress these, so that they cannot tell different things.

use std::collections::BTreeSet;

/// A table whose first column names its rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Table {
    /// What it shows.
    pub caption: String,
    /// What a reader should know about it.
    pub note: Option<String>,
    /// The columns' heads.
    pub head: Vec<String>,
    /// Rows, each as long as `head`.
    pub rows: Vec<Vec<Cell>>,
}

/// What stands in a table.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    /// The name of a row, with a few words on what it means.
    Name {
        /// The name.
        name: String,
        /// The words.
        hint: Option<String>,
    },
    /// Text.
    Text(String),
    /// A number, set to the right.
    Number(String),
    /// A number that explains another, in a quieter tone.
    Quiet(String),
    /// A figure with its interval and n below.
    Figure {
        /// The figure.
        value: String,
        /// What explains it.
        detail: String,
    },
    /// Nothing to tell.
    Empty,
}

/// A list of facts under a title.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Facts {
    /// What they are about.
    pub title: String,
    /// Their names and values.
    pub facts: Vec<(String, Fact)>,
}

/// A fact.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Fact {
    /// In words.
    Words(String),
    /// Letter by letter: a digest, a setting.
    Literal(String),
}

impl Table {
    /// Without the hints of those names that are in `explained`; the others join them. A hint that is read in each
    /// table is noise.
    pub(super) fn explained_once(mut self, explained: &mut BTreeSet<String>) -> Self {
        for cell in self.rows.iter_mut().flatten() {
            if let Cell::Name { name, hint } = cell
                && hint.is_some()
                && !explained.insert(name.clone())
            {
                *hint = None;
            }
        }
        self
    }
}

impl Cell {
    /// A row's name.
    pub(super) fn name(name: impl Into<String>) -> Self {
        Self::Name { name: name.into(), hint: None }
    }
}

impl Facts {
    /// A list without facts.
    pub(super) fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), facts: Vec::new() }
    }

    /// Adds a fact in words.
    pub(super) fn words(&mut self, name: &str, value: impl Into<String>) {
        self.facts.push((name.to_owned(), Fact::Words(value.into())));
    }

    /// Adds a fact letter by letter.
    pub(super) fn literal(&mut self, name: &str, value: impl Into<String>) {
        self.facts.push((name.to_owned(), Fact::Literal(value.into())));
    }
}
