//! Which items stand in a training set, word for word or nearly: their figures are told apart.

use super::answer::{fold, words};
use crate::item::Overlap;
use std::collections::{BTreeMap, HashMap, HashSet};

/// From this share of common words on (common over all, Jaccard), two texts are nearly the same.
const NEAR: f64 = 0.7;

/// How each of `texts` stands to `known`, in their order.
pub(super) fn overlaps<'a>(texts: impl Iterator<Item = &'a str>, known: &[String]) -> Vec<Overlap> {
    let exact: HashSet<String> = known.iter().map(|k| fold(k)).filter(|k| !k.is_empty()).collect();
    let sets: Vec<HashSet<String>> = known.iter().map(|k| words(k).collect()).collect();
    // Only texts with a word in common are compared: the square of two large suites would take minutes.
    let mut with_word: HashMap<&str, Vec<usize>> = HashMap::new();
    for (i, set) in sets.iter().enumerate() {
        for word in set {
            with_word.entry(word).or_default().push(i);
        }
    }
    let near = |text: &str| {
        let own: HashSet<String> = words(text).collect();
        let mut common: BTreeMap<usize, usize> = BTreeMap::new();
        for i in own.iter().filter_map(|w| with_word.get(w.as_str())).flatten() {
            *common.entry(*i).or_default() += 1;
        }
        common.iter().any(|(i, n)| {
            let all = own.len() + sets[*i].len() - n;
            *n as f64 >= NEAR * all as f64
        })
    };
    let one = |text: &str| match fold(text) {
        folded if exact.contains(&folded) => Overlap::Exact,
        _ if near(text) => Overlap::Near,
        _ => Overlap::None,
    };
    texts.map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_and_punctuation_do_not_count_and_seven_words_in_ten_are_near() {
        let known = ["Explain how to bake one plain loaf of brown bread".to_owned(), "!!!".to_owned()];
        let texts = [
            "explain how to bake: one plain loaf of BROWN bread!",
            // nine of ten words in common
            "Explain how to bake one plain loaf of bread",
            // seven in common, ten in all: exactly 0.7
            "Explain how to bake one plain loaf",
            // six in common, ten in all
            "Explain how to bake one plain",
            "",
            "???",
        ];
        let found = overlaps(texts.into_iter(), &known);
        use Overlap::{Exact, Near, None};
        assert_eq!(found, [Exact, Near, Near, None, None, None]);
        assert_eq!(overlaps(texts.into_iter(), &[]), [Overlap::None; 6]);
    }
}
