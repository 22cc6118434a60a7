//! The line about one interval of a run, as text or as JSON.

use std::time::SystemTime;

use serde_json::{Value, json};

use super::Report;
use super::latency::Figure;
use super::quantity::Time;
use crate::load::machine::record::Shortage;
use crate::load::machine::schedule::LATE;

/// What the line about an interval says beside the interval's report.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    /// When the interval ended.
    pub(crate) ended: SystemTime,
    /// How many connections are open at its end.
    pub(crate) open: u64,
    /// How many lines there was no room for since the last one. This interval includes theirs.
    pub(crate) dropped: u64,
}

impl Report {
    /// The interval in one line of text.
    pub(crate) fn line(&self, line: &Line) -> String {
        let Line {
            ended,
            open,
            dropped,
        } = line;
        let outcomes = &self.record.outcomes;
        let done = outcomes.right + outcomes.wrongs();
        let (seconds, rate) = (self.elapsed.as_secs_f64(), self.throughput());
        let ended = humantime::format_rfc3339_seconds(*ended);
        let mut text = format!(
            "{ended} {done} exchanges in {seconds:.1} s, {rate:.0} a second, {} wrong",
            outcomes.wrongs()
        );
        let kinds = outcomes.wrong.iter();
        let kinds: Vec<String> = kinds.map(|(fault, n)| format!("{n} {fault}")).collect();
        if !kinds.is_empty() {
            text += &format!(" ({})", kinds.join(", "));
        }
        let times = &self.record.corrected;
        for (name, quantile) in [("p50", 0.5), ("p99", 0.99)] {
            let figure = Figure::Quantile(quantile).time(times);
            text += &if times.is_empty() {
                format!(", {name} –")
            } else {
                format!(", {name} {figure}")
            };
        }
        text += &format!(", {open} open; {}", self.own_troubles());
        if *dropped > 0 {
            text += &format!("; dropped lines, included here: {dropped}");
        }
        text
    }

    /// Whether the load client itself kept up, in a few words.
    fn own_troubles(&self) -> String {
        let record = &self.record;
        let mut troubles = vec![];
        if record.latest > LATE {
            let latest = Time(record.latest.as_nanos() as u64);
            troubles.push(format!("fell behind by {latest}"));
        }
        if record.missed > 0 {
            troubles.push(format!("missed {}", record.missed));
        }
        if !record.stood_still.is_zero() {
            let stood_still = Time(record.stood_still.as_nanos() as u64);
            troubles.push(format!("stood still for {stood_still}"));
        }
        let waited = record.waited.iter();
        troubles.extend(waited.map(|(shortage, waited)| {
            let waited = Time(waited.as_nanos() as u64);
            let lacked = match shortage {
                Shortage::Descriptor => "a descriptor",
                Shortage::Port => "a port",
                Shortage::Queue => "a place in the queue",
            };
            format!("waited {waited} for {lacked}")
        }));
        if troubles.is_empty() {
            "kept up".to_owned()
        } else {
            troubles.join(", ")
        }
    }

    /// The interval as its own report, in JSON.
    pub(crate) fn interval_json(&self, line: &Line) -> Value {
        let mut json = self.json();
        let began = humantime::format_rfc3339_millis(self.began);
        json["began"] = json!(began.to_string());
        json["open"] = json!(line.open);
        json["dropped_lines"] = json!(line.dropped);
        json
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::load::machine::record::Record;

    #[test]
    fn a_line_names_the_client_s_own_troubles() {
        let line = Line {
            ended: SystemTime::UNIX_EPOCH,
            open: 3,
            dropped: 0,
        };
        let mut report = Report::of(Record::new(["a".to_owned()]).unwrap());
        let said = |report: &Report| {
            let text = report.line(&line);
            let (_, troubles) = text.split_once(" 3 open; ").unwrap();
            troubles.to_owned()
        };
        report.record.latest = LATE;
        assert_eq!(said(&report), "kept up");
        report.record.latest = Duration::from_millis(101);
        report.record.missed = 7;
        report.record.stood_still = Duration::from_secs(2);
        let began = "fell behind by 101 ms, missed 7, stood still for 2.00 s";
        assert_eq!(said(&report), began);
        report.record = Record::new(["a".to_owned()]).unwrap();
        let lacked = [
            (Shortage::Descriptor, 1),
            (Shortage::Port, 2),
            (Shortage::Queue, 3),
        ];
        report.record.waited = lacked
            .map(|(shortage, s)| (shortage, Duration::from_secs(s)))
            .into();
        let waited = "waited 1.00 s for a descriptor, waited 2.00 s for a port, \
                      waited 3.00 s for a place in the queue";
        assert_eq!(said(&report), waited);
    }
}
