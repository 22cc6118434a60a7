//! What a search for the highest rate has found, in words and as JSON.

use serde_json::{Value, json};

use super::Report;
use super::condition::{Goal, Judgement};
use super::json::{micros, whole};
use super::latency::Figure;
use super::quantity::{Number, Time};
use crate::load::machine::record::Record;
use crate::load::machine::search::{Bound, Found, Window};

/// What a search for the highest rate that keeps a goal has found.
#[derive(Clone, Debug)]
pub struct Searched {
    /// The goal.
    pub goal: Goal,
    /// The rate found, if any.
    pub found: Option<Found>,
    /// The windows, in order.
    pub tried: Vec<Tried>,
}

/// A window of a search.
#[derive(Clone, Debug)]
pub struct Tried {
    /// What the search learned of it.
    pub window: Window,
    /// The figure that the goal is about: nanoseconds, or a count.
    pub figure: Option<f64>,
    /// The median of the exchanges' times in nanoseconds, from when each was due. What was given up
    /// counts with its time so far.
    pub p50: Option<u64>,
    /// The 99th percentile of the same.
    pub p99: Option<u64>,
    /// Exchanges that were wrong.
    pub wrong: u64,
    /// Exchanges that were not over when their grace was.
    pub given_up: u64,
    /// Exchanges that were due and never began.
    pub missed: u128,
}

impl Tried {
    /// A window with this record, which kept the goal or did not.
    #[must_use]
    pub fn new(window: Window, judgement: Judgement, record: &Record) -> Self {
        let times = &record.with_timed_out;
        let quantile = |at| (!times.is_empty()).then(|| Figure::Quantile(at).of(times));
        Self {
            window,
            figure: judgement.figure,
            p50: quantile(0.5),
            p99: quantile(0.99),
            wrong: record.outcomes.wrongs(),
            given_up: record.outcomes.given_up,
            missed: record.missed,
        }
    }

    /// Whether it held, and why not.
    fn verdict(&self) -> &'static str {
        match self.window.failure() {
            None => "holds",
            Some(bound) => why(bound),
        }
    }
}

/// Why a window failed. The others are no reasons of a window.
fn why(bound: Bound) -> &'static str {
    match bound {
        Bound::Goal => "fails: beyond the goal",
        Bound::Rate => "fails: exchanges pile up",
        Bound::Wrong => "fails: some were wrong",
        Bound::Client => "fails: hello-load is late",
        Bound::Most | Bound::Budget => "fails",
    }
}

/// Its name in the JSON object.
fn name(bound: Bound) -> &'static str {
    match bound {
        Bound::Goal => "goal",
        Bound::Rate => "rate",
        Bound::Wrong => "wrong",
        Bound::Client => "client",
        Bound::Most => "most",
        Bound::Budget => "budget",
    }
}

/// The headings of the table of windows, but for the figure of the goal, which is the third.
const HEADINGS: [&str; 5] = ["rate", "right/s", "", "samples", "verdict"];

impl Report {
    /// What a search has found.
    #[must_use]
    pub fn found(&self) -> Option<&Found> {
        self.search.as_ref()?.found.as_ref()
    }
}

impl Searched {
    /// The answer.
    pub(super) fn headline(&self) -> String {
        let goal = &self.goal;
        match &self.found {
            Some(found) if found.is_confirmed => {
                format!("{goal} holds at {} a second", found.rate)
            }
            Some(found) => format!("{goal} held at {} a second, not confirmed", found.rate),
            None => format!("no rate kept {goal}"),
        }
    }

    /// Why the search has failed, if it has. A rate that is not confirmed is no result: a longer search
    /// may find a lower one.
    pub(super) fn complaint(&self) -> Option<String> {
        let is_result = self.found.is_some_and(|found| found.is_confirmed);
        (!is_result).then(|| self.headline())
    }

    /// Why the answer is not a higher rate, and how sure it is: a line for each point.
    pub(super) fn remarks(&self) -> Vec<String> {
        match &self.found {
            Some(found) => {
                let mut remarks = vec![not_more(found), self.confidence(found)];
                remarks.extend(self.assured(found));
                remarks
            }
            None => self.nothing().into_iter().collect(),
        }
    }

    /// How often it held, and how sure that is.
    fn confidence(&self, found: &Found) -> String {
        let here = self.tried.iter().filter(|t| t.window.rate == found.rate);
        let all = here.clone().count();
        let held = here.filter(|t| t.window.failure().is_none()).count();
        let (rate, samples) = (found.rate, found.samples);
        let so_often =
            format!("it held in {held} of {all} windows at {rate}, with {samples} exchanges");
        if found.is_confirmed {
            so_often
        } else {
            format!("not confirmed: {so_often}; a longer -d can confirm it")
        }
    }

    fn assured(&self, found: &Found) -> Option<String> {
        let (limit, _) = self.goal.limit().zip(self.goal.quantile())?;
        let share = Number(found.assured * 100.0, 2);
        let limit = Time(limit.as_nanos() as u64);
        Some(format!(
            "with 95 % confidence, at least {share} % of exchanges keep {limit}"
        ))
    }

    /// Why nothing was found.
    fn nothing(&self) -> Option<String> {
        let lowest = self.tried.iter().min_by_key(|t| t.window.rate)?;
        let (rate, verdict) = (lowest.window.rate, lowest.verdict());
        let (name, figure) = (self.goal.measure(), self.goal.shown(lowest.figure));
        Some(format!("{rate} a second {verdict}; {name} is {figure}"))
    }

    /// The table of windows.
    pub(super) fn rows(&self) -> Vec<[String; 5]> {
        let row = |tried: &Tried| {
            let window = &tried.window;
            [
                window.rate.to_string(),
                format!("{:.0}", window.achieved),
                self.goal.shown(tried.figure),
                window.samples.to_string(),
                tried.verdict().to_owned(),
            ]
        };
        self.tried.iter().map(row).collect()
    }

    pub(super) fn headings(&self) -> [&str; 5] {
        let mut headings = HEADINGS;
        headings[2] = self.goal.measure();
        headings
    }

    pub(super) fn json(&self) -> Value {
        let found = self.found.as_ref();
        let is_quantile = self.goal.quantile().is_some();
        json!({
            "goal": self.goal.to_string(),
            "fails": found.and_then(|found| found.fails),
            "bound": found.map(|found| name(found.bound)),
            "confirmed": found.map(|found| found.is_confirmed),
            "samples": found.map(|found| found.samples),
            "assured": found.filter(|_| is_quantile).map(|found| found.assured),
            "windows": self.tried.iter().map(|tried| self.window(tried)).collect::<Vec<_>>(),
        })
    }

    fn window(&self, tried: &Tried) -> Value {
        let window = &tried.window;
        let is_time = self.goal.limit().is_some();
        let failure = window.failure();
        json!({
            "rate": window.rate,
            "achieved": window.achieved,
            "seconds": window.took.as_secs_f64(),
            "samples": window.samples,
            "figure_us": tried.figure.filter(|_| is_time).map(|ns| ns / 1e3),
            "figure": tried.figure.filter(|_| !is_time),
            "p50_us": tried.p50.map(micros),
            "p99_us": tried.p99.map(micros),
            "wrong": tried.wrong,
            "given_up": tried.given_up,
            "missed": whole(tried.missed),
            "holds": failure.is_none(),
            "bound": failure.map(name),
        })
    }
}

/// Why the rate found is not higher.
fn not_more(found: &Found) -> String {
    let fails = found.fails.unwrap_or_default();
    match found.bound {
        Bound::Goal => format!("at {fails} it does not hold"),
        Bound::Rate => format!("at {fails} exchanges begin faster than they end"),
        Bound::Wrong => format!("at {fails} exchanges are wrong"),
        Bound::Client => {
            format!("at {fails} hello-load itself falls behind: try --threads, or another machine")
        }
        Bound::Most => "no higher rate is tried".to_owned(),
        Bound::Budget => "there was no time for higher rates: a longer -d has it".to_owned(),
    }
}

#[cfg(test)]
pub(super) mod tests;
