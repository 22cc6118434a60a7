//! The scenarios of the page, and what can be done in one.

use std::time::Duration;

use super::super::Side;
use super::{Scenario, Trace};

/// What the kernel takes for a client that does not read, in bytes.
const BUFFER: usize = 64 << 10;

impl Trace {
    fn connect(&mut self) -> usize {
        self.connect_with_room(BUFFER)
    }

    fn connect_with_room(&mut self, room: usize) -> usize {
        let world = &mut *self.simulation.world.borrow_mut();
        world.arrive(0, room);
        world.sockets.len() - 1
    }

    fn send(&mut self, id: usize, n: usize) {
        let world = &mut *self.simulation.world.borrow_mut();
        world.sockets[id].sent += n;
        world.wake(id, Side::Read);
    }

    fn finish(&mut self, id: usize) {
        let world = &mut *self.simulation.world.borrow_mut();
        world.sockets[id].fin = true;
        world.wake(id, Side::Read);
    }

    fn reset(&mut self, id: usize) {
        let world = &mut *self.simulation.world.borrow_mut();
        world.sockets[id].reset = true;
        world.wake(id, Side::Both);
    }

    fn read(&mut self, id: usize, n: usize) {
        let world = &mut *self.simulation.world.borrow_mut();
        world.sockets[id].room += n;
        world.wake(id, Side::Write);
    }

    fn pass(&mut self, ms: u64) {
        let world = &mut *self.simulation.world.borrow_mut();
        world.now = world.now.after(Duration::from_millis(ms));
    }

    /// What happened is a step, and the turn that follows is the next. A turn needs a reason: the real
    /// server would sleep otherwise.
    fn turn(&mut self) {
        self.look();
        let now = self.simulation.world.borrow().now;
        let is_due = self.simulation.reactor.alarm().is_some_and(|at| at <= now);
        let is_ready = !self.simulation.world.borrow().ready.is_empty();
        assert!(is_ready || is_due, "the server sleeps");
        self.simulation.turn(false);
        self.simulation.check_time();
        self.simulation.check_progress();
        self.simulation.check();
        self.look();
    }
}

pub(super) const SCENARIOS: [Scenario; 10] = [
    Scenario {
        name: "two",
        title: "Two clients, one thread",
        text: "A is greeted and says nothing, while B has its whole exchange. The server waits for both at once \
               in epoll_wait, so nobody waits for A.",
        capacity: 4,
        play: |trace| {
            let a = trace.connect();
            trace.turn();
            trace.pass(10);
            let b = trace.connect();
            trace.turn();
            trace.send(b, 5);
            trace.turn();
            trace.finish(b);
            trace.turn();
            trace.pass(10);
            trace.send(a, 3);
            trace.turn();
            trace.finish(a);
            trace.turn();
        },
    },
    Scenario {
        name: "half-closed",
        title: "A message and FIN in one event",
        text: "A sends its message and its FIN before it is even accepted, as nc -N does. FIN says only that \
               nothing follows: the echo is still owed.",
        capacity: 4,
        play: |trace| {
            let a = trace.connect();
            trace.send(a, 5);
            trace.finish(a);
            trace.turn();
            trace.turn();
        },
    },
    Scenario {
        name: "long",
        title: "A message that is too long",
        text: "A sends 100,000 bytes where the server echoes 1,000. To close with the rest unread would reset the \
               connection, so the server half-closes and reads on until A has finished.",
        capacity: 4,
        play: |trace| {
            let a = trace.connect();
            trace.turn();
            trace.send(a, 100_000);
            trace.turn();
            trace.pass(5);
            trace.send(a, 20_000);
            trace.turn();
            trace.finish(a);
            trace.turn();
        },
    },
    Scenario {
        name: "slow-reader",
        title: "A client that reads slowly",
        text: "The kernel takes only a part of the echo, because A reads slowly. The rest waits on the heap, and \
               epoll reports when there is room again.",
        capacity: 4,
        play: |trace| {
            let a = trace.connect_with_room(306);
            trace.turn();
            trace.send(a, 1000);
            trace.turn();
            trace.pass(50);
            trace.read(a, 400);
            trace.turn();
            trace.pass(50);
            trace.read(a, 606);
            trace.turn();
            trace.finish(a);
            trace.turn();
        },
    },
    Scenario {
        name: "reset",
        title: "A reset, and a key that is used again",
        text: "A resets its connection while B sends and C connects, all reported in one turn. The reset ends A \
               alone, and C gets A's key only when all events of the turn are done.",
        capacity: 4,
        play: |trace| {
            let a = trace.connect();
            let b = trace.connect();
            trace.turn();
            trace.pass(10);
            let c = trace.connect();
            trace.send(a, 5);
            trace.reset(a);
            trace.send(b, 7);
            trace.turn();
            trace.send(c, 4);
            trace.finish(b);
            trace.turn();
            trace.finish(c);
            trace.turn();
        },
    },
    Scenario {
        name: "silent",
        title: "Clients that say nothing",
        text: "A sends nothing, so its deadline closes it after a minute; B never sends FIN, and is closed two seconds \
               after its echo. No timer runs for either: the next deadline is how long epoll_wait may sleep.",
        capacity: 4,
        play: |trace| {
            trace.connect();
            trace.turn();
            trace.pass(20_000);
            let b = trace.connect();
            trace.turn();
            trace.pass(40_000);
            trace.turn();
            trace.pass(5_000);
            trace.send(b, 5);
            trace.turn();
            trace.pass(2_000);
            trace.turn();
        },
    },
    Scenario {
        name: "full",
        title: "A full table",
        text: "Two clients may be connected, and three come. The third waits in the kernel's queue, and is accepted \
               as soon as one leaves.",
        capacity: 2,
        play: |trace| {
            let a = trace.connect();
            trace.connect();
            trace.turn();
            trace.pass(10);
            trace.connect();
            trace.turn();
            trace.send(a, 5);
            trace.turn();
            trace.finish(a);
            trace.turn();
            trace.turn();
        },
    },
    Scenario {
        name: "pause",
        title: "No file descriptor is left",
        text: "No descriptor is left, so accept4 fails with EMFILE, and B stays in the queue without an edge. \
               Accepting pauses, and is tried again after 100 ms or when a connection is closed: nothing spins, \
               and nobody is forgotten.",
        capacity: 4,
        play: |trace| {
            let a = trace.connect();
            trace.turn();
            trace.pass(10);
            trace.simulation.world.borrow_mut().descriptors = 1;
            trace.connect();
            trace.turn();
            trace.pass(100);
            trace.turn();
            trace.turn();
            trace.pass(20);
            trace.send(a, 5);
            trace.finish(a);
            trace.turn();
            trace.turn();
        },
    },
    Scenario {
        name: "flood",
        title: "Twenty newcomers at once",
        text: "Twenty clients connect in the moment in which A sends its message. A is served first, and the \
               newcomers are accepted in runs of sixteen, so no flood starves those who are connected.",
        capacity: 24,
        play: |trace| {
            let a = trace.connect();
            trace.turn();
            trace.pass(10);
            for _ in 0..20 {
                trace.connect();
            }
            trace.send(a, 5);
            trace.turn();
            trace.finish(a);
            trace.turn();
        },
    },
    Scenario {
        name: "shutdown",
        title: "A shutdown that loses nobody",
        text: "The server is asked to stop while A is silent, B has just sent its message, and C waits in the \
               queue. B and C are served, and the grace ends the wait for A.",
        capacity: 4,
        play: |trace| {
            trace.connect();
            let b = trace.connect();
            trace.turn();
            trace.pass(10);
            trace.send(b, 5);
            let c = trace.connect();
            trace.look();
            trace.simulation.shut_down();
            trace.turn();
            trace.send(c, 7);
            trace.finish(c);
            trace.finish(b);
            trace.turn();
            trace.pass(10_000);
            trace.turn();
        },
    },
];
