//! Restarts, model-checked: two processes that replace each other under a manager, their queues, and clients
//! whose handshakes are under way. Every order of what they do, with kills and lost packets, keeps the README's
//! promise; and of servers with one bad habit each, the checker finds how they break it.

mod restart;

use std::time::Instant;

use restart::{Habit, Queue, Setup};
use stateright::{Checker, Model};

const PASSED: Setup = Setup {
    name: "a queue that is passed in",
    queue: Queue::Passed,
    in_turn: false,
    ends: 2,
    kills: 1,
    losses: 1,
    habit: Habit::Ours,
};
const OWN: Queue = Queue::Own {
    moves: false,
    told: false,
};
const ALONE: Setup = Setup {
    name: "a queue of its own",
    queue: OWN,
    kills: 0,
    ..PASSED
};
const IN_TURN: Setup = Setup {
    name: "one port, replaced in turn",
    in_turn: true,
    ..ALONE
};
const MOVED: Setup = Setup {
    name: "one port, where queues move",
    queue: Queue::Own {
        moves: true,
        told: true,
    },
    ..IN_TURN
};
const MOVED_AT_ONCE: Setup = Setup {
    name: "one port, where queues move, and both may end at once",
    in_turn: false,
    ..MOVED
};
const UNTOLD: Setup = Setup {
    name: "one port, where queues move unannounced",
    queue: Queue::Own {
        moves: true,
        told: false,
    },
    ..IN_TURN
};

fn main() {
    let killed = |setup: Setup| Setup { kills: 1, ..setup };
    for setup in [PASSED, ALONE, IN_TURN, MOVED, MOVED_AT_ONCE, UNTOLD] {
        holds(setup);
    }
    for setup in [ALONE, IN_TURN, MOVED, MOVED_AT_ONCE, UNTOLD] {
        holds(killed(setup));
    }
    let with = |setup: Setup, habit| Setup { habit, ..setup };
    fails(with(ALONE, Habit::ClosesAtOnce), "nobody is lost");
    fails(with(IN_TURN, Habit::ClosesAtOnce), "nobody is lost");
    fails(with(ALONE, Habit::ForgetsHandshakes), "nobody is lost");
    fails(
        with(PASSED, Habit::ForgetsTheQueue),
        "nobody waits for ever",
    );
    fails(with(MOVED, Habit::ForgetsTheQueue), "nobody waits for ever");
    fails(with(MOVED_AT_ONCE, Habit::TrustsTheHeir), "nobody is lost");
}

fn holds(setup: Setup) {
    let start = Instant::now();
    let checker = setup.checker().threads(2).spawn_bfs().join();
    checker.assert_properties();
    let (states, took) = (checker.unique_state_count(), start.elapsed());
    let Setup { name, kills, .. } = setup;
    println!("{name}, {kills} kills: the promise holds in {states} states, {took:.1?}");
}

fn fails(setup: Setup, property: &'static str) {
    let checker = setup.checker().threads(2).spawn_bfs().join();
    let Some(path) = checker.discovery(property) else {
        panic!("{}: {:?} is not found out", setup.name, setup.habit);
    };
    let (Setup { name, habit, .. }, actions) = (setup, path.into_actions());
    println!("{name}, {habit:?}: not true that {property}, for example {actions:?}");
}
