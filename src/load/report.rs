//! What is said of a run: a page of text, one JSON object, and whether that is good enough.

use std::fmt::{self, Write};
use std::str::FromStr;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::exchange::Phase;
use super::record::Record;

/// The version of the JSON object. It changes when a field goes or means something else.
pub const VERSION: u32 = 1;

/// The quantiles of every table, and their names.
const QUANTILES: [(&str, f64); 5] = [
    ("p50", 0.5),
    ("p90", 0.9),
    ("p99", 0.99),
    ("p999", 0.999),
    ("max", 1.0),
];

/// A run that is over.
#[derive(Debug)]
pub struct Report<'a> {
    /// What it has seen.
    pub record: &'a Record,
    /// How long it took.
    pub elapsed: Duration,
    /// Where it connected to.
    pub targets: Vec<String>,
    /// What the payloads were made from.
    pub seed: u64,
    /// Exchanges a second that were asked for, if that was an open loop.
    pub rate: Option<u64>,
    /// Whether a signal has ended it.
    pub is_cut_short: bool,
}

/// An open loop that begins an exchange so much after its time does not do what was asked.
const LATE: Duration = Duration::from_millis(100);

impl Report<'_> {
    /// Exchanges done in a second, right or wrong.
    #[must_use]
    pub fn throughput(&self) -> f64 {
        (self.record.right + self.record.wrongs()) as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// The tables: a name, and what it took.
    pub(crate) fn latencies(&self) -> Vec<(&'static str, &Histogram<u64>)> {
        let phases = Phase::ALL
            .map(Phase::name)
            .into_iter()
            .zip(&self.record.phases);
        let mut tables: Vec<_> = phases.collect();
        if self.rate.is_some() {
            tables.push(("total, raw", &self.record.total));
        }
        tables.push(("total", &self.record.corrected));
        tables
    }

    /// That it did not begin what it was asked to, when it was asked to.
    pub(crate) fn lateness(&self) -> Option<String> {
        let rate = self.rate.filter(|_| self.record.latest > LATE)?;
        let late = Time(self.record.latest.as_nanos() as u64);
        Some(format!(
            "it fell behind the {rate} a second that were asked for, by up to {late}"
        ))
    }

    /// As one JSON object; times are in microseconds.
    #[must_use]
    pub fn json(&self) -> Value {
        let record = self.record;
        let wrong = record.wrong.iter();
        let wrong: serde_json::Map<String, Value> = wrong
            .map(|(kind, count)| (kind.to_string(), json!(count)))
            .collect();
        let latency: serde_json::Map<String, Value> = self
            .latencies()
            .into_iter()
            .map(|(name, histogram)| (name.replace(", ", "_"), quantiles(histogram)))
            .collect();
        json!({
            "version": VERSION,
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
            "latest_begin_us": micros(record.latest.as_nanos() as u64),
            "cut_short": self.is_cut_short,
            "latency_us": latency,
        })
    }
}

fn quantiles(histogram: &Histogram<u64>) -> Value {
    let quantile = |(name, at): (&str, f64)| {
        (
            name.to_owned(),
            json!(micros(histogram.value_at_quantile(at))),
        )
    };
    let mut quantiles: serde_json::Map<_, _> = QUANTILES.map(quantile).into_iter().collect();
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
        if self.is_cut_short {
            writeln!(f, "cut short by a signal")?;
        }
        writeln!(
            f,
            "{done} exchanges in {seconds:.2} s, {:.0} a second: {} right, {} wrong",
            self.throughput(),
            record.right,
            record.wrongs()
        )?;
        writeln!(
            f,
            "{} connections opened, {} at once at most, {} held, {} given up; seed {}",
            record.opened, record.most_open, record.held, record.given_up, self.seed
        )?;
        self.fmt_complaints(f)?;
        if done > 0 {
            write!(f, "\n{}", Table(self.latencies()))?;
            write!(f, "\n{}", Bars(&record.corrected))?;
        }
        Ok(())
    }
}

impl Report<'_> {
    fn fmt_complaints(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(lateness) = self.lateness() {
            writeln!(f, "{lateness}")?;
        }
        for (kind, count) in &self.record.wrong {
            writeln!(f, "  {count} {kind}")?;
        }
        for described in &self.record.described {
            writeln!(f, "  {described}")?;
        }
        Ok(())
    }
}

struct Table<'a>(Vec<(&'static str, &'a Histogram<u64>)>);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<12}", "")?;
        for name in ["p50", "p90", "p99", "p99.9", "max"] {
            write!(f, "{name:>11}")?;
        }
        writeln!(f)?;
        for (name, histogram) in self.0.iter().filter(|(_, histogram)| !histogram.is_empty()) {
            write!(f, "{name:<12}")?;
            for (_, at) in QUANTILES {
                write!(
                    f,
                    "{:>11}",
                    Time(histogram.value_at_quantile(at)).to_string()
                )?;
            }
            writeln!(f)?;
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

/// What a run must not be, such as `p99>50ms`, `echo.p50>1ms` or `rate<10k`.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    text: String,
    phase: Option<Phase>,
    measure: Measure,
    is_above: bool,
    bound: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Measure {
    Quantile(f64),
    Rate,
    Wrong,
    Right,
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let place = text.find(['<', '>']).ok_or("no < or > in it")?;
        let (name, bound) = (text[..place].trim(), text[place + 1..].trim());
        let (phase, name) = match name.split_once('.') {
            None => (None, name),
            Some((phase, name)) => {
                let found = Phase::ALL.into_iter().find(|known| known.name() == phase);
                (
                    Some(found.ok_or("no such phase: connect, greeting, echo, eof")?),
                    name,
                )
            }
        };
        let quantile = QUANTILES.iter().find(|(known, _)| *known == name);
        let measure = match (name, quantile, phase) {
            (_, Some((_, at)), _) => Measure::Quantile(*at),
            ("rate", _, None) => Measure::Rate,
            ("wrong", _, None) => Measure::Wrong,
            ("right", _, None) => Measure::Right,
            _ => {
                return Err("no such measure: p50, p90, p99, p999, max, rate, wrong, right".into());
            }
        };
        Ok(Self {
            text: text.to_owned(),
            phase,
            is_above: text[place..].starts_with('>'),
            bound: match measure {
                Measure::Quantile(_) => nanoseconds(bound)?,
                Measure::Rate | Measure::Wrong | Measure::Right => number(bound)?,
            },
            measure,
        })
    }
}

fn nanoseconds(text: &str) -> Result<f64, String> {
    let duration = humantime::parse_duration(text).map_err(|e| e.to_string())?;
    Ok(duration.as_nanos() as f64)
}

/// A number, perhaps of thousands or millions.
fn number(text: &str) -> Result<f64, String> {
    let (digits, unit) = match text.strip_suffix(['k', 'M']) {
        Some(digits) if text.ends_with('k') => (digits, 1e3),
        Some(digits) => (digits, 1e6),
        None => (text, 1.0),
    };
    let value: f64 = digits.parse().map_err(|_| format!("{text} is no number"))?;
    (value.is_finite() && value >= 0.0)
        .then_some(value * unit)
        .ok_or_else(|| format!("{text} is no number"))
}

impl Condition {
    /// Says so if the run is what it must not be. Of nothing measured, every bound is missed.
    #[must_use]
    pub fn complaint(&self, report: &Report<'_>) -> Option<String> {
        let (value, shown) = match self.measure {
            Measure::Quantile(at) => {
                let histogram = match self.phase {
                    Some(phase) => &report.record.phases[phase as usize],
                    None => &report.record.corrected,
                };
                if histogram.is_empty() {
                    return Some(format!("{}: nothing was measured", self.text));
                }
                let ns = histogram.value_at_quantile(at);
                (ns as f64, Time(ns).to_string())
            }
            Measure::Rate => number_and_text(report.throughput()),
            Measure::Wrong => number_and_text(report.record.wrongs() as f64),
            Measure::Right => number_and_text(report.record.right as f64),
        };
        let is_so = if self.is_above {
            value > self.bound
        } else {
            value < self.bound
        };
        is_so.then(|| {
            let mut complaint = self.text.clone();
            let _ = write!(complaint, ": it is {shown}");
            complaint
        })
    }
}

fn number_and_text(value: f64) -> (f64, String) {
    (value, format!("{value:.0}"))
}

#[cfg(test)]
mod tests {
    use super::*;

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

    fn report(record: &Record, elapsed: Duration) -> Report<'_> {
        Report {
            record,
            elapsed,
            targets: vec!["127.0.0.1:8000".into()],
            seed: 7,
            rate: None,
            is_cut_short: false,
        }
    }

    #[test]
    fn conditions_are_parsed_and_judged() {
        let mut record = Record::new().unwrap();
        record.right = 10_000;
        for ms in 1..=100 {
            record.whole(Duration::from_millis(ms), Duration::from_millis(ms));
            record.phase(Phase::Echo, Duration::from_millis(1));
        }
        let report = report(&record, Duration::from_secs(1));
        let check = |condition: &str, is_so: bool| {
            let condition: Condition = condition.parse().unwrap();
            assert_eq!(
                condition.complaint(&report).is_some(),
                is_so,
                "{condition:?}"
            );
        };
        check("p50>40ms", true);
        check("p50>60ms", false);
        check("p99 < 50ms", false);
        check("echo.max>2ms", false);
        check("connect.p50>1s", true); // nothing was measured
        check("rate<10k", false);
        check("rate<10001", true);
        check("rate>0.009M", true);
        check("wrong>0", false);
        check("right<20k", true);
        for wrong in [
            "",
            "p99",
            "p98>1ms",
            "p99>1",
            "rate<x",
            "rate<-1",
            "echo.rate<1",
            "x.p50>1s",
        ] {
            assert!(wrong.parse::<Condition>().is_err(), "{wrong}");
        }
    }
}
