//! Random numbers that depend on the seed and the place they are used, never on the thread.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::descent::step::Step;

/// A stream of uniform numbers for block (a, b) of one iteration.
pub(super) struct BlockNoise(ChaCha8Rng);

impl BlockNoise {
    pub fn new(step: &Step, a: usize, b: usize) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&step.seed.to_le_bytes());
        key[8..16].copy_from_slice(&(step.iteration as u64).to_le_bytes());
        let mut generator = ChaCha8Rng::from_seed(key);
        generator.set_stream((a as u64) << 32 | b as u64);
        BlockNoise(generator)
    }

    /// The next number, uniform on [0, 1) in steps of 2⁻²⁴.
    pub fn uniform(&mut self) -> f32 {
        (self.0.next_u32() >> 8) as f32 * (1.0 / (1 << 24) as f32)
    }

    /// Fills `out` with the next numbers.
    pub fn fill(&mut self, out: &mut [f32]) {
        for value in out {
            *value = self.uniform();
        }
    }
}
