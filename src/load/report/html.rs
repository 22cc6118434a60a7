//! The report as one page. It loads no script, font or picture, so it opens without a network and
//! in years to come.

mod beside;
mod course;
mod latencies;
mod search;

use std::fmt::Write;

use serde_json::Value;

use super::latency::{FIGURES, Figure, Latency};
use super::quantity::{Bytes, Count, Number};
use super::targets::HEADINGS;
use super::{Report, Searched};
use crate::program::escape::{escape, escape_json};

const STYLE: &str = include_str!("html/page.css");

/// Shows the values of the charts under the pointer. Without it everything else is there.
const SCRIPT: &str = include_str!("html/page.js");

/// A browser refuses to load anything for the page, whatever the page contains.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'";

/// The whole page, a section a line: from the verdict to the details.
#[must_use]
pub fn page(report: &Report) -> String {
    let mut rows = report.latencies();
    rows.retain(|row| !row.histogram.is_empty());
    let mut page = String::new();
    head(&mut page, report);
    verdict(&mut page, report);
    tiles(&mut page, report, &rows);
    facts(&mut page, report);
    wrongs(&mut page, report);
    search::windows(&mut page, report);
    targets(&mut page, report);
    beside::targets(&mut page, report);
    beside::baseline(&mut page, report);
    if !rows.is_empty() {
        latency_table(&mut page, report, &rows);
        page.push_str(&latencies::percentiles(&rows));
    }
    page.push_str(&course::course(report));
    if !rows.is_empty() {
        page.push_str(&latencies::distributions(&rows));
    }
    foot(&mut page, report);
    page
}

fn head(page: &mut String, report: &Report) {
    let targets = escaped(&report.targets.join(", "));
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <title>hello-load: {targets}</title>\n<style>\n{STYLE}</style>\n<main>\n"
    );
}

/// What a reader must know first, and what the run was.
fn verdict(page: &mut String, report: &Report) {
    let record = &report.record;
    let (right, wrong) = (record.outcomes.right, record.outcomes.wrongs());
    let verdict = match (&report.search, right, wrong, record.missed) {
        (Some(search), ..) => escaped(&search.headline()),
        (_, _, 1.., _) => format!("{} of {} wrong", Count(wrong), Count(right + wrong)),
        (_, 0, ..) => "Nothing exchanged".to_owned(),
        (.., 0) => format!("All {} right", Count(right)),
        (.., missed) => {
            let missed = Count(u64::try_from(missed).unwrap_or(u64::MAX));
            format!("{} right, {missed} missed", Count(right))
        }
    };
    let class = if report.is_good() { "good" } else { "bad" };
    let began = humantime::format_rfc3339_seconds(report.began).to_string();
    let _ = write!(
        page,
        "<header>\n<p class=\"faint\">hello-load {}</p>\n<h1 class=\"{class}\">{verdict}</h1>\n\
         <pre>{}</pre>\n<p class=\"faint\">{}, for {} s; {}; seed {}</p>\n",
        env!("CARGO_PKG_VERSION"),
        command(&report.line),
        began.replace('T', " ").replace('Z', " UTC"),
        Number(report.elapsed.as_secs_f64(), 2),
        report.about_rate(),
        report.seed
    );
    let search = report.search.iter().flat_map(Searched::remarks);
    let failures = report.conditions_met().into_iter();
    let failures = failures.map(|why| format!("failed: {why}"));
    let cut_short = report.cut_short().into_iter();
    for remark in failures
        .chain(cut_short)
        .chain(search)
        .chain(report.remarks())
    {
        let _ = writeln!(page, "<p class=\"remark\">{}</p>", escaped(&remark));
    }
    page.push_str("</header>\n");
}

/// The command line, which is broken between its arguments.
fn command(line: &str) -> String {
    let arguments = line.split(' ').map(escaped);
    let arguments: Vec<String> = arguments.map(|a| format!("<span>{a}</span>")).collect();
    arguments.join(" ")
}

/// Always four, so that they make whole rows on every screen.
fn tiles(page: &mut String, report: &Report, rows: &[Latency<'_>]) {
    let whole = rows.iter().find(|row| row.key == "total");
    let (name, p99) = match whole.or(rows.iter().find(|row| row.key == "held_echo")) {
        Some(row) => {
            let p99 = Figure::Quantile(0.99).time(row.histogram).to_string();
            (format!("p99 of {}", row.name), p99)
        }
        None => ("p99".to_owned(), "–".to_owned()),
    };
    let rate = report.throughput();
    let digits = usize::from(rate > 0.0 && rate < 10.0);
    let bad = if report.record.outcomes.wrongs() > 0 {
        "bad"
    } else {
        ""
    };
    if let Some(found) = report.found() {
        return search::tiles(page, found, report, (&name, p99));
    }
    let tiles = [
        ("", "right", Count(report.record.outcomes.right).to_string()),
        (
            bad,
            "wrong",
            Count(report.record.outcomes.wrongs()).to_string(),
        ),
        ("", "right a second", Number(rate, digits).to_string()),
        ("", &name, p99),
    ];
    tile_list(page, &tiles);
}

fn tile_list(page: &mut String, tiles: &[(&str, &str, String)]) {
    page.push_str("<ul class=\"tiles\">\n");
    for (class, name, value) in tiles {
        let _ = writeln!(page, "<li><b class=\"{class}\">{value}</b>{name}");
    }
    page.push_str("</ul>\n");
}

fn facts(page: &mut String, report: &Report) {
    let record = &report.record;
    let count = |name, count| (name, Count(count).to_string());
    let bytes = |name, bytes: u64| {
        let speed = Bytes(bytes as f64 / report.elapsed.as_secs_f64().max(1e-9));
        (name, format!("{}, {speed}/s", Bytes(bytes as f64)))
    };
    let [sent, received] = record.bytes;
    let always = [
        count("Connections opened", record.outcomes.opened),
        count("Open at once, at most", record.most_open),
        bytes("Sent", sent),
        bytes("Received", received),
    ];
    let perhaps = [
        ("Held", record.held),
        ("Given up", record.outcomes.given_up),
        ("Missed", u64::try_from(record.missed).unwrap_or(u64::MAX)),
        ("Timed out", record.outcomes.timed_out()),
        ("Echoed in part", record.echoed_in_part),
    ];
    let perhaps = perhaps.into_iter().filter(|(_, count)| *count > 0);
    page.push_str("<dl>\n");
    for (name, value) in always
        .into_iter()
        .chain(perhaps.map(|(name, value)| count(name, value)))
    {
        let _ = writeln!(page, "<div><dt>{name}<dd>{value}</div>");
    }
    page.push_str("</dl>\n");
}

fn wrongs(page: &mut String, report: &Report) {
    if report.record.outcomes.wrong.is_empty() {
        return;
    }
    let kinds = report.record.outcomes.wrong.iter();
    let kinds = kinds.map(|(fault, count)| [fault.to_string(), Count(*count).to_string()].into());
    page.push_str("<section>\n<h2>What was wrong</h2>\n");
    table(page, &["kind", "count"], kinds);
    page.push_str("<p>The first of each kind:</p>\n<ul class=\"described\">\n");
    for (_, described) in &report.record.described {
        let _ = writeln!(page, "<li><code>{}</code>", escaped(described));
    }
    page.push_str("</ul>\n</section>\n");
}

fn targets(page: &mut String, report: &Report) {
    let rows = report.target_rows();
    if rows.is_empty() {
        return;
    }
    page.push_str("<section>\n<h2>By target</h2>\n");
    let cells = rows.iter().map(|row| row.iter().map(|cell| escaped(cell)));
    table(page, &HEADINGS, cells.map(Iterator::collect));
    page.push_str("</section>\n");
}

fn latency_table(page: &mut String, report: &Report, rows: &[Latency<'_>]) {
    let mut headings = vec!["phase"];
    headings.extend(FIGURES.map(|(_, heading, _)| heading));
    headings.push("count");
    let cells = |row: &Latency<'_>| {
        let figures = FIGURES.map(|(_, _, figure)| figure.time(row.histogram).to_string());
        let mut cells = vec![row.name.to_owned()];
        cells.extend(figures);
        cells.push(Count(row.histogram.len()).to_string());
        cells
    };
    let about = report.about_latencies();
    let _ = writeln!(page, "<section>\n<h2>Latency</h2>\n<p>The {about}.</p>");
    table(page, &headings, rows.iter().map(cells));
    let phases = report.about_phases().join("; ");
    let _ = writeln!(page, "<p class=\"faint\">{phases}.</p>\n</section>");
}

/// A table whose first column is of names and whose others are of numbers. The cells are HTML.
fn table(page: &mut String, headings: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    let class = if headings.len() < 4 { "short" } else { "" };
    let headings = headings.join("<th>");
    let _ = writeln!(
        page,
        "<div class=\"scroll\"><table class=\"{class}\">\n<tr><th>{headings}"
    );
    for cells in rows {
        let _ = writeln!(page, "<tr><td>{}", cells.join("<td>"));
    }
    page.push_str("</table></div>\n");
}

fn foot(page: &mut String, report: &Report) {
    let json = embedded(&report.json());
    let _ = write!(
        page,
        "<footer class=\"faint\">The page loads nothing. It has the whole report as JSON, too, in \
         <code>script#report</code>.</footer>\n</main>\n\
         <script type=\"application/json\" id=\"report\">{json}</script>\n\
         <script>\n{SCRIPT}</script>\n"
    );
}

/// JSON for a script element of the page, which the text of no string can end.
pub(super) fn embedded(json: &Value) -> String {
    escape_json(&json.to_string()).replace('<', "\\u003c")
}

/// The class that gives a phase its colour, which its held and its raw times share.
fn tone(key: &str) -> String {
    let phase = key.trim_start_matches("held_").trim_end_matches("_raw");
    if phase == key {
        phase.to_owned()
    } else {
        format!("{phase} {key}")
    }
}

fn escaped(text: &str) -> String {
    escape(text)
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests;
