//! What an exchange costs the load client, beside a client in C over raw epoll that checks nothing.
//!
//! Both are processes that make the same exchanges with the same server, in turn, on the same core.
//! The CPU time is that of the whole process, with its start and its report, about a thousandth.
//! The ratio is that of the pairs, with its 95 % interval.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a bench that meets an error has no figure to give; the ratios"
)]

#[path = "peers/mod.rs"]
mod peers;
#[path = "../tests/util/mod.rs"]
mod util;

use std::process::{Command, Stdio};
use std::time::Duration;

use hello_echo::load::compare;
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;
use peers::{Cores, PEERS, Spread, compiled, micros, order};

/// How many pairs there are, how many exchanges in each half of one, and how many of them at once.
const ROUNDS: usize = 16;
const CASES: [(u64, u64); 3] = [(1, 10_000), (64, 20_000), (1024, 20_000)];

/// The goal: so many times the CPU time of the client in C.
const GOAL: f64 = 1.10;

fn main() {
    peers::begin();
    let Some(c) = compiled("client") else {
        return;
    };
    let cores = Cores::take();
    let server = PEERS[0].start(&cores).unwrap();
    let port = server.address().port();
    println!("CPU time of an exchange in us, median of {ROUNDS} (least-most)");
    for (at_once, exchanges) in CASES {
        let theirs = || {
            let mut theirs = Command::new(&c);
            theirs.args([u64::from(port), at_once, exchanges].map(|n| n.to_string()));
            spent(&mut theirs) / exchanges as f64
        };
        let ours = || {
            let mut ours = Command::new(env!("CARGO_BIN_EXE_hello-load"));
            ours.args(["-c", &at_once.to_string(), "-n", &exchanges.to_string()]);
            ours.arg(&server.addresses[0]);
            spent(&mut ours) / exchanges as f64
        };
        print(at_once, &measure([&theirs, &ours]));
    }
}

/// The cost of each in every round. The one that begins a round is second in the next.
fn measure(sides: [&dyn Fn() -> f64; 2]) -> Vec<[f64; 2]> {
    let round = |turn| {
        let mut pair = [0.0; 2];
        for side in order(turn, 2) {
            pair[side] = sides[side]();
        }
        pair
    };
    round(0); // to warm up
    (0..ROUNDS).map(round).collect()
}

fn print(at_once: u64, pairs: &[[f64; 2]]) {
    let [theirs, ours] = [0, 1].map(|side| {
        let costs: Vec<f64> = pairs.iter().map(|pair| pair[side]).collect();
        Spread::of(&costs)
    });
    let comparison = compare::pairs(pairs).unwrap();
    let [low, high] = comparison.interval.unwrap();
    let ratio = comparison.ratio;
    let verdict = if ratio <= GOAL { "within" } else { "ABOVE" };
    println!(
        "{at_once:5} at once: C {theirs:.1}  hello-load {ours:.1}  ratio {ratio:.3} ({low:.3}-{high:.3}), {verdict} the goal of {GOAL:.2}"
    );
}

/// Runs it. Returns the CPU time of the whole process in microseconds.
fn spent(command: &mut Command) -> f64 {
    let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = quiet.spawn().unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    // Its clock exists until it has been waited for.
    waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).unwrap();
    let spent: Duration = clock_getcpuclockid(pid).unwrap().now().unwrap().into();
    let status = child.wait().unwrap();
    assert!(status.success(), "{command:?}: {status}");
    micros(spent)
}
