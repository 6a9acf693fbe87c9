//! Finding prompts that say what another one says already.
//!
//! Invariant: what is kept holds no two prompts with the same words, nor with [`super::REPEATS_PERCENT`] of them in
//! common, the halves of one contrast pair excepted: those are near each other on purpose.

use super::near::{Index, Near, Vocabulary};
use super::pair::units;
use super::{REPEATS_PERCENT, fold};
use crate::trajectory::Trajectory;
use serde::Serialize;
use std::collections::HashMap;

/// How a prompt repeats another.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
#[non_exhaustive]
pub enum Repeats {
    /// The same words in the same order.
    Exact,
    /// Most of its words.
    Near {
        /// Share of common words.
        jaccard: f64,
    },
    /// It does not, but the other half of its pair does.
    Partner,
}

/// A trajectory that is dropped.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Duplicate {
    /// Its id.
    pub id: String,
    /// The id of the one that is kept (for a partner: of the half that is dropped).
    pub of: String,
    /// How near.
    #[serde(flatten)]
    pub repeats: Repeats,
    /// The two have different labels: one of them is wrong.
    pub conflict: bool,
}

/// What is kept of a data set, and what not.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Dedup {
    /// Indices of what is kept, in the order of the data set.
    pub kept: Vec<usize>,
    /// What is dropped.
    pub dropped: Vec<Duplicate>,
}

/// Sorts repetitions out: the first one of several is kept.
#[must_use]
pub fn dedup(trajectories: &[Trajectory]) -> Dedup {
    let vocabulary = Vocabulary::of(trajectories.iter().map(|t| t.prompt.as_str()));
    let mut index = Index::new(REPEATS_PERCENT);
    // Which trajectory the index's texts are.
    let mut indexed: Vec<usize> = Vec::new();
    let mut exact: HashMap<String, usize> = HashMap::new();
    let mut out = Dedup::default();
    for unit in units(trajectories) {
        let repeated: Vec<Option<(usize, Repeats)>> = unit
            .iter()
            .map(|&i| {
                let prompt = &trajectories[i].prompt;
                let same = exact.get(&fold(prompt)).map(|&of| (of, Repeats::Exact));
                let near = |near: Near| (indexed[near.text], Repeats::Near { jaccard: near.jaccard() });
                same.or_else(|| index.nearest(&vocabulary.set(prompt), |_| true).map(near))
            })
            .collect();
        let Some(culprit) = repeated.iter().position(Option::is_some) else {
            for &i in &unit {
                index.add(vocabulary.set(&trajectories[i].prompt));
                indexed.push(i);
                exact.entry(fold(&trajectories[i].prompt)).or_insert(i);
            }
            out.kept.extend(&unit);
            continue;
        };
        for (&i, repeated) in unit.iter().zip(&repeated) {
            let (of, repeats) = repeated.unwrap_or((unit[culprit], Repeats::Partner));
            let conflict = repeats != Repeats::Partner && trajectories[of].label != trajectories[i].label;
            let (id, of) = (trajectories[i].id.clone(), trajectories[of].id.clone());
            out.dropped.push(Duplicate { id, of, repeats, conflict });
        }
    }
    out.kept.sort_unstable();
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::lot::Lot;
    use crate::trajectory::fixture::{harmful, pair, safe};

    #[test]
    fn the_first_of_several_repetitions_is_kept() {
        let all = [
            safe("a", "How do I clean the old copper kettle of my aunt"),
            safe("b", "how do I clean the old copper kettle of my AUNT?!"),
            safe("c", "How do I clean the old copper kettle of my dear aunt"),
            safe("d", "How do I clean a window"),
            harmful("e", "How do I clean a window."),
        ];
        let found = dedup(&all);
        assert_eq!(found.kept, [0, 3]);
        let said: Vec<_> =
            found.dropped.iter().map(|d| (d.id.as_str(), d.of.as_str(), d.repeats, d.conflict)).collect();
        assert_eq!(
            said,
            [
                ("b", "a", Repeats::Exact, false),
                ("c", "a", Repeats::Near { jaccard: 11.0 / 12.0 }, false),
                ("e", "d", Repeats::Exact, true)
            ]
        );
    }

    #[test]
    fn halves_of_a_pair_may_be_near_each_other_and_fall_together() {
        let [a, b] = pair(
            "p1",
            "how do I stop a stuck process on line one",
            "how do I stop a stuck person on line one",
        );
        let [c, d] = pair("p2", "where is the first aid box", "how do I stop a stuck person on line one?");
        let found = dedup(&[a, c, b, d]);
        assert_eq!(found.kept, [0, 2]);
        assert_eq!(found.dropped[0].repeats, Repeats::Partner);
        assert_eq!((found.dropped[0].id.as_str(), found.dropped[0].of.as_str()), ("p2-s", "p2-u"));
        assert_eq!(found.dropped[1].repeats, Repeats::Exact);
    }

    #[test]
    fn texts_without_words_and_empty_sets_are_no_trouble() {
        assert_eq!(dedup(&[]), Dedup::default());
        assert_eq!(dedup(&[safe("a", "?"), safe("b", "!"), safe("c", "word")]).kept, [0, 2]);
    }

    #[test]
    fn ten_thousand_prompts_of_common_words_take_seconds_not_minutes() {
        let mut lot = Lot::of(9, &[]);
        let all: Vec<_> = (0..10_000)
            .map(|i| {
                // Products make some words common, as in language.
                let mut word = || format!("w{}", lot.below(60) * lot.below(60));
                let words: Vec<String> = (0..20).map(|_| word()).collect();
                safe(&i.to_string(), &words.join(" "))
            })
            .collect();
        let start = std::time::Instant::now();
        assert!(dedup(&all).kept.len() > 9_000);
        assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
    }
}
