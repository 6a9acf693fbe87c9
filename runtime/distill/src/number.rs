//! Arithmetic on slices, written so that the compiler makes vector code of it.
//!
//! Invariant: each function adds up in one order that depends on nothing but the length, so results repeat to the bit.

/// Partial sums kept side by side: one 512-bit register of floats.
pub(crate) const LANES: usize = 16;

/// e^x to about two units in the last place; Cephes' `expf` (S. L. Moshier), without branches.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    /// Adding and taking away this number rounds to an integer, and leaves that integer in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.3, 88.3);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    // ln 2 in two parts, the first of few bits, so that n times it is exact.
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 0.5;
    let p = p * r * r + r + 1.0;
    let power = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    p * power
}

/// σ(x) = 1 / (1 + e^-x)
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// tanh x = 1 - 2 / (e^2x + 1)
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    1.0 - 2.0 / (exp(2.0 * x) + 1.0)
}

#[inline(always)]
fn fold(mut lanes: [f32; LANES], rest: f32) -> f32 {
    let mut n = LANES / 2;
    while n > 0 {
        for i in 0..n {
            lanes[i] += lanes[i + n];
        }
        n /= 2;
    }
    lanes[0] + rest
}

/// Σ a b
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for (a, b) in a.iter().zip(b) {
        for i in 0..LANES {
            lanes[i] += a[i] * b[i];
        }
    }
    let rest = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    fold(lanes, rest)
}

/// Σ a b c
#[inline(always)]
pub(crate) fn dot3(a: &[f32], b: &[f32], c: &[f32]) -> f32 {
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    let (c, c_rest) = c.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for ((a, b), c) in a.iter().zip(b).zip(c) {
        for i in 0..LANES {
            lanes[i] += a[i] * b[i] * c[i];
        }
    }
    let rest = a_rest.iter().zip(b_rest).zip(c_rest).map(|((a, b), c)| a * b * c).sum();
    fold(lanes, rest)
}

/// The largest number, or -∞ of none.
#[inline(always)]
pub(crate) fn max(x: &[f32]) -> f32 {
    let (chunks, rest) = x.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        for i in 0..LANES {
            lanes[i] = lanes[i].max(chunk[i]);
        }
    }
    rest.iter().chain(&lanes).fold(f32::NEG_INFINITY, |a, b| a.max(*b))
}

/// Replaces each x by e^(x - shift) and gives the sum.
#[inline(always)]
pub(crate) fn exp_sum(x: &mut [f32], shift: f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let (chunks, rest) = x.as_chunks_mut::<LANES>();
    for chunk in chunks {
        for i in 0..LANES {
            chunk[i] = exp(chunk[i] - shift);
            lanes[i] += chunk[i];
        }
    }
    let mut sum = 0.0;
    for x in rest {
        *x = exp(*x - shift);
        sum += *x;
    }
    fold(lanes, sum)
}

/// Σ x², in double precision, for norms over many numbers.
pub(crate) fn square_sum(x: &[f32]) -> f64 {
    x.chunks(4096).map(|part| f64::from(dot(part, part))).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_and_its_kin_agree_with_the_standard_library() {
        for i in -8_700..8_800_i16 {
            let x = f32::from(i) / 100.0;
            let (ours, theirs) = (exp(x), x.exp());
            assert!((ours - theirs).abs() <= theirs * 4e-7, "e^{x} is {theirs}, not {ours}");
            assert!((tanh(x / 10.0) - (x / 10.0).tanh()).abs() < 4e-7, "tanh {x}/10");
            assert!((sigmoid(x) - 1.0 / (1.0 + (-x).exp())).abs() < 4e-7, "σ({x})");
        }
        assert!(exp(-1e9) < 1e-37 && exp(1e9) > 1e38);
        assert!(exp(f32::NEG_INFINITY) < 1e-37);
    }

    #[test]
    fn sums_take_every_element_once() {
        for n in 0..70_u8 {
            let x: Vec<f32> = (0..n).map(f32::from).collect();
            let ones = vec![1.0; x.len()];
            let sum: f32 = x.iter().sum();
            assert_eq!(dot(&x, &ones), sum);
            assert_eq!(dot3(&ones, &x, &ones), sum);
            assert_eq!(max(&x), x.iter().copied().fold(f32::NEG_INFINITY, f32::max));
            let mut zero = vec![3.0; x.len()];
            assert_eq!(exp_sum(&mut zero, 3.0), f32::from(n));
        }
    }
}
