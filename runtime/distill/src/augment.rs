//! From a teacher's trajectories to training samples, so that every depth at which the runtime reads is trained.
//!
//! A trajectory becomes samples of several forms ([`Form`]), with varying system texts, some of them in a dress: a
//! wrapper as attackers and excited people use them. Not tokens (see [`crate::layout`]) and no files. The dresses that
//! *measure* a model (`runtime/eval/suites/wrappers.toml`) are held out: other words here, and some families are
//! missing on purpose.
//!
//! Invariants: the samples are a function of the trajectories, the mix, the seed and the epoch; the label is always
//! that of the inner request; a dress is worn by harmful and harmless requests alike, so that it never tells the
//! label; the halves of a contrast pair get the same forms, dress and system text.

mod dress;
mod encoding;
mod key;
pub(crate) mod lot;
mod mix;
mod plan;
mod sample;
mod table;

pub use encoding::Transform;
pub use key::key_words;
pub use mix::{Mix, MixError};
pub use sample::{Form, Sample, Tally, tally};
pub use table::TableError;

use crate::trajectory::Trajectory;
use thiserror::Error;

/// Why no samples can be made.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum AugmentError {
    /// The mix asks for what cannot be.
    #[error(transparent)]
    Mix(#[from] MixError),
    /// The built-in texts cannot be read.
    #[error(transparent)]
    Table(#[from] TableError),
}

/// The samples of one epoch, in the order in which they are to be trained on.
///
/// Give it the trajectories of one split only: it does not look at `split`.
///
/// # Errors
/// [`AugmentError`].
pub fn samples(
    trajectories: &[Trajectory],
    mix: &Mix,
    seed: u64,
    epoch: u32,
) -> Result<Vec<Sample>, AugmentError> {
    check(trajectories, mix)?;
    draw(trajectories, mix, seed, epoch)
}

/// Whether `mix` can be drawn from `trajectories`, or from a part of them: its numbers and the families that it names.
pub(crate) fn check(trajectories: &[Trajectory], mix: &Mix) -> Result<(), AugmentError> {
    mix.validate()?;
    let dresses = table::tables()?.wrappers.iter().map(|w| w.family.as_str());
    Ok(mix.check_names(trajectories.iter().map(Trajectory::family).collect(), dresses.collect())?)
}

/// As [`samples`], under a mix that passed [`check`] on trajectories that hold these.
pub(crate) fn draw(
    trajectories: &[Trajectory],
    mix: &Mix,
    seed: u64,
    epoch: u32,
) -> Result<Vec<Sample>, AugmentError> {
    let tables = table::tables()?;
    let mut out = Vec::new();
    for form in Form::ALL {
        let plan = plan::Plan { trajectories, mix, tables, seed, epoch, form };
        for pick in plan.picks() {
            out.push(sample::build(&trajectories[pick.trajectory], form, &pick, mix, tables));
        }
    }
    lot::Lot::of(seed, &["order", &epoch.to_string()]).shuffle(&mut out);
    Ok(out)
}

#[cfg(test)]
mod tests;
