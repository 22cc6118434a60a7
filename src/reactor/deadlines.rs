//! Which connection is due, in O(1), without a clock.
//!
//! All deadlines of one kind are equally long, so they come due in the order in which they were
//! set: a queue of them is always sorted. The queue is linked through the entries themselves. So
//! setting, cancelling and expiring allocate nothing and touch only an entry and its neighbours.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

/// A point in time, in nanoseconds since just before the server began. It is half as large as an
/// [`Instant`], and lasts for 584 years.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(NonZeroU64);

impl Moment {
    /// When the server began. No other moment is before it.
    pub const START: Self = Self(NonZeroU64::MIN);

    /// The moment at which `now` is, for a server that began at `start`.
    #[must_use]
    pub fn new(start: Instant, now: Instant) -> Self {
        Self::START.after(now.saturating_duration_since(start))
    }

    /// The moment `wait` later, or the end of time if that comes first.
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX)),
        )
    }

    /// How long it is from here to `later`; zero if that has passed.
    #[must_use]
    pub fn until(self, later: Self) -> Duration {
        Duration::from_nanos(later.0.get().saturating_sub(self.0.get()))
    }
}

/// An entry's place in one of the queues, or in none.
#[derive(Debug)]
pub(crate) struct Timer {
    due: Option<Moment>,
    prev: Link,
    next: Link,
}

/// The key of an entry, or the end of a queue, which makes the queue a ring. A key is less than the
/// number of descriptors that a process can have, so it is less than 2^31; the ends lie beyond
/// that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Link(u32);

impl Link {
    const fn end(kind: usize) -> Self {
        Self(u32::MAX - kind as u32)
    }

    fn key(key: usize) -> Self {
        Self(u32::try_from(key).unwrap_or(u32::MAX))
    }
}

impl Timer {
    /// Without a deadline.
    pub(crate) const IDLE: Self = Self {
        due: None,
        prev: Link(0),
        next: Link(0),
    };

    #[cfg(test)]
    pub(crate) fn due(&self) -> Option<Moment> {
        self.due
    }
}

/// Where the timers' entries are.
pub(crate) trait Timers {
    /// The timer of the entry `key`.
    fn timer(&mut self, key: usize) -> Option<&mut Timer>;
}

/// The deadlines of all entries: a queue for each kind. A kind is a number from 0 on.
#[derive(Debug)]
pub(crate) struct Deadlines {
    queues: Vec<Queue>,
}

#[derive(Debug)]
struct Queue {
    wait: Duration,
    /// Both ends of the queue: its `next` is the first entry, its `prev` the last. Invariant: its
    /// `due` is that of the first entry, `None` if there is none.
    end: Timer,
}

impl Deadlines {
    /// Begins without a deadline. Each will be the wait of its kind after the moment in which it is
    /// set. A kind whose wait is zero has none.
    pub(crate) fn new(waits: impl IntoIterator<Item = Duration>) -> Self {
        let queue = |(kind, wait)| {
            let (due, prev, next) = (None, Link::end(kind), Link::end(kind));
            let end = Timer { due, prev, next };
            Queue { wait, end }
        };
        let queues = waits.into_iter().enumerate().map(queue).collect();
        Self { queues }
    }

    /// How many kinds there are.
    pub(crate) fn kinds(&self) -> usize {
        self.queues.len()
    }

    /// When the next deadline is over.
    pub(crate) fn next(&self) -> Option<Moment> {
        self.queues.iter().filter_map(|queue| queue.end.due).min()
    }

    /// Gives the entry `key` a deadline in place of the one that it has. `now` never goes back.
    pub(crate) fn set(&mut self, timers: &mut impl Timers, kind: usize, key: usize, now: Moment) {
        self.cancel(timers, key);
        let Some(queue) = self.queues.get_mut(kind).filter(|q| !q.wait.is_zero()) else {
            return;
        };
        let Some(timer) = timers.timer(key) else {
            return;
        };
        let due = Some(now.after(queue.wait));
        let last = std::mem::replace(&mut queue.end.prev, Link::key(key));
        *timer = Timer {
            due,
            prev: last,
            next: Link::end(kind),
        };
        if last == Link::end(kind) {
            queue.end.due = due;
        }
        self.link(timers, last, |last| last.next = Link::key(key));
    }

    /// Removes the deadline of the entry `key`, if it has one.
    pub(crate) fn cancel(&mut self, timers: &mut impl Timers, key: usize) {
        let Some(timer) = timers.timer(key) else {
            return;
        };
        let Timer {
            due: Some(_),
            prev,
            next,
        } = std::mem::replace(timer, Timer::IDLE)
        else {
            return;
        };
        let mut next_due = None;
        self.link(timers, next, |next| {
            next.prev = prev;
            next_due = next.due;
        });
        self.link(timers, prev, |prev| prev.next = next);
        if let Some(queue) = self.queue(prev) {
            queue.end.due = next_due.filter(|_| next != prev);
        }
    }

    /// The deadlines that were set at `began` count from `now` on instead.
    pub(crate) fn restart(&mut self, timers: &mut impl Timers, began: Moment, now: Moment) {
        for (kind, queue) in self.queues.iter_mut().enumerate() {
            let (due, later) = (began.after(queue.wait), now.after(queue.wait));
            let mut last = queue.end.prev; // those that were set last are at the end of the queue
            while last != Link::end(kind) {
                let timer = timers.timer(last.0 as usize);
                let Some(timer) = timer.filter(|timer| timer.due == Some(due)) else {
                    break;
                };
                timer.due = Some(later);
                last = timer.prev;
            }
            if last == Link::end(kind) && queue.end.due.is_some() {
                queue.end.due = Some(later); // the first was one of them
            }
        }
    }

    /// A deadline that is over by `now`: its kind and its entry. It stays until it is cancelled.
    pub(crate) fn expired(&self, now: Moment) -> Option<(usize, usize)> {
        let is_over = |queue: &Queue| queue.end.due.is_some_and(|due| due <= now);
        let kind = self.queues.iter().position(is_over)?;
        self.first(kind).map(|key| (kind, key))
    }

    /// The entry whose deadline is the next of this kind.
    pub(crate) fn first(&self, kind: usize) -> Option<usize> {
        let end = &self.queues.get(kind)?.end;
        end.due.map(|_| end.next.0 as usize)
    }

    /// The queue that `link` is the end of, if it is one.
    fn queue(&mut self, link: Link) -> Option<&mut Queue> {
        self.queues.get_mut((u32::MAX - link.0) as usize)
    }

    /// Changes what `link` stands for: an entry, or the end of a queue.
    fn link(&mut self, timers: &mut impl Timers, link: Link, change: impl FnOnce(&mut Timer)) {
        let timer = match self.queue(link) {
            Some(queue) => Some(&mut queue.end),
            None => timers.timer(link.0 as usize),
        };
        if let Some(timer) = timer {
            change(timer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Timers for Vec<Timer> {
        fn timer(&mut self, key: usize) -> Option<&mut Timer> {
            self.get_mut(key)
        }
    }

    fn at(ns: u64) -> Moment {
        Moment::START.after(Duration::from_nanos(ns))
    }

    const WAITS: [u64; 2] = [3, 2];

    /// Every sequence of operations on three entries, compared with a plain list as the model.
    #[test]
    fn every_short_sequence_matches_a_plain_list() {
        const DEPTH: u32 = 5;
        // Set one of three in one of two kinds; cancel one; expire; the last step ends only now.
        const OPERATIONS: usize = 11;
        for sequence in 0..OPERATIONS.pow(DEPTH) {
            let mut deadlines = Deadlines::new(WAITS.map(Duration::from_nanos));
            let mut timers: Vec<Timer> = (0..3).map(|_| Timer::IDLE).collect();
            let mut model: Vec<(u64, usize, usize)> = Vec::new();
            for step in 0..DEPTH {
                let now = u64::from(step);
                match sequence / OPERATIONS.pow(step) % OPERATIONS {
                    operation @ 0..6 => {
                        let (kind, key) = (operation / 3, operation % 3);
                        deadlines.set(&mut timers, kind, key, at(now));
                        model.retain(|(_, _, k)| *k != key);
                        model.push((now + WAITS[kind], kind, key));
                    }
                    operation @ 6..9 => {
                        deadlines.cancel(&mut timers, operation - 6);
                        model.retain(|(_, _, key)| *key != operation - 6);
                    }
                    9 => {
                        let began = now.saturating_sub(1);
                        deadlines.restart(&mut timers, at(began), at(now));
                        for (due, kind, _) in &mut model {
                            if *due == began + WAITS[*kind] {
                                *due = now + WAITS[*kind];
                            }
                        }
                    }
                    _ => {
                        while let Some((kind, key)) = deadlines.expired(at(now)) {
                            // The first of its kind, and over.
                            let place = model.iter().position(|(_, k, _)| *k == kind);
                            let (due, _, first) = model.remove(place.unwrap());
                            assert!(first == key && due <= now);
                            deadlines.cancel(&mut timers, key);
                        }
                        assert!(model.iter().all(|(due, _, _)| *due > now));
                    }
                }
                assert_eq!(
                    deadlines.next(),
                    model.iter().map(|(due, _, _)| at(*due)).min()
                );
            }
        }
    }

    #[test]
    fn a_wait_of_zero_is_no_deadline() {
        let mut deadlines = Deadlines::new([Duration::ZERO, Duration::from_nanos(1)]);
        let mut timers = vec![Timer::IDLE];
        deadlines.set(&mut timers, 0, 0, at(0));
        assert_eq!(deadlines.next(), None);
        deadlines.set(&mut timers, 1, 0, at(0));
        assert_eq!(deadlines.expired(at(1)), Some((1, 0)));
        deadlines.set(&mut timers, 0, 0, at(1));
        assert_eq!(deadlines.next(), None);
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
