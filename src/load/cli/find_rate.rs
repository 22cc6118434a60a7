//! `--find-rate`: the option, and what it goes with.

use std::time::Duration;

use clap::Arg;

use super::{Invocation, setting};
use crate::load::report::condition::{Condition, Goal};
use crate::program::values::Utf8;

/// How long a search takes at most, if nothing else is asked for.
const BUDGET: Duration = Duration::from_secs(60);

/// A search in less time would measure chance.
const LEAST: Duration = Duration::from_secs(1);

pub(super) fn arg() -> Arg {
    setting(
        "find-rate",
        "GOAL",
        "Find the highest rate that keeps a goal, such as p99<5ms,\n\
         echo.p50<1ms or wrong<=0; within -d, by default 60s",
    )
    .value_parser(Utf8(str::parse::<Goal>))
    .conflicts_with_all([
        "check",
        "exchanges",
        "concurrency",
        "rate",
        "hold",
        "ramp",
        "baseline",
        "compare",
        "interval",
        "metrics",
    ])
}

/// What makes no sense in this invocation.
pub(super) fn refusal(invocation: &Invocation, has_duration: bool) -> Option<&'static str> {
    let is_search = invocation.find_rate.is_some();
    let duration = invocation.options.plan.duration;
    let is_about_it = invocation
        .fail_if
        .iter()
        .any(Condition::is_about_found_rate);
    if is_about_it && !is_search {
        Some("--fail-if found_rate has no effect without --find-rate")
    } else if is_search && has_duration && duration.is_none_or(|duration| duration < LEAST) {
        Some("--duration is too short for --find-rate: it takes 1s at least, and 60s are better")
    } else {
        None
    }
}

impl Invocation {
    /// How long a search for a rate may take.
    #[must_use]
    pub fn budget(&self) -> Duration {
        self.options.plan.duration.unwrap_or(BUDGET)
    }
}
