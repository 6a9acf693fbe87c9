//! A run told to people: one HTML page that works without a network, and the same in Markdown.
//!
//! Not here: figures (`summary` makes them), files (the caller writes them), the time of day (the caller gives it).
//! Invariants: a report is a function of its arguments. Everything that stands in a row, a suite or a header is text
//! from outside: it reaches the page only through `markup::Html::text` or the Markdown writer, which escape it, and
//! the page holds no script, no link and nothing that a browser would fetch.

mod content;
mod failures;
mod figure;
mod findings;
mod html;
mod identity;
mod markdown;
mod markup;
mod plot;
mod svg;
mod tables;
mod threshold;
mod visible;
mod words;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;

pub use visible::visible;

use crate::row::Row;
use crate::summary::Summary;

/// What a report needs besides the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportOptions {
    /// The report's title.
    pub title: String,
    /// When it was made: RFC 3339.
    pub date: String,
    /// Most failures shown of each sort.
    pub n_failures: usize,
}

impl Default for ReportOptions {
    fn default() -> Self {
        Self { title: "Safety evaluation".to_owned(), date: String::new(), n_failures: 20 }
    }
}

/// The report as one HTML page.
#[must_use]
pub fn html(summary: &Summary, rows: &[Row], options: &ReportOptions) -> String {
    html::page(summary, rows, options)
}

/// The report as Markdown: the same words and tables, without the plots.
#[must_use]
pub fn markdown(summary: &Summary, rows: &[Row], options: &ReportOptions) -> String {
    markdown::document(summary, rows, options)
}
