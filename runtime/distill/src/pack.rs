//! Several token sequences as the rows of one matrix.
//!
//! No padding and no separator: rows of one sequence follow each other, and attention alone looks at whose they are.

use std::ops::Range;

/// Which rows belong together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pack {
    /// All tokens, sequence behind sequence.
    pub(crate) tokens: Vec<u32>,
    /// Each sequence's rows, in order and without gaps.
    pub(crate) sequences: Vec<Range<usize>>,
}

impl Pack {
    /// Adds a sequence and gives its first row.
    pub(crate) fn push(&mut self, tokens: &[u32]) -> usize {
        let first = self.tokens.len();
        self.tokens.extend(tokens);
        self.sequences.push(first..self.tokens.len());
        first
    }

    /// Rows of all sequences.
    pub(crate) fn n_rows(&self) -> usize {
        self.tokens.len()
    }

    /// Rows of the longest sequence.
    pub(crate) fn n_longest(&self) -> usize {
        self.sequences.iter().map(ExactSizeIterator::len).max().unwrap_or(0)
    }
}
