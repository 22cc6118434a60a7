//! The conditions of `--fail-if`: a run fails if one of them holds.

mod goal;

use std::str::FromStr;

pub use goal::{Goal, Judgement};

use super::Report;
use super::latency::{FIGURES, Figure};
use super::quantity::Time;
use crate::load::machine::record::Record;
use crate::program::values::{decimal, duration};

/// A condition under which a run fails, such as `p99>50ms`, `echo.p50>=1ms`, `rate<10k` or
/// `p99>1.1*baseline`.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    text: String,
    measure: Measure,
    relation: Relation,
    bound: Bound,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Bound {
    /// In nanoseconds, if it is a time.
    Value(f64),
    /// So many times what the baseline has.
    OfBaseline(f64),
}

#[derive(Clone, Debug, PartialEq)]
enum Measure {
    /// A figure of the row with this key.
    Time(String, Figure),
    Rate,
    /// What `--find-rate` has found.
    FoundRate,
    Count(Count),
}

/// What a report counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Right exchanges.
    Right,
    /// Wrong exchanges, with any fault.
    Wrong,
    /// Exchanges that timed out.
    TimedOut,
    /// Exchanges that were due and never began.
    Missed,
    /// Connections that were given up because the run was cut short.
    GivenUp,
    /// Right exchanges whose echo had fewer bytes than their payload.
    EchoedInPart,
}

impl Count {
    const NAMES: [(&str, Self); 6] = [
        ("right", Self::Right),
        ("wrong", Self::Wrong),
        ("timed_out", Self::TimedOut),
        ("missed", Self::Missed),
        ("given_up", Self::GivenUp),
        ("echoed_in_part", Self::EchoedInPart),
    ];

    fn of(self, record: &Record) -> f64 {
        match self {
            Self::Right => record.outcomes.right as f64,
            Self::Wrong => record.outcomes.wrongs() as f64,
            Self::TimedOut => record.outcomes.timed_out() as f64,
            Self::Missed => record.missed as f64,
            Self::GivenUp => record.outcomes.given_up as f64,
            Self::EchoedInPart => record.echoed_in_part as f64,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Relation {
    is_above: bool,
    or_equal: bool,
}

impl Relation {
    fn is_so(self, value: f64, bound: f64) -> bool {
        let is_beyond = if self.is_above {
            value > bound
        } else {
            value < bound
        };
        is_beyond || self.or_equal && value == bound
    }
}

/// The keys of all rows that a report can have.
const ROWS: [&str; 11] = [
    "connect",
    "greeting",
    "echo",
    "eof",
    "total",
    "total_raw",
    "total_timed_out",
    "held_connect",
    "held_greeting",
    "held_echo",
    "held_eof",
];

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let place = text.find(['<', '>']).ok_or("no < or > in it")?;
        let (measure, bound) = (text[..place].trim(), &text[place + 1..]);
        let measure = measure.parse()?;
        let after_equals = bound.strip_prefix('=');
        let relation = Relation {
            is_above: text[place..].starts_with('>'),
            or_equal: after_equals.is_some(),
        };
        let bound = after_equals.unwrap_or(bound).trim();
        Ok(Self {
            text: text.to_owned(),
            relation,
            bound: match (factor(bound), &measure) {
                (Some(factor), _) => Bound::OfBaseline(factor?),
                (None, Measure::Time(..)) => Bound::Value(nanoseconds(bound)?),
                (None, Measure::Rate | Measure::FoundRate | Measure::Count(_)) => {
                    Bound::Value(decimal(bound)?)
                }
            },
            measure,
        })
    }
}

/// `None`: it is not about the baseline.
fn factor(bound: &str) -> Option<Result<f64, String>> {
    let factor = bound.strip_suffix("baseline")?.trim_end();
    Some(match factor.strip_suffix('*') {
        Some(factor) => decimal(factor.trim_end()),
        None if factor.is_empty() => Ok(1.0),
        None => Err("no * before baseline".to_owned()),
    })
}

impl FromStr for Measure {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        if name == "rate" {
            return Ok(Self::Rate);
        }
        if name == "found_rate" {
            return Ok(Self::FoundRate);
        }
        if let Some((_, count)) = Count::NAMES.iter().find(|(known, _)| *known == name) {
            return Ok(Self::Count(*count));
        }
        let row = ROWS.into_iter().find(|row| {
            name.strip_prefix(row)
                .is_some_and(|rest| rest.starts_with('.'))
        });
        let column = row.map_or(name, |row| &name[row.len() + 1..]);
        let figure = figure(column).ok_or_else(|| {
            let counts = Count::NAMES.map(|(name, _)| name).join(", ");
            format!(
                "no such measure: p50, p99.9, min, mean, max, or as in echo.p50; rate; found_rate; {counts}"
            )
        })?;
        Ok(Self::Time(row.unwrap_or("total").to_owned(), figure))
    }
}

/// The figure with a name: a name of the JSON fields, such as `mean` or `p999`; or any percentile,
/// such as `p75` or `p99.9`.
fn figure(name: &str) -> Option<Figure> {
    if let Some((_, _, figure)) = FIGURES.iter().find(|(known, _, _)| *known == name) {
        return Some(*figure);
    }
    let percent = name.strip_prefix('p')?;
    let has_unit = percent.ends_with(|c: char| !c.is_ascii_digit());
    let percent = decimal(percent).ok().filter(|_| !has_unit)?;
    (0.0..=100.0)
        .contains(&percent)
        .then_some(Figure::Quantile(percent / 100.0))
}

fn nanoseconds(text: &str) -> Result<f64, String> {
    Ok(duration(text)?.as_nanos() as f64)
}

impl Condition {
    /// Whether the condition is about this count.
    #[must_use]
    pub fn is_about(&self, count: Count) -> bool {
        self.measure == Measure::Count(count)
    }

    /// Whether the condition is about the baseline, too.
    #[must_use]
    pub fn needs_baseline(&self) -> bool {
        matches!(self.bound, Bound::OfBaseline(_))
    }

    /// Whether the condition is about what `--find-rate` has found.
    #[must_use]
    pub fn is_about_found_rate(&self) -> bool {
        self.measure == Measure::FoundRate
    }

    /// One line if the condition holds. A time without any measurement fails every condition, and so
    /// do a baseline that there is not and a search that has found nothing.
    #[must_use]
    pub fn complaint(&self, report: &Report) -> Option<String> {
        let text = &self.text;
        let Some((value, shown)) = self.measure.of(report) else {
            return Some(format!("{text}: nothing was measured"));
        };
        let (bound, before) = match self.bound {
            Bound::Value(bound) => (bound, String::new()),
            Bound::OfBaseline(factor) => {
                let before = report.baseline.as_ref();
                let Some((before, shown)) = before.and_then(|before| self.measure.of(before))
                else {
                    return Some(format!("{text}: the baseline has nothing of it"));
                };
                (factor * before, format!(" and was {shown}"))
            }
        };
        let is_so = self.relation.is_so(value, bound);
        is_so.then(|| format!("{text}: it is {shown}{before}"))
    }
}

impl Measure {
    /// Its value, and how people read it. `None`: nothing was measured.
    fn of(&self, report: &Report) -> Option<(f64, String)> {
        Some(match self {
            Self::Time(key, figure) => {
                let rows = report.latencies();
                let mut rows = rows.iter();
                let row = rows.find(|row| row.key == key && !row.histogram.is_empty())?;
                let ns = figure.of(row.histogram);
                (ns as f64, Time(ns).to_string())
            }
            Self::Rate => number_and_text(report.throughput()),
            Self::FoundRate => number_and_text(report.found()?.rate as f64),
            Self::Count(count) => number_and_text(count.of(&report.record)),
        })
    }
}

fn number_and_text(value: f64) -> (f64, String) {
    (value, format!("{value:.0}"))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::load::machine::exchange::{Fault, Phase, Wrong};
    use crate::load::report::Setup;

    fn report(record: &Record, elapsed: Duration) -> Report {
        Report {
            record: record.clone(),
            elapsed,
            began: SystemTime::UNIX_EPOCH,
            line: "hello-load".into(),
            targets: vec!["127.0.0.1:8000".into()],
            seed: 7,
            rate: None,
            is_cut_short: false,
            error: None,
            setup: Setup::default(),
            baseline: None,
            search: None,
        }
    }

    /// A condition can name every row of a report.
    #[test]
    fn rows_are_those_of_a_report() {
        let mut record = Record::new(["127.0.0.1:8000".to_owned()]).unwrap();
        record.held = 1;
        record.wait(Duration::from_secs(1));
        let mut report = report(&record, Duration::from_secs(1));
        report.rate = Some(1);
        let mut keys: Vec<&str> = report.latencies().iter().map(|row| row.key).collect();
        let mut rows = ROWS.to_vec();
        keys.sort_unstable();
        rows.sort_unstable();
        assert_eq!(keys, rows);
    }

    /// 1 s of 50 ms each, after 1 s of 40 ms each and twice as many.
    #[test]
    fn conditions_about_the_baseline() {
        let run = |count: u64, ms| {
            let mut record = Record::new(["127.0.0.1:8000".to_owned()]).unwrap();
            record.outcomes.right = count;
            for _ in 0..count {
                record.whole(0, Duration::ZERO, Duration::from_millis(ms));
            }
            report(&record, Duration::from_secs(1))
        };
        let mut slower = run(100, 50);
        let check = |report: &Report, condition: &str, complaint: Option<&str>| {
            let condition: Condition = condition.parse().unwrap();
            assert!(condition.needs_baseline());
            let found = condition.complaint(report);
            let expected = complaint.map(|complaint| format!("{}: {complaint}", condition.text));
            assert_eq!(found, expected);
        };
        check(
            &slower,
            "p99>baseline",
            Some("the baseline has nothing of it"),
        );
        slower.baseline = Some(Box::new(run(200, 40)));
        let times = Some("it is 50.0 ms and was 40.0 ms");
        check(&slower, "total.p99>1.1*baseline", times);
        check(&slower, "p50 > 1.2 * baseline", times);
        check(&slower, "p50>1.3*baseline", None);
        check(&slower, "p50<=1.3*baseline", times);
        check(&slower, "max>baseline", times);
        check(&slower, "rate<0.9*baseline", Some("it is 100 and was 200"));
        check(&slower, "wrong>baseline", None);
        check(&slower, "echo.p50>9*baseline", Some("nothing was measured"));
    }

    #[test]
    fn conditions_are_parsed_and_judged() {
        let mut record = Record::new(["127.0.0.1:8000".to_owned()]).unwrap();
        record.outcomes.right = 10_000;
        for ms in 1..=100 {
            record.whole(0, Duration::from_millis(ms), Duration::from_millis(ms));
            record.phase(Phase::Echo, false, Duration::from_millis(1));
        }
        (
            record.missed,
            record.echoed_in_part,
            record.outcomes.given_up,
        ) = (1 << 70, 3, 4);
        for _ in 0..100 {
            let (fault, what) = (Fault::TimedOut(Phase::Echo), String::new());
            record.wrong(0, 0, Phase::Echo, &Wrong { fault, what });
            record.wait(Duration::from_secs(60));
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
        check("p95>94ms", true);
        check("p95>96ms", false);
        check("min<=1ms", true);
        check("mean>50ms", true);
        check("mean>51ms", false);
        check("echo.mean>2ms", false);
        check("p99.9 > 99ms", true);
        check("p999>99ms", true);
        check("total.p50>40ms", true);
        check("total_raw.p50<1h", true); // not an open loop, so nothing was measured
        check("echo.max>2ms", false);
        check("connect.p50>1s", true); // nothing was measured
        check("rate<10k", false);
        check("rate<10001", true);
        check("rate>0.009M", true);
        check("p99<1s", true);
        check("total_timed_out.p50>=100ms", true); // half of them took a minute
        check("total_timed_out.p99>59s", true);
        check("timed_out>99", true);
        check("timed_out>100", false);
        check("missed>1G", true);
        check("given_up>=5", false);
        check("echoed_in_part>2", true);
        check("wrong>100", false);
        check("wrong>=100", true);
        check("right<=10K", true);
        check("right>=10001", false);
        check("right<20k", true);
        check("found_rate<10k", true); // not a search, so nothing was found
        for wrong in [
            "p99>2baseline",
            "p99>-1*baseline",
            "p99>*baseline",
            "p99>baseline*2",
            "",
            "p99",
            "p101>1ms",
            "p>1ms",
            "echo>1ms",
            "p99>1",
            "rate<x",
            "rate<-1",
            "rate<+1",
            "rate<==5",
            "rate<1e3",
            "rate<-0",
            "p-0<1s",
            "p+5<1s",
            "p1e1<1s",
            "p1k>1s",
            "p99>+5ms",
            "echo.rate<1",
            "x.p50>1s",
        ] {
            assert!(wrong.parse::<Condition>().is_err(), "{wrong}");
        }
    }
}
