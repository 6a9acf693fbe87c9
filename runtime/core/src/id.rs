//! Identifiers that may stand in an MQTT topic.
//!
//! Not a place for display names: an id is 1 to 64 characters of `[A-Za-z0-9_-]`, so that no id can carry a
//! topic separator, a wildcard or a control character.

use core::fmt;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest id, in bytes.
pub const MAX_ID_LEN: usize = 64;

/// A checked identifier: of a request, a site, a device.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(heapless::String<MAX_ID_LEN>);

/// Why a text is not an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdError {
    /// The text is empty.
    Empty,
    /// The text is longer than [`MAX_ID_LEN`] bytes.
    TooLong,
    /// A character outside `[A-Za-z0-9_-]`.
    Character(char),
}

impl fmt::Display for IdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "an id is empty; hint: use 1 to {MAX_ID_LEN} of A-Z a-z 0-9 _ -"),
            Self::TooLong => write!(f, "an id is longer than {MAX_ID_LEN} characters"),
            Self::Character(c) => write!(f, "an id holds {c:?}; hint: use only A-Z a-z 0-9 _ -"),
        }
    }
}

impl core::error::Error for IdError {}

impl Id {
    /// Checks `text` and keeps it.
    ///
    /// # Errors
    /// [`IdError`] names the first fault.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        if text.is_empty() {
            return Err(IdError::Empty);
        }
        if let Some(c) = text.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))) {
            return Err(IdError::Character(c));
        }
        heapless::String::try_from(text).map(Self).map_err(|_| IdError::TooLong)
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::str::FromStr for Id {
    type Err = IdError;
    fn from_str(s: &str) -> Result<Self, IdError> {
        Self::parse(s)
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Id;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an id: 1 to {MAX_ID_LEN} of A-Z a-z 0-9 _ -")
            }
            fn visit_str<E: serde::de::Error>(self, v: &str) -> Result<Id, E> {
                Id::parse(v).map_err(E::custom)
            }
        }
        d.deserialize_str(Visitor)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Id {
    fn schema_name() -> alloc::borrow::Cow<'static, str> {
        "Id".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_take_only_what_a_topic_level_may_hold() {
        assert!(Id::parse("press-04_A").is_ok());
        assert_eq!(Id::parse(""), Err(IdError::Empty));
        for bad in ["a/b", "a+b", "#", "a b", "ä", "a\n"] {
            assert!(matches!(Id::parse(bad), Err(IdError::Character(_))), "{bad:?}");
        }
        assert!(Id::parse(&"x".repeat(64)).is_ok());
        assert_eq!(Id::parse(&"x".repeat(65)), Err(IdError::TooLong));
    }
}
