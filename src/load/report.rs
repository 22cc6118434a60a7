//! What is said of a run: a page of text, and one JSON object.

use std::fmt;
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use super::exchange::Fault;
use super::record::Record;
use super::schedule::{LATE, Stage};

/// The version of the JSON object. It changes when a field goes or means something else.
pub const VERSION: u32 = 1;

/// The quantiles of every table: their names as fields and as headings.
pub(crate) const QUANTILES: [(&str, &str, f64); 5] = [
    ("p50", "p50", 0.5),
    ("p90", "p90", 0.9),
    ("p99", "p99", 0.99),
    ("p999", "p99.9", 0.999),
    ("max", "max", 1.0),
];

/// A run that is over.
#[derive(Debug)]
pub struct Report<'a> {
    /// What it has seen.
    pub record: &'a Record,
    /// How long it took.
    pub elapsed: Duration,
    /// When it began.
    pub began: SystemTime,
    /// The command line that asked for it.
    pub line: &'a str,
    /// Where it connected to.
    pub targets: Vec<String>,
    /// What the payloads were made from.
    pub seed: u64,
    /// Exchanges a second that were asked for, if that was an open loop.
    pub rate: Option<u64>,
    /// Whether it ended before its time.
    pub is_cut_short: bool,
    /// Why, if that was an error.
    pub error: Option<String>,
}

/// One row of the table of latencies.
pub(crate) struct Latency<'a> {
    /// As a person reads it.
    pub(crate) name: &'static str,
    /// As in `--fail-if`, and in the JSON report.
    pub(crate) key: &'static str,
    pub(crate) histogram: &'a Histogram<u64>,
}

impl Report<'_> {
    /// Right exchanges a second, of those that came and went, from the first until they were over; if
    /// there were only held ones, of all in the whole run.
    #[must_use]
    pub fn throughput(&self) -> f64 {
        let record = self.record;
        let churn = self.stage(Stage::Churn).filter(|_| record.churned > 0);
        let (right, took) = match churn {
            Some(churn) => (record.churned, churn),
            None => (record.right, self.elapsed),
        };
        right as f64 / took.as_secs_f64().max(1e-9)
    }

    /// How long that stage took, if it came to that.
    fn stage(&self, stage: Stage) -> Option<Duration> {
        let mut stages = self
            .record
            .stages
            .iter()
            .skip_while(|(name, _)| *name != stage);
        let (_, start) = stages.next()?;
        let end = stages.next().map_or(self.elapsed, |(_, end)| *end);
        Some(end.saturating_sub(*start))
    }

    /// What took how long: of the exchanges that came and went, and of the held ones.
    pub(crate) fn latencies(&self) -> Vec<Latency<'_>> {
        let record = self.record;
        let row = |name, key, histogram| Latency {
            name,
            key,
            histogram,
        };
        let [connect, greeting, echo, eof] = &record.phases;
        let mut rows = vec![
            row("connect", "connect", connect),
            row("greeting", "greeting", greeting),
            row("echo", "echo", echo),
            row("eof", "eof", eof),
        ];
        if self.rate.is_some() {
            rows.push(row("total, raw", "total_raw", &record.total));
        }
        rows.push(row("total", "total", &record.corrected));
        let [connect, greeting, echo, eof] = &record.held_phases;
        if self.record.held > 0 {
            rows.push(row("held: connect", "held_connect", connect));
            rows.push(row("held: greeting", "held_greeting", greeting));
            rows.push(row("held: echo", "held_echo", echo));
            rows.push(row("held: eof", "held_eof", eof));
        }
        rows
    }

    /// Why it ended before its time, if it did.
    pub(crate) fn cut_short(&self) -> Option<String> {
        match &self.error {
            Some(error) => Some(format!("cut short: {error}")),
            None => self
                .is_cut_short
                .then(|| "cut short by a signal".to_owned()),
        }
    }

    /// What one should know before one believes the figures, a line each.
    pub(crate) fn remarks(&self) -> Vec<String> {
        let record = self.record;
        let mut remarks = vec![];
        let late = Time(record.latest.as_nanos() as u64);
        if record.missed > 0 {
            let missed = record.missed;
            remarks.push(format!(
                "fell behind: {missed} exchanges that were due were never begun"
            ));
        }
        if record.latest > LATE {
            remarks.push(format!(
                "fell behind: the latest began {late} after its time"
            ));
        } else if self.rate.is_some() {
            remarks.push(format!("the latest began {late} after its time"));
        }
        for (shortage, waited) in &record.waited {
            let waited = Time(waited.as_nanos() as u64);
            remarks.push(format!("nothing could be opened for {waited}: {shortage}"));
        }
        remarks
    }

    /// As one JSON object; times are in microseconds.
    #[must_use]
    pub fn json(&self) -> Value {
        let record = self.record;
        let counted = |(fault, count): (&Fault, &u64)| (fault.to_string(), json!(count));
        let wrong: Map<String, Value> = record.wrong.iter().map(counted).collect();
        let rows = self.latencies();
        let quantiled = |row: &Latency<'_>| (row.key.to_owned(), quantiles(row.histogram));
        let latency: Map<String, Value> = rows.iter().map(quantiled).collect();
        let waited = record.waited.iter();
        let waited: Map<String, Value> = waited
            .map(|(shortage, waited)| (shortage.name().to_owned(), json!(waited.as_secs_f64())))
            .collect();
        json!({
            "version": VERSION,
            "program": env!("CARGO_PKG_VERSION"),
            "command": self.line,
            "began": humantime::format_rfc3339_seconds(self.began).to_string(),
            "targets": self.targets,
            "seed": self.seed,
            "opened": record.opened,
            "right": record.right,
            "wrong": wrong,
            "given_up": record.given_up,
            "described": record.described,
            "held": record.held,
            "most_open": record.most_open,
            "bytes_sent": record.bytes[0],
            "bytes_received": record.bytes[1],
            "seconds": self.elapsed.as_secs_f64(),
            "rate": self.throughput(),
            "asked_rate": self.rate,
            "missed": record.missed,
            "latest_begin_us": micros(record.latest.as_nanos() as u64),
            "waited_s": waited,
            "cut_short": self.is_cut_short,
            "error": self.error,
            "latency_us": latency,
        })
    }
}

/// Of nothing measured there are none.
fn quantiles(histogram: &Histogram<u64>) -> Value {
    let quantile = |(name, _, at): (&str, &str, f64)| {
        let ns = (!histogram.is_empty()).then(|| histogram.value_at_quantile(at));
        (name.to_owned(), json!(ns.map(micros)))
    };
    let mut quantiles: Map<_, _> = QUANTILES.map(quantile).into_iter().collect();
    quantiles.insert("count".into(), json!(histogram.len()));
    quantiles.into()
}

fn micros(ns: u64) -> f64 {
    ns as f64 / 1e3
}

/// For a terminal.
impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let record = self.record;
        let (done, seconds) = (record.right + record.wrongs(), self.elapsed.as_secs_f64());
        let (right, wrong, rate) = (record.right, record.wrongs(), self.throughput());
        if let Some(cut_short) = self.cut_short() {
            writeln!(f, "{cut_short}")?;
        }
        writeln!(
            f,
            "{done} exchanges in {seconds:.2} s, {rate:.0} a second: {right} right, {wrong} wrong"
        )?;
        writeln!(
            f,
            "{} connections opened, {} at once at most, {} held, {} given up; seed {}",
            record.opened, record.most_open, record.held, record.given_up, self.seed
        )?;
        for remark in self.remarks() {
            writeln!(f, "{remark}")?;
        }
        for (fault, count) in &record.wrong {
            writeln!(f, "  {count} {fault}")?;
        }
        for described in &record.described {
            writeln!(f, "  {described}")?;
        }
        let mut rows = self.latencies();
        rows.retain(|row| !row.histogram.is_empty());
        if rows.is_empty() {
            return Ok(());
        }
        write!(f, "\n{}", Table(&rows))?;
        if self.rate.is_some() {
            writeln!(
                f,
                "total counts from when an exchange was meant to begin, raw from when it did"
            )?;
        }
        let shown = rows.iter().find(|row| row.key == "total");
        let shown = shown.or(rows.iter().find(|row| row.key == "held_echo"));
        shown.map_or(Ok(()), |row| {
            write!(
                f,
                "\nexchanges by {} time\n{}",
                row.name,
                Bars(row.histogram)
            )
        })
    }
}

struct Table<'a>(&'a [Latency<'a>]);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<15}", "")?;
        for (_, heading, _) in QUANTILES {
            write!(f, "{heading:>10}")?;
        }
        writeln!(f, "{:>10}", "count")?;
        for Latency {
            name, histogram, ..
        } in self.0
        {
            write!(f, "{name:<15}")?;
            for (_, _, at) in QUANTILES {
                let time = Time(histogram.value_at_quantile(at)).to_string();
                write!(f, "{time:>10}")?;
            }
            writeln!(f, "{:>10}", histogram.len())?;
        }
        Ok(())
    }
}

/// How many exchanges took how long, in steps of a factor of the square root of two.
struct Bars<'a>(&'a Histogram<u64>);

impl fmt::Display for Bars<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const WIDTH: u64 = 50;
        let buckets = buckets(self.0);
        let most = buckets.iter().map(|(_, count)| *count).max().unwrap_or(0);
        for (end, count) in buckets {
            // Eighths of a block: what is there is seen, if only just.
            let eighths = (count * WIDTH * 8).div_ceil(most.max(1));
            let mut bar = "█".repeat((eighths / 8) as usize);
            bar.extend(
                "▏▎▍▌▋▊▉"
                    .chars()
                    .nth((eighths % 8).wrapping_sub(1) as usize),
            );
            writeln!(f, "{:>11} {bar} {count}", format!("≤ {}", Time(end)))?;
        }
        Ok(())
    }
}

/// The ends of the buckets and what is in them, from the first that has something to the last.
pub(crate) fn buckets(histogram: &Histogram<u64>) -> Vec<(u64, u64)> {
    let mut buckets = vec![];
    if histogram.is_empty() {
        return buckets;
    }
    let (least, most) = (histogram.min().max(1), histogram.max());
    let mut step = (least as f64).log2() * 2.0;
    let mut counted = 0;
    loop {
        step = step.floor() + 1.0;
        let end = (step / 2.0).exp2() as u64;
        let count = histogram.count_between(0, end) - counted;
        counted += count;
        buckets.push((end, count));
        if end >= most {
            return buckets;
        }
    }
}

/// A time in nanoseconds, with three digits and its unit.
pub(crate) struct Time(pub(crate) u64);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ns = self.0 as f64;
        let (value, unit) = match self.0 {
            0..1_000 => (ns, "ns"),
            1_000..1_000_000 => (ns / 1e3, "µs"),
            1_000_000..1_000_000_000 => (ns / 1e6, "ms"),
            _ => (ns / 1e9, "s"),
        };
        let digits = match value {
            100.0.. => 0,
            10.0.. => 1,
            _ => 2,
        };
        write!(f, "{value:.digits$} {unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::exchange::Phase;
    use crate::load::record::Shortage;

    #[test]
    fn times_have_three_digits_and_a_unit() {
        let check = |ns, text: &str| assert_eq!(Time(ns).to_string(), text);
        check(0, "0.00 ns");
        check(999, "999 ns");
        check(1_000, "1.00 µs");
        check(12_345, "12.3 µs");
        check(999_000_000, "999 ms");
        check(61_000_000_000, "61.0 s");
    }

    #[test]
    fn buckets_hold_everything_once() {
        let mut histogram = Histogram::new(3).unwrap();
        let values = [1_u64, 5, 17, 17, 900, 1_000_000];
        values
            .iter()
            .for_each(|value| histogram.saturating_record(*value));
        let buckets = buckets(&histogram);
        let total: u64 = buckets.iter().map(|(_, count)| count).sum();
        assert_eq!(total, values.len() as u64, "{buckets:?}");
        assert!(buckets.is_sorted_by(|(a, _), (b, _)| a <= b));
        assert!(buckets.last().unwrap().0 >= histogram.max());
    }
    fn report(record: &Record) -> Report<'_> {
        Report {
            record,
            elapsed: Duration::from_secs(10),
            began: SystemTime::UNIX_EPOCH,
            line: "hello-load --hold 1 -r 5",
            targets: vec!["127.0.0.1:8000".into()],
            seed: 7,
            rate: Some(5),
            is_cut_short: false,
            error: None,
        }
    }

    /// 1000 exchanges of 1 to 1000 ms, meant to begin 1 s before; and one that was held.
    fn record() -> Record {
        let mut record = Record::new().unwrap();
        for ms in 1..=1000 {
            let took = Duration::from_millis(ms);
            record.right += 1;
            record.phase(Phase::Echo, false, took);
            record.whole(took, took + Duration::from_secs(1));
        }
        record.right += 1;
        record.held = 1;
        record.phase(Phase::Echo, true, Duration::from_secs(9));
        let stages = [(Stage::Ramp, 0), (Stage::Churn, 1), (Stage::Finish, 5)];
        record.stages = stages
            .map(|(stage, s)| (stage, Duration::from_secs(s)))
            .into();
        record
    }

    #[test]
    fn every_quantile_is_in_its_field() {
        let record = record();
        let json = report(&record).json();
        let ms = |row: &str, field: &str| {
            let us = json["latency_us"][row][field].as_f64().unwrap();
            (us / 1e3).round() as u64
        };
        let fields = ["p50", "p90", "p99", "p999", "max"];
        let near = |row: &str, expected: [u64; 5]| {
            for (field, expected) in fields.into_iter().zip(expected) {
                let found = ms(row, field);
                assert!(
                    found.abs_diff(expected) <= expected / 500,
                    "{row} {field}: {found}"
                );
            }
        };
        near("echo", [500, 900, 990, 999, 1000]);
        near("total_raw", [500, 900, 990, 999, 1000]);
        near("total", [1500, 1900, 1990, 1999, 2000]);
        near("held_echo", [9000; 5]);
        assert!(
            json["latency_us"]["connect"]["p50"].is_null(),
            "nothing was measured"
        );
        assert_eq!(json["latency_us"]["connect"]["count"], 0);
        assert_eq!(
            json["rate"], 250.0,
            "1000 in the 4 s in which they came and went"
        );
    }

    #[test]
    fn the_page_and_the_text_say_the_same() {
        let record = record();
        let text = report(&record).to_string();
        let page = crate::load::html::page(&report(&record));
        for row in report(&record).latencies() {
            let is_shown = !row.histogram.is_empty();
            let mut lines = text
                .lines()
                .filter(|line| line.starts_with(&format!("{} ", row.name)));
            let cells = lines.find(|line| line.ends_with(&format!(" {}", row.histogram.len())));
            assert_eq!(cells.is_some(), is_shown, "{}: {text}", row.name);
            assert_eq!(
                page.contains(&format!("<tr><td>{}<td>", row.name)),
                is_shown
            );
        }
        assert!(
            text.contains("1.50 s") && page.contains("<td>1.50 s"),
            "p50 of the total: {text}"
        );
        assert!(text.starts_with("1001 exchanges in 10.00 s, 250 a second: 1001 right, 0 wrong\n"));
    }

    #[test]
    fn what_is_behind_is_said() {
        let mut record = Record::new().unwrap();
        let said = |record: &Record| report(record).remarks().join("; ");
        assert_eq!(said(&record), "the latest began 0.00 ns after its time");
        record.latest = Duration::from_millis(101);
        assert_eq!(
            said(&record),
            "fell behind: the latest began 101 ms after its time"
        );
        record.missed = 3;
        assert!(said(&record).starts_with("fell behind: 3 exchanges that were due were never"));
        record.waited.insert(Shortage::Port, Duration::from_secs(2));
        assert!(said(&record).ends_with("opened for 2.00 s: no local port was left; see --source"));
    }
}
