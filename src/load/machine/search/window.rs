//! A window of the search: how long it is, and what came of it.
//!
//! Of `n` samples, the share beyond the quantile `q` varies by `sqrt(q (1 - q) / n)`, however the
//! latencies are distributed (the binomial argument in Hahn and Meeker, *Statistical Intervals*,
//! chapter 5). The search wants:
//! - while it narrows, `5 / (1 - q)` samples, 500 for p99: five are expected beyond the quantile,
//!   and the chance that none is there is below 1 % (`q^n`, Wilks, 1941);
//! - for the winner, `20 / (1 - q)` samples, 2,000 for p99 and 20,000 for p99.9: twenty are
//!   expected beyond the quantile, give or take four or five.
//!
//! Quantiles below 0.95 need no fewer than 0.95 does.
//!
//! An overload must show, too. At a rate that is 5 % too high the latency grows by 50 ms a second,
//! so a window for the winner lasts at least 20 times the latency that the goal allows, and a
//! window that narrows as long as it needs to tell its rate from the floor.
//!
//! Where the time that is left does not suffice for all that, a window is shorter.

use std::time::Duration;

use super::Bound;

/// What to search for, and within which limits.
#[derive(Clone, Copy, Debug)]
pub struct Aim {
    /// The first rate to try, a second.
    pub start: u64,
    /// The highest rate to try, a second.
    pub most: u64,
    /// How long the search may take. Less than a second counts as a second.
    pub budget: Duration,
    /// The quantile that the goal is about, such as 0.99: from 0.5 to 0.999999. For a goal about
    /// the maximum or about something else it is the share of exchanges to be sure of.
    pub quantile: f64,
    /// The latency that the goal allows, if it is about latency.
    pub limit: Option<Duration>,
}

/// A window to run, in an open loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trial {
    /// How long to begin nothing first, so that the server finishes what it still has.
    pub pause: Duration,
    /// Exchanges to begin a second.
    pub rate: u64,
    /// How long to begin them.
    pub duration: Duration,
    /// How long to wait then for those under way. An exchange that is not over by then is beyond
    /// the latency that the goal allows. Count it with the time that it has taken so far.
    pub grace: Duration,
}

/// The result of a [`Trial`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// The rate asked for.
    pub rate: u64,
    /// Right exchanges, divided by the trial's duration in seconds.
    pub achieved: f64,
    /// Whether the goal held.
    pub holds: bool,
    /// Whether an exchange was wrong.
    pub is_wrong: bool,
    /// Whether an exchange was due and did not begin in time: the load client cannot keep this
    /// rate.
    pub is_missed: bool,
    /// How many latencies were measured.
    pub samples: u64,
    /// How long all of it took, with the pause and the grace.
    pub took: Duration,
}

/// What a window is for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Purpose {
    /// To see whether a rate holds that is higher than the floor, or lower than all that failed.
    Probe { floor: Option<u64>, fails: bool },
    /// To measure the winner or its neighbour well.
    Winner,
}

/// Samples beyond the quantile that a probe is to have.
pub(super) const PROBE_TAIL: f64 = 5.0;

/// The same for the winner.
const WINNER_TAIL: f64 = 20.0;

/// A window for the winner must show a rate that is too high by this share.
const SLIGHT: f64 = 0.05;

/// A long step upward must show an overload of this share, although the step is longer. Otherwise a
/// rate would seem to hold that is too high by nearly as much as the step.
const COARSE: f64 = 0.2;

/// A window with fewer right exchanges than this share of the rate did not keep the rate.
const ACHIEVED: f64 = 0.95;

/// A window with fewer than this share failed because the rate is far too high, not because
/// something else spoiled it.
const CLEAR: f64 = 0.9;

/// The shortest window, as a part of the budget. So there are at most as many windows.
const SHORTEST: u32 = 120;

/// The shortest window for the winner, as a part of the budget.
const SHORTEST_WINNER: u32 = 30;

/// The longest pause, as a multiple of the window that made it necessary.
const LONGEST_PAUSE: f64 = 2.0;

impl Aim {
    /// Within the limits that its fields state.
    pub(super) fn limited(self) -> Self {
        let most = self.most.max(1);
        let quantile = if self.quantile.is_nan() {
            0.99
        } else {
            self.quantile
        };
        Self {
            start: self.start.clamp(1, most),
            most,
            budget: self.budget.max(Duration::from_secs(1)),
            quantile: quantile.clamp(0.5, 0.999_999),
            limit: self.limit,
        }
    }

    /// The window at that rate, with so much time left.
    pub(super) fn trial(
        &self,
        rate: u64,
        purpose: Purpose,
        pause: Duration,
        left: Duration,
    ) -> Trial {
        let grace = self.limit.unwrap_or(Duration::from_secs(1));
        let grace = grace.clamp(self.budget / (4 * SHORTEST), self.budget / 20);
        let pause = pause.min(left / 10);
        let rest = left.saturating_sub(pause + grace);
        let (wanted, least, most) = match purpose {
            Purpose::Probe { floor, fails } => {
                let step = floor.map_or(f64::INFINITY, |floor| rate as f64 / floor as f64 - 1.0);
                let over = step.clamp(SLIGHT / 2.0, COARSE);
                // A bracket is narrowed in few windows, and found in many.
                let share = if floor.is_some() && fails { 6 } else { 20 };
                (
                    self.wanted(rate, over, PROBE_TAIL),
                    self.shortest(),
                    rest / share,
                )
            }
            Purpose::Winner => (
                self.wanted(rate, SLIGHT, WINNER_TAIL),
                self.shortest_for_winner(),
                rest / 3,
            ),
        };
        Trial {
            pause,
            rate,
            duration: wanted.min(most).max(least).min(rest),
            grace,
        }
    }

    /// How long a window at that rate must be to have so many samples beyond the quantile, and to
    /// show a rate that is too high by the share `over`.
    pub(super) fn wanted(&self, rate: u64, over: f64, tail: f64) -> Duration {
        let limit = self.limit.unwrap_or_default().as_secs_f64();
        let shows = limit / (over * self.quantile);
        let samples = tail / (1.0 - self.quantile.max(0.95)) / rate as f64;
        Duration::try_from_secs_f64(shows.max(samples)).unwrap_or(Duration::MAX)
    }

    pub(super) fn shortest(&self) -> Duration {
        self.budget / SHORTEST
    }

    pub(super) fn shortest_for_winner(&self) -> Duration {
        self.budget / SHORTEST_WINNER
    }

    /// How long the server needs for the rest of a failed window, as far as it can be known.
    pub(super) fn backlog(&self, window: &Window, trial: &Trial) -> Duration {
        let over = window.rate as f64 / window.achieved.max(1.0) - 1.0;
        let left = trial.duration.mul_f64(over.clamp(0.0, LONGEST_PAUSE));
        left.max(self.shortest() / 2)
    }
}

impl Trial {
    /// How long all of it takes at most.
    pub(super) fn takes(&self) -> Duration {
        self.pause
            .saturating_add(self.duration)
            .saturating_add(self.grace)
    }
}

impl Window {
    /// Why it failed. `None`: it held.
    #[must_use]
    pub fn failure(&self) -> Option<Bound> {
        if self.is_missed {
            Some(Bound::Client)
        } else if self.is_wrong {
            Some(Bound::Wrong)
        } else if !self.holds || self.samples == 0 {
            Some(Bound::Goal)
        } else if self.is_below(ACHIEVED) {
            Some(Bound::Rate)
        } else {
            None
        }
    }

    /// The server was so far behind that only the rate can be the reason.
    pub(super) fn is_overload(&self) -> bool {
        self.is_below(CLEAR)
    }

    fn is_below(&self, share: f64) -> bool {
        self.achieved.is_nan() || self.achieved < self.rate as f64 * share
    }
}

/// With 95 % confidence, at least this share of all exchanges is as fast as `quantile` of so many
/// samples were: the lower end of Wilson's one-sided interval.
pub(super) fn assured(quantile: f64, samples: u64) -> f64 {
    const Z: f64 = 1.645;
    let n = samples.max(1) as f64;
    let middle = quantile + Z * Z / (2.0 * n);
    let half = Z * (quantile * (1.0 - quantile) / n + Z * Z / (4.0 * n * n)).sqrt();
    ((middle - half) / (1.0 + Z * Z / n)).max(0.0)
}
