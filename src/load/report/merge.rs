//! Several reports become one, as if one tool had run.

use std::time::Duration;

use super::Report;

impl Report {
    /// Adds what another tool has measured, at the same time or at another.
    ///
    /// # Errors
    /// One line: which option they differ in, so that a sum would say nothing.
    pub fn add(&mut self, mut other: Self) -> Result<(), String> {
        if let Some(why) = self.setup.cannot_add(&other.setup) {
            return Err(why);
        }
        self.rate = match (self.rate, other.rate) {
            (Some(ours), Some(others)) => Some(ours.saturating_add(others)),
            (None, None) => None,
            (Some(_), None) => {
                return Err("it is a closed loop, and an open one was before".to_owned());
            }
            (None, Some(_)) => {
                return Err("it is an open loop, and a closed one was before".to_owned());
            }
        };
        other.rate = self.rate;
        self.setup.add(&other.setup);
        other.setup.clone_from(&self.setup);
        self.add_part(other);
        Ok(())
    }

    /// Adds another part of the same run. The one that began first stays what it is; the other is put
    /// into it.
    pub(crate) fn add_part(&mut self, mut other: Self) {
        if other.began < self.began {
            std::mem::swap(self, &mut other);
        }
        let later = other.began.duration_since(self.began);
        let later = later.unwrap_or(Duration::ZERO);
        self.record.add(&other.record, later);
        self.elapsed = self.elapsed.max(later + other.elapsed);
        for target in other.targets {
            if !self.targets.contains(&target) {
                self.targets.push(target);
            }
        }
        self.is_cut_short |= other.is_cut_short;
        self.error = self.error.take().or(other.error);
    }
}

#[cfg(test)]
mod tests;
