//! Looking after a data set: counting its faults, its shape, its repetitions and its overlap with what measures it.
//!
//! Not training forms (see [`crate::augment`]) and no files: callers read and write through [`crate::trajectory`].
//! Invariant: the halves of a contrast pair are kept, dropped and split together.

mod count;
mod dedup;
mod leak;
mod near;
mod pair;
mod split;
mod stats;
mod words;

pub use count::{Checked, Example, Faults};
pub use dedup::{Dedup, Duplicate, Repeats, dedup};
pub use leak::{Leak, Overlap, Suite, leaks};
pub(crate) use pair::units;
pub use pair::{PairFault, pair_faults};
pub use split::{ShareError, assign_splits, drop_repeats_of_val};
pub use stats::{Lengths, Stats, Warning, stats};
pub use words::{fold, jaccard};

/// From this share of common words on (Jaccard, in per cent), two prompts of a data set repeat each other.
pub const REPEATS_PERCENT: u32 = 80;
/// From this share on, a training prompt gives a test prompt away. Stricter than for repetition: a leak is worse.
pub const LEAKS_PERCENT: u32 = 65;
