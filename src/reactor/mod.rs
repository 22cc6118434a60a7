//! The reactor decides which connection is driven, closed and accepted, and when. It knows no
//! protocol by name and has neither socket nor clock: it is given the time, and the [`System`] that
//! it decides over. So it runs over real sockets and over the invented ones of the crate's
//! simulation.
//!
//! # One turn
//!
//! ```text
//!             ┌────────────────────────────────────────────────────────────────┐
//!             ▼                                                                │
//!     ┌──────────────┐  events  ┌──────────────────┐    ┌────────┐   ┌─────────┴─┐
//!     │ poll: sleep  ├─────────►│ drive each as far├───►│ expire ├──►│  accept   │
//!     │ till needed  │          │ as it goes       │    │ the due│   │           │
//!     └──────────────┘          └────────┬─────────┘    └────────┘   └───────────┘
//!                                        │ by value: what it waits for, or why it is over
//!                                        ▼
//!                         leave, register again, or close
//! ```
//!
//! # Invariants
//!
//! - **No stale token.** Accepting is last in a turn, so a key that was freed in a batch is never
//!   handed out within it; an event for a vacant key is ignored.
//! - **No lost edge.** A connection that stops before `WouldBlock` knows why another edge will
//!   come, or registers again, which makes one.
//! - **An idle connection costs one slab entry**, and no buffer. All connections share one scratch
//!   buffer, and a heap buffer exists only for bytes that the kernel does not take yet.
//! - **Every connection has a deadline**: the protocol's, then one for the peer's FIN. When it is
//!   over, the connection is driven once more, and closed only if that changes nothing: this
//!   process may have been stopped while the peer's message arrived. A deadline counts from the
//!   end of the turn that set it.
//! - **Bounded work.** Events, accepts, expiries, the calls of a connection and the bytes that it
//!   moves are all bounded in a turn. So a flood delays the others by its share of a turn, and any
//!   number of floods by one turn.
//! - **The counters balance.** Every connection that was accepted is open, or closed for one
//!   reason.
//! - **Three circles of errors.** An error at the start ends the server, with one line and an exit
//!   code. An error of accepting leads to the next connection or to a pause; only a broken listener
//!   is fatal. An error of a peer ends its connection.
//!
//! # Example
//!
//! RFC 862 on it: everything is echoed. [`Protocol`] explains the calls.
//!
//! ```no_run
#![doc = include_str!("../../tests/protocols/echo.rs")]
//!
//! use hello_echo::{Config, Server};
//!
//! let mut config = Config::default();
//! config.listen = vec!["127.0.0.1:7".parse()?];
//! Server::<Echo>::bind(&config, ())?.run()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod accept;
mod calls;
mod connection;
pub(crate) mod deadlines;
mod gate;
#[cfg(any(test, fuzzing))]
mod models;
mod rules;
mod shutdown;
#[cfg(any(test, fuzzing))]
pub(crate) mod simulation;
mod stats;
mod system;

use std::io;
use std::time::Duration;

use log::{debug, info};
use slab::Slab;

use crate::protocol::{MAX_ENDS, Protocol};
use calls::{Readiness, Reason, Stop};
use connection::{Common, Connection, Due, Waits};
use deadlines::{Deadlines, Timer, Timers};
use gate::{Gate, Throttle};
use shutdown::Shutdown;

pub use calls::{SLICE, Stream};
pub use deadlines::Moment;
pub use gate::Verdict;
pub use rules::{Full, Rules};
pub use stats::{Bytes, Stats};
pub use system::{Event, System};

/// The most connections whose deadline is over that are closed in one turn; the rest follow in the
/// next.
const EXPIRIES_PER_TURN: usize = 256;

/// The bytes that the connections with an event share in one turn, each way and equally. Without
/// shares the first connection could use everything, register again and be first in the next turn,
/// too; the last would never get any. A connection that has some of its share left makes one more
/// call, and a call moves at most the scratch buffer or [`SLICE`].
const BYTES_PER_TURN: usize = 1 << 20;

/// The kind of the lingering close's deadline. The protocol's kinds follow it.
const LINGER: usize = 0;

/// The state of a server of one protocol, without the poll.
pub struct Reactor<S: System, P: Protocol> {
    /// What it decides over.
    pub system: S,
    common: Common<P>,
    /// Listeners and connections; the key is the token. Invariant: the listeners came first, so their
    /// keys are below `listeners`, and `listening` of them are left.
    slab: Slab<Entry<S, P>>,
    listeners: usize,
    listening: usize,
    /// The listener that is re-armed first. It gets the room if fewer connections fit than wait.
    next_listener: usize,
    rules: Rules,
    gate: Gate,
    throttle: Throttle,
    deadlines: Deadlines,
    stats: Stats,
    /// When to check whether a queue overflows.
    watch_at: Option<Moment>,
    /// When to log the stats.
    report_at: Option<Moment>,
    shutdown: Option<Shutdown>,
}

enum Entry<S: System, P> {
    Listener(Box<S::Listener>),
    Connection(Connection<S::Stream, P>, Timer),
}

/// The shape of a slab's slot, whose own type is private.
#[allow(dead_code, reason = "only its size is of interest")]
enum Slot<S: System, P> {
    Vacant(usize),
    Occupied(Entry<S, P>),
}

impl<S: System, P: Protocol> Reactor<S, P> {
    /// What an idle connection takes, in bytes.
    pub const ENTRY_BYTES: usize = size_of::<Slot<S, P>>();

    /// Makes a reactor with these listeners, whose keys are their places. It allocates the whole
    /// table now, because a table that grows stalls everybody while it is copied. Pages that
    /// nothing has touched cost nothing. The system reports the listeners from here on.
    #[must_use]
    pub fn new(system: S, listeners: Vec<S::Listener>, shared: P::Shared, rules: Rules) -> Self {
        const { assert!(P::ENDS.len() <= MAX_ENDS, "more ENDS than MAX_ENDS") };
        let spare = usize::from(rules.full == Full::OldestLeaves);
        let count = listeners.len();
        let mut slab = Slab::with_capacity(count + rules.capacity + spare);
        for listener in listeners {
            slab.insert(Entry::Listener(Box::new(listener)));
        }
        let mut waits = P::waits(&shared);
        if waits.is_empty() {
            waits.push(Duration::ZERO);
        }
        waits.insert(LINGER, rules.linger);
        let mut stats = Stats::new(P::ENDS);
        stats.capacity = rules.capacity as u64;
        Self {
            system,
            common: Common {
                // With an empty buffer every receive would look like a FIN.
                scratch: vec![0; P::most_received(&shared).max(1)].into(),
                lingers: !rules.linger.is_zero(),
                bytes: Bytes::default(),
                kept: 0,
                shared,
            },
            slab,
            listeners: count,
            listening: count,
            next_listener: 0,
            gate: Gate::default(),
            throttle: Throttle::default(),
            deadlines: Deadlines::new(waits),
            stats,
            watch_at: None,
            report_at: next_report(Moment::START, &rules),
            shutdown: None,
            rules,
        }
    }

    pub(crate) fn listeners(&self) -> impl Iterator<Item = &S::Listener> {
        (0..self.listeners).filter_map(|key| listener(&self.slab, key))
    }

    /// How many connections are open.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.slab.len() - self.listening
    }

    /// What has become of the connections so far.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// How far two neighbours in the table are apart, in bytes.
    #[cfg(test)]
    pub(crate) fn stride(&self) -> Option<usize> {
        let mut entries = self.slab.iter().skip(self.listeners);
        let [first, second] = [entries.next()?, entries.next()?];
        Some(&raw const *second.1 as usize - &raw const *first.1 as usize)
    }

    /// What the protocol's connections share.
    pub fn shared_mut(&mut self) -> &mut P::Shared {
        &mut self.common.shared
    }

    /// Leaves so many descriptors to others. Connections that are open stay open.
    pub(crate) fn reduce_capacity(&mut self, by: usize) {
        self.rules.capacity = self.rules.capacity.saturating_sub(by).max(1);
        self.stats.capacity = self.rules.capacity as u64;
    }

    /// Logs the stats.
    pub fn report(&self) {
        info!("{}", self.stats);
    }

    /// When it wants to be called even if nothing is reported.
    #[must_use]
    pub fn alarm(&self) -> Option<Moment> {
        let alarms = [
            self.shutdown_alarm(),
            self.deadlines.next(),
            self.gate.reopens_at(),
            self.watch_at,
            self.report_at,
        ];
        alarms.into_iter().flatten().min()
    }

    /// Does one turn's work, which is bounded, so that the next turn is never far away: first the
    /// connections, then the deadlines, then new connections.
    ///
    /// Accepting comes last. So a key that became free in this turn is used again only when no
    /// event of this batch is left that could mean its former owner. An event's key is either its
    /// connection's or vacant, and needs no generation counter.
    ///
    /// # Errors
    /// A listener does not listen any more. No peer and no shortage causes an error.
    pub fn handle(
        &mut self,
        events: impl Iterator<Item = Event> + Clone,
        now: Moment,
    ) -> io::Result<()> {
        let share = BYTES_PER_TURN.div_ceil(events.clone().count().max(1));
        for Event { key, fin } in events.clone() {
            let readiness = Readiness::Event { more: fin, share };
            self.drive(key, readiness, now);
        }
        self.expire(now);
        if !self.empty_queues(now)? {
            let listeners = self.listeners;
            for event in events.filter(|event| event.key < listeners) {
                self.accept(event, now)?;
            }
        }
        self.watch_queues(now);
        self.reopen_gate(now);
        self.stats.bytes = self.common.bytes;
        self.stats.kept = self.common.kept as u64;
        if self.report_at.is_some_and(|at| at <= now) {
            self.report();
            self.report_at = next_report(now, &self.rules);
        }
        debug_assert_eq!(self.clients() as u64, self.stats.open());
        Ok(())
    }

    /// The turn that began at that moment is over only now. The deadlines that it set count from now on: if
    /// this process was stopped in the midst of the turn, a peer that was greeted after that has all its
    /// time to answer.
    pub fn restart_deadlines(&mut self, began: Moment, now: Moment) {
        self.deadlines.restart(&mut self.slab, began, now);
    }

    /// Drives the connection with this key, if there is one. An earlier event of this batch may
    /// have closed it.
    fn drive(&mut self, key: usize, readiness: Readiness, now: Moment) {
        let Some(Entry::Connection(connection, _)) = self.slab.get_mut(key) else {
            return;
        };
        let driven = connection.drive(&mut self.common, readiness);
        let (is_new, stream) = (matches!(readiness, Readiness::New), &connection.stream);
        let Waits {
            interest,
            stop,
            due,
        } = match driven {
            Ok(waits) => waits,
            Err(reason) => return self.close(key, &reason, now),
        };
        let polled = match stop {
            _ if is_new => self.system.register(key, stream, interest),
            Stop::Register => self.system.reregister(key, stream, interest),
            Stop::Pending => Ok(()),
        };
        if let Some(due) = due {
            let kind = self.kind(due);
            self.deadlines.set(&mut self.slab, kind, key, now);
        }
        if let Err(e) = polled {
            // ENOSPC (fs.epoll.max_user_watches) or ENOMEM. This connection is lost.
            let why = format!("cannot poll a connection: {e}");
            self.close(key, &Reason::Failed(e), now);
            if is_new {
                // Accepting pauses, so that the connections after it wait in the queue and are not
                // lost as well.
                self.pause(&why, now);
            }
        }
    }

    /// Closes a bounded number of connections whose deadline is over. The rest are still due, so
    /// the next turn does not sleep.
    ///
    /// What the peer has sent may not have been reported yet: this process may have been stopped
    /// for as long as the deadline, and more connections may be ready than one batch has events. So
    /// each connection is driven once more, and closed only if it is still due for the same reason.
    fn expire(&mut self, now: Moment) {
        let Bytes { received, sent } = self.common.bytes;
        for _ in 0..EXPIRIES_PER_TURN {
            let Some((kind, key)) = self.deadlines.expired(now) else {
                return;
            };
            let (more, share) = (false, BYTES_PER_TURN);
            self.drive(key, Readiness::Event { more, share }, now);
            if self.deadlines.expired(now) == Some((kind, key)) {
                let reason = match kind {
                    LINGER => Reason::LingeringCut,
                    _ => Reason::TimedOut,
                };
                self.close(key, &reason, now);
            }
            let moved = self.common.bytes;
            if (moved.received - received).max(moved.sent - sent) >= BYTES_PER_TURN as u64 {
                return;
            }
        }
    }

    /// The kind of a connection's deadline. A protocol that asks for a kind which it does not have
    /// gets its last one. Without any deadline a silent peer would stay for ever.
    fn kind(&self, due: Due) -> usize {
        match due {
            Due::Linger => LINGER,
            Due::Protocol(deadline) => {
                let kind = LINGER + 1 + usize::from(deadline.kind);
                kind.min(self.deadlines.kinds() - 1)
            }
        }
    }

    /// The only place where a connection leaves the slab. Dropping the stream closes it. The kernel
    /// forgets the registration with the last descriptor, and there is no other.
    fn close(&mut self, key: usize, reason: &Reason, now: Moment) {
        debug!("connection {key} {}", reason.in_words(P::ENDS));
        self.deadlines.cancel(&mut self.slab, key);
        if let Some(Entry::Connection(connection, _)) = self.slab.try_remove(key) {
            self.common.kept = self.common.kept.saturating_sub(connection.kept());
            self.stats.count_closed(reason);
            self.gate.release(now);
        }
    }
}

/// `None`: never.
fn next_report(now: Moment, rules: &Rules) -> Option<Moment> {
    (!rules.stats.is_zero()).then(|| now.after(rules.stats))
}

/// A function rather than a method: it borrows the slab and leaves the system to be used beside it.
fn listener<S: System, P>(slab: &Slab<Entry<S, P>>, key: usize) -> Option<&S::Listener> {
    match slab.get(key)? {
        Entry::Listener(listener) => Some(listener),
        Entry::Connection(..) => None,
    }
}

impl<S: System, P> Timers for Slab<Entry<S, P>> {
    fn timer(&mut self, key: usize) -> Option<&mut Timer> {
        match self.get_mut(key) {
            Some(Entry::Connection(_, timer)) => Some(timer),
            Some(Entry::Listener(_)) | None => None,
        }
    }
}
