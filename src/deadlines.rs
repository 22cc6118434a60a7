//! Who is due, in O(1), without a clock of its own.
//!
//! All deadlines of one kind lie the same time ahead, so they come due in the order in which they
//! were set: a queue is already sorted. It is linked through the entries themselves, which is why
//! adding, cancelling and expiring allocate nothing and look at no other entry but the neighbours.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

/// A point in time, in nanoseconds since just before the server began: half an
/// [`Instant`], and enough for 584 years.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(NonZeroU64);

impl Moment {
    /// The moment at which `now` is, for a server that began at `start`.
    pub(crate) fn new(start: Instant, now: Instant) -> Self {
        Self(NonZeroU64::MIN).after(now.saturating_duration_since(start))
    }

    /// `wait` later; at the end of time, if that is nearer.
    pub(crate) fn after(self, wait: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX)),
        )
    }

    /// How long it is from here to `later`; nothing if that is past.
    pub(crate) fn until(self, later: Self) -> Duration {
        Duration::from_nanos(later.0.get().saturating_sub(self.0.get()))
    }
}

/// An entry's place in one queue of deadlines, or in none.
#[derive(Debug)]
pub(crate) struct Timer {
    due: Option<Moment>,
    before: u32,
    behind: u32,
}

/// No entry. Keys are below it: a process has at most 2^31 descriptors, and a key for each.
const NOBODY: u32 = u32::MAX;

fn link(key: usize) -> u32 {
    u32::try_from(key).unwrap_or(NOBODY)
}

impl Timer {
    /// A timer in no queue.
    pub(crate) const IDLE: Self = Self {
        due: None,
        before: NOBODY,
        behind: NOBODY,
    };

    /// Whether it stands in a queue.
    pub(crate) fn is_running(&self) -> bool {
        self.due.is_some()
    }
}

/// Where the timers live: the server's table, by key.
pub(crate) trait Timers {
    /// The timer of entry `key`, `None` if there is no such entry.
    fn timer(&mut self, key: usize) -> Option<&mut Timer>;
}

/// The deadlines of one kind, in the order in which they come due.
#[derive(Debug)]
pub(crate) struct Deadlines {
    wait: Duration,
    first: u32,
    last: u32,
    /// Invariant: when the first is due, `None` if there is none.
    first_due: Option<Moment>,
}

impl Deadlines {
    /// No deadline yet; every one will be `wait` after the moment in which it is set.
    pub(crate) fn new(wait: Duration) -> Self {
        Self {
            wait,
            first: NOBODY,
            last: NOBODY,
            first_due: None,
        }
    }

    /// When the next deadline is.
    pub(crate) fn next(&self) -> Option<Moment> {
        self.first_due
    }

    /// Sets the deadline of `key`, which must have none, and no earlier `now` than the last one.
    pub(crate) fn set(&mut self, timers: &mut impl Timers, key: usize, now: Moment) {
        let due = now.after(self.wait);
        let Some(timer) = timers.timer(key) else {
            return;
        };
        debug_assert!(!timer.is_running(), "{key} has a deadline already");
        *timer = Timer {
            due: Some(due),
            before: self.last,
            behind: NOBODY,
        };
        match timers.timer(self.last as usize) {
            Some(last) => last.behind = link(key),
            None => (self.first, self.first_due) = (link(key), Some(due)),
        }
        self.last = link(key);
    }

    /// Takes the deadline of `key` back, if it has one.
    pub(crate) fn cancel(&mut self, timers: &mut impl Timers, key: usize) {
        let Some(timer) = timers.timer(key) else {
            return;
        };
        let Timer {
            due: Some(_),
            before,
            behind,
        } = std::mem::replace(timer, Timer::IDLE)
        else {
            return;
        };
        match timers.timer(before as usize) {
            Some(timer) => timer.behind = behind,
            None => self.first = behind,
        }
        match timers.timer(behind as usize) {
            Some(timer) => timer.before = before,
            None => self.last = before,
        }
        self.first_due = timers
            .timer(self.first as usize)
            .and_then(|first| first.due);
    }

    /// The first whose deadline is over by `now`. It stays first until it is cancelled.
    pub(crate) fn expired(&self, now: Moment) -> Option<usize> {
        self.first_due
            .filter(|due| *due <= now)
            .map(|_| self.first as usize)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    impl Timers for Vec<Timer> {
        fn timer(&mut self, key: usize) -> Option<&mut Timer> {
            self.get_mut(key)
        }
    }

    fn at(ns: u64) -> Moment {
        Moment(NonZeroU64::MIN).after(Duration::from_nanos(ns))
    }

    /// Every sequence of `depth` operations on three entries, beside a plain queue as the model.
    #[test]
    fn every_short_sequence_matches_a_plain_queue() {
        const DEPTH: u32 = 6;
        const OPERATIONS: usize = 7; // set or cancel one of three, or let what is due expire
        for sequence in 0..OPERATIONS.pow(DEPTH) {
            let mut deadlines = Deadlines::new(Duration::from_nanos(2));
            let mut timers: Vec<Timer> = (0..3).map(|_| Timer::IDLE).collect();
            let mut model: VecDeque<(usize, u64)> = VecDeque::new();
            for step in 0..DEPTH {
                let now = u64::from(step);
                match sequence / OPERATIONS.pow(step) % OPERATIONS {
                    key @ 0..3 => {
                        if !timers[key].is_running() {
                            deadlines.set(&mut timers, key, at(now));
                            model.push_back((key, now + 2));
                        }
                    }
                    key @ 3..6 => {
                        deadlines.cancel(&mut timers, key - 3);
                        model.retain(|(k, _)| *k != key - 3);
                    }
                    _ => {
                        while let Some(key) = deadlines.expired(at(now)) {
                            let due = model.pop_front().filter(|(_, due)| *due <= now);
                            assert_eq!(due.map(|(key, _)| key), Some(key));
                            deadlines.cancel(&mut timers, key);
                        }
                        assert!(model.front().is_none_or(|(_, due)| *due > now));
                    }
                }
                assert_eq!(deadlines.next(), model.front().map(|(_, due)| at(*due)));
                for (key, timer) in timers.iter().enumerate() {
                    assert_eq!(timer.is_running(), model.iter().any(|(k, _)| *k == key));
                }
            }
        }
    }

    #[test]
    fn time_does_not_overflow() {
        let start = Instant::now();
        let end = Moment::new(start, start).after(Duration::MAX);
        assert_eq!(end.after(Duration::MAX), end);
        assert_eq!(end.until(Moment::new(start, start)), Duration::ZERO);
        assert_eq!(at(5).until(at(12)), Duration::from_nanos(7));
        let earlier = start.checked_sub(Duration::from_secs(1)).unwrap_or(start);
        assert_eq!(Moment::new(start, earlier), Moment::new(start, start));
    }
}
