//! Offline bundles: one signed file that brings a board without a network to a new release, and back.
//!
//! ```text
//! <home>/bundle/
//!   a/, b/                  the two slots, one in force, one for the next release
//!     usr/…                 what the package holds
//!     model.gguf            the bundle's model, one file with the store's where the disk allows
//!     adapter.gguf          the bundle's adapter
//!     trial/                the new program's home, and what it says, while it tests itself
//!     left.toml             which adapter was in force when this release was left
//!     bundle.toml           what the release is; there only when all else in the slot is whole
//!     bundle.toml.minisig   the signature on it
//!   current                 a link to the slot in force: the one thing that decides
//!   state.toml              the highest version ever in force, and what was installed when
//!   lock                    held while one process changes any of this
//! ```
//!
//! Not a package manager: nothing outside `<home>` is touched, nothing is started or stopped. Invariants: no byte of a
//! bundle but its signed page is interpreted before the signature holds, and no payload before its SHA-256 does;
//! `current` points at a whole release at every instant; the highest version never falls.
//!
//! A version counts as installed once `current` points at it. What comes after that (the state file, the adapter) is
//! done again by [`catch_up`] when it was broken off. Whoever may write to `<home>` can undo all of this: the signature
//! guards the way to the board, not the board against its own administrator.

mod archive;
mod create;
mod deb;
mod error;
mod install;
mod manifest;
mod open;
mod sign;
mod slot;
mod stock;
#[cfg(test)]
mod tests;
mod trial;

pub(crate) use create::{Contents, create, look_into};
pub(crate) use error::BundleError;
pub(crate) use install::{Install, arch, catch_up, install, leave, rollback};
pub(crate) use manifest::{Manifest, Payload, Version};
pub(crate) use open::verify;
pub(crate) use sign::{PublicKey, SecretKey, keygen};
pub(crate) use slot::{Site, Slot};
pub(crate) use trial::{end_with_stdin, passed};
