//! Which of the known models fit a machine's memory, with the sum.
//!
//! A model needs what its manifest says is the smallest useful memory; nothing is downloaded or opened to find out.

use crate::models::Manifest;
use serde::Serialize;

/// One model on one machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fit {
    /// The model's name.
    pub model: String,
    /// Memory that it needs, in MB.
    pub need_mb: u64,
    /// Memory of the machine less the headroom, in MB.
    pub have_mb: u64,
}

impl Fit {
    /// Whether it fits.
    #[must_use]
    pub fn fits(&self) -> bool {
        self.need_mb <= self.have_mb
    }
}

/// Each of `models` that says what it needs, on a machine with `ram_mb` of which `headroom_mb` stay free.
#[must_use]
pub fn fits(models: &[Manifest], ram_mb: u64, headroom_mb: u64) -> Vec<Fit> {
    let have_mb = ram_mb.saturating_sub(headroom_mb);
    let fit = |m: &Manifest| Some(Fit { model: m.name.clone(), need_mb: u64::from(m.min_ram_mb?), have_mb });
    models.iter().filter_map(fit).collect()
}
