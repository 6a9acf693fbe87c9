//! Frozen matrices at work: read from the file group by group, with the adapter on top.
//!
//! Without dropout the adapter is added to the weights, W + (α/r) B A, once per batch of tokens: that costs rank
//! tokens' worth of arithmetic, where B (A x) beside W x costs more from some 400 tokens on and passes over the outputs
//! once more. With dropout the two stay apart. Gradients go to A and B only: with s = α/r, u = A x, v = s Bᵀ dy:
//! dB = s dy uᵀ, dA = v xᵀ, dx = Wᵀ dy + Aᵀ v. Invariant: the order of every sum is fixed by shapes.

use crate::base::Base;
use crate::ffi::{Into, View, ViewMut, multiply, multiply_serial};
use crate::gguf::{GgufError, PIECE, Tensor};
use crate::lora::{Group, Lora, Slot, Target};
use crate::panels;
use crate::random::Stream;
use rayon::prelude::*;
use std::ops::Range;

/// Dropout on what the adapter reads, drawn anew for each matrix and batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dropout {
    pub(crate) rate: f32,
    pub(crate) seed: u64,
    /// Step of the run and batch within it.
    pub(crate) step: u64,
    pub(crate) micro: u64,
}

impl Dropout {
    /// What is dropped becomes zero, the rest grows by as much.
    fn apply(&self, layer: usize, target: Target, x: &[f32], out: &mut Vec<f32>) {
        out.resize(x.len(), 0.0);
        let stream = Stream::new(self.seed, &[1, self.step, self.micro, layer as u64, target as u64]);
        let (rate, keep) = (self.rate, 1.0 / (1.0 - self.rate));
        out.par_chunks_mut(4096).zip(x.par_chunks(4096)).enumerate().for_each(|(piece, (out, x))| {
            for (i, (out, x)) in out.iter_mut().zip(x).enumerate() {
                let kept = stream.unit((piece * 4096 + i) as u64) >= rate;
                *out = if kept { x * keep } else { 0.0 };
            }
        });
    }
}

/// The matrices of one layer, for one batch.
#[derive(Clone, Copy)]
pub(crate) struct Linear<'a> {
    pub(crate) base: &'a Base,
    pub(crate) lora: Option<&'a Lora>,
    pub(crate) dropout: Option<Dropout>,
    pub(crate) n_rows: usize,
}

/// What is added to a matrix: the adapter's product there.
#[derive(Clone, Copy)]
struct Added<'a> {
    lora: &'a Lora,
    slot: &'a Slot,
}

/// Memory that it works in.
#[derive(Debug, Default)]
pub(crate) struct Room {
    /// Weights of one group, or of some rows of the head.
    pub(crate) weight: Vec<f32>,
    /// What A gives, per adapted matrix of a group.
    u: Vec<f32>,
    /// What B gives backward.
    v: Vec<f32>,
    /// An input with some of it dropped.
    dropped: Vec<f32>,
}

impl Linear<'_> {
    /// Numbers of the largest group of a layer.
    pub(crate) fn largest(base: &Base) -> usize {
        let hyper = base.hyper();
        let sizes = Group::ALL.map(|g| g.n_in(hyper) * g.outs(hyper).iter().sum::<usize>());
        sizes.into_iter().max().unwrap_or(0)
    }

    /// Reads a group's weights, those of q, k and v or gate and up one behind the other: `read` is given each matrix,
    /// its adapter, if it is to be added, and its part of `weight`.
    fn load(
        &self,
        layer: usize,
        group: Group,
        weight: &mut Vec<f32>,
        read: impl Fn(&Tensor, Option<Added>, &mut [f32]) -> Result<(), GgufError>,
    ) -> Result<(), GgufError> {
        let hyper = self.base.hyper();
        let n_in = group.n_in(hyper);
        let n_out: usize = group.outs(hyper).iter().sum();
        weight.resize(n_in * n_out, 0.0);
        let tensors = &self.base.layers[layer];
        let lora = self.lora.filter(|_| self.dropout.is_none());
        let mut rest = &mut weight[..];
        for target in group.targets() {
            let tensor = match target {
                Target::Q => &tensors.q,
                Target::K => &tensors.k,
                Target::V => &tensors.v,
                Target::O => &tensors.o,
                Target::Gate => &tensors.gate,
                Target::Up => &tensors.up,
                Target::Down => &tensors.down,
            };
            let (part, tail) = rest.split_at_mut(tensor.n_rows() * n_in);
            let added = lora.and_then(|lora| {
                let slot = lora.slots(layer, group).slots.iter().find(|slot| slot.target == *target)?;
                Some(Added { lora, slot })
            });
            read(tensor, added, part)?;
            rest = tail;
        }
        Ok(())
    }

    /// One matrix as it lies in the file, read in rows that a cache holds, so that what was just written is still at
    /// hand for the adapter's sum.
    fn read_rows(&self, tensor: &Tensor, added: Option<Added>, out: &mut [f32]) -> Result<(), GgufError> {
        let n_in = tensor.n_cols();
        let n_piece = PIECE.div_ceil(n_in);
        out.par_chunks_mut(n_piece * n_in).enumerate().try_for_each(|(i, out)| {
            let rows = i * n_piece..i * n_piece + out.len() / n_in;
            self.base.gguf().dequantise(tensor, rows.clone(), out)?;
            if let Some(Added { lora, slot }) = added {
                let (a, b) = (lora.a(slot), lora.b(slot, rows.clone()));
                multiply_serial(ViewMut::new(out, rows.len(), n_in), b, a, lora.scale(), Into::Sum);
            }
            Ok(())
        })
    }

    /// One matrix as panels.
    fn read_panels(&self, tensor: &Tensor, added: Option<Added>, out: &mut [f32]) -> Result<(), GgufError> {
        let n_in = tensor.n_cols();
        let read = |rows: Range<usize>, out: &mut [f32]| self.base.gguf().dequantise(tensor, rows, out);
        panels::lay(out, n_in, read, |rows, panel| {
            if let Some(Added { lora, slot }) = added {
                let panel = ViewMut::new(panel, n_in, rows.len());
                let (a, b) = (lora.a(slot).transposed(), lora.b(slot, rows).transposed());
                multiply_serial(panel, a, b, lora.scale(), Into::Sum);
            }
        })
    }

    /// y = W x, without biases.
    pub(crate) fn forward(
        &self,
        layer: usize,
        group: Group,
        x: &[f32],
        y: &mut [f32],
        room: &mut Room,
    ) -> Result<(), GgufError> {
        let n_in = group.n_in(self.base.hyper());
        let n_out = y.len() / self.n_rows;
        self.load(layer, group, &mut room.weight, |tensor, added, out| self.read_panels(tensor, added, out))?;
        let n_outs = group.outs(self.base.hyper());
        let x_view = View::new(x, self.n_rows, n_in);
        panels::multiply(ViewMut::new(y, self.n_rows, n_out), x_view, &room.weight, &n_outs);
        let (Some(lora), Some(dropout)) = (self.lora, self.dropout) else { return Ok(()) };
        for slot in &lora.slots(layer, group).slots {
            dropout.apply(layer, slot.target, x, &mut room.dropped);
            self.inner(lora, slot, &room.dropped, &mut room.u);
            let b = lora.b(slot, 0..slot.columns.len());
            let out = ViewMut::strided(&mut y[slot.columns.start..], self.n_rows, slot.columns.len(), n_out);
            let u = View::new(&room.u, self.n_rows, lora.rank);
            multiply(out, u, b.transposed(), lora.scale(), Into::Sum);
        }
        Ok(())
    }

    /// u = A x of one matrix.
    fn inner(&self, lora: &Lora, slot: &Slot, x: &[f32], u: &mut Vec<f32>) {
        u.resize(self.n_rows * lora.rank, 0.0);
        let a = lora.a(slot);
        let x = View::new(x, self.n_rows, slot.n_in);
        multiply(ViewMut::new(u, self.n_rows, lora.rank), x, a.transposed(), 1.0, Into::Fresh);
    }

    /// v = s Bᵀ dy of one matrix, into columns of `v`.
    fn outer(&self, lora: &Lora, slot: &Slot, dy: View, v: &mut [f32], width: usize) {
        let b = lora.b(slot, 0..slot.columns.len());
        multiply(ViewMut::strided(v, self.n_rows, lora.rank, width), dy, b, lora.scale(), Into::Fresh);
    }

    /// One matrix's columns of what the group gave.
    fn columns<'b>(&self, slot: &Slot, dy: &'b [f32]) -> View<'b> {
        let width = dy.len() / self.n_rows;
        View::strided(&dy[slot.columns.start..], self.n_rows, slot.columns.len(), width)
    }

    /// dx of what the group read.
    pub(crate) fn input_gradient(
        &self,
        layer: usize,
        group: Group,
        dy: &[f32],
        dx: &mut [f32],
        room: &mut Room,
    ) -> Result<(), GgufError> {
        let n_in = group.n_in(self.base.hyper());
        let n_out = dy.len() / self.n_rows;
        self.load(layer, group, &mut room.weight, |tensor, added, out| self.read_rows(tensor, added, out))?;
        let weight = View::new(&room.weight, n_out, n_in);
        let dy_view = View::new(dy, self.n_rows, n_out);
        multiply(ViewMut::new(dx, self.n_rows, n_in), dy_view, weight, 1.0, Into::Fresh);
        let (Some(lora), Some(dropout)) = (self.lora, self.dropout) else { return Ok(()) };
        let mut back = Vec::new();
        for slot in &lora.slots(layer, group).slots {
            room.v.resize(self.n_rows * lora.rank, 0.0);
            self.outer(lora, slot, self.columns(slot, dy), &mut room.v, lora.rank);
            back.resize(dx.len(), 0.0);
            let a = lora.a(slot);
            let v = View::new(&room.v, self.n_rows, lora.rank);
            multiply(ViewMut::new(&mut back, self.n_rows, n_in), v, a, 1.0, Into::Fresh);
            dropout.apply(layer, slot.target, &back, &mut room.dropped);
            dx.par_chunks_mut(4096).zip(room.dropped.par_chunks(4096)).for_each(|(dx, d)| {
                dx.iter_mut().zip(d).for_each(|(dx, d)| *dx += d);
            });
        }
        Ok(())
    }

    /// Adds the gradients of a group's A and B to `grads`, which lies like the parameters.
    pub(crate) fn adapter_gradient(
        &self,
        layer: usize,
        group: Group,
        x: &[f32],
        dy: &[f32],
        grads: &mut [f32],
        room: &mut Room,
    ) {
        let Some(lora) = self.lora else { return };
        let slots = lora.slots(layer, group);
        let n_in = group.n_in(self.base.hyper());
        if let Some(dropout) = self.dropout {
            for slot in &slots.slots {
                dropout.apply(layer, slot.target, x, &mut room.dropped);
                let x = std::mem::take(&mut room.dropped);
                self.gradient(lora, std::slice::from_ref(slot), &x, dy, grads, room);
                room.dropped = x;
            }
        } else if !slots.slots.is_empty() {
            debug_assert_eq!(slots.a.len(), slots.slots.len() * lora.rank * n_in);
            self.gradient(lora, &slots.slots, x, dy, grads, room);
        }
    }

    /// The same for matrices that read the same `x`: their A are one matrix.
    fn gradient(
        &self,
        lora: &Lora,
        slots: &[Slot],
        x: &[f32],
        dy: &[f32],
        grads: &mut [f32],
        room: &mut Room,
    ) {
        let (Some(first), Some(last)) = (slots.first(), slots.last()) else { return };
        let (n_in, rank, width) = (first.n_in, lora.rank, lora.rank * slots.len());
        let all_a = first.a.start..last.a.end;
        let x = View::new(x, self.n_rows, n_in);
        room.u.resize(self.n_rows * width, 0.0);
        room.v.resize(self.n_rows * width, 0.0);
        let a = View::new(&lora.params[all_a.clone()], width, n_in);
        multiply(ViewMut::new(&mut room.u, self.n_rows, width), x, a.transposed(), 1.0, Into::Fresh);
        for (i, slot) in slots.iter().enumerate() {
            let dy = self.columns(slot, dy);
            let u = View::strided(&room.u[i * rank..], self.n_rows, rank, width);
            let d_b = ViewMut::new(&mut grads[slot.b.clone()], slot.columns.len(), rank);
            multiply(d_b, dy.transposed(), u, lora.scale(), Into::Sum);
            self.outer(lora, slot, dy, &mut room.v[i * rank..], width);
        }
        let v = View::new(&room.v, self.n_rows, width);
        multiply(ViewMut::new(&mut grads[all_a], width, n_in), v.transposed(), x, 1.0, Into::Sum);
    }
}
