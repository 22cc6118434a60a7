//! The goals of `--find-rate`: what a rate must keep.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::{Bound, Condition, Count, Measure};
use crate::load::machine::exchange::Phase;
use crate::load::machine::record::Record;
use crate::load::report::latency::Figure;
use crate::load::report::quantity::Time;

/// A bound that latencies or failures must keep, such as `p99<5ms`, `echo.p50<=1ms` or `wrong<=0`.
#[derive(Clone, Debug, PartialEq)]
pub struct Goal {
    condition: Condition,
    /// In nanoseconds, or a count.
    bound: f64,
}

/// Whether a run has kept a goal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judgement {
    /// Whether it did. A run without a measurement does not.
    pub holds: bool,
    /// The figure that the goal is about: nanoseconds, or a count. `None`: nothing was measured.
    pub figure: Option<f64>,
    /// How many latencies were measured.
    pub samples: u64,
}

impl FromStr for Goal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let condition: Condition = text.parse()?;
        let is_possible = match &condition.measure {
            Measure::Time(row, _) => row == "total" || phase(row).is_some(),
            Measure::Count(count) => *count != Count::Right,
            Measure::Rate | Measure::FoundRate => false,
        };
        let Bound::Value(bound) = condition.bound else {
            return Err("a goal is about the run itself, and not about a baseline".to_owned());
        };
        if condition.relation.is_above {
            Err("a goal is an upper bound, as in p99<5ms".to_owned())
        } else if is_possible {
            Ok(Self { condition, bound })
        } else {
            Err("a goal is about a time from connect to total, or about failures".to_owned())
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.condition.text)
    }
}

impl Goal {
    /// What the goal is about, as it names it.
    #[must_use]
    pub fn measure(&self) -> &str {
        let text = &self.condition.text;
        text[..text.find('<').unwrap_or(text.len())].trim()
    }

    /// The latency that the goal allows, if it is about latency.
    #[must_use]
    pub fn limit(&self) -> Option<Duration> {
        let is_time = matches!(self.condition.measure, Measure::Time(..));
        is_time.then(|| Duration::from_nanos(self.bound as u64))
    }

    /// The quantile of the latencies that the goal is about, if it is about one.
    #[must_use]
    pub fn quantile(&self) -> Option<f64> {
        match self.condition.measure {
            Measure::Time(_, Figure::Quantile(at)) if at < 1.0 => Some(at),
            _ => None,
        }
    }

    /// Whether the run has kept the goal. An exchange that was given up counts with its time so far.
    #[must_use]
    pub fn judge(&self, record: &Record) -> Judgement {
        let times = match &self.condition.measure {
            Measure::Time(row, _) => times(row, record),
            _ => &record.with_timed_out,
        };
        self.judge_by(times, record)
    }

    /// Whether the run would have kept the goal if every exchange had begun when it was due. What was
    /// given up is left out.
    #[must_use]
    pub fn holds_from_begin(&self, record: &Record) -> bool {
        matches!(&self.condition.measure, Measure::Time(row, _) if row == "total")
            && self.judge_by(&record.total, record).holds
    }

    fn judge_by(&self, times: &Histogram<u64>, record: &Record) -> Judgement {
        let figure = match self.condition.measure {
            Measure::Time(_, figure) => (!times.is_empty()).then(|| figure.of(times) as f64),
            Measure::Count(count) => Some(count.of(record)),
            Measure::Rate | Measure::FoundRate => None,
        };
        let (relation, bound) = (self.condition.relation, self.bound);
        Judgement {
            holds: figure.is_some_and(|figure| relation.is_so(figure, bound)),
            figure,
            samples: times.len(),
        }
    }

    /// A figure that the goal is about, for people.
    #[must_use]
    pub fn shown(&self, figure: Option<f64>) -> String {
        match figure {
            None => "–".to_owned(),
            Some(ns) if self.limit().is_some() => Time(ns as u64).to_string(),
            Some(count) => format!("{count:.0}"),
        }
    }
}

fn phase(row: &str) -> Option<Phase> {
    Phase::ALL.into_iter().find(|phase| phase.name() == row)
}

fn times<'a>(row: &str, record: &'a Record) -> &'a Histogram<u64> {
    match phase(row) {
        Some(phase) => &record.phases[phase as usize],
        None => &record.with_timed_out,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn goal(text: &str) -> Goal {
        text.parse().unwrap()
    }

    #[test]
    fn a_goal_is_an_upper_bound_of_what_load_makes_worse() {
        for wrong in [
            "p99>5ms",
            "p99",
            "rate<10k",
            "found_rate<10k",
            "right<5",
            "total_raw.p99<5ms",
            "held_echo.p99<5ms",
            "wrong>=0",
            "p99<1.1*baseline",
        ] {
            assert!(wrong.parse::<Goal>().is_err(), "{wrong}");
        }
        let ms = |ms| Some(Duration::from_millis(ms));
        for (text, measure, quantile, limit) in [
            ("p99<5ms", "p99", Some(0.99), ms(5)),
            ("echo.p50 <= 1ms", "echo.p50", Some(0.5), ms(1)),
            ("max<1s", "max", None, ms(1000)),
            ("mean<2ms", "mean", None, ms(2)),
            ("wrong<=0", "wrong", None, None),
        ] {
            let goal = goal(text);
            let said = (goal.measure(), goal.quantile(), goal.limit());
            assert_eq!(said, (measure, quantile, limit));
            assert_eq!(goal.to_string(), text);
        }
    }

    /// 100 exchanges, the last of which were given up.
    fn record(given_up: u64) -> Record {
        let mut record = Record::new(["a".to_owned()]).unwrap();
        for i in 0..100 {
            let (ms, late) = (Duration::from_millis(1), Duration::from_millis(4));
            record.open(0);
            if i >= 100 - given_up {
                record.give_up(0);
                record.cut_off(Phase::Echo, ms * 50, ms * 60);
            } else {
                record.phase(Phase::Echo, false, ms);
                record.right(0, 1, 1);
                record.whole(0, ms * 2, late);
            }
        }
        record
    }

    #[test]
    fn what_is_given_up_counts_with_its_time() {
        for (text, given_up, holds, samples) in [
            ("p90<5ms", 0, true, 100),
            ("p90<5ms", 9, true, 100),
            ("p90<5ms", 11, false, 100),
            ("p90<3ms", 0, false, 100), // it counts from when an exchange was due
            ("echo.p90<2ms", 9, true, 100),
            ("echo.p90<2ms", 11, false, 100),
            ("connect.p90<2ms", 0, false, 0), // nothing was measured
            ("given_up<=8", 9, false, 100),
            ("given_up<=9", 9, true, 100),
            ("max<61ms", 9, true, 100),
        ] {
            let judgement = goal(text).judge(&record(given_up));
            let said = (judgement.holds, judgement.samples);
            assert_eq!(said, (holds, samples), "{text}: {judgement:?}");
        }
        let nothing = goal("connect.p90<2ms");
        assert_eq!(nothing.shown(nothing.judge(&record(0)).figure), "–");
        assert!(goal("p90<3ms").holds_from_begin(&record(0)));
        assert!(!goal("p90<1ms").holds_from_begin(&record(0)));
        assert!(!goal("wrong<5").holds_from_begin(&record(0)));
    }
}
