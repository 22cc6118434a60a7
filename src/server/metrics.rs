//! The metrics: the [`Stats`] in Prometheus' text format 0.0.4, and the reactor that serves them.
//!
//! No library writes the text: the existing ones keep registries of counters of their own, and
//! bring 14 crates or more. The page needs numbers, and labels without escapes.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use log::info;
use mio::Registry;

use super::address::{Address, LocalAddr};
use super::config::Config;
use super::guest::{Guest, reactor};
use super::handle::Published;
use super::listener::Listener;
use crate::protocol::scrape::{PATH, Page, Scrape};
use crate::reactor::{Full, Rules, Stats};

/// Log lines that were dropped, because nobody read them or there was no room. The program that
/// writes this process's log counts them here, for the metrics.
pub static DROPPED_LOG_LINES: AtomicU64 = AtomicU64::new(0);

/// The most scrapes at once. A new one replaces the oldest, so a slow scraper cannot block the
/// others.
const SCRAPES: usize = 16;

/// The number of their reactor.
const NUMBER: usize = 1;

/// The reactor that serves the metrics, if they are asked for.
pub(super) fn guest(
    config: &Config,
    registry: &Arc<Registry>,
    published: &Published,
) -> io::Result<Option<Box<dyn Guest>>> {
    let Some(address) = &config.metrics else {
        return Ok(None);
    };
    let published = published.clone();
    let page: Page = Box::new(move || {
        let (stats, waiting) = published.get();
        page(&stats, waiting)
    });
    let guest = serve(address, config.backlog, registry, page)?;
    for address in guest.local_addrs() {
        info!("{}", place(&address));
    }
    Ok(Some(guest))
}

/// Where the metrics are, in words.
pub(crate) fn place(address: &LocalAddr) -> String {
    match address {
        LocalAddr::Tcp(address) => format!("metrics at http://{address}{PATH}"),
        LocalAddr::Unix(_) => format!("metrics on {address}, at {PATH}"),
    }
}

/// A reactor that answers scrapers with the page.
pub(crate) fn serve(
    address: &Address,
    backlog: u32,
    registry: &Arc<Registry>,
    page: Page,
) -> io::Result<Box<dyn Guest>> {
    let listener = Listener::bind(address, backlog, false)?;
    listener.wait_for_requests();
    let rules = Rules {
        full: Full::OldestLeaves,
        ..Rules::new(SCRAPES)
    };
    let reactor = reactor::<Scrape>(registry, NUMBER, vec![listener], page, rules)?;
    Ok(Box::new(reactor))
}

/// The page as it is sent.
fn page(stats: &Stats, waiting: u64) -> String {
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
# HELP hello_echo_connections_waiting Clients in the accept queues of TCP listeners.
# TYPE hello_echo_connections_waiting gauge
hello_echo_connections_waiting {waiting}
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
# HELP hello_echo_kept_bytes Bytes in this process that clients have not taken yet.
# TYPE hello_echo_kept_bytes gauge
hello_echo_kept_bytes {kept}
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
        kept = stats.kept,
        accept_errors = stats.accept_errors,
        pauses = stats.pauses,
        dropped = DROPPED_LOG_LINES.load(Ordering::Relaxed),
        version = env!("CARGO_PKG_VERSION"),
    )
}
