//! Measures how busy a thread is.

use std::time::Duration;

use crate::load::machine::record::Busy;
use crate::reactor::deadlines::Moment;

/// The time that one thread has used since a moment. It is read by the thread itself.
pub(super) struct Meter {
    since: Moment,
    cpu: Duration,
    asleep: Duration,
}

impl Meter {
    pub(super) fn start(now: Moment) -> Self {
        let (cpu, asleep) = (cpu(), Duration::ZERO);
        Self {
            since: now,
            cpu,
            asleep,
        }
    }

    /// The thread has waited for an event.
    pub(super) fn note_sleep(&mut self, took: Duration) {
        self.asleep += took;
    }

    pub(super) fn read(&self, now: Moment) -> Busy {
        let of = self.since.until(now);
        Busy {
            of,
            cpu: cpu().saturating_sub(self.cpu),
            awake: of.saturating_sub(self.asleep),
        }
    }
}

/// The processor time of this thread, so far.
#[cfg(not(target_os = "netbsd"))]
fn cpu() -> Duration {
    use nix::time::{ClockId, clock_gettime};
    let clock = ClockId::from_raw(libc::CLOCK_THREAD_CPUTIME_ID);
    clock_gettime(clock).map_or(Duration::ZERO, Duration::from)
}

/// The crate libc does not have this clock of NetBSD.
#[cfg(target_os = "netbsd")]
fn cpu() -> Duration {
    Duration::ZERO
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn work_is_measured_and_sleep_is_not() {
        let start = Instant::now();
        let now = || Moment::new(start, Instant::now());
        let mut meter = Meter::start(now());
        std::thread::sleep(Duration::from_millis(30)); // what is measured
        meter.note_sleep(Duration::from_millis(30));
        let slept = meter.read(now());
        assert!(slept.of >= Duration::from_millis(30) && slept.cpu < slept.of / 2);
        assert_eq!(slept.awake, slept.of - Duration::from_millis(30));
        while meter.read(now()).cpu < slept.cpu + Duration::from_millis(20) {}
        let worked = meter.read(now());
        assert!(worked.awake >= slept.awake + Duration::from_millis(20));
        assert!(worked.core() > slept.core());
    }
}
