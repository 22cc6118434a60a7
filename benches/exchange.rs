//! Exchanges a second over loopback, the release binary beside its peers, with every byte checked.
//!
//! The client has a core of the machine and the server another, so the rate says as much about the
//! client. The server's own CPU time per exchange, printed after each figure, is the steadier one;
//! `peers` compares it.

#![allow(
    missing_docs,
    reason = "criterion's macros make a function that has none"
)]
#![allow(
    clippy::unwrap_used,
    reason = "a bench that meets an error has no figure to give"
)]

#[path = "peers/mod.rs"]
mod peers;
#[path = "../tests/util/mod.rs"]
mod util;

use std::io::{Write, stderr};
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode, Throughput, criterion_group};
use peers::{Cores, PEERS, Peer, cpu_time, exchanges, micros};
use util::Server;

/// How many clients are served at once.
const AT_ONCE: [u64; 3] = [1, 64, 1024];

fn main() {
    peers::begin();
    benches();
    Criterion::default().configure_from_args().final_summary();
}

fn exchange(criterion: &mut Criterion) {
    let cores = Cores::take();
    let started = PEERS.iter().map(|peer| Some((peer, peer.start(&cores)?)));
    let servers: Vec<(&Peer, Server)> = started.flatten().collect();
    for at_once in AT_ONCE {
        let mut group = criterion.benchmark_group(format!("exchange, {at_once} at once"));
        group.throughput(Throughput::Elements(1));
        group.sampling_mode(SamplingMode::Flat).sample_size(10);
        group.nresamples(10_000);
        group.warm_up_time(Duration::from_millis(300));
        group.measurement_time(Duration::from_secs(1));
        for (peer, server) in &servers {
            if peer.serves_at_once >= at_once {
                measure(&mut group, peer.name, server, at_once);
            }
        }
        group.finish();
    }
}

fn measure(group: &mut BenchmarkGroup<WallTime>, name: &str, server: &Server, at_once: u64) {
    let (mut done, before) = (0, cpu_time(server));
    group.bench_function(name, |b| {
        b.iter_custom(|iterations| {
            // Enough that there are so many at once most of the time.
            let count = iterations.max(4 * at_once);
            done += count;
            exchanges(server, count, at_once).mul_f64(iterations as f64 / count as f64)
        });
    });
    if done > 0 {
        let spent = micros(cpu_time(server) - before) / done as f64;
        let _ = writeln!(stderr(), "{spent:.1} us of the server's CPU each\n");
    }
}

criterion_group!(benches, exchange);
