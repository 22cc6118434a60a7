//! The lines of `--interval`, which stdout gets while the run lasts. Writing them never holds it up.

use std::io;
use std::time::{Duration, SystemTime};

use super::TICK;
use crate::load::report::{Line, Report};
use crate::load::{Load, Record};
use crate::program::escape::escape_json;
use crate::program::stdio::{Stopped, Stream};

/// The intervals of a run.
pub(super) struct Intervals {
    every: Duration,
    json: bool,
    /// The present interval, or the last one that ended.
    report: Report,
    /// When the present interval began and when it is to end, from the start of the run.
    began: Duration,
    ends: Duration,
    /// All intervals that ended.
    whole: Record,
    stdout: Stream,
    /// What stdout had no room for yet: the rest of one line.
    kept: Vec<u8>,
    /// When that was tried last.
    tried: Duration,
    /// Lines that were due meanwhile.
    dropped: u64,
}

impl Intervals {
    /// `report` is that of the whole run, which has measured nothing yet.
    pub(super) fn new(every: Duration, json: bool, report: &Report) -> Self {
        Self {
            every,
            json,
            whole: report.record.clone(),
            report: Report {
                baseline: None, // it is for the whole run
                ..report.clone()
            },
            began: Duration::ZERO,
            ends: every,
            stdout: Stream::new(io::stdout()),
            kept: vec![],
            tried: Duration::ZERO,
            dropped: 0,
        }
    }

    /// Runs the load to its end, with a line about each interval but the last.
    pub(super) fn follow(&mut self, load: &mut Load) -> io::Result<()> {
        loop {
            let wait = self.ends.saturating_sub(load.elapsed()).min(TICK);
            if !load.turn(wait)? {
                return Ok(());
            }
            if load.elapsed() >= self.ends {
                self.end_interval(load);
            } else if !self.kept.is_empty() && load.elapsed() >= self.tried + TICK {
                self.go_on(load);
            }
        }
    }

    /// Writes the line if there is room. If there is none, the interval goes on: the next line includes
    /// it.
    fn end_interval(&mut self, load: &mut Load) {
        while self.ends <= load.elapsed() {
            self.ends += self.every;
        }
        if self.kept.is_empty() {
            self.kept = self.cut(load).into_bytes();
            self.go_on(load);
        } else {
            self.dropped += 1;
        }
    }

    /// The line about the interval that ends now.
    fn cut(&mut self, load: &mut Load) -> String {
        let (record, elapsed) = load.cut();
        self.report.record = record;
        self.report.elapsed = elapsed - self.began;
        self.whole.follow(&self.report.record, self.began);
        self.began = elapsed;
        let line = Line {
            ended: now(),
            open: load.outcomes().open(),
            dropped: std::mem::take(&mut self.dropped),
        };
        let text = if self.json {
            escape_json(&self.report.interval_json(&line).to_string())
        } else {
            self.report.line(&line)
        };
        self.report.began = line.ended;
        text + "\n"
    }

    fn go_on(&mut self, load: &Load) {
        self.tried = load.elapsed();
        match self.stdout.write(&self.kept) {
            Ok(()) => self.kept.clear(),
            Err(Stopped { written, .. }) => drop(self.kept.drain(..written)),
        }
    }

    /// The run is over. Returns what it has measured in all, and the bytes that stdout still has to
    /// get: the rest of one line, then the last line.
    pub(super) fn finish(
        mut self,
        load: &mut Load,
        is_cut_short: bool,
        error: Option<String>,
    ) -> (Record, Vec<u8>) {
        self.report.is_cut_short = is_cut_short;
        self.report.error = error;
        let last = self.cut(load);
        self.whole.close(load.elapsed());
        self.kept.extend_from_slice(last.as_bytes());
        if !self.json {
            self.kept.push(b'\n'); // between the lines and the report
        }
        (self.whole, self.kept)
    }
}

#[allow(clippy::disallowed_methods, reason = "for the lines' dates")]
fn now() -> SystemTime {
    SystemTime::now()
}
