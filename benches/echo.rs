//! What a message costs on a connection that is kept: RFC 862 on our reactor, beside a raw epoll
//! loop in C and tokio's runtime for one thread.
//!
//! `cargo bench --bench echo` measures each of the cases in two ways and prints a table:
//! - *In turn*: the clients send a message on every connection, then the server is told to echo so
//!   many bytes, and then the clients check them. Client and server share one core and never run at
//!   the same time, so a poll always finds the same events, and no wake-up and no race between two
//!   cores is in the figure. This is the ratio to go by.
//! - *Freely*: client and server have a core each, and a message is on its way on every connection.
//!   Here the client decides how many events a poll of the server's brings, so the figures spread
//!   more. The messages per second are from here.
//!
//! The CPU time is what the server's thread has used, in user space and in the kernel, by its own
//! clock. All three are processes of their own, so each has its memory and its descriptors for
//! itself, and in every round they are new, because a process keeps what luck it had with its
//! memory. They take turns in short slices and in changing order, so whatever slows the machine
//! down for a while does so to all of them. A figure is a median within its round, and a ratio is
//! of figures of the same round.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench that meets an error has no figure to give; the table, and what a child says"
)]

#[path = "echo/clients.rs"]
mod clients;
#[allow(unreachable_pub, reason = "the documentation includes it, too")]
#[path = "../tests/protocols/echo.rs"]
mod echo;
#[path = "peers/mod.rs"]
mod peers;
#[path = "echo/servers.rs"]
mod servers;
#[path = "../tests/util/mod.rs"]
mod util;

use std::time::{Duration, Instant};

use clients::Clients;
use peers::{Cores, Spread, order};
use servers::{C, Driven, OURS, TOKIO};

const CONNECTIONS: [usize; 2] = [64, 1_024];
const SIZES: [usize; 2] = [64, 1_000];

const ROUNDS: usize = 9;
/// In a round, for each server and each way.
const SLICES: usize = 10;
const MESSAGES_PER_SLICE: usize = 4_096;
/// Messages on each connection before anything is measured.
const WARM_UP: usize = 4;

fn main() {
    servers::begin();
    peers::begin();
    let cores = Cores::take();
    println!(
        "\n{}; {ROUNDS} rounds of {SLICES} slices of {MESSAGES_PER_SLICE} messages, each way\n\
         Each figure: median (least-most). Ratios are of the server's CPU time per message.",
        peers::machine()
    );
    for count in CONNECTIONS {
        for size in SIZES {
            let case = Case { count, size };
            let rounds: Vec<Round> = (0..ROUNDS).map(|_| case.measure(&cores)).collect();
            case.print(&rounds);
        }
    }
}

/// So many connections, and messages of so many bytes.
#[derive(Clone, Copy)]
struct Case {
    count: usize,
    size: usize,
}

/// What each server came to.
type Round = Vec<(&'static str, Figures)>;

#[derive(Clone, Copy)]
struct Figures {
    /// CPU time per message, in ns.
    in_turn: f64,
    freely: f64,
    per_second: f64,
}

impl Case {
    fn measure(self, cores: &Cores) -> Round {
        let servers = Driven::start_all().into_iter();
        let mut pairs: Vec<Pair> = servers.map(|server| Pair::connect(server, self)).collect();
        take_turns(&mut pairs, Pair::in_turn);
        for pair in &pairs {
            cores.pin_server(&pair.driven.server);
        }
        take_turns(&mut pairs, Pair::freely);
        pairs.iter().map(Pair::figures).collect()
    }

    /// How often all connections have a message in a slice.
    fn sweeps(self) -> usize {
        MESSAGES_PER_SLICE / self.count
    }

    /// What each message has of so many sweeps, in ns.
    fn per_message(self, time: Duration, sweeps: usize) -> f64 {
        time.as_nanos() as f64 / (sweeps * self.count) as f64
    }

    fn print(self, rounds: &[Round]) {
        println!("\n{} connections, {} bytes", self.count, self.size);
        let heads = ["in turn, ns", "freely, ns", "messages/s"];
        let heads: String = heads.iter().map(|head| format!("{head:>24}")).collect();
        println!("  {:16}{heads}", "");
        let names: Vec<&str> = rounds[0].iter().map(|(name, _)| *name).collect();
        for &name in &names {
            let figures = [in_turn, freely, |figures: &Figures| figures.per_second];
            let spread =
                |figure: fn(&Figures) -> f64| format!("{:>24.0}", spread(rounds, name, figure));
            println!("  {name:16}{}", figures.map(spread).concat());
        }
        for base in [C, TOKIO] {
            if names.contains(&base) {
                let ratios = [in_turn, freely].map(|figure| ratios(rounds, base, figure));
                let [in_turn, freely] = ratios.map(|ratios| format!("{ratios:>24.3}"));
                println!("  {:16}{in_turn}{freely}", format!("{OURS}/{base}"));
            }
        }
    }
}

fn in_turn(figures: &Figures) -> f64 {
    figures.in_turn
}

fn freely(figures: &Figures) -> f64 {
    figures.freely
}

fn find(round: &Round, name: &str) -> Figures {
    let (_, figures) = round.iter().find(|(peer, _)| *peer == name).unwrap();
    *figures
}

fn spread(rounds: &[Round], name: &str, figure: fn(&Figures) -> f64) -> Spread {
    let figures = rounds.iter().map(|round| figure(&find(round, name)));
    Spread::of(&figures.collect::<Vec<_>>())
}

/// Ours to the base's, in the same round.
fn ratios(rounds: &[Round], base: &str, figure: fn(&Figures) -> f64) -> Spread {
    let of = |round, name| figure(&find(round, name));
    let ratios = rounds.iter().map(|round| of(round, OURS) / of(round, base));
    Spread::of(&ratios.collect::<Vec<_>>())
}

/// A server and its clients, with the figures of each sweep in turn and of each slice freely.
struct Pair {
    case: Case,
    driven: Driven,
    clients: Clients,
    in_turn: Vec<f64>,
    freely: Vec<f64>,
    per_second: Vec<f64>,
}

impl Pair {
    fn connect(driven: Driven, case: Case) -> Self {
        let clients = Clients::connect(&driven.server, case.count, case.size);
        let mut pair = Self {
            case,
            driven,
            clients,
            in_turn: vec![],
            freely: vec![],
            per_second: vec![],
        };
        // The server accepts the connections in the first, and is warm after some more.
        for _ in 0..WARM_UP {
            pair.sweep();
        }
        pair
    }

    /// A message on every connection. Returns what it cost the server.
    fn sweep(&mut self) -> Duration {
        self.clients.send();
        self.driven.order(self.case.count * self.case.size);
        let spent = self.driven.spent();
        self.clients.receive();
        spent
    }

    fn in_turn(&mut self) {
        for _ in 0..self.case.sweeps() {
            let spent = self.sweep();
            self.in_turn.push(self.case.per_message(spent, 1));
        }
    }

    fn freely(&mut self) {
        let sweeps = self.case.sweeps();
        self.driven.order(sweeps * self.case.count * self.case.size);
        let start = Instant::now();
        self.clients.send();
        for _ in 1..sweeps {
            self.clients.receive_and_send();
        }
        self.clients.receive();
        let each = self.case.per_message(start.elapsed(), sweeps);
        self.per_second.push(1e9 / each);
        let spent = self.driven.spent();
        self.freely.push(self.case.per_message(spent, sweeps));
    }

    /// Medians: whatever else has the core or the cache for a moment spoils one figure of many.
    fn figures(&self) -> (&'static str, Figures) {
        let all = [&self.in_turn, &self.freely, &self.per_second];
        let [in_turn, freely, per_second] = all.map(|figures| Spread::of(figures).median);
        let figures = Figures {
            in_turn,
            freely,
            per_second,
        };
        (self.driven.name, figures)
    }
}

/// Each has its slices, in changing order.
fn take_turns(pairs: &mut [Pair], slice: fn(&mut Pair)) {
    for turn in 0..SLICES {
        for i in order(turn, pairs.len()) {
            slice(&mut pairs[i]);
        }
    }
}
