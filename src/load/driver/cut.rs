//! Where a record is cut, so that each interval of a run has its own.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Load;
use super::worker::Worker;
use crate::load::machine::record::{Record, Shortage};

/// Where the present record begins.
#[derive(Debug, Default)]
pub(super) struct Cut {
    /// From the start of the run.
    pub(super) at: Duration,
    /// How long the process had stood still by then.
    pub(super) stood_still: Duration,
    /// How long each shortage had lasted by then.
    pub(super) waited: BTreeMap<Shortage, Duration>,
}

impl Load {
    /// Moves everything that was measured since the last cut, or since the start, to `taken`, and goes on
    /// with an empty record. `taken` is overwritten.
    ///
    /// A connection counts where it ends: `taken` has as many opened as are right, wrong or given up in
    /// it. So the records of a whole run add up to it, to the connection. The threads are cut one after
    /// the other, some milliseconds apart. Returns the moment of the first of these cuts, from the
    /// start of the run: the times of the next record count from it.
    pub fn cut(&mut self, taken: &mut Record) -> Duration {
        self.gathered = None;
        if let Some(ended) = self.ended {
            self.worker.clients.record.cut(taken); // it has all threads' records
            return ended;
        }
        self.worker.cut(taken);
        self.team.cut(taken);
        self.worker.cut.at
    }
}

impl Worker {
    /// As [`Load::cut`]. The memory of `taken` is used again, so that a run that lasts for days takes no
    /// more of it.
    pub(super) fn cut(&mut self, taken: &mut Record) {
        let clock = &self.clients.clock;
        let (at, stood_still) = (clock.elapsed(), clock.stood_still());
        let point = self.clients.point(at.saturating_sub(self.cut.at));
        self.clients.record.course.end(point);
        self.clients.record.cut(taken);
        (self.cut.at, self.cut.stood_still) = (at, stood_still);
        for (shortage, waited) in &taken.waited {
            *self.cut.waited.entry(*shortage).or_default() += *waited;
        }
    }
}
