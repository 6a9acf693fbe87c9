//! Metadata values of a GGUF file.
//!
//! Integers of all widths are one kind here, so that a reader does not care how a writer chose them.

/// A metadata value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Any unsigned integer.
    Unsigned(u64),
    /// Any signed integer.
    Signed(i64),
    /// A float; 32-bit ones are widened.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// UTF-8 text; anything else in the file is replaced by U+FFFD.
    Text(String),
    /// Numbers or booleans, booleans as 0 and 1.
    Numbers(Vec<f64>),
    /// Texts, of which only the number is kept: vocabularies are long and not needed here.
    Texts(u64),
}

impl Value {
    /// As an integer that is not negative.
    #[must_use]
    pub fn as_usize(&self) -> Option<usize> {
        match self {
            Self::Unsigned(n) => usize::try_from(*n).ok(),
            Self::Signed(n) => usize::try_from(*n).ok(),
            _ => None,
        }
    }

    /// As a float.
    #[must_use]
    pub fn as_f32(&self) -> Option<f32> {
        match self {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "it was an f32 in the file, or is rounded to one"
            )]
            Self::Float(x) => Some(*x as f32),
            _ => None,
        }
    }

    /// As text.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}
