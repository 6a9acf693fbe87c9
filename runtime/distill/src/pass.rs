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
use std::ops::Range;

/// What changes from batch to batch.
pub(crate) struct Batch<'a> {
    pub(crate) lora: Option<&'a Lora>,
    pub(crate) dropout: Option<Dropout>,
    pub(crate) pack: &'a Pack,
    /// In rising order.
    pub(crate) rows: &'a [LossRow],
}

impl Batch<'_> {
    /// The rows that have a loss: what the last layer is wanted of.
    fn kept(&self) -> Vec<usize> {
        self.rows.iter().map(|row| row.row).collect()
    }
}

/// A model ready to run batches.
#[derive(Debug)]
pub(crate) struct Pass {
    angles: [Angles; 2],
    n_positions: usize,
    /// Inner results of layers: of as many of the first ones as there is room for, and one more place that the others
    /// take by turns. Grows to one layer's need and no further by itself.
    inner: Vec<f32>,
    /// The layers' inputs, and what the last one gave.
    inputs: Vec<Vec<f32>>,
    gradient: Vec<f32>,
    room: Room,
    head: head::Room,
}

/// Where each layer's inner results are for one batch.
struct Places {
    n_each: usize,
    n: usize,
}

impl Places {
    fn of(&self, layer: usize) -> Range<usize> {
        let place = layer.min(self.n - 1);
        place * self.n_each..(place + 1) * self.n_each
    }

    /// Whether other layers may have the same place.
    fn is_shared(&self, layer: usize) -> bool {
        layer + 1 >= self.n
    }
}

impl Pass {
    /// For sequences up to `n_positions`.
    pub(crate) fn new(base: &Base, n_positions: usize) -> Self {
        Self {
            angles: angles(base, n_positions),
            n_positions,
            inner: Vec::new(),
            inputs: vec![Vec::new(); base.hyper().n_layer + 1],
            gradient: Vec::new(),
            room: Room::default(),
            head: head::Room::default(),
        }
    }

    /// Takes the memory for training on batches up to `n_rows` at once: lists that
    /// grew from batch to batch would leave holes behind. `n_inner` numbers are for layers' inner results.
    pub(crate) fn reserve(&mut self, base: &Base, n_rows: usize, n_inner: usize) {
        let hyper = base.hyper();
        self.room.resize(hyper, n_rows, true);
        self.room.linear.weight.resize(Linear::largest(base).max(head::chunk_len(base)), 0.0);
        self.inputs.iter_mut().for_each(|x| x.resize(n_rows * hyper.n_embd, 0.0));
        self.gradient.resize(n_rows * hyper.n_embd, 0.0);
        self.head.reserve(hyper.n_vocab, n_rows);
        self.inner.resize(n_inner, 0.0);
    }

    /// Makes sequences up to `n` possible.
    pub(crate) fn reach(&mut self, base: &Base, n: usize) {
        if n > self.n_positions {
            (self.angles, self.n_positions) = (angles(base, n), n);
        }
    }

    /// A layer, the last one for the rows `kept` alone.
    fn layer<'a>(
        angles: &'a [Angles; 2],
        base: &'a Base,
        batch: &'a Batch,
        kept: &'a [usize],
        i: usize,
    ) -> Layer<'a> {
        let Batch { lora, dropout, pack, .. } = *batch;
        let linear = Linear { base, lora, dropout, n_rows: pack.n_rows() };
        let kept = (i + 1 == base.hyper().n_layer).then_some(kept);
        Layer { linear, pack, angles: &angles[usize::from(base.layers[i].is_local)], i, kept }
    }

    /// Runs all layers, with their inner results at `places`; of the last one's output the rows `kept`, which must rise,
    /// are then in `inputs`.
    fn forward(
        &mut self,
        base: &Base,
        batch: &Batch,
        kept: &[usize],
        places: &Places,
        backward: bool,
    ) -> Result<(), GgufError> {
        let hyper = base.hyper();
        let n_rows = batch.pack.n_rows();
        debug_assert!(batch.pack.n_longest() <= self.n_positions);
        assert!(kept.is_sorted_by(|a, b| a < b), "rows of the last layer must rise");
        self.room.resize(hyper, n_rows, backward);
        embed(base, &batch.pack.tokens, &mut self.inputs[0])?;
        for i in 0..hyper.n_layer {
            let (before, after) = self.inputs.split_at_mut(i + 1);
            let layer = Self::layer(&self.angles, base, batch, kept, i);
            let mut inner = Inner::new(hyper, n_rows, layer.n_behind(), &mut self.inner[places.of(i)]);
            layer.forward(&before[i], &mut inner, Some(&mut after[0]), &mut self.room)?;
        }
        Ok(())
    }

    /// Where layers' inner results go, `most` of them at once.
    fn places(&mut self, base: &Base, batch: &Batch, most: usize) -> Places {
        let n_each = Inner::n_per_row(base.hyper()) * batch.pack.n_rows();
        if self.inner.len() < n_each {
            self.inner.resize(n_each, 0.0);
        }
        let room = self.inner.len().checked_div(n_each).unwrap_or(1);
        Places { n_each, n: room.clamp(1, most.max(1)) }
    }

    /// The batch's losses, and the adapter's gradients, which are added to `grads`.
    pub(crate) fn train(&mut self, base: &Base, batch: &Batch, grads: &mut [f32]) -> Result<Sums, GgufError> {
        let (hyper, n_layer, n_rows) = (base.hyper(), base.hyper().n_layer, batch.pack.n_rows());
        let kept = batch.kept();
        if kept.is_empty() {
            return Ok(Sums::default());
        }
        let places = self.places(base, batch, n_layer);
        self.forward(base, batch, &kept, &places, true)?;
        self.gradient.resize(n_rows * hyper.n_embd, 0.0);
        let (x, d) = (&self.inputs[n_layer], &mut self.gradient[..kept.len() * hyper.n_embd]);
        let weight = &mut self.room.linear.weight;
        let sums = head::run(base, x, batch.rows, Some(d), &mut self.head, weight)?;
        for i in (0..n_layer).rev() {
            let layer = Self::layer(&self.angles, base, batch, &kept, i);
            let x = &self.inputs[i];
            let mut inner = Inner::new(hyper, n_rows, layer.n_behind(), &mut self.inner[places.of(i)]);
            // The last place held the last layer's results behind the way forward.
            if places.is_shared(i) && i + 1 < n_layer {
                layer.forward(x, &mut inner, None, &mut self.room)?;
            }
            layer.backward(x, &inner, &mut self.gradient, grads, &mut self.room)?;
        }
        Ok(sums)
    }

    /// The batch's losses alone.
    pub(crate) fn losses(&mut self, base: &Base, batch: &Batch) -> Result<Sums, GgufError> {
        let kept = batch.kept();
        if kept.is_empty() {
            return Ok(Sums::default());
        }
        let places = self.places(base, batch, 1);
        self.forward(base, batch, &kept, &places, false)?;
        let x = &self.inputs[base.hyper().n_layer];
        head::run(base, x, batch.rows, None, &mut self.head, &mut self.room.linear.weight)
    }

    /// Logits of some rows of the batch, which must rise, one behind the other.
    pub(crate) fn logits(
        &mut self,
        base: &Base,
        batch: &Batch,
        rows: &[usize],
    ) -> Result<Vec<f32>, GgufError> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let places = self.places(base, batch, 1);
        self.forward(base, batch, rows, &places, false)?;
        let x = &self.inputs[base.hyper().n_layer];
        head::logits_of(base, x, &mut self.room.linear.weight)
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
