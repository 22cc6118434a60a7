//! The queue has room for a burst.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream, UnixStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;
use socket2::SockRef;

use super::Settings;

const LISTENER: Token = Token(usize::MAX);
const SIGNALS: Token = Token(usize::MAX - 1);

/// How many clients may wait to be accepted. The kernel makes it net.core.somaxconn at most.
const BACKLOG: i32 = 4096;

/// Clients that are accepted before the others have their turn.
const ACCEPTS_PER_TURN: usize = 16;

/// The length of a pause if no client leaves: another process may have caused the shortage.
const RETRY: Duration = Duration::from_millis(100);

pub struct Server {
    poll: Poll,
    /// `None` once it stops and its queue is empty.
    listener: Option<TcpListener>,
    clients: Slab<Client>,
    settings: Settings,
    /// Accepting pauses until then, or until a client leaves.
    paused: Option<Instant>,
    /// Every client has the same time, so the first to come is the first to be due.
    deadlines: VecDeque<(Instant, usize)>,
    log: Log,
    signals: Option<UnixStream>,
    is_stopping: bool,
}

struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    stage: Stage,
    due: Instant,
}

/// How far a client has come.
enum Stage {
    Greeting { sent: usize },
    Reading,
    Echoing { sent: usize, len: usize },
    Lingering,
}

/// What became of a client that was driven as far as it goes.
enum Driven {
    Waits,
    Done,
}

pub fn serve(listener: std::net::TcpListener, settings: Settings) -> io::Result<()> {
    let mut server = Server::new(listener, settings)?;
    server.catch_sigterm()?;
    let mut events = Events::with_capacity(256);
    while !server.is_stopped() {
        server.turn(&mut events, None)?;
    }
    Ok(())
}

impl Server {
    pub fn new(listener: std::net::TcpListener, settings: Settings) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        SockRef::from(&listener).listen(BACKLOG)?; // again, with more room than the first time
        let mut listener = TcpListener::from_std(listener);
        let poll = Poll::new()?;
        poll.registry()
            .register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Self {
            poll,
            listener: Some(listener),
            clients: Slab::new(),
            log: Log::new(settings.log),
            settings,
            paused: None,
            deadlines: VecDeque::new(),
            signals: None,
            is_stopping: false,
        })
    }

    /// From here on SIGTERM writes a byte into a socket that the poll watches.
    fn catch_sigterm(&mut self) -> io::Result<()> {
        let (mut ours, theirs) = UnixStream::pair()?;
        signal_hook::low_level::pipe::register(libc::SIGTERM, theirs)?;
        let registry = self.poll.registry();
        registry.register(&mut ours, SIGNALS, Interest::READABLE)?;
        self.signals = Some(ours);
        Ok(())
    }

    pub fn turn(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        match self.poll.poll(events, self.timeout(timeout)) {
            // A signal, if only SIGSTOP and SIGCONT: no events, and the next turn waits.
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            polled => polled?,
        }
        for event in events.iter() {
            match event.token() {
                SIGNALS => self.is_stopping = true,
                LISTENER => {}
                Token(key) => self.drive(key),
            }
        }
        self.expire();
        if self.is_stopping || events.iter().any(|e| e.token() == LISTENER) {
            self.accept()?;
        }
        self.resume()
    }

    /// How many clients are connected, for the trials.
    pub fn clients(&self) -> usize {
        self.clients.len()
    }

    /// How long the poll may sleep.
    fn timeout(&self, timeout: Option<Duration>) -> Option<Duration> {
        let until = |at: Instant| at.saturating_duration_since(Instant::now());
        let due = self.deadlines.front().map(|(due, _)| *due);
        let alarms = [timeout, self.paused.map(until), due.map(until)];
        alarms.into_iter().flatten().min()
    }

    /// Closes the clients that are due. A key may belong to another client by now, which has its
    /// own deadline.
    fn expire(&mut self) {
        let now = Instant::now();
        while let Some((due, key)) = self.deadlines.front().copied() {
            if due > now {
                return;
            }
            self.deadlines.pop_front();
            if self
                .clients
                .get(key)
                .is_some_and(|client| client.due == due)
            {
                self.remove(key);
            }
        }
    }

    fn resume(&mut self) -> io::Result<()> {
        if self.paused.is_some_and(|at| at <= Instant::now()) {
            self.paused = None;
            self.rearm()?;
        }
        Ok(())
    }

    /// A bounded run. If it ends before nobody waits, the listener is registered again.
    fn accept(&mut self) -> io::Result<()> {
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(listener) = &self.listener else {
                return Ok(());
            };
            match listener.accept() {
                Ok((stream, peer)) => {
                    self.log.line(&format!("{peer} connected"));
                    self.admit(stream);
                }
                Err(e) => match e.raw_os_error() {
                    Some(libc::EAGAIN) => {
                        self.drained();
                        return Ok(());
                    }
                    Some(libc::EINTR | libc::ECONNABORTED | libc::EPROTO | libc::EPERM) => {}
                    _ => {
                        self.paused = Some(Instant::now() + RETRY);
                        return Ok(());
                    }
                },
            }
        }
        self.rearm()
    }

    /// Registering again makes a new edge if clients wait.
    fn rearm(&mut self) -> io::Result<()> {
        match &mut self.listener {
            Some(listener) => {
                let registry = self.poll.registry();
                registry.reregister(listener, LISTENER, Interest::READABLE)
            }
            None => Ok(()),
        }
    }

    /// Nobody waits in the queue. Now it can be closed without a reset for anybody.
    fn drained(&mut self) {
        if self.is_stopping {
            self.listener = None;
        }
    }

    fn is_stopped(&self) -> bool {
        self.is_stopping && self.listener.is_none() && self.clients.is_empty()
    }

    fn admit(&mut self, mut stream: TcpStream) {
        let due = Instant::now() + self.settings.timeout;
        let entry = self.clients.vacant_entry();
        let key = entry.key();
        let both = Interest::READABLE | Interest::WRITABLE;
        let registered = self.poll.registry().register(&mut stream, Token(key), both);
        if registered.is_ok() {
            entry.insert(Client {
                stream,
                buffer: vec![0; 1000],
                stage: Stage::Greeting { sent: 0 },
                due,
            });
            self.deadlines.push_back((due, key));
            self.drive(key);
        }
    }

    /// Takes a client as far as it goes, and lets it go when it is done, or when its socket fails.
    fn drive(&mut self, key: usize) {
        let Some(client) = self.clients.get_mut(key) else {
            return; // it left earlier in this batch
        };
        match client.drive(&self.settings.greeting) {
            Ok(Driven::Waits) => {}
            Ok(Driven::Done) | Err(_) => {
                self.remove(key);
            }
        }
    }

    /// The only place where a client leaves. Its descriptor is free, so a pause is over.
    fn remove(&mut self, key: usize) {
        self.clients.remove(key);
        self.paused = self.paused.map(|_| Instant::now());
    }
}

impl Client {
    /// Until a call would block, which is when the next edge is certain to come.
    fn drive(&mut self, greeting: &[u8]) -> io::Result<Driven> {
        loop {
            match self.step(greeting) {
                Ok(Some(driven)) => return Ok(driven),
                Ok(None) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Driven::Waits),
                Err(e) => return Err(e),
            }
        }
    }

    /// One call, and what follows from it.
    fn step(&mut self, greeting: &[u8]) -> io::Result<Option<Driven>> {
        match &mut self.stage {
            Stage::Greeting { sent } => {
                *sent += send(&mut self.stream, &greeting[*sent..])?;
                if *sent == greeting.len() {
                    self.stage = Stage::Reading;
                }
            }
            Stage::Reading => match self.stream.read(&mut self.buffer)? {
                0 => return Ok(Some(Driven::Done)),
                len => self.stage = Stage::Echoing { sent: 0, len },
            },
            Stage::Echoing { sent, len } => {
                *sent += send(&mut self.stream, &self.buffer[*sent..*len])?;
                if sent == len {
                    self.stream.shutdown(Shutdown::Write)?;
                    self.stage = Stage::Lingering;
                }
            }
            Stage::Lingering => {
                if self.stream.read(&mut self.buffer)? == 0 {
                    return Ok(Some(Driven::Done));
                }
            }
        }
        Ok(None)
    }
}

fn send(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    match stream.write(bytes)? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        n => Ok(n),
    }
}

/// Standard output, opened anew and non-blocking. The open file that we inherited has other users, so
/// its flags are not ours to change.
struct Log(Option<File>);

impl Log {
    fn new(is_wanted: bool) -> Self {
        if !is_wanted {
            return Self(None);
        }
        let mut anew = OpenOptions::new();
        anew.append(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
        Self(anew.open("/proc/self/fd/1").ok())
    }

    fn line(&mut self, line: &str) {
        if let Some(file) = &mut self.0 {
            let _ = file.write(format!("{line}\n").as_bytes()); // without room it is lost
        }
    }
}
