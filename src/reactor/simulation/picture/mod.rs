//! A picture that moves: what clients, the kernel, the reactor and its slab do, turn by turn.
//!
//! The reactor runs over the invented kernel, and a page shows each of its calls with what it was for.
//! Written by hand are only what a scenario does, its title and its text, and the page's list of words.
//!
//! - `cargo test --lib picture` compares `picture.html` with what the scenarios make now.
//! - `UPDATE=1 cargo test --lib picture` writes it.
//! - `PICTURE=seed.html SEEDS=17 cargo test --lib picture` draws the run of a seed.
//!
//! `picture.html#reset` is a scenario by its name, `picture.html#reset-3` its third step.

mod calls;
mod meanwhile;
mod page;
mod recorder;
mod scenarios;
mod state;
mod turn;
mod words;

use std::collections::BTreeMap;
use std::fs;

use super::*;
use crate::protocol::hello::{Hello, Settings};
use recorder::{Call, Calls, Recorder};
use scenarios::SCENARIOS;
use state::State;
use turn::Turn;

const PICTURE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/src/reactor/simulation/picture/picture.html"
);

/// What the page shows of a run.
#[derive(Clone)]
struct Scenario {
    /// How a link names it.
    name: &'static str,
    title: &'static str,
    text: &'static str,
    /// How many clients may be connected at once.
    capacity: usize,
    play: fn(&mut Trace),
}

/// A turn, or what happened between two.
struct Step {
    heading: String,
    captions: Vec<String>,
    calls: Vec<String>,
    /// What is where afterwards.
    state: Rc<State>,
}

/// A simulation, and what was seen of it.
struct Trace {
    simulation: Simulation<Hello, Recorder>,
    calls: Calls,
    /// Why clients were closed.
    ends: BTreeMap<usize, &'static str>,
    state: Rc<State>,
    steps: Vec<Step>,
}

impl Trace {
    fn new(world: World<Hello>, settings: Settings) -> Self {
        let calls = Calls::default();
        let simulation = Simulation::over(world, settings, false, |kernel| Recorder {
            kernel,
            calls: calls.clone(),
        });
        let ends = BTreeMap::new();
        Self {
            state: Rc::new(State::of(&simulation, &ends)),
            simulation,
            calls,
            ends,
            steps: vec![],
        }
    }

    /// Adds a step, if something happened since the last.
    fn look(&mut self) {
        let calls = self.calls.take();
        for call in &calls {
            if let Call::Close(id, _, reason) = call {
                self.ends.insert(*id, reason);
            }
        }
        let after = Rc::new(State::of(&self.simulation, &self.ends));
        let (heading, captions, calls) = if self.state.turns < after.turns {
            let turn = Turn {
                before: &self.state,
                after: &after,
                events: &self.simulation.events,
                calls: &calls,
            };
            (
                format!("Turn {}", after.turns),
                turn.captions(),
                turn.calls(),
            )
        } else {
            let captions = meanwhile::captions(&self.state, &after);
            (format!("Before turn {}", after.turns + 1), captions, vec![])
        };
        if !captions.is_empty() {
            self.steps.push(Step {
                heading,
                captions,
                calls,
                state: after.clone(),
            });
        }
        self.state = after;
    }
}

/// Plays a scenario to its end.
fn play(scenario: &Scenario) -> Vec<Step> {
    let settings = Settings::default();
    let rules = Rules::new(scenario.capacity);
    let mut world = World::new(Random::Seed(0), settings.clone(), rules, 1);
    world.cuts_receives = false;
    let mut trace = Trace::new(world, settings);
    (scenario.play)(&mut trace);
    trace.look();
    if !trace.simulation.reactor.is_shut_down() {
        trace.simulation.settle();
    }
    trace.steps
}

/// The whole run of a seed.
fn replay(seed: u64) -> (Scenario, Vec<Step>) {
    let (world, settings) = Simulation::<Hello>::invent(Random::Seed(seed), Poll::Epoll);
    let mut trace = Trace::new(world, settings);
    while trace.simulation.step < STEPS {
        trace.simulation.step += 1;
        trace.simulation.act();
        trace.simulation.check();
        trace.look();
    }
    trace.simulation.settle();
    let scenario = Scenario {
        name: "seed",
        title: "A seed of the simulation",
        text: "Clients and the kernel do at random whatever they can. The server keeps its promises.",
        capacity: 0,
        play: |_| {},
    };
    (scenario, trace.steps)
}

#[test]
fn picture_is_up_to_date() {
    let scenarios: Vec<_> = SCENARIOS.iter().map(|s| (s.clone(), play(s))).collect();
    let page = page::page(&scenarios);
    assert!(page.len() < 150_000, "{} bytes", page.len());
    if std::env::var_os("UPDATE").is_some() {
        fs::write(PICTURE, &page).unwrap();
    }
    assert!(
        fs::read_to_string(PICTURE).unwrap() == page,
        "picture.html is not up to date; `UPDATE=1 cargo test --lib picture` makes it so"
    );
}

/// Whatever a seed brings has its words.
#[test]
fn picture_of_a_seed() {
    let seed = std::env::var("SEEDS")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seeds = seed.map_or(0..5, |seed| seed..seed + 1);
    let runs: Vec<_> = seeds.map(replay).collect();
    let page = page::page(&runs);
    if let Some(file) = std::env::var_os("PICTURE") {
        fs::write(file, page).unwrap();
    }
}
