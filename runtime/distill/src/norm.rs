//! RMS norm of rows, forward and backward.
//!
//! y = x r w with r = 1/√(mean x² + ε); Zhang & Sennrich, arXiv 1910.07467. The weight is frozen, so backward gives the
//! gradient of x alone: with g = dy w, dx = r (g - x r² mean(g x)).

use crate::number::{dot, dot3};
use rayon::prelude::*;

/// Rows that one task takes.
const N_ROWS: usize = 16;

#[expect(clippy::cast_precision_loss, reason = "widths are below 2^24")]
#[inline(always)]
fn factor(x: &[f32], eps: f32) -> f32 {
    1.0 / (dot(x, x) / x.len() as f32 + eps).sqrt()
}

/// One row.
#[inline(always)]
pub(crate) fn row(x: &[f32], weight: &[f32], eps: f32, y: &mut [f32]) {
    let r = factor(x, eps);
    for ((y, x), w) in y.iter_mut().zip(x).zip(weight) {
        *y = x * r * w;
    }
}

/// One row backward, in place: `d` holds dy and then dx.
#[expect(clippy::cast_precision_loss, reason = "widths are below 2^24")]
#[inline(always)]
pub(crate) fn row_back(x: &[f32], weight: &[f32], eps: f32, d: &mut [f32]) {
    let r = factor(x, eps);
    let along = dot3(d, weight, x) * r * r / x.len() as f32;
    for ((d, x), w) in d.iter_mut().zip(x).zip(weight) {
        *d = r * (*d * w - x * along);
    }
}

/// All rows of `x`, each as long as `weight`.
pub(crate) fn forward(x: &[f32], weight: &[f32], eps: f32, y: &mut [f32]) {
    let n = weight.len();
    y.par_chunks_mut(n * N_ROWS).zip(x.par_chunks(n * N_ROWS)).for_each(|(y, x)| {
        for (y, x) in y.chunks_exact_mut(n).zip(x.chunks_exact(n)) {
            row(x, weight, eps, y);
        }
    });
}

/// Adds to `sum` what comes back through the norm; `d` holds dy and then dx.
pub(crate) fn backward_into(x: &[f32], weight: &[f32], eps: f32, d: &mut [f32], sum: &mut [f32]) {
    let n = weight.len();
    let size = n * N_ROWS;
    sum.par_chunks_mut(size).zip(d.par_chunks_mut(size)).zip(x.par_chunks(size)).for_each(|((sum, d), x)| {
        let rows = sum.chunks_exact_mut(n).zip(d.chunks_exact_mut(n)).zip(x.chunks_exact(n));
        for ((sum, d), x) in rows {
            row_back(x, weight, eps, d);
            for (sum, d) in sum.iter_mut().zip(&*d) {
                *sum += d;
            }
        }
    });
}

/// Rows backward from `from` to `to`.
pub(crate) fn backward(x: &[f32], weight: &[f32], eps: f32, from: &[f32], to: &mut [f32]) {
    let n = weight.len();
    let size = n * N_ROWS;
    to.par_chunks_mut(size).zip(from.par_chunks(size)).zip(x.par_chunks(size)).for_each(|((to, from), x)| {
        to.copy_from_slice(from);
        for (to, x) in to.chunks_exact_mut(n).zip(x.chunks_exact(n)) {
            row_back(x, weight, eps, to);
        }
    });
}
