//! Counting what is wrong with a data set, with examples.
//!
//! Invariant: every line of the input is counted once, as good or by the name of its fault.

use super::pair::pair_faults;
use crate::trajectory::{LineFault, Trajectory, check};
use serde::Serialize;
use std::collections::{BTreeMap, HashSet};

/// A faulty line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Example {
    /// The line, from 1; 0 for a fault of a pair.
    pub line: usize,
    /// The trajectory's id, if the line is one.
    pub id: Option<String>,
    /// What is wrong and what to do.
    pub fault: String,
}

/// The faults of one name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Faults {
    /// How many there are.
    pub n: usize,
    /// The first ones.
    pub examples: Vec<Example>,
}

/// What was found in a data set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Lines without a fault.
    pub n_good: usize,
    /// Lines with one.
    pub n_faulty: usize,
    /// By name.
    pub faults: BTreeMap<&'static str, Faults>,
}

impl Checked {
    /// Checks `lines` and gives back the good trajectories; keeps `n_examples` of every fault.
    ///
    /// The same id twice is a fault of the second line. Faults of contrast pairs are counted beside the lines', over
    /// the good trajectories.
    #[must_use]
    pub fn of(
        lines: impl Iterator<Item = (usize, Result<Trajectory, LineFault>)>,
        n_examples: usize,
    ) -> (Self, Vec<Trajectory>) {
        let mut this = Self::default();
        let mut ids: HashSet<String> = HashSet::new();
        let mut good = Vec::new();
        for (line, parsed) in lines {
            let (name, id, fault) = match parsed {
                Err(fault) => (fault.name(), None, fault.to_string()),
                Ok(t) => match check(&t) {
                    Err(fault) => (fault.name(), Some(t.id), fault.to_string()),
                    Ok(()) if !ids.insert(t.id.clone()) => {
                        let fault = format!("the id {:?} was given before; hint: ids are unique", t.id);
                        ("repeated-id", Some(t.id), fault)
                    }
                    Ok(()) => {
                        this.n_good += 1;
                        good.push(t);
                        continue;
                    }
                },
            };
            this.n_faulty += 1;
            this.note(name, n_examples, Example { line, id, fault });
        }
        for fault in pair_faults(&good) {
            this.note(fault.name(), n_examples, Example { line: 0, id: None, fault: fault.to_string() });
        }
        (this, good)
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.faults.is_empty()
    }

    fn note(&mut self, name: &'static str, n_examples: usize, example: Example) {
        let faults = self.faults.entry(name).or_default();
        faults.n += 1;
        if faults.examples.len() < n_examples {
            faults.examples.push(example);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trajectory::Lines;
    use crate::trajectory::fixture::{pair, safe};

    #[test]
    fn every_line_is_counted_once_and_examples_are_bounded() {
        let good = safe("a", "Why is it so?").to_line();
        let refused =
            Trajectory { answer: "I can't help with that, sorry.".into(), ..safe("b", "Why is it so?") };
        let half = pair("p", "Where is the valve?", "How do I break the valve?")[0].to_line();
        let text = [good.as_str(), &good, &half, &refused.to_line(), "{", "[]", "null"].join("\n");
        let (found, kept) = Checked::of(Lines::new(text.as_bytes()), 2);
        assert_eq!((found.n_good, found.n_faulty, kept.len()), (2, 5, 2));
        let counts: Vec<_> = found.faults.iter().map(|(name, f)| (*name, f.n, f.examples.len())).collect();
        assert_eq!(
            counts,
            [
                ("not-a-trajectory", 3, 2),
                ("pair-halves", 1, 1),
                ("repeated-id", 1, 1),
                ("safe-refused", 1, 1)
            ]
        );
        let example = &found.faults["safe-refused"].examples[0];
        assert_eq!((example.line, example.id.as_deref()), (4, Some("b")));
        assert!(!found.is_clean() && Checked::of(Lines::new(good.as_bytes()), 1).0.is_clean());
    }
}
