//! Which training prompts give test prompts away.
//!
//! Not a repair: what leaks is for the caller to drop. Invariant: a training prompt whose words are a test prompt's, in
//! order and alone or inside a longer text, is found whatever its case and punctuation.

use super::near::{Index, Near, Vocabulary};
use super::words::words;
use super::{LEAKS_PERCENT, fold};
use serde::Serialize;
use std::collections::HashMap;

/// Test prompts that must not be trained on.
#[derive(Clone, Copy, Debug)]
pub struct Suite<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its prompts.
    pub prompts: &'a [String],
}

/// How a training prompt stands to a test prompt.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
#[non_exhaustive]
pub enum Overlap {
    /// The same words in the same order.
    Exact,
    /// The one holds the other, word for word.
    Contained,
    /// [`LEAKS_PERCENT`] or more of its words.
    Near {
        /// Share of common words.
        jaccard: f64,
    },
}

/// A training prompt that gives a test prompt away.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Leak {
    /// Id of the training prompt.
    pub id: String,
    /// Name of the suite.
    pub suite: String,
    /// The test prompt's place in the suite, from 0.
    pub row: usize,
    /// How near.
    #[serde(flatten)]
    pub overlap: Overlap,
}

/// Shortest text, in words, that counts when it stands inside another: "tell me why" stands in many.
const MIN_CONTAINED: usize = 6;

/// The leaks from `prompts` (id and text) into `suites`, in the order of the prompts and suites; of each prompt and
/// suite, the worst.
#[must_use]
pub fn leaks<'a>(prompts: impl IntoIterator<Item = (&'a str, &'a str)>, suites: &[Suite<'_>]) -> Vec<Leak> {
    let prompts: Vec<(&str, &str)> = prompts.into_iter().collect();
    let mut out = Vec::new();
    for suite in suites {
        let mut found = leaks_into(&prompts, suite.prompts);
        out.extend(prompts.iter().enumerate().filter_map(|(i, (id, _))| {
            let (row, overlap) = found.remove(&i)?;
            Some((i, Leak { id: (*id).into(), suite: suite.name.into(), row, overlap }))
        }));
    }
    // Stable, so that the suites keep their order.
    out.sort_by_key(|(i, _)| *i);
    out.into_iter().map(|(_, leak)| leak).collect()
}

fn leaks_into(prompts: &[(&str, &str)], tests: &[String]) -> HashMap<usize, (usize, Overlap)> {
    let vocabulary = Vocabulary::of(tests.iter().map(String::as_str));
    let mut index = Index::new(LEAKS_PERCENT);
    let mut exact: HashMap<String, usize> = HashMap::new();
    for (row, test) in tests.iter().enumerate() {
        index.add(vocabulary.set(test));
        exact.entry(fold(test)).or_insert(row);
    }
    // A fold without words matches nothing.
    exact.remove("");
    let mut found: HashMap<usize, (usize, Overlap)> = HashMap::new();
    let trained = || prompts.iter().map(|(_, text)| *text);
    for (i, text) in trained().enumerate() {
        if let Some(&row) = exact.get(&fold(text)) {
            found.insert(i, (row, Overlap::Exact));
        } else if let Some(near) = index.nearest(&vocabulary.set(text), |_| true) {
            found.insert(i, (near.text, Overlap::Near { jaccard: Near::jaccard(near) }));
        }
    }
    let mut note = |i: usize, row: usize| {
        let kept = found.entry(i).or_insert((row, Overlap::Contained));
        if matches!(kept.1, Overlap::Near { .. }) {
            *kept = (row, Overlap::Contained);
        }
    };
    for (row, i) in contained(tests.iter().map(String::as_str), trained()) {
        note(i, row);
    }
    for (i, row) in contained(trained(), tests.iter().map(String::as_str)) {
        note(i, row);
    }
    found
}

/// Which of the `short` texts stand inside which of the `long` ones: their numbers, in the order of `long`.
fn contained<'a>(
    short: impl Iterator<Item = &'a str>,
    long: impl Iterator<Item = &'a str>,
) -> Vec<(usize, usize)> {
    let mut by_beginning: HashMap<Vec<String>, Vec<(usize, Vec<String>)>> = HashMap::new();
    for (i, text) in short.enumerate() {
        let mut beginning: Vec<String> = words(text).collect();
        if beginning.len() >= MIN_CONTAINED {
            let rest = beginning.split_off(MIN_CONTAINED);
            by_beginning.entry(beginning).or_default().push((i, rest));
        }
    }
    let mut out = Vec::new();
    for (i, text) in long.enumerate() {
        let words: Vec<String> = words(text).collect();
        for (at, window) in words.windows(MIN_CONTAINED).enumerate() {
            let rests = by_beginning.get(window).into_iter().flatten();
            out.extend(
                rests.filter(|(_, r)| words[at + MIN_CONTAINED..].starts_with(r)).map(|(s, _)| (*s, i)),
            );
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(train: &[&str], tests: &[&str]) -> Vec<(String, usize, Overlap)> {
        let tests: Vec<String> = tests.iter().map(|&t| t.into()).collect();
        let ids: Vec<String> = (0..train.len()).map(|i| i.to_string()).collect();
        let prompts = ids.iter().map(String::as_str).zip(train.iter().copied());
        let suites = [Suite { name: "s", prompts: &tests }];
        leaks(prompts, &suites).into_iter().map(|l| (l.id, l.row, l.overlap)).collect()
    }

    #[test]
    fn exact_near_and_contained_prompts_are_found() {
        let tests = ["How can I bake a small loaf of dark bread?", "Why is the sky so blue at noon in May"];
        assert_eq!(
            found(&["how can i bake a small loaf of dark bread"], &tests),
            [("0".into(), 0, Overlap::Exact)]
        );
        assert_eq!(
            found(&["Pretend you are a pirate. HOW can I bake a small loaf of dark bread?! Arr."], &tests),
            [("0".into(), 0, Overlap::Contained)]
        );
        assert_eq!(
            found(&["bake a small loaf of dark bread"], &tests),
            [("0".into(), 0, Overlap::Contained)]
        );
        assert_eq!(
            found(
                &["How do you bake one small loaf of dark bread", "Why is the night sky so blue in May"],
                &tests
            ),
            [("1".into(), 1, Overlap::Near { jaccard: 8.0 / 11.0 })]
        );
    }

    #[test]
    fn short_phrases_and_texts_without_words_give_nothing_away() {
        assert_eq!(
            found(
                &["?", "", "tell me why it is"],
                &["!!", "", "so tell me why it is and what follows from it"]
            ),
            []
        );
    }

    #[test]
    fn each_suite_is_looked_at_by_itself() {
        let (a, b) = (["one two three".to_owned()], ["one two three".to_owned()]);
        let suites = [Suite { name: "a", prompts: &a }, Suite { name: "b", prompts: &b }];
        let found = leaks([("x", "One two three"), ("y", "none")], &suites);
        let said: Vec<_> = found.iter().map(|l| (l.id.as_str(), l.suite.as_str())).collect();
        assert_eq!(said, [("x", "a"), ("x", "b")]);
    }
}
