//! The driver: one poll, one slab of connections.

mod opening;

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use mio::{Events, Poll};
use slab::Slab;
use socket2::SockAddr;

use super::channel::{Advance, Channel, Ready};
use super::exchange::{Expected, Phase, Wrong};
use super::payload::Payloads;
use super::record::{Point, Record, Shortage};
use super::room::Room;
use super::schedule::{Counts, Plan, Schedule, Stage};
use super::source::{Source, Sources};
use super::target::Target;
use super::wakeup::Wakeup;
use crate::address::Address;
use crate::deadlines::{Deadlines, Kind, Moment, Timer, Timers};
use crate::signals::{Request, Signals};

/// Events taken from one poll, and connections opened in one turn, before the others have theirs. An
/// exchange takes two events at least, so a closed loop gets to as many at once as it shall have.
const EVENTS_PER_TURN: usize = 256;
const OPENS_PER_TURN: usize = 256;

/// How much is sent or received in one call, in bytes.
const SCRATCH: usize = 64 << 10;

/// What a run is to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// The servers, which have their turns.
    pub targets: Vec<Address>,
    /// Where the connections come from; nothing leaves that to the kernel.
    pub sources: Vec<Source>,
    /// When what is begun.
    pub plan: Plan,
    /// What is sent.
    pub payloads: Payloads,
    /// What the servers send first.
    pub greeting: Vec<u8>,
    /// How long a connection may take from its connect to its greeting, and from its payload to the
    /// end. Zero is for ever.
    pub timeout: Duration,
}

/// A run.
pub struct Load {
    poll: Poll,
    events: Events,
    wakeup: Wakeup,
    signals: Option<Signals>,
    targets: Vec<Target>,
    sources: Sources,
    expected: Expected,
    schedule: Schedule,
    slab: Slab<Client>,
    /// Those that are held, by key and number, in the order in which they are finished.
    held: VecDeque<(usize, u64)>,
    counts: Counts,
    deadlines: Deadlines,
    scratch: Box<[u8]>,
    record: Record,
    start: Instant,
    ended: Option<Duration>,
    /// The most that were open at once since the record's course was told.
    peak: u64,
    /// When a connect that the kernel has no room for is tried again.
    retry_at: Option<Moment>,
    /// What the next connection waits for, and since when.
    short_of: Option<(Shortage, Moment)>,
    /// Zero is for ever.
    timeout: Duration,
}

struct Client {
    channel: Channel,
    timer: Timer,
    role: Role,
    target: u32,
    /// Which of the target's addresses it tries.
    address: u16,
    /// When it was meant to begin, when it did, and when its phase did.
    meant: Moment,
    began: Moment,
    since: Moment,
}

/// What a connection takes in the table, in bytes.
const ENTRY_BYTES: usize = 96;
const _: () = assert!(size_of::<Client>() <= ENTRY_BYTES);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Churning,
    Ramping,
    Held,
    Finishing,
}

impl Role {
    fn is_held(self) -> bool {
        self != Self::Churning
    }
}

impl Load {
    /// Resolves the targets and gets ready. Nothing is sent before the first [turn](Self::turn).
    ///
    /// # Errors
    /// One line: a target that does not resolve, sources that overlap, or no descriptor left.
    pub fn new(options: Options) -> io::Result<Self> {
        let sources = Sources::new(options.sources)?;
        let resolve = |address| Target::resolve(address, &sources);
        let targets = options.targets.iter().map(resolve);
        let targets = targets.collect::<io::Result<_>>()?;
        let start = Instant::now();
        let poll = Poll::new()?;
        Ok(Self {
            wakeup: Wakeup::new(poll.registry())?,
            poll,
            events: Events::with_capacity(EVENTS_PER_TURN),
            signals: None,
            targets,
            sources,
            expected: Expected {
                greeting: options.greeting,
                payloads: options.payloads,
                opened: 0,
            },
            schedule: Schedule::new(options.plan, Moment::new(start, start)),
            slab: Slab::new(),
            held: VecDeque::new(),
            counts: Counts::default(),
            deadlines: Deadlines::new(options.timeout, Duration::ZERO),
            scratch: vec![0; SCRATCH].into(),
            record: Record::new().map_err(io::Error::other)?,
            start,
            ended: None,
            peak: 0,
            retry_at: None,
            short_of: None,
            timeout: options.timeout,
        })
    }

    /// Catches SIGINT, SIGTERM and SIGHUP from here on: the run is [cut short](Self::is_cut_short).
    /// The second SIGINT or SIGTERM ends the process.
    ///
    /// # Errors
    /// No descriptor left.
    pub fn catch_signals(&mut self) -> io::Result<()> {
        self.signals = Some(Signals::catch(self.poll.registry())?);
        Ok(())
    }

    /// How many connections it can have open at once.
    ///
    /// # Errors
    /// As getrlimit(2); or that is less than the plan holds and has under way.
    pub fn room(&self) -> io::Result<Room> {
        let targets: Vec<&SockAddr> = self.targets.iter().map(Target::address).collect();
        let room = Room::find(&targets, &self.sources, ENTRY_BYTES)?;
        let needed = self.schedule.needs();
        if needed > room.connections {
            return Err(io::Error::other(format!("{room}; {needed} are needed")));
        }
        Ok(room)
    }

    /// What it has seen so far.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// How long it has been running, or did.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.ended.unwrap_or_else(|| self.start.elapsed())
    }

    /// What it is doing.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.schedule.stage()
    }

    /// How much of that is done, from 0 to 1.
    #[must_use]
    pub fn progress(&self) -> f64 {
        self.schedule.progress(self.counts, self.now())
    }

    /// Whether a signal or an error has ended it.
    #[must_use]
    pub fn is_cut_short(&self) -> bool {
        self.schedule.is_cut_short()
    }

    /// One turn: begins what is due, waits for events, at most for `timeout`, and handles them.
    /// Returns whether there is more to do. Once there is not, the next SIGINT or SIGTERM ends the
    /// process, if signals are [caught](Self::catch_signals).
    ///
    /// # Errors
    /// The poll is broken, there is no descriptor, or a source is no address of this machine: the run
    /// is cut short. What is wrong with one connection is in the [record](Self::record).
    pub fn turn(&mut self, timeout: Duration) -> io::Result<bool> {
        let turned = self.advance(timeout);
        if turned.is_err() {
            self.schedule.cut_short(self.now());
        }
        self.mark();
        if self.schedule.stage() == Stage::Over {
            self.end();
        }
        turned.map(|()| self.ended.is_none())
    }

    fn advance(&mut self, timeout: Duration) -> io::Result<()> {
        let next = self.begin()?;
        if self.schedule.stage() == Stage::Over {
            return Ok(());
        }
        let timeout = self.wait_until(next)?.min(timeout);
        let interrupted = match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => true,
            polled => polled.map(|()| false)?,
        };
        self.handle_signals(interrupted);
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        // Events of the signals and of the wakeup belong to no connection.
        for event in &events {
            let ready = Ready {
                readable: event.is_readable(),
                fin: event.is_read_closed(),
                failed: event.is_error(),
            };
            self.drive(event.token().0, ready);
        }
        self.events = events;
        self.expire();
        Ok(())
    }

    fn end(&mut self) {
        if self.ended.is_some() {
            return;
        }
        self.ended = Some(self.start.elapsed());
        self.record.given_up += self.slab.len() as u64;
        self.record.missed = self.schedule.missed();
        self.stop_waiting();
        self.slab.clear();
        let point = self.point();
        self.record.course.end(point);
        if let Some(signals) = &self.signals {
            signals.stop_hearing();
        }
    }

    /// How long the poll may sleep. The wakeup ends the sleep when the `next` connection is due.
    fn wait_until(&mut self, next: Option<Moment>) -> io::Result<Duration> {
        let now = self.now();
        if let Some(at) = next {
            if at <= now {
                return Ok(Duration::ZERO);
            }
            self.wakeup.set(at, now)?;
        }
        let signals = self.signals.as_ref().and_then(Signals::alarm);
        let due = [self.deadlines.next(), signals].into_iter().flatten().min();
        Ok(due.map_or(Duration::MAX, |at| now.until(at)))
    }

    fn handle_signals(&mut self, interrupted: bool) {
        let now = self.now();
        let Some(signals) = &mut self.signals else {
            return;
        };
        let requests = signals.hear(interrupted, &self.events, now);
        let ends = |request| matches!(request, Request::ShutDown | Request::HangUp);
        if requests.into_iter().any(ends) {
            self.schedule.cut_short(now);
        }
    }

    /// Notes how the run goes.
    fn mark(&mut self) {
        let point = self.point();
        self.record.course.advance(point);
        let stage = self.schedule.stage();
        if self
            .record
            .stages
            .last()
            .is_none_or(|(last, _)| *last != stage)
        {
            self.record.stages.push((stage, point.at));
        }
    }

    fn point(&mut self) -> Point {
        let open = std::mem::replace(&mut self.peak, self.slab.len() as u64);
        Point {
            at: self.elapsed(),
            right: self.record.right,
            wrong: self.record.wrongs(),
            open,
        }
    }

    /// Finishes the held connection whose turn it is, if it is still there.
    fn finish(&mut self) {
        let Some((key, id)) = self.held.pop_front() else {
            return;
        };
        let now = self.now();
        let Some(client) = self
            .slab
            .get_mut(key)
            .filter(|c| c.channel.exchange.id() == id)
        else {
            return;
        };
        client.role = Role::Finishing;
        client.since = now;
        client.channel.exchange.begin();
        self.counts.held -= 1;
        self.counts.finishing += 1;
        self.deadlines.set(&mut self.slab, Kind::Echo, key, now);
        self.drive(key, Ready::default());
    }

    /// Takes a connection as far as it goes. Its edges come for both directions, after `WouldBlock`
    /// and after a receive that came back short, unless the event spoke of the server's FIN.
    fn drive(&mut self, key: usize, mut ready: Ready) {
        loop {
            let Some(client) = self.slab.get_mut(key) else {
                return;
            };
            let before = client.channel.exchange.phase();
            let bytes = &mut self.record.bytes;
            let advance =
                client
                    .channel
                    .advance(&mut ready, &self.expected, &mut self.scratch, bytes);
            let now = Moment::new(self.start, Instant::now());
            if client.channel.exchange.phase() != before {
                let took = client.since.until(now);
                self.record.phase(before, client.role.is_held(), took);
                client.since = now;
                if before == Phase::Connect {
                    self.targets[client.target as usize].handle_connected();
                }
            }
            if client.channel.exchange.is_greeted() {
                self.handle_greeted(key, now);
            }
            match advance {
                Advance::More => {}
                Advance::Waiting => return,
                Advance::Done(Ok(())) => return self.close(key, Ok(())),
                Advance::Done(Err(wrong)) => return self.fail(key, wrong),
            }
        }
    }

    /// A greeted connection goes on at once, or is held.
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

    fn expire(&mut self) {
        let now = self.now();
        while let Some((_, key)) = self.deadlines.expired(now) {
            let client = &self.slab[key];
            let wrong = client.channel.exchange.handle_timeout();
            if client.channel.exchange.phase() == Phase::Connect {
                // There is no time left for this one, but for those behind it.
                self.targets[client.target as usize].fall_back(client.address);
            }
            self.close(key, Err(wrong));
        }
    }

    /// Closes a connection that went wrong, unless its target has another address to try.
    fn fail(&mut self, key: usize, wrong: Wrong) {
        let Client {
            channel,
            address,
            target,
            ..
        } = &self.slab[key];
        let (id, target) = (channel.exchange.id(), *target as usize);
        let is_connecting = channel.exchange.phase() == Phase::Connect;
        if is_connecting && self.targets[target].fall_back(*address) {
            if let Ok(Some((socket, connected))) = self.connect(id, target) {
                let client = &mut self.slab[key];
                client.channel.socket = socket;
                client.address = self.targets[target].current();
                return self.register(key, connected);
            }
        }
        self.close(key, Err(wrong));
    }

    /// The only place where a connection leaves the slab.
    fn close(&mut self, key: usize, done: Result<(), Wrong>) {
        self.deadlines.cancel(&mut self.slab, key);
        let Some(client) = self.slab.try_remove(key) else {
            return;
        };
        let now = self.now();
        *self.count(client.role) -= 1;
        let (id, phase) = (
            client.channel.exchange.id(),
            client.channel.exchange.phase(),
        );
        match done {
            Ok(()) => {
                self.record.right += 1;
                // The last: the end, or an echo of which only the end tells that it is whole.
                let took = client.since.until(now);
                self.record.phase(phase, client.role.is_held(), took);
                if client.role == Role::Churning {
                    let whole = client.began.until(now);
                    self.record.whole(whole, client.meant.until(now));
                }
            }
            Err(wrong) => {
                let wrong = client.channel.judge(wrong);
                let target = self.targets[client.target as usize].describe(client.address);
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

    fn now(&self) -> Moment {
        Moment::new(self.start, Instant::now())
    }
}

impl Timers for Slab<Client> {
    fn timer(&mut self, key: usize) -> Option<&mut Timer> {
        self.get_mut(key).map(|client| &mut client.timer)
    }
}
