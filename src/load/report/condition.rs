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
            let what = match self.measure {
                Measure::FoundRate => "found",
                _ => "measured",
            };
            return Some(format!("{text}: nothing was {what}"));
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
mod tests;
