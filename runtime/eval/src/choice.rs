//! Multiple choice without generating: how likely a model finds each continuation of a prompt.
//!
//! The score of a choice is Σ ln p(token | prompt, tokens before), over the choice's own tokens; prompt and choice are
//! tokenised by themselves and no chat template is put around them. EleutherAI's lm-evaluation-harness tokenises both
//! together and cuts; the two differ only where a token would reach over the border. Not here: which score wins (`metric`). Invariant: the model's memory is empty before and after.

use crate::row::Score;
use r2d_engine::model::{BatchToken, DecodeError, Model, Seq, Seqs, Token, Trust, log_total};
use thiserror::Error;

/// Holds the prompt.
const PROMPT: Seq = Seq(0);
/// Forks from it for one choice after another.
const CHOICE: Seq = Seq(1);

/// Why choices cannot be scored.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ScoreError {
    /// The prompt has no tokens to continue.
    #[error("the prompt is empty")]
    EmptyPrompt,
    /// A choice has no tokens of its own.
    #[error("choice {0} (from 0) is empty")]
    EmptyChoice(usize),
    /// Prompt and choice do not fit the context.
    #[error("prompt and choice have {n} tokens and the context {n_ctx}; hint: raise model.n_ctx")]
    TooLong {
        /// Tokens of both.
        n: usize,
        /// Tokens that the context holds.
        n_ctx: u32,
    },
    /// A logit is not a finite number.
    #[error("the logits behind choice {0} (from 0) are no numbers")]
    Unreadable(usize),
    /// The model failed.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

/// Scores each of `choices` as a continuation of `prompt`, which is decoded once for all of them.
///
/// # Errors
/// [`ScoreError`]; nothing is left in the model's memory then either.
pub fn score<M: Model>(model: &mut M, prompt: &str, choices: &[String]) -> Result<Vec<Score>, ScoreError> {
    let scored = score_all(model, prompt, choices);
    for seq in [CHOICE, PROMPT] {
        model.trim(seq, 0)?;
    }
    scored
}

fn score_all<M: Model>(model: &mut M, prompt: &str, choices: &[String]) -> Result<Vec<Score>, ScoreError> {
    let mut tokens: Vec<Token> = model.begin().into_iter().collect();
    model.tokenize(prompt, Trust::Outside, &mut tokens);
    let cut: Vec<Vec<Token>> = choices
        .iter()
        .map(|choice| {
            let mut out = Vec::new();
            model.tokenize(choice, Trust::Outside, &mut out);
            out
        })
        .collect();
    if tokens.is_empty() {
        return Err(ScoreError::EmptyPrompt);
    }
    if let Some(empty) = cut.iter().position(Vec::is_empty) {
        return Err(ScoreError::EmptyChoice(empty));
    }
    let n = tokens.len() + cut.iter().map(Vec::len).max().unwrap_or(0);
    let n_ctx = model.n_ctx();
    if u32::try_from(n).map_or(true, |n| n > n_ctx) {
        return Err(ScoreError::TooLong { n, n_ctx });
    }

    // The first token of every choice is read behind the prompt's last one.
    let mut first = Vec::with_capacity(choices.len());
    decode(model, PROMPT, &tokens, 0, false, |_, logits| {
        first = cut.iter().map(|choice| log_probability(logits, choice[0])).collect();
        Ok(())
    })?;
    let mut scores = Vec::with_capacity(choices.len());
    for (index, (choice, text)) in cut.iter().zip(choices).enumerate() {
        let unreadable = ScoreError::Unreadable(index);
        let mut log_prob = first.get(index).copied().flatten().ok_or_else(|| unreadable.clone())?;
        if choice.len() > 1 {
            model.fork(PROMPT, CHOICE)?;
            decode(model, CHOICE, &choice[..choice.len() - 1], tokens.len(), true, |i, logits| {
                log_prob += log_probability(logits, choice[i + 1]).ok_or_else(|| unreadable.clone())?;
                Ok(())
            })?;
            model.trim(CHOICE, 0)?;
        }
        scores.push(Score {
            log_prob,
            n_bytes: u32::try_from(text.trim_start().len()).unwrap_or(u32::MAX),
            n_tokens: u32::try_from(choice.len()).unwrap_or(u32::MAX),
        });
    }
    Ok(scores)
}

/// Decodes `tokens` on `seq` from position `start`; `read` gets the logits behind each of them, or behind the last
/// one only, with its index.
fn decode<M: Model>(
    model: &mut M,
    seq: Seq,
    tokens: &[Token],
    start: usize,
    each: bool,
    mut read: impl FnMut(usize, &[f32]) -> Result<(), ScoreError>,
) -> Result<(), ScoreError> {
    let n_batch = model.n_batch().max(1);
    let mut done = 0;
    for part in tokens.chunks(n_batch) {
        let batch: Vec<BatchToken> = part
            .iter()
            .enumerate()
            .map(|(i, &token)| BatchToken {
                token,
                pos: u32::try_from(start + done + i).unwrap_or(u32::MAX),
                seqs: Seqs::One(seq),
                logits: each || done + i + 1 == tokens.len(),
            })
            .collect();
        model.decode(&batch)?;
        for (i, _) in batch.iter().enumerate().filter(|(_, b)| b.logits) {
            read(done + i, model.logits(i))?;
        }
        done += part.len();
    }
    Ok(())
}

/// ln p of `token`; none when a logit is not a number.
fn log_probability(logits: &[f32], token: Token) -> Option<f64> {
    let own = usize::try_from(token.0).ok().and_then(|i| logits.get(i)).copied()?;
    let log_prob = f64::from(own - log_total(logits));
    log_prob.is_finite().then_some(log_prob)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A model over bytes whose logits depend on the token before and on nothing else: each next byte is twice as
    /// likely as the byte one above it, counted from the byte before.
    struct Ladder {
        rows: Vec<Vec<f32>>,
        n_seqs: [u32; 2],
        n_ctx: u32,
    }

    impl Ladder {
        fn new() -> Self {
            Self { rows: Vec::new(), n_seqs: [0; 2], n_ctx: 64 }
        }
    }

    fn row(before: i32) -> Vec<f32> {
        (0..256).map(|t| -((t - before).rem_euclid(256) as f32) * std::f32::consts::LN_2).collect()
    }

    impl Model for Ladder {
        fn tokenize(&self, text: &str, _: Trust, out: &mut Vec<Token>) {
            out.extend(text.bytes().map(|b| Token(i32::from(b))));
        }
        fn piece(&self, _: Token, _: &mut Vec<u8>) {}
        fn is_end(&self, _: Token) -> bool {
            false
        }
        fn is_control(&self, _: Token) -> bool {
            false
        }
        fn begin(&self) -> Option<Token> {
            None
        }
        fn n_ctx(&self) -> u32 {
            self.n_ctx
        }
        fn n_batch(&self) -> usize {
            3
        }
        fn n_seq(&self) -> u32 {
            2
        }
        fn fork(&mut self, from: Seq, to: Seq) -> Result<(), DecodeError> {
            self.n_seqs[to.0 as usize] = self.n_seqs[from.0 as usize];
            Ok(())
        }
        fn trim(&mut self, seq: Seq, from: u32) -> Result<(), DecodeError> {
            self.n_seqs[seq.0 as usize] = from;
            Ok(())
        }
        fn decode(&mut self, batch: &[BatchToken]) -> Result<(), DecodeError> {
            self.rows.clear();
            for b in batch {
                let Seqs::One(Seq(seq)) = b.seqs else { panic!("{b:?}") };
                assert_eq!(b.pos, self.n_seqs[seq as usize], "a position is left out or used twice");
                self.n_seqs[seq as usize] += 1;
                self.rows.push(if b.logits { row(b.token.0) } else { Vec::new() });
            }
            Ok(())
        }
        fn logits(&self, i: usize) -> &[f32] {
            &self.rows[i]
        }
    }

    #[test]
    fn a_choice_scores_the_sum_of_its_tokens_log_probabilities() {
        let mut model = Ladder::new();
        let choices = [" b".to_owned(), "e".to_owned(), "abcdefgh".to_owned()];
        let scores = score(&mut model, "abcd", &choices).unwrap();
        // Row sums are 2 - 2^-255, so ln p = -(distance + 1) ln 2.
        let expected = |text: &str| {
            let mut before = b'd';
            let mut sum = 0.0;
            for b in text.bytes() {
                let distance = (i32::from(b) - i32::from(before)).rem_euclid(256);
                sum -= f64::from(distance + 1) * std::f64::consts::LN_2;
                before = b;
            }
            sum
        };
        for (score, text) in scores.iter().zip(&choices) {
            assert!((score.log_prob - expected(text)).abs() < 1e-3, "{text}: {score:?}");
            assert_eq!(score.n_tokens as usize, text.len());
        }
        assert_eq!(scores[0].n_bytes, 1);
        assert_eq!(model.n_seqs, [0, 0]);
    }

    #[test]
    fn what_cannot_be_scored_is_said_and_leaves_the_memory_empty() {
        let mut model = Ladder::new();
        assert_eq!(score(&mut model, "", &["a".into()]), Err(ScoreError::EmptyPrompt));
        assert_eq!(score(&mut model, "a", &["b".into(), String::new()]), Err(ScoreError::EmptyChoice(1)));
        let long = score(&mut model, &"a".repeat(64), &["b".into()]);
        assert_eq!(long, Err(ScoreError::TooLong { n: 65, n_ctx: 64 }));
        assert_eq!(model.n_seqs, [0, 0]);
    }
}
