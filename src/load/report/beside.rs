//! Measurements beside each other: a run and an earlier one, and the targets of one run.
//!
//! The samples are figures of [windows](Windows): a rate, or a percentile of the exchanges that ended
//! in the window. The windows lie wholly within the time in which exchanges came and went. They are as
//! long as a percentile needs, and those of two runs have about as many exchanges each. So a run that
//! lasts longer because it is slower has longer windows, and both have as many.

use std::ops::Range;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use super::Report;
use super::latency::Figure;
use super::quantity::Number;
use super::setup::Setup;
use crate::load::machine::compare::{self, Comparison};
use crate::load::machine::record::Windows;
use crate::load::machine::schedule::Stage;

/// With fewer windows the comparison says nothing: how they depend on each other cannot be seen.
const FEWEST: usize = 20;

/// What is compared: the rate, or a percentile of the total time.
const RATE: &str = "rate";
const TIMES: [(&str, f64); 3] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)];

/// So many exchanges of a window are to lie beyond a percentile, or it would be chance.
const BEYOND: f64 = 2.0;

/// The windows of a run have at least this share of the exchanges that those of the other have. A
/// window of few follows every change of the machine, and one of many has the mean of them.
const ALIKE: f64 = 0.75;

/// One figure of two measurements.
#[derive(Clone, Debug)]
pub(crate) struct Compared {
    /// The figure's name.
    pub(crate) name: &'static str,
    /// The figure of the first and of the second, as people read it.
    pub(crate) figures: [String; 2],
    /// The second divided by the first.
    pub(crate) ratio: f64,
    /// The ratio's 95 % interval, if there are enough exchanges for one.
    pub(crate) interval: Option<[f64; 2]>,
}

impl Compared {
    /// `whole` are the figures of everything, whose ratio it is if there are too few windows.
    fn new(
        name: &'static str,
        figures: [String; 2],
        whole: [f64; 2],
        comparison: Option<Comparison>,
    ) -> Self {
        let [first, second] = whole;
        Self {
            name,
            figures,
            ratio: comparison.map_or(second / first.max(f64::MIN_POSITIVE), |c| c.ratio),
            interval: comparison.and_then(|c| c.interval),
        }
    }

    /// Whether the second is slower, in a word or two.
    pub(crate) fn verdict(&self) -> &'static str {
        let is_rate = self.name == RATE;
        match self.interval {
            None => "too short to tell",
            Some([low, _]) if low > 1.0 => {
                if is_rate {
                    "faster"
                } else {
                    "slower"
                }
            }
            Some([_, high]) if high < 1.0 => {
                if is_rate {
                    "slower"
                } else {
                    "faster"
                }
            }
            Some(_) => "no difference",
        }
    }

    /// The ratio with its interval.
    pub(crate) fn range(&self) -> String {
        let ratio = Number(self.ratio, 2);
        match self.interval {
            Some([low, high]) => format!("{ratio} ({} to {})", Number(low, 2), Number(high, 2)),
            None => ratio.to_string(),
        }
    }

    /// One line: `p50 1.02 of the baseline (0.97 to 1.07): no difference`.
    pub(super) fn sentence(&self, of: &str) -> String {
        let (name, verdict) = (self.name, self.verdict());
        let range = self.range();
        let (ratio, interval) = range.split_once(' ').unwrap_or((&range, ""));
        let space = if interval.is_empty() { "" } else { " " };
        format!("{name} {ratio} of {of}{space}{interval}: {verdict}")
    }
}

/// The comparisons by the name of the figure.
pub(super) fn json(compared: &[Compared]) -> Value {
    let keyed = compared.iter().map(|compared| {
        let Compared {
            name,
            ratio,
            interval,
            ..
        } = compared;
        let verdict = compared.verdict();
        let json = json!({ "ratio": ratio, "interval": interval, "verdict": verdict });
        ((*name).to_owned(), json)
    });
    keyed.collect::<Map<_, _>>().into()
}

impl Report {
    /// The first option that keeps a run with these options from being compared with this one.
    pub(crate) fn cannot_compare(
        &self,
        setup: &Setup,
        rate: Option<u64>,
        targets: usize,
    ) -> Option<String> {
        let shown = |rate: Option<u64>| rate.map_or_else(|| "none".to_owned(), |r| r.to_string());
        let ours = self.targets.len();
        if let Some(why) = self.setup.cannot_compare(setup) {
            Some(why)
        } else if self.rate != rate {
            Some(format!(
                "--rate is {} and was {} before",
                shown(rate),
                shown(self.rate)
            ))
        } else if ours != targets {
            Some(format!(
                "the number of targets is {targets} and was {ours} before"
            ))
        } else {
            None
        }
    }

    /// This run beside its baseline. Nothing if it has none.
    pub(crate) fn beside_baseline(&self) -> Vec<Compared> {
        let Some(baseline) = &self.baseline else {
            return vec![];
        };
        let both = [&**baseline, self];
        let mut all = vec![];
        let rates = both.map(Self::throughput);
        if rates.iter().all(|rate| *rate > 0.0) {
            let series = |(windows, during): Sampled<'_>| {
                let length = enough((windows, during.clone()), BEYOND)?;
                let rate = |window: &Histogram<u64>| window.len() as f64 / length.as_secs_f64();
                Some(
                    within(windows, length, &during)
                        .iter()
                        .map(rate)
                        .collect::<Vec<_>>(),
                )
            };
            let [first, second] = both.map(|report| series(report.churn()));
            let comparison = first.zip(second).and_then(|(a, b)| compare::runs(&a, &b));
            let shown = rates.map(|rate| Number(rate, usize::from(rate < 10.0)).to_string());
            all.push(Compared::new(RATE, shown, rates, comparison));
        }
        let totals = both.map(|report| &report.record.corrected);
        all.extend(times(totals, |quantile| {
            let sampled = both.map(Self::churn);
            let needed = BEYOND / (1.0 - quantile);
            let [a, b] = sampled.clone().map(|sampled| {
                let length = enough(sampled.clone(), needed)?;
                Some(median_count(&within(sampled.0, length, &sampled.1)))
            });
            let most = a?.max(b?) as f64;
            let [a, b] = sampled.map(|(windows, during)| {
                let length = enough((windows, during.clone()), needed.max(most * ALIKE))?;
                Some(percentiles(&within(windows, length, &during), quantile))
            });
            compare::runs(&a?, &b?)
        }));
        all
    }

    /// Each target but the first beside the first, if the run compared its targets.
    pub(crate) fn beside_first(&self) -> Vec<Vec<Compared>> {
        let mut tallies = self.tallies().filter_map(|tally| {
            let (windows, during) = (tally.windows.as_ref()?, self.churn().1);
            Some((&tally.total, (windows, during)))
        });
        let Some(first) = tallies.next() else {
            return vec![];
        };
        let beside = tallies.map(|second| {
            let (totals, both) = ([first.0, second.0], [first.1.clone(), second.1]);
            times(totals, |quantile| {
                let needed = BEYOND / (1.0 - quantile);
                let lengths = both.clone().map(|sampled| enough(sampled, needed));
                let length = lengths[0]?.max(lengths[1]?);
                let series = |(windows, during): &Sampled<'_>| {
                    percentiles(&within(windows, length, during), quantile)
                };
                let pairs = series(&both[0]).into_iter().zip(series(&both[1]));
                let pairs: Vec<[f64; 2]> = pairs.map(<[f64; 2]>::from).collect();
                compare::pairs(&pairs)
            })
        });
        beside.collect()
    }

    /// The windows, and the time in which exchanges came and went.
    fn churn(&self) -> Sampled<'_> {
        let churn = self.stage_ends(Stage::Churn);
        (&self.record.windows, churn.unwrap_or_default())
    }
}

/// Windows, and the time of which they are to be taken.
type Sampled<'a> = (&'a Windows, Range<Duration>);

/// The percentiles of two measurements.
fn times(
    totals: [&Histogram<u64>; 2],
    compare: impl Fn(f64) -> Option<Comparison>,
) -> Vec<Compared> {
    if totals.iter().any(|total| total.is_empty()) {
        return vec![];
    }
    let compared = TIMES.map(|(name, quantile)| {
        let figure = Figure::Quantile(quantile);
        Compared::new(
            name,
            totals.map(|total| figure.time(total).to_string()),
            totals.map(|total| figure.of(total) as f64),
            compare(quantile),
        )
    });
    compared.into()
}

/// The shortest length of which most windows have so many exchanges. `None`: too few are so long.
fn enough((windows, during): Sampled<'_>, needed: f64) -> Option<Duration> {
    let mut length = windows.length();
    loop {
        let parts = within(windows, length, &during);
        if parts.len() < FEWEST {
            return None;
        }
        if median_count(&parts) as f64 >= needed {
            return Some(length);
        }
        length *= 2;
    }
}

/// The windows of this length that lie within the time.
fn within(windows: &Windows, length: Duration, during: &Range<Duration>) -> Vec<Histogram<u64>> {
    let joined = windows.joined(length);
    let place = |at: Duration| at.as_nanos() / length.as_nanos();
    let first = during.start.as_nanos().div_ceil(length.as_nanos());
    let last = place(during.end);
    let empty = Windows::empty();
    let window = |i| joined.times().get(i).cloned().or_else(|| empty.clone());
    (first..last)
        .map_while(|i| window(usize::try_from(i).ok()?))
        .take(MOST)
        .collect()
}

/// More windows than a run has. The end of a stage that a report tells may lie far beyond them.
const MOST: usize = 1000;

fn median_count(windows: &[Histogram<u64>]) -> u64 {
    let mut counts: Vec<u64> = windows.iter().map(Histogram::len).collect();
    counts.sort_unstable();
    counts.get(counts.len() / 2).copied().unwrap_or(0)
}

/// The percentile of each window. One without an exchange has none: it is not a number.
fn percentiles(windows: &[Histogram<u64>], quantile: f64) -> Vec<f64> {
    let percentile = |window| percentile(window, quantile);
    windows.iter().map(percentile).collect()
}

/// The percentile as if the times of each step of the histogram were evenly spread over it. The median
/// of such percentiles is the percentile of all, whatever the times are distributed like: number 8 of
/// Hyndman and Fan, "Sample Quantiles in Statistical Packages", *The American Statistician* 50, 1996.
fn percentile(window: &Histogram<u64>, quantile: f64) -> f64 {
    let count = window.len() as f64;
    let rank = (quantile * (count + 1.0 / 3.0) + 1.0 / 3.0).clamp(1.0, count.max(1.0));
    let mut below = 0.0;
    for step in window.iter_recorded() {
        let (value, count) = (step.value_iterated_to(), step.count_at_value() as f64);
        if below + count >= rank {
            let start = window.lowest_equivalent(value) as f64;
            return start + window.equivalent_range(value) as f64 * (rank - below) / count;
        }
        below += count;
    }
    f64::NAN
}

#[cfg(test)]
mod tests;
