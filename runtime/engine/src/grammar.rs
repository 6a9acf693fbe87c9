//! The tokens of the marks that only the runtime may place: pivots and the borders of reasoning.
//!
//! Looked up when a model is loaded, because a pivot is a string whose tokens differ from model to model. A
//! trajectory reads `<think>\n`, then `{text} [PIVOT]\n` per step, then `</think>\n{answer}`. Invariant: the three
//! pivots share their opening and differ in the token right behind it, so that one position tells them apart.

use crate::model::{Model, Token, Trust};
use r2d_core::pivot::Pivot;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The three pivots as text, with the space that stands before them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PivotStrings {
    /// Closes a harmless step.
    pub safe: String,
    /// Closes a harmful step.
    #[serde(rename = "unsafe")]
    pub unsafe_: String,
    /// Asks for a second look.
    pub rethink: String,
}

impl Default for PivotStrings {
    fn default() -> Self {
        let [safe, unsafe_, rethink] = Pivot::ALL.map(|p| format!(" {p}"));
        Self { safe, unsafe_, rethink }
    }
}

/// The model's vocabulary cannot carry the pivots.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "the pivots {pivots:?} do not differ at one position in this model's vocabulary (their tokens: {tokens:?}); \
     hint: give other pivot strings in the model's manifest, under [pivots]"
)]
pub struct PivotsDoNotDiverge {
    /// The strings.
    pub pivots: Box<[String]>,
    /// Their tokens.
    pub tokens: Box<[Vec<i32>]>,
}

/// Tokens of the runtime's own marks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grammar {
    /// What every pivot begins with; at least one token.
    pub opening: Vec<Token>,
    /// The token that tells the pivots apart, in the order of [`Pivot::ALL`].
    pub first: [Token; 3],
    /// From the first telling token to the end of the line.
    closing: [Vec<Token>; 3],
    /// `<think>\n`
    pub think: Vec<Token>,
    /// `</think>\n`
    pub end_think: Vec<Token>,
}

impl Grammar {
    /// Looks the marks up in the vocabulary of `model`.
    ///
    /// # Errors
    /// [`PivotsDoNotDiverge`] when no single position tells the three pivots apart.
    pub fn look_up(model: &(impl Model + ?Sized), pivots: &PivotStrings) -> Result<Self, PivotsDoNotDiverge> {
        let tokens = |text: &str| {
            let mut out = Vec::new();
            model.tokenize(text, Trust::Ours, &mut out);
            out
        };
        let strings = [&pivots.safe, &pivots.unsafe_, &pivots.rethink];
        let lines = strings.map(|s| tokens(&format!("{s}\n")));
        let shared =
            (0..).take_while(|&i| lines.iter().all(|l| l.get(i).is_some_and(|t| lines[0].get(i) == Some(t))));
        let n = shared.count();
        let first = lines.each_ref().map(|l| l.get(n).copied());
        match first {
            [Some(a), Some(b), Some(c)] if n > 0 && a != b && b != c && a != c => Ok(Self {
                opening: lines[0][..n].to_vec(),
                first: [a, b, c],
                closing: lines.map(|l| l[n..].to_vec()),
                think: tokens("<think>\n"),
                end_think: tokens("</think>\n"),
            }),
            _ => Err(PivotsDoNotDiverge {
                pivots: strings.into_iter().cloned().collect(),
                tokens: lines.iter().map(|l| l.iter().map(|t| t.0).collect()).collect(),
            }),
        }
    }

    /// What follows the opening when `pivot` is written, the line's end included.
    #[must_use]
    pub fn closing(&self, pivot: Pivot) -> &[Token] {
        &self.closing[pivot as usize]
    }
}
