//! The reactor under an adversary, without sockets and without a clock.
//!
//! A seed makes a world: clients and scrapers that connect, stall, trickle, flood, reset and leave, a
//! kernel that interrupts, runs out of descriptors and reports late or for nothing, and time that
//! passes. After every step the promises are checked. `SEEDS=17 cargo test simulation -- --nocapture`
//! replays a seed and tells its steps; `SEEDS=0..1000000` runs a range.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::rc::Rc;

use super::*;

const SEEDS: Range<u64> = 0..10_000;
const STEPS: usize = 1_000;

/// Errors of accept4 that a server has to outlive: of one connection, of the system, unknown.
const ACCEPT_ERRORS: [i32; 7] = [
    libc::ECONNABORTED,
    libc::EPROTO,
    libc::EPERM,
    libc::EINTR,
    libc::EMFILE,
    libc::ENOBUFS,
    libc::EXFULL,
];

/// splitmix64: small, and every seed is as good as the others.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn choose<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// The byte that client `id` sends at this place: no other client has the same sequence.
fn byte(id: usize, place: usize) -> u8 {
    (Random((id as u64) << 32 | place as u64).next() >> 56) as u8
}

/// What a scraper sends at this place, if it gets as far: half of them speak HTTP.
fn asked(id: usize, place: usize) -> u8 {
    const REQUEST: &[u8] = b"GET /metrics HTTP/1.1\r\n\r\n";
    REQUEST[(place + id % 2) % REQUEST.len()]
}

/// One connection, as its client and the kernel see it.
#[derive(Default)]
struct Socket {
    /// Whether it is at the metrics: not a client then.
    scraper: bool,
    /// What the client did: bytes sent, and whether its FIN or its reset followed.
    sent: usize,
    fin: bool,
    reset: bool,
    /// What the kernel would take from the server now.
    room: usize,
    /// What the server did: the first receive and all of them, bytes handed to the kernel, FIN.
    first: Option<usize>,
    received: usize,
    given: usize,
    accepted_at: Option<Moment>,
    heard_at: Option<Moment>,
    half_closed_at: Option<Moment>,
    /// Whether the kernel may hold the end of what was sent back for what follows.
    held_back: bool,
    key: Option<usize>,
    interest: Option<Interest>,
    last: Last,
    closed: bool,
}

/// How the server's last call for a socket turned out, if that can be the end of it.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Last {
    #[default]
    Fine,
    Fin,
    Reset,
    Fault,
}

impl Socket {
    fn unread(&self) -> usize {
        self.sent - self.received
    }

    fn is_readable(&self) -> bool {
        self.unread() > 0 || self.fin || self.reset
    }

    fn is_writable(&self) -> bool {
        self.room > 0 || self.reset
    }

    /// Whether epoll would report it, for what it is registered for. A reset is reported always.
    fn is_ready(&self) -> bool {
        self.reset
            || self.interest.is_some_and(|interest| {
                interest.is_readable() && self.is_readable()
                    || interest.is_writable() && self.is_writable()
            })
    }
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<usize>,
    /// Until when somebody may join, once that is limited.
    joinable_until: Option<Moment>,
    dropped: bool,
}

impl Queue {
    fn is_joinable(&self, now: Moment) -> bool {
        !self.dropped && self.joinable_until.is_none_or(|until| now < until)
    }
}

struct World {
    random: Random,
    config: Config,
    now: Moment,
    grace_ends: Option<Moment>,
    sockets: Vec<Socket>,
    /// Those of them that the server has accepted and not closed: clients, and scrapers.
    open: BTreeSet<usize>,
    scrapers: BTreeSet<usize>,
    /// The last one is that of the metrics. Whether the others are other processes', too.
    queues: Vec<Queue>,
    shared: bool,
    /// epoll's list of what is ready, in order; and what of it was reported in this turn.
    ready: Vec<usize>,
    reported: BTreeSet<usize>,
    keys: BTreeMap<usize, usize>,
    /// Faults at hand: the next errors of accept4, and how often the others come, one in so many.
    accept_errors: Vec<i32>,
    interrupts: usize,
    poll_faults: usize,
    descriptors: usize,
    /// Whether something was to be had neither from accept4 nor from epoll_ctl, and no descriptor has
    /// come free since.
    shortage: bool,
    /// Whose time was over when they were driven in this turn, and how many bytes came from them; and
    /// how many were discarded of the others.
    overdue: BTreeSet<usize>,
    late: usize,
    discarded: usize,
    accepted: u64,
    failed_accepts: u64,
    closed: BTreeMap<&'static str, u64>,
    scraped: BTreeMap<&'static str, u64>,
}

impl World {
    fn new(random: Random, config: Config, listeners: usize) -> Self {
        Self {
            random,
            config,
            now: Moment::START,
            grace_ends: None,
            sockets: vec![],
            open: BTreeSet::new(),
            scrapers: BTreeSet::new(),
            queues: (0..=listeners).map(|_| Queue::default()).collect(),
            shared: false,
            ready: vec![],
            reported: BTreeSet::new(),
            keys: BTreeMap::new(),
            accept_errors: vec![],
            interrupts: 0,
            poll_faults: 0,
            descriptors: usize::MAX,
            shortage: false,
            overdue: BTreeSet::new(),
            late: 0,
            discarded: 0,
            accepted: 0,
            failed_accepts: 0,
            closed: BTreeMap::new(),
            scraped: BTreeMap::new(),
        }
    }

    /// Somebody connects, and the kernel would take so many bytes for him.
    fn arrive(&mut self, index: usize, room: usize) {
        let queue = &mut self.queues[index];
        queue.waiting.push_back(self.sockets.len());
        self.report(index);
        self.sockets.push(Socket {
            room,
            scraper: index == self.metrics(),
            ..Socket::default()
        });
    }

    /// The key of the listener for scrapers.
    fn metrics(&self) -> usize {
        self.queues.len() - 1
    }

    fn due(&self, socket: &Socket) -> Option<Moment> {
        if socket.scraper {
            return Some(socket.accepted_at?.after(SCRAPE_TIMEOUT));
        }
        let (since, wait) = match socket.half_closed_at {
            Some(at) => (at, self.config.linger),
            None => (socket.accepted_at?, self.config.timeout),
        };
        (!wait.is_zero()).then(|| since.after(wait))
    }

    fn open(&self) -> impl Iterator<Item = &Socket> {
        let all = self.open.iter().chain(&self.scrapers);
        all.map(|id| &self.sockets[*id])
    }

    fn report(&mut self, key: usize) {
        if !self.ready.contains(&key) {
            self.ready.push(key);
        }
    }

    fn fault(&mut self, one_in: usize) -> bool {
        one_in > 0 && self.random.one_in(one_in)
    }

    /// Something new happened to the socket: an edge, if it is registered for that.
    fn wake(&mut self, id: usize) {
        let socket = &self.sockets[id];
        if let Some(key) = socket.key.filter(|_| socket.is_ready()) {
            self.report(key);
        }
    }

    fn watch(&mut self, key: usize, id: usize, interest: Interest) -> io::Result<()> {
        if self.fault(self.poll_faults) {
            self.shortage = true;
            self.sockets[id].last = Last::Fault;
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        self.sockets[id].key = Some(key);
        self.sockets[id].interest = Some(interest);
        self.keys.insert(key, id);
        self.wake(id);
        Ok(())
    }

    /// What every call on a socket may meet.
    fn call(&mut self, id: usize) -> io::Result<()> {
        assert!(!self.sockets[id].closed);
        self.is_late(id);
        if self.fault(self.interrupts) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if self.sockets[id].reset {
            self.sockets[id].last = Last::Reset;
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(())
    }

    fn is_due(&self, socket: &Socket) -> bool {
        self.due(socket).is_some_and(|due| due <= self.now)
    }

    /// Whether it is driven though its time is over, or was when that began.
    fn is_late(&mut self, id: usize) -> bool {
        if self.is_due(&self.sockets[id]) {
            self.overdue.insert(id);
        }
        self.overdue.contains(&id)
    }

    /// Whether what it is to be closed for the want of is here, and can be had.
    fn is_unheard(&self, socket: &Socket) -> bool {
        let is_here = if socket.scraper {
            socket.received == 0 && socket.is_readable()
        } else if socket.half_closed_at.is_some() {
            socket.fin && socket.unread() == 0 && socket.heard_at != Some(self.now)
        } else {
            let greeted = socket.given >= self.config.greeting.len();
            greeted && socket.first.is_none() && socket.is_readable()
        };
        is_here && self.interrupts == 0
    }

    /// What the server owes client `id` altogether.
    fn owed(&self, id: usize) -> impl Iterator<Item = u8> {
        let first = self.sockets[id].first.unwrap_or(0);
        let message = (0..first.min(self.config.max_read)).map(move |place| byte(id, place));
        self.config.greeting.iter().copied().chain(message)
    }

    /// Why the server had to close the socket; it must not without a reason.
    fn reason(&self, id: usize) -> &'static str {
        let socket = &self.sockets[id];
        let echoed = socket.first.is_some_and(|n| n > 0) && self.owed(id).count() == socket.given;
        let is_due = self.is_due(socket);
        let is_over = self.grace_ends.is_some_and(|end| end <= self.now);
        match socket.last {
            Last::Reset => "reset",
            Last::Fault => "failed",
            Last::Fin if socket.scraper && socket.half_closed_at.is_some() => "answered",
            Last::Fin if socket.scraper => "left early",
            Last::Fine if is_due && !is_over && self.is_unheard(socket) => {
                panic!("client {id} is closed unheard")
            }
            _ if socket.scraper && is_due => "timed out",
            _ if socket.scraper && self.scrapers.len() > SCRAPES => "made room",
            Last::Fin if socket.first == Some(0) => "left early",
            Last::Fin if echoed => "echoed",
            _ if echoed && socket.half_closed_at.is_some() && self.config.linger.is_zero() => {
                "echoed"
            }
            _ if is_due && socket.half_closed_at.is_none() => "timed out",
            _ if is_due || is_over && socket.half_closed_at.is_some() => "lingering cut",
            _ if is_over => "shut down",
            _ => panic!("client {id} was closed without a reason"),
        }
    }
}

/// The reactor's way into the world.
#[derive(Clone)]
struct Kernel(Rc<RefCell<World>>);

struct SimulatedStream(Kernel, usize);

struct SimulatedListener(Kernel, usize);

impl Display for SimulatedListener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "listener {}", self.1)
    }
}

impl System for Kernel {
    type Listener = SimulatedListener;
    type Stream = SimulatedStream;
    type Peer = usize;

    fn accept(&mut self, listener: &SimulatedListener) -> io::Result<(SimulatedStream, usize)> {
        let mut world = self.0.borrow_mut();
        if let Some(errno) = world.accept_errors.pop() {
            world.shortage = true;
            world.failed_accepts += 1;
            return Err(io::Error::from_raw_os_error(errno));
        }
        // With an empty queue, too.
        if world.open.len() + world.scrapers.len() >= world.descriptors {
            world.shortage = true;
            world.failed_accepts += 1;
            return Err(io::Error::from_raw_os_error(libc::EMFILE));
        }
        let id = world.queues[listener.1].waiting.pop_front();
        let id = id.ok_or(io::ErrorKind::WouldBlock)?;
        world.sockets[id].accepted_at = Some(world.now);
        if world.sockets[id].scraper {
            world.scrapers.insert(id);
        } else {
            world.open.insert(id);
            world.accepted += 1;
        }
        Ok((SimulatedStream(self.clone(), id), id))
    }

    fn close_queue(&mut self, listener: &SimulatedListener) -> io::Result<Option<Duration>> {
        let world = &mut *self.0.borrow_mut();
        if world.shared {
            return Ok(None);
        }
        let wait = Duration::from_millis(world.random.choose(&[0, 0, 50]));
        world.queues[listener.1].joinable_until = Some(world.now.after(wait));
        Ok(Some(wait))
    }

    fn forget(&mut self, listener: &SimulatedListener) {
        let world = &mut *self.0.borrow_mut();
        world.ready.retain(|ready| *ready != listener.1);
    }

    fn rearm(&mut self, key: usize, listener: &SimulatedListener) -> io::Result<()> {
        let world = &mut *self.0.borrow_mut();
        if world.fault(world.poll_faults) {
            world.shortage = true;
            return Err(io::Error::from_raw_os_error(libc::ENOMEM));
        }
        if !world.queues[listener.1].waiting.is_empty() {
            world.report(key);
        }
        Ok(())
    }

    fn register(&mut self, key: usize, s: &SimulatedStream, interest: Interest) -> io::Result<()> {
        let world = &mut *self.0.borrow_mut();
        assert_eq!(world.sockets[s.1].interest, None, "registered twice");
        world.watch(key, s.1, interest)
    }

    fn reregister(
        &mut self,
        key: usize,
        s: &SimulatedStream,
        interest: Interest,
    ) -> io::Result<()> {
        let world = &mut *self.0.borrow_mut();
        assert_eq!(world.sockets[s.1].key, Some(key), "a stale key");
        world.watch(key, s.1, interest)
    }
}

impl SimulatedStream {
    fn receive(&mut self, room: usize) -> io::Result<usize> {
        let Self(kernel, id) = self;
        let world = &mut *kernel.0.borrow_mut();
        let key = world.sockets[*id].key;
        let reported = match key {
            Some(key) => world.reported.contains(&key),
            None => world.sockets[*id].scraper,
        };
        let (now, is_late) = (world.now, world.is_late(*id));
        assert!(
            reported || is_late,
            "client {id} was driven by an event of another"
        );
        world.call(*id)?;
        let socket = &mut world.sockets[*id];
        let n = socket.unread().min(room);
        if n == 0 && !socket.fin {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        socket.first.get_or_insert(n);
        socket.received += n;
        socket.heard_at = Some(now);
        socket.last = if n == 0 { Last::Fin } else { Last::Fine };
        world.late += if is_late { n } else { 0 };
        Ok(n)
    }
}

impl Stream for SimulatedStream {
    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.receive(buffer.len())?;
        let Self(kernel, id) = self;
        let received = kernel.0.borrow().sockets[*id].received;
        if kernel.0.borrow().sockets[*id].scraper {
            let places = received - n..received;
            let bytes = places.map(|place| asked(*id, place));
            buffer
                .iter_mut()
                .zip(bytes)
                .for_each(|(to, byte)| *to = byte);
            return Ok(n);
        }
        // Of a flood the first bytes will do: no message is longer.
        for (i, place) in buffer.iter_mut().zip(received - n..received).take(16) {
            *i = byte(*id, place);
        }
        Ok(n)
    }

    fn discard(&mut self, most: usize) -> io::Result<usize> {
        assert!(most > 0, "0 bytes would be taken for the FIN");
        let Self(kernel, id) = self;
        let world = kernel.0.borrow();
        let (owed, given) = (world.owed(*id).count(), world.sockets[*id].given);
        let scraper = world.sockets[*id].scraper;
        assert!(scraper || given == owed, "client {id} is not heard");
        drop(world);
        let n = self.receive(most.min(DISCARD))?;
        let Self(kernel, id) = self;
        let world = &mut *kernel.0.borrow_mut();
        if !world.overdue.contains(id) {
            world.discarded += n;
        }
        Ok(n)
    }

    fn send(&mut self, bytes: &[u8], more: bool) -> io::Result<usize> {
        let Self(kernel, id) = self;
        let world = &mut *kernel.0.borrow_mut();
        world.call(*id)?;
        let given = world.sockets[*id].given;
        if world.sockets[*id].scraper {
            let status = [&b"HTTP/1.1 200 OK\r\n"[..], b"HTTP/1.1 405 Method"][*id % 2];
            let begin = status.get(given..).unwrap_or_default();
            assert!(bytes.iter().zip(begin).all(|(sent, owed)| sent == owed));
        } else {
            let rest: Vec<u8> = world.owed(*id).skip(given).take(bytes.len()).collect();
            assert_eq!(rest, bytes, "client {id} is sent what it is not owed");
        }
        let socket = &mut world.sockets[*id];
        assert!(socket.half_closed_at.is_none());
        let n = bytes.len().min(socket.room);
        socket.room -= n;
        socket.given += n;
        // When it has no room for all, the kernel sends what it took.
        socket.held_back = more && n == bytes.len();
        if n == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(n)
    }

    fn half_close(&mut self) -> io::Result<()> {
        let Self(kernel, id) = self;
        let world = &mut *kernel.0.borrow_mut();
        if world.sockets[*id].reset {
            world.sockets[*id].last = Last::Reset;
            return Err(io::ErrorKind::NotConnected.into());
        }
        let owed = world.owed(*id).count();
        let socket = &mut world.sockets[*id];
        assert!(
            socket.first.is_some() && (socket.given == owed || socket.scraper),
            "FIN too early"
        );
        assert!(
            socket.half_closed_at.replace(world.now).is_none(),
            "two FINs"
        );
        socket.held_back = false;
        Ok(())
    }
}

impl Drop for SimulatedStream {
    fn drop(&mut self) {
        let Self(kernel, id) = self;
        let world = &mut *kernel.0.borrow_mut();
        if std::thread::panicking() {
            return;
        }
        let reason = world.reason(*id);
        let socket = &world.sockets[*id];
        let scraper = socket.scraper;
        assert!(
            !socket.held_back || socket.unread() == 0 || socket.reset,
            "closed with input unread, which loses the echo that was held back"
        );
        if scraper {
            world.scrapers.remove(id);
            *world.scraped.entry(reason).or_default() += 1;
        } else {
            world.open.remove(id);
            *world.closed.entry(reason).or_default() += 1;
        }
        world.sockets[*id].closed = true;
        // One that could not be polled goes before the pause begins, and does not end it.
        world.shortage &= world.sockets[*id].last == Last::Fault;
        if let Some(key) = world.sockets[*id].key.take() {
            world.ready.retain(|ready| *ready != key);
            world.reported.remove(&key);
            world.keys.remove(&key);
        }
    }
}

impl Drop for SimulatedListener {
    fn drop(&mut self) {
        let Self(kernel, index) = self;
        let world = &mut *kernel.0.borrow_mut();
        if std::thread::panicking() {
            return;
        }
        if *index == world.metrics() {
            return; // with the whole server
        }
        let end = world
            .grace_ends
            .expect("a listener is closed while it serves");
        let queue = &mut world.queues[*index];
        let is_over = end <= world.now;
        let is_done = queue.waiting.is_empty() && !queue.is_joinable(world.now);
        assert!(
            is_over || is_done || world.shared,
            "the queue was reset before the grace was over"
        );
        queue.dropped = true;
        world.ready.retain(|ready| ready != index);
    }
}

/// One seed's run.
struct Simulation {
    world: Rc<RefCell<World>>,
    reactor: Reactor<Kernel>,
    /// What the table can hold without growing.
    room: usize,
    /// What was done until the last turn.
    done: [u64; 7],
    tells: bool,
    step: usize,
    turns: u64,
}

impl Simulation {
    fn new(seed: u64, tells: bool) -> Self {
        let mut random = Random(seed);
        let ms = |random: &mut Random, from: &[u64]| Duration::from_millis(random.choose(from));
        let config = Config {
            greeting: random.choose(&["", "h", "hello\n"]).into(),
            max_read: 1 + random.below(8),
            timeout: ms(&mut random, &[0, 50, 1000]),
            linger: ms(&mut random, &[0, 20, 500]),
            grace: ms(&mut random, &[0, 100, 1000]),
            stats: ms(&mut random, &[0, 0, 70]),
            ..Config::default()
        };
        let (listeners, capacity) = (1 + random.below(3), 1 + random.below(12));
        let mut world = World::new(random, config, listeners);
        world.shared = world.random.one_in(4);
        Self::with(world, capacity, tells)
    }

    fn with(world: World, capacity: usize, tells: bool) -> Self {
        let (metrics, config) = (world.metrics(), world.config.clone());
        let world = Rc::new(RefCell::new(world));
        let kernel = Kernel(world.clone());
        let listener = |index| SimulatedListener(kernel.clone(), index);
        let listeners = (0..metrics).map(listener).collect();
        let metrics = Some(listener(metrics));
        let reactor = Reactor::new(kernel.clone(), listeners, metrics, capacity, &config);
        Self {
            world,
            room: reactor.slab.capacity(),
            reactor,
            done: [0; 7],
            tells,
            step: 0,
            turns: 0,
        }
    }

    fn tell(&self, what: impl FnOnce() -> String) {
        if self.tells {
            println!("{:4}: {}", self.step, what());
        }
    }

    fn run(&mut self) {
        while self.step < STEPS {
            self.step += 1;
            self.act();
            self.check();
        }
        self.settle();
    }

    /// One thing happens.
    fn act(&mut self) {
        let action = self.world.borrow_mut().random.below(1000);
        match action {
            0..150 => self.connect(),
            150..450 => self.act_as_client(action),
            450..480 => self.change_faults(),
            480..580 => self.let_time_pass(),
            580..999 => {
                self.turn(true);
                self.check_time();
                self.check_progress();
            }
            _ => self.shut_down(),
        }
    }

    fn connect(&mut self) {
        let world = &mut *self.world.borrow_mut();
        let index = world.random.below(world.queues.len());
        let room = world.random.choose(&[0, 1, 5, 1000]);
        let queue = &world.queues[index];
        if queue.is_joinable(world.now) && queue.waiting.len() < 20 {
            let id = world.sockets.len();
            self.tell(|| format!("client {id} connects to listener {index}, room {room}"));
            world.arrive(index, room);
        }
    }

    /// A client, most likely one of the latest, does something.
    fn act_as_client(&mut self, action: usize) {
        let world = &mut *self.world.borrow_mut();
        let Some(last) = world.sockets.len().checked_sub(1) else {
            return;
        };
        let id = last - world.random.below(16).min(last);
        let socket = &mut world.sockets[id];
        if socket.closed || socket.reset {
            return;
        }
        let n = world.random.choose(&[1, 2, 7, 9, 150_000]);
        self.tell(|| format!("client {id}, action {action}, n {n}"));
        match action {
            150..300 if !socket.fin => socket.sent += n,
            300..400 => socket.room = socket.room.saturating_add(n),
            400..440 => socket.fin = true,
            440..450 => socket.reset = true,
            _ => return,
        }
        world.wake(id);
    }

    fn change_faults(&mut self) {
        let world = &mut *self.world.borrow_mut();
        match world.random.below(4) {
            0 => {
                let errors = world.random.choose(&[1, 1, 5, 20]);
                let error = world.random.choose(&ACCEPT_ERRORS);
                world.accept_errors.resize(errors, error);
            }
            1 => world.interrupts = world.random.choose(&[0, 0, 2, 5]),
            2 => world.poll_faults = world.random.choose(&[0, 0, 0, 3]),
            _ => {
                let held = world.open.len();
                world.descriptors = world.random.choose(&[held, 1, 5, usize::MAX]);
            }
        }
        self.tell(|| {
            let World {
                accept_errors,
                interrupts,
                poll_faults,
                descriptors,
                ..
            } = world;
            format!("faults {accept_errors:?} {interrupts} {poll_faults} {descriptors}")
        });
    }

    fn let_time_pass(&mut self) {
        let alarm = self.reactor.alarm();
        let world = &mut *self.world.borrow_mut();
        let ms = world.random.choose(&[0, 1, 1, 10, 10, 100, 2000]);
        world.now = match alarm {
            Some(alarm) if ms > 0 && world.random.one_in(2) => alarm.max(world.now),
            _ => world.now.after(Duration::from_millis(ms)),
        };
        self.tell(|| format!("it is {:?}", world.now));
    }

    fn shut_down(&mut self) {
        self.tell(|| "shutting down".into());
        let mut world = self.world.borrow_mut();
        let now = world.now;
        let end = now.after(world.config.grace);
        world.grace_ends.get_or_insert(end);
        drop(world);
        self.reactor.shut_down(now);
    }

    /// What is ready is reported, some of it later and in any order if the kernel is `unruly`, and
    /// then some things that nobody is ready for.
    fn turn(&mut self, unruly: bool) {
        let mut world = self.world.borrow_mut();
        let mut batch = vec![];
        for key in std::mem::take(&mut world.ready) {
            if unruly && world.random.one_in(4) {
                world.ready.push(key);
            } else {
                batch.push(key);
            }
        }
        if unruly {
            for _ in 0..world.random.below(3) {
                batch.push(world.random.below(20));
            }
            let by = world.random.below(batch.len().max(1));
            batch.rotate_left(by);
        }
        world.reported = batch.iter().copied().collect();
        (world.discarded, world.late) = (0, 0);
        world.overdue.clear();
        let mut events = vec![];
        for key in batch {
            // The hint never misses a FIN that is here, but may be about one that is not; of a listener
            // it is true.
            let fin = world.keys.get(&key).is_some_and(|id| {
                let socket = &world.sockets[*id];
                socket.fin || socket.reset
            });
            let is_listener = key < world.queues.len();
            let fin = fin || unruly && !is_listener && world.random.one_in(8);
            events.push(Event { key, fin });
        }
        let now = world.now;
        drop(world);
        self.tell(|| format!("turn {events:?}"));
        self.turns += 1;
        let rounded_up = events.len();
        self.reactor.handle(events.into_iter(), now).unwrap();
        let discarded = self.world.borrow().discarded;
        assert!(
            discarded <= (1 << 20) + rounded_up,
            "{discarded} bytes are discarded in a turn"
        );
    }

    /// What holds after every turn: nobody outstays the grace, or a deadline, unless others have much
    /// to say when theirs is over; and no pause goes on when a descriptor has come free.
    fn check_time(&self) {
        let world = self.world.borrow();
        let pauses = self.reactor.gate.reopens_at().is_some();
        assert!(!pauses || world.shortage, "it pauses for nothing");
        for socket in world.open().filter(|_| world.late < 1 << 20) {
            assert!(!world.is_due(socket), "a client outstays its deadline");
        }
        let over = world.grace_ends.is_some_and(|end| end <= world.now);
        assert!(!over || self.reactor.is_shut_down());
    }

    /// Something that counts has happened since; if not, the next alarm is later than this one.
    fn check_progress(&mut self) {
        let stats = self.reactor.stats();
        let done = [
            stats.accepted,
            stats.open(),
            stats.accept_errors,
            stats.pauses,
            stats.bytes.received,
            self.reactor.listening as u64,
            u64::from(self.reactor.gate.is_open()),
        ];
        let now = self.world.borrow().now;
        let is_due = self.reactor.alarm().is_some_and(|alarm| alarm <= now);
        assert!(!is_due || done != self.done, "it spins");
        self.done = done;
    }

    /// What holds after every step.
    fn check(&self) {
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
        assert!(reactor.scrapes.len() == world.scrapers.len() && reactor.scrapes.len() <= SCRAPES);
        assert!(reactor.clients() <= reactor.capacity);
        assert_eq!(reactor.slab.capacity(), self.room, "the table grew");
        assert_eq!(stats.open(), reactor.clients() as u64);
        for socket in world.open() {
            let key = socket.key.expect("an open client that is not registered");
            let lost = socket.is_ready() && !world.ready.contains(&key);
            assert!(!lost, "a lost edge of key {key}");
            assert!(!socket.held_back, "the echo for key {key} is held back");
            let due = world.due(socket);
            assert!(
                due.is_none() || alarm.is_some() && alarm <= due,
                "no deadline for key {key}"
            );
        }
        for (key, queue) in world.queues.iter().enumerate() {
            let full = reactor.clients() == reactor.capacity && key != world.metrics();
            let retries = reactor.gate.reopens_at().is_some();
            let drains = alarm.is_some() && (world.shared || alarm <= queue.joinable_until);
            let empties = world.grace_ends.is_some() && drains;
            let waits = !queue.waiting.is_empty() && !queue.dropped;
            let taken_care_of = world.ready.contains(&key) || full || retries || empties;
            assert!(!waits || taken_care_of, "listener {key} is forgotten");
        }
        let listening = &world.queues[..world.metrics()];
        let gone = world.open.is_empty() && listening.iter().all(|queue| queue.dropped);
        assert_eq!(reactor.is_shut_down(), gone);
        assert!(world.grace_ends.is_none() || alarm.is_some() || gone);
        assert_eq!(reactor.report_at.is_some(), !world.config.stats.is_zero());
    }

    /// The faults end, every client sends, reads and leaves: then everybody is served, and only the
    /// gate's retry may take time. In the end it shuts down.
    fn settle(&mut self) {
        let mut world = self.world.borrow_mut();
        world.accept_errors.clear();
        (world.interrupts, world.poll_faults) = (0, 0);
        world.descriptors = usize::MAX;
        for id in 0..world.sockets.len() {
            let socket = &mut world.sockets[id];
            socket.room = usize::MAX;
            if !socket.fin {
                socket.sent += 1;
            }
            socket.fin = true;
            world.wake(id);
        }
        drop(world);
        self.turn_until("everybody is served", |simulation| {
            let world = simulation.world.borrow();
            let waits = |queue: &Queue| !queue.waiting.is_empty() && !queue.dropped;
            world.open().count() == 0 && !world.queues.iter().any(waits)
        });
        self.shut_down();
        self.turn_until("it has shut down", |simulation| {
            simulation.reactor.is_shut_down()
        });
        // A pause may be left to be over.
        let later = self.world.borrow().now.after(Duration::from_secs(1));
        self.world.borrow_mut().now = later;
        self.turn(false);
        let alarm = self.reactor.alarm();
        assert_eq!(alarm, self.reactor.report_at, "an alarm after the end");
    }

    fn turn_until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let start = self.world.borrow().now;
        while !done(self) {
            self.step += 1;
            assert!(self.step < 2 * STEPS, "{what}, it was hoped");
            let mut world = self.world.borrow_mut();
            if world.ready.is_empty() {
                let alarm = self.reactor.alarm().expect("it sleeps for ever");
                world.now = world.now.max(alarm);
                let waited = start.until(world.now);
                assert!(
                    waited <= Duration::from_millis(100),
                    "{waited:?} until {what}"
                );
            }
            drop(world);
            self.turn(false);
            self.check_time();
            self.check();
        }
    }
}

/// Tells which seed it was if it fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("SEEDS={} fails", self.0);
        }
    }
}

/// What `SEEDS` asks for: one, a range, or nothing.
fn seeds() -> (Range<u64>, bool) {
    let Ok(asked) = std::env::var("SEEDS") else {
        return (SEEDS, false);
    };
    match asked.split_once("..") {
        Some((first, end)) => (first.parse().unwrap()..end.parse().unwrap(), false),
        None => (
            asked.parse().unwrap()..asked.parse::<u64>().unwrap() + 1,
            true,
        ),
    }
}

#[test]
fn simulation() {
    let (seeds, tells) = seeds();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let totals = std::thread::scope(|scope| {
        let share = |thread| seeds.clone().skip(thread).step_by(threads);
        let workers = (0..threads).map(|thread| {
            let seeds = share(thread);
            scope.spawn(move || simulate(seeds, tells))
        });
        let workers: Vec<_> = workers.collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap())
            .reduce(Totals::add)
            .unwrap()
    });
    println!(
        "{} seeds of {STEPS} steps: {totals:?}",
        seeds.end - seeds.start
    );
    if seeds.end - seeds.start >= 100 {
        totals.assert_everything_happened();
    }
}

/// What happened in many runs, to show that the adversary reaches everything.
#[derive(Debug, Default)]
struct Totals {
    turns: u64,
    closed: BTreeMap<&'static str, u64>,
    scraped: BTreeMap<&'static str, u64>,
    lost_in_queue: u64,
    accept_errors: u64,
    pauses: u64,
}

impl Totals {
    fn add(mut self, other: Self) -> Self {
        self.turns += other.turns;
        self.accept_errors += other.accept_errors;
        self.pauses += other.pauses;
        self.lost_in_queue += other.lost_in_queue;
        for (reason, count) in other.closed {
            *self.closed.entry(reason).or_default() += count;
        }
        for (reason, count) in other.scraped {
            *self.scraped.entry(reason).or_default() += count;
        }
        self
    }

    fn assert_everything_happened(&self) {
        let unseen = self.closed.iter().find(|(_, count)| **count == 0);
        assert_eq!(unseen, None);
        let ends = [
            "answered",
            "failed",
            "left early",
            "made room",
            "reset",
            "timed out",
        ];
        assert!(self.scraped.keys().copied().eq(ends), "{:?}", self.scraped);
        assert!(self.pauses > 0 && self.accept_errors > 0 && self.lost_in_queue > 0);
    }
}

fn simulate(seeds: impl Iterator<Item = u64>, tells: bool) -> Totals {
    let run = |seed| {
        let _seed = Seed(seed);
        let mut simulation = Simulation::new(seed, tells);
        simulation.run();
        let (stats, world) = (simulation.reactor.stats(), simulation.world.borrow());
        let lost = world.sockets.iter().filter(|s| s.accepted_at.is_none());
        Totals {
            turns: simulation.turns,
            closed: stats.closed().collect(),
            scraped: world.scraped.clone(),
            lost_in_queue: lost.count() as u64,
            accept_errors: stats.accept_errors,
            pauses: stats.pauses,
        }
    };
    seeds.map(run).fold(Totals::default(), Totals::add)
}

/// A hundred thousand silent clients whose time is over at the same moment are closed in runs, and
/// whoever comes meanwhile is greeted in the very turn.
#[test]
fn many_who_expire_at_once_hold_up_nobody() {
    const CLIENTS: usize = 100_000;
    const EXPIRED_PER_TURN: usize = 256; // what others wait for, and so not whatever the code says
    let config = Config::default();
    let world = World::new(Random(0), config.clone(), 1);
    let mut simulation = Simulation::with(world, CLIENTS + 1, false);
    for accepted in (0..CLIENTS).step_by(ACCEPTS_PER_TURN) {
        assert_eq!(simulation.reactor.clients(), accepted);
        (0..ACCEPTS_PER_TURN).for_each(|_| simulation.world.borrow_mut().arrive(0, 6));
        simulation.turn(false);
    }
    let mut end = simulation.world.borrow().now.after(config.timeout);
    let mut turns = 0;
    while simulation.reactor.stats().timed_out < CLIENTS as u64 {
        // The time that each turn takes does not lead to more work in the next.
        end = end.after(Duration::from_millis(1));
        simulation.world.borrow_mut().now = end;
        simulation.world.borrow_mut().arrive(0, 6);
        simulation.turn(false);
        turns += 1;
        assert_eq!(
            simulation.reactor.stats().timed_out,
            (turns * EXPIRED_PER_TURN).min(CLIENTS) as u64
        );
        let world = simulation.world.borrow();
        assert_eq!(
            world.sockets[CLIENTS + turns - 1].given,
            6,
            "a newcomer waits"
        );
    }
    assert_eq!(turns, CLIENTS.div_ceil(EXPIRED_PER_TURN));
    simulation.settle();
}

/// This process is stopped until the linger of everybody is over. All have much unread by then, and
/// every second one's FIN is behind it: nobody of these is cut, and no turn is long.
#[test]
fn those_who_are_late_are_heard_in_turns() {
    const CLIENTS: usize = 1000;
    const UNREAD: usize = 150_000;
    let config = Config::default();
    let world = World::new(Random(0), config.clone(), 1);
    let mut simulation = Simulation::with(world, CLIENTS, false);
    (0..CLIENTS).for_each(|_| simulation.world.borrow_mut().arrive(0, 1000));
    while simulation.reactor.clients() < CLIENTS {
        simulation.turn(false);
    }
    let send = |simulation: &Simulation, n, fin: fn(usize) -> bool| {
        let world = &mut *simulation.world.borrow_mut();
        for id in 0..CLIENTS {
            world.sockets[id].sent += n;
            world.sockets[id].fin = fin(id);
            world.wake(id);
        }
    };
    send(&simulation, 10, |_| false);
    simulation.turn(false);
    send(&simulation, UNREAD, |id| id % 2 == 0);
    let mut world = simulation.world.borrow_mut();
    world.now = world.now.after(config.linger);
    world.ready.clear(); // none of it is reported in time
    drop(world);
    while simulation.reactor.clients() > 0 {
        simulation.turn(false);
        let late = simulation.world.borrow().late;
        let heard = late >= UNREAD.min(simulation.reactor.clients());
        assert!(heard && late < (1 << 20) + UNREAD, "{late} bytes in a turn");
    }
    let stats = simulation.reactor.stats();
    assert_eq!([stats.echoed, stats.lingering_cut], [500, 500]);
    simulation.settle();
}

/// A listener that nobody can reach any more ends the server, not before all are accepted who could.
#[test]
fn a_listener_that_was_shut_down_is_fatal_when_its_queue_is_empty() {
    let world = World::new(Random(0), Config::default(), 2);
    let Simulation {
        world, mut reactor, ..
    } = Simulation::with(world, 100, false);
    (0..20).for_each(|_| world.borrow_mut().arrive(1, 6));
    let mut turn = |key| {
        let event = Event { key, fin: key == 1 };
        let ended = reactor.handle([event].into_iter(), Moment::START);
        (reactor.clients(), ended.map_err(|e| e.to_string()))
    };
    assert_eq!(turn(1), (16, Ok(())));
    assert_eq!(turn(0), (16, Ok(())));
    let ended = Err("cannot accept on listener 1: it was shut down".to_owned());
    assert_eq!(turn(1), (20, ended));
    world.borrow_mut().grace_ends = Some(Moment::START); // that is the end of all of them
}

/// With less room than clients, the listeners have their turns.
#[test]
fn no_listener_starves() {
    for capacity in [1, 2, 3, 20] {
        let world = World::new(Random(0), Config::default(), 3);
        let mut simulation = Simulation::with(world, capacity, false);
        (0..100).for_each(|_| simulation.world.borrow_mut().arrive(0, 6));
        simulation.turn(false);
        let lone = 100;
        simulation.world.borrow_mut().arrive(2, 6);
        for departures in 0.. {
            assert!(departures <= 2, "with room for {capacity}");
            (0..4).for_each(|_| simulation.turn(false));
            assert!(simulation.world.borrow().ready.is_empty(), "it spins");
            let mut world = simulation.world.borrow_mut();
            if world.sockets[lone].given > 0 {
                break;
            }
            let leaving = *world.open.first().unwrap();
            world.sockets[leaving].fin = true;
            world.wake(leaving);
        }
        simulation.settle();
    }
}
