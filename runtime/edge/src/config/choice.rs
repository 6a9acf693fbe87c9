//! The settings that are one of a few names, as enums.
//!
//! Not the meaning of the names: that is with those who act on them. Invariant: the names stand once, in the
//! serde attributes; [`names_of`] reads them from there.

use serde::de::{self, DeserializeOwned, Deserializer, Visitor, value};
use serde::{Deserialize, Serialize};

/// How much the model reasons before it answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Depth {
    /// Steps until the model closes its reasoning or the budget is spent.
    #[default]
    Full,
    /// One step.
    Brief,
    /// No step: the pivot on the bare request alone.
    None,
}

/// Whether verdicts bind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// What did not pass is withheld.
    #[default]
    Enforce,
    /// Everything is judged and recorded, nothing is withheld.
    Shadow,
}

/// Which function of all readings decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Combine {
    /// The highest UNSAFE probability of any reading.
    #[default]
    Maximum,
    /// Weighted log-odds of the bare request and the worst step.
    Weighted,
}

/// What a RETHINK does with the step it closes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnRethink {
    /// The step stays and the next one looks again.
    #[default]
    Continue,
    /// The step is taken back and written anew.
    Rollback,
}

/// Whose words a refusal uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RefusalKind {
    /// The site's fixed sentence.
    #[default]
    Fixed,
    /// The model's own, checked like any answer.
    Model,
}

/// Element type of the key-value cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KvType {
    /// Half precision.
    #[default]
    F16,
    /// 8-bit blocks of 32 with one scale each.
    #[serde(rename = "q8_0")]
    Q8_0,
}

impl KvType {
    /// Bytes that 32 elements take: the least number that is whole for both types.
    #[must_use]
    pub fn bytes_per_32(self) -> u64 {
        match self {
            Self::F16 => 64,
            Self::Q8_0 => 34,
        }
    }
}

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
