//! The times of a record: those of a part of it, in as little memory as they need.

use hdrhistogram::Histogram;

use super::{DIGITS, Record, add};

impl Record {
    /// Replaces the times with those of a part of what this record counts.
    pub fn set_times(&mut self, part: Self) {
        self.phases = part.phases;
        self.held_phases = part.held_phases;
        self.total = part.total;
        self.corrected = part.corrected;
        self.with_timed_out = part.with_timed_out;
        for ours in &mut self.by_target {
            let same = part
                .by_target
                .iter()
                .find(|tally| tally.target == ours.target);
            match same {
                Some(tally) => ours.total = tally.total.clone(),
                None => ours.total.reset(),
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
