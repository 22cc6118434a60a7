//! The time of a run.

use std::time::{Duration, Instant};

use crate::reactor::deadlines::Moment;

/// Counts the time since the run began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    start: Instant,
}

impl Clock {
    /// The run begins now.
    pub(super) fn start() -> Self {
        let start = Instant::now();
        Self { start }
    }

    pub(super) fn now(self) -> Moment {
        Moment::new(self.start, Instant::now())
    }

    pub(super) fn elapsed(self) -> Duration {
        self.start.elapsed()
    }
}
