//! The report as one JSON object.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use super::latency::{FIGURES, Figure, Latency};
use super::{Report, Searched, VERSION, beside, parts};
use crate::load::machine::exchange::Fault;
use crate::load::machine::record::Tally;

impl Report {
    /// The report as one JSON object. A field's name tells its unit.
    #[must_use]
    pub fn json(&self) -> Value {
        let record = &self.record;
        let rows = self.latencies();
        let keyed = |row: &Latency<'_>| (row.key.to_owned(), figures(row.histogram));
        let latency: Map<String, Value> = rows.iter().map(keyed).collect();
        let waited = record.waited.iter();
        let waited: Map<String, Value> = waited
            .map(|(shortage, waited)| (shortage.name().to_owned(), json!(waited.as_secs_f64())))
            .collect();
        json!({
            "version": VERSION,
            "program": env!("CARGO_PKG_VERSION"),
            "command": self.line,
            "began": humantime::format_rfc3339_millis(self.began).to_string(),
            "targets": self.targets,
            "seed": self.seed,
            "opened": record.outcomes.opened,
            "right": record.outcomes.right,
            "wrong": by_kind(&record.outcomes.wrong),
            "timed_out": record.outcomes.timed_out(),
            "given_up": record.outcomes.given_up,
            "described": record.described.iter().map(|(_, text)| text).collect::<Vec<_>>(),
            "echoed_in_part": record.echoed_in_part,
            "bytes_of_payload": record.echoed[0],
            "bytes_echoed": record.echoed[1],
            "held": record.held,
            "most_open": record.most_open,
            "bytes_sent": record.bytes[0],
            "bytes_received": record.bytes[1],
            "seconds": self.elapsed.as_secs_f64(),
            "rate": self.throughput(),
            "exchanging_s": self.exchanged().1.as_secs_f64(),
            "asked_rate": self.rate,
            "missed": whole(record.missed),
            "latest_begin_us": micros(record.latest.as_nanos() as u64),
            "waited_s": waited,
            "stood_still_s": record.stood_still.as_secs_f64(),
            "threads": parts::threads(record),
            "cut_short": self.is_cut_short,
            "error": self.error,
            "options": self.setup.json(),
            "latency_us": latency,
            "histograms": parts::histograms(record),
            "stages": parts::stages(record),
            "course": parts::course(&record.course),
            "windows": parts::windows(&record.windows),
            "found_rate": self.found().map(|found| found.rate),
            "search": self.search.as_ref().map(Searched::json),
            "by_target": self.by_target(),
            "baseline": self.compared(),
        })
    }

    fn compared(&self) -> Option<Value> {
        let baseline = self.baseline.as_ref()?;
        let began = humantime::format_rfc3339_millis(baseline.began);
        Some(json!({
            "command": baseline.line,
            "began": began.to_string(),
            "compared": beside::json(&self.beside_baseline()),
        }))
    }

    fn by_target(&self) -> Value {
        let mut targets: Vec<Value> = self.tallies().map(tally).collect();
        for (target, compared) in targets.iter_mut().skip(1).zip(self.beside_first()) {
            target["compared"] = beside::json(&compared);
        }
        targets.into()
    }
}

fn tally(tally: &Tally) -> Value {
    let mut json = json!({
        "target": tally.target,
        "opened": tally.outcomes.opened,
        "right": tally.outcomes.right,
        "wrong": by_kind(&tally.outcomes.wrong),
        "given_up": tally.outcomes.given_up,
        "latency_us": { "total": figures(&tally.total) },
        "histogram": parts::histogram(&tally.total),
    });
    if let Some(windows) = &tally.windows {
        json["windows"] = parts::windows(windows);
    }
    json
}

fn by_kind(wrong: &BTreeMap<Fault, u64>) -> Value {
    let counted = |(fault, count): (&Fault, &u64)| (fault.to_string(), json!(count));
    wrong.iter().map(counted).collect::<Map<_, _>>().into()
}

/// JSON's numbers have no bound, but serde_json's whole ones have: beyond 2^64 it is the nearest that
/// has a fraction.
pub(super) fn whole(count: u128) -> Value {
    u64::try_from(count).map_or_else(|_| json!(count as f64), |count| json!(count))
}

/// The figures in microseconds, and the count. A figure is null if nothing was measured.
fn figures(histogram: &Histogram<u64>) -> Value {
    let named = |(name, _, figure): (&str, &str, Figure)| {
        let ns = (!histogram.is_empty()).then(|| figure.of(histogram));
        (name.to_owned(), json!(ns.map(micros)))
    };
    let mut figures: Map<_, _> = FIGURES.map(named).into_iter().collect();
    figures.insert("count".into(), json!(histogram.len()));
    figures.into()
}

pub(super) fn micros(ns: u64) -> f64 {
    ns as f64 / 1e3
}
