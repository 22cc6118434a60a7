//! What a run has measured. Every connection that it opened is right, wrong with one fault, given
//! up or still open.

mod busy;
mod course;
mod interval;
mod outcomes;
mod sequence;
mod sum;
mod windows;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;

pub use busy::Busy;
pub use course::{Course, Point};
pub use outcomes::Outcomes;
pub(crate) use sequence::RESERVED;
pub(crate) use windows::WINDOWS;
pub use windows::Windows;

use super::exchange::{Fault, Phase, Wrong};
use super::schedule::Stage;

/// How many exchanges with the same fault are described.
const DESCRIBED: u64 = 3;

/// The counts and times of a run.
#[derive(Clone, Debug)]
pub struct Record {
    /// What became of its connections.
    pub outcomes: Outcomes,
    /// The right exchanges that were not held.
    pub churned: u64,
    /// The first exchanges with each fault, described.
    pub described: Vec<(Fault, String)>,
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
    /// How busy each thread of the load client was.
    pub threads: Vec<Busy>,
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
    /// The same, and with them the exchanges that timed out, or were given up because their grace was
    /// over: how long they had waited by then.
    pub with_timed_out: Histogram<u64>,
    /// The counts by target, and by address where a name has several.
    pub by_target: Vec<Tally>,
    /// How the run went.
    pub course: Course,
    /// The times of [`corrected`](Self::corrected), by when they ended.
    pub windows: Windows,
}

/// The counts of one target.
#[derive(Clone, Debug)]
pub struct Tally {
    /// The target, with its address if its name has several.
    pub target: String,
    /// What became of its connections. One that goes on to another address counts there.
    pub outcomes: Outcomes,
    /// How long its right exchanges took, as [`Record::corrected`].
    pub total: Histogram<u64>,
    /// The same, by when they ended. Only a run that compares its targets has them.
    pub windows: Option<Windows>,
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
    /// All of them, in order.
    pub(crate) const ALL: [Self; 3] = [Self::Descriptor, Self::Port, Self::Queue];

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

impl Record {
    /// A record that reserves no memory for its times.
    ///
    /// # Errors
    /// The histogram refuses three digits of precision; the text says why.
    pub(crate) fn new(targets: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let phases = || Ok::<_, String>([histogram()?, histogram()?, histogram()?, histogram()?]);
        Ok(Self {
            outcomes: Outcomes::default(),
            churned: 0,
            described: vec![],
            missed: 0,
            bytes: [0; 2],
            echoed: [0; 2],
            echoed_in_part: 0,
            most_open: 0,
            held: 0,
            latest: Duration::ZERO,
            waited: BTreeMap::new(),
            stood_still: Duration::ZERO,
            threads: vec![],
            stages: vec![],
            phases: phases()?,
            held_phases: phases()?,
            total: histogram()?,
            corrected: histogram()?,
            with_timed_out: histogram()?,
            by_target: targets
                .into_iter()
                .map(Tally::new)
                .collect::<Result<_, _>>()?,
            course: Course::default(),
            windows: Windows::default(),
        })
    }

    /// From here on every target has its own [windows](Tally::windows).
    pub(crate) fn compare_targets(&mut self) {
        for tally in &mut self.by_target {
            tally.windows = Some(Windows::default());
        }
    }

    /// So much of the run is over.
    pub(crate) fn advance(&mut self, point: Point) {
        self.course.advance(point);
        self.windows.advance(point.at);
    }

    /// A connection to the target was opened. Targets are counted in the order of
    /// [`by_target`](Self::by_target).
    pub(crate) fn open(&mut self, target: usize) {
        self.outcomes.opened += 1;
        self.by_target[target].outcomes.opened += 1;
        self.most_open = self.most_open.max(self.outcomes.open());
    }

    /// A connection goes on to another address of its target.
    pub(crate) fn go_on(&mut self, from: usize, to: usize) {
        self.by_target[from].outcomes.opened -= 1;
        self.by_target[to].outcomes.opened += 1;
    }

    pub(crate) fn give_up(&mut self, target: usize) {
        self.outcomes.given_up += 1;
        self.by_target[target].outcomes.given_up += 1;
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
        self.outcomes.right += 1;
        self.by_target[target].outcomes.right += 1;
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
        self.windows.record(corrected);
        let tally = &mut self.by_target[target];
        record(&mut tally.total, corrected);
        if let Some(windows) = &mut tally.windows {
            windows.advance(self.windows.now());
            windows.record(corrected);
        }
    }

    /// How long an exchange had waited when it timed out.
    pub(crate) fn wait(&mut self, waited: Duration) {
        record(&mut self.with_timed_out, waited);
    }

    /// An exchange was given up in this phase because its grace was over. It has waited for so long
    /// in all, and `took` counts as the times of its phases do.
    pub(crate) fn cut_off(&mut self, phase: Phase, took: Duration, waited: Duration) {
        let open: &[Phase] = match phase {
            Phase::Connect => &[Phase::Connect, Phase::Greeting],
            Phase::Greeting => &[Phase::Greeting],
            Phase::Echo => &[Phase::Echo, Phase::Eof],
            Phase::Eof => &[Phase::Eof],
        };
        for phase in open {
            self.phase(*phase, false, took);
        }
        self.wait(waited);
    }

    pub(crate) fn wrong(&mut self, id: u64, target: usize, phase: Phase, wrong: &Wrong) {
        let tally = &mut self.by_target[target];
        tally.outcomes.fail(wrong.fault);
        if self.outcomes.fail(wrong.fault) <= DESCRIBED {
            let (fault, what, phase) = (wrong.fault, &wrong.what, phase.name());
            let target = &tally.target;
            let described = format!("connection {id} to {target}, {phase}: {fault}: {what}");
            self.described.push((fault, described));
        }
    }
}

impl Tally {
    /// # Errors
    /// As [`Record::new`].
    fn new(target: String) -> Result<Self, String> {
        Ok(Self {
            target,
            outcomes: Outcomes::default(),
            total: histogram()?,
            windows: None,
        })
    }
}

/// The digits to which histograms are exact.
const DIGITS: u8 = 3;

/// # Errors
/// None: there is this precision. The text would say why.
fn histogram() -> Result<Histogram<u64>, String> {
    Histogram::new(DIGITS).map_err(|e| e.to_string())
}

fn record(histogram: &mut Histogram<u64>, took: Duration) {
    let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
    let _ = histogram.record(ns); // it cannot fail: the histogram resizes itself
}

fn add(histogram: &mut Histogram<u64>, other: &Histogram<u64>) {
    let _ = histogram.add(other); // it cannot fail: the histogram resizes itself
}

#[cfg(test)]
mod tests;
