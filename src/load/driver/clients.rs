//! All clients of a run: it opens them, takes their exchanges as far as they go, and closes them.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use mio::event::Source as _;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use slab::Slab;

use super::channel::{Advance, Channel, Ready};
use super::client::{Client, ENTRY_BYTES, Role};
use super::clock::Clock;
use super::dialer::{Dial, Dialer};
use super::options::Options;
use super::room::Room;
use crate::load::machine::exchange::{Exchange, Expected, Phase, Wrong};
use crate::load::machine::meters::Meters;
use crate::load::machine::record::{Point, Record};
use crate::load::machine::schedule::Counts;
use crate::load::machine::share::Share;
use crate::reactor::deadlines::{Deadlines, Moment, Timer};

mod outcome;
mod timeout;

use timeout::{HELD, TIMEOUT};

/// The most bytes sent or received in one call.
const SCRATCH: usize = 64 << 10;

/// The table of clients, what they share, and the record of what became of them.
pub(super) struct Clients {
    slab: Slab<Client>,
    counts: Counts,
    /// Also the queue of the held clients, in the order in which they will be finished.
    deadlines: Deadlines,
    /// Zero is for ever.
    timeout: Duration,
    dialer: Dialer,
    /// Where each target begins in [`Record::by_target`], which has all addresses.
    tallies: Vec<usize>,
    expected: Expected,
    share: Share,
    /// How many connections it has opened, whatever its record leaves out.
    opened: u64,
    scratch: Box<[u8]>,
    pub(super) record: Record,
    /// Only if somebody asks for metrics while the run lasts.
    pub(super) meters: Option<Arc<Meters>>,
    pub(super) clock: Clock,
    /// The most clients open at once since the last point.
    peak: u64,
}

impl Clients {
    pub(super) fn new(
        options: &Options,
        dialer: Dialer,
        share: Share,
        clock: Clock,
    ) -> io::Result<Self> {
        let timeout = options.timeout;
        let expected = Expected {
            greeting: options.greeting.clone(),
            payloads: options.payloads,
            max_read: options.max_read,
            opened: 0,
        };
        let tallies = dialer.targets.iter().scan(0, |place, target| {
            Some(std::mem::replace(place, *place + target.names().count()))
        });
        let tallies = tallies.collect();
        let record = Record::new(dialer.names()).map_err(io::Error::other)?;
        let mut record = record.reserved();
        if options.compare {
            record.compare_targets();
        }
        Ok(Self {
            slab: Slab::new(),
            counts: Counts::default(),
            deadlines: Deadlines::new(timeout::waits(timeout)),
            timeout,
            dialer,
            tallies,
            expected,
            share,
            opened: 0,
            scratch: vec![0; SCRATCH].into(),
            record,
            meters: None,
            clock,
            peak: 0,
        })
    }

    /// How many clients there can be at once, if so many descriptors are kept back, and so many bytes of
    /// memory.
    pub(super) fn room(&self, kept_back: u64, memory: usize) -> io::Result<Room> {
        self.dialer.room(ENTRY_BYTES, kept_back, memory)
    }

    /// Takes the memory for its share of so many clients, so that a run never lacks it. Pages that no
    /// client uses cost nothing.
    pub(super) fn reserve(&mut self, of_all: u64) {
        let clients = usize::try_from(self.share.most(of_all)).unwrap_or(usize::MAX);
        self.slab.reserve(clients);
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// When the next client times out.
    pub(super) fn deadline(&self) -> Option<Moment> {
        self.deadlines.next().map(|at| self.clock.when(at))
    }

    /// The counts at this moment.
    pub(super) fn point(&mut self, at: Duration) -> Point {
        let open = std::mem::replace(&mut self.peak, self.slab.len() as u64);
        Point {
            at,
            right: self.record.outcomes.right,
            wrong: self.record.outcomes.wrongs(),
            open,
        }
    }

    /// Opens a connection that was due at the moment `due`. If there is no room for it now, it returns
    /// when to try again.
    ///
    /// # Errors
    /// Of the system, not of this connection: the next one would meet the same error. Or every target
    /// has refused for a minute.
    pub(super) fn open(
        &mut self,
        registry: &Registry,
        role: Role,
        due: Moment,
    ) -> io::Result<Option<Moment>> {
        let now = self.clock.now();
        let target = match self.dialer.choose(now)? {
            Ok(target) => target,
            Err(later) => return Ok(Some(later)),
        };
        let waited = &mut self.record.waited;
        let (socket, connected) = match self.dialer.connect(target, now, waited)? {
            Dial::Begun(socket, connected) => (socket, connected),
            Dial::Later(later) => {
                self.dialer.take_back(target);
                return Ok(Some(later));
            }
        };
        self.record.latest = self.record.latest.max(due.until(now));
        let id = self.share.number(self.opened);
        let address = self.dialer.targets[target].current();
        let tally = self.tally(target, address);
        self.record.open(tally);
        if let Some(meters) = &self.meters {
            meters.open(tally, due.until(now));
        }
        self.opened += 1;
        self.expected.opened = self.share.end(self.opened);
        let key = self.slab.insert(Client {
            channel: Channel {
                socket,
                exchange: Exchange::new(id, &self.expected),
            },
            timer: Timer::IDLE,
            role,
            target: target as u32,
            address,
            meant: due,
            began: now,
            since: now,
        });
        self.peak = self.peak.max(self.slab.len() as u64);
        *self.count(role) += 1;
        self.await_connect(key, now);
        self.register(registry, key, connected);
        Ok(None)
    }

    /// The place of a target's address in the record.
    fn tally(&self, target: usize, address: u16) -> usize {
        self.tallies[target] + usize::from(address)
    }

    /// Finishes the next held client.
    pub(super) fn finish(&mut self, registry: &Registry) {
        let Some(key) = self.deadlines.first(HELD) else {
            return;
        };
        let now = self.clock.now();
        let client = &mut self.slab[key];
        client.role = Role::Finishing;
        client.since = now;
        client.channel.exchange.begin();
        self.counts.held -= 1;
        self.counts.finishing += 1;
        self.set_deadline(TIMEOUT, key, now);
        self.drive(registry, key, Ready::default());
    }

    /// Takes a client's exchange as far as it goes. It stops where another event will come: after
    /// `WouldBlock`, or after a receive that does not fill the buffer and leaves no part due. If the
    /// event reported the server's FIN, no other event follows such a receive, so it receives until the
    /// FIN.
    pub(super) fn drive(&mut self, registry: &Registry, key: usize, mut ready: Ready) {
        loop {
            let Some(client) = self.slab.get_mut(key) else {
                return;
            };
            let before = client.channel.exchange.phase();
            let (scratch, bytes) = (&mut self.scratch, &mut self.record.bytes);
            let channel = &mut client.channel;
            let advance = channel.advance(&mut ready, &self.expected, scratch, bytes);
            if client.channel.exchange.phase() != before {
                self.handle_advanced(key, before);
            }
            match advance {
                Advance::More => {}
                Advance::Waiting => return,
                Advance::Done(Ok(())) => return self.close(key, Ok(())),
                Advance::Done(Err(wrong)) => return self.fail(registry, key, wrong),
            }
        }
    }

    /// A client has left the phase `before`.
    fn handle_advanced(&mut self, key: usize, before: Phase) {
        let now = self.clock.now();
        let client = &mut self.slab[key];
        let took = client.since.until(now);
        self.record.phase(before, client.role.is_held(), took);
        if let Some(meters) = self.meters.as_ref().filter(|_| !client.role.is_held()) {
            let first = self.tallies[client.target as usize];
            meters.phase(first + usize::from(client.address), before, took);
        }
        let is_greeted = client.channel.exchange.is_greeted();
        if before == Phase::Connect {
            let target = &mut self.dialer.targets[client.target as usize];
            target.handle_connected();
            if target.has_several() {
                self.set_deadline(TIMEOUT, key, now);
            }
        }
        if is_greeted {
            self.handle_greeted(key, now);
        }
    }

    /// Closes all clients, because the run is over. If it was not cut short, their grace is over, and
    /// their time so far counts.
    pub(super) fn give_up(&mut self, is_cut_short: bool) {
        let now = self.clock.now();
        for (_, client) in &self.slab {
            let target = self.tally(client.target as usize, client.address);
            self.record.give_up(target);
            if !is_cut_short && !client.role.is_held() {
                let [took, waited] = [client.since, client.meant].map(|from| from.until(now));
                let phase = client.channel.exchange.phase();
                self.record.cut_off(phase, took, waited);
            }
        }
        self.dialer.stop_waiting(now, &mut self.record.waited);
        self.slab.clear();
        self.counts = Counts::default();
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

    /// A greeted client goes on at once, or is held if it was opened for that.
    fn handle_greeted(&mut self, key: usize, now: Moment) {
        let client = &mut self.slab[key];
        if client.role == Role::Churning {
            client.channel.exchange.begin();
            client.since = now;
        } else {
            client.role = Role::Held;
            self.counts.ramping -= 1;
            self.counts.held += 1;
            self.record.held += 1;
            self.set_deadline(HELD, key, now);
        }
    }

    /// Closes a client that went wrong, unless its target has another address to try.
    fn fail(&mut self, registry: &Registry, key: usize, wrong: Wrong) {
        let client = &self.slab[key];
        let is_connecting = client.channel.exchange.phase() == Phase::Connect;
        let target = &mut self.dialer.targets[client.target as usize];
        if is_connecting && target.fall_back(client.address) && self.dial_again(registry, key) {
            return;
        }
        self.close(key, Err(wrong));
    }

    /// Begins the connect again, at the address that the target uses now. Returns whether it has.
    fn dial_again(&mut self, registry: &Registry, key: usize) -> bool {
        let client = &self.slab[key];
        let (target, from) = (client.target as usize, client.address);
        let (now, waited) = (self.clock.now(), &mut self.record.waited);
        let dial = self.dialer.connect(target, now, waited);
        self.await_connect(key, now);
        let Ok(Dial::Begun(socket, connected)) = dial else {
            return false;
        };
        let address = self.dialer.targets[target].current();
        let [from, to] = [from, address].map(|address| self.tally(target, address));
        self.record.go_on(from, to);
        if let Some(meters) = &self.meters {
            meters.go_on(from, to);
        }
        let client = &mut self.slab[key];
        client.channel.socket = socket;
        client.address = address;
        self.register(registry, key, connected);
        true
    }

    /// The only place where a client leaves the table, except for the end of the run.
    fn close(&mut self, key: usize, done: Result<(), Wrong>) {
        self.deadlines.cancel(&mut self.slab, key);
        let client = self.slab.remove(key);
        *self.count(client.role) -= 1;
        match done {
            Ok(()) => self.note_right(&client),
            Err(wrong) => self.note_wrong(&client, &client.channel.judge(wrong)),
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
