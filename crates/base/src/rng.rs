//! Randomness as a value: one seed per lab, forked by *name*.
//!
//! A fork depends on the parent's seed and the fork's name only, never on how many numbers were drawn
//! before it or on what else exists. So adding a Pod does not change the sequence numbers of another.

/// A stream of pseudo-random numbers: xoshiro256** (Blackman and Vigna, 2018), seeded by SplitMix64.
///
/// Integers only; the same on every machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rng {
    seed: u64,
    state: [u64; 4],
}

impl Rng {
    /// The stream that belongs to `seed`.
    pub fn new(seed: u64) -> Self {
        let mut mix = seed;
        let state = std::array::from_fn(|_| split_mix_64(&mut mix));
        Rng { seed, state }
    }

    /// The stream of this stream's *seed* that is called `name`, for instance `pod/default/web-0/isn`.
    ///
    /// Independent of how much has been drawn from `self`.
    pub fn fork(&self, name: &str) -> Rng {
        // FNV-1a over the name, started from the parent's seed.
        let mut hash = 0xcbf2_9ce4_8422_2325 ^ self.seed.rotate_left(32);
        for byte in name.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        Rng::new(split_mix_64(&mut hash))
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        let result = self.state[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let shifted = self.state[1] << 17;
        self.state[2] ^= self.state[0];
        self.state[3] ^= self.state[1];
        self.state[1] ^= self.state[2];
        self.state[0] ^= self.state[3];
        self.state[2] ^= shifted;
        self.state[3] = self.state[3].rotate_left(45);
        result
    }

    /// The next 32 random bits.
    pub fn next_u32(&mut self) -> u32 {
        (self.next_u64() >> 32) as u32
    }

    /// A number in `0..bound`; 0 when `bound` is 0. Unbiased (Lemire's method with rejection).
    pub fn below(&mut self, bound: u32) -> u32 {
        if bound == 0 {
            return 0;
        }
        let threshold = bound.wrapping_neg() % bound;
        loop {
            let product = u64::from(self.next_u32()) * u64::from(bound);
            if product as u32 >= threshold {
                return (product >> 32) as u32;
            }
        }
    }

    /// `len` characters of `alphabet`, as Kubernetes makes the tails of generated names.
    pub fn letters(&mut self, alphabet: &str, len: u32) -> String {
        let letters: Vec<char> = alphabet.chars().collect();
        let count = u32::try_from(letters.len()).unwrap_or(u32::MAX);
        (0..len).filter_map(|_| letters.get(self.below(count) as usize).copied()).collect()
    }
}

fn split_mix_64(state: &mut u64) -> u64 {
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
    fn split_mix_matches_the_reference_sequence() {
        // The first outputs of the authors' splitmix64.c for state 1234567.
        let mut state = 1_234_567;
        let drawn: Vec<u64> = (0..3).map(|_| split_mix_64(&mut state)).collect();
        assert_eq!(drawn, [6457827717110365317, 3203168211198807973, 9817491932198370423]);
    }

    #[test]
    fn a_fork_depends_on_its_name_only() {
        let mut parent = Rng::new(1);
        let before = parent.fork("isn").next_u64();
        parent.next_u64();
        assert_eq!(parent.fork("isn").next_u64(), before);
        assert_ne!(parent.fork("isp").next_u64(), before);
        assert_ne!(Rng::new(2).fork("isn").next_u64(), before);
    }

    #[test]
    fn below_stays_below_and_reaches_every_value() {
        let mut rng = Rng::new(7);
        let mut seen = [0u32; 5];
        for _ in 0..1000 {
            seen[rng.below(5) as usize] += 1;
        }
        assert!(seen.iter().all(|&n| n > 150), "{seen:?}");
        assert_eq!(rng.below(0), 0);
    }
}
