//! Matrix products in f32: strided views and one call.
//!
//! Not a linear algebra library. Invariant: a view's last element lies inside its slice, so a product touches nothing
//! outside the three slices. The same shapes and threads give the same bits: sums run over `k` in one order.

use std::ops::Range;

/// A matrix to read.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    data: &'a [f32],
    n_rows: usize,
    n_cols: usize,
    row_stride: usize,
    col_stride: usize,
}

/// A matrix to write, its rows contiguous.
pub(crate) struct ViewMut<'a> {
    data: &'a mut [f32],
    n_rows: usize,
    n_cols: usize,
    row_stride: usize,
}

/// Whether a matrix of these strides lies inside `len` numbers.
fn fits(len: usize, n_rows: usize, n_cols: usize, row_stride: usize, col_stride: usize) -> bool {
    if n_rows == 0 || n_cols == 0 {
        return true;
    }
    let last = (n_rows - 1)
        .checked_mul(row_stride)
        .zip((n_cols - 1).checked_mul(col_stride))
        .and_then(|(row, col)| row.checked_add(col));
    last.is_some_and(|last| last < len) && isize::try_from(len).is_ok()
}

impl<'a> View<'a> {
    /// Rows of `n_cols` numbers, one behind the other.
    pub(crate) fn new(data: &'a [f32], n_rows: usize, n_cols: usize) -> Self {
        Self::strided(data, n_rows, n_cols, n_cols)
    }

    /// Rows of `n_cols` numbers that begin `row_stride` apart.
    pub(crate) fn strided(data: &'a [f32], n_rows: usize, n_cols: usize, row_stride: usize) -> Self {
        assert!(
            fits(data.len(), n_rows, n_cols, row_stride, 1),
            "a view of {n_rows} x {n_cols} is too large"
        );
        Self { data, n_rows, n_cols, row_stride, col_stride: 1 }
    }

    pub(crate) fn n_cols(&self) -> usize {
        self.n_cols
    }

    /// Rows for columns.
    pub(crate) fn transposed(self) -> Self {
        Self {
            n_rows: self.n_cols,
            n_cols: self.n_rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }

    /// The first `n_rows` rows and the rest, both with a row at least.
    fn split(self, n_rows: usize) -> (Self, Self) {
        assert!(n_rows < self.n_rows, "{n_rows} of {} rows leave none", self.n_rows);
        let rest =
            Self { data: &self.data[n_rows * self.row_stride..], n_rows: self.n_rows - n_rows, ..self };
        (Self { n_rows, ..self }, rest)
    }
}

impl<'a> ViewMut<'a> {
    /// Rows of `n_cols` numbers, one behind the other.
    pub(crate) fn new(data: &'a mut [f32], n_rows: usize, n_cols: usize) -> Self {
        Self::strided(data, n_rows, n_cols, n_cols)
    }

    /// Rows of `n_cols` numbers that begin `row_stride` apart.
    pub(crate) fn strided(data: &'a mut [f32], n_rows: usize, n_cols: usize, row_stride: usize) -> Self {
        assert!(
            fits(data.len(), n_rows, n_cols, row_stride, 1),
            "a view of {n_rows} x {n_cols} is too large"
        );
        assert!(n_rows < 2 || row_stride >= n_cols, "rows of {n_cols} that begin {row_stride} apart overlap");
        Self { data, n_rows, n_cols, row_stride }
    }

    /// Some of its columns.
    pub(crate) fn columns(&mut self, columns: Range<usize>) -> ViewMut<'_> {
        assert!(columns.end <= self.n_cols, "{columns:?} of {} columns", self.n_cols);
        ViewMut::strided(&mut self.data[columns.start..], self.n_rows, columns.len(), self.row_stride)
    }

    /// The first `n_rows` rows and the rest, both with a row at least.
    fn split(self, n_rows: usize) -> (Self, Self) {
        assert!(n_rows < self.n_rows, "{n_rows} of {} rows leave none", self.n_rows);
        let (data, rest) = self.data.split_at_mut(n_rows * self.row_stride);
        (Self { data, n_rows, ..self }, Self { data: rest, n_rows: self.n_rows - n_rows, ..self })
    }
}

/// What becomes of the output's old numbers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Into {
    /// They are replaced.
    Fresh,
    /// The product is added to them.
    Sum,
}

/// Fewest multiplications that are worth another thread.
const WORTH: usize = 1 << 18;

/// `out = scale a b`, or added to what `out` holds, on the threads of the pool that this is called in.
pub(crate) fn multiply(out: ViewMut, a: View, b: View, scale: f32, into: Into) {
    share_rows(out, a, &|out, a| multiply_serial(out, a, b, scale, into));
}

/// Has `product` make rows of `out` from the same rows of `a`, all in all `out.n_cols` x `a.n_cols` multiplications for
/// each, on the threads of the pool that this is called in.
///
/// Each thread makes rows of its own, from beginning to end: the kernels' own sharing has the threads meet at every
/// block.
pub(crate) fn share_rows(out: ViewMut, a: View, product: &(impl Fn(ViewMut, View) + Sync)) {
    let work = out.n_rows.saturating_mul(out.n_cols).saturating_mul(a.n_cols);
    share(rayon::current_num_threads().min(work / WORTH).min(out.n_rows), out, a, product);
}

/// In `n_parts`, no more than there are rows, of about as many rows.
fn share(n_parts: usize, out: ViewMut, a: View, product: &(impl Fn(ViewMut, View) + Sync)) {
    if n_parts < 2 {
        return product(out, a);
    }
    let n_first = n_parts / 2;
    let n_rows = out.n_rows * n_first / n_parts;
    let ((out, out_rest), (a, a_rest)) = (out.split(n_rows), a.split(n_rows));
    rayon::join(|| share(n_first, out, a, product), || share(n_parts - n_first, out_rest, a_rest, product));
}

/// [`multiply`] on the calling thread.
pub(crate) fn multiply_serial(out: ViewMut, a: View, b: View, scale: f32, into: Into) {
    let (m, n, k) = (a.n_rows, b.n_cols, a.n_cols);
    assert!(
        out.n_rows == m && out.n_cols == n && b.n_rows == k,
        "{m} x {k} times {} x {n} does not make {} x {}",
        b.n_rows,
        out.n_rows,
        out.n_cols
    );
    if m == 0 || n == 0 {
        return;
    }
    // SAFETY: `fits` found each view's last element inside its slice when the view was made, and a part of a view has
    // the slice from its first row on, with fewer rows. Strides are not negative, so all that the kernel reads (m x k,
    // k x n) and writes (m x n) lies inside the three slices. Strides are below the slices' lengths or unused, and those
    // fit an isize. `out` is borrowed mutably, so it overlaps neither input, and its rows do not overlap each other.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.data.as_mut_ptr(),
            1,
            out.row_stride.cast_signed(),
            into == Into::Sum,
            a.data.as_ptr(),
            a.col_stride.cast_signed(),
            a.row_stride.cast_signed(),
            b.data.as_ptr(),
            b.col_stride.cast_signed(),
            b.row_stride.cast_signed(),
            1.0,
            scale,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_transposed_and_strided_views_are_right() {
        let a: Vec<f32> = (0..12_u8).map(f32::from).collect();
        let b: Vec<f32> = (0..8_u8).map(|i| f32::from(i) - 3.0).collect();
        let mut out = [1.0; 12];
        // The left two columns of a 4 x 3 matrix, times the transpose of a 4 x 2 matrix whose rows are 2 long.
        multiply_serial(
            ViewMut::strided(&mut out[..11], 4, 2, 3),
            View::strided(&a, 4, 2, 3),
            View::new(&b[..4], 2, 2).transposed(),
            2.0,
            Into::Sum,
        );
        for row in 0..4 {
            for col in 0..2 {
                let sum: f32 = (0..2).map(|k| a[row * 3 + k] * b[col * 2 + k]).sum();
                assert!((out[row * 3 + col] - (1.0 + 2.0 * sum)).abs() < 1e-6);
            }
        }
        assert!(out[2] == 1.0 && out[5] == 1.0, "numbers between the rows were touched");
    }

    #[test]
    fn shared_rows_are_those_of_one_thread() {
        // 67 rows for three threads: parts of different lengths; strides wider than the rows; both ways of `into`.
        let (m, n, k) = (67, 130, 150);
        let numbers =
            |len: usize| -> Vec<f32> { (0_u16..).take(len).map(|i| f32::from(i % 37) - 18.0).collect() };
        let (a, b) = (numbers(m * (k + 5)), numbers(n * k));
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().expect("three threads");
        for into in [Into::Fresh, Into::Sum] {
            let (mut shared, mut alone) = (numbers(m * (n + 2)), numbers(m * (n + 2)));
            let a = View::strided(&a, m, k, k + 5);
            let b = View::new(&b, n, k).transposed();
            pool.install(|| multiply(ViewMut::strided(&mut shared, m, n, n + 2), a, b, 0.5, into));
            multiply_serial(ViewMut::strided(&mut alone, m, n, n + 2), a, b, 0.5, into);
            // Small whole numbers: every sum is exact, whatever its order.
            assert_eq!(shared, alone);
        }
        assert!(m * n * k > 3 * WORTH);
    }

    #[test]
    #[should_panic(expected = "too large")]
    fn a_view_past_its_slice_is_refused() {
        let _ = View::strided(&[0.0; 10], 4, 3, 3);
    }
}
