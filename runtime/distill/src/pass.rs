//! A batch of sequences through the whole model, forward and backward.
//!
//! Not an optimiser: gradients are added to a list and left there. [`Pass`] owns all memory that depends on the number
//! of tokens and keeps it from batch to batch. Invariant: which layers keep their inner results changes the time and
//! the memory, never a bit of the outcome.

use crate::base::Base;
use crate::gguf::GgufError;
use crate::head::{self, LossRow, Sums};
use crate::layer::{Inner, Layer, Room};
use crate::linear::{Dropout, Linear};
use crate::lora::Lora;
use crate::pack::Pack;
use crate::rope::Angles;

/// What changes from batch to batch.
pub(crate) struct Batch<'a> {
    pub(crate) lora: Option<&'a Lora>,
    pub(crate) dropout: Option<Dropout>,
    pub(crate) pack: &'a Pack,
    pub(crate) rows: &'a [LossRow],
}

/// A model ready to run batches.
#[derive(Debug)]
pub(crate) struct Pass {
    angles: [Angles; 2],
    n_positions: usize,
    /// The first layers keep their inner results, as many as there are here.
    kept: Vec<Inner>,
    /// Where the others run again.
    again: Inner,
    /// The layers' inputs, and what the last one gave.
    inputs: Vec<Vec<f32>>,
    gradient: Vec<f32>,
    room: Room,
    head: head::Room,
}

impl Pass {
    /// For sequences up to `n_positions`; the first `n_kept` layers keep their inner results.
    pub(crate) fn new(base: &Base, n_positions: usize, n_kept: usize) -> Self {
        let hyper = base.hyper();
        Self {
            angles: angles(base, n_positions),
            n_positions,
            kept: (0..n_kept.min(hyper.n_layer)).map(|_| Inner::default()).collect(),
            again: Inner::default(),
            inputs: vec![Vec::new(); hyper.n_layer + 1],
            gradient: Vec::new(),
            room: Room::default(),
            head: head::Room::default(),
        }
    }

    /// Takes the memory for training on batches up to `n_rows` at once: lists that grew from batch to batch would leave
    /// holes behind.
    pub(crate) fn reserve(&mut self, base: &Base, n_rows: usize) {
        let hyper = base.hyper();
        self.room.resize(hyper, n_rows, true);
        self.room.linear.weight.resize(Linear::largest(base).max(head::chunk_len(base)), 0.0);
        self.inputs.iter_mut().for_each(|x| x.resize(n_rows * hyper.n_embd, 0.0));
        self.gradient.resize(n_rows * hyper.n_embd, 0.0);
        self.head.reserve(hyper.n_vocab, n_rows);
        if self.kept.len() < hyper.n_layer {
            self.again.resize(hyper, n_rows);
        }
        self.kept.iter_mut().for_each(|inner| inner.resize(hyper, n_rows));
    }

    /// Makes sequences up to `n` possible.
    pub(crate) fn reach(&mut self, base: &Base, n: usize) {
        if n > self.n_positions {
            (self.angles, self.n_positions) = (angles(base, n), n);
        }
    }

    fn layer<'a>(angles: &'a [Angles; 2], base: &'a Base, batch: &'a Batch, i: usize) -> Layer<'a> {
        let Batch { lora, dropout, pack, .. } = *batch;
        let linear = Linear { base, lora, dropout, n_rows: pack.n_rows() };
        Layer { linear, pack, angles: &angles[usize::from(base.layers[i].is_local)], i }
    }

    /// Runs all layers; the last one's output is then in `inputs`.
    fn forward(&mut self, base: &Base, batch: &Batch, backward: bool) -> Result<(), GgufError> {
        let hyper = base.hyper();
        debug_assert!(batch.pack.n_longest() <= self.n_positions);
        self.room.resize(hyper, batch.pack.n_rows(), backward);
        embed(base, &batch.pack.tokens, &mut self.inputs[0])?;
        for i in 0..hyper.n_layer {
            let (before, after) = self.inputs.split_at_mut(i + 1);
            let inner = match self.kept.get_mut(i) {
                Some(inner) if backward => inner,
                _ => &mut self.again,
            };
            let layer = Self::layer(&self.angles, base, batch, i);
            layer.forward(&before[i], inner, Some(&mut after[0]), &mut self.room)?;
        }
        Ok(())
    }

    /// The batch's losses, and the adapter's gradients, which are added to `grads`.
    pub(crate) fn train(&mut self, base: &Base, batch: &Batch, grads: &mut [f32]) -> Result<Sums, GgufError> {
        self.forward(base, batch, true)?;
        let n_layer = base.hyper().n_layer;
        self.gradient.resize(self.inputs[n_layer].len(), 0.0);
        let (x, d) = (&self.inputs[n_layer], &mut self.gradient[..]);
        let weight = &mut self.room.linear.weight;
        let sums = head::run(base, x, batch.rows, Some(d), &mut self.head, weight)?;
        for i in (0..n_layer).rev() {
            let layer = Self::layer(&self.angles, base, batch, i);
            let x = &self.inputs[i];
            let inner = match self.kept.get(i) {
                Some(inner) => inner,
                None => {
                    layer.forward(x, &mut self.again, None, &mut self.room)?;
                    &self.again
                }
            };
            layer.backward(x, inner, &mut self.gradient, grads, &mut self.room)?;
        }
        Ok(sums)
    }

    /// The batch's losses alone.
    pub(crate) fn losses(&mut self, base: &Base, batch: &Batch) -> Result<Sums, GgufError> {
        self.forward(base, batch, false)?;
        let x = &self.inputs[base.hyper().n_layer];
        head::run(base, x, batch.rows, None, &mut self.head, &mut self.room.linear.weight)
    }

    /// Logits of some rows of the batch, one behind the other.
    pub(crate) fn logits(
        &mut self,
        base: &Base,
        batch: &Batch,
        rows: &[usize],
    ) -> Result<Vec<f32>, GgufError> {
        self.forward(base, batch, false)?;
        let x = &self.inputs[base.hyper().n_layer];
        head::logits_of(base, x, rows, &mut self.room.linear.weight)
    }
}

/// Angles of global layers and of local ones.
fn angles(base: &Base, n: usize) -> [Angles; 2] {
    let hyper = base.hyper();
    [false, true].map(|is_local| Angles::new(&hyper.rope, hyper.n_rot, is_local, n))
}

/// The tokens' rows of the embedding.
fn embed(base: &Base, tokens: &[u32], out: &mut Vec<f32>) -> Result<(), GgufError> {
    let (d, scale) = (base.hyper().n_embd, base.hyper().embedding_scale);
    out.resize(tokens.len() * d, 0.0);
    for (&token, row) in tokens.iter().zip(out.chunks_exact_mut(d)) {
        let token = token as usize;
        base.gguf().dequantise(&base.embedding, token..token + 1, row)?;
        if scale != 1.0 {
            row.iter_mut().for_each(|x| *x *= scale);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
