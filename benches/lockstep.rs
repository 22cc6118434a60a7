//! What an exchange costs the server, to 1 %: one pinned thread plays the clients and the server in
//! turn, and only the server's turns are timed. The figure contains no scheduler, no second core
//! and no sleep. The clients check every byte.
//!
//! Beside it, driven in the same way, two other loops on mio: the one that tutorials have, and a
//! careful one, which makes no call too many, but closes abruptly. `-- ratios` leaves criterion out
//! and compares all three in rounds, which is the figure to tune by.

#![allow(missing_docs, reason = "criterion's macros make a main that has none")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a bench that meets an error has no figure to give; the ratios"
)]

#[path = "lockstep/careful.rs"]
mod careful;
#[path = "peers/mod.rs"]
mod peers;
#[path = "../tests/util/mod.rs"]
mod util;

use std::net::SocketAddr;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};
use hello_echo::hello::{Hello, Settings};
use hello_echo::load::{Load, Payloads};
use hello_echo::{Config, LocalAddr, Server};
use nix::time::{ClockId, clock_gettime};
use peers::{Spread, mio_tutorial};
use util::load_options;

/// A server that somebody else turns.
trait Turn {
    fn address(&self) -> SocketAddr;

    /// Does what there is to do now, without waiting.
    fn turn(&mut self);
}

impl Turn for Server {
    fn address(&self) -> SocketAddr {
        match self.local_addrs()[0] {
            LocalAddr::Tcp(address) => address,
            LocalAddr::Unix(_) => unreachable!("it listens where it is told"),
        }
    }

    fn turn(&mut self) {
        Server::turn(self, Some(Duration::ZERO)).unwrap();
    }
}

fn ours() -> Box<dyn Turn> {
    let mut config = Config::default();
    config.listen = vec!["127.0.0.1:0".parse().unwrap()];
    Box::new(Server::<Hello>::bind(&config, Settings::default()).unwrap())
}

/// The peer that the other benches have, and what its poll reports.
struct Tutorial(mio_tutorial::Server, mio::Events);

impl Turn for Tutorial {
    fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    fn turn(&mut self) {
        self.0.turn(&mut self.1, Some(Duration::ZERO)).unwrap();
    }
}

fn tutorial() -> Box<dyn Turn> {
    let server = mio_tutorial::Server::new(peers::listen().unwrap()).unwrap();
    Box::new(Tutorial(server, mio::Events::with_capacity(1024)))
}

type Bind = fn() -> Box<dyn Turn>;

const SERVERS: [(&str, Bind); 3] = [
    ("ours", ours),
    ("careful", || Box::new(careful::Server::bind())),
    ("tutorial", tutorial),
];

const CROWDS: [u64; 3] = [8, 64, 2_000];
const PAYLOADS: [usize; 2] = [64, 1_000];

/// The time that this thread has used. Whoever takes the core away meanwhile is not in it. Reading
/// it takes 0.3 us of a turn.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .unwrap()
        .into()
}

/// Keeps `at_once` exchanges under way until `exchanges` are done. Returns how long the server's
/// turns took.
fn lockstep(server: &mut dyn Turn, exchanges: u64, at_once: u64, payload: usize) -> Duration {
    let mut options = load_options(&server.address().to_string(), exchanges, at_once);
    options.payloads = Payloads::new(exchanges, payload, payload);
    let mut clients = Load::new(options).unwrap();
    let mut spent = Duration::ZERO;
    loop {
        // Each does all that the last turn made possible: a turn of the clients is bounded, too.
        let under_way = (0..=at_once / 64).all(|_| clients.turn(Duration::ZERO).unwrap());
        let start = cpu_time();
        server.turn();
        spent += cpu_time() - start;
        if !under_way {
            break;
        }
    }
    let record = clients.record();
    assert_eq!(record.outcomes.right, exchanges, "{:?}", record.described);
    spent
}

fn absolute(criterion: &mut Criterion) {
    for payload in PAYLOADS {
        let mut group = criterion.benchmark_group(format!("lockstep, {payload} bytes"));
        group.throughput(Throughput::Elements(1)).sample_size(20);
        for at_once in CROWDS {
            for (name, bind) in SERVERS {
                let mut server = bind();
                group.bench_function(BenchmarkId::new(name, at_once), |b| {
                    b.iter_custom(|exchanges| lockstep(&mut *server, exchanges, at_once, payload));
                });
            }
        }
        group.finish();
    }
}

/// Rounds in which each server has its turn, in changing order, so that whatever slows the machine
/// down for a while slows all of them.
fn ratios() {
    const ROUNDS: usize = 31;
    println!(
        "\nns of the server per exchange, and its ratio: medians of {ROUNDS} rounds (least-most)"
    );
    for payload in PAYLOADS {
        for at_once in CROWDS {
            let mut servers = SERVERS.map(|(_, bind)| bind());
            let mut spent = SERVERS.map(|_| vec![]);
            for round in 0..ROUNDS + 1 {
                let exchanges = 1_500.max(2 * at_once);
                for turn in 0..SERVERS.len() {
                    let i = (round + turn) % SERVERS.len();
                    let time = lockstep(&mut *servers[i], exchanges, at_once, payload);
                    if round > 0 {
                        spent[i].push(time.as_nanos() as f64 / exchanges as f64);
                    }
                }
            }
            println!("{at_once:5} at once, {payload:4} bytes");
            let ours = &spent[0];
            for ((name, _), spent) in SERVERS.iter().zip(&spent) {
                let ratios: Vec<f64> = ours.iter().zip(spent).map(|(o, s)| o / s).collect();
                let [ns, ratio] = [spent, &ratios].map(|figures| Spread::of(figures));
                println!("  {name:10} {:7.0} ns   ours/{name}: {ratio:.3}", ns.median);
            }
        }
    }
}

fn main() {
    hello_echo::raise_descriptor_limit().unwrap();
    peers::pin();
    let only_ratios = std::env::args().any(|argument| argument == "ratios");
    if !only_ratios {
        let mut criterion = Criterion::default().configure_from_args();
        absolute(&mut criterion);
        criterion.final_summary();
    }
    ratios();
}
