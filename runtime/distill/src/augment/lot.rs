//! Chance that is the same on every machine: a seed and some names give a number.
//!
//! The mixing function is SplitMix64 (Steele, Lea and Flood 2014), the hash over names FNV-1a; neither is for secrets.

/// A stream of numbers.
#[derive(Clone, Debug)]
pub(crate) struct Lot(u64);

impl Lot {
    /// The stream of `seed` for what `names` name.
    pub(crate) fn of(seed: u64, names: &[&str]) -> Self {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for name in names {
            // The end of a name counts, so that ["ab", "c"] is not ["a", "bc"]; no UTF-8 text holds 0xff.
            for &byte in name.as_bytes().iter().chain(&[0xff]) {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
        Self(mixed(seed) ^ hash)
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(self.0)
    }

    /// A number below `n`; 0 when `n` is 0. The bias of the remainder is below one in 2^32 for any list held in memory.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        let n = u64::try_from(n).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.next() % n).unwrap_or(0)
    }

    /// A number from 0 up to 1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// One of `list`.
    pub(crate) fn pick<'a, T>(&mut self, list: &'a [T]) -> Option<&'a T> {
        let at = self.below(list.len());
        list.get(at)
    }

    /// Puts `list` into an order of chance.
    pub(crate) fn shuffle<T>(&mut self, list: &mut [T]) {
        for i in (1..list.len()).rev() {
            let j = self.below(i + 1);
            list.swap(i, j);
        }
    }
}

fn mixed(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_published_generator() {
        let mut lot = Lot(1_234_567);
        assert_eq!([lot.next(), lot.next()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    }

    #[test]
    fn where_names_end_counts() {
        let first = |names: &[&str]| Lot::of(1, names).next();
        assert_ne!(first(&["ab", "c"]), first(&["a", "bc"]));
        assert_ne!(first(&["a"]), first(&["a", ""]));
        assert_ne!(Lot::of(1, &["a"]).next(), Lot::of(2, &["a"]).next());
        assert_eq!(first(&["a"]), first(&["a"]));
    }

    #[test]
    fn chance_stays_within_its_bounds() {
        let mut lot = Lot::of(3, &[]);
        assert!((0..1000).all(|_| (0.0..1.0).contains(&lot.unit()) && lot.below(7) < 7));
        assert_eq!(lot.below(0), 0);
        assert_eq!(lot.pick::<u8>(&[]), None);
        let mut list: Vec<u32> = (0..100).collect();
        lot.shuffle(&mut list);
        assert!(!list.is_sorted());
        list.sort_unstable();
        assert!(list.into_iter().eq(0..100));
    }
}
