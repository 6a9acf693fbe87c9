//! Ways to write a text so that a reader has to decode it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

/// What is done to a request before it is put into a template.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transform {
    /// Nothing.
    #[default]
    Plain,
    /// Base64 of its UTF-8 bytes, with padding.
    Base64,
    /// Each ASCII letter moved by 13 places.
    Rot13,
    /// Digits for the letters a, e, i, o, s and t.
    Leetspeak,
    /// A space between letters and a slash between words.
    Spaced,
    /// The words in reverse order.
    Reversed,
}

impl Transform {
    /// `text`, transformed.
    #[must_use]
    pub fn apply(self, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Base64 => STANDARD.encode(text),
            Self::Rot13 => text.chars().map(rot13).collect(),
            Self::Leetspeak => text.chars().map(leet).collect(),
            Self::Spaced => text.split_whitespace().map(spaced).collect::<Vec<_>>().join(" / "),
            Self::Reversed => text.split_whitespace().rev().collect::<Vec<_>>().join(" "),
        }
    }
}

fn rot13(c: char) -> char {
    match c {
        'a'..='m' | 'A'..='M' => char::from(c as u8 + 13),
        'n'..='z' | 'N'..='Z' => char::from(c as u8 - 13),
        _ => c,
    }
}

fn leet(c: char) -> char {
    match c.to_ascii_lowercase() {
        'a' => '4',
        'e' => '3',
        'i' => '1',
        'o' => '0',
        's' => '5',
        't' => '7',
        _ => c,
    }
}

fn spaced(word: &str) -> String {
    word.chars().map(String::from).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_transform_writes_what_it_says() {
        let text = "Stop the Line, K\u{e4}the";
        for (transform, expected) in [
            (Transform::Plain, text),
            (Transform::Base64, "U3RvcCB0aGUgTGluZSwgS8OkdGhl"),
            (Transform::Rot13, "Fgbc gur Yvar, X\u{e4}gur"),
            (Transform::Leetspeak, "570p 7h3 L1n3, K\u{e4}7h3"),
            (Transform::Spaced, "S t o p / t h e / L i n e , / K \u{e4} t h e"),
            (Transform::Reversed, "K\u{e4}the Line, the Stop"),
        ] {
            assert_eq!(transform.apply(text), expected);
        }
        assert_eq!(Transform::Rot13.apply(&Transform::Rot13.apply(text)), text);
        assert_eq!(Transform::Spaced.apply(""), "");
    }
}
