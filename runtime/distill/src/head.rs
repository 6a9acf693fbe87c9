//! Final norm, head and losses of the rows that have one.
//!
//! SwaRD is cross-entropy, -ln softmax(z)[t]; CPO is -ln σ(z₊ - z₋) (Zhu et al., arXiv 2502.12970). Rows go through the
//! head in blocks, and the head's weights are read in chunks of the vocabulary, so that neither a matrix of all tokens by
//! the vocabulary nor the head as floats is ever held. Logits turn into their own gradient in place. Invariant: rows
//! without a loss cost nothing here.

use crate::base::Base;
use crate::ffi::{Into, View, ViewMut, multiply};
use crate::gguf::GgufError;
use crate::norm;
use crate::number::{exp_sum, max, sigmoid};
use crate::panels;
use rayon::prelude::*;
use std::ops::Range;

/// Bytes of logits that a block of rows may take.
const LOGITS_BYTES: usize = 32 << 20;
/// Numbers of the head's weights that are read at a time.
const CHUNK: usize = 2 << 20;

/// Two tokens to tell apart, and what that weighs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Contrast {
    pub(crate) plus: u32,
    pub(crate) minus: u32,
    pub(crate) weight: f32,
}

/// A row that has a loss; the tokens are those of the next position.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct LossRow {
    pub(crate) row: usize,
    /// The token that is right, and what cross-entropy weighs.
    pub(crate) target: Option<(u32, f32)>,
    pub(crate) contrast: Option<Contrast>,
}

/// Weighted sums of both losses.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Sums {
    pub(crate) swrd: f64,
    pub(crate) cpo: f64,
}

/// Memory that the head works in.
#[derive(Debug, Default)]
pub(crate) struct Room {
    normed: Vec<f32>,
    logits: Vec<f32>,
}

/// Most rows of a block.
fn most_rows(n_vocab: usize) -> usize {
    (LOGITS_BYTES / 4 / n_vocab.max(1)).max(8)
}

/// Rows of a block.
fn block_rows(n_vocab: usize, n_rows: usize) -> usize {
    let most = most_rows(n_vocab);
    // Blocks of one size, none of them nearly empty.
    n_rows.div_ceil(n_rows.div_ceil(most).max(1)).max(1)
}

/// Most bytes of logits for up to so many rows.
pub(crate) fn logits_bytes(n_vocab: usize, n_rows: usize) -> usize {
    n_rows.min(most_rows(n_vocab)) * n_vocab * 4
}

impl Room {
    /// Takes the memory for up to so many rows at once.
    pub(crate) fn reserve(&mut self, n_vocab: usize, n_rows: usize) {
        self.logits.resize(logits_bytes(n_vocab, n_rows) / 4, 0.0);
    }
}

/// Numbers of the head's weights that are held at a time.
pub(crate) fn chunk_len(base: &Base) -> usize {
    let hyper = base.hyper();
    (CHUNK / hyper.n_embd).next_multiple_of(panels::WIDTH).clamp(1, hyper.n_vocab) * hyper.n_embd
}

/// Logits of rows that have been normed.
fn logits(base: &Base, x: &[f32], weight: &mut Vec<f32>, out: &mut [f32]) -> Result<(), GgufError> {
    let (d, n_vocab) = (base.hyper().n_embd, base.hyper().n_vocab);
    let n = x.len() / d;
    for_chunks(base, weight, |tokens, weight| {
        let read = |rows: Range<usize>, out: &mut [f32]| {
            let rows = tokens.start + rows.start..tokens.start + rows.end;
            base.gguf().dequantise(&base.head, rows, out)
        };
        panels::lay(weight, d, read, |_, _| {})?;
        let out = ViewMut::strided(&mut out[tokens.start..], n, tokens.len(), n_vocab);
        panels::multiply(out, View::new(x, n, d), weight, &[tokens.len()]);
        Ok(())
    })
}

fn for_chunks(
    base: &Base,
    weight: &mut Vec<f32>,
    mut use_chunk: impl FnMut(Range<usize>, &mut [f32]) -> Result<(), GgufError>,
) -> Result<(), GgufError> {
    let (d, n_vocab) = (base.hyper().n_embd, base.hyper().n_vocab);
    let n = chunk_len(base) / d;
    for start in (0..n_vocab).step_by(n) {
        let tokens = start..(start + n).min(n_vocab);
        weight.resize(tokens.len() * d, 0.0);
        use_chunk(tokens, weight)?;
    }
    Ok(())
}

/// Both losses of a row of logits, which become their gradient.
fn losses(z: &mut [f32], row: &LossRow) -> (f64, f64) {
    let mut contrast = None;
    let mut cpo = 0.0;
    if let Some(Contrast { plus, minus, weight }) = row.contrast {
        let apart = z[plus as usize] - z[minus as usize];
        // -ln σ(a) = ln(1 + e^-a), in the form that does not overflow.
        cpo = f64::from(weight) * (f64::from(-apart).max(0.0) + (-f64::from(apart.abs())).exp().ln_1p());
        contrast = Some((plus, minus, weight * sigmoid(-apart)));
    }
    let swrd = match row.target {
        None => {
            z.fill(0.0);
            0.0
        }
        Some((target, weight)) => {
            let (top, right) = (max(z), z[target as usize]);
            let sum = exp_sum(z, top);
            let factor = weight / sum;
            z.iter_mut().for_each(|z| *z *= factor);
            z[target as usize] -= weight;
            f64::from(weight) * (f64::from(sum).ln() + f64::from(top) - f64::from(right))
        }
    };
    if let Some((plus, minus, push)) = contrast {
        z[plus as usize] -= push;
        z[minus as usize] += push;
    }
    (swrd, cpo)
}

/// The losses of `rows` from the last layer's output there, `x`, and, if asked for, the gradient of that output.
pub(crate) fn run(
    base: &Base,
    x: &[f32],
    rows: &[LossRow],
    mut gradient: Option<&mut [f32]>,
    room: &mut Room,
    weight: &mut Vec<f32>,
) -> Result<Sums, GgufError> {
    let (d, n_vocab, eps) = (base.hyper().n_embd, base.hyper().n_vocab, base.hyper().eps);
    debug_assert_eq!(x.len(), rows.len() * d);
    let mut sums = Sums::default();
    let n_block = block_rows(n_vocab, rows.len());
    for (i, (rows, x)) in rows.chunks(n_block).zip(x.chunks(n_block * d)).enumerate() {
        room.normed.resize(x.len(), 0.0);
        norm::forward(x, &base.output_norm, eps, &mut room.normed);
        room.logits.resize(rows.len() * n_vocab, 0.0);
        logits(base, &room.normed, weight, &mut room.logits)?;
        let both: Vec<(f64, f64)> =
            room.logits.par_chunks_mut(n_vocab).zip(rows).map(|(z, row)| losses(z, row)).collect();
        for (swrd, cpo) in both {
            sums.swrd += swrd;
            sums.cpo += cpo;
        }
        let Some(gradient) = &mut gradient else { continue };
        let d_x = &mut gradient[i * n_block * d..][..x.len()];
        d_x.fill(0.0);
        let logits = &room.logits;
        for_chunks(base, weight, |tokens, weight| {
            base.gguf().dequantise(&base.head, tokens.clone(), weight)?;
            let z = View::strided(&logits[tokens.start..], rows.len(), tokens.len(), n_vocab);
            let out = ViewMut::new(d_x, rows.len(), d);
            multiply(out, z, View::new(weight, tokens.len(), d), 1.0, Into::Sum);
            Ok(())
        })?;
        for (d_x, x) in d_x.chunks_exact_mut(d).zip(x.chunks_exact(d)) {
            norm::row_back(x, &base.output_norm, eps, d_x);
        }
    }
    Ok(sums)
}

/// Logits of the last layer's outputs `x`, all at once: for looking at a few, not for training.
pub(crate) fn logits_of(base: &Base, x: &[f32], weight: &mut Vec<f32>) -> Result<Vec<f32>, GgufError> {
    let (d, n_vocab) = (base.hyper().n_embd, base.hyper().n_vocab);
    let mut normed = vec![0.0; x.len()];
    norm::forward(x, &base.output_norm, base.hyper().eps, &mut normed);
    let mut out = vec![0.0; x.len() / d * n_vocab];
    logits(base, &normed, weight, &mut out)?;
    Ok(out)
}
