//! The books as Prometheus reads them: its text format, version 0.0.4.
//!
//! Without a library: those there are keep registries of counters of their own, and bring 14 crates or
//! more; of what they write, this needs numbers, and labels that need no escapes.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::stats::Stats;

/// Log lines that were dropped, for want of a reader or of room: whoever writes this process's log
/// counts them here, as the program does. Told by the metrics.
pub static DROPPED_LOG_LINES: AtomicU64 = AtomicU64::new(0);

/// All metrics there are, each with its help and its type.
pub(crate) fn page(stats: &Stats) -> String {
    let mut page = String::new();
    let mut one = |kind, name, help, value| family(&mut page, kind, name, help, "", [("", value)]);
    let (open, dropped) = (stats.open(), DROPPED_LOG_LINES.load(Ordering::Relaxed));
    one(
        GAUGE,
        "connections_open",
        "Clients that are connected.",
        open,
    );
    one(
        GAUGE,
        "connections_max",
        "Clients there can be at once; others wait.",
        stats.capacity,
    );
    one(
        COUNTER,
        "connections_accepted_total",
        "Clients that were accepted.",
        stats.accepted,
    );
    one(
        COUNTER,
        "received_bytes_total",
        "Bytes that clients sent.",
        stats.bytes.received,
    );
    one(
        COUNTER,
        "sent_bytes_total",
        "Bytes that clients were sent.",
        stats.bytes.sent,
    );
    one(
        COUNTER,
        "accept_errors_total",
        "Failures to accept a client.",
        stats.accept_errors,
    );
    one(
        COUNTER,
        "accept_pauses_total",
        "Pauses in accepting, for want of a resource.",
        stats.pauses,
    );
    one(
        COUNTER,
        "log_lines_dropped_total",
        "Log lines without a reader or room.",
        dropped,
    );
    let help = "Clients that are done, by what became of them.";
    family(
        &mut page,
        COUNTER,
        "connections_closed_total",
        help,
        "reason",
        stats.closed(),
    );
    let version = [(env!("CARGO_PKG_VERSION"), 1)];
    family(
        &mut page,
        GAUGE,
        "build_info",
        "The version that runs; always 1.",
        "version",
        version,
    );
    page
}

const COUNTER: &str = "counter";
const GAUGE: &str = "gauge";

/// One metric, with a sample for each value of its label, or one for none.
fn family(
    page: &mut String,
    kind: &str,
    name: &str,
    help: &str,
    label: &str,
    samples: impl IntoIterator<Item = (&'static str, u64)>,
) {
    let _ = writeln!(
        page,
        "# HELP hello_echo_{name} {help}\n# TYPE hello_echo_{name} {kind}"
    );
    for (value, count) in samples {
        let labels = match label {
            "" => String::new(),
            label => format!("{{{label}=\"{}\"}}", value.replace(' ', "_")),
        };
        let _ = writeln!(page, "hello_echo_{name}{labels} {count}");
    }
}
