//! The search for the highest rate that keeps a goal: without a socket and without a clock.
//!
//! A [`Search`] asks for windows, each an open loop at one rate, and is told what came of each. It
//! doubles the rate until a window fails, halves the gap between the highest rate that held and the
//! lowest that failed, measures the winner again in a longer window, and then the rate that failed.
//!
//! # What it trusts
//! A server cannot be lucky by ten percent, but a window can be spoiled from outside: by another
//! program, a backlog, a cold cache. So a window that holds is believed. One that fails is run
//! again before it bounds the rate from above, unless the server was far behind. While the search
//! narrows, it believes each failure for the time being; the last one it measures again in the end,
//! up to two times, and if that holds, the failure before counts again.
//!
//! As long as nothing has held, the server may still be starting, so the first window that holds
//! revokes all failures before it. If the winner fails twice when it is measured again, short
//! windows have misled the search, or the server has become slower. From there on the search steps
//! down, every window is a long one, and what holds twice is the result.
//!
//! # How long a window is
//! Long enough for the goal's quantile and for an overload to show: `window.rs` has the rule and
//! its sources. Where the time does not suffice, [`Found::assured`] says what is known.

mod window;

use std::time::Duration;

pub use window::{Aim, Trial, Window};

use window::{PROBE_TAIL, Purpose, assured};

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// Run this, and report it to [`Search::handle_window`].
    Run(Trial),
    /// The search is over. `None`: no rate kept the goal.
    Over(Option<Found>),
}

/// The highest rate that kept the goal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    /// The rate, a second.
    pub rate: u64,
    /// The lowest rate above it that did not keep the goal. The knee is between the two.
    /// `None`: the search did not get that far.
    pub fails: Option<u64>,
    /// Why not more.
    pub bound: Bound,
    /// Whether the goal held in two windows at this rate or more, and in more than it did not.
    pub is_confirmed: bool,
    /// Latencies measured at this rate, in windows that held.
    pub samples: u64,
    /// With 95 % confidence, at least this share of exchanges keeps the goal's latency.
    pub assured: f64,
}

/// Why the rate found is not higher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// The goal did not hold.
    Goal,
    /// Exchanges ended more slowly than they began.
    Rate,
    /// Exchanges were wrong.
    Wrong,
    /// The load client could not begin exchanges in time.
    Client,
    /// It is the highest rate to try.
    Most,
    /// There was no time to try more.
    Budget,
}

/// The search. It begins with [`Search::step`] and alternates with [`Search::handle_window`].
#[derive(Debug)]
pub struct Search {
    aim: Aim,
    left: Duration,
    stage: Stage,
    /// The highest rate that held.
    floor: Option<u64>,
    /// The rates that failed, from high to low. Invariant: each is above the floor.
    ceilings: Vec<(u64, Bound)>,
    /// How far the next rate is from the last, as a factor, as long as there is no bracket.
    stride: f64,
    /// A rate that held in a short window failed in a long one, so all are long.
    is_wary: bool,
    /// What the server may still have to do.
    pause: Duration,
    windows: Vec<Window>,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    /// Look for the bracket or narrow it.
    Probe(Attempt),
    /// Measure the winner again.
    Confirm(Attempt),
    /// Measure the ceiling again, after a winner that is confirmed.
    Recheck(Attempt),
    Over(Option<Found>),
}

#[derive(Clone, Copy, Debug)]
struct Attempt {
    rate: u64,
    has_failed: bool,
}

/// The most that the rate changes from one window to the next. More would leave the server a
/// backlog that takes longer than the window.
const STRIDE: f64 = 2.0;

/// How far the rate falls from one window to the next before anything has held.
const FALL: f64 = 4.0;

/// A bracket is narrow enough at this factor, and this is the first step out of a wrong one.
const NARROW: f64 = 1.03;

/// Where the time does not suffice for that, the bracket is narrow enough at this factor.
const NARROW_IF_DEAR: f64 = 1.1;

impl Search {
    /// A search that has not begun.
    #[must_use]
    pub fn new(aim: Aim) -> Self {
        let aim = aim.limited();
        Self {
            aim,
            left: aim.budget,
            stage: Stage::Probe(Attempt::at(aim.start)),
            floor: None,
            ceilings: vec![],
            stride: STRIDE,
            is_wary: false,
            pause: Duration::ZERO,
            windows: vec![],
        }
    }

    /// What to do now. The answer stays the same until the next window is reported.
    #[must_use]
    pub fn step(&self) -> Step {
        let probe = Purpose::Probe {
            floor: self.floor,
            fails: !self.ceilings.is_empty(),
        };
        let (rate, purpose) = match self.stage {
            Stage::Over(found) => return Step::Over(found),
            Stage::Probe(attempt) if !self.is_wary => (attempt.rate, probe),
            Stage::Probe(attempt) | Stage::Confirm(attempt) | Stage::Recheck(attempt) => {
                (attempt.rate, Purpose::Winner)
            }
        };
        Step::Run(self.aim.trial(rate, purpose, self.pause, self.left))
    }

    /// Every window so far, in order.
    #[must_use]
    pub fn windows(&self) -> &[Window] {
        &self.windows
    }

    /// The highest rate that held and the lowest that failed, as the search believes so far.
    #[must_use]
    pub fn bracket(&self) -> (Option<u64>, Option<u64>) {
        (self.floor, self.ceilings.last().map(|(rate, _)| *rate))
    }

    /// The window that [`Search::step`] asked for is over.
    pub fn handle_window(&mut self, window: Window) {
        let Step::Run(trial) = self.step() else {
            return;
        };
        let spent = window.took.max(trial.duration);
        self.left = self.left.saturating_sub(spent);
        self.windows.push(window);
        let failed = window.failure();
        self.pause = failed.map_or(Duration::ZERO, |_| self.aim.backlog(&window, &trial));
        match self.stage {
            Stage::Probe(attempt) => self.probed(attempt, &window, failed),
            Stage::Confirm(attempt) => self.confirmed(attempt, failed),
            Stage::Recheck(attempt) => self.rechecked(attempt, failed),
            Stage::Over(_) => {}
        }
        self.mind_the_budget();
    }

    /// Ends the search with what is known, because the run is cut short. Returns that.
    pub fn finish(&mut self) -> Option<Found> {
        let found = self.found();
        self.stage = Stage::Over(found);
        found
    }

    fn probed(&mut self, attempt: Attempt, window: &Window, failed: Option<Bound>) {
        let Some(bound) = failed else {
            if self.floor.is_none() && !self.is_wary {
                self.ceilings.clear(); // the server was still starting
            }
            self.floor = Some(attempt.rate);
            return self.go_on();
        };
        if self.ceilings.is_empty() && !window.is_overload() && !attempt.has_failed {
            self.stage = Stage::Probe(attempt.again());
            return;
        }
        self.ceilings.push((attempt.rate, bound));
        self.go_on();
    }

    fn confirmed(&mut self, attempt: Attempt, failed: Option<Bound>) {
        match failed {
            None => match self.ceilings.last() {
                Some((ceiling, _)) if !self.is_wary => {
                    self.stage = Stage::Recheck(Attempt::at(*ceiling));
                }
                _ => {
                    self.finish();
                }
            },
            Some(_) if !attempt.has_failed => self.stage = Stage::Confirm(attempt.again()),
            Some(bound) => {
                if !self.is_wary {
                    self.stride = NARROW;
                }
                self.is_wary = true;
                self.floor = None;
                self.ceilings.push((attempt.rate, bound));
                self.go_on();
            }
        }
    }

    fn rechecked(&mut self, attempt: Attempt, failed: Option<Bound>) {
        match failed {
            Some(_) if attempt.has_failed => {
                self.finish();
            }
            Some(_) => self.stage = Stage::Recheck(attempt.again()),
            None => {
                self.floor = Some(attempt.rate);
                self.ceilings.pop();
                self.stride = NARROW;
                self.go_on();
            }
        }
    }

    /// Chooses the next rate from the bracket.
    fn go_on(&mut self) {
        let ceiling = self.ceilings.last().map(|(rate, _)| *rate);
        self.stage = match (self.floor, ceiling) {
            (None, Some(1)) if self.left < self.aim.budget / 3 * 2 => Stage::Over(None),
            (None, None | Some(1)) => {
                self.ceilings.clear(); // it may still be starting
                Stage::Probe(Attempt::at(self.aim.start))
            }
            (None, Some(ceiling)) => {
                let fall = if self.is_wary { self.lengthen() } else { FALL };
                let rate = times(ceiling, 1.0 / fall).clamp(1, ceiling - 1);
                Stage::Probe(Attempt::at(rate))
            }
            (Some(floor), None) if floor < self.aim.start => {
                Stage::Probe(Attempt::at(self.aim.start))
            }
            (Some(floor), None) if floor < self.aim.most => {
                let rate = times(floor, self.lengthen()).clamp(floor + 1, self.aim.most);
                Stage::Probe(Attempt::at(rate))
            }
            (Some(floor), Some(ceiling)) if !self.is_narrow(floor, ceiling) => {
                let middle = times(floor, (ceiling as f64 / floor as f64).sqrt());
                Stage::Probe(Attempt::at(middle))
            }
            (Some(floor), _) => Stage::Confirm(Attempt::at(floor)),
        };
    }

    /// Whether the bracket is as narrow as it is to become. The narrower it is, the longer a window
    /// takes to tell its ends apart, so the time that is left may bind.
    fn is_narrow(&self, floor: u64, ceiling: u64) -> bool {
        let factor = ceiling as f64 / floor as f64;
        let is_dear = || {
            let over = factor.sqrt() - 1.0;
            self.aim.wanted(floor, over, PROBE_TAIL) > self.left / 6
        };
        ceiling.saturating_sub(floor) <= 1
            || factor <= NARROW
            || factor <= NARROW_IF_DEAR && (self.is_wary || is_dear())
    }

    /// The stride, which grows with every step in the same direction.
    fn lengthen(&mut self) -> f64 {
        let stride = self.stride;
        self.stride = (stride * stride).min(STRIDE);
        stride
    }

    /// While it narrows, the search keeps the time for the winner's window. It ends where the next
    /// window does not fit any more.
    fn mind_the_budget(&mut self) {
        let next = (self.stage, self.floor, self.step());
        if let (Stage::Probe(_), Some(floor), Step::Run(next)) = next {
            let confirm = self.aim.shortest_for_winner() + next.grace;
            if next.takes().saturating_add(confirm) > self.left {
                self.stage = Stage::Confirm(Attempt::at(floor));
            }
        }
        if matches!(self.step(), Step::Run(next) if next.duration < self.aim.shortest()) {
            self.finish();
        }
    }

    fn found(&self) -> Option<Found> {
        let rate = self.floor.or_else(|| self.highest_that_held())?;
        let here = self.windows.iter().filter(|w| w.rate == rate);
        let (held, failed): (Vec<&Window>, Vec<&Window>) =
            here.partition(|w| w.failure().is_none());
        let samples = held
            .iter()
            .fold(0, |all: u64, w| all.saturating_add(w.samples));
        let ceiling = self.ceilings.last();
        let bound = match ceiling {
            Some((_, bound)) => *bound,
            None if rate >= self.aim.most => Bound::Most,
            None => Bound::Budget,
        };
        Some(Found {
            rate,
            fails: ceiling.map(|(ceiling, _)| *ceiling),
            bound,
            is_confirmed: self.floor.is_some() && held.len() > failed.len().max(1),
            samples,
            assured: assured(self.aim.quantile, samples),
        })
    }

    /// The highest rate below the ceiling at which a window has held.
    fn highest_that_held(&self) -> Option<u64> {
        let (ceiling, _) = self.ceilings.last()?;
        let held = self.windows.iter().filter(|w| w.failure().is_none());
        held.map(|w| w.rate).filter(|rate| rate < ceiling).max()
    }
}

impl Attempt {
    fn at(rate: u64) -> Self {
        Self {
            rate,
            has_failed: false,
        }
    }

    fn again(self) -> Self {
        Self {
            has_failed: true,
            ..self
        }
    }
}

fn times(rate: u64, factor: f64) -> u64 {
    (rate as f64 * factor).round() as u64
}

#[cfg(test)]
mod tests;
