//! A training example: tokens, which of them are learnt, and where pivots diverge.
//!
//! No text: the caller tokenises. Positions count tokens from 0; what is learnt at position p is predicted from the
//! tokens before it, so no position is 0. Invariant: an example that passed [`Example::check`] names only positions and
//! tokens that exist, each position at most once.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::ops::Range;
use thiserror::Error;

/// Which part of the response a token belongs to; the paper's normalisation tells the two apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// Steps of reasoning with their pivots.
    Reasoning,
    /// The answer with its pivot.
    Answer,
}

/// Positions that are learnt, each with the same weight.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// The positions.
    pub positions: Range<u32>,
    /// The part they belong to.
    pub part: Part,
    /// What each of them weighs beside others; 1 is usual.
    pub weight: f32,
}

/// A position where the true pivot and the other one diverge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PivotAt {
    /// Where the first diverging token stands.
    pub position: u32,
    /// The true pivot's token there.
    pub plus: u32,
    /// The other pivot's token there.
    pub minus: u32,
}

/// A sequence to learn from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Example {
    /// Prompt and response.
    pub tokens: Vec<u32>,
    /// What is learnt by cross-entropy, in order, without overlap.
    pub spans: Vec<Span>,
    /// What is learnt by contrast, in order.
    pub pivots: Vec<PivotAt>,
}

/// Why an example cannot be used.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum ExampleError {
    /// A token is not in the vocabulary.
    #[error("token {token} at position {position} is not among the {n_vocab} of the model")]
    Token {
        /// The token.
        token: u32,
        /// Where it stands.
        position: usize,
        /// Tokens there are.
        n_vocab: usize,
    },
    /// Positions are out of order or do not exist.
    #[error("positions {positions:?} of {n_tokens} tokens cannot be learnt behind position {behind}")]
    Positions {
        /// The positions.
        positions: Range<u32>,
        /// Tokens of the example.
        n_tokens: usize,
        /// Where the positions before end.
        behind: u32,
    },
    /// A weight is no positive number.
    #[error("a weight of {weight}; hint: leave out what shall not be learnt")]
    Weight {
        /// The weight.
        weight: f32,
    },
    /// Nothing is learnt from it.
    #[error("it has {n_tokens} tokens and none of them is learnt")]
    Empty {
        /// Tokens of the example.
        n_tokens: usize,
    },
    /// It is too long.
    #[error("it has {n_tokens} tokens, where the model was trained to hold {n_ctx}")]
    Length {
        /// Tokens of the example.
        n_tokens: usize,
        /// Tokens that the model holds.
        n_ctx: usize,
    },
}

impl Example {
    /// Checks positions, tokens and weights.
    ///
    /// # Errors
    /// [`ExampleError`], the first that is found.
    pub fn check(&self, n_vocab: usize, n_ctx: usize) -> Result<(), ExampleError> {
        let n_tokens = self.tokens.len();
        if n_tokens > n_ctx {
            return Err(ExampleError::Length { n_tokens, n_ctx });
        }
        let pivots = self.pivots.iter().flat_map(|p| [(p.position, p.plus), (p.position, p.minus)]);
        let tokens = (0..).zip(self.tokens.iter().copied()).chain(pivots);
        for (position, token) in tokens {
            if token as usize >= n_vocab {
                return Err(ExampleError::Token { token, position: position as usize, n_vocab });
            }
        }
        let ordered = |behind: u32, positions: Range<u32>| {
            let sound = positions.start >= behind
                && positions.start < positions.end
                && positions.end as usize <= n_tokens;
            if sound {
                Ok(positions.end)
            } else {
                Err(ExampleError::Positions { positions, n_tokens, behind })
            }
        };
        self.spans.iter().try_fold(1, |behind, s| ordered(behind, s.positions.clone()))?;
        self.pivots
            .iter()
            .try_fold(1, |behind, p| ordered(behind, p.position..p.position.saturating_add(1)))?;
        if let Some(span) = self.spans.iter().find(|s| !(s.weight.is_finite() && s.weight > 0.0)) {
            return Err(ExampleError::Weight { weight: span.weight });
        }
        if self.spans.is_empty() && self.pivots.is_empty() {
            return Err(ExampleError::Empty { n_tokens });
        }
        Ok(())
    }
}

/// SHA-256 over all examples, in hexadecimal: what a checkpoint remembers its data by.
#[must_use]
pub fn digest(examples: &[Example]) -> String {
    let mut hash = Sha256::new();
    let mut number = |n: u32| hash.update(n.to_le_bytes());
    // Lengths stand before lists, so that no two lists of examples give the same bytes.
    for example in examples {
        number(u32::try_from(example.tokens.len()).unwrap_or(u32::MAX));
        example.tokens.iter().copied().for_each(&mut number);
        number(u32::try_from(example.spans.len()).unwrap_or(u32::MAX));
        for span in &example.spans {
            let part = match span.part {
                Part::Reasoning => 0,
                Part::Answer => 1,
            };
            let Range { start, end } = span.positions;
            [start, end, part, span.weight.to_bits()].into_iter().for_each(&mut number);
        }
        number(u32::try_from(example.pivots.len()).unwrap_or(u32::MAX));
        for pivot in &example.pivots {
            [pivot.position, pivot.plus, pivot.minus].into_iter().for_each(&mut number);
        }
    }
    crate::gguf::hex(&hash.finalize())
}
