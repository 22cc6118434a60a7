//! What a search for a rate has found, on the page: the answer, the windows, and the latency against
//! the rate.

use super::{escaped, table, tile_list};
use crate::load::machine::search::Found;
use crate::load::report::chart::{Across, Axis, Chart};
use crate::load::report::quantity::{Count, Time};
use crate::load::report::{Report, Searched, Tried};

/// The four tiles of a search. The last is the one that the page has of other runs.
pub(super) fn tiles(page: &mut String, found: &Found, report: &Report, last: (&str, String)) {
    let windows = report.search.as_ref().map_or(0, |s| s.tried.len() as u64);
    let fails = found
        .fails
        .map_or("–".to_owned(), |rate| Count(rate).to_string());
    let tiles = [
        ("", "a second found", Count(found.rate).to_string()),
        ("", "a second failed", fails),
        ("", "windows", Count(windows).to_string()),
        ("", last.0, last.1),
    ];
    tile_list(page, &tiles);
}

/// The chart and the table of windows.
pub(super) fn windows(page: &mut String, report: &Report) {
    let Some(search) = report.search.as_ref().filter(|s| !s.tried.is_empty()) else {
        return;
    };
    page.push_str(&latency_by_rate(search));
    page.push_str("<section>\n<h2>Windows</h2>\n");
    let cells = search.rows();
    let cells = cells.iter().map(|row| row.iter().map(|cell| escaped(cell)));
    let headings = search.headings().map(escaped);
    let headings: Vec<&str> = headings.iter().map(|heading| &**heading).collect();
    table(page, &headings, cells.map(Iterator::collect));
    page.push_str("</section>\n");
}

/// Curves through the window with the most samples at each rate, and a dot for every window.
fn latency_by_rate(search: &Searched) -> String {
    let mut tried: Vec<&Tried> = search.tried.iter().collect();
    tried.sort_by_key(|t| (t.window.rate, t.window.samples));
    let measured = |t: &&Tried| t.p50.is_some() && goal_figure(search, t).is_some();
    tried.retain(measured);
    let mut longest = tried.clone();
    longest.reverse();
    longest.dedup_by_key(|t| t.window.rate);
    longest.reverse();
    let Some(highest) = longest.last() else {
        return String::new();
    };
    let label = |t: &&Tried| {
        let rate = t.window.rate;
        (rate as f64, format!("{} a second", Count(rate)))
    };
    let across = Across {
        axis: Axis::until(highest.window.rate as f64 * 1.02, ""),
        stops: longest.iter().map(label).collect(),
    };
    let all = tried.iter().flat_map(|t| [t.p50, t.p99]).flatten();
    let figures = tried.iter().filter_map(|t| goal_figure(search, t));
    let limit = search.goal.limit().map(|limit| limit.as_nanos() as u64);
    let all: Vec<u64> = all.chain(figures).chain(limit).collect();
    let [least, most] = [all.iter().min(), all.iter().max()].map(|ns| *ns.unwrap_or(&1) as f64);
    let y = Axis::log(least, most, |ns| super::latencies::power_of_ten(ns as u64));
    let mut chart = Chart::new("latency by rate", &across, y);
    if let Some(limit) = limit {
        chart.level(limit as f64, &format!("{} allowed", Time(limit)));
    }
    if let Some(found) = &search.found {
        chart.mark(found.rate as f64, "found", true);
    }
    let name = if limit.is_some() {
        search.goal.measure()
    } else {
        "p99"
    };
    let value = |ns: Option<u64>| {
        let ns = ns.unwrap_or(0);
        (ns as f64, Time(ns).to_string())
    };
    let medians: Vec<_> = longest.iter().map(|t| value(t.p50)).collect();
    let figures: Vec<_> = longest
        .iter()
        .map(|t| value(goal_figure(search, t)))
        .collect();
    if name != "p50" {
        chart.line("connect", "p50", &medians);
    }
    chart.line("total", &escaped(name), &figures);
    for (class, holds) in [("held", true), ("failed", false)] {
        let dots = tried
            .iter()
            .filter(|t| t.window.failure().is_none() == holds);
        let dots =
            dots.filter_map(|t| Some((t.window.rate as f64, goal_figure(search, t)? as f64)));
        chart.dots(class, &dots.collect::<Vec<_>>());
    }
    chart.note("Each dot is a window: full if it held, hollow if it failed.");
    across.section("Latency by rate", &[chart.finish("high")])
}

/// The figure of the goal if it is a time, or else the 99th percentile.
fn goal_figure(search: &Searched, tried: &Tried) -> Option<u64> {
    match search.goal.limit() {
        Some(_) => tried.figure.map(|ns| ns as u64),
        None => tried.p99,
    }
}
