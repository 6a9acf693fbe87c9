//! The answer in a text: which number a reader would take for it, and texts without what does not count.

use regex_lite::Regex;
use std::sync::LazyLock;

/// Digits, thousands separators and a fraction. Written here and tested, so that it is always there.
static NUMBER: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\d[\d,]*(?:\.\d+)?").ok());

/// What announces an answer, stronger words first.
const ANNOUNCED: [&str; 4] = ["####", "answer is", "answer:", "\\boxed"];

/// The number that reads as the answer: the first behind the last announcement of one (`####`, "the answer is"), else
/// the last of the text.
pub(crate) fn last_number(text: &str) -> Option<String> {
    // ASCII only, so that offsets in one are offsets in the other.
    let small = text.to_ascii_lowercase();
    ANNOUNCED
        .iter()
        .filter_map(|words| small.rfind(words).map(|at| at + words.len()))
        .find_map(|from| numbers(&text[from..]).next())
        .or_else(|| numbers(text).last())
}

/// The numbers of a text, without separators and currency signs, with their sign.
fn numbers(text: &str) -> impl Iterator<Item = String> {
    let found = NUMBER.as_ref().into_iter().flat_map(move |number| number.find_iter(text));
    found.map(|m| {
        let before = text[..m.start()].trim_end_matches(['$', '€', '£']);
        let digits = m.as_str().replace(',', "");
        // A dash behind a digit or a letter is a minus between two numbers, or a hyphen.
        let negative = before.strip_suffix(['-', '\u{2212}']).is_some_and(|b| {
            let signed = b.trim_end_matches(['$', '€', '£']);
            !signed.ends_with(|c: char| c.is_alphanumeric() || c == ')')
        });
        if negative { format!("-{digits}") } else { digits }
    })
}

/// A text as a number, if it is one and nothing else.
pub(crate) fn number(text: &str) -> Option<f64> {
    let bare = plain(text);
    let digits = bare.strip_prefix('-').unwrap_or(&bare);
    // `parse` would take "inf" and "1e999" too.
    let fits = digits.starts_with(|c: char| c.is_ascii_digit())
        && digits.chars().all(|c| c.is_ascii_digit() || c == '.');
    bare.parse().ok().filter(|_| fits)
}

/// `text` without blanks around it, thousands separators, a currency sign before it and dots behind it.
pub(crate) fn plain(text: &str) -> String {
    let text = text.trim().trim_end_matches('.').trim_end();
    let (sign, rest) = match text.strip_prefix(['-', '\u{2212}']) {
        Some(rest) => ("-", rest),
        None => ("", text),
    };
    let rest = rest.trim_start_matches(['$', '€', '£']);
    let is_number = rest.starts_with(|c: char| c.is_ascii_digit())
        && rest.chars().all(|c| c.is_ascii_digit() || matches!(c, ',' | '.'));
    if is_number { format!("{sign}{}", rest.replace(',', "")) } else { text.to_owned() }
}

/// Small letters and digits, words parted by one space: what two texts have in common but for case and punctuation.
pub(crate) fn fold(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for word in words(text) {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(&word);
    }
    out
}

/// The words of a text in small letters. An apostrophe parts no word: "don't" and "dont" are the same.
pub(crate) fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric() && !matches!(c, '\'' | '\u{2019}')).filter_map(|word| {
        let word: String =
            word.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
        (!word.is_empty()).then_some(word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_announced_number_is_taken_before_the_last_one() {
        for (text, expected) in [
            ("3 boxes of 4 make 12.", Some("12")),
            ("The answer is 18. That follows from step 3.", Some("18")),
            ("9 + 9\n#### 1,234", Some("1234")),
            ("It costs $2,125.50, all told", Some("2125.50")),
            ("10-12 makes -2", Some("-2")),
            ("between 10-12", Some("12")),
            ("a loss of -$40", Some("-40")),
            ("The answer is not known; 7 remain", Some("7")),
            ("none", None),
            ("", None),
        ] {
            assert_eq!(last_number(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn only_plain_numbers_are_numbers() {
        assert_eq!(number(" 1,000. "), Some(1000.0));
        assert_eq!(number("-$3.5"), Some(-3.5));
        for no in ["", "inf", "NaN", "1e9", "3 apples", "1.2.3", "-", "."] {
            assert_eq!(number(no), None, "{no}");
        }
    }

    #[test]
    fn folding_leaves_words() {
        assert_eq!(fold("  Don\u{2019}t -- STOP, \u{c9}t\u{e9}!"), "dont stop \u{e9}t\u{e9}");
    }
}
