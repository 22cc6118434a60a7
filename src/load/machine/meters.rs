//! The counters of the metrics, while a run lasts. The record serves the end of a run: its
//! histograms have thousands of buckets, and it begins again with each interval. A meter only
//! grows.

mod page;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::exchange::{Fault, Phase};
use super::record::Shortage;
use super::schedule::LATE;

pub(crate) use page::page;

/// The upper ends of the buckets, in nanoseconds.
const BOUNDS: [u64; 18] = {
    const US: u64 = 1_000;
    const MS: u64 = 1_000 * US;
    const S: u64 = 1_000 * MS;
    [
        100 * US,
        250 * US,
        500 * US,
        MS,
        5 * MS / 2,
        5 * MS,
        10 * MS,
        25 * MS,
        50 * MS,
        100 * MS,
        250 * MS,
        500 * MS,
        S,
        5 * S / 2,
        5 * S,
        10 * S,
        25 * S,
        60 * S,
    ]
};

/// The meters of one thread's clients. That thread writes them; any may read them.
pub(crate) struct Meters {
    /// One for each name: two series of the same labels would not be two for Prometheus.
    targets: Vec<Meter>,
    /// The place among these of each target.
    places: Vec<usize>,
    /// The longest time by which a connection began late, in nanoseconds.
    latest: Count,
    /// Connections that began more than [`LATE`] late.
    late: Count,
    /// Exchanges that are due and have not begun.
    overdue: Count,
    /// Nanoseconds.
    stood_still: Count,
    /// Nanoseconds, by [`Shortage`].
    waited: [Count; Shortage::ALL.len()],
}

/// The meters of one target, or of one address of a name that has several.
struct Meter {
    target: String,
    open: Count,
    right: Count,
    /// In the order of [`Fault::all`].
    wrong: Vec<(Fault, Count)>,
    phases: [Times; Phase::ALL.len()],
    whole: Times,
}

/// How many times are in each bucket, and beyond the last, and their sum in nanoseconds.
#[derive(Default)]
struct Times {
    counts: [Count; BOUNDS.len() + 1],
    sum: Count,
}

/// A number that one thread writes. So it needs no instruction that locks.
#[derive(Default)]
struct Count(AtomicU64);

impl Meters {
    /// Meters of these targets, in the order of
    /// [`Record::by_target`](super::record::Record::by_target).
    pub(crate) fn new(targets: impl IntoIterator<Item = String>) -> Arc<Self> {
        let mut meters: Vec<Meter> = vec![];
        let place = |target: String| {
            let known = meters.iter().position(|meter| meter.target == target);
            known.unwrap_or_else(|| {
                meters.push(Meter::new(target));
                meters.len() - 1
            })
        };
        let places = targets.into_iter().map(place).collect();
        Arc::new(Self {
            targets: meters,
            places,
            latest: Count::default(),
            late: Count::default(),
            overdue: Count::default(),
            stood_still: Count::default(),
            waited: Default::default(),
        })
    }

    /// The meter of a target, by its place in the record.
    fn of(&self, target: usize) -> &Meter {
        &self.targets[self.places[target]]
    }

    /// A connection to the target began, so long after it was due.
    pub(crate) fn open(&self, target: usize, late: Duration) {
        self.of(target).open.add(1);
        if late > LATE {
            self.late.add(1);
        }
        self.latest.set(self.latest.get().max(nanos(late)));
    }

    /// A connection goes on to another address of its target.
    pub(crate) fn go_on(&self, from: usize, to: usize) {
        self.of(from).open.take(1);
        self.of(to).open.add(1);
    }

    pub(crate) fn phase(&self, target: usize, phase: Phase, took: Duration) {
        self.of(target).phases[phase as usize].record(took);
    }

    /// An exchange was right, and took so long if it was not held.
    pub(crate) fn right(&self, target: usize, took: Option<Duration>) {
        let meter = self.of(target);
        meter.open.take(1);
        meter.right.add(1);
        if let Some(took) = took {
            meter.whole.record(took);
        }
    }

    pub(crate) fn wrong(&self, target: usize, fault: Fault) {
        let meter = self.of(target);
        meter.open.take(1);
        let same = meter.wrong.iter().find(|(known, _)| *known == fault);
        if let Some((_, count)) = same {
            count.add(1);
        }
    }

    /// Something was short for so long, in all.
    pub(crate) fn wait(&self, shortage: Shortage, waited: Duration) {
        self.waited[shortage as usize].set(nanos(waited));
    }

    /// How the load client itself does.
    pub(crate) fn keep_up(&self, overdue: u128, stood_still: Duration) {
        self.overdue.set(u64::try_from(overdue).unwrap_or(u64::MAX));
        self.stood_still.set(nanos(stood_still));
    }
}

impl Meter {
    fn new(target: String) -> Self {
        let wrong = Fault::all().into_iter();
        Self {
            target,
            open: Count::default(),
            right: Count::default(),
            wrong: wrong.map(|fault| (fault, Count::default())).collect(),
            phases: Default::default(),
            whole: Times::default(),
        }
    }
}

impl Times {
    fn record(&self, took: Duration) {
        let ns = nanos(took);
        let bucket = BOUNDS.partition_point(|bound| *bound < ns);
        self.counts[bucket].add(1);
        self.sum.add(ns);
    }
}

impl Count {
    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    fn add(&self, n: u64) {
        self.set(self.get().wrapping_add(n));
    }

    fn take(&self, n: u64) {
        self.set(self.get().saturating_sub(n));
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
