//! The words of a text, as far as comparing texts goes.
//!
//! Invariant: case, punctuation and white space do not count.

use std::collections::BTreeSet;

/// The words of `text`: runs of letters and digits in lower case.
pub(crate) fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).map(str::to_lowercase)
}

/// `text` with only its words left, one blank between them: two texts with the same fold are the same.
#[must_use]
pub fn fold(text: &str) -> String {
    let words: Vec<String> = words(text).collect();
    words.join(" ")
}

/// The share of words that `a` and `b` have in common, of all their words: 0 to 1, and 0 for two texts without words.
#[must_use]
pub fn jaccard(a: &str, b: &str) -> f64 {
    let (a, b): (BTreeSet<String>, BTreeSet<String>) = (words(a).collect(), words(b).collect());
    let common = a.intersection(&b).count();
    let all = a.len() + b.len() - common;
    if all == 0 { 0.0 } else { common as f64 / all as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_words_count() {
        assert_eq!(fold("  How, do I\tRESET\u{200b}it? "), "how do i reset it");
        assert_eq!(fold("?!"), "");
        assert_eq!(fold("Größe Ünder 5 µm"), "größe ünder 5 µm");
    }

    #[test]
    fn jaccard_is_common_over_all() {
        assert_eq!(jaccard("a b c", "C b d"), 0.5);
        assert_eq!(jaccard("", "?"), 0.0);
        assert_eq!(jaccard("a a a", "a"), 1.0);
    }
}
