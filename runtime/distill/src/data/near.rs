//! Which texts share most of their words: an exact answer without comparing all with all.
//!
//! Words are ordered from rare to common. Two sets with Jaccard of at least p have a word in common among the first
//! `n - ceil(p * n) + 1` of each, so only those are indexed and looked up ("prefix filtering"): rare words, with short
//! lists. Whole per cents and integers, so that no rounding decides. Invariant: [`Index::nearest`] finds what a
//! comparison with every text would find.

use super::words::words;
use std::collections::{BTreeSet, HashMap};

/// How often each word stands in a collection of texts.
#[derive(Debug, Default)]
pub(super) struct Vocabulary {
    /// A word's rank: 0 is the rarest.
    ranks: HashMap<String, u32>,
}

impl Vocabulary {
    pub(super) fn of<'a>(texts: impl Iterator<Item = &'a str>) -> Self {
        let mut counts: HashMap<String, u32> = HashMap::new();
        for text in texts {
            for word in words(text).collect::<BTreeSet<_>>() {
                *counts.entry(word).or_default() += 1;
            }
        }
        let mut by_rarity: Vec<(u32, String)> = counts.into_iter().map(|(w, n)| (n, w)).collect();
        by_rarity.sort_unstable();
        let ranks = by_rarity.into_iter().zip(0..).map(|((_, word), rank)| (word, rank)).collect();
        Self { ranks }
    }

    pub(super) fn set(&self, text: &str) -> WordSet {
        let distinct: BTreeSet<String> = words(text).collect();
        let n = distinct.len();
        let mut known: Vec<u32> = distinct.iter().filter_map(|w| self.ranks.get(w).copied()).collect();
        known.sort_unstable();
        WordSet { n_unknown: n - known.len(), known: known.into() }
    }
}

/// The distinct words of a text.
#[derive(Clone, Debug)]
pub(super) struct WordSet {
    /// Ranks of those in the vocabulary, rarest first.
    known: Box<[u32]>,
    /// The others: in no indexed text, so rarer than all.
    n_unknown: usize,
}

impl WordSet {
    fn len(&self) -> usize {
        self.known.len() + self.n_unknown
    }

    /// The known ones among the words that a near set must share one of.
    fn prefix(&self, percent: usize) -> &[u32] {
        let n = self.len();
        let n_prefix = (n + 1).saturating_sub((n * percent).div_ceil(100));
        let n_known = n_prefix.saturating_sub(self.n_unknown).min(self.known.len());
        &self.known[..n_known]
    }

    fn common(&self, other: &Self) -> usize {
        let (mut a, mut b, mut n) = (&self.known[..], &other.known[..], 0);
        while let (Some(x), Some(y)) = (a.first(), b.first()) {
            if x <= y {
                a = &a[1..];
            }
            if y <= x {
                b = &b[1..];
            }
            n += usize::from(x == y);
        }
        n
    }
}

/// Texts that can be asked for one near another.
#[derive(Debug)]
pub(super) struct Index {
    percent: usize,
    texts: Vec<WordSet>,
    with_word: HashMap<u32, Vec<usize>>,
}

impl Index {
    /// An empty index for pairs with at least `percent` per cent of their words in common.
    pub(super) fn new(percent: u32) -> Self {
        let percent = usize::try_from(percent.clamp(1, 100)).unwrap_or(100);
        Self { percent, texts: Vec::new(), with_word: HashMap::new() }
    }

    /// Adds a text; its number is how many were added before.
    pub(super) fn add(&mut self, set: WordSet) {
        for &word in set.prefix(self.percent) {
            self.with_word.entry(word).or_default().push(self.texts.len());
        }
        self.texts.push(set);
    }

    /// The text nearest to `set` (the first of several) for which `accept` holds, with the words in common and in all.
    pub(super) fn nearest(&self, set: &WordSet, accept: impl Fn(usize) -> bool) -> Option<Near> {
        let lists = set.prefix(self.percent).iter().filter_map(|word| self.with_word.get(word));
        let mut candidates: Vec<usize> = lists.flatten().copied().collect();
        candidates.sort_unstable();
        candidates.dedup();
        let mut best: Option<Near> = None;
        for text in candidates {
            let other = &self.texts[text];
            let (short, long) = (set.len().min(other.len()), set.len().max(other.len()));
            if short * 100 < long * self.percent || !accept(text) {
                continue;
            }
            let common = set.common(other);
            let all = set.len() + other.len() - common;
            let near = Near { text, common, all };
            let nearer = best.is_none_or(|b| common * b.all > b.common * all);
            if common * 100 >= all * self.percent && nearer {
                best = Some(near);
            }
        }
        best
    }
}

/// A near text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Near {
    /// Its number.
    pub(super) text: usize,
    common: usize,
    all: usize,
}

impl Near {
    pub(super) fn jaccard(self) -> f64 {
        self.common as f64 / self.all as f64
    }
}

#[cfg(test)]
mod tests {
    use super::super::words::jaccard;
    use super::*;
    use crate::augment::lot::Lot;

    /// Texts of few words, so that many are near each other.
    fn texts(seed: u64, n: usize) -> Vec<String> {
        let mut lot = Lot::of(seed, &[]);
        let mut text = || {
            let n = lot.below(14);
            let words: Vec<String> = (0..n).map(|_| format!("w{}", lot.below(16))).collect();
            words.join(" ")
        };
        (0..n).map(|_| text()).collect()
    }

    #[test]
    fn the_index_finds_what_comparing_all_with_all_finds() {
        for (seed, percent) in [(1, 65), (2, 80), (3, 100), (4, 50), (5, 1)] {
            let texts = texts(seed, 150);
            let others = super::tests::texts(seed + 100, 150);
            let vocabulary = Vocabulary::of(texts.iter().map(String::as_str));
            let mut index = Index::new(percent);
            for text in &texts {
                index.add(vocabulary.set(text));
            }
            for other in &others {
                let best = texts.iter().map(|t| jaccard(t, other)).fold(0.0, f64::max);
                let found = index.nearest(&vocabulary.set(other), |_| true).map(Near::jaccard);
                let wanted = (best * 100.0 + 1e-9 >= f64::from(percent)).then_some(best);
                assert_eq!(found, wanted, "{other:?} at {percent} %");
            }
        }
    }

    #[test]
    fn words_that_no_text_has_still_count() {
        let vocabulary = Vocabulary::of(["a b c d"].into_iter());
        let mut index = Index::new(80);
        index.add(vocabulary.set("a b c d"));
        assert_eq!(index.nearest(&vocabulary.set("a b c d e"), |_| true).map(Near::jaccard), Some(0.8));
        assert_eq!(index.nearest(&vocabulary.set("a b c d e f"), |_| true), None);
        assert_eq!(index.nearest(&vocabulary.set(""), |_| true), None);
        assert_eq!(index.nearest(&vocabulary.set("a b c d"), |_| false), None);
    }
}
