//! Causal attention with grouped heads, forward and backward, sequence by sequence.
//!
//! o = softmax(s q kᵀ) v per head; Vaswani et al., arXiv 1706.03762, with grouped heads of arXiv 2305.13245. Nothing of
//! the size tokens² is kept: scores are made for [`N_QUERIES`] queries at a time and made again in backward. A family of
//! sequences and one key head are a piece of work: its queries (all heads that share the key head), keys and values lie
//! together, after norm and RoPE, so that pieces run side by side. Invariant: pieces write only their own memory.

mod piece;

use crate::base::{Hyper, Layer};
use crate::pack::Pack;
use crate::rope::Angles;
use piece::{Piece, split};
use rayon::prelude::*;

/// Queries whose scores are held at a time: bounds memory, and skips most of what the causal mask would throw away.
const N_QUERIES: usize = 96;

/// Attention of one layer over one batch.
pub(crate) struct Attention<'a> {
    pub(crate) hyper: &'a Hyper,
    pub(crate) layer: &'a Layer,
    pub(crate) pack: &'a Pack,
    pub(crate) angles: &'a Angles,
}

/// Memory that attention works in, kept from layer to layer.
#[derive(Debug, Default)]
pub(crate) struct Room {
    /// Per piece: its queries, keys and values.
    qkv: Vec<f32>,
    /// Per piece: their gradients.
    d_qkv: Vec<f32>,
    /// Per piece: what its heads give.
    heads: Vec<f32>,
}

impl Room {
    /// Makes room for a batch; `backward` as well if asked for.
    pub(crate) fn resize(&mut self, hyper: &Hyper, n_rows: usize, backward: bool) {
        self.qkv.resize(n_rows * hyper.n_qkv(), 0.0);
        self.heads.resize(n_rows * hyper.n_q(), 0.0);
        if backward {
            self.d_qkv.resize(n_rows * hyper.n_qkv(), 0.0);
        }
    }

    /// Numbers that [`Room::resize`] takes per row.
    pub(crate) fn n_per_row(hyper: &Hyper) -> usize {
        2 * hyper.n_qkv() + hyper.n_q()
    }

    /// Numbers that one thread takes beside that, for sequences up to `n_longest` in batches up to `n_rows`.
    pub(crate) fn n_per_thread(hyper: &Hyper, n_rows: usize, n_longest: usize) -> usize {
        2 * N_QUERIES.min(n_longest) * n_longest + n_rows * hyper.head_dim * (hyper.n_head / hyper.n_head_kv)
    }
}

/// Scores of some queries, one piece's.
#[derive(Default)]
struct Scratch {
    p: Vec<f32>,
    d_p: Vec<f32>,
    d_heads: Vec<f32>,
}

impl Attention<'_> {
    /// What the heads give, as rows, from rows of q, k and v as the matrices made them.
    pub(crate) fn forward(&self, qkv: &[f32], room: &mut Room, out: &mut [f32]) {
        let n_group = self.hyper.n_head / self.hyper.n_head_kv;
        let pieces = split(&mut room.qkv, self.pack, self.hyper, n_group + 2);
        let heads = split(&mut room.heads, self.pack, self.hyper, n_group);
        // Piece by piece: they differ in size, and a thread that is done takes the next.
        pieces.into_par_iter().zip(heads).with_max_len(1).for_each_init(
            Scratch::default,
            |scratch, ((piece, block), (_, heads))| {
                self.gather(&piece, qkv, block);
                self.run(&piece, block, heads, scratch);
            },
        );
        self.rows(&room.heads, n_group, out);
    }

    /// Gradients of the rows of q, k and v from those of what the heads gave; `out` gets the latter once more.
    pub(crate) fn backward(
        &self,
        qkv: &[f32],
        d_out: &[f32],
        room: &mut Room,
        out: &mut [f32],
        d_qkv: &mut [f32],
    ) {
        let n_group = self.hyper.n_head / self.hyper.n_head_kv;
        let pieces = split(&mut room.qkv, self.pack, self.hyper, n_group + 2);
        let grads = split(&mut room.d_qkv, self.pack, self.hyper, n_group + 2);
        let heads = split(&mut room.heads, self.pack, self.hyper, n_group);
        pieces.into_par_iter().zip(grads).zip(heads).with_max_len(1).for_each_init(
            Scratch::default,
            |scratch, (((piece, block), (_, grad)), (_, heads))| {
                self.gather(&piece, qkv, block);
                self.run_back(&piece, block, d_out, heads, grad, scratch);
                self.turn_back(&piece, qkv, grad);
            },
        );
        self.rows(&room.heads, n_group, out);
        self.rows(&room.d_qkv, n_group + 2, d_qkv);
    }

    /// Blocks of pieces back into rows. With n_group + 2 parts a row is q heads, k heads, v heads.
    fn rows(&self, blocks: &[f32], n_parts: usize, out: &mut [f32]) {
        let (n_kv, dim) = (self.hyper.n_head_kv, self.hyper.head_dim);
        let n_group = self.hyper.n_head / n_kv;
        let width = n_kv * n_parts * dim;
        for family in &self.pack.families {
            let rows = family.rows();
            let (first, n) = (rows.start, rows.len());
            out[first * width..(first + n) * width].par_chunks_mut(width).enumerate().for_each(|(t, row)| {
                for head in 0..n_kv {
                    let block = &blocks[(first * n_kv + head * n) * n_parts * dim..];
                    for part in 0..n_parts {
                        let at = column(part, head, n_group, n_kv) * dim;
                        row[at..at + dim].copy_from_slice(&block[(part * n + t) * dim..][..dim]);
                    }
                }
            });
        }
    }

    /// The position of the first key that the query at `position` sees.
    fn first_key(&self, position: usize) -> usize {
        if self.layer.is_local { (position + 1).saturating_sub(self.hyper.window) } else { 0 }
    }
}

/// Which head of a row a piece's part is: queries in front, then keys, then values.
fn column(part: usize, head: usize, n_group: usize, n_kv: usize) -> usize {
    match part.checked_sub(n_group) {
        None => head * n_group + part,
        Some(0) => n_kv * n_group + head,
        Some(_) => n_kv * (n_group + 1) + head,
    }
}

/// The numbers of one part of a block.
fn part(block: &[f32], part: usize, piece: &Piece, dim: usize) -> std::ops::Range<usize> {
    let n = piece.rows.len() * dim;
    debug_assert!((part + 1) * n <= block.len());
    part * n..(part + 1) * n
}
