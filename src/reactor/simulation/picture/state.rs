//! What is where after a step: in the world, and in the reactor itself.

use std::collections::BTreeMap;
use std::time::Duration;

use mio::Interest;

use super::super::super::gate::Gate;
use super::super::super::models::Owes;
use super::super::world::World;
use super::super::{Entry, Full, Moment, Simulation};
use super::recorder::Recorder;
use crate::protocol::hello::Hello;

pub(super) struct State {
    pub(super) now: Moment,
    pub(super) turns: u64,
    pub(super) greeting: usize,
    pub(super) max_read: usize,
    pub(super) timeout: Duration,
    pub(super) linger: Duration,
    pub(super) grace: Duration,
    /// All that ever arrived, in this order.
    pub(super) clients: Vec<Client>,
    pub(super) queues: Vec<Queue>,
    /// What the next epoll_wait reports, in this order.
    pub(super) ready: Vec<Owner>,
    /// Whether no descriptor is left for accept4, and how many errors of it are to come.
    pub(super) is_short: bool,
    pub(super) errors: usize,
    pub(super) gate: Door,
    /// Which clients have one, and when it is over: the first is the next.
    pub(super) deadlines: Vec<(usize, Moment)>,
    pub(super) alarm: Option<Moment>,
    /// When it looks whether a queue overflows.
    pub(super) watch_at: Option<Moment>,
    pub(super) grace_ends: Option<Moment>,
    pub(super) is_shut_down: bool,
    /// The slab, place by place.
    pub(super) slab: Vec<Slot>,
    pub(super) capacity: usize,
}

pub(super) struct Queue {
    pub(super) waiting: Vec<usize>,
    pub(super) is_closed: bool,
}

/// Whose key it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    Listener(usize),
    Client(usize),
    Nobody(usize),
}

/// The accept gate.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    Open,
    Full,
    Paused(Moment),
}

pub(super) enum Slot {
    Free,
    Listener,
    Client(usize, &'static str, usize),
}

#[derive(Clone, Default)]
pub(super) struct Client {
    pub(super) id: usize,
    pub(super) sent: usize,
    pub(super) fin: bool,
    pub(super) reset: bool,
    pub(super) unread: usize,
    /// Whether a receive brought its FIN.
    pub(super) fin_came: bool,
    /// How many bytes the kernel took for it, and would take now.
    pub(super) taken: usize,
    pub(super) room: usize,
    pub(super) half_closed: bool,
    pub(super) key: Option<usize>,
    pub(super) interest: Option<Interest>,
    pub(super) is_accepted: bool,
    /// Why it was closed.
    pub(super) end: Option<&'static str>,
}

impl State {
    /// `ends`: why clients were closed.
    pub(super) fn of(
        simulation: &Simulation<Hello, Recorder>,
        ends: &BTreeMap<usize, &'static str>,
    ) -> Self {
        let (world, reactor) = (simulation.world.borrow(), &simulation.reactor);
        let mut state = Self {
            now: world.now,
            turns: simulation.turns,
            greeting: world.shared.greeting.len(),
            max_read: world.shared.max_read,
            timeout: world.shared.timeout,
            linger: world.rules.linger,
            grace: world.rules.grace,
            clients: clients(&world, ends),
            queues: queues(&world),
            ready: vec![],
            is_short: world.open.len() >= world.descriptors,
            errors: world.accept_errors.len(),
            gate: match reactor.gate {
                Gate::Open => Door::Open,
                Gate::Full => Door::Full,
                Gate::Paused(until) => Door::Paused(until),
            },
            deadlines: vec![],
            alarm: reactor.alarm(),
            watch_at: reactor.watch_at,
            grace_ends: world.grace_ends,
            is_shut_down: reactor.is_shut_down(),
            slab: vec![],
            capacity: reactor.rules.capacity,
        };
        state.ready = world
            .ready
            .iter()
            .map(|(key, _)| state.owner(*key))
            .collect();
        let spare = usize::from(reactor.rules.full == Full::OldestLeaves);
        for key in 0..world.queues.len() + reactor.rules.capacity + spare {
            let slot = match reactor.slab.get(key) {
                None => Slot::Free,
                Some(Entry::Listener(_)) => Slot::Listener,
                Some(Entry::Connection(connection, timer)) => {
                    let id = connection.stream.id;
                    state.deadlines.extend(timer.due().map(|due| (id, due)));
                    Slot::Client(id, stage(&world, id), connection.kept())
                }
            };
            state.slab.push(slot);
        }
        state.deadlines.sort_by_key(|(_, due)| *due);
        state
    }

    pub(super) fn owner(&self, key: usize) -> Owner {
        let is_its = |client: &Client| client.key == Some(key) && client.end.is_none();
        match self.clients.iter().position(is_its) {
            _ if key < self.queues.len() => Owner::Listener(key),
            Some(id) => Owner::Client(id),
            None => Owner::Nobody(key),
        }
    }
}

/// Where its exchange stands.
fn stage(world: &World<Hello>, id: usize) -> &'static str {
    let socket = &world.sockets[id];
    let is_greeted = socket.past.sent >= world.shared.greeting.len();
    match world.owes(id) {
        _ if socket.half_closed_at.is_some() => "lingering",
        Owes::Byte(_) if !is_greeted => "greeting",
        Owes::Byte(_) => "echoing",
        Owes::Receive => "reading",
        Owes::Close(_) => "echoed",
    }
}

fn clients(world: &World<Hello>, ends: &BTreeMap<usize, &'static str>) -> Vec<Client> {
    let sockets = world.sockets.iter().enumerate();
    let clients = sockets.map(|(id, socket)| Client {
        id,
        sent: socket.sent,
        fin: socket.fin,
        reset: socket.reset,
        unread: socket.unread(),
        fin_came: socket.fin_came,
        taken: socket.past.sent,
        room: socket.room,
        half_closed: socket.half_closed_at.is_some(),
        key: socket.key,
        interest: socket.interest,
        is_accepted: socket.accepted_at.is_some(),
        end: ends.get(&id).copied(),
    });
    clients.collect()
}

fn queues(world: &World<Hello>) -> Vec<Queue> {
    let queues = world.queues.iter().map(|queue| Queue {
        waiting: queue.waiting.iter().copied().collect(),
        is_closed: !queue.is_joinable(world.now),
    });
    queues.collect()
}
