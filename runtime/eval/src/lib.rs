//! How often attacks succeed, how often honest questions are refused, what usefulness is left and what it costs.
//!
//! Suites become [`item::Item`]s, the [`run`] asks them on the engine's own machine and writes [`row::Row`]s, and
//! everything that is told afterwards (metrics, report, comparison, gate) is a function of those rows. Not here: the
//! command line, loading and verifying weights, progress bars. Invariant: a row holds what the model did and no
//! opinion, so that figures can be made anew from it.

pub mod choice;
pub mod client;
pub mod compare;
pub mod gate;
pub mod item;
pub mod journal;
pub mod judge;
pub mod metric;
pub mod replay;
pub mod report;
pub mod row;
pub mod run;
pub mod suite;
pub mod summary;
pub mod wrapper;
