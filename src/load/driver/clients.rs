//! All clients of a run: it opens them, takes their exchanges as far as they go, and closes them.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use mio::event::Source as _;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use slab::Slab;

use super::channel::{Advance, Channel, Ready};
use super::client::{Client, ENTRY_BYTES, Role};
use super::clock::Clock;
use super::dialer::Dialer;
use super::room::Room;
use crate::load::machine::exchange::{Exchange, Expected, Phase, Wrong};
use crate::load::machine::record::{Point, Record};
use crate::load::machine::schedule::Counts;
use crate::reactor::deadlines::{Deadlines, Moment, Timer};

/// The most bytes sent or received in one call.
const SCRATCH: usize = 64 << 10;

/// The table of clients, what they have in common, and the record of what became of them.
pub(super) struct Clients {
    slab: Slab<Client>,
    /// The held clients by key and number, in the order in which they will be finished.
    held: VecDeque<(usize, u64)>,
    counts: Counts,
    deadlines: Deadlines,
    dialer: Dialer,
    expected: Expected,
    scratch: Box<[u8]>,
    pub(super) record: Record,
    clock: Clock,
    /// The most clients open at once since the last point.
    peak: u64,
}

/// The one kind of deadline.
const TIMEOUT: usize = 0;

impl Clients {
    pub(super) fn new(
        dialer: Dialer,
        expected: Expected,
        timeout: Duration,
        clock: Clock,
    ) -> io::Result<Self> {
        Ok(Self {
            slab: Slab::new(),
            held: VecDeque::new(),
            counts: Counts::default(),
            deadlines: Deadlines::new([timeout]),
            dialer,
            expected,
            scratch: vec![0; SCRATCH].into(),
            record: Record::new().map_err(io::Error::other)?,
            clock,
            peak: 0,
        })
    }

    /// How many clients there can be at once.
    pub(super) fn room(&self) -> io::Result<Room> {
        self.dialer.room(ENTRY_BYTES)
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// When the next client times out.
    pub(super) fn deadline(&self) -> Option<Moment> {
        self.deadlines.next()
    }

    /// The counts at this moment.
    pub(super) fn point(&mut self, at: Duration) -> Point {
        let open = std::mem::replace(&mut self.peak, self.slab.len() as u64);
        Point {
            at,
            right: self.record.right,
            wrong: self.record.wrongs(),
            open,
        }
    }

    /// Opens a connection. `false`: there is no room for it now.
    ///
    /// # Errors
    /// Of the system, not of this connection: the next one would meet the same error.
    pub(super) fn open(
        &mut self,
        registry: &Registry,
        role: Role,
        meant: Moment,
    ) -> io::Result<bool> {
        let id = self.record.opened;
        let target = self.dialer.target_of(id);
        let now = self.clock.now();
        let waited = &mut self.record.waited;
        let Some((socket, connected)) = self.dialer.connect(id, now, waited)? else {
            return Ok(false);
        };
        self.record.open_one();
        self.expected.opened = self.record.opened;
        let key = self.slab.insert(Client {
            channel: Channel {
                socket,
                exchange: Exchange::new(id, &self.expected),
            },
            timer: Timer::IDLE,
            role,
            target: target as u32,
            address: self.dialer.targets[target].current(),
            meant,
            began: now,
            since: now,
        });
        self.peak = self.peak.max(self.slab.len() as u64);
        *self.count(role) += 1;
        self.deadlines.set(&mut self.slab, TIMEOUT, key, now);
        self.register(registry, key, connected);
        Ok(true)
    }

    /// Finishes the next held client, if it is still there.
    pub(super) fn finish(&mut self, registry: &Registry) {
        let Some((key, id)) = self.held.pop_front() else {
            return;
        };
        let now = self.clock.now();
        let client = self.slab.get_mut(key);
        let Some(client) = client.filter(|client| client.channel.exchange.id() == id) else {
            return;
        };
        client.role = Role::Finishing;
        client.since = now;
        client.channel.exchange.begin();
        self.counts.held -= 1;
        self.counts.finishing += 1;
        self.deadlines.set(&mut self.slab, TIMEOUT, key, now);
        self.drive(registry, key, Ready::default());
    }

    /// Takes a client's exchange as far as it goes. It stops where another event will come: after
    /// `WouldBlock`, or after a receive that came back short. If the event told of the server's
    /// FIN, no other event follows a short receive, so it receives until the FIN.
    pub(super) fn drive(&mut self, registry: &Registry, key: usize, mut ready: Ready) {
        loop {
            let Some(client) = self.slab.get_mut(key) else {
                return;
            };
            let before = client.channel.exchange.phase();
            let (scratch, bytes) = (&mut self.scratch, &mut self.record.bytes);
            let channel = &mut client.channel;
            let advance = channel.advance(&mut ready, &self.expected, scratch, bytes);
            let now = self.clock.now();
            if client.channel.exchange.phase() != before {
                let took = client.since.until(now);
                self.record.phase(before, client.role.is_held(), took);
                client.since = now;
                if before == Phase::Connect {
                    self.dialer.targets[client.target as usize].handle_connected();
                }
            }
            if client.channel.exchange.is_greeted() {
                self.handle_greeted(key, now);
            }
            match advance {
                Advance::More => {}
                Advance::Waiting => return,
                Advance::Done(Ok(())) => return self.close(key, Ok(())),
                Advance::Done(Err(wrong)) => return self.fail(registry, key, wrong),
            }
        }
    }

    /// Closes the clients whose time is over.
    pub(super) fn expire(&mut self) {
        let now = self.clock.now();
        while let Some((_, key)) = self.deadlines.expired(now) {
            let client = &self.slab[key];
            let wrong = client.channel.exchange.handle_timeout();
            if client.channel.exchange.phase() == Phase::Connect {
                // This client has no time left for another address, but later clients try it.
                self.dialer.targets[client.target as usize].fall_back(client.address);
            }
            self.close(key, Err(wrong));
        }
    }

    /// Closes all clients, because the run is over.
    pub(super) fn give_up(&mut self) {
        self.record.given_up += self.slab.len() as u64;
        let now = self.clock.now();
        self.dialer.stop_waiting(now, &mut self.record.waited);
        self.slab.clear();
    }

    fn register(&mut self, registry: &Registry, key: usize, connected: io::Result<()>) {
        let channel = &self.slab[key].channel;
        let registered = connected.and_then(|()| {
            let both = Interest::READABLE | Interest::WRITABLE;
            let descriptor = channel.socket.as_raw_fd();
            SourceFd(&descriptor).register(registry, Token(key), both)
        });
        if let Err(e) = registered {
            let wrong = channel.exchange.handle_error(&e);
            self.fail(registry, key, wrong);
        }
    }

    /// A greeted client goes on at once, or is held.
    fn handle_greeted(&mut self, key: usize, now: Moment) {
        let client = &mut self.slab[key];
        match client.role {
            Role::Churning => {
                client.channel.exchange.begin();
                client.since = now;
            }
            Role::Ramping => {
                client.role = Role::Held;
                self.counts.ramping -= 1;
                self.counts.held += 1;
                self.record.held += 1;
                self.held.push_back((key, client.channel.exchange.id()));
                self.deadlines.cancel(&mut self.slab, key);
            }
            Role::Held | Role::Finishing => {}
        }
    }

    /// Closes a client that went wrong, unless its target has another address to try.
    fn fail(&mut self, registry: &Registry, key: usize, wrong: Wrong) {
        let client = &mut self.slab[key];
        let (id, target) = (client.channel.exchange.id(), client.target as usize);
        let is_connecting = client.channel.exchange.phase() == Phase::Connect;
        if is_connecting && self.dialer.targets[target].fall_back(client.address) {
            let (now, waited) = (self.clock.now(), &mut self.record.waited);
            if let Ok(Some((socket, connected))) = self.dialer.connect(id, now, waited) {
                client.channel.socket = socket;
                client.address = self.dialer.targets[target].current();
                return self.register(registry, key, connected);
            }
        }
        self.close(key, Err(wrong));
    }

    /// The only place where a client leaves the table, except for the end of the run.
    fn close(&mut self, key: usize, done: Result<(), Wrong>) {
        self.deadlines.cancel(&mut self.slab, key);
        let Some(client) = self.slab.try_remove(key) else {
            return;
        };
        let now = self.clock.now();
        *self.count(client.role) -= 1;
        let exchange = &client.channel.exchange;
        let (id, phase) = (exchange.id(), exchange.phase());
        match done {
            Ok(()) => {
                self.record.right += 1;
                // The last phase: eof, or echo where only the FIN shows that the echo was whole.
                let took = client.since.until(now);
                self.record.phase(phase, client.role.is_held(), took);
                if client.role == Role::Churning {
                    let whole = client.began.until(now);
                    self.record.whole(whole, client.meant.until(now));
                }
            }
            Err(wrong) => {
                let wrong = client.channel.judge(wrong);
                let target = &self.dialer.targets[client.target as usize];
                let target = target.describe(client.address);
                self.record.wrong(id, &target, phase, &wrong);
            }
        }
    }

    fn count(&mut self, role: Role) -> &mut u64 {
        match role {
            Role::Churning => &mut self.counts.churning,
            Role::Ramping => &mut self.counts.ramping,
            Role::Held => &mut self.counts.held,
            Role::Finishing => &mut self.counts.finishing,
        }
    }
}
