//! How new connections come in: bounded runs of accepts, and the gate before them.

use std::fmt::Display;
use std::io;

use log::{debug, warn};

use super::calls::{Readiness, Reason};
use super::connection::Connection;
use super::deadlines::{Moment, Timer};
use super::gate::Verdict;
use super::{Entry, Event, Full, LINGER, Reactor, System, listener};
use crate::error::explain;
use crate::protocol::Protocol;

/// The most connections taken from one listener in a turn, before other work has its turn. The
/// number is small, so that connections that were just greeted are served while their sockets are
/// in the processor's caches.
pub(super) const ACCEPTS_PER_TURN: usize = 16;

impl<S: System, P: Protocol> Reactor<S, P> {
    /// Takes a bounded run of connections from the event's listener.
    ///
    /// The run loses no edge, wherever it ends: after `WouldBlock` the next connection makes an
    /// edge; at the bound, and when the gate opens again, the listener is re-armed.
    pub(super) fn accept(&mut self, event: Event, now: Moment) -> io::Result<()> {
        let Event { key, fin } = event;
        let mut lost = 0;
        for run in 0..ACCEPTS_PER_TURN {
            if !self.gate.is_open() {
                self.watch_queue(key, now);
                return Ok(());
            }
            let Some(listener) = listener(&self.slab, key) else {
                return Ok(());
            };
            if self.is_full() {
                if run == 0 {
                    self.fill_gate(now); // an event says that somebody waits
                    self.watch_queue(key, now);
                    return Ok(());
                }
                break;
            }
            match self.system.accept(listener) {
                Ok((stream, peer)) => {
                    self.next_listener = (key + 1) % self.listeners;
                    self.admit(stream, &peer, now);
                }
                Err(e) => match self.system.judge(&e) {
                    // Another process that shares the socket may have shut it down. TCP reports
                    // this with EINVAL; a Unix socket only says, for ever, that nobody waits.
                    // During our own shutdown this is expected, and may be our doing.
                    Verdict::Drained if fin && !self.is_shutting_down() => {
                        return Err(fatal(listener, &io::Error::other("it was shut down")));
                    }
                    Verdict::Drained => {
                        self.handle_drained(key, now);
                        return Ok(());
                    }
                    Verdict::Next => {
                        debug!("a connection was lost before it was accepted: {e}");
                        self.stats.accept_errors += 1;
                        lost += 1;
                    }
                    Verdict::Pause => {
                        self.stats.accept_errors += 1;
                        self.pause(&format!("cannot accept: {e}"), now);
                        return Ok(());
                    }
                    Verdict::Fatal => return Err(fatal(listener, &e)),
                },
            }
        }
        if lost < ACCEPTS_PER_TURN {
            self.watch_queue(key, now);
            self.rearm(key, now);
        } else {
            // Each error concerns one connection, but sixteen in a row brought none. The pause
            // keeps this from spinning.
            self.pause(
                "cannot accept: every connection was lost before it was accepted",
                now,
            );
        }
        Ok(())
    }

    /// Drives a new connection as far as it goes, and then registers it. In this order one
    /// registration is enough, and it reports what the peer has sent meanwhile.
    fn admit(&mut self, stream: S::Stream, peer: &S::Peer, now: Moment) {
        let connection = Connection::new(stream, &mut self.common);
        let kind = self.kind(connection.due());
        let key = self.slab.insert(Entry::Connection(connection, Timer::IDLE));
        self.stats.accepted += 1;
        debug!("connection {key} accepted from {peer}");
        if self.clients() > self.rules.capacity {
            let oldest = self.oldest().unwrap_or(key); // the newcomer has no deadline yet
            self.close(oldest, &Reason::MadeRoom, now);
        }
        self.deadlines.set(&mut self.slab, kind, key, now);
        self.drive(key, Readiness::New, now);
    }

    /// Peers are left in the listener's queue. Checks whether it overflows.
    fn watch_queue(&mut self, key: usize, now: Moment) {
        let Some(listener) = listener(&self.slab, key) else {
            return;
        };
        let (again_at, why) = self.system.watch_queue(listener, now);
        self.watch_at = [self.watch_at, again_at].into_iter().flatten().min();
        let Some(why) = why else {
            return;
        };
        if let Some(suppressed) = self.throttle.admit(now) {
            warn!("{why}{suppressed}");
        }
    }

    /// Checks the queues of all listeners again, when it is time to.
    pub(super) fn watch_queues(&mut self, now: Moment) {
        if self.watch_at.is_some_and(|at| at <= now) {
            self.watch_at = None;
            for key in 0..self.listeners {
                self.watch_queue(key, now);
            }
        }
    }

    fn is_full(&self) -> bool {
        self.rules.full == Full::NewcomersWait && self.clients() >= self.rules.capacity
    }

    /// The connection that leaves next, where the oldest leaves.
    fn oldest(&self) -> Option<usize> {
        let kinds = LINGER..self.deadlines.kinds();
        kinds
            .into_iter()
            .find_map(|kind| self.deadlines.first(kind))
    }

    fn fill_gate(&mut self, now: Moment) {
        self.gate.fill();
        if let Some(suppressed) = self.throttle.admit(now) {
            let capacity = self.rules.capacity;
            warn!("{capacity} clients are connected, the most allowed; others wait{suppressed}");
        }
    }

    pub(super) fn pause(&mut self, why: &str, now: Moment) {
        self.stats.pauses += 1;
        self.gate.pause(now);
        if let Some(suppressed) = self.throttle.admit(now) {
            let clients = self.clients();
            warn!("{why}; accepting pauses, {clients} clients are connected{suppressed}");
        }
    }

    /// A descriptor of this process became free that belonged to no connection of this reactor. If
    /// accepting pauses because there was none, it resumes in the next turn, which is due at once.
    pub fn release_descriptor(&mut self, now: Moment) {
        self.gate.release_descriptor(now);
    }

    pub(super) fn reopen_gate(&mut self, now: Moment) {
        if self.gate.reopen(now) {
            for key in self.listeners_in_turn() {
                self.rearm(key, now);
            }
        }
    }

    /// The listeners' keys, beginning after the listener that accepted last. If fewer connections
    /// fit than wait, the first listener gets the room. epoll reports listeners in the order in
    /// which they were re-armed.
    pub(super) fn listeners_in_turn(&self) -> impl Iterator<Item = usize> + use<S, P> {
        let (first, count) = (self.next_listener, self.listeners);
        (first..count).chain(0..first)
    }

    fn rearm(&mut self, key: usize, now: Moment) {
        let Some(listener) = listener(&self.slab, key) else {
            return;
        };
        if let Err(e) = self.system.rearm(key, listener) {
            self.pause(&format!("cannot poll a listener: {e}"), now);
        }
    }
}

fn fatal(listener: &impl Display, error: &io::Error) -> io::Error {
    explain(format!("cannot accept on {listener}"), error)
}
