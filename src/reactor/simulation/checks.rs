//! What the simulation holds the reactor to.

use super::poll::Side;
use super::world::{Queue, Socket, World};
use super::*;

impl<M: Model, S: System<Listener = SimulatedListener<M>>> Simulation<M, S> {
    /// What holds after every turn: no connection outstays the grace, or a deadline, unless others have
    /// much to say when theirs is over; no pause goes on when a descriptor has come free; and a queue
    /// that others have, too, is left to them at half of the grace.
    pub(super) fn check_time(&self) {
        let world = self.world.borrow();
        let pauses = self.reactor.gate.reopens_at().is_some();
        assert!(!pauses || world.shortage, "it pauses for nothing");
        for socket in world.open().filter(|_| world.late < BYTES_PER_TURN) {
            assert!(!world.is_due(socket), "a connection outstays its deadline");
        }
        let over = world.grace_ends.is_some_and(|end| end <= world.now);
        assert!(!over || self.reactor.is_shut_down());
        let left = world.are_shared && world.queues_left.is_some_and(|at| at <= world.now);
        assert!(!left || world.queues.iter().all(|queue| queue.dropped));
    }

    /// Something that counts has happened since; if not, the next alarm is later than this one.
    pub(super) fn check_progress(&mut self) {
        let stats = self.reactor.stats();
        let done = [
            stats.accepted,
            stats.open(),
            stats.accept_errors,
            stats.pauses,
            stats.bytes.received,
            stats.bytes.sent,
            self.reactor.listening as u64,
            u64::from(self.reactor.gate.is_open()),
        ];
        let now = self.world.borrow().now;
        let is_due = self.reactor.alarm().is_some_and(|alarm| alarm <= now);
        assert!(!is_due || done != self.done, "it spins");
        self.done = done;
    }

    /// What holds after every step.
    pub(super) fn check(&self) {
        let world = self.world.borrow();
        let (reactor, alarm) = (&self.reactor, self.reactor.alarm());
        let stats = reactor.stats();
        let closed = |reason| world.closed.get(reason).copied().unwrap_or(0);
        for (reason, count) in stats.closed() {
            assert_eq!(count, closed(reason), "{reason}, in {stats}");
        }
        assert_eq!(stats.accepted, world.accepted);
        assert_eq!(stats.accept_errors, world.failed_accepts);
        assert_eq!(reactor.clients(), world.open.len());
        let owed = |socket: &Socket| socket.past.received.saturating_sub(socket.past.sent);
        let owed: usize = world.open().filter(|_| M::KEEPS_ALL).map(owed).sum();
        let kept = reactor.common.kept;
        assert!(
            kept >= owed && (kept == 0 || !world.open.is_empty()),
            "{kept} bytes are kept"
        );
        assert!(reactor.clients() <= reactor.rules.capacity);
        assert_eq!(reactor.slab.capacity(), self.room, "the table grew");
        assert_eq!(stats.open(), reactor.clients() as u64);
        for socket in world.open() {
            let key = socket
                .key
                .expect("an open connection that is not registered");
            for side in world.poll.reports(Side::Both) {
                let is_new = socket.is_ready(*side) && !socket.is_finished(*side);
                let lost = is_new && !world.ready.contains(&(key, *side));
                assert!(!lost, "a lost edge of key {key}, {side:?}");
            }
            assert!(!socket.held_back, "the end for key {key} is held back");
            let due = world.due(socket);
            assert!(
                due.is_none() || alarm.is_some() && alarm <= due,
                "no deadline for key {key}"
            );
        }
        for (key, queue) in world.queues.iter().enumerate() {
            self.check_queue(&world, key, queue);
        }
        let gone = world.open.is_empty() && world.queues.iter().all(|queue| queue.dropped);
        assert_eq!(reactor.is_shut_down(), gone);
        assert!(world.grace_ends.is_none() || alarm.is_some() || gone);
        assert_eq!(reactor.report_at.is_some(), !world.rules.stats.is_zero());
    }

    /// A listener with peers in its queue is not forgotten.
    fn check_queue(&self, world: &World<M>, key: usize, queue: &Queue) {
        let (reactor, alarm) = (&self.reactor, self.reactor.alarm());
        let is_full = reactor.clients() == reactor.rules.capacity;
        let full = is_full && reactor.rules.full == Full::NewcomersWait;
        let retries = reactor.gate.reopens_at().is_some();
        let drains = alarm.is_some() && (world.are_shared || alarm <= queue.joinable_until);
        let empties = world.grace_ends.is_some() && drains;
        let waits = !queue.waiting.is_empty() && !queue.dropped;
        let taken_care_of = world.is_reported(key) || full || retries || empties;
        assert!(!waits || taken_care_of, "listener {key} is forgotten");
    }
}
