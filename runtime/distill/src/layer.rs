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

    /// In memory for [`Self::n_per_row`] numbers of each row.
    pub(crate) fn new(hyper: &Hyper, n_rows: usize, mut memory: &'a mut [f32]) -> Self {
        let [qkv, middle, gate_up, attention, ffn] = Self::widths(hyper).map(|width| {
            let (part, rest) = std::mem::take(&mut memory).split_at_mut(n_rows * width);
            memory = rest;
            part
        });
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
        match &weights.post_attention_norm {
            None => {
                self.linear.forward(i, Group::O, &room.heads, inner.middle, &mut room.linear)?;
            }
            Some(weight) => {
                self.linear.forward(i, Group::O, &room.heads, inner.attention, &mut room.linear)?;
                norm::forward(inner.attention, weight, hyper.eps, inner.middle);
            }
        }
        add(inner.middle, x);
        norm::forward(inner.middle, &weights.ffn_norm, hyper.eps, &mut room.h);
        self.linear.forward(i, Group::GateUp, &room.h, inner.gate_up, &mut room.linear)?;
        if out.is_none() && weights.post_ffn_norm.is_none() {
            return Ok(());
        }
        gate::forward(hyper.activation, inner.gate_up, hyper.n_ff, &mut room.m);
        if let Some(weight) = &weights.post_ffn_norm {
            self.linear.forward(i, Group::Down, &room.m, inner.ffn, &mut room.linear)?;
            if let Some(out) = out {
                out.resize(x.len(), 0.0);
                norm::forward(inner.ffn, weight, hyper.eps, out);
                add(out, inner.middle);
            }
        } else if let Some(out) = out {
            out.resize(x.len(), 0.0);
            self.linear.forward(i, Group::Down, &room.m, out, &mut room.linear)?;
            add(out, inner.middle);
        }
        Ok(())
    }

    /// Takes the gradient `d` of the layer's output to that of its input, and adds the adapter's to `grads`.
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

        // The feed-forward part.
        gate::forward(hyper.activation, inner.gate_up, hyper.n_ff, m);
        let d_ffn: &[f32] = match &weights.post_ffn_norm {
            None => d,
            Some(weight) => {
                norm::backward(inner.ffn, weight, hyper.eps, d, d_h);
                d_h
            }
        };
        linear.input_gradient(i, Group::Down, d_ffn, d_m, lin)?;
        linear.adapter_gradient(i, Group::Down, m, d_ffn, grads, lin);
        gate::backward(hyper.activation, inner.gate_up, hyper.n_ff, d_m, d_gate_up);
        norm::forward(inner.middle, &weights.ffn_norm, hyper.eps, h);
        linear.adapter_gradient(i, Group::GateUp, h, d_gate_up, grads, lin);
        linear.input_gradient(i, Group::GateUp, d_gate_up, d_h, lin)?;
        norm::backward_into(inner.middle, &weights.ffn_norm, hyper.eps, d_h, d);

        // Attention.
        let d_attention: &[f32] = match &weights.post_attention_norm {
            None => d,
            Some(weight) => {
                norm::backward(inner.attention, weight, hyper.eps, d, d_h);
                d_h
            }
        };
        linear.input_gradient(i, Group::O, d_attention, d_heads, lin)?;
        self.attention().backward(inner.qkv, d_heads, attention, heads, d_qkv);
        linear.adapter_gradient(i, Group::O, heads, d_attention, grads, lin);
        norm::forward(x, &weights.attention_norm, hyper.eps, h);
        linear.adapter_gradient(i, Group::Qkv, h, d_qkv, grads, lin);
        if i > 0 {
            linear.input_gradient(i, Group::Qkv, d_qkv, d_h, lin)?;
            norm::backward_into(x, &weights.attention_norm, hyper.eps, d_h, d);
        }
        Ok(())
    }
}
