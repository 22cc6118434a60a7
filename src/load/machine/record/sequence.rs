//! The times of a record: those of a part of it, in as little memory as they need.

use hdrhistogram::Histogram;

use super::sum::same;
use super::{DIGITS, Record, add};

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

    /// The same without the memory that is reserved for times that did not occur.
    #[must_use]
    pub fn compacted(mut self) -> Self {
        let phases = self.phases.iter_mut().chain(&mut self.held_phases);
        let totals = [
            &mut self.total,
            &mut self.corrected,
            &mut self.with_timed_out,
        ];
        phases.chain(totals).for_each(compact);
        self
    }
}

fn compact(histogram: &mut Histogram<u64>) {
    if let Ok(mut small) = Histogram::new(DIGITS) {
        add(&mut small, histogram);
        *histogram = small;
    }
}
