//! The options that watch a run while it lasts.

use std::time::Duration;

use clap::Arg;

use super::setting;
use crate::program::values::{self, Utf8};
use crate::server::address::Address;

/// Each interval takes some of the run's time, so it must not be much shorter.
const SHORTEST: Duration = Duration::from_millis(100);

pub(super) fn interval() -> Arg {
    setting(
        "interval",
        "DURATION",
        "While the run lasts, a line about each interval of at least 100ms;\n\
         with --json an object a line, the whole run's last",
    )
    .conflicts_with("check")
    .value_parser(Utf8(interval_of))
}

pub(super) fn metrics() -> Arg {
    setting(
        "metrics",
        "ADDR",
        "While the run lasts, serve metrics for Prometheus at HOST:PORT\n\
         or unix:PATH",
    )
    .conflicts_with("check")
    .value_parser(Utf8(str::parse::<Address>))
}

fn interval_of(text: &str) -> Result<Duration, String> {
    let interval = values::duration(text)?;
    (interval >= SHORTEST)
        .then_some(interval)
        .ok_or_else(|| format!("must be at least {SHORTEST:?}"))
}
