//! A record is cut where an interval ends, and records of one interval after the other make one.

use std::time::Duration;

use super::{Record, Tally};
use crate::load::machine::schedule::Stage;

impl Record {
    /// Moves what was measured to `taken`, and goes on with an empty record. What is open stays open:
    /// a connection counts where it ends, so `taken` has as many opened as ended in it. The other
    /// counts and times are those of the interval. `taken` is overwritten; its memory is used again.
    pub(crate) fn cut(&mut self, taken: &mut Self) {
        taken.clear(self);
        std::mem::swap(self, taken);
        let open = taken.outcomes.close();
        self.outcomes.opened = open;
        self.most_open = open;
        for (tally, next) in taken.by_target.iter_mut().zip(&mut self.by_target) {
            next.outcomes.opened = tally.outcomes.close();
        }
        let stage = taken.stages.last().map_or(Stage::Ramp, |(stage, _)| *stage);
        self.stages.push((stage, Duration::ZERO));
    }

    /// Adds what was measured next, by the same clients, which began so much later than this.
    pub fn follow(&mut self, next: &Self, later: Duration) {
        let (right, wrong) = (self.outcomes.right, self.outcomes.wrongs());
        self.course.follow(&next.course, later, right, wrong);
        self.add_counts(next);
        self.most_open = self.most_open.max(next.most_open);
        self.stood_still += next.stood_still;
        for (shortage, waited) in &next.waited {
            *self.waited.entry(*shortage).or_default() += *waited;
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

    /// Empties it, and gives it the other's targets.
    fn clear(&mut self, other: &Self) {
        let all = self.phases.iter_mut().chain(&mut self.held_phases);
        let totals = [
            &mut self.total,
            &mut self.corrected,
            &mut self.with_timed_out,
        ];
        all.chain(totals).for_each(|histogram| histogram.reset());
        let names = |record: &Self| -> Vec<String> {
            let tallies = record.by_target.iter();
            tallies.map(|tally| tally.target.clone()).collect()
        };
        if names(self) != names(other) {
            self.by_target.clone_from(&other.by_target);
        }
        self.by_target.iter_mut().for_each(Tally::clear);
        self.outcomes = super::Outcomes::default();
        self.churned = 0;
        self.described.clear();
        self.missed = 0;
        self.bytes = [0; 2];
        self.echoed = [0; 2];
        self.echoed_in_part = 0;
        self.most_open = 0;
        self.held = 0;
        self.latest = Duration::ZERO;
        self.waited.clear();
        self.stood_still = Duration::ZERO;
        self.stages.clear();
        self.threads.clear();
        self.course = super::Course::default();
    }
}

impl Tally {
    fn clear(&mut self) {
        self.outcomes = super::Outcomes::default();
        self.total.reset();
    }
}
