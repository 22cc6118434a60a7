//! What an exchange costs beside a crowd: the server's CPU time per exchange, 64 at once, while 0,
//! 1,000, 10,000 and 19,000 other connections are greeted and silent.
//!
//! Each crowd has its own server, and its own process that holds it, so no process needs more than
//! 20,000 descriptors. The servers have their turns in short slices, so each is compared with the
//! server without a crowd in the same seconds; in the next round all of them are new. In the end
//! every member of a crowd has an exchange, and every byte is checked.

#![allow(
    clippy::unwrap_used,
    reason = "a bench that meets an error has no figure to give"
)]

#[path = "peers/mod.rs"]
mod peers;
#[path = "../tests/util/mod.rs"]
mod util;

use std::io::{Write, stderr, stdout};

use peers::{Cores, Crowd, Spread};
use util::Server;

/// How many are held. The last server has 19,064 clients at once, and a few descriptors more.
const CROWDS: [u64; 4] = [0, 1_000, 10_000, 19_000];
const DESCRIPTORS: u64 = 19_100;

/// Rounds of new servers, and how each server's exchanges of a round are had.
const ROUNDS: usize = 9;
const SLICES: usize = 10;
const SLICE: u64 = 1_000;
const AT_ONCE: u64 = 64;

fn main() {
    peers::begin();
    let cores = Cores::take();
    // Without enough descriptors it says so aloud, and leaves out the largest crowds.
    let crowds = if util::have_descriptors(DESCRIPTORS) {
        &CROWDS[..]
    } else {
        &CROWDS[..1]
    };
    let rounds = (1..=ROUNDS).map(|round| {
        let _ = writeln!(stderr(), "round {round} of {ROUNDS}");
        measure(crowds, &cores)
    });
    print(crowds, &rounds.collect::<Vec<_>>());
}

/// The cost of an exchange beside each crowd.
fn measure(crowds: &[u64], cores: &Cores) -> Vec<f64> {
    let start = |held: &u64| {
        // Nobody in the crowd should time out, but each has its deadline.
        let server = Server::start(&["--timeout", "1h"]);
        cores.pin_server(&server);
        let crowd = Crowd::gather(&server, *held);
        (server, crowd)
    };
    let started: Vec<(Server, Crowd)> = crowds.iter().map(start).collect();
    let servers: Vec<&Server> = started.iter().map(|(server, _)| server).collect();
    peers::costs(&servers, AT_ONCE, SLICE, 2); // until they are warm
    let costs = peers::costs(&servers, AT_ONCE, SLICE, SLICES);
    for (_server, crowd) in started {
        crowd.leave();
    }
    costs
}

fn print(crowds: &[u64], rounds: &[Vec<f64>]) {
    let mut out = stdout().lock();
    let machine = peers::machine();
    let count = SLICE * SLICES as u64;
    let about = format!(
        "{machine}\n\
         {ROUNDS} rounds of {count} exchanges of 1000 bytes, {AT_ONCE} at once, beside each crowd.\n\
         Each figure: median (least-most). Ratios are to nobody held in the same round.\n"
    );
    let heads = format!("{:>8}{:>22}{:>24}", "held", "CPU us", "ratio");
    writeln!(out, "\n{about}\n{heads}").unwrap();
    for (place, held) in crowds.iter().enumerate() {
        let cost: Vec<f64> = rounds.iter().map(|costs| costs[place]).collect();
        let ratio: Vec<f64> = rounds.iter().map(|costs| costs[place] / costs[0]).collect();
        let [cost, ratio] = [cost, ratio].map(|values| Spread::of(&values));
        writeln!(out, "{held:>8}{cost:>22.1}{ratio:>24.3}").unwrap();
    }
}
