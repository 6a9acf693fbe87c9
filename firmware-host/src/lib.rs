//! Both ends of the serial line between r2d-edge and a panel with stack light, permit relay and buttons.
//!
//! Bytes and ticks go in, bytes and events come out: [`host::Host`] is the runtime's end, [`panel::Panel`] the
//! microcontroller's. Not here: a clock, randomness, an allocator, a UART. The wire is specified in `PROTOCOL.md`.
//! Invariant: [`gate::Gate`] is open only while an `allow` for the panel's own station and request stands, is
//! fresh and unexpired, and heartbeats arrive; whatever else comes leaves it closed or closes it.
//!
//! A permit is advice to people and machines. It is not a safety function and not an emergency stop.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod button;
pub mod cause;
pub mod codec;
pub mod deframer;
pub mod frame;
pub mod gate;
pub mod host;
pub mod light;
pub mod link;
pub mod message;
pub mod panel;
pub mod pump;
pub mod session;
pub mod tick;
pub mod watchdog;

pub use r2d_core::id::Id;
