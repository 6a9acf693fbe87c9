//! Frozen matrices laid out for the way forward: x Wᵀ without a second look for what belongs together.
//!
//! The matrix kernels want the numbers that they multiply side by side to lie side by side; in a file they lie a row
//! apart, and every thread of every product would gather them anew: a tenth of a training run's processor time. So rows of
//! W become panels as they are read: [`WIDTH`] rows of one matrix, transposed, as a block of its own. Not a format:
//! panels live as long as one product. Invariant: a panel never has rows of two matrices.

use crate::ffi::{Into, View, ViewMut, multiply_serial, share_rows};
use crate::gguf::PIECE;
use rayon::prelude::*;
use std::ops::Range;

/// Rows of a matrix in a panel: what the widest kernel takes at once (four registers of 16 floats).
pub(crate) const WIDTH: usize = 64;
/// Most rows that are read before they are transposed, of wide matrices fewer: a core's caches hold them, and they are
/// one task's to read.
const ROWS: usize = 16;
/// Side of the tiles that are transposed in registers.
const TILE: usize = 4;

/// Lays the rows of one matrix out in `panels`, on the pool's threads.
///
/// `read` gives some rows, `finish` may change a panel (n_in x its rows), both told by the rows' numbers.
pub(crate) fn lay<E: Send>(
    panels: &mut [f32],
    n_in: usize,
    read: impl Fn(Range<usize>, &mut [f32]) -> Result<(), E> + Sync,
    finish: impl Fn(Range<usize>, &mut [f32]) + Sync,
) -> Result<(), E> {
    let n_rows = (PIECE / n_in).clamp(TILE, ROWS);
    panels.par_chunks_mut(WIDTH * n_in).enumerate().try_for_each_init(Vec::new, |rows, (i, panel)| {
        let (start, width) = (i * WIDTH, panel.len() / n_in);
        for first in (0..width).step_by(n_rows) {
            let n = n_rows.min(width - first);
            rows.resize(n * n_in, 0.0);
            read(start + first..start + first + n, rows)?;
            transpose(rows, n_in, &mut panel[first..], width);
        }
        finish(start..start + width, panel);
        Ok(())
    })
}

/// Rows of `n_in` numbers as columns of `out`, whose rows begin `width` apart.
fn transpose(rows: &[f32], n_in: usize, out: &mut [f32], width: usize) {
    let n = rows.len() / n_in;
    for k in (0..n_in).step_by(TILE) {
        for i in (0..n).step_by(TILE) {
            let (rows, out) = (&rows[i * n_in + k..], &mut out[k * width + i..]);
            if i + TILE > n || k + TILE > n_in || tile(rows, n_in, out, width).is_none() {
                for i in 0..TILE.min(n - i) {
                    for k in 0..TILE.min(n_in - k) {
                        out[k * width + i] = rows[i * n_in + k];
                    }
                }
            }
        }
    }
}

/// One whole tile; none if it reaches over an edge.
#[inline(always)]
fn tile(rows: &[f32], n_in: usize, out: &mut [f32], width: usize) -> Option<()> {
    let mut tile = [[0.0; TILE]; TILE];
    for (i, row) in tile.iter_mut().enumerate() {
        *row = *rows.get(i * n_in..)?.first_chunk()?;
    }
    for k in 0..TILE {
        *out.get_mut(k * width..)?.first_chunk_mut()? = tile.map(|row| row[k]);
    }
    Some(())
}

/// `out = x Wᵀ` for the matrices of a group, which give `n_outs` numbers of each row of `out` and lie one behind the
/// other in `panels`.
pub(crate) fn multiply(out: ViewMut, x: View, panels: &[f32], n_outs: &[usize]) {
    let n_in = x.n_cols();
    assert_eq!(panels.len(), n_in * n_outs.iter().sum::<usize>(), "panels of another group");
    share_rows(out, x, &|mut out, x| {
        let (mut rest, mut column) = (panels, 0);
        for n_out in n_outs {
            let (matrix, tail) = rest.split_at(n_out * n_in);
            rest = tail;
            for panel in matrix.chunks(WIDTH * n_in) {
                let width = panel.len() / n_in;
                let out = out.columns(column..column + width);
                multiply_serial(out, x, View::new(panel, n_in, width), 1.0, Into::Fresh);
                column += width;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    #[test]
    fn panels_give_the_product_of_their_matrices() {
        // Matrices of one panel and a part, of a part alone, and of whole panels; rows that no tile divides.
        let (n_in, n_outs, n_rows) = (37, [70, 5, 128], 90);
        let n_out: usize = n_outs.iter().sum();
        let numbers = |len: usize, by: u16| -> Vec<f32> {
            (0_u16..).take(len).map(|i| f32::from(i * by % 13) - 6.0).collect()
        };
        let (w, x) = (numbers(n_out * n_in, 3), numbers(n_rows * n_in, 5));
        let mut panels = vec![f32::NAN; w.len()];
        let mut rest = (&mut panels[..], &w[..]);
        for n_out in n_outs {
            let (panels, panels_rest) = rest.0.split_at_mut(n_out * n_in);
            let (w, w_rest) = rest.1.split_at(n_out * n_in);
            rest = (panels_rest, w_rest);
            let read = |rows: Range<usize>, out: &mut [f32]| {
                out.copy_from_slice(&w[rows.start * n_in..rows.end * n_in]);
                Ok::<_, Infallible>(())
            };
            // One more for each number of the first row.
            let finish = |rows: Range<usize>, panel: &mut [f32]| {
                if rows.contains(&0) {
                    panel.iter_mut().step_by(rows.len()).for_each(|x| *x += 1.0);
                }
            };
            lay(panels, n_in, read, finish).unwrap();
        }
        let mut out = vec![f32::NAN; n_rows * n_out];
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("two threads");
        pool.install(|| {
            multiply(ViewMut::new(&mut out, n_rows, n_out), View::new(&x, n_rows, n_in), &panels, &n_outs);
        });
        let firsts = [0, n_outs[0], n_outs[0] + n_outs[1]];
        for (x, out) in x.chunks(n_in).zip(out.chunks(n_out)) {
            for (o, (w, out)) in w.chunks(n_in).zip(out).enumerate() {
                let more = if firsts.contains(&o) { 1.0 } else { 0.0 };
                let sum: f32 = x.iter().zip(w).map(|(x, w)| x * (w + more)).sum();
                // Small whole numbers: every sum is exact, whatever its order.
                assert_eq!(*out, sum);
            }
        }
    }

    #[test]
    fn a_row_that_cannot_be_read_is_told() {
        let read =
            |rows: Range<usize>, _: &mut [f32]| if rows.contains(&80) { Err(rows.start) } else { Ok(()) };
        assert_eq!(lay(&mut vec![0.0; 100 * 7], 7, read, |_, _| {}), Err(80));
    }
}
