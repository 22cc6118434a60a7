//! The report as one page. It loads no script, font or picture, so it opens without a network and
//! in years to come.

use std::fmt::{Display, Write};

use hdrhistogram::Histogram;

use super::Report;
use super::chart::{Axis, Chart};
use super::latency::{Bucket, FIGURES, Latency, buckets};
use super::quantity::Time;
use crate::load::machine::record::Point;
use crate::load::machine::schedule::Stage;
use crate::program::escape::escape;

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1c2024; --faint: #667; --paper: #fff; --box: #f4f6f8;
  --grid: #d9dee3; --right: #0a7d4f; --wrong: #c62828;
  --connect: #0072b2; --greeting: #d98500; --echo: #00876a; --eof: #8a8f98; --total: #7b3fa0; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7ea; --faint: #9aa3ad; --paper: #15181b;
  --box: #1f2428; --grid: #363d44; --right: #4cc38a; --wrong: #ff7b72;
  --connect: #58a6e8; --greeting: #f0ad4e; --echo: #3fc9a5; --eof: #9aa3ad; --total: #c792ea; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2.5rem 0 0.3rem; }
p { margin: 0.3rem 0; } .faint { color: var(--faint); }
code { overflow-wrap: anywhere; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(7.5rem, 1fr)); gap: 0.6rem;
  margin: 1.2rem 0; padding: 0; list-style: none; }
.tiles li { background: var(--box); border-radius: 0.4rem; padding: 0.5rem 0.8rem; }
.tiles b { display: block; font-size: 1.3rem; font-variant-numeric: tabular-nums; }
.good { color: var(--right); } .bad { color: var(--wrong); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; }
th, td { padding: 0.2rem 0.8rem; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--grid); font-variant-numeric: tabular-nums; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
svg { display: block; width: 100%; min-width: 34rem; height: auto; }
text { fill: var(--ink); font-size: 12px; } .end { text-anchor: end; }
.middle { text-anchor: middle; } .note { fill: var(--faint); font-size: 11px; }
.grid { stroke: var(--grid); fill: none; }
.mark { stroke: var(--ink); stroke-dasharray: 3 3; fill: none; }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; }
.key { margin-right: 1rem; } .key::before { content: '\\25cf '; color: var(--own); }
.connect { --own: var(--connect); } .greeting { --own: var(--greeting); }
.echo { --own: var(--echo); } .eof { --own: var(--eof); } .total { --own: var(--total); }
.right { --own: var(--right); } .wrong { --own: var(--wrong); } .open { --own: var(--connect); }
.line { stroke: var(--own); } rect { fill: var(--own); }
";

/// The most rates that a chart shows.
const RATES: usize = 100;

/// The whole page.
#[must_use]
pub fn page(report: &Report<'_>) -> String {
    let mut page = String::new();
    let targets = escaped(&report.targets.join(", "));
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>hello-load: {targets}</title>\n<style>{STYLE}</style>\n"
    );
    head(&mut page, report);
    tiles(&mut page, report);
    wrongs(&mut page, report);
    let mut rows = report.latencies();
    rows.retain(|row| !row.histogram.is_empty());
    if !rows.is_empty() {
        table(&mut page, &rows);
        percentiles(&mut page, &rows);
    }
    courses(&mut page, report);
    distributions(&mut page, &rows);
    page
}

fn head(page: &mut String, report: &Report<'_>) {
    let wrong = report.record.wrongs();
    let (class, verdict) = match wrong {
        0 if report.record.right > 0 => ("good", "all right".to_owned()),
        0 => ("faint", "nothing exchanged".to_owned()),
        _ => ("bad", format!("{} wrong", Count(wrong))),
    };
    let _ = write!(
        page,
        "<h1>hello-load: <span class=\"{class}\">{verdict}</span></h1>\n\
         <p><code>{}</code></p>\n\
         <p class=\"faint\">{}, for {:.2} s; hello-load {}, seed {}</p>\n",
        escaped(report.line),
        humantime::format_rfc3339_seconds(report.began),
        report.elapsed.as_secs_f64(),
        env!("CARGO_PKG_VERSION"),
        report.seed
    );
    for remark in report.cut_short().into_iter().chain(report.remarks()) {
        let _ = writeln!(page, "<p>{}</p>", escaped(&remark));
    }
}

fn tiles(page: &mut String, report: &Report<'_>) {
    let record = report.record;
    let always = [
        ("right", record.right),
        ("wrong", record.wrongs()),
        ("exchanges a second", report.throughput().round() as u64),
        ("connections opened", record.opened),
        ("open at once, at most", record.most_open),
    ];
    let perhaps = [
        ("held", record.held),
        ("given up", record.given_up),
        ("missed", record.missed),
    ];
    page.push_str("<ul class=\"tiles\">\n");
    let perhaps = perhaps.into_iter().filter(|(_, count)| *count > 0);
    for (name, count) in always.into_iter().chain(perhaps) {
        let _ = writeln!(page, "<li><b>{}</b>{name}", Count(count));
    }
    page.push_str("</ul>\n");
}

fn wrongs(page: &mut String, report: &Report<'_>) {
    if report.record.wrong.is_empty() {
        return;
    }
    page.push_str("<h2>What was wrong</h2>\n<table><tr><th>kind<th>count\n");
    for (fault, count) in &report.record.wrong {
        let _ = writeln!(page, "<tr><td>{fault}<td>{}", Count(*count));
    }
    page.push_str("</table>\n<p>The first of each kind:</p>\n<ul>\n");
    for described in &report.record.described {
        let _ = writeln!(page, "<li><code>{}</code>", escaped(described));
    }
    page.push_str("</ul>\n");
}

fn table(page: &mut String, rows: &[Latency<'_>]) {
    page.push_str("<h2>Latency</h2>\n<div class=\"wide\"><table><tr><th>");
    for (_, heading, _) in FIGURES {
        let _ = write!(page, "<th>{heading}");
    }
    page.push_str("<th>count\n");
    for Latency {
        name, histogram, ..
    } in rows
    {
        let _ = write!(page, "<tr><td>{name}");
        for (_, _, figure) in FIGURES {
            let _ = write!(page, "<td>{}", figure.time(histogram));
        }
        let _ = writeln!(page, "<td>{}", Count(histogram.len()));
    }
    page.push_str("</table></div>\n");
}

/// The class of a row, which gives it the colour of its phase.
fn class(row: &Latency<'_>) -> &'static str {
    row.key.trim_start_matches("held_").trim_end_matches("_raw")
}

/// An axis that covers the latencies of all rows.
fn times(rows: &[&Latency<'_>]) -> Axis {
    let least = rows.iter().map(|row| row.histogram.min()).min();
    let most = rows.iter().map(|row| row.histogram.max()).max();
    let [least, most] = [least, most].map(|ns| ns.unwrap_or(0) as f64);
    Axis::log(least, most, |ns| power_of_ten(ns as u64))
}

/// The axis has as many nines as the number of exchanges supports.
fn percentiles(page: &mut String, rows: &[Latency<'_>]) {
    let shown = |row: &&Latency<'_>| row.key != "total_raw" && !row.key.starts_with("held_");
    let mut rows: Vec<&Latency<'_>> = rows.iter().filter(shown).collect();
    if rows.is_empty() {
        return;
    }
    rows.sort_by_key(|row| std::cmp::Reverse(row.histogram.value_at_quantile(0.5)));
    let count = rows
        .iter()
        .map(|row| row.histogram.len())
        .max()
        .unwrap_or(1);
    let nines = (count as f64).log10().clamp(1.0, 6.0);
    let labels = [
        "0 %",
        "90 %",
        "99 %",
        "99.9 %",
        "99.99 %",
        "99.999 %",
        "99.9999 %",
    ];
    let mut ticks: Vec<(f64, String)> = vec![(0.5_f64.log10().abs(), "50 %".into())];
    ticks.extend((0..=nines as u32).map(|nine| (f64::from(nine), labels[nine as usize].into())));
    let x = Axis::until(nines, |_| String::new()).labelled(ticks);
    let mut chart = Chart::new("latency by percentile", &x, &times(&rows), 240.0);
    page.push_str("<h2>Latency by percentile</h2>\n<p>");
    for row in rows {
        let _ = write!(
            page,
            "<span class=\"key {}\">{}</span>",
            class(row),
            row.name
        );
        chart.line(class(row), curve(row.histogram, nines));
    }
    let _ = write!(page, "</p>\n<div class=\"wide\">{}</div>\n", chart.finish());
}

fn curve(histogram: &Histogram<u64>, nines: f64) -> impl Iterator<Item = (f64, f64)> {
    const STEPS: u32 = 120;
    (0..=STEPS).map(move |step| {
        let x = nines * f64::from(step) / f64::from(STEPS);
        let ns = histogram.value_at_quantile(1.0 - 10_f64.powf(-x));
        (x, ns as f64)
    })
}

/// All distributions have the same axis, so that a reader can compare them.
fn distributions(page: &mut String, rows: &[Latency<'_>]) {
    if !rows.is_empty() {
        page.push_str("<h2>Latency distributions</h2>\n");
    }
    let x = times(&rows.iter().collect::<Vec<_>>());
    for row in rows {
        let buckets = buckets(row.histogram, 60);
        let most = buckets.iter().map(|bucket| bucket.count).max().unwrap_or(1);
        let y = Axis::until(most as f64, |_| String::new());
        let y = y.labelled(vec![
            (0.0, "0".into()),
            (most as f64, Count(most).to_string()),
        ]);
        let mut chart = Chart::new(row.name, &x, &y, 64.0);
        for Bucket { start, end, count } in buckets {
            let ends = (start, end);
            chart.bar(
                class(row),
                ends,
                count as f64,
                &format!("up to {}: {count}", Time(end as u64)),
            );
        }
        for (quantile, at) in [("p50", 0.5), ("p99", 0.99)] {
            chart.mark(row.histogram.value_at_quantile(at) as f64, quantile);
        }
        let _ = write!(
            page,
            "<p>{}</p>\n<div class=\"wide\">{}</div>\n",
            row.name,
            chart.finish()
        );
    }
}

fn courses(page: &mut String, report: &Report<'_>) {
    let points = &report.record.course.points;
    // Each rate covers several points, so that it counts more than one or two exchanges.
    let every = points.len().div_ceil(RATES);
    let last = points.len() - 1;
    let apart = (0..points.len()).filter(|i| i % every == 0 || *i == last);
    let apart: Vec<Point> = apart.map(|i| points[i]).collect();
    let rates: Vec<[(f64, f64); 2]> = apart.windows(2).filter_map(rates).collect();
    if rates.len() < 2 {
        return;
    }
    let values = rates.iter().flatten().map(|(_, rate)| *rate);
    let most = values.fold(1.0, f64::max);
    let mut chart = over_time(report, "exchanges a second", most);
    for (i, class) in ["right", "wrong"].into_iter().enumerate() {
        chart.line(class, rates.iter().map(|rate| rate[i]));
    }
    let _ = write!(
        page,
        "<h2>Exchanges a second</h2>\n<p><span class=\"key right\">right</span>\
         <span class=\"key wrong\">wrong</span></p>\n<div class=\"wide\">{}</div>\n",
        chart.finish()
    );
    let most = points.iter().map(|point| point.open).max().unwrap_or(1);
    let mut chart = over_time(report, "open connections", most as f64);
    let open = points
        .iter()
        .map(|point| (point.at.as_secs_f64(), point.open as f64));
    chart.line("open", open);
    let _ = write!(
        page,
        "<h2>Open connections</h2>\n<div class=\"wide\">{}</div>\n",
        chart.finish()
    );
}

/// Right and wrong exchanges a second between two points, at the time halfway between them.
fn rates(pair: &[Point]) -> Option<[(f64, f64); 2]> {
    let [before, point] = pair else { return None };
    let seconds = point.at.checked_sub(before.at)?.as_secs_f64();
    let middle = before.at.as_secs_f64() + seconds / 2.0;
    let rate = |now: u64, then: u64| (middle, now.saturating_sub(then) as f64 / seconds);
    (seconds > 0.0).then(|| {
        [
            rate(point.right, before.right),
            rate(point.wrong, before.wrong),
        ]
    })
}

/// An empty chart over the time of the whole run, with its stages.
fn over_time(report: &Report<'_>, about: &str, most: f64) -> Chart {
    let seconds = Axis::until(report.elapsed.as_secs_f64(), |at| format!("{at} s"));
    let y = Axis::linear(most, |at| Count(at as u64).to_string());
    let mut chart = Chart::new(about, &seconds, &y, 180.0);
    if report.record.held > 0 {
        let stages = &report.record.stages;
        let until = stages[1..]
            .iter()
            .map(|(_, at)| *at)
            .chain([report.elapsed]);
        for ((stage, at), until) in stages.iter().zip(until) {
            if *stage != Stage::Over {
                // A short stage has no room for its label before that of the next stage.
                let is_short = until.saturating_sub(*at) * 8 < report.elapsed
                    && until < report.elapsed * 7 / 8;
                chart.mark(at.as_secs_f64(), if is_short { "" } else { stage.name() });
            }
        }
    }
    chart
}

/// A power of ten in nanoseconds, with its unit.
fn power_of_ten(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{} µs", ns / 1_000),
        1_000_000..1_000_000_000 => format!("{} ms", ns / 1_000_000),
        _ => format!("{} s", Count(ns / 1_000_000_000)),
    }
}

/// A number with a comma between its thousands.
struct Count(u64);

impl Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            0..1_000 => write!(f, "{}", self.0),
            many => write!(f, "{},{:03}", Count(many / 1_000), many % 1_000),
        }
    }
}

fn escaped(text: &str) -> String {
    escape(text)
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
