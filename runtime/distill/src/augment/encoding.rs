//! Ways to write a request that a reader has to undo.

use serde::Deserialize;

/// What is done to a request before it is put into a dress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Transform {
    /// Nothing.
    #[default]
    Plain,
    /// Base64 (RFC 4648, with padding).
    Base64,
    /// Each ASCII letter moved by 13.
    Rot13,
    /// Digits for some vowels.
    Leet,
    /// Letter by letter, two blanks between words.
    Spaced,
}

impl Transform {
    /// `text`, written so.
    #[must_use]
    pub fn apply(self, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Base64 => base64(text.as_bytes()),
            Self::Rot13 => text.chars().map(rot13).collect(),
            Self::Leet => text.chars().map(leet).collect(),
            Self::Spaced => {
                let spaced = |word: &str| word.chars().map(String::from).collect::<Vec<_>>().join(" ");
                text.split_whitespace().map(spaced).collect::<Vec<_>>().join("  ")
            }
        }
    }
}

fn rot13(c: char) -> char {
    let moved = |base: u8| char::from((c as u8 - base + 13) % 26 + base);
    match c {
        'a'..='z' => moved(b'a'),
        'A'..='Z' => moved(b'A'),
        _ => c,
    }
}

fn leet(c: char) -> char {
    match c.to_ascii_lowercase() {
        'a' => '4',
        'e' => '3',
        'i' => '1',
        'o' => '0',
        _ => c,
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0, |bits, &b| bits << 8 | u32::from(b)) << (8 * (3 - group.len()));
        for i in 0..4 {
            let digit = bits >> (18 - 6 * i) & 63;
            out.push(if i > group.len() { '=' } else { char::from(DIGITS[digit as usize]) });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_standard() {
        for (text, wanted) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("é?>", "w6k/Pg=="),
        ] {
            assert_eq!(Transform::Base64.apply(text), wanted);
        }
    }

    #[test]
    fn the_others_can_be_undone_by_a_reader() {
        assert_eq!(Transform::Rot13.apply(&Transform::Rot13.apply("Why Zebra, é 5?")), "Why Zebra, é 5?");
        assert_eq!(Transform::Rot13.apply("Nop"), "Abc");
        assert_eq!(Transform::Leet.apply("Open it, Ada"), "0p3n 1t, 4d4");
        assert_eq!(Transform::Spaced.apply("ab  cé\nd"), "a b  c é  d");
        assert_eq!(Transform::Plain.apply("as it is"), "as it is");
    }
}
