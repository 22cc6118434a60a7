//! Random numbers that are the same for the same seed, for tests: splitmix64.

use super::payload::{GAMMA, mix};

/// The seed, and then where the generator is.
pub struct Random(pub u64);

impl Random {
    /// From 0 to below 1.
    pub fn uniform(&mut self) -> f64 {
        let number = mix(self.0);
        self.0 = self.0.wrapping_add(GAMMA);
        (number >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// From 0 to below `n`; 0 if `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        (self.uniform() * n as f64) as usize
    }

    /// Box and Muller's.
    #[cfg(test)]
    pub(in crate::load) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    #[cfg(test)]
    pub(in crate::load) fn choose<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}
