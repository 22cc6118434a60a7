//! Exchanges a second over loopback, against the release binary, with every byte checked.
//!
//! Client and server share the machine, so the rate says as much about the client. The server's own
//! CPU time per exchange, printed after each figure, is the steadier one.

#![allow(missing_docs, reason = "criterion's macros make a main that has none")]
#![allow(
    clippy::unwrap_used,
    reason = "a bench that meets an error has no figure to give"
)]

#[path = "../tests/util/mod.rs"]
mod util;

use std::io::{Write, stderr};
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hello_echo::load::{Load, Options, Payloads, Plan};
use util::Server;

/// So many exchanges in a closed loop, and how long they took.
fn exchanges(server: &Server, exchanges: u64, at_once: u64) -> Duration {
    let mut load = Load::new(Options {
        targets: vec![server.addresses[0].parse().unwrap()],
        sources: vec![],
        plan: Plan {
            hold: 0,
            ramp: None,
            exchanges: Some(exchanges),
            duration: None,
            concurrency: at_once,
            rate: None,
        },
        payloads: Payloads::new(exchanges, 1000, 1000),
        greeting: b"hello\n".to_vec(),
        timeout: util::PATIENCE,
    })
    .unwrap();
    while load.turn(util::PATIENCE).unwrap() {}
    assert_eq!(
        load.record().right,
        exchanges,
        "{:?}",
        load.record().described
    );
    load.elapsed()
}

fn exchange(criterion: &mut Criterion) {
    let server = Server::start(&[]);
    let mut group = criterion.benchmark_group("exchange");
    group.throughput(Throughput::Elements(1));
    for at_once in [1, 64] {
        let (mut done, before) = (0, server.cpu_time());
        group.bench_function(BenchmarkId::new("at once", at_once), |b| {
            b.iter_custom(|iterations| {
                done += iterations;
                exchanges(&server, iterations, at_once)
            });
        });
        let spent = (server.cpu_time() - before).as_nanos() as f64 / 1000.0 / done.max(1) as f64;
        let _ = writeln!(
            stderr(),
            "{at_once} at once: {spent:.1} us of the server's CPU each\n"
        );
    }
    group.finish();
}

criterion_group!(benches, exchange);
criterion_main!(benches);
