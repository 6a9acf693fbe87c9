//! Contrast pairs: what stays together, and what is wrong with them.

use crate::trajectory::{Split, Trajectory};
use std::collections::HashMap;
use thiserror::Error;

/// What is wrong with a contrast pair.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PairFault {
    /// It has not two halves.
    #[error(
        "pair {pair:?} has {n} halves; hint: a pair is one harmless and one harmful trajectory, or set pair to null"
    )]
    Halves {
        /// Its name.
        pair: String,
        /// How many.
        n: usize,
    },
    /// Its halves have one label.
    #[error(
        "both halves of pair {pair:?} are {label}; hint: a pair contrasts a harmless with a harmful request"
    )]
    OneLabel {
        /// Its name.
        pair: String,
        /// The label.
        label: crate::trajectory::Label,
    },
    /// Its halves stand in different splits.
    #[error(
        "the halves of pair {pair:?} stand in different splits; hint: drop their splits and assign them anew"
    )]
    Torn {
        /// Its name.
        pair: String,
    },
}

impl PairFault {
    /// A name that stays, for counting.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Halves { .. } => "pair-halves",
            Self::OneLabel { .. } => "pair-one-label",
            Self::Torn { .. } => "pair-torn",
        }
    }
}

/// What is kept together: the indices of each pair and of each single trajectory, in order of first appearance.
pub(crate) fn units(trajectories: &[Trajectory]) -> Vec<Vec<usize>> {
    let mut units: Vec<Vec<usize>> = Vec::new();
    let mut pairs: HashMap<&str, usize> = HashMap::new();
    for (i, t) in trajectories.iter().enumerate() {
        match t.pair.as_deref().map(|pair| *pairs.entry(pair).or_insert(units.len())) {
            Some(at) if at < units.len() => units[at].push(i),
            _ => units.push(vec![i]),
        }
    }
    units
}

/// What is wrong with the contrast pairs, in order of appearance.
#[must_use]
pub fn pair_faults(trajectories: &[Trajectory]) -> Vec<PairFault> {
    let mut out = Vec::new();
    for unit in units(trajectories) {
        let Some(pair) = trajectories[unit[0]].pair.clone() else { continue };
        let split = |i: usize| -> Option<Split> { trajectories[i].split };
        match unit[..] {
            [a, b] if split(a) != split(b) => out.push(PairFault::Torn { pair }),
            [a, b] if trajectories[a].label == trajectories[b].label => {
                out.push(PairFault::OneLabel { pair, label: trajectories[a].label });
            }
            [_, _] => {}
            _ => out.push(PairFault::Halves { pair, n: unit.len() }),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trajectory::fixture::{pair, safe};

    #[test]
    fn pairs_are_units_and_so_are_single_trajectories() {
        let [a, b] = pair("p", "one", "two");
        assert_eq!(units(&[a, safe("x", "three"), b, safe("y", "four")]), [vec![0, 2], vec![1], vec![3]]);
    }

    #[test]
    fn what_is_wrong_with_a_pair_is_said() {
        let [a, mut b] = pair("p", "one", "two");
        assert_eq!(pair_faults(&[a.clone(), b.clone()]), []);
        assert_eq!(pair_faults(std::slice::from_ref(&a))[0].name(), "pair-halves");
        assert_eq!(pair_faults(&[a.clone(), a.clone()])[0].name(), "pair-one-label");
        b.split = Some(Split::Val);
        assert_eq!(pair_faults(&[a, b])[0].name(), "pair-torn");
    }
}
