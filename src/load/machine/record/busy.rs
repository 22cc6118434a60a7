//! How busy the load client itself was.

use std::time::Duration;

/// How busy one thread was while exchanges came and went. If none did, it is about the end of the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Busy {
    /// The time that this is about.
    pub of: Duration,
    /// The processor time that the thread had.
    pub cpu: Duration,
    /// How long the thread did not wait for an event. It may have waited for a processor.
    pub awake: Duration,
}

impl Busy {
    /// A thread that is awake for this share of the time may be what limits a run.
    const SATURATED: f64 = 0.9;

    /// In a shorter time a thread is awake because it begins and ends.
    const LONG_ENOUGH: Duration = Duration::from_millis(100);

    /// The share of a core that it used.
    #[must_use]
    pub fn core(&self) -> f64 {
        share(self.cpu, self.of)
    }

    /// The share of the time for which it was awake.
    #[must_use]
    pub fn wakefulness(&self) -> f64 {
        share(self.awake, self.of)
    }

    /// Whether it had no time to spare.
    #[must_use]
    pub fn is_saturated(&self) -> bool {
        self.of >= Self::LONG_ENOUGH && self.wakefulness() >= Self::SATURATED
    }
}

fn share(part: Duration, of: Duration) -> f64 {
    part.as_secs_f64() / of.as_secs_f64().max(1e-9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_saturated_from_nine_tenths_on() {
        for (awake, is_saturated) in [(8900, false), (9000, true)] {
            let busy = Busy {
                of: Duration::from_secs(10),
                cpu: Duration::from_millis(2500),
                awake: Duration::from_millis(awake),
            };
            assert!((busy.core() - 0.25).abs() < 1e-9, "{busy:?}");
            assert!((busy.wakefulness() * 1e4 - awake as f64).abs() < 1e-9);
            assert_eq!(busy.is_saturated(), is_saturated, "{busy:?}");
        }
        assert!(!Busy::default().is_saturated());
    }
}
