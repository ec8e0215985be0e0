//! The only door to chance: a small seeded generator (xorshift64*), for tests, jitter and generators that must repeat.

use std::hash::BuildHasher;

/// 64 bits from the operating system's source, for names that nobody else may have.
pub fn entropy() -> u64 {
    std::hash::RandomState::new().hash_one(0)
}

/// A seeded stream of numbers.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// Any seed will do, 0 included.
    pub fn new(seed: u64) -> Rng {
        Rng(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number in `0..n`; 0 if `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        if n == 0 { 0 } else { ((u128::from(self.next_u64()) * u128::from(n)) >> 64) as u64 }
    }

    /// Whether an event of this chance in percent happens.
    pub fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
}
