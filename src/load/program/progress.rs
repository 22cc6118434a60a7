//! How far the run is: one line, which is drawn again in its place.

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
        let (rate, left) = (
            format!("{rate:.0}/s"),
            left(progress, now.saturating_sub(since)),
        );
        let parts = [
            format!("{wrong} wrong"),
            rate,
            left,
            format!("{open} open"),
            format!("{done} done"),
            name.to_owned(),
        ];
        Some(line(&parts, &ORDER, progress))
    }

    /// The line of a search, if it is time for one: what holds, what fails, the rate and the number of the
    /// window, with how much of its time has passed.
    pub(super) fn line_of(
        &mut self,
        [holds, fails, rate, window]: [String; 4],
        past: Duration,
        budget: Duration,
    ) -> Option<String> {
        if self.drawn.is_some_and(|drawn| past < drawn + INTERVAL) {
            return None;
        }
        self.drawn = Some(past);
        let progress = past.as_secs_f64() / budget.as_secs_f64().max(1e-9);
        let progress = progress.min(1.0);
        let parts = [holds, fails, left(progress, past), rate, window];
        Some(line(&parts, &SEARCH_ORDER, progress))
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

/// The order in which a line has its parts, by their places in the order of importance.
const ORDER: [usize; 6] = [5, 3, 4, 1, 0, 2];
const SEARCH_ORDER: [usize; 5] = [4, 3, 0, 1, 2];

/// A bar narrower than this says nothing.
const LEAST_BAR: usize = 10;

/// The line in the terminal, in place of the last one.
fn line(parts: &[String], order: &[usize], progress: f64) -> String {
    let (_, columns) = Term::stderr().size();
    let line = drawn(parts, order, progress, usize::from(columns));
    format!("{CLEAR}{line}")
}

/// A line for so many columns: as many `parts` as there is room for, the most important first, and a bar if
/// there is more room. A line that were too long would wrap, and could not be taken away.
fn drawn(parts: &[String], order: &[usize], progress: f64, columns: usize) -> String {
    let columns = columns.saturating_sub(1);
    let of = |most: usize| -> String {
        let shown = order.iter().filter(|place| **place < most);
        let shown: Vec<&str> = shown.map(|place| &*parts[*place]).collect();
        shown.join(", ")
    };
    let room = |text: &String| columns.checked_sub(text.chars().count());
    let all = of(parts.len());
    let width = room(&all).unwrap_or(0).saturating_sub(1);
    if width < LEAST_BAR {
        let mut fewer = (1..=parts.len()).rev().map(of);
        return fewer.find(|text| room(text).is_some()).unwrap_or_default();
    }
    let full = ((width as f64 * progress) as usize).min(width);
    let bar = "█".repeat(full) + &"░".repeat(width - full);
    format!("{bar} {all}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_follows_from_the_progress() {
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
    fn a_line_has_what_there_is_room_for() {
        let parts = [
            "0 wrong",
            "9301/s",
            "10s left",
            "64 open",
            "27903 done",
            "exchanging",
        ];
        let parts = parts.map(str::to_owned);
        let check = |columns, line: &str| assert_eq!(drawn(&parts, &ORDER, 0.5, columns), line);
        let whole = "exchanging, 64 open, 27903 done, 9301/s, 0 wrong, 10s left";
        check(80, &format!("██████████░░░░░░░░░░ {whole}"));
        check(69, whole);
        check(59, whole);
        check(58, "64 open, 27903 done, 9301/s, 0 wrong, 10s left");
        check(46, "64 open, 9301/s, 0 wrong, 10s left");
        check(30, "9301/s, 0 wrong, 10s left");
        check(20, "9301/s, 0 wrong");
        check(8, "0 wrong");
        check(7, "");
        check(0, "");
        for (columns, progress) in (0..200).flat_map(|n| [(n, 0.0), (n, 0.3), (n, 1.0)]) {
            let line = drawn(&parts, &ORDER, progress, columns);
            assert!(line.chars().count() < columns.max(1), "{columns}: {line}");
        }
    }
}
