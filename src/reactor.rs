//! The reactor: who is driven, who is closed and who is accepted, and when. It decides; the system
//! that it decides over ([`System`]) and the time are handed to it, so it runs over real sockets as
//! well as over invented ones: the crate's simulation and the bench `table` do that.

use std::collections::VecDeque;
use std::fmt::Display;
use std::io;
use std::time::Duration;

use log::{debug, info, warn};
use mio::Interest;
use slab::Slab;

use crate::accept::{Gate, Verdict, judge};
use crate::config::Config;
use crate::connection::{Bytes, Connection, DISCARD, Progress, Readiness, Reason};
use crate::deadlines::{Deadlines, Kind, Timer, Timers};
use crate::scrape::Scrape;
use crate::session::Session;
use crate::stats::Stats;

pub use crate::connection::Stream;
pub use crate::deadlines::Moment;

/// What the reactor needs of the system, besides its streams. All of it returns at once.
pub trait System {
    /// Where clients arrive. Its name is for the log.
    type Listener: Display;
    /// A client's socket. Dropping it closes it.
    type Stream: Stream;
    /// A client's address, for the log.
    type Peer: Display;

    /// Takes one connection off the listener's queue, as accept4(2).
    fn accept(&mut self, listener: &Self::Listener) -> io::Result<(Self::Stream, Self::Peer)>;

    /// Lets nobody new into the listener's queue. Who is in it stays, and for so long somebody may
    /// still join whose handshake is under way. `None`: the queue stays open, as others may have it,
    /// too, who will serve whoever joins.
    fn close_queue(&mut self, listener: &Self::Listener) -> io::Result<Option<Duration>>;

    /// Reports the listener no more; it is dropped next.
    fn forget(&mut self, listener: &Self::Listener);

    /// Reports the listener at once if connections wait in its queue, and else when one arrives.
    fn rearm(&mut self, key: usize, listener: &Self::Listener) -> io::Result<()>;

    /// Reports the stream, under `key` and as an edge, whenever it becomes ready, and at once if it
    /// is. Dropping the stream ends that.
    fn register(&mut self, key: usize, stream: &Self::Stream, interest: Interest)
    -> io::Result<()>;

    /// The same for a stream that is registered already.
    fn reregister(
        &mut self,
        key: usize,
        stream: &Self::Stream,
        interest: Interest,
    ) -> io::Result<()>;
}

/// Something that the system reports: whose it is, and whether that has come to its end.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// As it was registered.
    pub key: usize,
    /// The peer's FIN is said to be here, which is only a hint: what a receive says is what counts.
    /// Or nobody can join the listener's queue any more.
    pub fin: bool,
}

/// Connections taken from one listener in one turn, before its other clients have theirs.
const ACCEPTS_PER_TURN: usize = 16;

/// Connections whose time is over that are closed in one turn; the rest follow in the next.
const EXPIRIES_PER_TURN: usize = 256;

/// Bytes that are discarded in one turn, of all who linger. Whoever has an event has an equal share
/// of them: if the first could use all, and then registered again as the others do, they would be the
/// first in the next turn, too, and the last would never be heard.
const DISCARDED_PER_TURN: usize = 1 << 20;

/// Scrapes under way at once. Beyond it the oldest makes room, so nobody who is slow, or many of
/// them, keep the next from the metrics. Their descriptors are kept back from the clients.
pub(crate) const SCRAPES: usize = 16;

/// How long a scrape may take, from being accepted to the scraper's FIN.
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(5);

/// The state of a server, less what polls.
pub struct Reactor<S: System> {
    /// What it decides over.
    pub system: S,
    config: Config,
    /// Listeners, clients and scrapes; the key is the token. Invariant: the listeners came first, so
    /// their keys are below `listeners`, and `listening` of them have not left; then the one for
    /// scrapes, if there is one.
    slab: Slab<Entry<S>>,
    listeners: usize,
    listening: usize,
    metrics: Option<usize>,
    /// Those under way, the oldest first, and when their time is over.
    scrapes: VecDeque<(usize, Moment)>,
    /// The listener whose turn it is when not all of them can have what they want.
    next_listener: usize,
    /// As many clients as there may be.
    capacity: usize,
    /// What was received last; belongs to whoever is being driven, and to nobody in between. Much
    /// larger than a message usually is, so that one receive takes all that a client has sent, and
    /// shows by coming back short that it did.
    scratch: Box<[u8]>,
    gate: Gate,
    deadlines: Deadlines,
    stats: Stats,
    /// When the stats are to be logged.
    report_at: Option<Moment>,
    shutdown: Option<Shutdown>,
}

/// When the stages of a shutdown are over.
#[derive(Clone, Copy)]
struct Shutdown {
    /// From here on a listener whose queue is empty is closed.
    queues_close: Moment,
    /// From here on every listener is, as others may serve who is in the queue.
    queues_left: Option<Moment>,
    /// From here on nobody is waited for.
    grace_ends: Moment,
}

enum Entry<S: System> {
    Listener(Box<S::Listener>),
    Client(Client<S::Stream>),
    Scrape(Box<Connection<S::Stream, Scrape>>),
}

struct Client<T> {
    connection: Connection<T, Session>,
    timer: Timer,
}

/// The memory rule: what an idle client takes, in bytes.
pub(crate) const ENTRY_BYTES: usize = 40;

/// The shape of a slab's own slot, whose type is private.
#[allow(dead_code, reason = "only its size is of interest")]
enum Slot {
    Vacant(usize),
    Occupied(Entry<crate::server::Sockets>),
}
const _: () = assert!(
    size_of::<Slot>() <= ENTRY_BYTES,
    "an idle connection costs more than 40 bytes"
);

impl<S: System> Reactor<S> {
    /// A reactor with these listeners, whose keys are their places, one for the metrics, whose key is
    /// the next, and with room for `capacity` clients: all of it now, as a table that grows stalls
    /// everybody while it is copied. Pages that nobody has touched cost nothing. The system reports
    /// the listeners from here on.
    #[must_use]
    pub fn new(
        system: S,
        listeners: Vec<S::Listener>,
        metrics: Option<S::Listener>,
        capacity: usize,
        config: &Config,
    ) -> Self {
        let of_scrapes = metrics.as_ref().map_or(0, |_| 1 + SCRAPES + 1);
        let mut slab = Slab::with_capacity(listeners.len() + of_scrapes + capacity);
        let count = listeners.len();
        for listener in listeners {
            slab.insert(Entry::Listener(Box::new(listener)));
        }
        Self {
            system,
            listeners: count,
            listening: count,
            metrics: metrics.map(|listener| slab.insert(Entry::Listener(Box::new(listener)))),
            scrapes: VecDeque::with_capacity(SCRAPES + 1),
            next_listener: 0,
            capacity,
            slab,
            scratch: vec![0; config.max_read.max(DISCARD)].into(),
            gate: Gate::default(),
            deadlines: Deadlines::new(config.timeout, config.linger),
            stats: Stats {
                capacity: capacity as u64,
                ..Stats::default()
            },
            report_at: next_report(Moment::START, config),
            shutdown: None,
            config: config.clone(),
        }
    }

    pub(crate) fn listeners(&self) -> impl Iterator<Item = &S::Listener> {
        (0..self.listeners).filter_map(|key| listener(&self.slab, key))
    }

    pub(crate) fn metrics_listener(&self) -> Option<&S::Listener> {
        listener(&self.slab, self.metrics?)
    }

    /// How many clients there are at present.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.slab.len() - self.listening - usize::from(self.metrics.is_some()) - self.scrapes.len()
    }

    /// What became of them so far.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    pub(crate) fn is_shutting_down(&self) -> bool {
        self.shutdown.is_some()
    }

    /// Whether it has shut down: no listener and no client is left. The metrics are there until then,
    /// and nobody waits for who is at them.
    #[must_use]
    pub fn is_shut_down(&self) -> bool {
        self.shutdown.is_some() && self.listening == 0 && self.clients() == 0
    }

    /// When it wants to be called even if nothing is reported.
    #[must_use]
    pub fn alarm(&self) -> Option<Moment> {
        // No edge tells that a queue is empty.
        let has_queues = self.listening > 0 && self.gate.is_open();
        let shutdown = self.shutdown.filter(|_| !self.is_shut_down());
        let alarms = [
            shutdown.filter(|_| has_queues).map(|s| s.queues_close),
            shutdown
                .filter(|_| self.listening > 0)
                .and_then(|s| s.queues_left),
            shutdown.map(|s| s.grace_ends),
            self.deadlines.next(),
            self.gate.reopens_at(),
            self.report_at,
            self.scrapes.front().map(|(_, due)| *due),
        ];
        alarms.into_iter().flatten().min()
    }

    /// Begins to shut down: takes who is in the queues, lets nobody else in, and serves those that
    /// are here until they are done or the grace is over.
    pub fn shut_down(&mut self, now: Moment) {
        if self.shutdown.is_some() {
            return;
        }
        info!("shutting down, {} clients are connected", self.clients());
        let (mut wait, mut queues_left) = (Duration::ZERO, None);
        for key in 0..self.listeners {
            if let Some(listener) = listener(&self.slab, key) {
                match self.system.close_queue(listener) {
                    Ok(Some(handshakes)) => wait = wait.max(handshakes),
                    // Who is in it may have nobody else: they have the first half of the grace to be
                    // accepted in, and whoever is accepted has the other half.
                    Ok(None) => queues_left = Some(now.after(self.config.grace / 2)),
                    Err(e) => warn!("cannot close the queue of {listener}: {e}"),
                }
            }
        }
        self.shutdown = Some(Shutdown {
            queues_close: now.after(wait),
            queues_left,
            grace_ends: now.after(self.config.grace),
        });
    }

    /// Logs the stats.
    pub(crate) fn report(&self) {
        info!("{}", self.stats);
    }

    /// One turn's work, bounded, so that the next turn is never far. Clients, then deadlines, then
    /// new clients.
    ///
    /// Accepting comes last: a key that became free in this turn is handed out again only when no
    /// event of this batch is left that could mean its former owner. So an event's key is either
    /// its client's or vacant, and needs no generation counter.
    ///
    /// # Errors
    /// A listener is no listener any more. Nothing that a peer does and no shortage is one.
    pub fn handle(
        &mut self,
        events: impl Iterator<Item = Event> + Clone,
        now: Moment,
    ) -> io::Result<()> {
        let share = DISCARDED_PER_TURN.div_ceil(events.clone().count().max(1));
        for event in events.clone() {
            self.serve(event, share, now);
        }
        self.expire(now);
        if let Some(key) = self.metrics {
            for event in events.clone().filter(|event| event.key == key) {
                self.accept(event, now)?;
            }
        }
        match self.shutdown {
            Some(shutdown) if shutdown.grace_ends <= now => self.cut(now),
            Some(shutdown) if shutdown.queues_close <= now => {
                for key in self.listeners_in_turn() {
                    self.accept(Event { key, fin: false }, now)?;
                    if shutdown.queues_left.is_some_and(|at| at <= now) {
                        self.close_listener(key);
                    }
                }
            }
            _ => {
                let listeners = self.listeners;
                for event in events.filter(|event| event.key < listeners) {
                    self.accept(event, now)?;
                }
            }
        }
        self.reopen_gate(now);
        if self.report_at.is_some_and(|at| at <= now) {
            self.report();
            self.report_at = next_report(now, &self.config);
        }
        debug_assert_eq!(self.clients() as u64, self.stats.open());
        Ok(())
    }

    /// Drives the event's client or scrape, if there is one: it may have left earlier in this batch.
    fn serve(&mut self, event: Event, share: usize, now: Moment) {
        let Event { key, fin } = event;
        let readiness = Readiness::Event { fin, share };
        let (config, scratch) = (&self.config, &mut self.scratch[..]);
        let (progress, stream, begins_to_linger) = match self.slab.get_mut(key) {
            Some(Entry::Client(Client { connection, .. })) => {
                let lingered = connection.is_lingering();
                let bytes = &mut self.stats.bytes;
                let progress = connection.drive(config, scratch, readiness, bytes);
                let begins_to_linger = connection.is_lingering() && !lingered;
                (progress, connection.stream(), begins_to_linger)
            }
            Some(Entry::Scrape(connection)) => {
                let bytes = &mut Bytes::default();
                let progress = connection.drive(&self.stats, scratch, readiness, bytes);
                (progress, connection.stream(), false)
            }
            Some(Entry::Listener(_)) | None => return,
        };
        match progress {
            Progress::Pending => {}
            Progress::Register(interest) => {
                if let Err(e) = self.system.reregister(key, stream, interest) {
                    return self.close(key, &Reason::Failed(e), now);
                }
            }
            Progress::Done(reason) => return self.close(key, &reason, now),
        }
        if begins_to_linger {
            self.deadlines.set(&mut self.slab, Kind::Linger, key, now);
        }
    }

    /// Closes the sockets of those whose deadline is over, a bounded number of them: what is left
    /// is still due, so the next turn does not sleep.
    ///
    /// What has come from them may not have been reported yet: this process may have been stopped
    /// for as long as they had, and more of them may be ready than one batch has events. So each is
    /// heard once more, and closed only if that does not change what it is due for.
    fn expire(&mut self, now: Moment) {
        let received = self.stats.bytes.received;
        for _ in 0..EXPIRIES_PER_TURN {
            let Some((kind, key)) = self.due(now) else {
                return;
            };
            self.serve(Event { key, fin: false }, DISCARDED_PER_TURN, now);
            if self.due(now) == Some((kind, key)) {
                self.close(key, &Reason::Expired(kind), now);
            }
            if self.stats.bytes.received - received >= DISCARDED_PER_TURN as u64 {
                return;
            }
        }
    }

    /// A scrape or a client whose deadline is over, and what that was for.
    fn due(&self, now: Moment) -> Option<(Kind, usize)> {
        let scrape = self.scrapes.front().filter(|(_, due)| *due <= now);
        let scrape = scrape.map(|(key, _)| (Kind::Echo, *key));
        scrape.or_else(|| self.deadlines.expired(now))
    }

    /// The only place where a client or a scrape leaves the slab. Dropping the stream closes it, and
    /// with its last descriptor the kernel forgets the registration: nobody else has a duplicate.
    fn close(&mut self, key: usize, reason: &Reason, now: Moment) {
        self.deadlines.cancel(&mut self.slab, key);
        match self.slab.try_remove(key) {
            Some(Entry::Scrape(_)) => {
                debug!("scrape {key} is over: {reason}");
                self.scrapes.retain(|(scrape, _)| *scrape != key);
                self.gate.release_descriptor(now);
            }
            _ => {
                debug!("client {key} {reason}");
                self.stats.count_closed(reason);
                self.gate.release(now);
            }
        }
    }

    /// Takes a bounded run of connections from the event's listener. Where it is that of the metrics,
    /// neither the gate nor the capacity matters: their descriptors are kept back.
    ///
    /// The run may end anywhere without losing the edge: at `WouldBlock` the next connection makes
    /// one, at the bound the listener is re-armed, and so it is when the gate opens again.
    fn accept(&mut self, event: Event, now: Moment) -> io::Result<()> {
        let Event { key, fin } = event;
        let for_scrapes = Some(key) == self.metrics;
        let mut lost = 0;
        for run in 0..ACCEPTS_PER_TURN {
            let may = for_scrapes || self.gate.is_open();
            let Some(listener) = listener(&self.slab, key).filter(|_| may) else {
                return Ok(());
            };
            if !for_scrapes && self.clients() >= self.capacity {
                if run == 0 {
                    self.fill_gate(now); // an event says that somebody waits
                    return Ok(());
                }
                break;
            }
            match self.system.accept(listener) {
                Ok((stream, peer)) if for_scrapes => self.admit_scrape(stream, &peer, now),
                Ok((stream, peer)) => {
                    self.next_listener = (key + 1) % self.listeners;
                    self.admit(stream, &peer, now);
                }
                Err(e) => match judge(&e) {
                    // Where others have the socket, too, one of them may have shut it down. TCP says
                    // so itself, with EINVAL, and a Unix socket for ever that nobody waits.
                    Verdict::Drained if fin => {
                        return Err(fatal(listener, &io::Error::other("it was shut down")));
                    }
                    Verdict::Drained => {
                        self.handle_drained(key, now);
                        return Ok(());
                    }
                    Verdict::Next => {
                        debug!("a client was lost before it was accepted: {e}");
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
            self.rearm(key, now);
        } else {
            // Errors of single connections, they say, but nothing else comes: do not spin on it.
            self.pause(
                "cannot accept: every client was lost before it was accepted",
                now,
            );
        }
        Ok(())
    }

    /// Answers a scrape whose request is here already, then registers it; if it is one too many, in
    /// place of the oldest.
    fn admit_scrape(&mut self, stream: S::Stream, peer: &S::Peer, now: Moment) {
        let connection = Box::new(Connection::new(stream, Scrape::new()));
        let key = self.slab.insert(Entry::Scrape(connection));
        debug!("scrape {key} accepted from {peer}");
        self.scrapes.push_back((key, now.after(SCRAPE_TIMEOUT)));
        if self.scrapes.len() > SCRAPES {
            if let Some((oldest, _)) = self.scrapes.front() {
                self.close(*oldest, &Reason::Expired(Kind::Echo), now);
            }
        }
        let Some(Entry::Scrape(connection)) = self.slab.get_mut(key) else {
            return;
        };
        let (fin, share) = (false, DISCARD);
        let (bytes, readiness) = (&mut Bytes::default(), Readiness::Event { fin, share });
        let answered = connection.drive(&self.stats, &mut self.scratch, readiness, bytes);
        if let Progress::Done(reason) = answered {
            return self.close(key, &reason, now);
        }
        let interest = connection.interest();
        if let Err(e) = self.system.register(key, connection.stream(), interest) {
            let what = format!("cannot poll a scrape: {e}");
            self.close(key, &Reason::Failed(e), now);
            self.pause(&what, now);
        }
    }

    /// The listener's queue is empty. If nobody can join it any more, it has done its work.
    fn handle_drained(&mut self, key: usize, now: Moment) {
        let is_closed = |shutdown: Shutdown| shutdown.queues_close <= now;
        if key < self.listeners && self.shutdown.is_some_and(is_closed) {
            self.close_listener(key);
        }
    }

    /// Greets a new client, then registers it: in this order one registration does for all that
    /// follows, and it reports what the client has sent meanwhile.
    fn admit(&mut self, stream: S::Stream, peer: &S::Peer, now: Moment) {
        let connection = Connection::new(stream, Session::new(&self.config));
        let timer = Timer::IDLE;
        let key = self
            .slab
            .insert(Entry::Client(Client { connection, timer }));
        self.stats.accepted += 1;
        debug!("client {key} accepted from {peer}");
        self.deadlines.set(&mut self.slab, Kind::Echo, key, now);
        let Some(Entry::Client(Client { connection, .. })) = self.slab.get_mut(key) else {
            return;
        };
        let bytes = &mut self.stats.bytes;
        let readiness = Readiness::Unknown;
        let greeted = connection.drive(&self.config, &mut self.scratch, readiness, bytes);
        if let Progress::Done(reason) = greeted {
            return self.close(key, &reason, now);
        }
        let interest = connection.interest();
        if let Err(e) = self.system.register(key, connection.stream(), interest) {
            // ENOSPC (fs.epoll.max_user_watches) or ENOMEM. This one is lost; after a pause those
            // behind it wait in the queue instead of being lost too.
            let what = format!("cannot poll a client: {e}");
            self.close(key, &Reason::Failed(e), now);
            self.pause(&what, now);
        }
    }

    /// The grace is over: closes whoever is left, at one go, as nobody is kept waiting by that.
    fn cut(&mut self, now: Moment) {
        let left: Vec<usize> = self.slab.iter().map(|(key, _)| key).collect();
        for key in left {
            match self.slab.get(key) {
                Some(Entry::Client(client)) if client.connection.is_lingering() => {
                    self.close(key, &Reason::Expired(Kind::Linger), now);
                }
                Some(Entry::Client(_)) => self.close(key, &Reason::ShutDown, now),
                Some(Entry::Listener(_)) if key < self.listeners => self.close_listener(key),
                _ => {}
            }
        }
    }

    /// Who is still in its queue is reset by that, unless others have the queue, too.
    fn close_listener(&mut self, key: usize) {
        if let Some(listener) = listener(&self.slab, key) {
            self.system.forget(listener);
            self.slab.remove(key);
            self.listening -= 1;
        }
    }

    fn fill_gate(&mut self, now: Moment) {
        if let Some(suppressed) = self.gate.fill(now) {
            let capacity = self.capacity;
            warn!("{capacity} clients are connected, as many as may be; others wait{suppressed}");
        }
    }

    fn pause(&mut self, why: &str, now: Moment) {
        self.stats.pauses += 1;
        if let Some(suppressed) = self.gate.pause(now) {
            let clients = self.clients();
            warn!("{why}; accepting pauses, {clients} clients are connected{suppressed}");
        }
    }

    fn reopen_gate(&mut self, now: Moment) {
        if self.gate.reopen(now) {
            for key in self.metrics.into_iter().chain(self.listeners_in_turn()) {
                self.rearm(key, now);
            }
        }
    }

    /// The listeners' keys. If there is less room than clients wait, it goes to the first of them:
    /// so the first is the one behind that which had the last place. epoll reports in the order in
    /// which they were re-armed.
    fn listeners_in_turn(&self) -> impl Iterator<Item = usize> + use<S> {
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

/// `None`: never.
fn next_report(now: Moment, config: &Config) -> Option<Moment> {
    (!config.stats.is_zero()).then(|| now.after(config.stats))
}

fn fatal(listener: &impl Display, error: &io::Error) -> io::Error {
    io::Error::new(
        error.kind(),
        format!("cannot accept on {listener}: {error}"),
    )
}

/// Not a method: it borrows the slab and leaves the system to be used beside it.
fn listener<S: System>(slab: &Slab<Entry<S>>, key: usize) -> Option<&S::Listener> {
    match slab.get(key)? {
        Entry::Listener(listener) => Some(listener),
        Entry::Client(_) | Entry::Scrape(_) => None,
    }
}

impl<S: System> Timers for Slab<Entry<S>> {
    fn timer(&mut self, key: usize) -> Option<&mut Timer> {
        match self.get_mut(key)? {
            Entry::Client(client) => Some(&mut client.timer),
            Entry::Listener(_) | Entry::Scrape(_) => None,
        }
    }
}

#[cfg(test)]
mod simulation;

#[cfg(test)]
mod tests {
    use socket2::{Domain, Socket, Type};

    use super::*;

    /// The assertion on [`Slot`] measures a likeness; this measures a slab.
    #[test]
    fn a_client_takes_no_more_of_the_slab() {
        let config = Config::default();
        let mut slab: Slab<Entry<crate::server::Sockets>> = Slab::with_capacity(2);
        let (one, other) = Socket::pair(Domain::UNIX, Type::STREAM, None).unwrap();
        for socket in [one, other] {
            let connection = Connection::new(socket, Session::new(&config));
            let timer = Timer::IDLE;
            slab.insert(Entry::Client(Client { connection, timer }));
        }
        let [first, second] = [0, 1].map(|key| &raw const slab[key] as usize);
        assert_eq!(second - first, ENTRY_BYTES);
    }
}
