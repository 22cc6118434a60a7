//! A record is cut where an interval ends, and records of one interval after the other make one.

use std::time::Duration;

use super::{Course, Outcomes, Record, Tally, Windows};
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

    /// Empties it, and gives it the other's targets.
    fn clear(&mut self, other: &Self) {
        // All fields have names here, so that none is forgotten.
        let Self {
            outcomes,
            churned,
            described,
            missed,
            bytes,
            echoed,
            echoed_in_part,
            most_open,
            held,
            latest,
            waited,
            stood_still,
            stages,
            phases,
            held_phases,
            total,
            corrected,
            with_timed_out,
            by_target,
            threads,
            course,
            windows,
        } = self;
        *outcomes = Outcomes::default();
        described.clear();
        (*churned, *echoed_in_part, *most_open, *held) = (0, 0, 0, 0);
        (*missed, *bytes, *echoed) = (0, [0; 2], [0; 2]);
        (*latest, *stood_still) = (Duration::ZERO, Duration::ZERO);
        waited.clear();
        stages.clear();
        let phases = phases.iter_mut().chain(held_phases);
        let histograms = phases.chain([total, corrected, with_timed_out]);
        histograms.for_each(|histogram| histogram.reset());
        let names = |tallies: &[Tally]| -> Vec<String> {
            tallies.iter().map(|tally| tally.target.clone()).collect()
        };
        if names(by_target) != names(&other.by_target) {
            by_target.clone_from(&other.by_target);
        }
        by_target.iter_mut().for_each(Tally::clear);
        threads.clear();
        *course = Course::default();
        *windows = Windows::default();
    }
}

impl Tally {
    fn clear(&mut self) {
        self.outcomes = Outcomes::default();
        self.total.reset();
        self.windows = self.windows.take().map(|_| Windows::default());
    }
}
