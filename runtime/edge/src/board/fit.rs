//! Which of the known models fit a machine's memory, with the sum.
//!
//! A model needs what its manifest says is the smallest useful memory; nothing is downloaded or opened to
//! find out. Invariant: on a machine whose memory is unknown nothing fits, and nothing is said not to.

use crate::models::Manifest;
use serde::Serialize;

/// One model on one machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fit {
    /// The model's name.
    pub model: String,
    /// Memory that it needs, in MB.
    pub need_mb: u64,
    /// Memory of the machine less the headroom, in MB; none where nobody knows.
    pub have_mb: Option<u64>,
}

impl Fit {
    /// Whether it fits; not where nobody knows.
    #[must_use]
    pub fn fits(&self) -> bool {
        self.have_mb.is_some_and(|have| self.need_mb <= have)
    }
}

/// Each of `models` that says what it needs, on a machine with `ram_mb`, if that is known, of which
/// `headroom_mb` stay free; both in MB.
#[must_use]
pub fn fits(models: &[Manifest], ram_mb: Option<u64>, headroom_mb: u64) -> Vec<Fit> {
    let have_mb = ram_mb.map(|ram| ram.saturating_sub(headroom_mb));
    let fit = |m: &Manifest| Some(Fit { model: m.name.clone(), need_mb: u64::from(m.min_ram_mb?), have_mb });
    models.iter().filter_map(fit).collect()
}
