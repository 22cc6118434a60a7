//! A shutdown in its stages: the queues are closed, the queues are emptied, then the connections
//! finish or the grace ends.

use std::io;
use std::time::Duration;

use log::{info, warn};

use super::accept::ACCEPTS_PER_TURN;
use super::calls::{Readiness, Reason};
use super::connection::Due;
use super::deadlines::Moment;
use super::{BYTES_PER_TURN, Entry, Event, Reactor, System, listener};
use crate::protocol::Protocol;

/// The most peers accepted from one queue when the grace is over: the length that Linux gives a
/// queue by default since 5.4 (listen(2)).
const LONGEST_QUEUE: usize = 4096;

/// When the stages are over.
#[derive(Clone, Copy)]
pub(super) struct Shutdown {
    /// From here on a listener whose queue is empty is closed.
    queues_close: Moment,
    /// From here on every listener is closed, because others may serve the peers in its queue.
    queues_left: Option<Moment>,
    /// From here on no connection is waited for.
    grace_ends: Moment,
}

impl<S: System, P: Protocol> Reactor<S, P> {
    /// Begins to shut down: accepts the peers in the queues, keeps new ones out, and serves the
    /// connections until they are done or the grace is over.
    pub fn shut_down(&mut self, now: Moment) {
        if self.shutdown.is_some() {
            return;
        }
        let (mut wait, mut queues_left) = (Duration::ZERO, None);
        for key in 0..self.listeners {
            if let Some(listener) = listener(&self.slab, key) {
                match self.system.close_queue(listener) {
                    Ok(Some(handshakes)) => wait = wait.max(handshakes),
                    // There may be no other process to serve these peers. This one accepts them for
                    // the first half of the grace, and serves them in the second.
                    Ok(None) => queues_left = Some(now.after(self.rules.grace / 2)),
                    Err(e) => warn!("cannot close the queue of {listener}: {e}"),
                }
            }
        }
        info!("shutting down, {} clients are connected", self.clients());
        self.shutdown = Some(Shutdown {
            queues_close: now.after(wait),
            queues_left,
            grace_ends: now.after(self.rules.grace),
        });
    }

    /// Whether a shutdown has begun.
    #[must_use]
    pub fn is_shutting_down(&self) -> bool {
        self.shutdown.is_some()
    }

    /// Whether it has shut down: no listener and no connection is left.
    #[must_use]
    pub fn is_shut_down(&self) -> bool {
        self.shutdown.is_some() && self.listening == 0 && self.clients() == 0
    }

    pub(super) fn shutdown_alarm(&self) -> Option<Moment> {
        let shutdown = self.shutdown.filter(|_| !self.is_shut_down())?;
        let listens = self.listening > 0;
        let alarms = [
            // No edge reports that a queue is empty.
            Some(shutdown.queues_close).filter(|_| listens && self.gate.is_open()),
            shutdown.queues_left.filter(|_| listens),
            Some(shutdown.grace_ends),
        ];
        alarms.into_iter().flatten().min()
    }

    /// Accepts what is left in the queues once they are closed. Returns whether it is time for
    /// that.
    pub(super) fn empty_queues(&mut self, now: Moment) -> io::Result<bool> {
        let Some(shutdown) = self.shutdown else {
            return Ok(false);
        };
        if shutdown.grace_ends <= now {
            self.cut(now)?;
            return Ok(true);
        }
        if shutdown.queues_close > now {
            return Ok(false);
        }
        for key in self.listeners_in_turn() {
            self.accept(Event { key, fin: false }, now)?;
            if shutdown.queues_left.is_some_and(|at| at <= now) {
                self.close_listener(key);
            }
        }
        Ok(true)
    }

    /// The listener's queue is empty. If nobody can join it any more, the listener has done its
    /// work.
    pub(super) fn handle_drained(&mut self, key: usize, now: Moment) {
        let Some(shutdown) = self.shutdown.as_mut().filter(|s| s.queues_close <= now) else {
            return;
        };
        // Whoever was to serve those under way may have ended, too.
        let listener = listener(&self.slab, key);
        match listener.map(|listener| self.system.close_queue(listener)) {
            Some(Ok(Some(wait))) if !wait.is_zero() => shutdown.queues_close = now.after(wait),
            _ => self.close_listener(key),
        }
    }

    /// The grace is over: closes everything in one turn. No connection is left that this could
    /// delay.
    ///
    /// This process may have been stopped for as long as the grace, and what has come meanwhile may
    /// not have been reported. So the peers in the queues are accepted, too, and each connection is
    /// driven once more before it is closed.
    fn cut(&mut self, now: Moment) -> io::Result<()> {
        self.close_connections(now);
        for key in 0..self.listeners {
            for _ in 0..LONGEST_QUEUE / ACCEPTS_PER_TURN {
                let before = self.stats.accepted;
                self.gate.reopen(now);
                self.accept(Event { key, fin: false }, now)?;
                if self.stats.accepted == before {
                    break;
                }
                self.close_connections(now);
            }
            self.close_listener(key);
        }
        Ok(())
    }

    fn close_connections(&mut self, now: Moment) {
        let left: Vec<usize> = self.slab.iter().map(|(key, _)| key).collect();
        let (more, share) = (true, BYTES_PER_TURN);
        for key in left {
            self.drive(key, Readiness::Event { more, share }, now);
            if let Some(Entry::Connection(connection, _)) = self.slab.get(key) {
                let reason = match connection.due() {
                    Due::Linger => Reason::LingeringCut,
                    Due::Protocol(_) => Reason::ShutDown,
                };
                self.close(key, &reason, now);
            }
        }
    }

    /// This resets the peers that are still in its queue, unless others share the queue.
    fn close_listener(&mut self, key: usize) {
        if let Some(listener) = listener(&self.slab, key) {
            self.system.forget(listener);
            self.slab.remove(key);
            self.listening -= 1;
        }
    }
}
