//! The books as Prometheus reads them: its text format, version 0.0.4.
//!
//! Without a library: those there are keep registries of counters of their own, and bring 14 crates or
//! more; of what they write, this needs numbers, and labels that need no escapes.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::stats::Stats;

/// Log lines that were dropped, for want of a reader or of room: whoever writes this process's log
/// counts them here, as the program does. Told by the metrics.
pub static DROPPED_LOG_LINES: AtomicU64 = AtomicU64::new(0);

/// The page, as it is sent.
pub(crate) fn page(stats: &Stats) -> String {
    let closed = stats.closed().map(|(reason, count)| {
        let reason = reason.replace(' ', "_");
        format!("hello_echo_connections_closed_total{{reason=\"{reason}\"}} {count}\n")
    });
    format!(
        "\
# HELP hello_echo_connections_open Clients that are connected.
# TYPE hello_echo_connections_open gauge
hello_echo_connections_open {open}
# HELP hello_echo_connections_max Clients there can be at once; others wait.
# TYPE hello_echo_connections_max gauge
hello_echo_connections_max {max}
# HELP hello_echo_connections_accepted_total Clients that were accepted.
# TYPE hello_echo_connections_accepted_total counter
hello_echo_connections_accepted_total {accepted}
# HELP hello_echo_connections_closed_total Clients that are done, by what became of them.
# TYPE hello_echo_connections_closed_total counter
{closed}\
# HELP hello_echo_received_bytes_total Bytes that clients sent.
# TYPE hello_echo_received_bytes_total counter
hello_echo_received_bytes_total {received}
# HELP hello_echo_sent_bytes_total Bytes that clients were sent.
# TYPE hello_echo_sent_bytes_total counter
hello_echo_sent_bytes_total {sent}
# HELP hello_echo_accept_errors_total Failures to accept a connection.
# TYPE hello_echo_accept_errors_total counter
hello_echo_accept_errors_total {accept_errors}
# HELP hello_echo_accept_pauses_total Pauses in accepting, for want of a resource.
# TYPE hello_echo_accept_pauses_total counter
hello_echo_accept_pauses_total {pauses}
# HELP hello_echo_log_lines_dropped_total Log lines without a reader or room.
# TYPE hello_echo_log_lines_dropped_total counter
hello_echo_log_lines_dropped_total {dropped}
# HELP hello_echo_build_info The version that runs; always 1.
# TYPE hello_echo_build_info gauge
hello_echo_build_info{{version=\"{version}\"}} 1
",
        open = stats.open(),
        max = stats.capacity,
        accepted = stats.accepted,
        closed = closed.collect::<String>(),
        received = stats.bytes.received,
        sent = stats.bytes.sent,
        accept_errors = stats.accept_errors,
        pauses = stats.pauses,
        dropped = DROPPED_LOG_LINES.load(Ordering::Relaxed),
        version = env!("CARGO_PKG_VERSION"),
    )
}
