//! The time of a run.

use std::time::{Duration, Instant};

use crate::load::machine::schedule::LATE;
use crate::reactor::deadlines::Moment;

/// Counts the time since the run began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    start: Instant,
    /// The last look at the clock that was meant to notice a stop.
    looked: Moment,
    /// How long the process stood still in all.
    stood_still: Duration,
}

impl Clock {
    /// The run begins now.
    pub(super) fn start() -> Self {
        Self {
            start: Instant::now(),
            looked: Moment::START,
            stood_still: Duration::ZERO,
        }
    }

    pub(super) fn now(&self) -> Moment {
        Moment::new(self.start, Instant::now())
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Looks at the clock, and returns the time. The process waited for `wait` at most since the last look, and otherwise had
    /// little to do. If much more time has passed, it stood still: it was stopped (SIGSTOP, a container's
    /// pause, a suspended machine), or it got no processor.
    pub(super) fn look(&mut self, wait: Duration) -> Moment {
        let now = self.now();
        let excess = self.looked.until(now).saturating_sub(wait);
        self.looked = now;
        if excess > LATE {
            self.stood_still += excess;
        }
        now
    }

    pub(super) fn stood_still(&self) -> Duration {
        self.stood_still
    }

    /// The time in which the process ran, at this moment. Timeouts count this time: bytes that
    /// nobody could receive were not late.
    pub(super) fn running(&self, now: Moment) -> Moment {
        let ran = Moment::START.until(now).saturating_sub(self.stood_still);
        Moment::START.after(ran)
    }

    /// The inverse of [`running`](Self::running), if the process does not stand still until then.
    pub(super) fn when(&self, running: Moment) -> Moment {
        running.after(self.stood_still)
    }
}
