//! Whether the model decodes as fast as it did: what a person at a slow board is told.
//!
//! Not a deadline and not a figure for anybody: one line in the journal. llama.cpp's threads wait for one another by
//! spinning, so another program on one of their cores makes every token many times slower, and nothing else tells.

use r2d_core::record::Cost;
use std::time::{Duration, Instant};

/// How many times slower than the best is worth a line: requests side by side, or a hot CPU, do not come to that.
const SLOWER: f64 = 20.0;
/// Requests with fewer tokens say nothing of speed.
const LEAST_TOKENS: u32 = 16;
/// Time between two lines.
const PAUSE: Duration = Duration::from_secs(600);

/// The best speed so far.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Tokens per second.
    best: f64,
    told: Option<Instant>,
}

impl Pace {
    /// Takes a request's cost; says how many times slower it was, when a person should hear of it.
    pub(super) fn note(&mut self, cost: &Cost, now: Instant) -> Option<f64> {
        let n_tokens = cost.n_prompt_tokens.saturating_add(cost.n_tokens);
        if n_tokens < LEAST_TOKENS || cost.verdict_ms == 0 {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of one request")]
        let speed = f64::from(n_tokens) * 1000.0 / cost.verdict_ms as f64;
        self.best = self.best.max(speed);
        let slower = self.best / speed;
        let rested = self.told.is_none_or(|told| now.saturating_duration_since(told) >= PAUSE);
        if slower < SLOWER || !rested {
            return None;
        }
        self.told = Some(now);
        Some(slower)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_much_slower_than_the_best_is_told_now_and_then() {
        let cost = |n_tokens, verdict_ms| Cost { n_tokens, verdict_ms, ..Cost::default() };
        let (mut pace, began) = (Pace::default(), Instant::now());
        assert_eq!(pace.note(&cost(100, 60_000), began), None, "there is nothing to compare it with");
        assert_eq!(pace.note(&cost(100, 1000), began), None);
        assert_eq!(pace.note(&cost(100, 19_000), began), None);
        assert_eq!(pace.note(&cost(8, 60_000), began), None, "too few tokens");
        assert_eq!(pace.note(&cost(100, 40_000), began), Some(40.0));
        assert_eq!(pace.note(&cost(100, 40_000), began + PAUSE / 2), None);
        assert_eq!(pace.note(&cost(100, 50_000), began + PAUSE), Some(50.0));
    }
}
