//! The plainest block formats as floats, in code that the compiler makes vector code of.
//!
//! ggml reads every format, but its readers are built for the least CPU of an architecture and take one number after the
//! other: a twentieth of a training run's processor time in the formats below. The layouts are those of llama.cpp's `ggml-common.h`:
//! scales as 16-bit floats in front, then 32 numbers. Invariant: the same bits as ggml's.

use crate::ffi::{Q4_0, Q4_1, Q8_0};
use half::f16;

/// Numbers in a block.
const N: usize = 32;

/// Reads `out` from whole blocks. False, and `out` as it was, where the format is none of these.
pub(super) fn read(format: u32, blocks: &[u8], out: &mut [f32]) -> bool {
    match format {
        Q4_0 => each(blocks, out, |[d0, d1, q @ ..]: &[u8; 2 + N / 2], out| {
            let d = scale([*d0, *d1]);
            nibbles(q, out, |q| (q - 8.0) * d);
        }),
        Q4_1 => each(blocks, out, |[d0, d1, m0, m1, q @ ..]: &[u8; 4 + N / 2], out| {
            let (d, m) = (scale([*d0, *d1]), scale([*m0, *m1]));
            nibbles(q, out, |q| q * d + m);
        }),
        Q8_0 => each(blocks, out, |[d0, d1, q @ ..]: &[u8; 2 + N], out| {
            let d = scale([*d0, *d1]);
            for i in 0..N {
                out[i] = f32::from(q[i].cast_signed()) * d;
            }
        }),
        _ => return false,
    }
    true
}

#[inline(always)]
fn each<const BYTES: usize>(blocks: &[u8], out: &mut [f32], one: impl Fn(&[u8; BYTES], &mut [f32; N])) {
    let (blocks, out) = (blocks.as_chunks().0, out.as_chunks_mut().0);
    blocks.iter().zip(out).for_each(|(block, out)| one(block, out));
}

#[inline(always)]
fn scale(bytes: [u8; 2]) -> f32 {
    f16::from_le_bytes(bytes).to_f32()
}

/// Low halves of the bytes, then high ones.
#[inline(always)]
fn nibbles(q: &[u8; N / 2], out: &mut [f32; N], value: impl Fn(f32) -> f32) {
    for i in 0..N / 2 {
        out[i] = value(f32::from(q[i] & 15));
        out[i + N / 2] = value(f32::from(q[i] >> 4));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ffi::{F32, Format};

    #[test]
    fn the_bits_are_those_of_ggml() {
        for code in [Q4_0, Q4_1, Q8_0] {
            let format = Format::find(code).unwrap();
            let n_blocks = 4099;
            // Every byte at every place of a block, in scales too: zeros of both signs, denormals, infinities, NaN.
            let blocks: Vec<u8> = (0..u64::try_from(n_blocks * format.n_bytes).unwrap())
                .map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u8)
                .collect();
            let (mut ours, mut theirs) = (vec![0.0; n_blocks * N], vec![0.0; n_blocks * N]);
            assert!(read(code, &blocks, &mut ours) && format.read(&blocks, &mut theirs));
            let apart = ours
                .iter()
                .zip(&theirs)
                .position(|(a, b)| a.to_bits() != b.to_bits() && !(a.is_nan() && b.is_nan()));
            assert_eq!(apart, None, "format {code}");
            assert!(
                ours.iter().filter(|x| x.is_normal()).count() > n_blocks * N / 2,
                "format {code} gives no numbers"
            );
        }
        assert!(!read(F32, &[0; 4], &mut [0.0]));
    }
}
