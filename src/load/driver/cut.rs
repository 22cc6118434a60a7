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
    /// Takes everything that was measured since the last cut, or since the start, and goes on with an
    /// empty record.
    ///
    /// A connection counts where it ends: what is taken has as many opened as are right, wrong or given
    /// up in it. So the records of a whole run add up to it, to the connection. The threads are cut one
    /// after the other, some milliseconds apart. Also returns the moment of the first of these cuts,
    /// from the start of the run: the times of the next record count from it.
    pub fn cut(&mut self) -> (Record, Duration) {
        self.gathered = None;
        if let Some(ended) = self.ended {
            return (self.worker.clients.record.cut(), ended); // it has all threads' records
        }
        let mut taken = self.worker.cut();
        self.team.cut(&mut taken);
        (taken, self.worker.cut.at)
    }
}

impl Worker {
    /// As [`Load::cut`].
    pub(super) fn cut(&mut self) -> Record {
        let clock = &self.clients.clock;
        let (at, stood_still) = (clock.elapsed(), clock.stood_still());
        let point = self.clients.point(at.saturating_sub(self.cut.at));
        self.clients.record.course.end(point);
        let taken = self.clients.record.cut();
        (self.cut.at, self.cut.stood_still) = (at, stood_still);
        for (shortage, waited) in &taken.waited {
            *self.cut.waited.entry(*shortage).or_default() += *waited;
        }
        taken
    }
}
