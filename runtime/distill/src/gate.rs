//! The gated activation of the feed-forward part: m = act(gate) up, forward and backward.
//!
//! SiLU: x σ(x). GELU in the tanh form that llama.cpp computes: x/2 (1 + tanh(√(2/π) (x + 0.044715 x³))); Hendrycks &
//! Gimpel, arXiv 1606.08415. Rows hold gate and up one behind the other.

use crate::base::Activation;
use crate::number::{LANES, sigmoid, tanh};
use rayon::prelude::*;

/// Rows that one task takes.
const N_ROWS: usize = 8;
/// √(2/π)
const ROOT: f32 = 0.797_884_6;
const CUBE: f32 = 0.044_715;

/// act(x) and its derivative.
#[inline(always)]
fn silu(x: f32) -> (f32, f32) {
    let s = sigmoid(x);
    (x * s, s * (1.0 + x * (1.0 - s)))
}

#[inline(always)]
fn gelu(x: f32) -> (f32, f32) {
    let t = tanh(ROOT * x * (1.0 + CUBE * x * x));
    let inner = ROOT * (1.0 + 3.0 * CUBE * x * x);
    (0.5 * x * (1.0 + t), 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * inner)
}

#[inline(always)]
fn rows(gate_up: &[f32], n_ff: usize, m: &mut [f32], act: impl Fn(f32) -> (f32, f32) + Sync) {
    m.par_chunks_mut(n_ff * N_ROWS).zip(gate_up.par_chunks(2 * n_ff * N_ROWS)).for_each(|(m, gate_up)| {
        for (m, gate_up) in m.chunks_exact_mut(n_ff).zip(gate_up.chunks_exact(2 * n_ff)) {
            let (gate, up) = gate_up.split_at(n_ff);
            for ((m, g), u) in m.iter_mut().zip(gate).zip(up) {
                *m = act(*g).0 * u;
            }
        }
    });
}

/// `m` of `gate_up`.
pub(crate) fn forward(activation: Activation, gate_up: &[f32], n_ff: usize, m: &mut [f32]) {
    match activation {
        Activation::Silu => rows(gate_up, n_ff, m, silu),
        Activation::Gelu => rows(gate_up, n_ff, m, gelu),
    }
}

#[inline(always)]
fn rows_back(
    gate_up: &[f32],
    n_ff: usize,
    dm: &[f32],
    d_gate_up: &mut [f32],
    act: impl Fn(f32) -> (f32, f32) + Sync,
) {
    let size = 2 * n_ff * N_ROWS;
    let all = d_gate_up.par_chunks_mut(size).zip(gate_up.par_chunks(size)).zip(dm.par_chunks(n_ff * N_ROWS));
    all.for_each(|((d, gate_up), dm)| {
        let rows =
            d.chunks_exact_mut(2 * n_ff).zip(gate_up.chunks_exact(2 * n_ff)).zip(dm.chunks_exact(n_ff));
        for ((d, gate_up), dm) in rows {
            let (gate, up) = gate_up.split_at(n_ff);
            let (d_gate, d_up) = d.split_at_mut(n_ff);
            row_back(gate, up, dm, d_gate, d_up, &act);
        }
    });
}

/// One row backward: by arrays, as the compiler leaves a loop over five slices in single numbers.
#[inline(always)]
fn row_back(
    gate: &[f32],
    up: &[f32],
    dm: &[f32],
    d_gate: &mut [f32],
    d_up: &mut [f32],
    act: &impl Fn(f32) -> (f32, f32),
) {
    let (gates, gate_rest) = gate.as_chunks::<LANES>();
    let (ups, up_rest) = up.as_chunks::<LANES>();
    let (dms, dm_rest) = dm.as_chunks::<LANES>();
    let (d_gates, d_gate_rest) = d_gate.as_chunks_mut::<LANES>();
    let (d_ups, d_up_rest) = d_up.as_chunks_mut::<LANES>();
    let one = |g: f32, u: f32, dm: f32| {
        let (value, slope) = act(g);
        (dm * u * slope, dm * value)
    };
    for ((d_gate, d_up), ((gate, up), dm)) in
        d_gates.iter_mut().zip(d_ups).zip(gates.iter().zip(ups).zip(dms))
    {
        let (mut gate_out, mut up_out) = ([0.0; LANES], [0.0; LANES]);
        for i in 0..LANES {
            (gate_out[i], up_out[i]) = one(gate[i], up[i], dm[i]);
        }
        (*d_gate, *d_up) = (gate_out, up_out);
    }
    let inputs = gate_rest.iter().zip(up_rest).zip(dm_rest);
    for ((d_gate, d_up), ((g, u), dm)) in d_gate_rest.iter_mut().zip(d_up_rest).zip(inputs) {
        (*d_gate, *d_up) = one(*g, *u, *dm);
    }
}

/// Gradients of gate and up from that of `m`.
pub(crate) fn backward(
    activation: Activation,
    gate_up: &[f32],
    n_ff: usize,
    dm: &[f32],
    d_gate_up: &mut [f32],
) {
    match activation {
        Activation::Silu => rows_back(gate_up, n_ff, dm, d_gate_up, silu),
        Activation::Gelu => rows_back(gate_up, n_ff, dm, d_gate_up, gelu),
    }
}
