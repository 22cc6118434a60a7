//! Many seeds, for every protocol, on every core; and that the adversary reaches everything.

use std::collections::BTreeMap;
use std::ops::Range;

use super::super::models::{Chargen, Daytime, Echo, Verse};
use super::*;
use crate::protocol::hello::Hello;
use crate::protocol::scrape::Scrape;

/// Tells which seed it was if it fails.
struct Seed(u64, &'static str, Poll);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self(seed, name, poll) = self;
            println!("SEEDS={seed} fails for {name} on {poll:?}");
        }
    }
}

/// What `SEEDS` asks for: one, a range, or nothing. Whether the steps are told.
fn seeds(usual: u64) -> (Range<u64>, bool) {
    let Ok(asked) = std::env::var("SEEDS") else {
        return (0..usual, false);
    };
    match asked.split_once("..") {
        Some((first, end)) => (first.parse().unwrap()..end.parse().unwrap(), false),
        None => {
            let seed = asked.parse().unwrap();
            (seed..seed + 1, true)
        }
    }
}

/// What happened in many runs.
#[derive(Debug, Default)]
struct Totals {
    turns: u64,
    closed: BTreeMap<&'static str, u64>,
    lost_in_queue: u64,
    accept_errors: u64,
    pauses: u64,
}

impl Totals {
    fn add(mut self, other: Self) -> Self {
        self.turns += other.turns;
        self.accept_errors += other.accept_errors;
        self.pauses += other.pauses;
        self.lost_in_queue += other.lost_in_queue;
        for (reason, count) in other.closed {
            *self.closed.entry(reason).or_default() += count;
        }
        self
    }
}

/// Runs the seeds, and asserts that connections were closed for exactly these reasons, besides those
/// that every protocol has.
fn simulate<M: Model>(poll: Poll, usual: u64, reasons: &[&str]) {
    let (seeds, tells) = seeds(usual);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let totals = std::thread::scope(|scope| {
        let workers = (0..threads).map(|thread| {
            let share = seeds.clone().skip(thread).step_by(threads);
            scope.spawn(move || {
                share
                    .map(|seed| run::<M>(seed, poll, tells))
                    .fold(Totals::default(), Totals::add)
            })
        });
        let workers: Vec<_> = workers.collect();
        let totals = workers.into_iter().map(|worker| worker.join().unwrap());
        totals.reduce(Totals::add).unwrap()
    });
    let count = seeds.end - seeds.start;
    println!(
        "{} on {poll:?}, {count} seeds of {STEPS} steps: {totals:?}",
        M::NAME
    );
    if count >= 100 {
        let seen = totals.closed.iter().filter(|(_, count)| **count > 0);
        let seen: Vec<&str> = seen.map(|(reason, _)| *reason).collect();
        let mut expected = reasons.to_vec();
        expected.extend(["failed", "made room", "reset", "shut down", "timed out"]);
        expected.sort_unstable();
        assert_eq!(seen, expected);
        assert!(totals.pauses > 0 && totals.accept_errors > 0 && totals.lost_in_queue > 0);
    }
}

fn run<M: Model>(seed: u64, poll: Poll, tells: bool) -> Totals {
    let _seed = Seed(seed, M::NAME, poll);
    let mut simulation = Simulation::<M>::new(Random::Seed(seed), poll, tells);
    while simulation.step < STEPS {
        simulation.step();
    }
    simulation.settle();
    let (stats, world) = (simulation.reactor.stats(), simulation.world.borrow());
    let lost = world.sockets.iter().filter(|s| s.accepted_at.is_none());
    Totals {
        turns: simulation.turns,
        closed: stats.closed().collect(),
        lost_in_queue: lost.count() as u64,
        accept_errors: stats.accept_errors,
        pauses: stats.pauses,
    }
}

fn hello(poll: Poll, seeds: u64) {
    simulate::<Hello>(poll, seeds, &["echoed", "left early", "lingering cut"]);
}

fn scrape(poll: Poll, seeds: u64) {
    simulate::<Scrape>(poll, seeds, &["answered", "left early", "lingering cut"]);
}

fn daytime(poll: Poll, seeds: u64) {
    simulate::<Daytime>(poll, seeds, &["told", "lingering cut"]);
}

fn echo(poll: Poll, seeds: u64) {
    // It closes behind the peer's FIN, and never lingers.
    simulate::<Echo>(poll, seeds, &["finished"]);
}

fn chargen(poll: Poll, seeds: u64) {
    // It has no end.
    simulate::<Chargen>(poll, seeds, &[]);
}

fn stream_that_ends(poll: Poll, seeds: u64) {
    // It closes behind the peer's FIN, as echo does.
    simulate::<Verse>(poll, seeds, &["left early", "sung"]);
}

#[test]
fn simulation_of_hello() {
    hello(Poll::Epoll, 10_000);
}

#[test]
fn simulation_of_a_scrape() {
    scrape(Poll::Epoll, 3_000);
}

#[test]
fn simulation_of_daytime() {
    daytime(Poll::Epoll, 3_000);
}

#[test]
fn simulation_of_echo() {
    echo(Poll::Epoll, 3_000);
}

#[test]
fn simulation_of_chargen() {
    chargen(Poll::Epoll, 3_000);
}

#[test]
fn simulation_of_a_stream_that_ends() {
    stream_that_ends(Poll::Epoll, 3_000);
}

/// 10,000 seeds in all.
#[test]
fn simulation_on_kqueue() {
    hello(Poll::Kqueue, 5_000);
    for protocol in [scrape, daytime, echo, chargen, stream_that_ends] {
        protocol(Poll::Kqueue, 1_000);
    }
}
