//! The report as one JSON object.

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use super::latency::{FIGURES, Figure, Latency};
use super::{Report, VERSION};
use crate::load::machine::exchange::Fault;

impl Report<'_> {
    /// The report as one JSON object. A field's name tells its unit.
    #[must_use]
    pub fn json(&self) -> Value {
        let record = self.record;
        let counted = |(fault, count): (&Fault, &u64)| (fault.to_string(), json!(count));
        let wrong: Map<String, Value> = record.wrong.iter().map(counted).collect();
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
            "began": humantime::format_rfc3339_seconds(self.began).to_string(),
            "targets": self.targets,
            "seed": self.seed,
            "opened": record.opened,
            "right": record.right,
            "wrong": wrong,
            "given_up": record.given_up,
            "described": record.described,
            "held": record.held,
            "most_open": record.most_open,
            "bytes_sent": record.bytes[0],
            "bytes_received": record.bytes[1],
            "seconds": self.elapsed.as_secs_f64(),
            "rate": self.throughput(),
            "asked_rate": self.rate,
            "missed": record.missed,
            "latest_begin_us": micros(record.latest.as_nanos() as u64),
            "waited_s": waited,
            "cut_short": self.is_cut_short,
            "error": self.error,
            "latency_us": latency,
        })
    }
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

fn micros(ns: u64) -> f64 {
    ns as f64 / 1e3
}
