//! Random numbers that are a function of a seed and a place.
//!
//! Nothing here has a state that runs along: what is drawn for step 17 does not depend on whether step 16 ran in this
//! process, so a resumed run draws what the unbroken one would. Mixing: the finaliser of SplitMix64 (Steele et al.,
//! OOPSLA 2014). Not for secrets.

/// A stream of numbers with its own place in the run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stream(u64);

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

#[inline(always)]
fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

impl Stream {
    /// The stream of this seed and place; places that differ in any number are independent.
    pub(crate) fn new(seed: u64, place: &[u64]) -> Self {
        Self(place.iter().fold(mix(seed.wrapping_add(STEP)), |state, part| {
            mix(state.wrapping_add(STEP) ^ mix(part.wrapping_add(STEP)))
        }))
    }

    /// The n-th number.
    #[inline(always)]
    pub(crate) fn bits(self, n: u64) -> u64 {
        mix(self.0.wrapping_add((n + 1).wrapping_mul(STEP)))
    }

    /// The n-th number, uniform in [0, 1), of 24 bits.
    #[expect(clippy::cast_precision_loss, reason = "24 bits fit an f32")]
    #[inline(always)]
    pub(crate) fn unit(self, n: u64) -> f32 {
        (self.bits(n) >> 40) as f32 / 16_777_216.0
    }

    /// Shuffles; Fisher and Yates.
    pub(crate) fn shuffle<T>(self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            // A bias of i / 2^64 does not matter here.
            let j = self.bits(i as u64) % (i as u64 + 1);
            items.swap(i, usize::try_from(j).unwrap_or(0));
        }
    }
}
