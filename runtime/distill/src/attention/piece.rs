//! One family of sequences under one key head: gathering its rows, its scores, forward and backward.
//!
//! Rows and ranges of rows count from the family's first one here. Invariant: a piece reads rows of its own family only,
//! and a query no key of another sequence, behind it or outside its window.

use super::{Attention, N_QUERIES, Scratch, column, part};
use crate::base::Hyper;
use crate::ffi::{Into, View, ViewMut, multiply_serial};
use crate::norm;
use crate::number::{dot, exp_sum, max};
use crate::pack::{Family, Pack};
use crate::rope::Way;
use std::ops::Range;

/// A family and a key head.
#[derive(Clone, Debug)]
pub(super) struct Piece<'a> {
    family: &'a Family,
    pub(super) rows: Range<usize>,
    pub(super) head: usize,
}

/// Cuts memory for all rows into one block per piece, `n_parts` heads per row in each.
pub(super) fn split<'a, 'p>(
    mut all: &'a mut [f32],
    pack: &'p Pack,
    hyper: &Hyper,
    n_parts: usize,
) -> Vec<(Piece<'p>, &'a mut [f32])> {
    let mut pieces = Vec::with_capacity(pack.families.len() * hyper.n_head_kv);
    for family in &pack.families {
        let rows = family.rows();
        for head in 0..hyper.n_head_kv {
            let (block, rest) = all.split_at_mut(rows.len() * n_parts * hyper.head_dim);
            pieces.push((Piece { family, rows: rows.clone(), head }, block));
            all = rest;
        }
    }
    pieces
}

/// Some queries of one sequence and the keys that they see, which stand at consecutive positions of it.
struct Window {
    queries: Range<usize>,
    /// Position of the first query.
    position: usize,
    /// Position of the first key.
    first_key: usize,
    /// Keys among the shared rows, then among the sequence's own.
    keys: [Range<usize>; 2],
}

impl Window {
    fn n_keys(&self) -> usize {
        self.keys[0].len() + self.keys[1].len()
    }

    /// Rows of keys, and which columns of the scores are theirs.
    fn parts(&self) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
        let [shared, own] = self.keys.clone();
        let n_shared = shared.len();
        let columns = [0..n_shared, n_shared..n_shared + own.len()];
        [shared, own].into_iter().zip(columns).filter(|(keys, _)| !keys.is_empty())
    }
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
                self.angles.turn(head, self.pack.positions[piece.rows.start + t], Way::Forth);
            }
        }
    }

    /// Takes gradients of gathered heads back through RoPE and norm.
    pub(super) fn turn_back(&self, piece: &Piece, qkv: &[f32], grad: &mut [f32]) {
        let (dim, n) = (self.hyper.head_dim, piece.rows.len());
        for (i, head) in grad.chunks_exact_mut(dim).enumerate() {
            let (part, t) = (i / n, i % n);
            if part <= self.n_group() {
                self.angles.turn(head, self.pack.positions[piece.rows.start + t], Way::Back);
            }
            if let Some(weight) = self.head_norm(part) {
                norm::row_back(&qkv[self.place(piece, part, t)], weight, self.hyper.eps, head);
            }
        }
    }

    fn windows(&self, piece: &Piece) -> impl Iterator<Item = Window> {
        let base = piece.rows.start;
        piece.family.runs().flat_map(move |(before, run)| {
            let (n_before, before, run) =
                (before.len(), before.start - base, run.start - base..run.end - base);
            run.clone().step_by(N_QUERIES).map(move |start| {
                let queries = start..(start + N_QUERIES).min(run.end);
                let position = n_before + start - run.start;
                let first_key = self.first_key(position);
                let shared = before + first_key.min(n_before)..before + n_before;
                let own = run.start + first_key.saturating_sub(n_before)..queries.end;
                Window { queries, position, first_key, keys: [shared, own] }
            })
        })
    }

    /// p = softmax(s q kᵀ) under the mask, zero where a query does not see a key.
    fn scores(&self, window: &Window, q: &[f32], k: &[f32], p: &mut Vec<f32>) {
        let dim = self.hyper.head_dim;
        let (n_q, n_k) = (window.queries.len(), window.n_keys());
        p.resize(n_q * n_k, 0.0);
        let q = View::new(rows(q, &window.queries, dim), n_q, dim);
        for (keys, columns) in window.parts() {
            let k = View::new(rows(k, &keys, dim), keys.len(), dim);
            let out = ViewMut::strided(&mut p[columns.start..], n_q, keys.len(), n_k);
            multiply_serial(out, q, k.transposed(), self.hyper.attention_scale, Into::Fresh);
        }
        for (i, row) in (window.position..).zip(p.chunks_exact_mut(n_k)) {
            let (past, future) = row.split_at_mut(i + 1 - window.first_key);
            let (hidden, seen) = past.split_at_mut(self.first_key(i) - window.first_key);
            hidden.fill(0.0);
            future.fill(0.0);
            let factor = 1.0 / exp_sum(seen, max(seen));
            seen.iter_mut().for_each(|p| *p *= factor);
        }
    }

    /// out = p x, with `x` at the window's keys.
    fn mix(&self, window: &Window, p: &[f32], x: &[f32], scale: f32, out: &mut [f32]) {
        let dim = self.hyper.head_dim;
        let (n_q, n_k) = (window.queries.len(), window.n_keys());
        let mut into = Into::Fresh;
        for (keys, columns) in window.parts() {
            let p = View::strided(&p[columns.start..], n_q, keys.len(), n_k);
            let x = View::new(rows(x, &keys, dim), keys.len(), dim);
            multiply_serial(ViewMut::new(rows_mut(out, &window.queries, dim), n_q, dim), p, x, scale, into);
            into = Into::Sum;
        }
    }

    /// Adds pᵀ x, with `x` at the window's queries, to `out` at its keys.
    fn mix_back(&self, window: &Window, p: &[f32], x: &[f32], scale: f32, out: &mut [f32]) {
        let dim = self.hyper.head_dim;
        let (n_q, n_k) = (window.queries.len(), window.n_keys());
        let x = View::new(rows(x, &window.queries, dim), n_q, dim);
        for (keys, columns) in window.parts() {
            let p = View::strided(&p[columns.start..], n_q, keys.len(), n_k);
            let out = ViewMut::new(rows_mut(out, &keys, dim), keys.len(), dim);
            multiply_serial(out, p.transposed(), x, scale, Into::Sum);
        }
    }

    /// What each head of the piece gives.
    pub(super) fn run(&self, piece: &Piece, block: &[f32], heads: &mut [f32], scratch: &mut Scratch) {
        let (dim, n, n_group) = (self.hyper.head_dim, piece.rows.len(), self.n_group());
        let k = &block[part(block, n_group, piece, dim)];
        let v = &block[part(block, n_group + 1, piece, dim)];
        for head in 0..n_group {
            let q = &block[part(block, head, piece, dim)];
            let out = &mut heads[head * n * dim..(head + 1) * n * dim];
            for window in self.windows(piece) {
                self.scores(&window, q, k, &mut scratch.p);
                self.mix(&window, &scratch.p, v, 1.0, out);
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
            let d_head = &scratch.d_heads[this];
            for window in self.windows(piece) {
                let (n_q, n_k) = (window.queries.len(), window.n_keys());
                self.scores(&window, q, k, &mut scratch.p);
                self.mix(&window, &scratch.p, v, 1.0, out);
                self.mix_back(&window, &scratch.p, d_head, 1.0, d_v);
                let d_p = &mut scratch.d_p;
                d_p.resize(n_q * n_k, 0.0);
                let d_o = View::new(rows(d_head, &window.queries, dim), n_q, dim);
                for (keys, columns) in window.parts() {
                    let v = View::new(rows(v, &keys, dim), keys.len(), dim);
                    let d_p = ViewMut::strided(&mut d_p[columns.start..], n_q, keys.len(), n_k);
                    multiply_serial(d_p, d_o, v.transposed(), 1.0, Into::Fresh);
                }
                for (d_p, p) in d_p.chunks_exact_mut(n_k).zip(scratch.p.chunks_exact(n_k)) {
                    let along = dot(d_p, p);
                    d_p.iter_mut().zip(p).for_each(|(d, p)| *d = p * (*d - along));
                }
                self.mix(&window, d_p, k, scale, d_q);
                self.mix_back(&window, d_p, q, scale, d_k);
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
