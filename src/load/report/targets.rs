//! The table by target, for a run with several: which of them was wrong, and which was slow.

use super::Report;
use super::latency::Figure;
use crate::load::machine::record::Tally;

/// The headings of the columns.
pub(super) const HEADINGS: [&str; 6] = ["target", "opened", "right", "p50", "p99", "wrong"];

impl Report {
    /// A row for each target, and for each address of a name with several. None if there is only one.
    pub(super) fn target_rows(&self) -> Vec<[String; 6]> {
        let rows: Vec<_> = self.tallies().map(row).collect();
        if rows.len() > 1 { rows } else { vec![] }
    }
}

fn row(tally: &Tally) -> [String; 6] {
    let figure = |quantile| {
        let figure = Figure::Quantile(quantile);
        if tally.total.is_empty() {
            "–".to_owned()
        } else {
            figure.time(&tally.total).to_string()
        }
    };
    [
        tally.target.clone(),
        tally.outcomes.opened.to_string(),
        tally.outcomes.right.to_string(),
        figure(0.5),
        figure(0.99),
        wrong(tally),
    ]
}

/// How many were wrong, by kind.
fn wrong(tally: &Tally) -> String {
    let kinds = tally.outcomes.wrong.iter();
    let kinds: Vec<String> = kinds.map(|(fault, n)| format!("{n} {fault}")).collect();
    if kinds.is_empty() {
        "0".to_owned()
    } else {
        kinds.join(", ")
    }
}
