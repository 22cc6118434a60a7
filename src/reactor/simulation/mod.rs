//! The reactor under an adversary, without sockets and without a clock, for every protocol.
//!
//! A seed makes a world: peers that connect, stall, trickle, flood, reset and leave, a kernel that
//! interrupts, runs out of descriptors and reports late or for nothing, as epoll or as kqueue does, and
//! time that passes. After every step the promises are checked.
//! `SEEDS=17 cargo test simulation -- --nocapture` replays a seed and tells its steps;
//! `SEEDS=0..1000000` runs a range. `picture` draws what happens, turn by turn.

mod checks;
#[cfg(fuzzing)]
pub mod choices;
mod kernel;
#[cfg(test)]
mod picture;
mod poll;
#[cfg(test)]
mod scenarios;
#[cfg(test)]
mod seeds;
mod world;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use super::accept::ACCEPTS_PER_TURN;
use super::models::{Model, Random};
use super::*;
use kernel::{Kernel, SimulatedListener};
use poll::{Poll, Side};
use world::{Queue, World};

const STEPS: usize = 1_000;

/// Errors of accept4 that a server has to outlive: of one connection, of the system, unknown.
const ACCEPT_ERRORS: [i32; 7] = [
    libc::ECONNABORTED,
    libc::EPROTO,
    libc::EPERM,
    libc::EINTR,
    libc::EMFILE,
    libc::ENOBUFS,
    libc::EXFULL,
];

/// One seed's run. `S` is what the reactor calls: the invented kernel, or something in front of it.
struct Simulation<M: Model, S: System = Kernel<M>> {
    world: Rc<RefCell<World<M>>>,
    reactor: Reactor<S, M>,
    /// What the table can hold without growing.
    room: usize,
    /// What was done until the last turn.
    done: [u64; 8],
    /// What was reported in the last turn.
    events: Vec<Event>,
    tells: bool,
    step: usize,
    turns: u64,
}

impl<M: Model> Simulation<M> {
    fn new(random: Random, poll: Poll, tells: bool) -> Self {
        let (world, shared) = Self::invent(random, poll);
        Self::with(world, shared, tells)
    }

    fn with(world: World<M>, shared: M::Shared, tells: bool) -> Self {
        Self::over(world, shared, tells, |kernel| kernel)
    }

    /// The world that these random numbers make, and what its connections share.
    fn invent(mut random: Random, poll: Poll) -> (World<M>, M::Shared) {
        let [ours, theirs] = [(); 2].map(|()| M::settings(&mut random.clone()));
        let ms = |random: &mut Random, from: &[u64]| Duration::from_millis(random.choose(from));
        let rules = Rules {
            capacity: 1 + random.below(12),
            full: random.choose(&[Full::NewcomersWait, Full::NewcomersWait, Full::OldestLeaves]),
            linger: ms(&mut random, &[0, 20, 500]),
            grace: ms(&mut random, &[0, 100, 1000]),
            stats: ms(&mut random, &[0, 0, 70]),
        };
        let listeners = 1 + random.below(3);
        let mut world = World::new(random, theirs, rules, listeners);
        world.are_shared = world.random.one_in(4);
        world.poll = poll;
        (world, ours)
    }
}

impl<M: Model, S: System<Listener = SimulatedListener<M>>> Simulation<M, S> {
    fn over(
        world: World<M>,
        shared: M::Shared,
        tells: bool,
        system: impl FnOnce(Kernel<M>) -> S,
    ) -> Self {
        let (rules, listeners) = (world.rules.clone(), world.queues.len());
        let world = Rc::new(RefCell::new(world));
        let kernel = Kernel(world.clone());
        let listener = |index| SimulatedListener(kernel.clone(), index);
        let listeners = (0..listeners).map(listener).collect();
        let reactor = Reactor::new(system(kernel), listeners, shared, rules);
        Self {
            world,
            room: reactor.slab.capacity(),
            reactor,
            done: [0; 8],
            events: vec![],
            tells,
            step: 0,
            turns: 0,
        }
    }

    fn tell(&self, what: impl FnOnce() -> String) {
        if self.tells {
            println!("{:4}: {}", self.step, what());
        }
    }

    fn step(&mut self) {
        self.step += 1;
        self.act();
        self.check();
    }

    /// One thing happens.
    fn act(&mut self) {
        let action = self.world.borrow_mut().random.below(1000);
        match action {
            0..150 => self.connect(),
            150..450 => self.act_as_peer(action),
            450..475 => self.change_faults(),
            475..480 => self.release_descriptor(),
            480..580 => self.let_time_pass(),
            580..999 => {
                self.turn(true);
                self.check_time();
                self.check_progress();
                if self.world.borrow_mut().random.one_in(50) {
                    self.stall();
                }
            }
            _ => self.shut_down(),
        }
    }

    fn connect(&mut self) {
        let world = &mut *self.world.borrow_mut();
        let index = world.random.below(world.queues.len());
        let room = world.random.choose(&[0, 1, 5, 1000]);
        let queue = &world.queues[index];
        if queue.is_joinable(world.now) && queue.waiting.len() < 20 {
            let id = world.sockets.len();
            self.tell(|| format!("peer {id} connects to listener {index}, room {room}"));
            world.arrive(index, room);
        }
    }

    /// A peer, most likely one of the latest, does something.
    fn act_as_peer(&mut self, action: usize) {
        let world = &mut *self.world.borrow_mut();
        let Some(last) = world.sockets.len().checked_sub(1) else {
            return;
        };
        let id = last - world.random.below(16).min(last);
        let socket = &mut world.sockets[id];
        if socket.closed || socket.reset {
            return;
        }
        let n = world.random.choose(&[1, 2, 7, 9, 150_000]);
        self.tell(|| format!("peer {id}, action {action}, n {n}"));
        let side = match action {
            150..300 if !socket.fin => {
                socket.sent += n;
                Side::Read
            }
            300..400 => {
                socket.room = socket.room.saturating_add(n);
                Side::Write
            }
            400..440 => {
                socket.fin = true;
                Side::Read
            }
            440..450 => {
                socket.reset = true;
                Side::Both
            }
            _ => return,
        };
        world.wake(id, side);
    }

    fn change_faults(&mut self) {
        let world = &mut *self.world.borrow_mut();
        match world.random.below(4) {
            0 => {
                let errors = world.random.choose(&[1, 1, 5, 20]);
                let error = world.random.choose(&ACCEPT_ERRORS);
                world.accept_errors.resize(errors, error);
            }
            1 => world.interrupts = world.random.choose(&[0, 0, 2, 5]),
            2 => world.poll_faults = world.random.choose(&[0, 0, 0, 3]),
            _ => {
                let held = world.open.len();
                world.descriptors = world.random.choose(&[held, 1, 5, usize::MAX]);
            }
        }
        self.tell(|| {
            let World {
                accept_errors,
                interrupts,
                poll_faults,
                descriptors,
                ..
            } = world;
            format!("faults {accept_errors:?} {interrupts} {poll_faults} {descriptors}")
        });
    }

    /// Another reactor of this process closes a connection.
    fn release_descriptor(&mut self) {
        let world = &mut *self.world.borrow_mut();
        world.descriptors = world.descriptors.saturating_add(1);
        world.shortage = false;
        self.reactor.release_descriptor(world.now);
    }

    fn let_time_pass(&mut self) {
        let alarm = self.reactor.alarm();
        let world = &mut *self.world.borrow_mut();
        let ms = world.random.choose(&[0, 1, 1, 10, 10, 100, 2000]);
        world.now = match alarm {
            Some(alarm) if ms > 0 && world.random.one_in(2) => alarm.max(world.now),
            _ => world.now.after(Duration::from_millis(ms)),
        };
        self.tell(|| format!("it is {:?}", world.now));
    }

    /// The process was stopped in the midst of the turn: what it did counts from now on.
    fn stall(&mut self) {
        let world = &mut *self.world.borrow_mut();
        let began = world.now;
        let ms = world.random.choose(&[1, 100, 2000]);
        world.now = began.after(Duration::from_millis(ms));
        for socket in &mut world.sockets {
            for moment in socket.moments() {
                *moment = moment.map(|at| if at == began { world.now } else { at });
            }
        }
        self.tell(|| format!("that turn ends at {:?}", world.now));
        self.reactor.restart_deadlines(began, world.now);
    }

    fn shut_down(&mut self) {
        self.tell(|| "shutting down".into());
        let mut world = self.world.borrow_mut();
        let now = world.now;
        let end = now.after(world.rules.grace);
        world.grace_ends.get_or_insert(end);
        let half = now.after(world.rules.grace / 2);
        world.queues_left.get_or_insert(half);
        drop(world);
        self.reactor.shut_down(now);
    }

    /// What is ready is reported, some of it later and in any order if the kernel is `unruly`, and
    /// then some things that nobody is ready for.
    fn turn(&mut self, unruly: bool) {
        let events = self.events(unruly);
        self.tell(|| format!("turn {events:?}"));
        self.turns += 1;
        let (now, count) = (self.world.borrow().now, events.len());
        self.reactor.handle(events.iter().copied(), now).unwrap();
        self.events = events;
        let world = self.world.borrow();
        let (received, given) = (world.received, world.given);
        let most = BYTES_PER_TURN + (count + ACCEPTS_PER_TURN * world.queues.len()) * SLICE;
        // When the grace is over, all are driven once more, and nobody is left who waits.
        let is_over = world.grace_ends.is_some_and(|end| end <= now);
        assert!(received <= most || is_over, "{received} bytes received");
        assert!(given <= 4 * most || is_over, "{given} bytes sent");
    }

    fn events(&mut self, unruly: bool) -> Vec<Event> {
        let world = &mut *self.world.borrow_mut();
        let mut batch = vec![];
        for ready in std::mem::take(&mut world.ready) {
            if unruly && world.random.one_in(4) {
                world.ready.push(ready);
            } else if !world.is_over(ready.0, ready.1) {
                batch.push(ready);
            }
        }
        if unruly {
            let side = world.poll.reports(Side::Read)[0];
            for _ in 0..world.random.below(3) {
                batch.push((world.random.below(20), side));
            }
            let by = world.random.below(batch.len().max(1));
            batch.rotate_left(by);
        }
        let mut once = BTreeSet::new();
        batch.retain(|report| once.insert(*report));
        world.turns += 1;
        world.reported = batch.iter().map(|(key, _)| *key).collect();
        (world.received, world.given, world.late) = (0, 0, 0);
        world.overdue.clear();
        let event = |(key, side): (usize, Side)| {
            // The hint never misses a FIN that is here, unless kqueue tells of it in the event for reading.
            // It may be about one that is not here; of a listener it is true.
            let is_here = |id: &usize| {
                side != Side::Write && (world.sockets[*id].fin || world.sockets[*id].reset)
            };
            let fin = match (world.keys.get(&key), world.queues.get(key)) {
                (Some(id), _) => is_here(id) || unruly && world.random.one_in(8),
                (None, Some(queue)) => queue.joinable_until.is_some(),
                (None, None) => unruly && world.random.one_in(8),
            };
            Event { key, fin }
        };
        batch.into_iter().map(event).collect()
    }

    /// The faults end, every peer sends, reads and leaves: then all are served, and only the gate's
    /// retry may take time. In the end it shuts down.
    fn settle(&mut self) {
        let mut world = self.world.borrow_mut();
        world.accept_errors.clear();
        (world.interrupts, world.poll_faults, world.cuts_receives) = (0, 0, false);
        world.descriptors = usize::MAX;
        for id in 0..world.sockets.len() {
            let socket = &mut world.sockets[id];
            socket.room = usize::MAX;
            if !socket.fin {
                socket.sent += 1;
            }
            socket.fin = true;
            socket.reset |= M::IS_ENDLESS; // it would be sent to without an end
            world.wake(id, Side::Both);
        }
        drop(world);
        self.turn_until("every peer is served", |simulation| {
            let world = simulation.world.borrow();
            let waits = |queue: &Queue| !queue.waiting.is_empty() && !queue.dropped;
            world.open().count() == 0 && !world.queues.iter().any(waits)
        });
        self.shut_down();
        self.turn_until("it has shut down", |simulation| {
            simulation.reactor.is_shut_down()
        });
        // A pause may be left to be over.
        let later = self.world.borrow().now.after(Duration::from_secs(1));
        self.world.borrow_mut().now = later;
        self.turn(false);
        let alarm = self.reactor.alarm();
        assert_eq!(alarm, self.reactor.report_at, "an alarm after the end");
    }

    fn turn_until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let start = self.world.borrow().now;
        while !done(self) {
            self.step += 1;
            assert!(self.step < 2 * STEPS, "{what}, it was hoped");
            let mut world = self.world.borrow_mut();
            if world.ready.is_empty() {
                let alarm = self.reactor.alarm().expect("it sleeps for ever");
                world.now = world.now.max(alarm);
                let waited = start.until(world.now);
                // For the gate, and then for the handshakes of one queue after the other.
                assert!(
                    waited <= Duration::from_millis(150),
                    "{waited:?} until {what}"
                );
            }
            drop(world);
            self.turn(false);
            self.check_time();
            self.check();
        }
    }
}
