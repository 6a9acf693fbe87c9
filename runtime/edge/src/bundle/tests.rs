//! Bundles as a whole: made, altered, installed, broken off and taken back.

mod install;
mod support;
mod verify;
