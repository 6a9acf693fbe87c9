//! One layer, forward and backward.
//!
//! Between the two a layer keeps its input and, where memory allows, what its matrices gave ([`Inner`]); without the
//! latter the layer runs again before it goes backward. Everything else (norms, RoPE, scores, gates) is cheap beside the
//! matrices and made again. Invariant: a layer that runs again gives the same bits.

use crate::attention::{self, Attention};
use crate::base::Hyper;
use crate::gguf::GgufError;
use crate::linear::{self, Linear};
use crate::lora::Group;
use crate::pack::Pack;
use crate::rope::Angles;
use crate::{gate, norm};
use rayon::prelude::*;

/// What the matrices of a layer gave.
#[derive(Debug)]
pub(crate) struct Inner<'a> {
    qkv: &'a mut [f32],
    /// Between attention and the feed-forward part.
    middle: &'a mut [f32],
    gate_up: &'a mut [f32],
    /// What attention and the feed-forward part gave before their norms; empty for models that have none there.
    attention: &'a mut [f32],
    ffn: &'a mut [f32],
}

impl<'a> Inner<'a> {
    fn widths(hyper: &Hyper) -> [usize; 5] {
        let norm = if hyper.has_post_norms { hyper.n_embd } else { 0 };
        [hyper.n_qkv(), hyper.n_embd, 2 * hyper.n_ff, norm, norm]
    }

    /// Numbers per row.
    pub(crate) fn n_per_row(hyper: &Hyper) -> usize {
        Self::widths(hyper).iter().sum()
    }

    /// In memory for [`Self::n_per_row`] numbers of each row; `n_behind` rows go on behind attention.
    pub(crate) fn new(hyper: &Hyper, n_rows: usize, n_behind: usize, mut memory: &'a mut [f32]) -> Self {
        let mut take = |n: usize| {
            let (part, rest) = std::mem::take(&mut memory).split_at_mut(n);
            memory = rest;
            part
        };
        let [qkv, behind @ ..] = Self::widths(hyper);
        let qkv = take(n_rows * qkv);
        let [middle, gate_up, attention, ffn] = behind.map(|width| take(n_behind * width));
        Self { qkv, middle, gate_up, attention, ffn }
    }
}

/// Memory that layers work in, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Room {
    pub(crate) linear: linear::Room,
    attention: attention::Room,
    /// As wide as the model.
    h: Vec<f32>,
    d_h: Vec<f32>,
    /// As wide as all query heads.
    heads: Vec<f32>,
    d_heads: Vec<f32>,
    d_qkv: Vec<f32>,
    /// As wide as the feed-forward part.
    m: Vec<f32>,
    d_m: Vec<f32>,
    d_gate_up: Vec<f32>,
}

impl Room {
    pub(crate) fn resize(&mut self, hyper: &Hyper, n_rows: usize, backward: bool) {
        self.h.resize(n_rows * hyper.n_embd, 0.0);
        self.heads.resize(n_rows * hyper.n_q(), 0.0);
        self.m.resize(n_rows * hyper.n_ff, 0.0);
        self.attention.resize(hyper, n_rows, backward);
        if backward {
            self.d_h.resize(n_rows * hyper.n_embd, 0.0);
            self.d_heads.resize(n_rows * hyper.n_q(), 0.0);
            self.d_qkv.resize(n_rows * hyper.n_qkv(), 0.0);
            self.d_m.resize(n_rows * hyper.n_ff, 0.0);
            self.d_gate_up.resize(n_rows * 2 * hyper.n_ff, 0.0);
        }
    }

    /// Numbers per row that training takes.
    pub(crate) fn n_per_row(hyper: &Hyper) -> usize {
        2 * hyper.n_embd
            + 2 * hyper.n_q()
            + hyper.n_qkv()
            + 4 * hyper.n_ff
            + attention::Room::n_per_row(hyper)
    }
}

/// A layer, for one batch.
pub(crate) struct Layer<'a> {
    pub(crate) linear: Linear<'a>,
    pub(crate) pack: &'a Pack,
    pub(crate) angles: &'a Angles,
    pub(crate) i: usize,
    /// The rows that anybody wants the output of, in rising order; all of them if none. Every row is a key and a value
    /// for others, but only these go on behind attention.
    pub(crate) kept: Option<&'a [usize]>,
}

/// Rows `kept` of `x` to its front.
fn compact(x: &mut [f32], width: usize, kept: Option<&[usize]>) {
    for (i, row) in kept.into_iter().flatten().enumerate() {
        x.copy_within(row * width..(row + 1) * width, i * width);
    }
}

/// Rows at the front of `x` back to where they belong, zeros to the others.
fn expand(x: &mut [f32], width: usize, kept: Option<&[usize]>) {
    let Some(kept) = kept else { return };
    let mut end = x.len();
    // From the last one on: a row goes to its own place or further back, so those in front of it are still there.
    for (i, row) in kept.iter().enumerate().rev() {
        x.copy_within(i * width..(i + 1) * width, row * width);
        x[(row + 1) * width..end].fill(0.0);
        end = row * width;
    }
    x[..end].fill(0.0);
}

fn add(sum: &mut [f32], x: &[f32]) {
    sum.par_chunks_mut(8192).zip(x.par_chunks(8192)).for_each(|(sum, x)| {
        sum.iter_mut().zip(x).for_each(|(sum, x)| *sum += x);
    });
}

impl Layer<'_> {
    fn hyper(&self) -> &Hyper {
        self.linear.base.hyper()
    }

    fn weights(&self) -> &crate::base::Layer {
        &self.linear.base.layers[self.i]
    }

    fn attention(&self) -> Attention<'_> {
        Attention { hyper: self.hyper(), layer: self.weights(), pack: self.pack, angles: self.angles }
    }

    /// The matrices for the rows that go on behind attention.
    fn behind(&self) -> Linear<'_> {
        Linear { n_rows: self.n_behind(), ..self.linear }
    }

    /// Rows that go on behind attention.
    pub(crate) fn n_behind(&self) -> usize {
        self.kept.map_or(self.linear.n_rows, <[usize]>::len)
    }

    /// The layer's input, past attention.
    fn add_input(&self, sum: &mut [f32], x: &[f32]) {
        let Some(kept) = self.kept else { return add(sum, x) };
        let width = self.hyper().n_embd;
        for (sum, row) in sum.chunks_exact_mut(width).zip(kept) {
            sum.iter_mut().zip(&x[row * width..]).for_each(|(sum, x)| *sum += x);
        }
    }

    /// Runs the layer; without `out` only as far as backward needs it.
    pub(crate) fn forward(
        &self,
        x: &[f32],
        inner: &mut Inner,
        out: Option<&mut Vec<f32>>,
        room: &mut Room,
    ) -> Result<(), GgufError> {
        let (hyper, weights, i) = (self.hyper(), self.weights(), self.i);
        norm::forward(x, &weights.attention_norm, hyper.eps, &mut room.h);
        self.linear.forward(i, Group::Qkv, &room.h, inner.qkv, &mut room.linear)?;
        if let Some(bias) = &weights.qkv_bias {
            inner.qkv.par_chunks_mut(bias.len()).for_each(|row| {
                row.iter_mut().zip(bias).for_each(|(x, b)| *x += b);
            });
        }
        self.attention().forward(inner.qkv, &mut room.attention, &mut room.heads);
        compact(&mut room.heads, hyper.n_q(), self.kept);
        let behind = self.behind();
        let heads = &room.heads[..behind.n_rows * hyper.n_q()];
        match &weights.post_attention_norm {
            None => behind.forward(i, Group::O, heads, inner.middle, &mut room.linear)?,
            Some(weight) => {
                behind.forward(i, Group::O, heads, inner.attention, &mut room.linear)?;
                norm::forward(inner.attention, weight, hyper.eps, inner.middle);
            }
        }
        self.add_input(inner.middle, x);
        let h = &mut room.h[..inner.middle.len()];
        norm::forward(inner.middle, &weights.ffn_norm, hyper.eps, h);
        behind.forward(i, Group::GateUp, h, inner.gate_up, &mut room.linear)?;
        if out.is_none() && weights.post_ffn_norm.is_none() {
            return Ok(());
        }
        let m = &mut room.m[..behind.n_rows * hyper.n_ff];
        gate::forward(hyper.activation, inner.gate_up, hyper.n_ff, m);
        if let Some(weight) = &weights.post_ffn_norm {
            behind.forward(i, Group::Down, m, inner.ffn, &mut room.linear)?;
            if let Some(out) = out {
                out.resize(inner.middle.len(), 0.0);
                norm::forward(inner.ffn, weight, hyper.eps, out);
                add(out, inner.middle);
            }
        } else if let Some(out) = out {
            out.resize(inner.middle.len(), 0.0);
            behind.forward(i, Group::Down, m, out, &mut room.linear)?;
            add(out, inner.middle);
        }
        Ok(())
    }

    /// Takes the gradient of the layer's output, at the front of `d`, to that of its input, and adds the adapter's to
    /// `grads`.
    ///
    /// The first layer's input is frozen, so `d` is then left as it is between the layer's parts.
    pub(crate) fn backward(
        &self,
        x: &[f32],
        inner: &Inner,
        d: &mut [f32],
        grads: &mut [f32],
        room: &mut Room,
    ) -> Result<(), GgufError> {
        let (hyper, weights, i, linear) = (self.hyper(), self.weights(), self.i, &self.linear);
        let Room { linear: lin, attention, h, d_h, heads, d_heads, d_qkv, m, d_m, d_gate_up } = room;
        let behind = self.behind();
        let n = behind.n_rows;

        // The feed-forward part.
        let (m, d_m) = (&mut m[..n * hyper.n_ff], &mut d_m[..n * hyper.n_ff]);
        let d_gate_up = &mut d_gate_up[..2 * n * hyper.n_ff];
        let d_behind = &mut d[..n * hyper.n_embd];
        let (h_behind, d_h_behind) = (&mut h[..n * hyper.n_embd], &mut d_h[..n * hyper.n_embd]);
        gate::forward(hyper.activation, inner.gate_up, hyper.n_ff, m);
        let d_ffn: &[f32] = match &weights.post_ffn_norm {
            None => d_behind,
            Some(weight) => {
                norm::backward(inner.ffn, weight, hyper.eps, d_behind, d_h_behind);
                d_h_behind
            }
        };
        behind.input_gradient(i, Group::Down, d_ffn, d_m, lin)?;
        behind.adapter_gradient(i, Group::Down, m, d_ffn, grads, lin);
        gate::backward(hyper.activation, inner.gate_up, hyper.n_ff, d_m, d_gate_up);
        norm::forward(inner.middle, &weights.ffn_norm, hyper.eps, h_behind);
        behind.adapter_gradient(i, Group::GateUp, h_behind, d_gate_up, grads, lin);
        behind.input_gradient(i, Group::GateUp, d_gate_up, d_h_behind, lin)?;
        norm::backward_into(inner.middle, &weights.ffn_norm, hyper.eps, d_h_behind, d_behind);

        // Attention.
        let d_attention: &[f32] = match &weights.post_attention_norm {
            None => d_behind,
            Some(weight) => {
                norm::backward(inner.attention, weight, hyper.eps, d_behind, d_h_behind);
                d_h_behind
            }
        };
        behind.input_gradient(i, Group::O, d_attention, &mut d_heads[..n * hyper.n_q()], lin)?;
        expand(d_heads, hyper.n_q(), self.kept);
        self.attention().backward(inner.qkv, d_heads, attention, heads, d_qkv);
        compact(heads, hyper.n_q(), self.kept);
        behind.adapter_gradient(i, Group::O, &heads[..n * hyper.n_q()], d_attention, grads, lin);
        expand(d, hyper.n_embd, self.kept);
        norm::forward(x, &weights.attention_norm, hyper.eps, h);
        linear.adapter_gradient(i, Group::Qkv, h, d_qkv, grads, lin);
        if i > 0 {
            linear.input_gradient(i, Group::Qkv, d_qkv, d_h, lin)?;
            norm::backward_into(x, &weights.attention_norm, hyper.eps, d_h, d);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_rows_come_to_the_front_and_go_back() {
        let all: Vec<f32> = (0..12_u8).map(f32::from).collect();
        for (kept, front, back) in [
            (&[][..], &[][..], [0.0; 12]),
            (
                &[2, 3, 5],
                &[4.0, 5.0, 6.0, 7.0, 10.0, 11.0],
                [0., 0., 0., 0., 4., 5., 6., 7., 0., 0., 10., 11.],
            ),
            (&[0, 4], &[0.0, 1.0, 8.0, 9.0], [0., 1., 0., 0., 0., 0., 0., 0., 8., 9., 0., 0.]),
        ] {
            let mut x = all.clone();
            compact(&mut x, 2, Some(kept));
            assert_eq!(x[..2 * kept.len()], *front);
            expand(&mut x, 2, Some(kept));
            assert_eq!(x, back);
        }
        let mut x = all.clone();
        compact(&mut x, 2, None);
        expand(&mut x, 2, None);
        assert_eq!(x, all);
    }
}
