//! The report as one JSON object.

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use super::latency::{Latency, QUANTILES};
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
        let quantiled = |row: &Latency<'_>| (row.key.to_owned(), quantiles(row.histogram));
        let latency: Map<String, Value> = rows.iter().map(quantiled).collect();
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

/// The quantiles in microseconds, and the count. A quantile is null if nothing was measured.
fn quantiles(histogram: &Histogram<u64>) -> Value {
    let quantile = |(name, _, at): (&str, &str, f64)| {
        let ns = (!histogram.is_empty()).then(|| histogram.value_at_quantile(at));
        (name.to_owned(), json!(ns.map(micros)))
    };
    let mut quantiles: Map<_, _> = QUANTILES.map(quantile).into_iter().collect();
    quantiles.insert("count".into(), json!(histogram.len()));
    quantiles.into()
}

fn micros(ns: u64) -> f64 {
    ns as f64 / 1e3
}
