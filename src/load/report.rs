//! The report of a run: its figures, written as text, as a JSON object or as a page.

mod beside;
mod chart;
pub mod condition;
mod hdr;
pub mod html;
mod interval;
mod json;
mod latency;
mod markdown;
mod merge;
mod parts;
mod quantity;
mod read;
mod search;
mod setup;
mod targets;
mod text;
mod verdict;

use std::ops::Range;
use std::time::{Duration, SystemTime};

use condition::Condition;
#[cfg(fuzzing)]
pub use hdr::of_numbers;
pub(crate) use interval::Line;
use latency::Latency;
use quantity::Time;
pub use setup::Setup;

pub use search::{Searched, Tried};

use super::machine::record::{Record, Tally};
use super::machine::schedule::{LATE, Stage};

/// The version of the JSON object. It changes when a field is removed or its meaning changes.
pub const VERSION: u32 = 1;

/// A run that is over.
#[derive(Clone, Debug)]
pub struct Report {
    /// What it has measured.
    pub record: Record,
    /// How long it took.
    pub elapsed: Duration,
    /// When it began.
    pub began: SystemTime,
    /// Its command line.
    pub line: String,
    /// The servers that it connected to.
    pub targets: Vec<String>,
    /// The seed of its payloads.
    pub seed: u64,
    /// The exchanges a second of an open loop, as the command line asked for.
    pub rate: Option<u64>,
    /// Whether a signal or an error ended it early.
    pub is_cut_short: bool,
    /// The error that ended it, if one did.
    pub error: Option<String>,
    /// What else it was asked for.
    pub setup: Setup,
    /// The conditions under which the run fails.
    pub fail_if: Vec<Condition>,
    /// An earlier run, which it is compared with.
    pub baseline: Option<Box<Report>>,
    /// What a search for the highest rate has found. The record has the counts of all its windows, and
    /// the times of those that held at the rate found.
    pub search: Option<Searched>,
}

impl Report {
    /// Right exchanges a second, while exchanges came and went; held connections do not count. If
    /// all connections were held, it is the right exchanges a second of the whole run.
    #[must_use]
    pub fn throughput(&self) -> f64 {
        let (right, took) = self.exchanged();
        right as f64 / took.as_secs_f64().max(1e-9)
    }

    /// The right exchanges that the [throughput](Self::throughput) counts, and in which time.
    pub(crate) fn exchanged(&self) -> (u64, Duration) {
        let churn = self.stage(Stage::Churn);
        match churn.filter(|_| self.record.churned > 0) {
            Some(churn) => (self.record.churned, churn),
            None => (self.record.outcomes.right, self.elapsed),
        }
    }

    /// The throughput with what it is made of.
    pub(crate) fn about_rate(&self) -> String {
        let (right, took) = self.exchanged();
        let of = if self.record.churned > 0 {
            "exchanging"
        } else {
            "the run"
        };
        let (seconds, rate) = (took.as_secs_f64(), self.throughput());
        format!("{right} right in the {seconds:.2} s of {of}: {rate:.0} a second")
    }

    /// How long the stage took, if the run reached it.
    fn stage(&self, stage: Stage) -> Option<Duration> {
        self.stage_ends(stage).map(|ends| ends.end - ends.start)
    }

    /// When the stage began and when it ended, from the start of the run.
    pub(crate) fn stage_ends(&self, stage: Stage) -> Option<Range<Duration>> {
        let mut stages = self
            .record
            .stages
            .iter()
            .skip_while(|(name, _)| *name != stage);
        let (_, start) = stages.next()?;
        let end = stages.next().map_or(self.elapsed, |(_, end)| *end);
        Some(*start..end.max(*start))
    }

    /// The latencies: first those of the exchanges that were not held, then those of the held ones.
    pub(crate) fn latencies(&self) -> Vec<Latency<'_>> {
        let record = &self.record;
        let row = |name, key, histogram| Latency {
            name,
            key,
            histogram,
        };
        let [connect, greeting, echo, eof] = &record.phases;
        let mut rows = vec![
            row("connect", "connect", connect),
            row("greeting", "greeting", greeting),
            row("echo", "echo", echo),
            row("eof", "eof", eof),
        ];
        if self.rate.is_some() {
            rows.push(row("total, raw", "total_raw", &record.total));
        }
        rows.push(row("total", "total", &record.corrected));
        if record.with_timed_out.len() > record.corrected.len() {
            let all = &record.with_timed_out;
            rows.push(row("with timed out", "total_timed_out", all));
        }
        let [connect, greeting, echo, eof] = &record.held_phases;
        if self.record.held > 0 {
            rows.push(row("held: connect", "held_connect", connect));
            rows.push(row("held: greeting", "held_greeting", greeting));
            rows.push(row("held: echo", "held_echo", echo));
            rows.push(row("held: eof", "held_eof", eof));
        }
        rows
    }

    /// The counts by target, without those of addresses that were not used.
    pub(crate) fn tallies(&self) -> impl Iterator<Item = &Tally> {
        let tallies = self.record.by_target.iter();
        tallies.filter(|tally| tally.outcomes.opened > 0)
    }

    /// Why it ended early, if it did.
    pub(crate) fn cut_short(&self) -> Option<String> {
        match &self.error {
            Some(error) => Some(format!("cut short: {error}")),
            None => self
                .is_cut_short
                .then(|| "cut short by a signal".to_owned()),
        }
    }

    /// What the table of latencies is about.
    pub(crate) fn about_latencies(&self) -> String {
        let (right, wrong) = (self.record.outcomes.right, self.record.outcomes.wrongs());
        let all = (right + wrong).max(1) as f64;
        if let Some(found) = self.found() {
            let times = self.record.corrected.len();
            return format!(
                "times of {times} right exchanges at {} a second",
                found.rate
            );
        }
        let mut about = format!("times of the {right} right exchanges; ");
        match (wrong, self.record.outcomes.timed_out()) {
            (0, _) => about.push_str("none failed"),
            (_, timed_out) => {
                let share = wrong as f64 * 100.0 / all;
                about += &format!("{wrong} failed ({share:.2} %), {timed_out} of them timed out");
            }
        }
        about
    }

    /// How to read the table, a line for each point. Every time counts from something that the load
    /// client did itself, because bytes that arrived before it looked would have no time of their
    /// own.
    pub(crate) fn about_phases(&self) -> Vec<&'static str> {
        let mut lines =
            vec!["connect and greeting count from the connect, echo and eof from the payload"];
        lines.push(match self.rate {
            None => "greeting + eof = total",
            Some(_) => "greeting + eof = total, raw; total counts from when an exchange was due",
        });
        let record = &self.record;
        let given_up =
            self.search.is_some() && record.with_timed_out.len() > record.corrected.len();
        if given_up {
            lines.push("what was given up at the end of a window has its time so far");
        } else if self.search.is_none() && record.outcomes.wrongs() > 0 {
            lines.push("a phase also has the times of exchanges that failed after it");
        }
        lines
    }

    /// The threads of the load client that had no time to spare: what they measure may be their own
    /// slowness. A thread that got little of a core had to share it with other programs.
    fn busy_threads(&self) -> Option<String> {
        let threads = self.record.threads.iter().zip(1..);
        let saturated = threads.filter(|(busy, _)| busy.is_saturated());
        let used = saturated.map(|(busy, number)| {
            let [awake, core] = [busy.wakefulness(), busy.core()].map(|share| share * 100.0);
            format!("thread {number}, awake {awake:.0} % of the time, got {core:.0} % of a core")
        });
        let used: Vec<String> = used.collect();
        (!used.is_empty()).then(|| format!("hello-load was busy: {}", used.join(", ")))
    }

    /// What a reader must know to trust the figures: a line for each point.
    pub(crate) fn remarks(&self) -> Vec<String> {
        let record = &self.record;
        let mut remarks = vec![];
        // A search tries rates that are too high, and says so of each.
        if self.search.is_none() {
            remarks.extend(self.lateness());
        }
        if !record.stood_still.is_zero() {
            let stood_still = Time(record.stood_still.as_nanos() as u64);
            remarks.push(format!(
                "hello-load itself stood still for {stood_still}; timeouts leave that out, times do not"
            ));
        }
        remarks.extend(self.busy_threads());
        for (shortage, waited) in &record.waited {
            let waited = Time(waited.as_nanos() as u64);
            remarks.push(format!("nothing could be opened for {waited}: {shortage}"));
        }
        remarks
    }

    /// How far an open loop fell behind.
    fn lateness(&self) -> impl Iterator<Item = String> {
        let (missed, latest) = (self.record.missed, self.record.latest);
        let missed = (missed > 0)
            .then(|| format!("fell behind: {missed} exchanges that were due were never begun"));
        let late = Time(latest.as_nanos() as u64);
        let latest = if latest > LATE {
            Some(format!(
                "fell behind: the latest began {late} after its time"
            ))
        } else {
            let is_open_loop = self.rate.is_some();
            is_open_loop.then(|| format!("the latest began {late} after its time"))
        };
        missed.into_iter().chain(latest)
    }
}

#[cfg(test)]
mod tests;
