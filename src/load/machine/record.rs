//! What a run has measured. Every connection that it opened is right, wrong with one fault, given
//! up or still open.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::exchange::{Fault, Phase, Wrong};
use super::schedule::Stage;

/// How many exchanges with the same fault are described.
const DESCRIBED: u64 = 3;

/// The most points that a course has. If there are more, every two become one.
const POINTS: usize = 600;

/// The counts and times of a run.
#[derive(Clone, Debug)]
pub struct Record {
    /// Connections opened.
    pub opened: u64,
    /// Exchanges that were right to the last byte.
    pub right: u64,
    /// The right exchanges that were not held.
    pub churned: u64,
    /// Exchanges that were wrong, by fault.
    pub wrong: BTreeMap<Fault, u64>,
    /// The first exchanges with each fault, described.
    pub described: Vec<String>,
    /// Connections that were given up because the run was cut short.
    pub given_up: u64,
    /// Exchanges of an open loop that were due and had not begun at its end. With the highest rates
    /// there are more than 2^64.
    pub missed: u128,
    /// Bytes sent and bytes received.
    pub bytes: [u64; 2],
    /// Bytes of payloads that right exchanges have sent, and that came back.
    pub echoed: [u64; 2],
    /// Right exchanges whose echo had fewer bytes than their payload.
    pub echoed_in_part: u64,
    /// The most connections open at once.
    pub most_open: u64,
    /// Held connections that were greeted.
    pub held: u64,
    /// The longest time between the moment when a connection was due and the moment when it began.
    /// Zero if the plan has no rate.
    pub latest: Duration,
    /// How long each shortage kept the run from opening connections.
    pub waited: BTreeMap<Shortage, Duration>,
    /// How long the load client itself stood still, because something had stopped it. Timeouts leave
    /// this time out.
    pub stood_still: Duration,
    /// When each stage began, from the start of the run.
    pub stages: Vec<(Stage, Duration)>,
    /// How long each phase of the exchanges that were not held took, in nanoseconds, in the order
    /// of [`Phase::ALL`]. Connect and greeting count from when the connect began, echo and eof from
    /// when the payload's sending began.
    pub phases: [Histogram<u64>; 4],
    /// The same for the held connections.
    pub held_phases: [Histogram<u64>; 4],
    /// How long whole exchanges took, in nanoseconds, from their connect. Held connections are left
    /// out.
    pub total: Histogram<u64>,
    /// The same, from the moment when each exchange was due. It includes the time by which the load
    /// client was late.
    pub corrected: Histogram<u64>,
    /// The same, and with them the exchanges that timed out: how long they had waited by then.
    pub with_timed_out: Histogram<u64>,
    /// The counts by target, and by address where a name has several.
    pub by_target: Vec<Tally>,
    /// How the run went.
    pub course: Course,
}

/// The counts of one target.
#[derive(Clone, Debug)]
pub struct Tally {
    /// The target, with its address if its name has several.
    pub target: String,
    /// Connections opened. One that goes on to another address counts there.
    pub opened: u64,
    /// Exchanges that were right to the last byte.
    pub right: u64,
    /// Exchanges that were wrong, by fault.
    pub wrong: BTreeMap<Fault, u64>,
    /// Connections that were given up because the run was cut short.
    pub given_up: u64,
    /// How long its right exchanges took, as [`Record::corrected`].
    pub total: Histogram<u64>,
}

/// What the run lacks to open one more connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shortage {
    /// A descriptor, for this process or in the whole system.
    Descriptor,
    /// A local port.
    Port,
    /// A place in the queue of a server's Unix socket.
    Queue,
}

impl Shortage {
    /// Its name, as in the JSON report.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Descriptor => "descriptor",
            Self::Port => "port",
            Self::Queue => "queue",
        }
    }
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Descriptor => "no descriptor was left (ulimit -n, fs.file-max)",
            Self::Port => "no local port was left; see --source",
            Self::Queue => "the server's queue was full",
        })
    }
}

/// Counts over the course of a run, at equal intervals. The interval doubles when there are too
/// many points.
#[derive(Clone, Debug)]
pub struct Course {
    interval: Duration,
    /// The points in order. The first is the start.
    pub points: Vec<Point>,
}

/// The counts at one moment of a run, since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Point {
    /// The moment, from the start.
    pub at: Duration,
    /// Right exchanges so far.
    pub right: u64,
    /// Wrong exchanges so far.
    pub wrong: u64,
    /// The most connections open at once since the previous point.
    pub open: u64,
}

impl Record {
    /// # Errors
    /// The histogram refuses three digits of precision; the text says why.
    pub(crate) fn new(targets: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let tally = |target| {
            Ok::<_, String>(Tally {
                target,
                opened: 0,
                right: 0,
                wrong: BTreeMap::new(),
                given_up: 0,
                total: Histogram::new(DIGITS).map_err(|e| e.to_string())?,
            })
        };
        let phases = || Ok::<_, String>([histogram()?, histogram()?, histogram()?, histogram()?]);
        Ok(Self {
            opened: 0,
            right: 0,
            churned: 0,
            wrong: BTreeMap::new(),
            described: vec![],
            given_up: 0,
            missed: 0,
            bytes: [0; 2],
            echoed: [0; 2],
            echoed_in_part: 0,
            most_open: 0,
            held: 0,
            latest: Duration::ZERO,
            waited: BTreeMap::new(),
            stood_still: Duration::ZERO,
            stages: vec![],
            phases: phases()?,
            held_phases: phases()?,
            total: histogram()?,
            corrected: histogram()?,
            with_timed_out: histogram()?,
            by_target: targets.into_iter().map(tally).collect::<Result<_, _>>()?,
            course: Course {
                interval: Duration::from_millis(10),
                points: vec![Point::default()],
            },
        })
    }

    /// Exchanges that were wrong, with any fault.
    #[must_use]
    pub fn wrongs(&self) -> u64 {
        self.wrong.values().sum()
    }

    /// Exchanges that took longer than the timeout, in any phase.
    #[must_use]
    pub fn timed_out(&self) -> u64 {
        let timed_out = self.wrong.iter();
        let timed_out = timed_out.filter(|(fault, _)| matches!(fault, Fault::TimedOut(_)));
        timed_out.map(|(_, count)| count).sum()
    }

    /// Connections that are still open.
    #[must_use]
    pub fn open(&self) -> u64 {
        let over = self.right + self.wrongs() + self.given_up;
        self.opened.saturating_sub(over)
    }

    /// A connection to the target was opened. Targets are counted in the order of
    /// [`by_target`](Self::by_target).
    pub(crate) fn open_one(&mut self, target: usize) {
        self.opened += 1;
        self.most_open = self.most_open.max(self.open());
        self.by_target[target].opened += 1;
    }

    /// A connection goes on to another address of its target.
    pub(crate) fn go_on(&mut self, from: usize, to: usize) {
        self.by_target[from].opened -= 1;
        self.by_target[to].opened += 1;
    }

    pub(crate) fn give_up(&mut self, target: usize) {
        self.given_up += 1;
        self.by_target[target].given_up += 1;
    }

    pub(crate) fn phase(&mut self, phase: Phase, is_held: bool, took: Duration) {
        let phases = if is_held {
            &mut self.held_phases
        } else {
            &mut self.phases
        };
        record(&mut phases[phase as usize], took);
    }

    /// An exchange was right: so many bytes of its payload came back.
    pub(crate) fn right(&mut self, target: usize, payload: u64, echoed: u64) {
        self.right += 1;
        self.by_target[target].right += 1;
        self.echoed[0] += payload;
        self.echoed[1] += echoed;
        self.echoed_in_part += u64::from(echoed < payload);
    }

    /// How long a right exchange took that was not held.
    pub(crate) fn whole(&mut self, target: usize, total: Duration, corrected: Duration) {
        self.churned += 1;
        record(&mut self.total, total);
        record(&mut self.corrected, corrected);
        record(&mut self.with_timed_out, corrected);
        record(&mut self.by_target[target].total, corrected);
    }

    /// How long an exchange had waited when it timed out.
    pub(crate) fn wait(&mut self, waited: Duration) {
        record(&mut self.with_timed_out, waited);
    }

    pub(crate) fn wrong(&mut self, id: u64, target: usize, phase: Phase, wrong: &Wrong) {
        let tally = &mut self.by_target[target];
        *tally.wrong.entry(wrong.fault).or_default() += 1;
        let count = self.wrong.entry(wrong.fault).or_default();
        *count += 1;
        if *count <= DESCRIBED {
            let (fault, what, phase) = (wrong.fault, &wrong.what, phase.name());
            let target = &tally.target;
            self.described.push(format!(
                "connection {id} to {target}, {phase}: {fault}: {what}"
            ));
        }
    }
}

/// The digits to which histograms are exact.
const DIGITS: u8 = 3;

/// The times for which memory is reserved at the start, so that a run never lacks it: an hour.
const LONGEST: u64 = 3_600_000_000_000;

/// # Errors
/// None: these bounds are good. The text would say why.
fn histogram() -> Result<Histogram<u64>, String> {
    let mut histogram = Histogram::new_with_max(LONGEST, DIGITS).map_err(|e| e.to_string())?;
    histogram.auto(true); // beyond it, it grows
    Ok(histogram)
}

fn record(histogram: &mut Histogram<u64>, took: Duration) {
    let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
    let _ = histogram.record(ns); // it cannot fail: the histogram resizes itself
}

impl Course {
    /// Adds the point if the interval since the last one is over.
    pub(crate) fn advance(&mut self, now: Point) {
        let before = self.points.last().map_or(Duration::ZERO, |point| point.at);
        if now.at >= before + self.interval {
            self.end(now);
        }
    }

    /// Adds the point. If there are too many, every two become one.
    pub(crate) fn end(&mut self, now: Point) {
        self.points.push(now);
        if self.points.len() > POINTS {
            let start = self.points[0];
            let pairs = self.points[1..].chunks(2).map(|pair| Point {
                open: pair.iter().map(|point| point.open).max().unwrap_or(0),
                ..pair[pair.len() - 1]
            });
            self.points = std::iter::once(start).chain(pairs).collect();
            self.interval *= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_course_stays_short_and_says_it_all() {
        let mut course = Record::new([]).unwrap().course;
        for ms in 1..=100_000 {
            course.advance(Point {
                at: Duration::from_millis(ms),
                right: ms,
                wrong: 0,
                open: u64::from(ms / 7 == 1000),
            });
        }
        assert!((POINTS / 2..=POINTS).contains(&course.points.len()));
        assert_eq!(course.points[0], Point::default());
        for (before, point) in course.points.iter().zip(&course.points[1..]) {
            assert_eq!(point.at, before.at + course.interval, "{before:?}");
            assert_eq!(u128::from(point.right), point.at.as_millis());
        }
        let open: u64 = course.points.iter().map(|point| point.open).sum();
        assert_eq!(open, 1, "a peak of 7 ms is not lost");
    }

    /// The histogram's percentiles agree with those of the sorted data.
    #[test]
    fn percentiles_are_those_of_the_data() {
        let mut histogram = Histogram::<u64>::new(3).unwrap();
        let mut number = 1_u64;
        let mut data: Vec<u64> = (0..10_000)
            .map(|_| {
                number = number
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                1 + (number >> 40) * (number >> 60)
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
