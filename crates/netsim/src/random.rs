//! Pseudo-random numbers for simulations: small, fast, the same on every machine. Must never be used for secrets.
//!
//! The generator is xoshiro256++ (Blackman and Vigna, <https://prng.di.unimi.it>), seeded through SplitMix64 as its authors
//! advise. It is written out here because it is twenty lines, and because a recorded seed must mean the same in ten years.

/// A stream of pseudo-random numbers that its seed decides.
#[derive(Clone, Debug)]
pub struct Random {
    state: [u64; 4],
}

impl Random {
    /// Makes the stream of a seed. Any seed is as good as any other, zero included.
    pub fn new(seed: u64) -> Self {
        let mut mixed = seed;
        Self {
            state: std::array::from_fn(|_| split_mix(&mut mixed)),
        }
    }

    /// Returns the next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let result = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let (c, d) = (c ^ a, d ^ b);
        self.state = [a ^ d, b ^ c, c ^ (b << 17), d.rotate_left(45)];
        result
    }

    /// Returns a number of 0.0 or more and less than 1.0.
    pub fn fraction(&mut self) -> f64 {
        // The 53 upper bits are exactly what an f64 holds.
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Returns a whole number of 0 or more and less than `bound`; 0 when the bound is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The upper half of a 128-bit product: the bias is at most bound / 2^64, far below what a simulation can notice.
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// Returns true with this probability, 0.0–1.0.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.fraction() < probability
    }

    /// Makes another stream, independent of this one and decided by it.
    pub fn fork(&mut self) -> Self {
        Self::new(self.next_u64())
    }
}

/// Returns the next number of a SplitMix64 stream, which turns neighbouring seeds into unrelated states.
pub(crate) fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_agrees_with_the_published_one() {
        // The first outputs of xoshiro256++ from the state 1, 2, 3, 4, as published with the rand_xoshiro crate.
        let mut random = Random { state: [1, 2, 3, 4] };
        let expected = [
            41_943_041,
            58_720_359,
            3_588_806_011_781_223,
            3_591_011_842_654_386,
            9_228_616_714_210_784_205,
        ];
        for number in expected {
            assert_eq!(random.next_u64(), number);
        }
    }

    #[test]
    fn split_mix_agrees_with_the_published_one() {
        let mut state = 1_234_567;
        assert_eq!(split_mix(&mut state), 6_457_827_717_110_365_317);
        assert_eq!(split_mix(&mut state), 3_203_168_211_198_807_973);
    }

    #[test]
    fn the_same_seed_gives_the_same_numbers_and_another_seed_others() {
        let numbers = |seed| {
            let mut random = Random::new(seed);
            (0..100).map(|_| random.next_u64()).collect::<Vec<_>>()
        };
        assert_eq!(numbers(7), numbers(7));
        assert_ne!(numbers(7), numbers(8));
    }

    #[test]
    fn fractions_are_even() {
        let mut random = Random::new(1);
        let mut tenths = [0_u32; 10];
        for _ in 0..100_000 {
            let fraction = random.fraction();
            assert!((0.0..1.0).contains(&fraction));
            tenths[(fraction * 10.0) as usize] += 1;
        }
        // Standard deviation of each count: 95.
        assert!(tenths.iter().all(|&count| count.abs_diff(10_000) < 500), "{tenths:?}");
    }

    #[test]
    fn numbers_stay_below_their_bound() {
        let mut random = Random::new(2);
        assert_eq!(random.below(0), 0);
        assert!((0..1000).all(|_| random.below(3) < 3));
        assert!((0..3).all(|wanted| (0..1000).any(|_| random.below(3) == wanted)));
    }
}
