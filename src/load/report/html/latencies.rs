//! The charts of latencies: by percentile, and the distribution of each phase.

use super::tone;
use crate::load::report::chart::{Across, Axis, Chart};
use crate::load::report::latency::{Figure, Latency, Scale};
use crate::load::report::quantity::{Count, Number, Time};

/// The places at which a reader can ask for the value of a percentile.
const STEPS: u32 = 120;

/// The bars of a distribution whose phase took every time that the axis has.
const BARS: usize = 96;

/// An axis that covers the latencies of all rows.
fn times<'a>(rows: impl Iterator<Item = &'a Latency<'a>> + Clone) -> Axis {
    let least = rows.clone().map(|row| row.histogram.min()).min();
    let most = rows.map(|row| row.histogram.max()).max();
    let [least, most] = [least, most].map(|ns| ns.unwrap_or(0) as f64);
    Axis::log(least, most, |ns| power_of_ten(ns as u64))
}

/// A power of ten in nanoseconds, with its unit.
pub(super) fn power_of_ten(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{} µs", ns / 1_000),
        1_000_000..1_000_000_000 => format!("{} ms", ns / 1_000_000),
        _ => format!("{} s", Count(ns / 1_000_000_000)),
    }
}

/// The held connections have curves of their own only if there is nothing else.
pub(super) fn percentiles(rows: &[Latency<'_>]) -> String {
    let mut shown: Vec<&Latency<'_>> = rows.iter().filter(|row| !row.is_held()).collect();
    if shown.is_empty() {
        shown = rows.iter().collect();
    }
    let y = times(shown.iter().copied());
    shown.sort_by_key(|row| std::cmp::Reverse(Figure::Quantile(0.5).of(row.histogram)));
    let across = nines(&shown);
    let mut chart = Chart::new("latency by percentile", &across, y);
    for row in shown {
        let value = |(nines, _): &(f64, String)| {
            let ns = row.histogram.value_at_quantile(1.0 - 10_f64.powf(-nines));
            (ns as f64, Time(ns).to_string())
        };
        let series: Vec<(f64, String)> = across.stops.iter().map(value).collect();
        chart.line(&tone(row.key), row.name, &series);
    }
    across.section("Latency by percentile", &[chart.finish("high")])
}

/// An axis of percentiles, each nine as wide as the one before it. It has as many nines as the
/// number of exchanges supports.
fn nines(rows: &[&Latency<'_>]) -> Across {
    const LABELS: [&str; 7] = [
        "0 %",
        "90 %",
        "99 %",
        "99.9 %",
        "99.99 %",
        "99.999 %",
        "99.9999 %",
    ];
    let count = rows.iter().map(|row| row.histogram.len()).max();
    let most = (count.unwrap_or(1) as f64).log10().clamp(1.0, 6.0);
    let mut ticks: Vec<(f64, String)> = LABELS[..=most as usize]
        .iter()
        .zip(0..)
        .map(|(label, nines)| (f64::from(nines), (*label).to_owned()))
        .collect();
    ticks.insert(1, (0.5_f64.log10().abs(), "50 %".into()));
    let stop = |step| {
        let nines = most * f64::from(step) / f64::from(STEPS);
        let percent = 100.0 - 10_f64.powf(2.0 - nines);
        let digits = (nines as usize).max(1);
        (nines, format!("{} %", Number(percent, digits)))
    };
    Across {
        axis: Axis::until(most, "").labelled(ticks),
        stops: (0..=STEPS).map(stop).collect(),
    }
}

/// All distributions have the same axis and the same buckets, so that a reader can compare them.
pub(super) fn distributions(rows: &[Latency<'_>]) -> String {
    let axis = times(rows.iter());
    let scale = Scale::new(axis.low, axis.high, BARS);
    let ends: Vec<(f64, f64)> = scale.ends().collect();
    let stop = |(start, end): &(f64, f64)| {
        let label = format!("{} to {}", Time(*start as u64), Time(*end as u64));
        ((start * end).sqrt(), label)
    };
    let across = Across {
        axis,
        stops: ends.iter().map(stop).collect(),
    };
    let charts: Vec<String> = rows
        .iter()
        .map(|row| distribution(row, &scale, &ends, &across))
        .collect();
    across.section("Latency distributions", &charts)
}

fn distribution(row: &Latency<'_>, scale: &Scale, ends: &[(f64, f64)], across: &Across) -> String {
    let counts: Vec<u64> = scale.counts(row.histogram);
    let most = counts.iter().max().copied().unwrap_or(1);
    let y = Axis::until(most as f64, "").labelled(vec![
        (0.0, "0".into()),
        (most as f64, Count(most).to_string()),
    ]);
    let value = |count: &u64| (*count as f64, Count(*count).to_string());
    let series: Vec<(f64, String)> = counts.iter().map(value).collect();
    let mut chart = Chart::new(row.name, across, y);
    chart.bars(&tone(row.key), row.name, ends, &series);
    for (name, at, is_left) in [("p50", 0.5, true), ("p99", 0.99, false)] {
        let ns = row.histogram.value_at_quantile(at);
        chart.mark(ns as f64, name, is_left);
    }
    chart.finish("low")
}
