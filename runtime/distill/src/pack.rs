//! Several token sequences as the rows of one matrix.
//!
//! No padding and no separator, and what sequences share at their beginning stands there once: such sequences are a
//! [`Family`], the shared rows and then each one's own. Attention alone looks at whose rows are whose; to everything
//! else they are rows. Invariant: a row's state depends on its own sequence's rows only, so it is the same as if the
//! sequence stood alone.

use std::ops::Range;

/// Sequences that begin alike, in rows of the pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Family {
    /// What all of them begin with; often nothing.
    pub(crate) shared: Range<usize>,
    /// What each has behind that, in order and without gaps.
    pub(crate) own: Vec<Range<usize>>,
}

impl Family {
    /// All its rows.
    pub(crate) fn rows(&self) -> Range<usize> {
        self.shared.start..self.own.last().map_or(self.shared.end, |own| own.end)
    }

    /// Rows that stand behind one another in a sequence, each with the rows before them that they see.
    pub(crate) fn runs(&self) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
        let own = self.own.iter().map(|own| (self.shared.clone(), own.clone()));
        let shared = (self.shared.start..self.shared.start, self.shared.clone());
        std::iter::once(shared).chain(own).filter(|(_, run)| !run.is_empty())
    }
}

/// Which rows belong together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pack {
    /// All tokens, family behind family.
    pub(crate) tokens: Vec<u32>,
    /// Where each row stands in its sequence.
    pub(crate) positions: Vec<usize>,
    /// In order and without gaps.
    pub(crate) families: Vec<Family>,
}

impl Pack {
    /// Adds a sequence that shares nothing and gives its first row.
    pub(crate) fn push(&mut self, tokens: &[u32]) -> usize {
        let first = self.tokens.len();
        let own = self.extend(0, tokens);
        self.families.push(Family { shared: first..first, own: vec![own] });
        first
    }

    /// Adds sequences whose first `n_shared` tokens are the same, and gives each one's own rows.
    pub(crate) fn push_family(&mut self, n_shared: usize, sequences: &[&[u32]]) -> Vec<Range<usize>> {
        let Some(first) = sequences.first() else { return Vec::new() };
        debug_assert!(sequences.iter().all(|s| s[..n_shared] == first[..n_shared]));
        let shared = self.extend(0, &first[..n_shared]);
        let own: Vec<_> = sequences.iter().map(|s| self.extend(n_shared, &s[n_shared..])).collect();
        self.families.push(Family { shared, own: own.clone() });
        own
    }

    /// Adds rows, the first of them at `position` of its sequence.
    fn extend(&mut self, position: usize, tokens: &[u32]) -> Range<usize> {
        let first = self.tokens.len();
        self.tokens.extend(tokens);
        self.positions.extend(position..position + tokens.len());
        first..self.tokens.len()
    }

    /// Rows of all sequences.
    pub(crate) fn n_rows(&self) -> usize {
        self.tokens.len()
    }

    /// Tokens of the longest sequence.
    pub(crate) fn n_longest(&self) -> usize {
        self.positions.iter().max().map_or(0, |last| last + 1)
    }
}
