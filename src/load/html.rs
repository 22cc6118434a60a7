//! The report as a page of its own: no script, no font and no picture from elsewhere, so it opens
//! without a network and in years to come.

use std::fmt::Write;

use super::report::{Report, Time, buckets};

/// The drawing area of a chart, in pixels, and the margins for its labels.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 200.0;
const LEFT: f64 = 80.0;
const BELOW: f64 = 30.0;

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #222; --paper: #fff; --line: #ccc; --bar: #2a6fb0; }
@media (prefers-color-scheme: dark) { :root { --ink: #ddd; --paper: #181818; --line: #444;
  --bar: #6aa9e0; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 46em; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.4em; } h2 { font-size: 1.1em; margin: 2em 0 0.5em; }
table { border-collapse: collapse; } th, td { padding: 0.2em 0.9em; text-align: right;
  border-bottom: 1px solid var(--line); font-variant-numeric: tabular-nums; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
svg { width: 100%; height: auto; } text { fill: var(--ink); font-size: 12px; }
rect { fill: var(--bar); } polyline { fill: none; stroke: var(--bar); stroke-width: 1.5; }
.axis { stroke: var(--line); } .wrong { color: #c0392b; } code { word-break: break-all; }
";

/// The whole page.
#[must_use]
pub fn page(report: &Report<'_>) -> String {
    let mut page = String::new();
    let title = format!("hello-load: {}", escaped(&report.targets.join(", ")));
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n<h1>{title}</h1>\n"
    );
    summary(&mut page, report);
    table(&mut page, report);
    for (name, histogram) in report.latencies() {
        if !histogram.is_empty() {
            let _ = writeln!(page, "<h2>How long: {name}</h2>");
            bars(&mut page, &buckets(histogram));
        }
    }
    courses(&mut page, report);
    page
}

fn summary(page: &mut String, report: &Report<'_>) {
    let record = report.record;
    let (right, wrong) = (record.right, record.wrongs());
    let class = if wrong > 0 { " class=\"wrong\"" } else { "" };
    let _ = writeln!(
        page,
        "<p><b>{right} right</b>, <b{class}>{wrong} wrong</b> in {:.2} s: {:.0} exchanges a second.\n\
         {} connections opened, {} at once at most, {} held, {} given up. Seed {}.</p>",
        report.elapsed.as_secs_f64(),
        report.throughput(),
        record.opened,
        record.most_open,
        record.held,
        record.given_up,
        report.seed
    );
    if report.is_cut_short {
        page.push_str("<p class=\"wrong\">Cut short by a signal.</p>\n");
    }
    if let Some(lateness) = report.lateness() {
        let _ = writeln!(page, "<p class=\"wrong\">{lateness}.</p>");
    }
    if wrong > 0 {
        page.push_str("<h2>What was wrong</h2>\n<table><tr><th>kind<th>count\n");
        for (kind, count) in &record.wrong {
            let _ = writeln!(page, "<tr><td>{kind}<td>{count}");
        }
        page.push_str("</table>\n<ul>\n");
        for described in &record.described {
            let _ = writeln!(page, "<li><code>{}</code>", escaped(described));
        }
        page.push_str("</ul>\n");
    }
}

fn table(page: &mut String, report: &Report<'_>) {
    page.push_str(
        "<h2>Latency</h2>\n<table><tr><th>phase<th>p50<th>p90<th>p99<th>p99.9<th>max<th>count\n",
    );
    for (name, histogram) in report.latencies() {
        if histogram.is_empty() {
            continue;
        }
        let _ = write!(page, "<tr><td>{name}");
        for at in [0.5, 0.9, 0.99, 0.999, 1.0] {
            let _ = write!(page, "<td>{}", Time(histogram.value_at_quantile(at)));
        }
        let _ = writeln!(page, "<td>{}", histogram.len());
    }
    page.push_str("</table>\n");
}

fn courses(page: &mut String, report: &Report<'_>) {
    let course = &report.record.course;
    let seconds = course.interval.as_secs_f64();
    let mut before = 0;
    let rate = course.points.iter().map(|point| {
        let done = point.done - before;
        before = point.done;
        done as f64 / seconds
    });
    let rate: Vec<f64> = rate.collect();
    let open: Vec<f64> = course
        .points
        .iter()
        .map(|point| point.open as f64)
        .collect();
    for (name, values) in [("Exchanges a second", rate), ("Open connections", open)] {
        if values.len() > 1 {
            let _ = writeln!(page, "<h2>{name}</h2>");
            line(page, &values, seconds);
        }
    }
}

fn open_chart(page: &mut String, most: f64) {
    let (width, height) = (LEFT + WIDTH + 20.0, HEIGHT + BELOW + 10.0);
    let _ = writeln!(
        page,
        "<svg viewBox=\"0 -10 {width} {height}\" role=\"img\">"
    );
    for (place, label) in [(0.0, most), (0.5, most / 2.0), (1.0, 0.0)] {
        let y = HEIGHT * place;
        let _ = writeln!(
            page,
            "<line class=\"axis\" x1=\"{LEFT}\" y1=\"{y}\" x2=\"{}\" y2=\"{y}\"/>\
             <text x=\"{}\" y=\"{}\" text-anchor=\"end\">{label:.0}</text>",
            LEFT + WIDTH,
            LEFT - 8.0,
            y + 4.0
        );
    }
}

fn label_below(page: &mut String, x: f64, label: &str) {
    let y = HEIGHT + 18.0;
    let _ = writeln!(
        page,
        "<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{label}</text>"
    );
}

/// One bar for each bucket; at most about eight of them are labelled.
fn bars(page: &mut String, buckets: &[(u64, u64)]) {
    let most = buckets
        .iter()
        .map(|(_, count)| *count)
        .max()
        .unwrap_or(1)
        .max(1) as f64;
    let width = WIDTH / buckets.len().max(1) as f64;
    open_chart(page, most);
    for (i, (end, count)) in buckets.iter().enumerate() {
        let (x, height) = (LEFT + width * i as f64, HEIGHT * *count as f64 / most);
        let _ = writeln!(
            page,
            "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height:.1}\">\
             <title>up to {}: {count}</title></rect>",
            HEIGHT - height,
            (width - 2.0).max(1.0),
            Time(*end)
        );
        if i % buckets.len().div_ceil(8) == 0 {
            label_below(page, x + width / 2.0, &format!("≤ {}", Time(*end)));
        }
    }
    page.push_str("</svg>\n");
}

fn line(page: &mut String, values: &[f64], seconds: f64) {
    let most = values.iter().copied().fold(1.0, f64::max);
    let step = WIDTH / (values.len() - 1).max(1) as f64;
    open_chart(page, most);
    page.push_str("<polyline points=\"");
    for (i, value) in values.iter().enumerate() {
        let _ = write!(
            page,
            "{:.1},{:.1} ",
            LEFT + step * i as f64,
            HEIGHT * (1.0 - value / most)
        );
    }
    page.push_str("\"/>\n");
    for place in [0, values.len() / 2, values.len() - 1] {
        let at = seconds * (place + 1) as f64;
        label_below(page, LEFT + step * place as f64, &format!("{at:.1} s"));
    }
    page.push_str("</svg>\n");
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
