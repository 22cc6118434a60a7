//! What a run has seen: every connection it opened is right, wrong in one way, or still open.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::exchange::{Kind, Phase, Wrong};

/// How many wrong exchanges are described.
const DESCRIBED: usize = 10;

/// How many points a course has at most; then every second one goes.
const POINTS: usize = 600;

/// The counts and times of a run.
#[derive(Clone, Debug)]
pub struct Record {
    /// Connections that were begun.
    pub opened: u64,
    /// Exchanges that were right to the last byte.
    pub right: u64,
    /// Exchanges that were not, by kind.
    pub wrong: BTreeMap<Kind, u64>,
    /// The first of those, described.
    pub described: Vec<String>,
    /// Connections that were given up because the run was cut short.
    pub given_up: u64,
    /// Bytes that were sent, and received.
    pub bytes: [u64; 2],
    /// The most that were open at once.
    pub most_open: u64,
    /// Held connections that were greeted.
    pub held: u64,
    /// By how much the latest exchange of an open loop began after its time.
    pub latest: Duration,
    /// What each phase took, in nanoseconds, in the order of [`Phase::ALL`].
    pub phases: [Histogram<u64>; 4],
    /// What whole exchanges took, in nanoseconds, from their connect; held ones are not among them.
    pub total: Histogram<u64>,
    /// The same from when they were meant to begin: what those see who do not wait for others.
    pub corrected: Histogram<u64>,
    /// How the run went, at equal intervals.
    pub course: Course,
}

/// Counts at equal intervals, which double when there are too many of them.
#[derive(Clone, Debug)]
pub struct Course {
    /// How far apart the points are.
    pub interval: Duration,
    /// The points; the first is one interval after the start.
    pub points: Vec<Point>,
}

/// Counts at one moment of a run, from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// Exchanges done, right or wrong.
    pub done: u64,
    /// Of these the wrong ones.
    pub wrong: u64,
    /// Connections open at that moment.
    pub open: u64,
}

impl Record {
    /// # Errors
    /// In words: three digits of precision are refused by the histogram.
    pub(crate) fn new() -> Result<Self, String> {
        let histogram = || Histogram::new(3).map_err(|e| e.to_string());
        Ok(Self {
            opened: 0,
            right: 0,
            wrong: BTreeMap::new(),
            described: vec![],
            given_up: 0,
            bytes: [0; 2],
            most_open: 0,
            held: 0,
            latest: Duration::ZERO,
            phases: [histogram()?, histogram()?, histogram()?, histogram()?],
            total: histogram()?,
            corrected: histogram()?,
            course: Course {
                interval: Duration::from_millis(100),
                points: vec![],
            },
        })
    }

    /// Exchanges that were wrong, in whichever way.
    #[must_use]
    pub fn wrongs(&self) -> u64 {
        self.wrong.values().sum()
    }

    /// Connections that are neither done nor given up.
    #[must_use]
    pub fn open(&self) -> u64 {
        let over = self.right + self.wrongs() + self.given_up;
        self.opened.saturating_sub(over)
    }

    pub(crate) fn open_one(&mut self) {
        self.opened += 1;
        self.most_open = self.most_open.max(self.open());
    }

    pub(crate) fn phase(&mut self, phase: Phase, took: Duration) {
        record(&mut self.phases[phase as usize], took);
    }

    pub(crate) fn whole(&mut self, total: Duration, corrected: Duration) {
        record(&mut self.total, total);
        record(&mut self.corrected, corrected);
    }

    pub(crate) fn wrong(&mut self, id: u64, target: &str, phase: Phase, wrong: &Wrong) {
        *self.wrong.entry(wrong.kind).or_default() += 1;
        if self.described.len() < DESCRIBED {
            let (kind, what, phase) = (wrong.kind, &wrong.what, phase.name());
            self.described.push(format!(
                "connection {id} to {target}, {phase}: {kind}: {what}"
            ));
        }
    }
}

fn record(histogram: &mut Histogram<u64>, took: Duration) {
    let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
    let _ = histogram.record(ns); // it grows with what it is given
}

impl Course {
    /// Takes the points that are due `since` the start.
    pub(crate) fn advance(&mut self, since: Duration, point: Point) {
        while self.interval * (self.points.len() as u32 + 1) <= since {
            self.points.push(point);
            if self.points.len() == POINTS {
                let mut index = 0;
                self.points.retain(|_| {
                    index += 1;
                    index % 2 == 0
                });
                self.interval *= 2;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_course_stays_short_and_evenly_spaced() {
        let mut course = Record::new().unwrap().course;
        for tenth in 1..=10_000 {
            let point = Point {
                done: tenth,
                wrong: 0,
                open: 0,
            };
            course.advance(Duration::from_millis(100 * tenth), point);
        }
        assert!((POINTS / 2..POINTS).contains(&course.points.len()));
        let tenths = course.interval.as_millis() as u64 / 100;
        for (i, point) in (1..).zip(&course.points) {
            assert_eq!(point.done, i * tenths);
        }
    }

    /// The histogram's percentiles beside those of the sorted data.
    #[test]
    fn percentiles_are_those_of_the_data() {
        let mut histogram = Histogram::<u64>::new(3).unwrap();
        let mut state = 1_u64;
        let mut data: Vec<u64> = (0..10_000)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                1 + (state >> 40) * (state >> 60)
            })
            .collect();
        for ns in &data {
            record(&mut histogram, Duration::from_nanos(*ns));
        }
        data.sort_unstable();
        for quantile in [0.5, 0.9, 0.99, 0.999, 1.0] {
            let rank = (quantile * data.len() as f64).ceil() as usize;
            let exact = data[rank - 1] as f64;
            let found = histogram.value_at_quantile(quantile) as f64;
            assert!(
                (found - exact).abs() <= exact / 1000.0 + 1.0,
                "{quantile}: {found}, {exact}"
            );
        }
    }
}
