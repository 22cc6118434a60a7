//! How newcomers come in: bounded runs of accepts, and the gate in front of them.

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

/// Connections taken from one listener in one turn, before the others have theirs. Small, so that those
/// that were just greeted are answered while their sockets are in the processor's caches.
pub(super) const ACCEPTS_PER_TURN: usize = 16;

impl<S: System, P: Protocol> Reactor<S, P> {
    /// Takes a bounded run of connections from the event's listener.
    ///
    /// The run may end anywhere without losing the edge: at `WouldBlock` the next connection makes
    /// one, at the bound the listener is re-armed, and so it is when the gate opens again.
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
                    // Where others have the socket, too, one of them may have shut it down. TCP says
                    // so itself, with EINVAL, and a Unix socket for ever that nobody waits. From our own
                    // shutdown on it is no matter, and may be our doing.
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
            // Each error is about one connection, but sixteen in a row brought none. The pause keeps this
            // from spinning.
            self.pause(
                "cannot accept: every connection was lost before it was accepted",
                now,
            );
        }
        Ok(())
    }

    /// Drives a new connection as far as it goes, and then registers it: in this order one registration
    /// does for all that follows, and it reports what the peer has sent meanwhile.
    fn admit(&mut self, stream: S::Stream, peer: &S::Peer, now: Moment) {
        let connection = Connection::new(stream, &mut self.common.shared);
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

    /// Peers are left in the listener's queue: looks whether it overflows.
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

    /// Looks again at the queues of all listeners, when it is time to.
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

    /// The connection that leaves next where the oldest does.
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
            warn!("{capacity} clients are connected, as many as may be; others wait{suppressed}");
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

    /// A descriptor of this process came free, and it belonged to no connection of this reactor. If
    /// accepting pauses because none was left, it resumes in the next turn, which is due at once.
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

    /// The listeners' keys, beginning behind the listener that accepted last. If fewer connections fit
    /// than wait, the first listener gets the room. epoll reports listeners in the order in which they
    /// were re-armed.
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
