//! Telling training from validation data, for trajectories that do not say what they are for.
//!
//! Invariant: where a trajectory goes depends on its name (a pair's name for its halves), the share and the seed alone,
//! so that adding others moves nothing; a split that is given stays.

use super::pair::units;
use crate::augment::lot::Lot;
use crate::trajectory::{Split, Trajectory};
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
        let name = first.pair.as_deref().unwrap_or(&first.id);
        let drawn =
            || if Lot::of(seed, &["split", name]).unit() < val_share { Split::Val } else { Split::Train };
        let split = given.unwrap_or_else(drawn);
        for i in unit {
            trajectories[i].split.get_or_insert(split);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trajectory::fixture::{pair, safe};

    fn unsplit(n: usize) -> Vec<Trajectory> {
        let pairs = (0..n).flat_map(|i| pair(&format!("p{i}"), "one", "two"));
        let singles = (0..n).map(|i| safe(&format!("s{i}"), "three"));
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
    fn a_share_that_is_none_is_refused() {
        for share in [-0.1, 1.1, f64::NAN] {
            assert!(assign_splits(&mut unsplit(1), share, 1).unwrap_err().to_string().contains("hint:"));
        }
    }
}
