//! Bounds that a run must keep before its adapter, model or policy is promoted.
//!
//! Not here: exit codes. Invariant: nothing passes for want of a figure. A bound whose figure is absent is an error, a
//! figure that is no number breaks its bound, and a run with missing rows breaks the gate.

use crate::metric;
use crate::summary::{Metric, Part, Summary};
use serde::Deserialize;
use std::fmt;
use thiserror::Error;

/// On which side of a figure the bound stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The figure must be at least the bound.
    Min,
    /// The figure must be at most the bound.
    Max,
}

/// What is held against the bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strict {
    /// The figure itself.
    #[default]
    Value,
    /// The pessimistic end of its 95 % interval: few rows do not pass by luck.
    Interval,
}

/// One bound.
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    /// At least or at most.
    pub side: Side,
    /// Which suite; none for every part that has the figure, [`crate::summary::WHOLE`] for all suites' unwrapped requests
    /// together.
    pub suite: Option<String>,
    /// Which wrapper of the suite; none for the prompts as they are.
    pub wrapper: Option<String>,
    /// The figure's name.
    pub metric: String,
    /// The bound, in the figure's unit.
    pub limit: f64,
    /// What is held against it.
    pub strict: Strict,
}

/// Why bounds cannot be checked: a fault of those who wrote them.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum GateError {
    /// The words are no bound.
    #[error(
        "{0:?} is no bound; hint: write [SUITE[+WRAPPER].]METRIC=NUMBER, as in shopfloor.blocked_safe=0.05"
    )]
    Malformed(String),
    /// The figure is a share, and the bound is none.
    #[error("{metric}={limit} is no share from 0 to 1; hint: 7 % is 0.07")]
    NoShare {
        /// The figure's name.
        metric: String,
        /// The bound, as it was given.
        limit: String,
    },
    /// The file of bounds cannot be read.
    #[error("bounds: {0}; hint: write [[min]] and [[max]] tables with metric and limit")]
    File(String),
    /// No run has such a figure.
    #[error("unknown metric {metric:?}; hint: this run has {known}")]
    UnknownMetric {
        /// The figure's name.
        metric: String,
        /// The names that the run has.
        known: String,
    },
    /// The run has no such suite under this wrapper.
    #[error("this run has no part {part:?}; hint: it has {known}")]
    UnknownPart {
        /// The suite and wrapper.
        part: String,
        /// The parts that the run has.
        known: String,
    },
    /// The figure is not among those of the part.
    #[error("{part} has no {metric} in this run; hint: it has {known}")]
    NoFigure {
        /// The suite and wrapper.
        part: String,
        /// The figure's name.
        metric: String,
        /// The names that the part has.
        known: String,
    },
}

/// What does not hold.
#[derive(Clone, Debug, PartialEq)]
pub enum Broken {
    /// A figure is beyond its bound.
    Figure {
        /// The suite and wrapper.
        part: String,
        /// The figure.
        figure: Metric,
        /// The bound.
        bound: Bound,
    },
    /// The run is not complete, so its figures are of no account.
    Incomplete {
        /// The suite and wrapper.
        part: String,
        /// Rows that there are.
        n: usize,
        /// Rows that are missing.
        n_missing: usize,
    },
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Figure { part, figure, bound } => {
                let Metric { value, low, high, n } = figure;
                let metric = &bound.metric;
                write!(f, "{part}: {metric} is {value:.4} (95 % {low:.4} to {high:.4}, n {n}), ")?;
                let of = match (bound.strict, bound.side) {
                    (Strict::Value, _) => "it",
                    (Strict::Interval, Side::Min) => "the lower end",
                    (Strict::Interval, Side::Max) => "the upper end",
                };
                let side = match bound.side {
                    Side::Min => "least",
                    Side::Max => "most",
                };
                write!(f, "and {of} must be at {side} {}", bound.limit)
            }
            Self::Incomplete { part, n, n_missing } => {
                write!(
                    f,
                    "{part}: the run is incomplete, {n_missing} of {} rows are missing; ",
                    n + n_missing
                )?;
                f.write_str("hint: run it again to continue")
            }
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.side {
            Side::Min => "min ",
            Side::Max => "max ",
        })?;
        if let Some(suite) = &self.suite {
            write!(f, "{}.", place(suite, self.wrapper.as_deref()))?;
        }
        write!(f, "{}={}", self.metric, self.limit)
    }
}

impl Bound {
    /// Reads `word`, such as `attack_success=0.05`, `shopfloor.blocked_safe=0.07` or
    /// `xstest+role-play.recall_unsafe=0.85`.
    ///
    /// # Errors
    /// [`GateError::Malformed`] with the word; [`GateError::NoShare`] when no run could break it, or none keep it.
    pub fn parse(side: Side, strict: Strict, word: &str) -> Result<Self, GateError> {
        let fault = || GateError::Malformed(word.to_owned());
        let (name, limit) = word.split_once('=').ok_or_else(fault)?;
        let limit: f64 = limit.trim().parse().map_err(|_| fault())?;
        Self::of(side, strict, name.trim(), limit)
    }

    /// A bound on the figure that `name` names, with suite and wrapper before its last dot.
    fn of(side: Side, strict: Strict, name: &str, limit: f64) -> Result<Self, GateError> {
        let (place, metric) = name.rsplit_once('.').map_or((None, name), |(p, m)| (Some(p), m));
        let (suite, wrapper) = match place.map(|p| p.split_once('+').map_or((p, None), |(s, w)| (s, Some(w))))
        {
            None => (None, None),
            Some((suite, wrapper)) => (Some(suite.to_owned()), wrapper.map(str::to_owned)),
        };
        let empty = metric.is_empty()
            || suite.as_ref().is_some_and(String::is_empty)
            || wrapper.as_ref().is_some_and(String::is_empty);
        if empty || !limit.is_finite() {
            return Err(GateError::Malformed(format!("{name}={limit}")));
        }
        if metric::is_share(metric) && !(0.0..=1.0).contains(&limit) {
            return Err(GateError::NoShare { metric: metric.to_owned(), limit: limit.to_string() });
        }
        Ok(Self { side, suite, wrapper, metric: metric.to_owned(), limit, strict })
    }

    /// Whether `figure` keeps the bound. What is no number does not.
    #[must_use]
    pub fn holds(&self, figure: &Metric) -> bool {
        let numbers = [figure.value, figure.low, figure.high].iter().all(|v| !v.is_nan());
        let held = match (self.strict, self.side) {
            (Strict::Value, _) => figure.value,
            (Strict::Interval, Side::Min) => figure.low,
            (Strict::Interval, Side::Max) => figure.high,
        };
        numbers
            && match self.side {
                Side::Min => held >= self.limit,
                Side::Max => held <= self.limit,
            }
    }
}

/// Reads bounds from TOML: tables `[[min]]` and `[[max]]`, each with `metric` (as in [`Bound::parse`], before the `=`),
/// `limit`, and `strict = "value"` or `"interval"`, for which `strict` stands in.
///
/// ```toml
/// [[max]]
/// metric = "shopfloor.blocked_safe"
/// limit = 0.05
/// strict = "interval"
/// ```
///
/// # Errors
/// [`GateError::File`] with the place; [`GateError::Malformed`] and [`GateError::NoShare`] with the metric.
pub fn from_toml(text: &str, strict: Strict) -> Result<Vec<Bound>, GateError> {
    let file: BoundFile =
        toml::from_str(text).map_err(|e| GateError::File(e.to_string().trim().to_owned()))?;
    let of = |side, bounds: Vec<BoundEntry>| {
        bounds.into_iter().map(move |entry| {
            let strict = entry.strict.unwrap_or(strict);
            Bound::of(side, strict, entry.metric.trim(), entry.limit)
        })
    };
    of(Side::Min, file.min).chain(of(Side::Max, file.max)).collect()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BoundFile {
    #[serde(default)]
    min: Vec<BoundEntry>,
    #[serde(default)]
    max: Vec<BoundEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BoundEntry {
    metric: String,
    limit: f64,
    strict: Option<Strict>,
}

/// Holds `bounds` against `summary`: everything that is broken, incomplete parts first. Parts are checked for
/// completeness whether a bound names them or not.
///
/// # Errors
/// [`GateError`] when a bound names a metric or part that the run does not have.
pub fn check(summary: &Summary, bounds: &[Bound]) -> Result<Vec<Broken>, GateError> {
    let incomplete =
        |part: &Part| Broken::Incomplete { part: place_of(part), n: part.n, n_missing: part.n_missing };
    let mut broken: Vec<Broken> = summary.parts.iter().filter(|p| p.n_missing > 0).map(incomplete).collect();
    for bound in bounds {
        for (part, figure) in figures(summary, bound)? {
            if !bound.holds(figure) {
                broken.push(Broken::Figure { part: place_of(part), figure: *figure, bound: bound.clone() });
            }
        }
    }
    Ok(broken)
}

/// The figures that `bound` is about; at least one.
fn figures<'a>(summary: &'a Summary, bound: &Bound) -> Result<Vec<(&'a Part, &'a Metric)>, GateError> {
    let metric = &bound.metric;
    let all = || summary.parts.iter().chain(&summary.overall);
    let has = |part: &'a Part| part.metrics.get(metric).map(|figure| (part, figure));
    let known = || listed(all().flat_map(|p| p.metrics.keys().cloned()));
    if !metric::is_known(metric) {
        return Err(GateError::UnknownMetric { metric: metric.clone(), known: known() });
    }
    let Some(suite) = &bound.suite else {
        let found: Vec<_> = summary.parts.iter().filter_map(has).collect();
        return if found.is_empty() {
            Err(GateError::NoFigure { part: "no part".into(), metric: metric.clone(), known: known() })
        } else {
            Ok(found)
        };
    };
    let named = |part: &&Part| part.suite == *suite && part.wrapper == bound.wrapper;
    let Some(part) = all().find(named) else {
        return Err(GateError::UnknownPart {
            part: place(suite, bound.wrapper.as_deref()),
            known: listed(all().map(place_of)),
        });
    };
    has(part).map(|found| vec![found]).ok_or_else(|| GateError::NoFigure {
        part: place_of(part),
        metric: metric.clone(),
        known: listed(part.metrics.keys().cloned()),
    })
}

fn listed(names: impl Iterator<Item = String>) -> String {
    let names: std::collections::BTreeSet<String> = names.collect();
    if names.is_empty() { "none".into() } else { names.into_iter().collect::<Vec<_>>().join(", ") }
}

fn place_of(part: &Part) -> String {
    place(&part.suite, part.wrapper.as_deref())
}

fn place(suite: &str, wrapper: Option<&str>) -> String {
    wrapper.map_or_else(|| suite.to_owned(), |w| format!("{suite}+{w}"))
}

#[cfg(test)]
#[path = "gate_test.rs"]
mod tests;
