//! The rows of the store as bytes: a version byte, then postcard.
//!
//! Postcard because payloads are bytes: JSON would write them as numbers, three to four times as long. It
//! does not describe itself, hence the version in front.
//! Invariant: a row of another version, or with bytes left over, is not read as something else.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{OutboxKey, StoreError};

/// Raised with every change to the types below.
const VERSION: u8 = 1;

/// A message for the broker, always published with QoS 1.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Outgoing {
    /// The topic.
    pub topic: String,
    /// The payload.
    pub payload: Vec<u8>,
    /// Whether the broker keeps it for later subscribers.
    pub retain: bool,
    /// Seconds after which the broker drops it.
    pub expiry_s: Option<u32>,
    /// Correlation data of the request it answers.
    pub correlation: Option<Vec<u8>>,
}

/// The answer kept for a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answered {
    /// The audit record that answered it.
    pub seq: u64,
    /// What a duplicate is answered with.
    pub payload: Vec<u8>,
}

/// The row of an answered request.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Done {
    pub(super) seq: u64,
    /// The messages of its record: keys from `first` up to `end`.
    pub(super) first: OutboxKey,
    pub(super) end: OutboxKey,
    pub(super) payload: Vec<u8>,
}

pub(super) fn encode<T: Serialize>(row: &T) -> Result<Vec<u8>, StoreError> {
    postcard::to_extend(row, vec![VERSION]).map_err(StoreError::Encode)
}

pub(super) fn decode<T: DeserializeOwned>(row: &[u8]) -> Option<T> {
    let (&version, row) = row.split_first()?;
    if version != VERSION {
        return None;
    }
    let (value, rest) = postcard::take_from_bytes(row).ok()?;
    rest.is_empty().then_some(value)
}
