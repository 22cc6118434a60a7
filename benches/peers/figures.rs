//! What a run of rounds comes to, and on which machine.

use std::fmt;
use std::time::{Duration, SystemTime};

pub fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1000.0
}

/// What the rounds of a measurement came to.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    pub least: f64,
    pub median: f64,
    pub most: f64,
}

impl Spread {
    /// Of one value or more.
    pub fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let middle = [sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]];
        Self {
            least: sorted[0],
            median: (middle[0] + middle[1]) / 2.0,
            most: sorted[sorted.len() - 1],
        }
    }
}

/// Shown with the precision asked for: `1.04 (1.02-1.07)`.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(2);
        let Self {
            least,
            median,
            most,
        } = self;
        let width = f.width().unwrap_or(0);
        let shown = format!("{median:.digits$} ({least:.digits$}-{most:.digits$})");
        write!(f, "{shown:>width$}")
    }
}

/// The machine in words that name nobody's, and the day.
pub fn machine() -> String {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap();
    let cores = cpus
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let of = if cpus.contains(" hypervisor") {
        " of a virtual machine"
    } else {
        ""
    };
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let release: Vec<&str> = release.split(['.', '-']).take(2).collect();
    #[allow(clippy::disallowed_methods, reason = "for the chart's date")]
    let day = humantime::format_rfc3339(SystemTime::now()).to_string();
    let (day, _) = day.split_once('T').unwrap();
    format!("{cores} cores{of}, Linux {}, {day}", release.join("."))
}
