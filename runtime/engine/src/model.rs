//! What the engine asks of a model: text to tokens, tokens to logits, sequences that share their past.
//!
//! Not a sampler and not a judge. A model holds key-value memory for numbered sequences; the engine gives each
//! generation two of them, the main one and a probe that forks from it.

use thiserror::Error;

/// A token id of the model's vocabulary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub i32);

/// A sequence's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Seq(pub u32);

/// The one or two sequences that a token belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seqs {
    /// One sequence.
    One(Seq),
    /// Two sequences whose pasts are the same up to here.
    Two(Seq, Seq),
}

/// One token of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchToken {
    /// The token.
    pub token: Token,
    /// Its position in its sequences, from 0.
    pub pos: u32,
    /// Where it belongs.
    pub seqs: Seqs,
    /// Whether the logits behind it are wanted.
    pub logits: bool,
}

/// How text is cut into tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// The runtime's own text: chat markers become control tokens.
    Ours,
    /// Anybody else's: nothing becomes a control token.
    Outside,
}

/// A decode that failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The model's key-value memory has no room for the batch.
    #[error("the model's memory is full")]
    NoRoom,
    /// The batch cannot be decoded.
    #[error("decoding failed: {0}")]
    Failed(String),
}

/// A language model.
pub trait Model {
    /// Cuts `text` into tokens, appended to `out`; adds no begin or end marker.
    fn tokenize(&self, text: &str, trust: Trust, out: &mut Vec<Token>);

    /// Appends the bytes of `token` to `out`; control tokens have none.
    fn piece(&self, token: Token, out: &mut Vec<u8>);

    /// Whether `token` ends a turn or the text.
    fn is_end(&self, token: Token) -> bool;

    /// Whether `token` has a meaning beyond its text.
    fn is_control(&self, token: Token) -> bool;

    /// The token that begins every text, if the model wants one.
    fn begin(&self) -> Option<Token>;

    /// Tokens that all sequences may hold together.
    fn n_ctx(&self) -> u32;

    /// Most tokens of one batch.
    fn n_batch(&self) -> usize;

    /// Number of sequences.
    fn n_seq(&self) -> u32;

    /// Makes `to`, which must be empty, share the past of `from`.
    ///
    /// # Errors
    /// [`DecodeError::Failed`] when a sequence is out of range.
    fn fork(&mut self, from: Seq, to: Seq) -> Result<(), DecodeError>;

    /// Forgets what `seq` holds at `from` and behind.
    ///
    /// # Errors
    /// [`DecodeError::Failed`] when the model cannot forget a part of a sequence.
    fn trim(&mut self, seq: Seq, from: u32) -> Result<(), DecodeError>;

    /// Decodes `batch`. After an error, the sequences in it are in no known state and must be trimmed to 0.
    ///
    /// # Errors
    /// [`DecodeError`] says whether room was missing.
    fn decode(&mut self, batch: &[BatchToken]) -> Result<(), DecodeError>;

    /// The logits behind the `i`-th token of the last batch, one per token of the vocabulary; empty when they were
    /// not asked for.
    fn logits(&self, i: usize) -> &[f32];
}

/// The likeliest token that is not `barred`; none when a logit is not a number or nothing is left.
///
/// Ties go to the lowest id, so that a run can be repeated.
#[must_use]
pub fn argmax(logits: &[f32], barred: &[Token]) -> Option<Token> {
    // A running maximum over lanes first: the compiler turns it into vector code, and the search for its place is
    // one cheap scan more.
    let mut lanes = [f32::NEG_INFINITY; 16];
    let mut no_number = [false; 16];
    let mut chunks = logits.chunks_exact(16);
    for chunk in &mut chunks {
        for i in 0..16 {
            lanes[i] = if chunk[i] > lanes[i] { chunk[i] } else { lanes[i] };
            no_number[i] |= chunk[i].is_nan();
        }
    }
    let rest = chunks.remainder();
    let top = rest.iter().copied().chain(lanes).fold(f32::NEG_INFINITY, f32::max);
    if !top.is_finite() || no_number.contains(&true) || rest.iter().any(|x| x.is_nan()) {
        return None;
    }
    let place = logits.iter().position(|&x| x == top)?;
    let token = Token(i32::try_from(place).ok()?);
    if !barred.contains(&token) {
        return Some(token);
    }
    let mut best: Option<(Token, f32)> = None;
    for (id, &x) in (0i32..).zip(logits) {
        if x.is_finite() && !barred.contains(&Token(id)) && best.is_none_or(|(_, y)| x > y) {
            best = Some((Token(id), x));
        }
    }
    best.map(|(token, _)| token)
}

/// ln Σ exp(logit) over the vocabulary.
#[must_use]
pub fn log_total(logits: &[f32]) -> f32 {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    top + logits.iter().map(|&l| (l - top).exp()).sum::<f32>().ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn argmax_takes_the_first_of_equals_and_skips_the_barred() {
        let mut l = vec![0.0; 100];
        (l[17], l[40], l[99]) = (3.0, 3.0, 2.0);
        assert_eq!(argmax(&l, &[]), Some(Token(17)));
        assert_eq!(argmax(&l, &[Token(17)]), Some(Token(40)));
        assert_eq!(argmax(&l, &[Token(17), Token(40)]), Some(Token(99)));
    }

    #[test]
    fn logits_that_are_no_numbers_give_no_token() {
        assert_eq!(argmax(&[], &[]), None);
        assert_eq!(argmax(&[f32::NAN; 64], &[]), None);
        let mut one_bad = [0.0; 64];
        one_bad[21] = f32::NAN;
        assert_eq!(argmax(&one_bad, &[]), None);
        assert_eq!(argmax(&[0.0, f32::INFINITY], &[]), None);
        assert_eq!(argmax(&[1.0], &[Token(0)]), None);
    }

    #[test]
    fn log_total_is_the_log_of_the_sum() {
        assert!((log_total(&[1f32.ln(), 2f32.ln(), 3f32.ln()]) - 6f32.ln()).abs() < 1e-6);
    }
}
