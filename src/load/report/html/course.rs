//! The charts of a run's course: exchanges a second, and open connections.

use std::time::Duration;

use crate::load::machine::record::Point;
use crate::load::machine::schedule::Stage;
use crate::load::report::Report;
use crate::load::report::chart::{Across, Axis, Chart};
use crate::load::report::quantity::{Count, Number};

/// The most intervals that a chart shows. In a long run each covers several points of the course, so
/// that its rate counts more than one or two exchanges.
const INTERVALS: usize = 120;

/// A part of the run.
struct Interval {
    middle: Duration,
    /// Right and wrong exchanges a second.
    rates: [f64; 2],
    /// The most connections open at once.
    open: u64,
}

/// Nothing if the run was too short for a chart.
pub(super) fn course(report: &Report) -> String {
    let intervals = intervals(&report.record.course.points);
    if intervals.len() < 2 {
        return String::new();
    }
    let stop = |interval: &Interval| {
        let seconds = interval.middle.as_secs_f64();
        (seconds, format!("{} s", Number(seconds, 2)))
    };
    let across = Across {
        axis: Axis::until(report.elapsed.as_secs_f64(), " s"),
        stops: intervals.iter().map(stop).collect(),
    };
    let charts = [
        rates(report, &across, &intervals),
        open(report, &across, &intervals),
    ];
    across.section("Over time", &charts)
}

fn intervals(points: &[Point]) -> Vec<Interval> {
    let last = points.len().saturating_sub(1);
    let every = points.len().div_ceil(INTERVALS).max(1);
    let mut bounds: Vec<usize> = (0..last).step_by(every).collect();
    bounds.push(last);
    // The last interval ends with the run. A rate of a few milliseconds would be chance.
    if let [.., a, b, c] = bounds[..] {
        if points[c].at - points[b].at < (points[b].at - points[a].at) / 2 {
            bounds.remove(bounds.len() - 2);
        }
    }
    let pairs = bounds.windows(2);
    pairs
        .filter_map(|pair| Interval::of(points.get(pair[0]..=pair[1])?))
        .collect()
}

impl Interval {
    /// From the first of these points to the last. A moment has no rate.
    fn of(points: &[Point]) -> Option<Self> {
        let (first, last) = (points.first()?, points.last()?);
        let took = last.at.saturating_sub(first.at);
        let rate = |now: u64, then: u64| now.saturating_sub(then) as f64 / took.as_secs_f64();
        (!took.is_zero()).then(|| Self {
            middle: first.at + took / 2,
            rates: [rate(last.right, first.right), rate(last.wrong, first.wrong)],
            open: points[1..]
                .iter()
                .map(|point| point.open)
                .max()
                .unwrap_or(0),
        })
    }
}

fn rates(report: &Report, across: &Across, intervals: &[Interval]) -> String {
    let top = top(report, intervals);
    let y = Axis::linear(top, 0.0, "");
    let beyond = intervals
        .iter()
        .rev() // of equal ones the first
        .max_by(|a, b| highest(a).total_cmp(&highest(b)))
        .filter(|most| highest(most) > y.high);
    let mut chart = Chart::new("exchanges a second", across, y);
    stages(&mut chart, report);
    let mut names = vec![("right", "right a second")];
    if report.record.outcomes.wrongs() > 0 {
        names.push(("wrong", "wrong a second"));
    }
    let digits = usize::from(top < 10.0);
    for (i, (class, name)) in names.into_iter().enumerate() {
        let value = |interval: &Interval| {
            let rate = interval.rates[i];
            (rate, Number(rate, digits).to_string())
        };
        let series: Vec<(f64, String)> = intervals.iter().map(value).collect();
        chart.line(class, name, &series);
    }
    if let Some(most) = beyond {
        chart.note(&format!(
            "The highest rate is beyond the chart: {} a second at {} s.",
            Number(highest(most), 0),
            Number(most.middle.as_secs_f64(), 2)
        ));
    }
    chart.finish("high")
}

fn highest(interval: &Interval) -> f64 {
    interval.rates[0].max(interval.rates[1])
}

/// The rate that the chart must have room for. It leaves bursts out: held connections that finish all
/// at once, and exchanges that end together after a stall. They would press everything else to the
/// ground.
fn top(report: &Report, intervals: &[Interval]) -> f64 {
    let churn = report.stage_ends(Stage::Churn);
    let is_churn = |interval: &&Interval| match &churn {
        Some(churn) if report.record.churned > 0 => churn.contains(&interval.middle),
        _ => true,
    };
    let rates = intervals.iter().filter(is_churn);
    let mut rates: Vec<f64> = rates.flat_map(|interval| interval.rates).collect();
    rates.retain(|rate| *rate > 0.0);
    rates.sort_by(f64::total_cmp);
    let Some(most) = rates.last() else {
        return 1.0;
    };
    let usual = rates[rates.len() * 9 / 10];
    if *most > usual * 2.0 {
        usual * 1.25
    } else {
        *most
    }
}

fn open(report: &Report, across: &Across, intervals: &[Interval]) -> String {
    let most = intervals.iter().map(|interval| interval.open).max();
    let y = Axis::linear(most.unwrap_or(1) as f64, 1.0, "");
    let mut chart = Chart::new("open connections", across, y);
    stages(&mut chart, report);
    let value = |interval: &Interval| {
        let open = interval.open;
        (open as f64, Count(open).to_string())
    };
    let series: Vec<(f64, String)> = intervals.iter().map(value).collect();
    chart.line("open", "open connections", &series);
    chart.finish("high")
}

/// Where each stage of a run with held connections begins.
fn stages(chart: &mut Chart<'_>, report: &Report) {
    if report.record.held == 0 {
        return;
    }
    let stages = report.record.stages.iter().map(|(stage, _)| *stage);
    let stages = stages.filter(|stage| *stage != Stage::Over);
    for (stage, ends) in stages.filter_map(|stage| Some((stage, report.stage_ends(stage)?))) {
        // The last one has its label to the left. Another short one has no room for a label before
        // that of the next stage.
        let is_last = ends.end > report.elapsed * 15 / 16;
        let is_short = (ends.end - ends.start) * 6 < report.elapsed;
        let label = if is_short && !is_last {
            ""
        } else {
            stage.name()
        };
        chart.mark(ends.start.as_secs_f64(), label, is_short && is_last);
    }
}
