//! The adapters that are part of the program.
//!
//! Each is one folder of `models/` with `adapter.toml` and `adapter.gguf`. Invariant: a test compares every file with
//! the SHA-256 and the base that its manifest names.

use super::AdaptersError;
use crate::models::{Digest, ModelsError};
use serde::Deserialize;

/// An adapter in the binary.
#[derive(Clone, Debug)]
pub(super) struct Shipped {
    pub(super) name: String,
    pub(super) base_sha256: String,
    pub(super) sha256: Digest,
    pub(super) bytes: &'static [u8],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    name: String,
    base_sha256: String,
    sha256: Digest,
}

const SHIPPED: [(&str, &[u8]); 1] = [(
    include_str!("../../../../../models/smollm2-135m-r2d/adapter.toml"),
    include_bytes!("../../../../../models/smollm2-135m-r2d/adapter.gguf"),
)];

pub(super) fn all() -> Result<Vec<Shipped>, AdaptersError> {
    let parse = |(text, bytes): (&str, &'static [u8])| {
        let Manifest { name, base_sha256, sha256 } = toml::from_str(text).map_err(|e| {
            let reason = e.message().to_owned();
            ModelsError::BadManifest { file: "adapter.toml in the program".into(), reason }
        })?;
        Ok(Shipped { name, base_sha256, sha256, bytes })
    };
    SHIPPED.into_iter().map(parse).collect()
}

pub(super) fn find(name: &str) -> Result<Option<Shipped>, AdaptersError> {
    Ok(all()?.into_iter().find(|s| s.name == name))
}

pub(super) fn of_base(base: &str) -> Result<Option<Shipped>, AdaptersError> {
    Ok(all()?.into_iter().find(|s| s.base_sha256 == base))
}
