//! One sequence under one key head: gathering its rows, its scores, forward and backward.
//!
//! Invariant: a piece reads rows of its own sequence only, and a query no key behind it or outside its window.

use super::{Attention, N_QUERIES, Scratch, column, part};
use crate::base::Hyper;
use crate::ffi::{Into, View, ViewMut, multiply_serial};
use crate::norm;
use crate::number::{dot, exp_sum, max};
use crate::pack::Pack;
use crate::rope::Way;
use std::ops::Range;

/// A sequence and a key head.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) rows: Range<usize>,
    pub(super) head: usize,
}

/// Cuts memory for all rows into one block per piece, `n_parts` heads per row in each.
pub(super) fn split<'a>(
    mut all: &'a mut [f32],
    pack: &Pack,
    hyper: &Hyper,
    n_parts: usize,
) -> Vec<(Piece, &'a mut [f32])> {
    let mut pieces = Vec::with_capacity(pack.sequences.len() * hyper.n_head_kv);
    for rows in &pack.sequences {
        for head in 0..hyper.n_head_kv {
            let (block, rest) = all.split_at_mut(rows.len() * n_parts * hyper.head_dim);
            pieces.push((Piece { rows: rows.clone(), head }, block));
            all = rest;
        }
    }
    pieces
}

/// Some queries and the keys that they see.
struct Window {
    queries: Range<usize>,
    keys: Range<usize>,
}

impl Attention<'_> {
    fn n_group(&self) -> usize {
        self.hyper.n_head / self.hyper.n_head_kv
    }

    /// The norm of a part's heads: queries and keys may have one, values have none.
    fn head_norm(&self, part: usize) -> Option<&[f32]> {
        match part.checked_sub(self.n_group()) {
            None => self.layer.q_norm.as_deref(),
            Some(0) => self.layer.k_norm.as_deref(),
            Some(_) => None,
        }
    }

    /// Where a part's head stands among the rows of q, k and v.
    fn place(&self, piece: &Piece, part: usize, t: usize) -> Range<usize> {
        let dim = self.hyper.head_dim;
        let at = (piece.rows.start + t) * self.hyper.n_qkv()
            + column(part, piece.head, self.n_group(), self.hyper.n_head_kv) * dim;
        at..at + dim
    }

    /// Copies a piece's heads out of the rows, with norm and RoPE.
    pub(super) fn gather(&self, piece: &Piece, qkv: &[f32], block: &mut [f32]) {
        let (dim, n) = (self.hyper.head_dim, piece.rows.len());
        for (i, head) in block.chunks_exact_mut(dim).enumerate() {
            let (part, t) = (i / n, i % n);
            let from = &qkv[self.place(piece, part, t)];
            match self.head_norm(part) {
                Some(weight) => norm::row(from, weight, self.hyper.eps, head),
                None => head.copy_from_slice(from),
            }
            if part <= self.n_group() {
                self.angles.turn(head, t, Way::Forth);
            }
        }
    }

    /// Takes gradients of gathered heads back through RoPE and norm.
    pub(super) fn turn_back(&self, piece: &Piece, qkv: &[f32], grad: &mut [f32]) {
        let (dim, n) = (self.hyper.head_dim, piece.rows.len());
        for (i, head) in grad.chunks_exact_mut(dim).enumerate() {
            let (part, t) = (i / n, i % n);
            if part <= self.n_group() {
                self.angles.turn(head, t, Way::Back);
            }
            if let Some(weight) = self.head_norm(part) {
                norm::row_back(&qkv[self.place(piece, part, t)], weight, self.hyper.eps, head);
            }
        }
    }

    fn windows(&self, n: usize) -> impl Iterator<Item = Window> {
        (0..n).step_by(N_QUERIES).map(move |start| {
            let end = (start + N_QUERIES).min(n);
            Window { queries: start..end, keys: self.first_key(start)..end }
        })
    }

    /// p = softmax(s q kᵀ) under the mask, zero where a query does not see a key.
    fn scores(&self, window: &Window, q: &[f32], k: &[f32], p: &mut Vec<f32>) {
        let dim = self.hyper.head_dim;
        let (n_q, n_k) = (window.queries.len(), window.keys.len());
        p.resize(n_q * n_k, 0.0);
        multiply_serial(
            ViewMut::new(p, n_q, n_k),
            View::new(rows(q, &window.queries, dim), n_q, dim),
            View::new(rows(k, &window.keys, dim), n_k, dim).transposed(),
            self.hyper.attention_scale,
            Into::Fresh,
        );
        for (i, row) in window.queries.clone().zip(p.chunks_exact_mut(n_k)) {
            let (past, future) = row.split_at_mut(i + 1 - window.keys.start);
            let (hidden, seen) = past.split_at_mut(self.first_key(i) - window.keys.start);
            hidden.fill(0.0);
            future.fill(0.0);
            let factor = 1.0 / exp_sum(seen, max(seen));
            seen.iter_mut().for_each(|p| *p *= factor);
        }
    }

    /// o = p v
    fn mix(&self, window: &Window, p: &[f32], v: &[f32], out: &mut [f32]) {
        let dim = self.hyper.head_dim;
        let (n_q, n_k) = (window.queries.len(), window.keys.len());
        let (p, v) = (View::new(p, n_q, n_k), View::new(rows(v, &window.keys, dim), n_k, dim));
        multiply_serial(ViewMut::new(rows_mut(out, &window.queries, dim), n_q, dim), p, v, 1.0, Into::Fresh);
    }

    /// What each head of the piece gives.
    pub(super) fn run(&self, piece: &Piece, block: &[f32], heads: &mut [f32], scratch: &mut Scratch) {
        let (dim, n, n_group) = (self.hyper.head_dim, piece.rows.len(), self.n_group());
        let k = &block[part(block, n_group, piece, dim)];
        let v = &block[part(block, n_group + 1, piece, dim)];
        for head in 0..n_group {
            let q = &block[part(block, head, piece, dim)];
            let out = &mut heads[head * n * dim..(head + 1) * n * dim];
            for window in self.windows(n) {
                self.scores(&window, q, k, &mut scratch.p);
                self.mix(&window, &scratch.p, v, out);
            }
        }
    }

    /// Gradients of a piece's gathered q, k and v; what the heads gave comes out beside it.
    ///
    /// With g = do vᵀ: ds = p (g - Σ g p), dq = s ds k, dk = s dsᵀ q, dv = pᵀ do.
    pub(super) fn run_back(
        &self,
        piece: &Piece,
        block: &[f32],
        d_out: &[f32],
        heads: &mut [f32],
        grad: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let (dim, n, n_group) = (self.hyper.head_dim, piece.rows.len(), self.n_group());
        let scale = self.hyper.attention_scale;
        let k = &block[part(block, n_group, piece, dim)];
        let v = &block[part(block, n_group + 1, piece, dim)];
        self.gather_out(piece, d_out, &mut scratch.d_heads);
        let (d_q_all, d_kv) = grad.split_at_mut(n_group * n * dim);
        let (d_k, d_v) = d_kv.split_at_mut(n * dim);
        d_k.fill(0.0);
        d_v.fill(0.0);
        for head in 0..n_group {
            let this = head * n * dim..(head + 1) * n * dim;
            let q = &block[this.clone()];
            let (out, d_q) = (&mut heads[this.clone()], &mut d_q_all[this.clone()]);
            for window in self.windows(n) {
                let (n_q, n_k) = (window.queries.len(), window.keys.len());
                self.scores(&window, q, k, &mut scratch.p);
                self.mix(&window, &scratch.p, v, out);
                let query = |x| View::new(rows(x, &window.queries, dim), n_q, dim);
                let key = |x| View::new(rows(x, &window.keys, dim), n_k, dim);
                let (d_o, p) = (query(&scratch.d_heads[this.clone()]), View::new(&scratch.p, n_q, n_k));
                let d_v = ViewMut::new(rows_mut(d_v, &window.keys, dim), n_k, dim);
                multiply_serial(d_v, p.transposed(), d_o, 1.0, Into::Sum);
                let d_p = &mut scratch.d_p;
                d_p.resize(n_q * n_k, 0.0);
                multiply_serial(ViewMut::new(d_p, n_q, n_k), d_o, key(v).transposed(), 1.0, Into::Fresh);
                for (d_p, p) in d_p.chunks_exact_mut(n_k).zip(scratch.p.chunks_exact(n_k)) {
                    let along = dot(d_p, p);
                    d_p.iter_mut().zip(p).for_each(|(d, p)| *d = p * (*d - along));
                }
                let d_s = View::new(d_p, n_q, n_k);
                let d_q = ViewMut::new(rows_mut(d_q, &window.queries, dim), n_q, dim);
                multiply_serial(d_q, d_s, key(k), scale, Into::Fresh);
                let d_k = ViewMut::new(rows_mut(d_k, &window.keys, dim), n_k, dim);
                multiply_serial(d_k, d_s.transposed(), query(q), scale, Into::Sum);
            }
        }
    }

    /// A piece's heads out of rows of all query heads.
    fn gather_out(&self, piece: &Piece, rows: &[f32], out: &mut Vec<f32>) {
        let (dim, n, n_group) = (self.hyper.head_dim, piece.rows.len(), self.n_group());
        out.resize(n_group * n * dim, 0.0);
        for (i, head) in out.chunks_exact_mut(dim).enumerate() {
            let (j, t) = (i / n, i % n);
            let at = (piece.rows.start + t) * self.hyper.n_q() + (piece.head * n_group + j) * dim;
            head.copy_from_slice(&rows[at..at + dim]);
        }
    }
}

fn rows<'a>(x: &'a [f32], range: &Range<usize>, dim: usize) -> &'a [f32] {
    &x[range.start * dim..range.end * dim]
}

fn rows_mut<'a>(x: &'a mut [f32], range: &Range<usize>, dim: usize) -> &'a mut [f32] {
    &mut x[range.start * dim..range.end * dim]
}
