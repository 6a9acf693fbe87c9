//! The vocabulary of r2d-edge: what a pivot, a policy, a verdict and a record are, and the pure
//! functions that judge.
//!
//! Not here: I/O, clocks, randomness, models, MQTT. Everything is a function of its arguments, so that a
//! microcontroller, the runtime and a test judge alike. Invariant: nothing in this crate turns doubt into
//! [`verdict::Decision::Allow`].
#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(any(test, feature = "schema"))]
extern crate std;

pub mod id;
pub mod pivot;
pub mod policy;
pub mod verdict;

#[cfg(feature = "alloc")]
pub mod record;
#[cfg(feature = "alloc")]
pub mod request;
#[cfg(feature = "alloc")]
pub mod trace;
#[cfg(feature = "alloc")]
pub mod untrusted;
