//! The reactor: one poll, one slab, one turn after the other.

use std::fmt;
use std::io;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use log::{debug, info, warn};
use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Events, Poll, Token};
use slab::Slab;
use socket2::{SockAddr, Socket};

use crate::accept::{Gate, Verdict, judge};
use crate::address::LocalAddr;
use crate::config::Config;
use crate::connection::{Connection, DISCARD, Progress, Readiness, Reason};
use crate::deadlines::{Deadlines, Kind, Moment, Timer, Timers};
use crate::listener::{Listener, effective_backlog};

/// Events taken from one poll. More wait in the kernel for the next, in order.
const EVENTS_PER_TURN: usize = 256;

/// Connections taken from one listener in one turn, before its other clients have theirs.
const ACCEPTS_PER_TURN: usize = 16;

/// Connections whose time is over that are closed in one turn; the rest follow in the next.
const EXPIRIES_PER_TURN: usize = 256;

/// A server, bound and listening. Nothing happens until it is [run](Self::run) or
/// [turned](Self::turn).
#[derive(Debug)]
pub struct Server {
    config: Config,
    poll: Poll,
    events: Events,
    /// Listeners and clients; the key is the token. Invariant: the listeners came first and never
    /// leave, so they are the keys below `listeners`.
    slab: Slab<Entry>,
    listeners: usize,
    /// What was received last; belongs to whoever is being driven, and to nobody in between. Much
    /// larger than a message usually is, so that one receive takes all that a client has sent, and
    /// shows by coming back short that it did.
    scratch: Box<[u8]>,
    gate: Gate,
    deadlines: Deadlines,
    start: Instant,
}

#[derive(Debug)]
enum Entry {
    Listener(Box<Listener>),
    Client(Client),
}

#[derive(Debug)]
struct Client {
    connection: Connection<Socket>,
    timer: Timer,
}

/// The memory rule: an idle client is this and nothing else. It has the shape of a slab's own slot,
/// whose type is private.
#[allow(dead_code, reason = "only its size is of interest")]
enum Slot {
    Vacant(usize),
    Occupied(Entry),
}
const _: () = assert!(
    size_of::<Slot>() <= 40,
    "an idle connection costs more than 40 bytes"
);

impl Server {
    /// Listens on every address of `config`. From here on clients can connect; they are served
    /// once somebody [turns](Self::turn) the server.
    ///
    /// # Errors
    /// A setting outside its limits (`InvalidInput`), an address that cannot be listened on, or no
    /// descriptor left for the poll. The message is one line that names what failed and why.
    pub fn bind(config: &Config) -> io::Result<Self> {
        config.validate()?;
        let poll = Poll::new().map_err(|e| context("cannot make a poll", &e))?;
        let mut slab = Slab::new();
        for address in &config.listen {
            let listener = Listener::bind(address, config.backlog)?;
            let slot = slab.vacant_entry();
            listener
                .register(poll.registry(), Token(slot.key()))
                .map_err(|e| context(&format!("cannot poll {}", listener.local_addr()), &e))?;
            slot.insert(Entry::Listener(Box::new(listener)));
        }
        report_backlog(config.backlog);
        Ok(Self {
            poll,
            events: Events::with_capacity(EVENTS_PER_TURN),
            listeners: slab.len(),
            slab,
            scratch: vec![0; config.max_read.max(DISCARD)].into(),
            gate: Gate::default(),
            deadlines: Deadlines::new(config.timeout, config.linger),
            start: Instant::now(),
            config: config.clone(),
        })
    }

    /// Where it listens, in the order of [`Config::listen`], with the real ports.
    #[must_use]
    pub fn local_addrs(&self) -> Vec<LocalAddr> {
        let listeners = (0..self.listeners).filter_map(|key| self.listener(key));
        listeners
            .map(|listener| listener.local_addr().clone())
            .collect()
    }

    /// How many clients are connected and accepted at present.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.slab.len() - self.listeners
    }

    /// Serves until something fails that no turn can outlive. While nobody wants anything the
    /// process sleeps in the poll; there is no tick.
    ///
    /// # Errors
    /// As [`turn`](Self::turn).
    pub fn run(&mut self) -> io::Result<()> {
        loop {
            self.turn(None)?;
        }
    }

    /// One turn: waits until there is something to do, at most for `timeout` (`None`: for as long
    /// as it takes), and does it. Bounded work, so that the next turn is never far.
    ///
    /// # Errors
    /// The poll is broken, or a listener is no listener any more. Nothing that a peer does, no
    /// shortage and no signal is an error here.
    pub fn turn(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        // Out of the server while its events are handled: handling borrows all the rest.
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        let turned = self
            .wait(&mut events, timeout)
            .and_then(|()| self.handle(&events));
        self.events = events;
        turned
    }

    /// Sleeps until the first of: an event, a deadline, the gate's next try, `timeout`.
    fn wait(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        let alarm = [self.deadlines.next(), self.gate.reopens_at()]
            .into_iter()
            .flatten()
            .min();
        let alarm = alarm.map(|alarm| self.now().until(alarm));
        let timeout = [timeout, alarm].into_iter().flatten().min();
        match self.poll.poll(events, timeout) {
            // A signal, if only SIGSTOP and SIGCONT: an empty batch, and the next turn waits.
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(()),
            polled => polled.map_err(|e| context("cannot poll", &e)),
        }
    }

    /// Clients, then deadlines, then new clients.
    ///
    /// Accepting comes last: a key that became free in this turn is handed out again only when no
    /// event of this batch is left that could mean its former owner. So an event's key is either
    /// its client's or vacant, and needs no generation counter.
    fn handle(&mut self, events: &Events) -> io::Result<()> {
        let now = self.now();
        let first_client = Token(self.listeners);
        for event in events.iter().filter(|event| event.token() >= first_client) {
            self.serve(event.token().0, event.is_read_closed(), now);
        }
        self.expire(now);
        for event in events.iter().filter(|event| event.token() < first_client) {
            self.accept(event.token().0, now)?;
        }
        self.reopen_gate(now);
        Ok(())
    }

    /// Drives the client `key`, if there is one: it may have left earlier in this batch.
    fn serve(&mut self, key: usize, fin: bool, now: Moment) {
        let Some(Entry::Client(client)) = self.slab.get_mut(key) else {
            return;
        };
        let readiness = Readiness::Event { fin };
        let lingered = client.connection.is_lingering();
        match client
            .connection
            .drive(&self.config, &mut self.scratch, readiness)
        {
            Progress::Pending => {}
            Progress::Register(interest) => {
                let fd = client.connection.stream().as_raw_fd();
                let registry = self.poll.registry();
                if let Err(e) = SourceFd(&fd).reregister(registry, Token(key), interest) {
                    return self.close(key, &Reason::Failed(e), now);
                }
            }
            Progress::Done(reason) => return self.close(key, &reason, now),
        }
        if client.connection.is_lingering() && !lingered {
            self.deadlines.set(&mut self.slab, Kind::Linger, key, now);
        }
    }

    /// Closes the sockets of those whose deadline is over, a bounded number of them: what is left
    /// is still due, so the next turn does not sleep.
    fn expire(&mut self, now: Moment) {
        for _ in 0..EXPIRIES_PER_TURN {
            let Some((kind, key)) = self.deadlines.expired(now) else {
                return;
            };
            self.close(key, &Reason::Expired(kind), now);
        }
    }

    /// The only place where a client leaves the slab. Dropping the socket closes it, and with its
    /// last descriptor the kernel forgets the registration: nobody else has a duplicate.
    fn close(&mut self, key: usize, reason: &Reason, now: Moment) {
        self.deadlines.cancel(&mut self.slab, key);
        debug!("client {key} {reason}");
        drop(self.slab.try_remove(key));
        self.gate.release(now);
    }

    /// Takes a bounded run of connections from the listener `key`.
    ///
    /// The run may end anywhere without losing the edge: at `WouldBlock` the next connection makes
    /// one, at the bound the listener is re-armed, and so it is when a shut gate opens.
    fn accept(&mut self, key: usize, now: Moment) -> io::Result<()> {
        let mut lost = 0;
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(listener) = self.listener(key).filter(|_| self.gate.is_open()) else {
                return Ok(());
            };
            match listener.accept() {
                Ok((socket, peer)) => self.admit(socket, &peer, now),
                Err(e) => match judge(&e) {
                    Verdict::Drained => return Ok(()),
                    Verdict::Next => {
                        debug!("a client was lost before it was accepted: {e}");
                        lost += 1;
                    }
                    Verdict::Pause => self.shut_gate("cannot accept", &e, now),
                    Verdict::Fatal => {
                        let what = format!("cannot accept on {}", listener.local_addr());
                        return Err(context(&what, &e));
                    }
                },
            }
        }
        if lost < ACCEPTS_PER_TURN {
            self.rearm(key, now);
        } else {
            // Errors of single connections, they say, but nothing else comes: do not spin on it.
            let e = io::Error::other("every client was lost before it was accepted");
            self.shut_gate("cannot accept", &e, now);
        }
        Ok(())
    }

    /// Greets a new client, then registers it: in this order one registration does for all that
    /// follows, and it reports what the client has sent meanwhile.
    fn admit(&mut self, socket: Socket, peer: &SockAddr, now: Moment) {
        let mut connection = Connection::new(socket, &self.config);
        let slot = self.slab.vacant_entry();
        let key = slot.key();
        debug!("client {key} accepted from {}", Peer(peer));
        let greeted = connection.drive(&self.config, &mut self.scratch, Readiness::Unknown);
        if let Progress::Done(reason) = greeted {
            return debug!("client {key} {reason}");
        }
        let fd = connection.stream().as_raw_fd();
        let interest = connection.interest();
        match SourceFd(&fd).register(self.poll.registry(), Token(key), interest) {
            Ok(()) => {
                let timer = Timer::IDLE;
                slot.insert(Entry::Client(Client { connection, timer }));
                self.deadlines.set(&mut self.slab, Kind::Echo, key, now);
            }
            // ENOSPC (fs.epoll.max_user_watches) or ENOMEM. This one is lost; with the gate shut
            // those after it wait in the queue instead of being lost too.
            Err(e) => self.shut_gate("cannot poll a client", &e, now),
        }
    }

    fn shut_gate(&mut self, what: &str, error: &io::Error, now: Moment) {
        if self.gate.shut(now) {
            let clients = self.clients();
            warn!("{what}: {error}; accepting pauses, {clients} clients are connected");
        }
    }

    fn reopen_gate(&mut self, now: Moment) {
        if self.gate.reopen(now) {
            (0..self.listeners).for_each(|key| self.rearm(key, now));
        }
    }

    fn rearm(&mut self, key: usize, now: Moment) {
        let registry = self.poll.registry();
        let rearmed = self
            .listener(key)
            .map(|listener| listener.rearm(registry, Token(key)));
        if let Some(Err(e)) = rearmed {
            self.shut_gate("cannot poll a listener", &e, now);
        }
    }

    fn listener(&self, key: usize) -> Option<&Listener> {
        match self.slab.get(key)? {
            Entry::Listener(listener) => Some(listener),
            Entry::Client(_) => None,
        }
    }

    fn now(&self) -> Moment {
        Moment::new(self.start, Instant::now())
    }
}

impl Timers for Slab<Entry> {
    fn timer(&mut self, key: usize) -> Option<&mut Timer> {
        match self.get_mut(key)? {
            Entry::Client(client) => Some(&mut client.timer),
            Entry::Listener(_) => None,
        }
    }
}

/// What the kernel makes of the backlog, since listen(2) does not tell.
fn report_backlog(asked: u32) {
    let effective = effective_backlog(asked);
    if effective < asked {
        warn!("backlog {effective} instead of {asked}: clamped by net.core.somaxconn");
    } else {
        info!("backlog {effective}");
    }
}

/// The same error with what was tried before it.
fn context(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

/// A client's address, for the log. A Unix client seldom has one.
struct Peer<'a>(&'a SockAddr);

impl fmt::Display for Peer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_socket() {
            Some(address) => address.fmt(f),
            None => f.write_str("a Unix socket"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The assertion on [`Slot`] measures a likeness; this measures a slab.
    #[test]
    fn a_client_takes_40_bytes_of_the_slab() {
        let config = Config::default();
        let mut slab = Slab::with_capacity(2);
        let (one, other) =
            Socket::pair(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
        for socket in [one, other] {
            let connection = Connection::new(socket, &config);
            slab.insert(Entry::Client(Client {
                connection,
                timer: Timer::IDLE,
            }));
        }
        let [first, second] = [0, 1].map(|key| &raw const slab[key] as usize);
        assert_eq!(second - first, 40);
    }
}
