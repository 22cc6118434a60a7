//! The times of a record: those of a part of it, in as little memory as they need.

use hdrhistogram::Histogram;

use super::sum::same;
use super::{DIGITS, Record, add};

/// An hour, in nanoseconds.
const LONGEST: u64 = 3_600_000_000_000;

/// What a record reserves for its times at most, in bytes.
pub(crate) const RESERVED: usize = 3 << 20;

impl Record {
    /// Replaces the times with those of a part of what this record counts.
    pub fn set_times(&mut self, part: Self) {
        self.phases = part.phases;
        self.held_phases = part.held_phases;
        self.total = part.total;
        self.corrected = part.corrected;
        self.with_timed_out = part.with_timed_out;
        for place in 0..self.by_target.len() {
            let theirs = same(&self.by_target, place, &part.by_target);
            let ours = &mut self.by_target[place].total;
            match theirs {
                Some(theirs) => ours.clone_from(&part.by_target[theirs].total),
                None => ours.reset(),
            }
        }
    }

    /// Reserves the memory for times of up to an hour, so that a run never lacks it: [`RESERVED`] bytes.
    /// Longer times may need more.
    #[must_use]
    pub(crate) fn reserved(mut self) -> Self {
        for times in self.times() {
            if let Ok(mut reserved) = Histogram::new_with_max(LONGEST, DIGITS) {
                reserved.auto(true);
                add(&mut reserved, times);
                *times = reserved;
            }
        }
        self
    }

    /// The same without memory that is reserved for times that did not occur.
    #[must_use]
    pub fn compacted(mut self) -> Self {
        self.times().for_each(|times| *times = compacted(times));
        self
    }

    fn times(&mut self) -> impl Iterator<Item = &mut Histogram<u64>> {
        let phases = self.phases.iter_mut().chain(&mut self.held_phases);
        phases.chain([
            &mut self.total,
            &mut self.corrected,
            &mut self.with_timed_out,
        ])
    }
}

/// The same times in as little memory as they need.
pub(super) fn compacted(times: &Histogram<u64>) -> Histogram<u64> {
    let Ok(mut small) = Histogram::new(DIGITS) else {
        return times.clone(); // there is this precision
    };
    add(&mut small, times);
    small
}
