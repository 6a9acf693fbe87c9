//! Pivot-checked generation: tokens to decode go out, logits come in, events go out.
//!
//! The machine ([`generation`]) does no I/O and knows no clock; the [`scheduler`] batches several of them through
//! one [`model::Model`]; [`scripted`] replays transcripts, [`llama`] runs GGUF files and is the only place that
//! names llama.cpp. Not here: MQTT, files of the service, configuration. Invariant: text leaves a
//! [`generation::Generation`] only behind a reading that the policy judged SAFE (shadow and unguarded runs say so
//! in their verdict).

pub mod event;
pub mod generation;
pub mod grammar;
pub mod intake;
#[cfg(feature = "cpu")]
pub mod llama;
pub mod model;
pub mod prompt;
pub mod scheduler;
pub mod scripted;

pub use event::{Event, Outcome};
pub use generation::{Generation, Guard};
pub use intake::{Ask, Intake};
pub use scheduler::Scheduler;
