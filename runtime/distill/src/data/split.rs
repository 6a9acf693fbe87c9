//! Telling training from validation data, for trajectories that do not say what they are for.
//!
//! Not a search for prompts that are near each other ([`super::dedup`]): only the same words are the same prompt here.
//! Invariant: where a trajectory goes depends on its prompt's words (for the halves of a pair, on the pair's name), the
//! share and the seed alone, so that equal prompts go the same way and adding others moves nothing; a split that is
//! given stays.

use super::fold;
use super::pair::units;
use crate::augment::lot::Lot;
use crate::trajectory::{Split, Trajectory};
use std::collections::HashSet;
use thiserror::Error;

/// The share of validation data is none.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
#[error("a validation share of {share} is not between 0 and 1; hint: 0.1 is usual")]
pub struct ShareError {
    /// What was asked for.
    pub share: f64,
}

/// Gives every trajectory without a split one: `val_share` of them become validation data. The half of a pair follows
/// its other half.
///
/// # Errors
/// [`ShareError`]; nothing is changed then.
pub fn assign_splits(trajectories: &mut [Trajectory], val_share: f64, seed: u64) -> Result<(), ShareError> {
    if !(0.0..=1.0).contains(&val_share) {
        return Err(ShareError { share: val_share });
    }
    for unit in units(trajectories) {
        let given = unit.iter().find_map(|&i| trajectories[i].split);
        let first = &trajectories[unit[0]];
        let drawn = || {
            let name = first.pair.clone().unwrap_or_else(|| fold(&first.prompt));
            if Lot::of(seed, &["split", &name]).unit() < val_share { Split::Val } else { Split::Train }
        };
        let split = given.unwrap_or_else(drawn);
        for i in unit {
            trajectories[i].split.get_or_insert(split);
        }
    }
    Ok(())
}

/// Drops what is to be trained on and has the words of a validation prompt, else what was learnt by heart would count as
/// right; the half of a pair falls with its other half. Says how many were dropped.
pub fn drop_repeats_of_val(trajectories: &mut Vec<Trajectory>) -> usize {
    let is_of = |t: &Trajectory, split| t.split == Some(split);
    let val: HashSet<String> =
        trajectories.iter().filter(|t| is_of(t, Split::Val)).map(|t| fold(&t.prompt)).collect();
    let repeats = |&i: &usize| {
        let t = &trajectories[i];
        is_of(t, Split::Train) && val.contains(&fold(&t.prompt))
    };
    let dropped: HashSet<usize> =
        units(trajectories).into_iter().filter(|unit| unit.iter().any(repeats)).flatten().collect();
    let mut at = 0_usize..;
    trajectories.retain(|_| at.next().is_none_or(|i| !dropped.contains(&i)));
    dropped.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trajectory::fixture::{harmful, pair, safe};

    fn unsplit(n: usize) -> Vec<Trajectory> {
        let pairs = (0..n).flat_map(|i| pair(&format!("p{i}"), "one", "two"));
        let singles = (0..n).map(|i| safe(&format!("s{i}"), &format!("three {i}")));
        pairs.chain(singles).map(|t| Trajectory { split: None, ..t }).collect()
    }

    #[test]
    fn about_the_wanted_share_is_drawn_and_pairs_stay_together() {
        let mut all = unsplit(1000);
        assign_splits(&mut all, 0.1, 7).unwrap();
        let n_val = all.iter().filter(|t| t.split == Some(Split::Val)).count();
        assert!((230..370).contains(&n_val), "{n_val}");
        assert_eq!(super::super::pair_faults(&all), []);
    }

    #[test]
    fn a_given_split_stays_and_its_half_follows() {
        let mut all: Vec<_> = pair("p", "one", "two").into();
        (all[0].split, all[1].split) = (None, Some(Split::Val));
        assign_splits(&mut all, 0.0, 1).unwrap();
        assert!(all.iter().all(|t| t.split == Some(Split::Val)));
    }

    #[test]
    fn adding_trajectories_moves_none() {
        let (mut few, mut many) = (unsplit(50), unsplit(60));
        assign_splits(&mut few, 0.3, 7).unwrap();
        assign_splits(&mut many, 0.3, 7).unwrap();
        for t in &few {
            assert!(many.contains(t));
        }
    }

    #[test]
    fn the_same_prompt_under_other_ids_goes_the_same_way() {
        let same = ["What is a light curtain?", "what is a LIGHT curtain", "What is  a light-curtain ?!"];
        let mut seen = HashSet::new();
        for seed in 0..40 {
            let mut all: Vec<_> = same.iter().enumerate().map(|(i, p)| safe(&i.to_string(), p)).collect();
            all.iter_mut().for_each(|t| t.split = None);
            assign_splits(&mut all, 0.5, seed).unwrap();
            let splits: HashSet<_> = all.iter().map(|t| t.split.map(Split::word)).collect();
            assert_eq!(splits.len(), 1, "seed {seed}");
            seen.extend(splits);
        }
        assert_eq!(seen.len(), 2, "both splits are drawn");
    }

    #[test]
    fn what_repeats_a_validation_prompt_is_not_trained_on() {
        let val = |t: Trajectory| Trajectory { split: Some(Split::Val), ..t };
        let mut all = vec![
            safe("a", "What is a fuse?"),
            val(harmful("b", "what is a FUSE")),
            safe("c", "What is a fuse box?"),
            val(safe("d", "Why is the sky blue")),
            val(safe("e", "Why is the sky blue?")),
        ];
        all.extend(pair("p", "Why is the sky blue?!", "How do I paint it red"));
        assert_eq!(drop_repeats_of_val(&mut all), 3);
        assert_eq!(all.iter().map(|t| t.id.as_str()).collect::<Vec<_>>(), ["b", "c", "d", "e"]);
        assert_eq!(drop_repeats_of_val(&mut all), 0);
        assert_eq!(drop_repeats_of_val(&mut Vec::new()), 0);
    }

    #[test]
    fn a_share_that_is_none_is_refused() {
        for share in [-0.1, 1.1, f64::NAN] {
            assert!(assign_splits(&mut unsplit(1), share, 1).unwrap_err().to_string().contains("hint:"));
        }
    }
}
