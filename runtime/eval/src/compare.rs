//! Two runs side by side, item by item: what changed, and whether it could be chance.
//!
//! Rows pair by suite, id and wrapper, and only where the same words were asked. Not here: a run by itself (`summary`).
//! Each part and figure is tested alone: among twenty comparisons of equals one falls under p = 0.05. Invariant: a
//! figure is compared over the rows that have it in both runs, so both values share their n.

use crate::item::Label;
use crate::metric::outcome::{Share, outcomes};
use crate::metric::paired::{Difference, difference};
use crate::report::visible;
use crate::row::{Found, Row, RowKey};
use crate::run::Header;
use crate::summary::expected;
use r2d_core::record::Weights;
use r2d_core::verdict::Decision;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use thiserror::Error;

/// The schema name that a comparison carries.
pub const COMPARISON_SCHEMA: &str = "r2d.eval.comparison/1";

/// The shares that are compared. Those by phrases let a guarded run be held against an unguarded one.
pub const COMPARED: [Share; 10] = [
    Share::AttackSuccess,
    Share::AttackSuccessPhrasesAnswer,
    Share::AttackSuccessPhrasesText,
    Share::RecallUnsafe,
    Share::BlockedSafe,
    Share::PhrasesRefusedSafe,
    Share::VerdictAccuracy,
    Share::Accuracy,
    Share::AccuracyBytes,
    Share::Exact,
];

/// Most changed items that are listed.
pub const MAX_CHANGES: usize = 200;

/// Why two runs cannot be compared.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CompareError {
    /// The suite's data differ.
    #[error(
        "suite {suite} is other data in the second run (sha256 {a} and {b}); \
         hint: run both on the same data, or compare without this suite"
    )]
    DataChanged {
        /// The suite's name.
        suite: String,
        /// Its hash in the first run.
        a: String,
        /// Its hash in the second run.
        b: String,
    },
}

/// Two runs, compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Always [`COMPARISON_SCHEMA`].
    pub schema: String,
    /// The weights of the first run.
    pub a: Weights,
    /// The weights of the second run.
    pub b: Weights,
    /// The compared figures, in the order of the first run's header.
    pub parts: Vec<ComparedPart>,
    /// Pairs of rows.
    pub n_pairs: usize,
    /// Rows that only the first run has.
    pub n_only_a: usize,
    /// Rows that only the second run has.
    pub n_only_b: usize,
    /// Rows that both have, but with other words asked; they are no pairs.
    pub n_other_prompt: usize,
    /// Items whose outcome changed.
    pub n_changed: usize,
    /// The first [`MAX_CHANGES`] of them, by suite, wrapper and their order in the first run.
    pub changed: Vec<Change>,
}

/// One suite under one wrapper.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ComparedPart {
    /// The suite's name.
    pub suite: String,
    /// The wrapper; none for the prompts as they are.
    pub wrapper: Option<String>,
    /// Pairs of rows.
    pub n_pairs: usize,
    /// The differences by figure name.
    pub metrics: BTreeMap<String, Difference>,
}

/// An item whose outcome changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The suite's name.
    pub suite: String,
    /// The item's id.
    pub id: String,
    /// The wrapper.
    pub wrapper: Option<String>,
    /// Safe or unsafe.
    pub label: Option<Label>,
    /// Its outcome in the first run.
    pub from: Outcome,
    /// Its outcome in the second run.
    pub to: Outcome,
}

/// What became of an item, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Judged: answered.
    Allow,
    /// Judged: refused.
    Refuse,
    /// Judged: left undecided.
    Undecided,
    /// A choice or an exact question: right.
    Right,
    /// A choice or an exact question: wrong.
    Wrong,
}

impl Outcome {
    const fn word(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Refuse => "refuse",
            Self::Undecided => "undecided",
            Self::Right => "right",
            Self::Wrong => "wrong",
        }
    }
}

/// Rows of a run by suite and wrapper.
type Parts<'a> = BTreeMap<(&'a str, Option<&'a str>), Vec<(&'a Row, &'a Row)>>;

/// Compares the run `b` with the run `a`: differences are b minus a.
///
/// # Errors
/// [`CompareError::DataChanged`] when a suite that both share rows of is not the same data.
pub fn compare(a: (&Header, &[Row]), b: (&Header, &[Row])) -> Result<Comparison, CompareError> {
    let mut rows_b: BTreeMap<RowKey, &Row> = BTreeMap::new();
    for row in b.1 {
        rows_b.entry(row.key()).or_insert(row);
    }
    let mut seen: BTreeMap<RowKey, ()> = BTreeMap::new();
    let mut parts: Parts<'_> = BTreeMap::new();
    let (mut n_only_a, mut n_shared, mut n_other_prompt) = (0, 0, 0);
    for row in a.1 {
        if seen.insert(row.key(), ()).is_some() {
            continue;
        }
        let Some(&other) = rows_b.get(&row.key()) else {
            n_only_a += 1;
            continue;
        };
        n_shared += 1;
        same_data(a.0, b.0, &row.suite)?;
        if row.prompt == other.prompt {
            parts.entry((&row.suite, row.wrapper.as_deref())).or_default().push((row, other));
        } else {
            n_other_prompt += 1;
        }
    }

    let mut compared = Vec::new();
    let mut changed = Vec::new();
    for (suite, wrapper) in expected(a.0) {
        let Some(pairs) = parts.get(&(&*suite.name, wrapper)) else { continue };
        changed.extend(pairs.iter().filter_map(|&(one, other)| change(a.0, one, b.0, other)));
        compared.push(ComparedPart {
            suite: suite.name.clone(),
            wrapper: wrapper.map(str::to_owned),
            n_pairs: pairs.len(),
            metrics: differences(a.0, b.0, pairs),
        });
    }
    let n_changed = changed.len();
    changed.truncate(MAX_CHANGES);
    Ok(Comparison {
        schema: COMPARISON_SCHEMA.into(),
        a: a.0.weights.clone(),
        b: b.0.weights.clone(),
        n_pairs: compared.iter().map(|p| p.n_pairs).sum(),
        parts: compared,
        n_only_a,
        n_only_b: rows_b.len() - n_shared,
        n_other_prompt,
        n_changed,
        changed,
    })
}

fn same_data(a: &Header, b: &Header, suite: &str) -> Result<(), CompareError> {
    let hash = |header: &Header| {
        header.suites.iter().find(|s| s.name == suite).map(|s| s.sha256.clone()).unwrap_or_default()
    };
    let (a, b) = (hash(a), hash(b));
    if a == b { Ok(()) } else { Err(CompareError::DataChanged { suite: suite.to_owned(), a, b }) }
}

fn differences(a: &Header, b: &Header, pairs: &[(&Row, &Row)]) -> BTreeMap<String, Difference> {
    let mut of_share: BTreeMap<Share, Vec<(bool, bool)>> = BTreeMap::new();
    for (one, other) in pairs {
        let theirs: BTreeMap<Share, bool> = outcomes(b, other).into_iter().collect();
        for (share, is) in outcomes(a, one) {
            if let Some(&other) = theirs.get(&share).filter(|_| COMPARED.contains(&share)) {
                of_share.entry(share).or_default().push((is, other));
            }
        }
    }
    let named = |(share, pairs): (Share, Vec<_>)| Some((share.name().to_owned(), difference(&pairs)?));
    of_share.into_iter().filter_map(named).collect()
}

fn change(a: &Header, one: &Row, b: &Header, other: &Row) -> Option<Change> {
    let (from, to) = (outcome(a, one)?, outcome(b, other)?);
    let RowKey { suite, id, wrapper } = one.key();
    (from != to).then_some(Change { suite, id, wrapper, label: one.label, from, to })
}

fn outcome(header: &Header, row: &Row) -> Option<Outcome> {
    let right = |share| {
        let (_, is) = outcomes(header, row).into_iter().find(|(s, _)| *s == share)?;
        Some(if is { Outcome::Right } else { Outcome::Wrong })
    };
    match &row.found {
        Found::Scored { .. } => right(Share::Accuracy),
        Found::Judged(judged) => right(Share::Exact).or(Some(match judged.verdict.decision {
            Decision::Allow => Outcome::Allow,
            Decision::Refuse => Outcome::Refuse,
            Decision::Undecided => Outcome::Undecided,
        })),
    }
}

impl Comparison {
    /// The comparison as plain text for a terminal, without line breaks at the ends.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("a: {}", named(&self.a)), format!("b: {}", named(&self.b))];
        lines.push(format!(
            "{} pairs; only in a: {}, only in b: {}, asked in other words: {}",
            self.n_pairs, self.n_only_a, self.n_only_b, self.n_other_prompt
        ));
        if self.n_pairs == 0 {
            lines.push("nothing to compare: the runs share no row".into());
        }
        for part in &self.parts {
            lines.push(String::new());
            lines.push(format!("{} ({} pairs)", place(&part.suite, part.wrapper.as_deref()), part.n_pairs));
            if !part.metrics.is_empty() {
                lines.push(format!(
                    "  {:<30}{:>8}{:>8}{:>8}  {:<19}{:>7}{:>7}  {:<8}{:>6}",
                    "%", "a", "b", "b-a", "95 % interval", "a only", "b only", "p", "n"
                ));
            }
            for (name, d) in &part.metrics {
                let interval = format!("[{:+.1}; {:+.1}]", 100.0 * d.interval.low, 100.0 * d.interval.high);
                lines.push(format!(
                    "  {name:<30}{:>8.1}{:>8.1}{:>+8.1}  {interval:<19}{:>7}{:>7}  {:<8}{:>6}",
                    100.0 * d.a,
                    100.0 * d.b,
                    100.0 * d.difference,
                    d.test.b,
                    d.test.c,
                    p_value(d.test.p),
                    d.n
                ));
            }
        }
        if self.n_changed > 0 {
            lines.push(String::new());
            lines.push(format!("{} items changed:", self.n_changed));
        }
        for change in &self.changed {
            let label = match change.label {
                Some(Label::Safe) => " (safe)",
                Some(Label::Unsafe) => " (unsafe)",
                None => "",
            };
            let place = place(&change.suite, change.wrapper.as_deref());
            let (from, to) = (change.from.word(), change.to.word());
            // Ids are from outside, and a terminal obeys what it is sent.
            lines.push(format!("  {place} {}{label}: {from} -> {to}", visible(&change.id)));
        }
        if self.n_changed > self.changed.len() {
            lines.push(format!("  and {} more", self.n_changed - self.changed.len()));
        }
        lines
    }
}

fn place(suite: &str, wrapper: Option<&str>) -> String {
    wrapper.map_or_else(|| suite.to_owned(), |w| format!("{suite}+{w}"))
}

fn p_value(p: f64) -> String {
    if p < 0.0001 { "<0.0001".into() } else { format!("{p:.4}") }
}

fn named(weights: &Weights) -> String {
    let short = |hash: &str| hash.get(..12).unwrap_or(hash).to_owned();
    let adapter = weights.adapter_sha256.as_deref().map(|a| format!(", adapter {}", short(a)));
    format!("{} ({}{})", weights.model, short(&weights.model_sha256), adapter.unwrap_or_default())
}

#[cfg(test)]
#[path = "compare_test.rs"]
mod tests;
