//! The disk's source of randomness.

/// `SplitMix64`, after G. Steele, D. Lea and C. Flood, "Fast Splittable Pseudorandom Number Generators" (2014).
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: usize) -> usize {
        // The bias of the remainder is far below what a simulation could notice.
        usize::try_from(self.next() % limit as u64).expect("below a usize")
    }

    pub fn coin(&mut self) -> bool {
        self.next() & 1 == 1
    }
}
