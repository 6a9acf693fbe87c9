//! Rotary position embedding: angles once per run, turning heads forth and back.
//!
//! Su et al., arXiv 2104.09864. Angle of position p and pair i: p s b^(-2i/n) / f_i, with llama.cpp's scale s, base b
//! and divisors f. A turn is orthogonal, so its backward pass is the turn back.

use crate::base::{Rope, RopeStyle};

/// Cosines and sines of all positions up to a length, for one base.
#[derive(Debug)]
pub(crate) struct Angles {
    style: RopeStyle,
    n_pairs: usize,
    /// Per position and pair, cosine and sine.
    turns: Vec<(f32, f32)>,
}

/// Which way to turn.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Forth,
    Back,
}

impl Angles {
    /// The angles of positions below `n`, in global layers or in local ones.
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "rounded on purpose")]
    pub(crate) fn new(rope: &Rope, n_rot: usize, is_local: bool, n: usize) -> Self {
        let n_pairs = n_rot / 2;
        // Local layers of gemma3 have their own base and no scale.
        let (base, scale) = if is_local { (rope.local_base, 1.0) } else { (rope.base, rope.scale) };
        let frequency: Vec<f64> = (0..n_pairs)
            .map(|i| {
                let divisor = rope.factors.as_ref().and_then(|f| f.get(i)).map_or(1.0, |f| f64::from(*f));
                f64::from(base).powf(-2.0 * i as f64 / n_rot as f64) * f64::from(scale) / divisor
            })
            .collect();
        let turns = (0..n)
            .flat_map(|p| frequency.iter().map(move |f| (p as f64 * f).sin_cos()))
            .map(|(sin, cos)| (cos as f32, sin as f32))
            .collect();
        Self { style: rope.style, n_pairs, turns }
    }

    /// Turns one head at a position below the length.
    #[inline]
    pub(crate) fn turn(&self, head: &mut [f32], position: usize, way: Way) {
        let turns = &self.turns[position * self.n_pairs..(position + 1) * self.n_pairs];
        let sign = if way == Way::Forth { 1.0 } else { -1.0 };
        let rotate = |a: &mut f32, b: &mut f32, (cos, sin): (f32, f32)| {
            let (x, y, sin) = (*a, *b, sin * sign);
            *a = x * cos - y * sin;
            *b = x * sin + y * cos;
        };
        match self.style {
            RopeStyle::Pairs => {
                for ([a, b], turn) in head.as_chunks_mut::<2>().0.iter_mut().zip(turns) {
                    rotate(a, b, *turn);
                }
            }
            RopeStyle::Halves => {
                let (first, second) = head.split_at_mut(self.n_pairs);
                for ((a, b), turn) in first.iter_mut().zip(second).zip(turns) {
                    rotate(a, b, *turn);
                }
            }
        }
    }
}
