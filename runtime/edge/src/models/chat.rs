//! The engine's types that a manifest carries: how a conversation is written, and which strings are the pivots.
//!
//! Nothing is rendered or tokenised here. Invariant: the engine alone defines these shapes, so a manifest cannot
//! say something that the engine does not understand.

pub(crate) use r2d_engine::grammar::PivotStrings;
pub(crate) use r2d_engine::prompt::ChatTemplate;
