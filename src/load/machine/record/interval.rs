//! A record is cut where an interval ends, and records of one interval after the other make one.

use std::mem::take;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::sequence::compacted;
use super::{Record, Tally};
use crate::load::machine::schedule::Stage;

impl Record {
    /// Moves what was measured to another record, and goes on with an empty one. What is open stays open:
    /// a connection counts where it ends, so the other has as many opened as ended in it. The other
    /// counts and times are those of the interval. It takes as little memory as it needs; what was
    /// [reserved](Self::reserved) stays here.
    pub(crate) fn cut(&mut self) -> Self {
        let mut taken = Self {
            outcomes: take(&mut self.outcomes),
            churned: take(&mut self.churned),
            described: take(&mut self.described),
            missed: take(&mut self.missed),
            bytes: take(&mut self.bytes),
            echoed: take(&mut self.echoed),
            echoed_in_part: take(&mut self.echoed_in_part),
            most_open: take(&mut self.most_open),
            held: take(&mut self.held),
            latest: take(&mut self.latest),
            waited: take(&mut self.waited),
            stood_still: take(&mut self.stood_still),
            threads: take(&mut self.threads),
            stages: take(&mut self.stages),
            phases: self.phases.each_mut().map(take_times),
            held_phases: self.held_phases.each_mut().map(take_times),
            total: take_times(&mut self.total),
            corrected: take_times(&mut self.corrected),
            with_timed_out: take_times(&mut self.with_timed_out),
            by_target: self.by_target.iter_mut().map(Tally::cut).collect(),
            course: take(&mut self.course),
            windows: take(&mut self.windows),
        };
        let open = taken.outcomes.close();
        (self.outcomes.opened, self.most_open) = (open, open);
        let stage = taken.stages.last().map_or(Stage::Ramp, |(stage, _)| *stage);
        self.stages.push((stage, Duration::ZERO));
        taken
    }

    /// Adds what was measured next, by the same clients, which began so much later than this.
    pub fn follow(&mut self, next: &Self, later: Duration) {
        let (right, wrong) = (self.outcomes.right, self.outcomes.wrongs());
        self.course.follow(&next.course, later, right, wrong);
        self.add_counts(next, later);
        self.most_open = self.most_open.max(next.most_open);
        self.stood_still += next.stood_still;
        for (shortage, waited) in &next.waited {
            *self.waited.entry(*shortage).or_default() += *waited;
        }
        // What begins again was not over: a window of a search follows one that has ended.
        if next
            .stages
            .first()
            .is_some_and(|(stage, _)| *stage != Stage::Over)
        {
            self.stages.retain(|(stage, _)| *stage != Stage::Over);
        }
        for (stage, at) in &next.stages {
            if self.stages.iter().all(|(known, _)| known != stage) {
                self.stages.push((*stage, *at + later));
            }
        }
    }

    /// The last interval was added, and the run took so long in all.
    pub fn close(&mut self, elapsed: Duration) {
        let (right, wrong) = (self.outcomes.right, self.outcomes.wrongs());
        self.course.close(elapsed, right, wrong);
    }
}

impl Tally {
    fn cut(&mut self) -> Self {
        let mut taken = Self {
            target: self.target.clone(),
            outcomes: take(&mut self.outcomes),
            total: take_times(&mut self.total),
            windows: self.windows.as_mut().map(take),
        };
        self.outcomes.opened = taken.outcomes.close();
        taken
    }
}

/// Most intervals of a run leave some histograms empty, and those cost next to nothing.
fn take_times(times: &mut Histogram<u64>) -> Histogram<u64> {
    let taken = compacted(times);
    if !times.is_empty() {
        times.reset();
    }
    taken
}
