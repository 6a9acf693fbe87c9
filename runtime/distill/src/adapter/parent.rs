//! An adapter that a run goes on from, once it was found to fit the run.
//!
//! Not a run taken up again, which is the checkpoint's: the optimiser begins afresh. Invariant: a [`Parent`] in hand was
//! trained on the run's base, has the run's shape, and holds numbers only.

use super::{AdapterError, read};
use crate::gguf::{Gguf, GgufError};
use crate::lora::{Lora, Place};
use std::path::Path;

/// An adapter file that fits a run.
#[derive(Debug)]
pub(crate) struct Parent {
    gguf: Gguf,
    places: Vec<Place>,
}

impl Parent {
    /// Opens the adapter at `path` for a run on the base with `base_sha256` whose adapter is like `lora`.
    pub(crate) fn open(path: &Path, base_sha256: &str, lora: &Lora) -> Result<Self, AdapterError> {
        let info = read(path)?;
        info.check_base(base_sha256)?;
        let other = |what, theirs: String, ours: String| {
            Err(AdapterError::OtherShape { path: path.to_owned(), what, theirs, ours })
        };
        if info.rank != lora.rank {
            return other("rank", info.rank.to_string(), lora.rank.to_string());
        }
        if info.alpha.to_bits() != lora.alpha.to_bits() {
            return other("alpha", info.alpha.to_string(), lora.alpha.to_string());
        }
        let (gguf, places) = (Gguf::open(path)?, lora.places());
        let names: Vec<&str> = gguf.tensors().map(|t| t.name()).collect();
        if names.len() != places.len() || !places.iter().all(|p| names.contains(&p.name.as_str())) {
            let ours: Vec<&str> = places.iter().map(|p| p.name.as_str()).collect();
            return other("set of targets", targets(&names), targets(&ours));
        }
        for Place { name, shape, .. } in &places {
            let tensor = gguf.tensor(name)?;
            let theirs = [tensor.n_cols(), tensor.n_rows()];
            if theirs != *shape {
                return other("shape of a matrix", format!("{theirs:?}"), format!("{shape:?} for {name}"));
            }
            if let Some(x) = gguf.numbers(name)?.into_iter().find(|x| !x.is_finite()) {
                return other("kind of number", format!("{x} in {name}"), "a finite one".into());
            }
        }
        Ok(Self { gguf, places })
    }

    /// SHA-256 of the file.
    pub(crate) fn sha256(&self) -> String {
        self.gguf.sha256()
    }

    /// Puts the file's numbers in the place of a run's parameters; 16-bit floats are exact as 32-bit ones.
    pub(crate) fn copy_into(&self, params: &mut [f32]) -> Result<(), GgufError> {
        self.places.iter().try_for_each(|Place { name, params: at, .. }| {
            let tensor = self.gguf.tensor(name)?;
            self.gguf.dequantise(tensor, 0..tensor.n_rows(), &mut params[at.clone()])
        })
    }
}

/// What is adapted, by the parts of tensor names that tell it, and in how many tensors.
fn targets(names: &[&str]) -> String {
    let mut parts: Vec<&str> = names.iter().filter_map(|name| name.split('.').nth(2)).collect();
    parts.sort_unstable();
    parts.dedup();
    format!("{} in {} tensors", parts.join(", "), names.len())
}
