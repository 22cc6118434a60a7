//! Crowds of bad clients, and a bad network: what they do to the server, and to a polite client
//! beside them. Counts decide; times are only printed. What a crowd may cost an exchange beside it,
//! in turns and bytes, is in `tests/reactor`.

mod crowds;
mod network;
mod resets;

use std::io::{Read, Write};
use std::time::Instant;

use crate::util::{Server, assert_rest, payload};

const CROWD: u64 = 64;
const PROBES: u64 = 200;

/// How long the server keeps them: long enough for a probe on a busy machine.
const BEARS: &[&str] = &["--timeout", "4s", "--linger", "4s"];

/// Exchanges one after the other, each exact and with a clean end, and none so long that it is
/// given up.
fn probe(beside: &str, server: &Server, greeting: &[u8]) {
    let exchange = |seed| {
        let (start, message) = (Instant::now(), payload(seed, 1 + seed as usize * 4));
        let mut stream = server.connect();
        let mut greeted = vec![0; greeting.len()];
        stream.read_exact(&mut greeted).unwrap();
        assert!(greeted == greeting);
        stream.write_all(&message).unwrap();
        assert_rest(&mut stream, &message);
        start.elapsed()
    };
    let mut times: Vec<_> = (0..PROBES).map(exchange).collect();
    times.sort();
    let [half, most, all] = [50, 99, 100].map(|share| times[times.len() * share / 100 - 1]);
    println!("{PROBES} exchanges beside {beside}: p50 {half:?}, p99 {most:?}, max {all:?}");
}
