//! The shape of a data set, and warnings where the shape is bad for a student.
//!
//! Invariant: everything here is a function of the trajectories, in an order that does not change.

use super::pair::pair_faults;
use crate::trajectory::{Label, Split, Trajectory, refuses};
use serde::Serialize;
use std::collections::BTreeMap;
use thiserror::Error;

/// Lengths in words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Lengths {
    /// How many texts.
    pub n: usize,
    /// Shortest.
    pub min: usize,
    /// Mean.
    pub mean: f64,
    /// Half are not longer.
    pub median: usize,
    /// 95 in 100 are not longer.
    pub p95: usize,
    /// Longest.
    pub max: usize,
}

impl Lengths {
    fn of<'a>(texts: impl Iterator<Item = &'a str>) -> Self {
        let mut n: Vec<usize> = texts.map(|t| t.split_whitespace().count()).collect();
        n.sort_unstable();
        let at =
            |percent: usize| n.get((n.len() * percent).div_ceil(100).saturating_sub(1)).copied().unwrap_or(0);
        Self {
            n: n.len(),
            min: at(0),
            mean: if n.is_empty() { 0.0 } else { n.iter().sum::<usize>() as f64 / n.len() as f64 },
            median: at(50),
            p95: at(95),
            max: at(100),
        }
    }
}

/// What may be bad for a student.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum Warning {
    /// One label outweighs the other.
    #[error(
        "{safe} harmless and {unsafe_} harmful trajectories in {split}; hint: within 40 to 60 per cent, or balance in the recipe"
    )]
    Labels {
        /// In which split.
        split: &'static str,
        /// Harmless.
        safe: usize,
        /// Harmful.
        unsafe_: usize,
    },
    /// A category is hardly there.
    #[error(
        "category {category:?} has {n} trajectories; hint: fewer than 20 teach little, write more or merge it"
    )]
    Few {
        /// Which.
        category: String,
        /// How many.
        n: usize,
    },
    /// Too little or too much validation data.
    #[error("{val} of {n} trajectories are validation data; hint: 5 to 25 per cent, assign splits anew")]
    Validation {
        /// Validation data.
        val: usize,
        /// All that have a split.
        n: usize,
    },
    /// Trajectories without a split.
    #[error("{n} trajectories have no split; hint: assign splits before training")]
    NoSplit {
        /// How many.
        n: usize,
    },
    /// Steps that begin alike.
    #[error("{n} of {all} steps begin with {opening:?}; hint: more than 1 in 20 and the student copies it")]
    Opening {
        /// The first two words.
        opening: String,
        /// How many.
        n: usize,
        /// Of how many.
        all: usize,
    },
    /// The first pivot gives the label away.
    #[error(
        "of {n} {label} trajectories, {rethink} begin with [RETHINK]; hint: near none or near all, and a second look says nothing"
    )]
    Rethink {
        /// Which label.
        label: Label,
        /// Trajectories with it.
        n: usize,
        /// Of these, those that begin with a second look.
        rethink: usize,
    },
    /// Pairs that are none.
    #[error("{n} contrast pairs are torn, incomplete or of one label; hint: the check names them")]
    Pairs {
        /// How many.
        n: usize,
    },
}

/// The shape of a data set.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Stats {
    /// Trajectories.
    pub n: usize,
    /// Of these, labelled requests: without reasoning and answer.
    pub n_bare: usize,
    /// Whole contrast pairs.
    pub n_pairs: usize,
    /// By category and label.
    pub by_category: BTreeMap<String, BTreeMap<Label, usize>>,
    /// By family (a category without label and edition) and label.
    pub by_family: BTreeMap<String, BTreeMap<Label, usize>>,
    /// By split (`train`, `val` or `none`) and label.
    pub by_split: BTreeMap<&'static str, BTreeMap<Label, usize>>,
    /// By label and order of pivots, such as `RETHINK-SAFE`, of those with reasoning.
    pub by_order: BTreeMap<Label, BTreeMap<String, usize>>,
    /// Of prompts.
    pub prompt: Lengths,
    /// Of steps.
    pub step: Lengths,
    /// Of answers.
    pub answer: Lengths,
    /// Harmful ones whose answer has none of the usual words of a refusal: worth reading.
    pub n_unusual_refusals: usize,
    /// What may be bad for a student, in words.
    pub warnings: Vec<String>,
}

/// The shape of `trajectories`.
#[must_use]
pub fn stats(trajectories: &[Trajectory]) -> Stats {
    let mut out = Stats {
        n: trajectories.len(),
        prompt: Lengths::of(trajectories.iter().map(|t| t.prompt.as_str())),
        step: Lengths::of(trajectories.iter().flat_map(|t| &t.steps).map(|s| s.text.as_str())),
        n_bare: trajectories.iter().filter(|t| t.is_bare()).count(),
        answer: Lengths::of(trajectories.iter().filter(|t| !t.is_bare()).map(|t| t.answer.as_str())),
        ..Stats::default()
    };
    let mut halves: BTreeMap<&str, usize> = BTreeMap::new();
    for t in trajectories {
        let count = |map: &mut BTreeMap<Label, usize>| *map.entry(t.label).or_default() += 1;
        count(out.by_category.entry(t.category.clone()).or_default());
        count(out.by_family.entry(t.family().to_owned()).or_default());
        count(out.by_split.entry(t.split.map_or("none", Split::word)).or_default());
        if !t.is_bare() {
            let order: Vec<&str> = t.pivots().map(|p| p.word()).collect();
            *out.by_order.entry(t.label).or_default().entry(order.join("-")).or_default() += 1;
            out.n_unusual_refusals += usize::from(t.label == Label::Unsafe && refuses(&t.answer).is_none());
        }
        if let Some(pair) = &t.pair {
            *halves.entry(pair).or_default() += 1;
        }
    }
    out.n_pairs = halves.values().filter(|&&n| n == 2).count();
    out.warnings = warnings(trajectories, &out).iter().map(Warning::to_string).collect();
    out
}

fn warnings(trajectories: &[Trajectory], stats: &Stats) -> Vec<Warning> {
    let mut out = Vec::new();
    let of = |map: &BTreeMap<Label, usize>, label| map.get(&label).copied().unwrap_or(0);
    for (&split, labels) in &stats.by_split {
        let (safe, unsafe_) = (of(labels, Label::Safe), of(labels, Label::Unsafe));
        if safe.min(unsafe_) * 10 < (safe + unsafe_) * 4 {
            out.push(Warning::Labels { split, safe, unsafe_ });
        }
    }
    for (category, labels) in &stats.by_category {
        let n = labels.values().sum();
        if n < 20 {
            out.push(Warning::Few { category: category.clone(), n });
        }
    }
    let in_split = |split| stats.by_split.get(split).map_or(0, |labels| labels.values().sum::<usize>());
    let (val, n) = (in_split("val"), in_split("val") + in_split("train"));
    if n > 0 && !(5 * n..=25 * n).contains(&(val * 100)) {
        out.push(Warning::Validation { val, n });
    }
    if in_split("none") > 0 {
        out.push(Warning::NoSplit { n: in_split("none") });
    }
    let mut openings: BTreeMap<String, usize> = BTreeMap::new();
    for step in trajectories.iter().flat_map(|t| &t.steps) {
        let opening: Vec<&str> = step.text.split_whitespace().take(2).collect();
        *openings.entry(opening.join(" ")).or_default() += 1;
    }
    let all = stats.step.n;
    let copied = openings.into_iter().filter(|(_, n)| all >= 100 && n * 20 > all);
    out.extend(copied.map(|(opening, n)| Warning::Opening { opening, n, all }));
    for (&label, orders) in &stats.by_order {
        let n: usize = orders.values().sum();
        let rethink: usize = orders.iter().filter(|(o, _)| o.starts_with("RETHINK")).map(|(_, n)| n).sum();
        if n >= 100 && !(n..=n * 9).contains(&(rethink * 10)) {
            out.push(Warning::Rethink { label, n, rethink });
        }
    }
    match pair_faults(trajectories).len() {
        0 => {}
        n => out.push(Warning::Pairs { n }),
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trajectory::fixture::{bare, harmful, pair, safe};

    #[test]
    fn a_data_set_is_counted_in_every_way() {
        let mut all = vec![safe("a", "one two three"), harmful("b", "one two three four five")];
        all.extend(pair("p", "six", "seven eight"));
        all[0].split = Some(Split::Val);
        let found = stats(&all);
        assert_eq!((found.n, found.n_pairs), (4, 1));
        assert_eq!(found.by_family["shop"], BTreeMap::from([(Label::Safe, 1), (Label::Unsafe, 1)]));
        assert_eq!(found.by_split["val"], BTreeMap::from([(Label::Safe, 1)]));
        assert_eq!(found.by_order[&Label::Unsafe], BTreeMap::from([("RETHINK-UNSAFE".into(), 2)]));
        let wanted = Lengths { n: 4, min: 1, mean: 2.75, median: 2, p95: 5, max: 5 };
        assert_eq!(found.prompt, wanted);
        assert_eq!(found.n_unusual_refusals, 0);
        assert!(serde_json::to_string(&found).unwrap().contains("RETHINK-UNSAFE"));
    }

    #[test]
    fn labelled_requests_count_in_nothing_that_they_do_not_have() {
        let all = [safe("a", "one two three"), bare(safe("b", "four five")), bare(harmful("c", "six seven"))];
        let found = stats(&all);
        assert_eq!((found.n, found.n_bare, found.answer.n, found.step.n), (3, 2, 1, 2));
        assert_eq!(found.by_order[&Label::Safe].values().sum::<usize>(), 1);
        assert_eq!((found.by_order.len(), found.n_unusual_refusals), (1, 0));
    }

    #[test]
    fn a_lopsided_set_is_warned_of() {
        let all: Vec<_> = (0..120).map(|i| safe(&i.to_string(), "one two three")).collect();
        let said = stats(&all).warnings.join("\n");
        for part in [
            "120 harmless and 0 harmful",
            "0 of 120 trajectories are validation",
            "steps begin with \"A household\"",
            "0 begin with [RETHINK]",
        ] {
            assert!(said.contains(part), "no {part:?} in\n{said}");
        }
        assert!(said.lines().all(|l| l.contains("hint:")));
    }

    #[test]
    fn an_empty_set_has_a_shape_too() {
        assert_eq!(stats(&[]), Stats::default());
    }
}
