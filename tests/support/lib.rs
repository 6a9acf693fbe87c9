//! What the tests share: running a scripted request, comparing with stored results, starting real processes.
//!
//! Nothing here judges: each test says itself what it expects.

pub mod golden;
pub mod process;
pub mod scripted;
pub mod service;
pub mod site;
