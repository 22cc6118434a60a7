//! Comparisons on the page: tables whose last columns are ratios with their intervals.

use std::fmt::Write;

use super::{escaped, table};
use crate::load::report::Report;
use crate::load::report::beside::Compared;

/// The scale of the intervals' bars covers at least these ratios.
const LEAST: [f64; 2] = [0.9, 1.1];

/// At most these: a bar that goes on beyond them is cut.
const MOST: [f64; 2] = [0.5, 2.0];

/// The run beside its baseline. Nothing if it has none.
pub(super) fn baseline(page: &mut String, report: &Report) {
    let Some(baseline) = &report.baseline else {
        return;
    };
    let began = humantime::format_rfc3339_seconds(baseline.began).to_string();
    let _ = write!(
        page,
        "<section>\n<h2>Beside the baseline</h2>\n<p>The baseline is of {}: <code>{}</code></p>\n",
        began.replace('T', " ").replace('Z', " UTC"),
        escaped(&baseline.line)
    );
    let compared = report.beside_baseline();
    compared_table(
        page,
        &Scale::of(&compared),
        &compared,
        ["baseline", "this run"],
    );
    about(page);
}

/// The targets of a run that compared them. Nothing if it did not.
pub(super) fn targets(page: &mut String, report: &Report) {
    let beside = report.beside_first();
    let mut names = report.tallies().map(|tally| escaped(&tally.target));
    let Some(first) = names.next().filter(|_| !beside.is_empty()) else {
        return;
    };
    page.push_str("<section>\n<h2>Targets beside the first</h2>\n");
    let all: Vec<Compared> = beside.iter().flatten().cloned().collect();
    let scale = Scale::of(&all);
    for (name, compared) in names.zip(&beside) {
        let _ = writeln!(
            page,
            "<p><code>{name}</code> beside <code>{first}</code>, exchange by exchange:</p>"
        );
        compared_table(page, &scale, compared, ["first", "this one"]);
    }
    about(page);
}

/// What matters comes first: a phone has no room for the rest.
fn compared_table(page: &mut String, scale: &Scale, all: &[Compared], figures: [&str; 2]) {
    let headings = ["", "", "ratio", "", figures[0], figures[1]];
    let row = |compared: &Compared| {
        let mut cells = vec![compared.name.to_owned()];
        cells.extend(scale.cells(compared));
        cells.extend(compared.figures.clone());
        cells
    };
    table(page, &headings, all.iter().map(row));
}

fn about(page: &mut String) {
    page.push_str(
        "<p class=\"faint\">A ratio has its 95 % interval, from parts of the run as samples. Of 100 \
         figures of equals about 5 differ by chance.</p>\n</section>\n",
    );
}

/// What the bars of a table have in common.
struct Scale {
    low: f64,
    high: f64,
}

impl Scale {
    fn of(compared: &[Compared]) -> Self {
        let ends = compared.iter().flat_map(|compared| {
            let [low, high] = compared.interval.unwrap_or([compared.ratio; 2]);
            [low, high]
        });
        let [low, high] = ends.fold(LEAST, |[low, high], end| [low.min(end), high.max(end)]);
        Self {
            low: low.max(MOST[0]).ln(),
            high: high.min(MOST[1]).ln(),
        }
    }

    /// The verdict, the ratio, and a bar of its interval.
    fn cells(&self, compared: &Compared) -> [String; 3] {
        let verdict = compared.verdict();
        let class = match verdict {
            "slower" => "bad",
            "faster" => "good",
            _ => "faint",
        };
        let bar = compared
            .interval
            .map(|interval| self.bar(class, interval, compared.ratio));
        [
            format!("<b class=\"{class}\">{verdict}</b>"),
            compared.range(),
            bar.unwrap_or_default(),
        ]
    }

    fn bar(&self, class: &str, interval: [f64; 2], ratio: f64) -> String {
        let place = |ratio: f64| {
            let share = (ratio.max(f64::MIN_POSITIVE).ln() - self.low) / (self.high - self.low);
            100.0 * share.clamp(0.0, 1.0)
        };
        let ([start, end], middle) = (interval.map(place), place(ratio));
        format!(
            "<svg class=\"range {class}\" viewBox=\"0 0 100 16\" preserveAspectRatio=\"none\" \
             aria-hidden=\"true\"><path class=\"grid\" d=\"M{equal:.1} 0V16\"/>\
             <path class=\"line\" d=\"M{start:.1} 8H{end:.1}M{middle:.1} 3V13\"/></svg>",
            equal = place(1.0)
        )
    }
}
