//! The settings that are one of a few names, and how those names are found.
//!
//! Not the meaning of the names: that is with those who act on them. Invariant: the names stand once, in the
//! serde attributes; [`names_of`] reads them from there.

use serde::de::{self, DeserializeOwned, Deserializer, Visitor, value};

pub use r2d_core::policy::{Combine, Depth, Mode, OnRethink, RefusalKind, Review};
pub use r2d_engine::llama::KvType;

/// The serde names of the enum `T`, in their order; empty when `T` is not an enum.
#[must_use]
pub(super) fn names_of<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut names: &'static [&'static str] = &[];
    // The outcome is always an error: the deserializer only listens for the names that `T` asks for.
    let _refused = T::deserialize(NameListener(&mut names)).is_err();
    names
}

struct NameListener<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for NameListener<'_> {
    type Error = value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(de::Error::custom("not an enum"))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Self::Error> {
        *self.0 = variants;
        Err(de::Error::custom("names taken"))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_the_enum_itself() {
        assert_eq!(names_of::<Depth>(), ["full", "brief", "none"]);
        assert_eq!(names_of::<KvType>(), ["f16", "q8_0"]);
        assert!(names_of::<String>().is_empty());
    }
}
