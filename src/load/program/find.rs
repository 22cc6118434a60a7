//! `--find-rate`: runs the windows of a search, one after the other, each as its own open loop.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use super::interrupts::Interrupts;
use super::progress::{self, Progress};
use super::stderr::Stderr;
use super::{Caught, Run, TICK};
use crate::load::cli::Invocation;
use crate::load::report::condition::{Goal, Judgement};
use crate::load::report::{Searched, Tried};
use crate::load::search::{Aim, Search, Step, Trial, Window};
use crate::load::{Busy, Load, Options, Payloads, Plan, Record};

/// The rates between which it searches. A search steps down from the first if it must.
const START: u64 = 100;
const MOST: u64 = 10_000_000;

/// The share of exchanges to be sure of if the goal is about no quantile.
const SHARE: f64 = 0.99;

/// A load client that uses this share of a core or more was busy all the time: the rest are the
/// moments when it waits for the first event.
const BUSY: f64 = 0.9;

/// Searches until it has found the rate, or a signal or an error ends it.
///
/// # Errors
/// No descriptor is left for the signals. Later ones are in the run.
pub(super) fn find(invocation: &Invocation, goal: &Goal, stderr: &mut Stderr) -> io::Result<Run> {
    let mut finder = Finder::new(invocation, goal)?;
    let ended = finder.search(stderr);
    if stderr.shows_pictures() {
        stderr.clear(progress::CLEAR);
    }
    finder.interrupts.stop();
    finder.finish(ended)
}

struct Finder<'a> {
    invocation: &'a Invocation,
    goal: &'a Goal,
    search: Search,
    interrupts: Interrupts,
    progress: Progress,
    began: Instant,
    /// The payloads of the next window.
    payloads: Payloads,
    /// The counts of all windows.
    record: Option<Record>,
    /// What was measured in the windows that held, by their rate.
    held: BTreeMap<u64, Record>,
    tried: Vec<Tried>,
}

impl<'a> Finder<'a> {
    fn new(invocation: &'a Invocation, goal: &'a Goal) -> io::Result<Self> {
        let aim = Aim {
            start: START,
            most: MOST,
            budget: invocation.budget(),
            quantile: goal.quantile().unwrap_or(SHARE),
            limit: goal.limit(),
        };
        Ok(Self {
            invocation,
            goal,
            search: Search::new(aim),
            interrupts: Interrupts::catch()?,
            progress: Progress::default(),
            began: Instant::now(),
            payloads: invocation.options.payloads,
            record: None,
            held: BTreeMap::new(),
            tried: vec![],
        })
    }

    fn search(&mut self, stderr: &mut Stderr) -> io::Result<()> {
        while let Step::Run(trial) = self.search.step() {
            let began = Instant::now();
            self.pause(&trial, stderr)?;
            if self.interrupts.signal().is_some() {
                break;
            }
            let Some(record) = self.window(&trial, stderr)? else {
                break;
            };
            self.judge(&trial, record, began.elapsed());
        }
        Ok(())
    }

    /// Begins nothing, so that the servers finish what the window before has left.
    fn pause(&mut self, trial: &Trial, stderr: &mut Stderr) -> io::Result<()> {
        let until = Instant::now() + trial.pause;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let signal = self.interrupts.wait(left.min(TICK))?;
            if left.is_zero() || signal.is_some() {
                return Ok(());
            }
            self.draw(trial, stderr);
        }
    }

    /// Runs one window. Returns its record. `None`: a signal has cut it short.
    fn window(&mut self, trial: &Trial, stderr: &mut Stderr) -> io::Result<Option<Record>> {
        let later = self.began.elapsed();
        let mut load = Load::new(self.options(trial))?;
        let ended = self.follow(&mut load, trial, stderr);
        let is_whole = !load.is_cut_short();
        let record = load.finish().0.compacted();
        match &mut self.record {
            Some(all) => all.follow(&record, later),
            None => self.record = Some(record.clone()),
        }
        ended.map(|()| is_whole.then_some(record))
    }

    fn options(&mut self, trial: &Trial) -> Options {
        let payloads = self.payloads;
        self.payloads = payloads.next();
        Options {
            plan: Plan {
                hold: 0,
                ramp: None,
                exchanges: None,
                duration: Some(trial.duration),
                concurrency: 1,
                rate: Some(trial.rate),
                grace: Some(trial.grace),
            },
            payloads,
            ..self.invocation.options.clone()
        }
    }

    fn follow(&mut self, load: &mut Load, trial: &Trial, stderr: &mut Stderr) -> io::Result<()> {
        while load.turn(TICK)? {
            if self.interrupts.wait(Duration::ZERO)?.is_some() {
                load.cut_short();
            }
            self.draw(trial, stderr);
        }
        Ok(())
    }

    /// Gives the search the result of a window.
    fn judge(&mut self, trial: &Trial, record: Record, took: Duration) {
        let (window, judgement) = window(self.goal, trial, &record, took);
        self.tried.push(Tried::new(window, judgement, &record));
        if window.failure().is_none() {
            match self.held.get_mut(&trial.rate) {
                Some(held) => held.follow(&record, Duration::ZERO),
                None => drop(self.held.insert(trial.rate, record)),
            }
        }
        self.search.handle_window(window);
    }

    fn draw(&mut self, trial: &Trial, stderr: &mut Stderr) {
        if !stderr.shows_pictures() {
            return;
        }
        let number = self.tried.len() + 1;
        let (holds, fails) = self.search.bracket();
        let shown = |rate: Option<u64>| rate.map_or("?".to_owned(), |rate| rate.to_string());
        let parts = [
            format!("{} holds", shown(holds)),
            format!("{} fails", shown(fails)),
            format!("{}/s", trial.rate),
            format!("window {number}"),
        ];
        let (past, budget) = (self.began.elapsed(), self.invocation.budget());
        if let Some(line) = self.progress.line_of(parts, past, budget) {
            stderr.draw(&line);
        }
    }

    /// The search as a run, with what was found by its end.
    fn finish(mut self, ended: io::Result<()>) -> io::Result<Run> {
        let found = self.search.finish();
        let nothing = || Record::new([]).map_err(io::Error::other);
        let (mut record, ended) = match self.record {
            Some(record) => (record, ended),
            None => (nothing()?, Ok(ended?)),
        };
        record.close(self.began.elapsed());
        record.threads.clear(); // those of all windows; the search has looked at each
        let best = found.and_then(|found| self.held.remove(&found.rate));
        record.set_times(best.map_or_else(nothing, Ok)?);
        Ok(Run {
            record,
            elapsed: self.began.elapsed(),
            rate: found.map(|found| found.rate),
            is_cut_short: self.interrupts.signal().is_some() || ended.is_err(),
            signal: self.interrupts.signal(),
            ended,
            lines: vec![],
            search: Some(Searched {
                goal: self.goal.clone(),
                found,
                tried: self.tried,
            }),
            _caught: Caught::Search(self.interrupts),
        })
    }
}

/// What came of a window, which took so long with its pause and its grace.
fn window(goal: &Goal, trial: &Trial, record: &Record, took: Duration) -> (Window, Judgement) {
    let judgement = goal.judge(record);
    let right = record.outcomes.right as f64;
    let mut window = Window {
        rate: trial.rate,
        achieved: right / trial.duration.as_secs_f64().max(1e-9),
        holds: judgement.holds,
        is_wrong: record.outcomes.wrongs() > 0,
        is_missed: record.missed > 0,
        samples: judgement.samples,
        took,
    };
    // Exchanges that begin late, or answers that wait for the load client, are its own fault.
    let is_late = !judgement.holds && goal.holds_from_begin(record);
    let is_own_fault = is_late || share(record) >= BUSY;
    window.is_missed |= window.failure().is_some() && is_own_fault && !window.is_wrong;
    (window, judgement)
}

/// The share of its cores that the load client has used.
fn share(record: &Record) -> f64 {
    let used: f64 = record.threads.iter().map(Busy::core).sum();
    used / record.threads.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::machine::exchange::Fault;

    /// 100 right exchanges at a rate of 100 that took 1 ms, each of which began so many milliseconds late,
    /// and a load client that used so many hundredths of two cores.
    fn record(late: u64, used: [u64; 2]) -> Record {
        let mut record = Record::new(["a".to_owned()]).unwrap();
        for _ in 0..100 {
            let took = Duration::from_millis(1);
            record.right(0, 1, 1);
            record.whole(0, took, took + Duration::from_millis(late));
        }
        let thread = |hundredths| Busy {
            of: Duration::from_secs(1),
            cpu: Duration::from_millis(10 * hundredths),
            awake: Duration::from_secs(1),
        };
        record.threads = used.map(thread).into();
        record
    }

    fn judged(goal: &str, seconds: u64, record: &Record) -> Window {
        let trial = Trial {
            pause: Duration::ZERO,
            rate: 100,
            duration: Duration::from_secs(seconds),
            grace: Duration::ZERO,
        };
        let took = Duration::from_secs(3);
        window(&goal.parse().unwrap(), &trial, record, took).0
    }

    #[test]
    fn a_window_has_its_figures() {
        let window = judged("p99<5ms", 2, &record(0, [50, 50]));
        assert_eq!((window.rate, window.achieved), (100, 50.0));
        assert_eq!((window.samples, window.took), (100, Duration::from_secs(3)));
        assert!(window.holds && !window.is_wrong && !window.is_missed);
        let mut missed = record(0, [50, 50]);
        missed.missed = 1;
        assert!(judged("p99<5ms", 1, &missed).is_missed);
    }

    /// A window that fails says nothing of the servers if the load client was busy or late.
    #[test]
    fn a_window_that_fails_may_be_the_load_clients_fault() {
        for (goal, late, used, is_missed) in [
            ("p99<5ms", 0, [99, 99], false), // holds
            ("p99<5ms", 10, [10, 10], true), // late
            ("p99<0.5ms", 0, [10, 10], false),
            ("p99<0.5ms", 0, [90, 90], true), // busy
            ("p99<0.5ms", 0, [80, 99], false),
            ("p99<0.5ms", 0, [85, 99], true),
            ("echo.p99<5ms", 10, [10, 10], false), // nothing of it was measured
        ] {
            let window = judged(goal, 1, &record(late, used));
            let fails = window.failure().is_some();
            assert_eq!(window.is_missed, is_missed, "{goal}, {late} ms, {used:?}");
            assert_eq!(fails, goal != "p99<5ms" || late > 0);
        }
        // What is wrong is so whoever was late.
        let mut wrong = record(10, [99, 99]);
        wrong.outcomes.wrong.insert(Fault::NoEcho, 1);
        let window = judged("p99<5ms", 1, &wrong);
        assert!(window.is_wrong && !window.is_missed);
    }
}
