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
use std::net::TcpStream;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use util::{Server, assert_greeted, assert_rest, payload};

/// `payloads.len()` clients at once, each phase for all of them before the next.
fn exchanges(server: &Server, payloads: &[Vec<u8>]) {
    let mut clients: Vec<TcpStream> = payloads.iter().map(|_| server.connect()).collect();
    clients.iter_mut().for_each(assert_greeted);
    for (client, payload) in clients.iter_mut().zip(payloads) {
        client.write_all(payload).unwrap();
    }
    for (client, payload) in clients.iter_mut().zip(payloads) {
        assert_rest(client, payload);
    }
}

fn exchange(criterion: &mut Criterion) {
    let server = Server::start(&[]);
    let mut group = criterion.benchmark_group("exchange");
    for at_once in [1, 64] {
        let payloads: Vec<_> = (0..at_once).map(|seed| payload(seed, 1000)).collect();
        let (mut done, before) = (0, server.cpu_time());
        group.throughput(Throughput::Elements(at_once));
        group.bench_with_input(
            BenchmarkId::new("at once", at_once),
            &payloads,
            |b, payloads| {
                b.iter(|| {
                    exchanges(&server, payloads);
                    done += at_once;
                });
            },
        );
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
