//! LoRA training on a frozen quantised model, by hand, on the CPU.
//!
//! Losses are SwaRD (cross-entropy on reasoning and answer) and CPO (contrast of pivots). Weights come straight from a
//! mapped GGUF file and stay as they are; only the adapter learns. Not an autograd, not a text library: the caller
//! tokenises, asks teachers, draws progress and decides what becomes of the adapter. Invariant: a run is a function of model, recipe,
//! examples and number of threads, to the bit, however often it was broken off.
//!
//! ```no_run
//! use r2d_distill::adapter::{self, AdapterFormat, Provenance};
//! use r2d_distill::base::Base;
//! use r2d_distill::example::{Example, Part, PivotAt, Span};
//! use r2d_distill::journal::Journal;
//! use r2d_distill::recipe::Recipe;
//! use r2d_distill::trainer::{Ending, Limits, Observer, Row, Settings, Trainer};
//! use std::path::Path;
//!
//! struct Log(Journal);
//!
//! impl Observer for Log {
//!     fn on_step(&mut self, row: &Row) -> Option<String> {
//!         self.0.add(row).err().map(|e| e.to_string())
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let base = Base::open(Path::new("model.gguf"))?;
//! // Prompt of 3 tokens, then reasoning, then the answer; the pivot's word diverges at position 5.
//! let example = Example {
//!     tokens: vec![1, 2, 3, 10, 11, 12, 13, 14, 15],
//!     spans: vec![
//!         Span { positions: 3..7, part: Part::Reasoning, weight: 1.0 },
//!         Span { positions: 7..9, part: Part::Answer, weight: 1.0 },
//!     ],
//!     pivots: vec![PivotAt { position: 5, plus: 12, minus: 20 }],
//! };
//! let recipe = Recipe { epochs: 3, ..Recipe::default() };
//! let mut trainer = Trainer::new(base, recipe, vec![example], Settings::default())?;
//! let checkpoint = Path::new("run.ckpt");
//! if checkpoint.exists() {
//!     trainer.resume(checkpoint)?;
//! }
//! let mut log = Log(Journal::open(Path::new("run.jsonl"), &trainer.identity(), trainer.position())?);
//! let limits = Limits { checkpoint: Some((checkpoint.into(), 50)), ..Limits::default() };
//! if trainer.run(&limits, &mut log)? == Ending::Done {
//!     let provenance = Provenance {
//!         name: "example".into(),
//!         base_sha256: trainer.base().sha256().into(),
//!         data_sha256: trainer.data_sha256().into(),
//!         parent_sha256: trainer.identity().parent_sha256.unwrap_or_default(),
//!         recipe: trainer.recipe().to_toml()?,
//!         metrics: "{}".into(),
//!         date: "2026-11-26".into(),
//!     };
//!     let (base, lora) = (trainer.base(), trainer.lora());
//!     adapter::write(Path::new("adapter.gguf"), base, lora, AdapterFormat::F16, &provenance)?;
//! }
//! # Ok(())
//! # }
//! ```

pub mod adapter;
mod attention;
pub mod augment;
pub mod base;
mod checkpoint;
pub mod collect;
pub mod curriculum;
pub mod data;
pub mod example;
mod ffi;
mod gate;
pub mod gguf;
mod head;
pub mod input;
pub mod inspect;
pub mod journal;
mod layer;
pub mod layout;
mod linear;
pub mod lora;
pub mod memory;
mod norm;
mod number;
mod optimiser;
mod pack;
mod panels;
mod pass;
mod plan;
pub mod plot;
mod random;
pub mod recipe;
mod rope;
pub mod teacher;
#[cfg(test)]
#[allow(unreachable_pub, reason = "the file is shared with the tests of the workspace")]
mod tiny;
pub mod trainer;
pub mod trajectory;

pub use checkpoint::CheckpointError;
