//! How far the run is: one line, which is drawn anew in its place.

use std::time::Duration;

use console::Term;

use crate::load::{Load, Stage};

/// Takes the line away.
pub(super) const CLEAR: &str = "\r\x1b[K";

/// The time between two lines.
const INTERVAL: Duration = Duration::from_millis(100);

/// The rate is that of this time.
const RATE_OVER: Duration = Duration::from_millis(500);

#[derive(Default)]
pub(super) struct Progress {
    /// When the last line was drawn.
    drawn: Option<Duration>,
    /// The stage of the last line, and when it began.
    stage: Option<(Stage, Duration)>,
    /// When the rate was measured last, how many were done then, and the rate.
    measured: (Duration, u64, f64),
}

impl Progress {
    /// The line, if it is time for one.
    pub(super) fn line(&mut self, load: &Load) -> Option<String> {
        let now = load.elapsed();
        if self.drawn.is_some_and(|drawn| now < drawn + INTERVAL) {
            return None;
        }
        self.drawn = Some(now);
        let stage = load.stage();
        let since = match self.stage {
            Some((same, since)) if same == stage => since,
            _ => now,
        };
        self.stage = Some((stage, since));
        let outcomes = load.outcomes();
        let (open, wrong) = (outcomes.open(), outcomes.wrongs());
        let done = outcomes.right + wrong;
        let rate = self.rate(done, now);
        let (progress, name) = (load.progress(), stage.name());
        let text = format!("{name}: {open} open, {done} done, {rate:.0}/s, {wrong} wrong, ");
        let left = left(progress, now.saturating_sub(since));
        Some(drawn(&text, progress, &left))
    }

    fn rate(&mut self, done: u64, now: Duration) -> f64 {
        let (at, before, _) = self.measured;
        let took = now.saturating_sub(at);
        let rate = done.saturating_sub(before) as f64 / took.as_secs_f64().max(1e-9);
        if took >= RATE_OVER {
            self.measured = (now, done, rate);
        }
        if at.is_zero() { rate } else { self.measured.2 }
    }
}

/// How long a stage lasts yet that has come so far in this time.
fn left(progress: f64, took: Duration) -> String {
    let seconds = took.as_secs_f64() * (1.0 - progress) / progress;
    if progress <= 0.0 || seconds > 1e9 {
        return "? left".to_owned();
    }
    let left = Duration::from_secs(seconds.ceil() as u64);
    format!("{} left", humantime::format_duration(left))
}

/// A bar before the text, as long as the terminal has room for. A line that were too long would wrap,
/// and could not be taken away.
fn drawn(text: &str, progress: f64, left: &str) -> String {
    let (_, columns) = Term::stderr().size();
    let columns = usize::from(columns).saturating_sub(1);
    let width = columns.saturating_sub(text.len() + left.len() + 1);
    let full = ((width as f64 * progress) as usize).min(width);
    let bar = "█".repeat(full) + &"░".repeat(width - full);
    let line: String = format!("{bar} {text}{left}")
        .chars()
        .take(columns)
        .collect();
    format!("{CLEAR}{line}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_follows_from_what_is_done() {
        let check = |progress, seconds, text: &str| {
            assert_eq!(left(progress, Duration::from_secs(seconds)), text);
        };
        check(0.0, 5, "? left");
        check(1e-30, 5, "? left");
        check(0.25, 10, "30s left");
        check(0.5, 90, "1m 30s left");
        check(1.0, 90, "0s left");
    }

    #[test]
    fn a_line_never_wraps() {
        for progress in [0.0, 0.5, 1.0] {
            let line = drawn(&"x".repeat(50), progress, "1s left");
            let (_, columns) = Term::stderr().size();
            assert!(line[CLEAR.len()..].chars().count() < usize::from(columns));
        }
    }
}
